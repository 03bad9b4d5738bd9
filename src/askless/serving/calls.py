"""Expensive experts asked one text at a time, at most so many at once, by threads that end with the process."""

from __future__ import annotations

import queue
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from askless import schema
from askless.errors import AsklessError
from askless.experts.checked_summaries import CheckedSummaries
from askless.serving.versions import DeployedVersion
from askless.spending.guard import FAULT, GuardedExpert, code_of


@dataclass(frozen=True)
class CallOutcome:
    """What came of asking: an `answer`, or None and the `error`; dollars `paid`, and the tokens of the answer."""

    answer: str | None
    error: str | None = None
    paid: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def reason(self) -> str:
        """The word for what went wrong."""
        return code_of(self.error) if self.error else FAULT


class Askers:
    """`most` threads that ask what is put to them, in its order."""

    def __init__(self, most: int) -> None:
        self._queue: queue.SimpleQueue[tuple[Callable[[], CallOutcome], Future[CallOutcome]]] = queue.SimpleQueue()
        self._busy, self._lock = 0, threading.Lock()
        self._threads = [threading.Thread(target=self._run, name="ask", daemon=True) for _ in range(most)]

    @property
    def busy(self) -> int:
        """How many are at it."""
        return self._busy

    def start(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()

    def put(self, ask: Callable[[], CallOutcome]) -> Future[CallOutcome]:
        """Ask when one is free; until then it can be cancelled."""
        found: Future[CallOutcome] = Future()
        self._queue.put((ask, found))
        return found

    def _run(self) -> None:
        while True:
            ask, found = self._queue.get()
            if not found.set_running_or_notify_cancel():
                continue
            self._count(1)
            try:
                heard = ask()
            except BaseException as error:  # noqa: BLE001  whatever it is, whoever waits must hear of it
                why = str(error) if isinstance(error, AsklessError) else type(error).__name__
                heard = CallOutcome(None, why)
            # Counted before it is told, so that who was told finds nobody busy.
            self._count(-1)
            found.set_result(heard)

    def _count(self, more: int) -> None:
        with self._lock:
            self._busy += more


@dataclass(frozen=True)
class _For:
    """An expert asked for one request, to which alone the cost is told."""

    guarded: GuardedExpert
    part: int

    def answer(self, examples: pa.Table) -> pa.Table:
        """As `GuardedExpert.answer`."""
        return self.guarded.answer(examples, self.part)


def ask(
    standing: DeployedVersion, expert: str, name: str, text: str, piece: Callable[[str], None] | None
) -> CallOutcome:
    """Put one text to an expensive expert; a summary comes in pieces where `piece` is given."""
    guarded, classes = standing.expensive[expert], standing.version.bundle.classes
    part = secrets.randbits(62)
    if piece is not None and not classes:
        streamed = guarded.stream(text, part)
        for said in streamed:
            piece(said)
        table = streamed.table
    else:
        one = schema.table("examples", {"id": [name], "text": [text], "split": ["test"]})
        asked = _For(guarded, part)
        table = (asked if classes else CheckedSummaries(asked)).answer(one)
    return _heard(standing, expert, table)


def small_says(standing: DeployedVersion, name: str, text: str) -> CallOutcome:
    """The small expert's answer, where it was not asked to decide."""
    small = standing.version.bundle.small
    assert small is not None
    table = small.answer(schema.table("examples", {"id": [name], "text": [text], "split": ["test"]}))
    return _heard(standing, standing.small, table)


def _heard(standing: DeployedVersion, expert: str, table: Any) -> CallOutcome:
    row = table.to_pylist()[0]
    answer = row["label"] if standing.version.bundle.classes else None if row["error"] else row["text"]
    error = None if answer is not None else row["error"] or "no answer"
    paid = float(standing.costs.price(table, expert)[0])
    return CallOutcome(answer, error, paid, row["prompt_tokens"] or 0, row["completion_tokens"] or 0)
