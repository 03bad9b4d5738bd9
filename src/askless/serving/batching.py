"""Decisions about texts that wait together, made by one thread: what waits is a batch, and nothing waits for more."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from askless.bundles.bundle import Bundle
from askless.bundles.decide import decide_panel, small_answers
from askless.costs import CostModel
from askless.errors import AsklessError
from askless.policies.base import Budget

T = TypeVar("T")
MOST = 256


@dataclass(frozen=True)
class Decision:
    """Who should answer one text, what the small expert said if it was asked, and what that cost."""

    expert: str
    small_answer: str | None
    score: float | None
    cost: float


@dataclass(frozen=True)
class Work:
    """A text to be decided about, by whom, and at which budget (None: the policy's own rule)."""

    bundle: Bundle
    costs: CostModel
    name: str
    text: str
    budget: Budget | None
    found: Future[Decision] = field(default_factory=Future, compare=False)


class Batches:
    """One thread that decides all that waits, again and again."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="decisions", daemon=True)

    def start(self) -> None:
        """Begin to decide."""
        self._thread.start()

    def close(self) -> None:
        """Decide what waits, and end."""
        self._queue.put(None)
        self._thread.join()

    async def decide(self, bundle: Bundle, costs: CostModel, name: str, text: str, budget: Budget | None) -> Decision:
        """The decision about one text; raises `AsklessError` for a budget that cannot be met."""
        work = Work(bundle, costs, name, text, budget)
        self._queue.put(work)
        return await asyncio.wrap_future(work.found)

    def _run(self) -> None:
        for batch in batches(self._queue):
            settle([work for work in batch if work.found.set_running_or_notify_cancel()])


def batches(waiting: queue.Queue[T | None] | queue.SimpleQueue[T | None]) -> Iterator[list[T]]:
    """All that waits in a queue, at most `MOST` at a time, until a None comes."""
    ended = False
    while not ended and (first := waiting.get()) is not None:
        batch = [first]
        while len(batch) < MOST and not waiting.empty() and not ended:
            more = waiting.get()
            if more is None:
                ended = True
            else:
                batch.append(more)
        yield batch


def settle(batch: Sequence[Work]) -> None:
    """Decide every text of a batch; what one of them fails at is its own."""
    alike: dict[tuple[int, Budget | None], list[Work]] = {}
    for work in batch:
        alike.setdefault((id(work.bundle), work.budget), []).append(work)
    for group in alike.values():
        try:
            decisions = decided(group[0].bundle, group[0].costs, group, group[0].budget)
        except Exception as error:
            _one_by_one(group, error)
            continue
        for work in group:
            work.found.set_result(decisions[work.name])


def decided(bundle: Bundle, costs: CostModel, texts: Sequence[Work], budget: Budget | None) -> dict[str, Decision]:
    """The decisions about texts by their names; the same name is decided once."""
    by_name = {work.name: work.text for work in texts}
    panel, found = decide_panel(bundle, list(by_name), list(by_name.values()), budget, costs)
    small, _ = small_answers(panel, bundle.experts[0])
    score = [float(s) if np.isfinite(s) else None for s in found.score]
    rows = zip(by_name, found.expert.tolist(), small, score, found.cost.tolist(), strict=True)
    return {name: Decision(bundle.experts[expert], answer, s, cost) for name, expert, answer, s, cost in rows}


def _one_by_one(group: Sequence[Work], error: Exception) -> None:
    if len(group) == 1 or isinstance(error, AsklessError):
        for work in group:
            work.found.set_exception(error)
        return
    for work in group:
        settle([work])
