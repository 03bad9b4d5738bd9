"""Every cut through the scores of known rows with what it costs and gains: a budget finds its own in microseconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from askless.arrays import Floats
from askless.errors import BudgetError
from askless.policies.base import Budget
from askless.policies.cuts import ALL, NONE, Cut


@dataclass(frozen=True)
class Sweep:
    """What it costs and gains per row to let on ever more rows, those of the lowest score first.

    `score` (levels,) are the scores met; the `share` let on, its `cost` and its `gain` in quality, each (levels + 1,),
    run from nobody to everybody.
    """

    score: Floats
    share: Floats
    cost: Floats
    gain: Floats

    @classmethod
    def of(cls, score: Floats, stay: Floats, go: Floats, gain: Floats) -> Sweep:
        """From each row's score, its cost if it stays and if it goes on, and what it gains then, each (rows,)."""
        levels, place = np.unique(score, return_inverse=True)

        def upto(each: Floats) -> Floats:
            return np.append(0.0, np.cumsum(np.bincount(place, each, len(levels)))) / len(score)

        return cls(levels, upto(np.ones(len(score))), stay.mean() + upto(go - stay), upto(gain))

    def at(self, budget: Budget) -> Cut:
        """The cut that spends `budget` to the full on these rows; for a price that of the best gain less price x cost.

        Raises `BudgetError` for a budget under the least cost.
        """
        if budget.price is not None:
            return self._cut(int(np.argmax(self.gain - budget.price * self.cost)), 0.0)
        spent = self.share if budget.share is not None else 1000 * self.cost
        within = np.flatnonzero(spent <= budget.value + 1e-12 * spent.max())
        if not len(within):
            raise BudgetError(
                f"A budget of {budget.value:g} is under the least cost per 1,000 items, {spent.min():g}. "
                "Allowed: at least that."
            )
        most = int(within[-1])
        if most == len(self.score):
            return ALL
        return self._cut(most, float(np.clip((budget.value - spent[most]) / (spent[most + 1] - spent[most]), 0, 1)))

    def _cut(self, levels: int, tie: float) -> Cut:
        if levels == len(self.score):
            return ALL
        return Cut(float(self.score[levels]), tie) if levels or tie else NONE
