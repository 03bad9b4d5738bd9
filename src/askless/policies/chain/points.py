"""What each common threshold of a chain buys: cost, share and quality, measured in one pass, and found by budget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from askless.arrays import Floats
from askless.errors import BudgetError
from askless.policies.base import Budget

GRID = 101


@dataclass(frozen=True)
class Points:
    """What each common threshold buys on the calibration rows, from nobody asked on to everybody, shape (points,).

    `cuts` are (points, 2), threshold and tie; `share` of rows beyond the first link; `cost` and `quality` per row.
    """

    cuts: Floats
    share: Floats
    cost: Floats
    quality: Floats

    @classmethod
    def measured(cls, sure: Floats, quality: Floats, cost: Floats) -> Points:
        """Of expected qualities, those had if stopped there, and costs, each (rows, links).

        A row goes on at a link if the largest it expects so far is below the threshold, so that all thresholds are
        measured in one pass over the sorted (row, link) pairs. The points divide the cost of going on, and the number
        of times, into equal parts.
        """
        highest = np.maximum.accumulate(sure[:, :-1], axis=1)
        levels, place = np.unique(highest, return_inverse=True)
        place = place.reshape(-1)
        first = np.zeros(highest.shape)
        first[:, 0] = 1.0
        gains = [first, cost[:, 1:], np.diff(quality, axis=1), np.ones(highest.shape)]
        at = np.stack([np.bincount(place, gain.reshape(-1), len(levels)) for gain in gains])
        upto = np.cumsum(at, axis=1)
        position = np.unique(np.concatenate([_divided(at[k], upto[k]) for k in (1, 3)] + [[0.0, len(levels)]]))
        level = np.minimum(position.astype(int), len(levels) - 1)
        tie = position - level
        spent = (upto[:3, level] - at[:3, level] * (1 - tie)) / len(sure)
        cuts = np.stack([levels[level], tie], axis=1)
        cuts[0], cuts[-1] = (-np.inf, 0.0), (np.inf, 1.0)
        return cls(cuts, spent[0], cost[:, 0].mean() + spent[1], quality[:, 0].mean() + spent[2])

    def at(self, budget: Budget) -> tuple[int, int, float]:
        """Two points and the share of rows to decide by the second so that `budget` is met exactly in expectation.

        A price gives the point of the largest quality less price times cost. Raises `BudgetError` for a cost per 1,000
        below that of the first expert.
        """
        if budget.price is not None:
            best = int(np.argmax(self.quality - budget.price * self.cost))
            return best, best, 0.0
        spent, value = (self.share, budget.value) if budget.share is not None else (self.cost, budget.value / 1000)
        slack = 1e-9 * spent[-1]
        if value < spent[0] - slack:
            raise BudgetError(
                f"A budget of {budget.value:g} per 1,000 items is under the least cost, {1000 * spent[0]:g}: every "
                "item is asked of the first expert. Allowed: at least that."
            )
        same = np.flatnonzero(np.abs(spent - value) <= slack)
        if len(same):
            best = int(same[np.argmax(self.quality[same])])
            return best, best, 0.0
        above = min(int(np.searchsorted(spent, value)), len(spent) - 1)
        below = above - (value < spent[above])
        gap = spent[above] - spent[below]
        return int(below), above, float((value - spent[below]) / gap) if gap else 0.0


def _divided(at: Floats, upto: Floats) -> Floats:
    """Where equal parts of the whole end: a level's index plus the part taken of it, shape (GRID,) or none."""
    if upto[-1] <= 0:
        return np.empty(0)
    target = np.linspace(0, upto[-1], GRID)
    level = np.minimum(np.searchsorted(upto, target), len(upto) - 1)
    part = np.divide(target - (upto - at)[level], at[level], out=np.ones(GRID), where=at[level] > 0)
    return np.asarray(level + np.clip(part, 0, 1))
