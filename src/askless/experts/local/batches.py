"""Rows in batches of about as many tokens each, and what to do when one is too large for the memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Generator, Iterator, Sequence
from typing import Any, Generic, TypeVar

from askless.errors import ExpertError
from askless.experts.answer_store import Row
from askless.experts.local.devices import out_of_memory, release

logger = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")
Keyed = TypeVar("Keyed", bound=tuple[Any, ...])


def in_batches(lengths: Sequence[int], rows: int, tokens: int) -> list[list[int]]:
    """Row numbers in batches of at most `rows` rows and `tokens` tokens, padding included; one row always goes.

    Longest first: little is padded, and memory runs out early.
    """
    batches: list[list[int]] = []
    room = 0
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        if not room:
            batches.append([])
            room = max(1, min(rows, tokens // max(1, lengths[row])))
        batches[-1].append(row)
        room -= 1
    return batches


def answered(
    batches: Sequence[Sequence[int]],
    items: Sequence[Keyed],
    kept: Container[str],
    backoff: Backoff[Keyed],
    run: Callable[[Sequence[Keyed]], Sequence[Row]],
) -> Generator[dict[str, Row]]:
    """Rows by key, batch by batch, of items whose first part is their key; what is `kept` is not asked again."""
    for batch in batches:
        rows = [items[i] for i in batch if items[i][0] not in kept]
        if rows:
            for some, answers in backoff.run(rows, run):
                yield {item[0]: row for item, row in zip(some, answers, strict=True)}


class Backoff(Generic[T]):
    """Runs batches; where memory runs out, each half alone, and so on down to one row.

    A batch that is no smaller than what was too large before is halved at once: what shares a batch is what it would be
    had it been tried, and a resumed run halves alike.

    Parameters
    ----------
    size
        Gives what a batch takes of the memory, such as its tokens.
    """

    def __init__(self, size: Callable[[Sequence[T]], int]) -> None:
        self._size = size
        self._too_large: int | None = None

    def run(self, rows: Sequence[T], run: Callable[[Sequence[T]], R]) -> Iterator[tuple[Sequence[T], R]]:
        """Each part of `rows` that was run at once, with its result; raises `ExpertError` for one row too large."""
        size = self._size(rows)
        if self._too_large is None or size < self._too_large or len(rows) == 1:
            try:
                result = [run(rows)]
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                result = []
            if result:
                yield rows, result[0]
                return
            release()
            self._note(rows, size)
        middle = (len(rows) + 1) // 2
        yield from self.run(rows[:middle], run)
        yield from self.run(rows[middle:], run)

    def _note(self, rows: Sequence[T], size: int) -> None:
        if len(rows) == 1:
            raise ExpertError(
                "Memory ran out on a single item. Allowed: a model and an input that fit together. "
                "Set max_input_tokens, a smaller dtype or max_new_tokens, or use a larger device."
            )
        if self._too_large is None:
            logger.warning(
                "Memory ran out on a batch of %d; it and all as large go on in halves of %d or less (said once)",
                len(rows),
                (len(rows) + 1) // 2,
            )
        self._too_large = size
