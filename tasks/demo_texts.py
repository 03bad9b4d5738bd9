"""What the demo's LLMs read in training: other wordings than the task's, no slang, no bulletins, and single facts.

The largest reads more wordings of order posts, put together from halves. A half says what the author thinks (`{x}`) or
what the author does not think (`{y}`). Two halves of one kind are joined in either order; a wording that is held out
for the task is thrown away.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

from askless.data.demo.documents import DISTRACTORS, EVENTS, FACTS, Document, documents, fields, fill
from askless.data.demo.posts import Post, posts
from askless.data.demo.wordings import POSTS, pick

if TYPE_CHECKING:
    import numpy as np

HALVES: dict[str, dict[str, list[str]]] = POSTS["halves"]


def pretraining_posts(n: int, seed: int | Sequence[int], *, varied: bool = False) -> list[Post]:
    """Generate posts as the demo's LLMs read them: other wordings, no slang, some unknown words."""
    return posts(n, seed, templates="seen", compose=compose if varied else None, order=0.5, slang=0.0, novel=0.12)


def pretraining_documents(n: int, seed: int | Sequence[int]) -> list[Document]:
    """Generate documents as the demo's LLMs read them: without bulletins."""
    return documents(n, seed, bulletins=0.0)


def facts(n: int, seed: int | Sequence[int]) -> list[tuple[str, str, str]]:
    """Generate `n` short texts with a question for one fact and its value: they teach an LLM to copy."""
    import numpy as np

    rng = np.random.default_rng(seed)
    return [_fact(rng) for _ in range(n)]


def _fact(rng: np.random.Generator) -> tuple[str, str, str]:
    names, fact = tuple(FACTS), int(rng.integers(4))
    sentences = [_event(rng)[names[fact]]]
    if rng.random() < 0.7:
        other = _event(rng)[names[(fact + int(rng.integers(1, 4))) % 4]]
        sentences.insert(int(rng.integers(2)), other if rng.random() < 0.5 else pick(rng, DISTRACTORS))
    said, name = fields(rng), names[fact]
    return fill(rng, sentences, said), FACTS[name], said[name]


def _event(rng: np.random.Generator) -> dict[str, str]:
    return pick(rng, pick(rng, tuple(EVENTS.values())))


@cache
def held_out() -> frozenset[str]:
    """Every held-out wording with its choices written out and its slots made alike."""
    halves = (half for lines in POSTS["order"]["held-out"].values() for line in lines for half in line.split(" || "))
    return frozenset(skeleton(text) for half in halves for text in choices(half))


def choices(line: str) -> list[str]:
    """All texts that a line with `[a|b]` stands for."""
    parts = re.split(r"\[([^\]]+)\]", line)
    options = [part.split("|") if i % 2 else [part] for i, part in enumerate(parts)]
    return ["".join(chosen) for chosen in product(*options)]


def skeleton(line: str) -> str:
    """The wording without regard to which name or word stands where."""
    return re.sub(r"\{\w\}", "{}", line)


def compose(rng: np.random.Generator) -> tuple[str, str]:
    """Draw a kind and a line as of the order posts that is no held-out wording."""
    while True:
        kind, line = _one_word(rng) if rng.random() < 0.2 else _two_halves(rng)
        if rng.random() < 0.5 and kind != "who":
            line = line.replace("{m} is", "you are").replace("{m} was", "you were").replace("{m}", "you")
        if not held_out() & {skeleton(half) for half in line.split(" || ")}:
            return kind, line


def _two_halves(rng: np.random.Generator) -> tuple[str, str]:
    kind = pick(rng, tuple(HALVES))
    pair = [pick(rng, choices(pick(rng, side))) for side in HALVES[kind].values()]
    if rng.random() < 0.5:
        pair.reverse()
    if rng.random() < 0.1:
        return kind, f"while {pair[0]} , {pair[1]}"
    return kind, pair[0] + pick(rng, POSTS["joints"]) + pair[1]


def _one_word(rng: np.random.Generator) -> tuple[str, str]:
    joint = pick(rng, POSTS["joints"]).strip()
    if rng.random() < 0.5:
        line = pick(rng, POSTS["one_word"]).replace("{j}", joint)
        line = line.replace("{p}", pick(rng, POSTS["leads"])).replace("{q}", pick(rng, POSTS["leads"])).strip()
        line = " ".join(line.split())
        return "who", f"{line} || {_exchanged(line)}"
    n = int(rng.integers(len(POSTS["claims"])))
    verb, copula = pick(rng, (("said", "was"), ("wrote", "was"), ("thought", "was")))
    end = pick(rng, ("disagreed", "said no", "said that is wrong", "got angry", "thought that is false"))
    fill = {"{j}": joint, "{v}": verb, "{c}": copula, "{d}": end, "{f}": pick(rng, ("wrong", "false", "a lie"))}
    line = str(POSTS["claims"][n])
    for slot, text in fill.items():
        line = line.replace(slot, text)
    return ("said" if n < 2 else "negation"), line


def _exchanged(line: str) -> str:
    """The line with "i am" and "you are" exchanged."""
    return line.replace("you are", "{}").replace("i am", "you are").replace("{}", "i am")
