"""The texts that were not asked yet: which are expected to keep the small model's label, and which are asked next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from askless.annotating.asked import AskedTexts
from askless.annotating.floors import Floor, Line, Part, parts_of, spoken_of
from askless.annotating.small_model import Scores
from askless.arrays import Bools, Ints
from askless.panel import draws

# Rows that show how many errors there are where these have a price: a share of those left, at most, and at least.
PRICED, LEAST = (0.05, 300), 50


def share_of(bound: tuple[float, int], n: int) -> int:
    """A share of `n`, and at most so many."""
    return min(int(bound[0] * n), bound[1])


@dataclass(frozen=True, eq=False)
class Rest:
    """The texts that were not asked yet, and what is to be expected of them.

    Parameters
    ----------
    places, scores
        Of the texts, and what the small model says of them, with cheaper LLMs where there are some, each (n,).
    parts
        The floors that speak of them.
    samples
        Rows to draw for each part.
    order
        The texts, the one last that is to be asked first, (n,).
    kept
        Which of them are expected to keep the small model's label, (n,).
    calls
        Texts that are expected to be asked in all.
    """

    places: Ints
    scores: Scores
    parts: tuple[Part, ...]
    samples: tuple[int, ...]
    order: Ints
    kept: Bools
    calls: int

    @classmethod
    def of(
        cls, scores: Scores, places: Ints, asked: AskedTexts, floors: Sequence[Floor], seed: int, delta: float
    ) -> Rest:
        """Of all texts that were not put to the LLM, at these places, by what is said of them."""
        draw = draws([asked.ids[at] for at in places.tolist()], seed)
        parts = parts_of([Line.of(floor, asked, places, scores, draw) for floor in floors], len(places))
        found = [part.outlook(delta) for part in parts]
        kept, urgency = spoken_of(parts, len(places)), np.full(len(places), -math.inf)
        urgency[~kept] = 2.0
        calls = float(asked.done.sum() + len(places))
        for part, (_, texts) in zip(parts, found, strict=True):
            kept &= part.kept(texts)
            for line, first in zip(part.lines, texts, strict=True):
                late = (np.arange(len(line.at)) - first) / max(len(line.at), 1)
                urgency[line.at] = np.maximum(urgency[line.at], late)
        for part, (sample, _) in zip(parts, found, strict=True):
            mine = part.count > 0
            calls += math.ceil(sample * (kept & mine).sum() / max(int(mine.sum()), 1))
        order = np.lexsort((-draw, -scores.margin, urgency))
        samples = tuple(sample for sample, _ in found)
        return cls(places, scores, tuple(parts), samples, order, kept, int(calls - kept.sum()))

    def priced(self, count: Ints, error_usd: float, call_usd: float) -> Rest:
        """With those kept whose errors are expected to cost no more than a call, and a sample to measure these by."""
        kept = error_usd * count[self.places] * (1 - self.scores.agrees) <= call_usd
        left = [int(part.count.sum()) for part in self.parts]
        samples = tuple(min(rows // 2, max(LEAST, share_of(PRICED, rows))) for rows in left)
        calls = self.calls - int(kept.sum()) + int(self.kept.sum())
        order = np.lexsort((-self.scores.margin, ~kept))
        return replace(self, kept=kept, samples=samples, order=order, calls=calls)
