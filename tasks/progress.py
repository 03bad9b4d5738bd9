"""How far a generation is: in one line, as a Prefect artifact, as MLflow metrics."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from tasks.shards import Counts

T = TypeVar("T")
PAUSE_SECONDS = 60.0
Log = Callable[[str], object]


@dataclass(frozen=True)
class Progress:
    """Figures of a generation; None is what is unknown yet.

    Parameters
    ----------
    total
        How many examples there are.
    counts
        How far it is.
    seconds
        Since it began to ask, above 0.
    """

    total: int
    counts: Counts
    seconds: float

    @property
    def share(self) -> float:
        """Share of the examples that have an answer."""
        return self.counts.done / self.total if self.total else 1.0

    @property
    def left(self) -> float | None:
        """Seconds until the end at the mean speed so far, None before the first answer of this run."""
        missing = self.total - self.counts.done
        if missing and not self.counts.asked:
            return None
        return missing * self.seconds / max(1, self.counts.asked)

    @property
    def metrics(self) -> dict[str, float]:
        """The figures by name."""
        figures: dict[str, float | None] = {
            "items": self.counts.done,
            "items_per_second": self.counts.asked / self.seconds,
            "tokens_per_second": self.counts.tokens / self.seconds,
            "usd": self.counts.usd,
            "seconds_left": self.left,
        }
        return {name: float(value) for name, value in figures.items() if value is not None}

    def __str__(self) -> str:
        """Items, tokens a second, dollars so far, time left.

        >>> print(Progress(12000, Counts(3200, 3000, 360_000, 0.0361), 240.0))
        3,200 of 12,000 items (27 %), 12.5 items/s, 1,500 tokens/s, $0.0361 so far, about 12 min left
        """
        counts, speed = self.counts, self.metrics
        asked = f"{speed['items_per_second']:,.1f} items/s, {speed['tokens_per_second']:,.0f} tokens/s, "
        usd = "no price known" if counts.usd is None else f"${counts.usd:,.{2 if counts.usd >= 1 else 4}f} so far"
        left = "" if self.left is None else f", about {duration(self.left)} left"
        done = f"{counts.done:,} of {self.total:,} items ({100 * self.share:.0f} %)"
        return f"{done}, {asked if counts.asked else ''}{usd}{left if counts.done < self.total else ''}"


class Reporter:
    """Reports progress, also as an artifact of the flow run.

    Parameters
    ----------
    about
        What is generated: the name of the artifact, and the begin of each line.
    total
        How many examples there are.
    every
        Seconds between two reports.
    log
        Takes a line.
    metrics
        Takes the figures by name, as MLflow does.
    """

    def __init__(
        self, about: str, total: int, every: float, log: Log, metrics: Callable[[dict[str, float]], None]
    ) -> None:
        self._about, self._total, self._every, self._log, self._metrics = about, total, every, log, metrics
        self._start = self._last = time.monotonic()
        key = "generate-" + "".join(c if c.isalnum() else "-" for c in about.lower() if c.isascii())
        self._artifact: Any = create_progress_artifact(0.0, key, about)

    def due(self) -> bool:
        """Whether it is time to report again."""
        return time.monotonic() - self._last >= self._every

    def report(self, counts: Counts) -> None:
        """Report how far it is."""
        self._last = time.monotonic()
        if not counts.asked:
            # While a model is loaded there is no speed.
            self._start = self._last
        progress = Progress(self._total, counts, max(1e-9, self._last - self._start))
        self._log(f"{self._about}: {progress}")
        update_progress_artifact(self._artifact, 100 * progress.share, f"{self._about}: {progress}")
        self._metrics(progress.metrics)


def steps(of: Collection[T], what: str, unit: str) -> Iterator[T]:
    """`of` one by one, with a bar on a terminal; elsewhere with a line a minute that says how far it is."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(of, desc=what, unit=f" {unit}")
        return
    start = last = time.monotonic()
    for done, each in enumerate(of):
        now = time.monotonic()
        if now - last >= PAUSE_SECONDS:
            left = (now - start) / done * (len(of) - done)
            sys.stderr.write(f"{what}: {done} of {len(of)} {unit}, about {duration(left)} left\n")
            last = now
        yield each


def duration(seconds: float) -> str:
    """A time in the unit that fits it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
