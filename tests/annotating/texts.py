"""Texts whose label a small model can learn, and an LLM that is none: it answers from a list, and can be killed."""

from __future__ import annotations

import math
import random
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np

from askless import schema

CLASSES = ("no", "yes")
GOOD = "lovely sunny calm kind friendly gentle quiet happy warm bright".split()
BAD = "awful nasty cruel ugly rotten vile bitter grim foul harsh".split()
FILLER = "the a post about today and some people there was going with my house car dog we all".split()


def texts(rows: int, seed: int = 0, rare: float = 0.4) -> tuple[list[str], list[str]]:
    """Different texts, and what the LLM says of each: harder the fewer telling words there are."""
    rng = random.Random(seed)
    found, labels = [], []
    for n in range(rows):
        yes = rng.random() < rare
        telling = rng.choices(BAD if yes else GOOD, k=rng.choice([0, 1, 1, 2, 3, 4]))
        words = telling + rng.choices(FILLER, k=6)
        rng.shuffle(words)
        found.append(" ".join([*words, f"number{n}"]))
        labels.append("yes" if yes else "no")
    return found, labels


class Killed(BaseException):
    """What a kill looks like from inside."""


class Llm:
    """Stands in for `GuardedExpert`: kept answers are free, each other call costs `price`, within a limit."""

    def __init__(self, said: dict[str, str | None], price: float = 0.001, limit: float | None = None) -> None:
        self.name = "llm"
        self.said = said
        self.price = price
        self.limit = limit
        self.calls: Counter[str] = Counter()
        self.store: dict[str, str | None] = {}
        self.kill_at = math.inf
        self.refused: set[str] = set()
        # Whether it is its key that has the limit.
        self.by_key = False
        # Who is paid by the same ledger.
        self.others: list[Llm] = []
        self.expert = SimpleNamespace(setting=SimpleNamespace(classes=CLASSES), keys=lambda text: [text])
        self.kept = SimpleNamespace(get_many=lambda keys: {key: {} for key in keys if key in self.store})

    @property
    def ledger(self) -> Any:
        spent = sum(llm.price * len(llm.store) for llm in (self, *self.others))
        left = math.inf if self.limit is None else self.limit - spent
        return SimpleNamespace(spent=spent, left=left, limit=None if self.by_key else self.limit, doubted=0.0)

    @property
    def key_limit(self) -> Any:
        return SimpleNamespace(left=self.ledger.left) if self.by_key else None

    def answer(self, examples: Any, part: int) -> Any:
        asked = examples["text"].to_pylist()
        for text in asked:
            if text not in self.store and self.ledger.left >= self.price and text not in self.refused:
                if sum(self.calls.values()) >= self.kill_at:
                    raise Killed
                self.calls[text] += 1
                self.store[text] = self.said[text]
        label = [self.store.get(text) for text in asked]
        error = [
            None
            if name
            else "no label"
            if text in self.store
            else "refused"
            if text in self.refused
            else "limit: spent"
            for name, text in zip(label, asked, strict=True)
        ]
        zero = np.zeros(len(asked), np.int32)
        columns = {"id": examples["id"].combine_chunks(), "expert": [self.name] * len(asked), "label": label}
        columns |= {"error": error, "prompt_tokens": zero, "completion_tokens": zero}
        cost = [self.price if text in self.store else 0.0 for text in asked]
        return schema.table("predictions", {**columns, "cost_usd": cost, "seconds": np.zeros(len(asked), np.float32)})
