"""Decisions about texts that wait together, made by one thread: what waits is a batch, and nothing waits for more."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeVar

from askless.errors import AsklessError
from askless.labelling.answerer import Answerer
from askless.monitoring.decision_log import DecisionRow
from askless.policies.base import Budget

T = TypeVar("T")
MOST = 256


@dataclass(frozen=True)
class Work:
    """A text that waits for its decision.

    Parameters
    ----------
    answerer
        Decides it.
    name, text
        Its id, and its text, cleaned.
    budget
        At which, None for the policy's own rule.
    arrived
        When it came.
    row
        The decision, when it is made.
    """

    answerer: Answerer
    name: str
    text: str
    budget: Budget | None
    arrived: datetime = field(default_factory=lambda: datetime.now(UTC))
    row: Future[DecisionRow] = field(default_factory=Future, compare=False)


class Batcher:
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

    async def decide(self, work: Work) -> DecisionRow:
        """The decision about one text; raises `AsklessError` for a budget that cannot be met."""
        self._queue.put(work)
        return await asyncio.wrap_future(work.row)

    def _run(self) -> None:
        for batch in batches(self._queue):
            settle([work for work in batch if work.row.set_running_or_notify_cancel()])


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
        alike.setdefault((id(work.answerer), work.budget), []).append(work)
    for group in alike.values():
        try:
            rows = decided(group)
        except Exception as error:
            _one_by_one(group, error)
            continue
        for work, row in zip(group, rows, strict=True):
            work.row.set_result(row)


def decided(group: Sequence[Work]) -> list[DecisionRow]:
    """A row for each text, all decided by the answerer and at the budget of the first; the same id is decided once."""
    by_name = {work.name: work.text for work in group}
    rows = group[0].answerer.decide(list(by_name), list(by_name.values()), group[0].budget)
    place = {row.id: row for row in rows}
    return [replace(place[work.name], time=work.arrived) for work in group]


def _one_by_one(group: Sequence[Work], error: Exception) -> None:
    if len(group) == 1 or isinstance(error, AsklessError):
        for work in group:
            work.row.set_exception(error)
        return
    for work in group:
        settle([work])
