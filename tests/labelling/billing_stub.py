"""A chat server without a socket that keeps its own bill, and a process that can be killed at any step, in no time."""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from typing import Any

import openai

from askless.experts.answer_store import AnswerStore
from askless.labelling.outputs import Parts
from askless.spending.ledger import Ledger
from tests.experts.chat_server import chat, problem

# Whichever the client is made of.
httpx: Any = sys.modules[openai.DefaultHttpxClient.__base__.__module__.partition(".")[0]]
PRICE = {"usd_per_1m_prompt_tokens": 100.0, "usd_per_1m_cached_tokens": 10.0, "usd_per_1m_completion_tokens": 900.0}
LIES: tuple[dict[str, Any], ...] = (
    {"prompt_tokens": 0, "completion_tokens": 0},
    {"prompt_tokens": -3, "completion_tokens": "many"},
    {"prompt_tokens": 2**31, "completion_tokens": None},
    {"cost": 0},
)
# What comes of a request, and whether it is billed: without an answer, with half of one, with one that is none.
UNBILLED, BILLED = ("refused", 429, 503), (500, 504, "cut", "garbage", "silence")


class Killed(BaseException):
    """The end of a process, at any step."""


class Steps:
    """Counts the steps of a run, of all its threads, and ends it at one of them: before it is taken, or after."""

    def __init__(self, monkeypatch: Any) -> None:
        self.left, self.taken, self._lock = float("inf"), True, threading.Lock()
        for kind, name in ((AnswerStore, "put_many"), (Ledger, "_write"), (Parts, "write")):
            monkeypatch.setattr(kind, name, self._counted(getattr(kind, name)))

    def begin(self, left: float, taken: bool) -> None:
        """A new process, which ends after so many steps, the last of them `taken` or not."""
        self.left, self.taken = left, taken

    def before(self) -> bool:
        """Whether this step is the last, once it is taken; raises `Killed` for one that is not."""
        with self._lock:
            self.left -= 1
            if self.left < 0 or (self.left == 0 and not self.taken):
                raise Killed
            return self.left == 0

    def _counted(self, step: Any) -> Any:
        def counted(*arguments: Any) -> Any:
            last = self.before()
            result = step(*arguments)
            if last:
                raise Killed
            return result

        return counted


class BillingStub(httpx.BaseTransport):  # type: ignore[misc]
    """Answers "yes" to a long text, bills tokens as `PRICE` has them, and fails as often as `faults` says.

    Attributes
    ----------
    answered, unanswered
        Dollars for replies that were read to their end, and for those of which no answer can be read, by text.
    """

    def __init__(self, rng: random.Random, steps: Steps) -> None:
        self.rng, self.steps, self.lock = rng, steps, threading.Lock()
        self.faults, self.lie = rng.choice([0.0, 0.1, 0.4]), rng.choice([{}, {}, {}, *LIES])
        self.answered: dict[str, float] = {}
        self.unanswered: dict[str, float] = {}
        self.billed: Counter[str] = Counter()

    @property
    def bill(self) -> float:
        """All that it bills."""
        return sum(self.answered.values()) + sum(self.unanswered.values())

    def handle_request(self, request: Any) -> Any:
        """Bill and answer."""
        last = self.steps.before()
        trace, body = request.extensions["trace"], json.loads(request.content)
        with self.lock:
            kind = self.rng.choice(UNBILLED + BILLED) if self.rng.random() < self.faults else 200
            usage, reply_id = self._usage(body), f"chatcmpl-{self.rng.getrandbits(120):032x}"
            delay = self.rng.choice([0.0, 0.0, 0.001])
        trace("connection.connect_tcp.started", {})
        if kind == "refused":
            raise httpx.ConnectError("nobody is there")
        trace("http11.send_request_headers.started", {})
        text = body["messages"][-1]["content"]
        if kind not in UNBILLED:
            cached = usage["prompt_tokens_details"]["cached_tokens"]
            read = (usage["prompt_tokens"] - cached) * PRICE["usd_per_1m_prompt_tokens"]
            read += cached * PRICE["usd_per_1m_cached_tokens"]
            cost = (read + usage["completion_tokens"] * PRICE["usd_per_1m_completion_tokens"]) / 1e6
            with self.lock:
                self.billed[text] += 1
                (self.answered if kind == 200 and not last else self.unanswered)[text] = cost
        if last:
            raise Killed
        time.sleep(delay)
        if kind == "silence":
            raise httpx.ReadTimeout("no answer")
        reply = chat("yes" if "A long text" in text else "no", **usage | self.lie) | {"id": reply_id, "model": "m"}
        content = json.dumps(reply).encode()
        if kind in ("cut", "garbage"):
            return httpx.Response(200, content=content[: len(content) // 2] if kind == "cut" else b"<html>")
        if kind != 200:
            return httpx.Response(kind, json=problem("not now"), headers={"retry-after-ms": "1"})
        return httpx.Response(200, content=content)

    def _usage(self, body: dict[str, Any]) -> dict[str, Any]:
        size = sum(len(turn["content"].encode()) for turn in body["messages"])
        prompt = self.rng.randint(size // 8, size)
        details = {"cached_tokens": self.rng.choice([0, prompt // 2])}
        written = self.rng.randint(1, body["max_tokens"])
        return {"prompt_tokens": prompt, "completion_tokens": written, "prompt_tokens_details": details}
