"""A cut through scores: which rows go on to the next expert, a budget hit exactly, ties or not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from askless.arrays import Bools, Floats
from askless.errors import BudgetError


@dataclass(frozen=True)
class Cut:
    """Rows whose score is under `threshold` go on, and of those just at it the share `tie`.

    Which of the tied rows go on is settled by `Panel.draws`, a fixed draw for each id: the same row goes the same way
    alone, in a batch and on a stream.
    """

    threshold: float
    tie: float

    def below(self, score: Floats, draw: Floats) -> Bools:
        """Which rows go on, shape (rows,); a score of NaN says nothing and goes on unless nothing does."""
        score = least_if_nan(score)
        return np.asarray((score < self.threshold) | ((score == self.threshold) & (draw < self.tie)))

    def bar(self, draw: Floats) -> Floats:
        """What each row must reach to be kept (rows,): just above the threshold where its draw lets it on at a tie."""
        return np.where(draw < self.tie, np.nextafter(self.threshold, np.inf), self.threshold)


NONE = Cut(-math.inf, 0.0)
ALL = Cut(math.inf, 1.0)


def cut_at(score: Floats, share: float, weight: Floats | None = None) -> Cut:
    """The cut that lets on the lowest scores until they hold `share` of the rows, or of their `weight` (rows,).

    Raises `BudgetError` without rows, or for a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise BudgetError(f"A share of {share:g} of the rows. Allowed: from 0 to 1.")
    if not len(score):
        raise BudgetError("No rows to set a threshold on. Give at least one.")
    if share in (0, 1):
        return ALL if share else NONE
    levels, place = np.unique(least_if_nan(score), return_inverse=True)
    at = np.bincount(place, np.ones(len(score)) if weight is None else weight, len(levels))
    upto = np.cumsum(at)
    target = share * upto[-1]
    first = min(int(np.searchsorted(upto, target - 1e-12 * upto[-1])), len(levels) - 1)
    rest = target - (upto[first] - at[first])
    return Cut(float(levels[first]), float(np.clip(rest / at[first], 0, 1)) if at[first] > 0 else 1.0)


def least_if_nan(score: Floats) -> Floats:
    """Scores with NaN, which says nothing, as the least of all."""
    return np.where(np.isnan(score), -np.inf, score)
