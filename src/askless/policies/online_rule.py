"""The published online budget rule for two experts on a stream whose money is limited, to the digit and fast.

Source: Ramirez, Birch and Titov 2024, Optimising Calls to Large Language Models with Uncertainty-Based Two-Tier
Selection, section 3, and the code published with it (a fixed price for each call).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from askless.arrays import Bools, Floats, Ints
from askless.errors import BudgetError, DataError

Fates = NDArray[np.int8]
# What becomes of a row: the money is gone, the small one answers, the large one after it, the large one alone.
NOBODY, SMALL, BOTH, LARGE = -1, 0, 1, 2
WARM_UP = 20


@dataclass(frozen=True)
class OnlineRule:
    """The published rule at fixed costs and known quality.

    The score is the small one's confidence, and both are paid where it is too low. In a row's turn, what is left of
    budget x rows pays nobody: nobody answers. It pays the small one for the rows left and no more: that answers. It
    pays the large one for all of them, and that is the better one: it answers alone, and the score is never looked
    at. Else the large one answers where the score is under the `share`-quantile of the scores so far (-1 for the
    first 20) and it can be paid.

    Parameters
    ----------
    costs, quality
        Of the small and the large one: cost of a call, finite and 0 or more; share of its answers that are right.
    """

    costs: tuple[float, float]
    quality: tuple[float, float]

    def __post_init__(self) -> None:
        if not (np.isfinite(self.costs).all() and min(self.costs) >= 0):
            raise DataError("online rule", f"costs {self.costs}", "two finite numbers >= 0", "Measure them again.")

    @property
    def large_better(self) -> bool:
        """Whether the large one is right more often."""
        return self.quality[1] > self.quality[0]

    def share(self, budget: float) -> float:
        """Which quantile of the scores so far is the threshold, for a `budget` a row."""
        small, large = self.costs
        if not budget >= min(self.costs):
            raise BudgetError(f"A budget of {budget:g} a row. Allowed: at least the lower price, {min(self.costs):g}.")
        if not (self.large_better and small < large):
            return min((1 - self.quality[0]) / 2, 0.6)
        return min((budget - small) / large, 1)

    def wanted(self, score: Floats, rank: Ints, top: Floats, count: Ints, budget: float) -> Bools:
        """Whether each score is under its threshold, shape (rows,); `count` were seen with it, `top` the largest."""
        place = (count * self.share(budget)).astype(np.int64)
        low = np.where(place < count, rank <= place, score < top + 10)
        return np.asarray(np.where(count > WARM_UP, low, score < -1.0), bool)

    def play(
        self, budget: float, rows: int, wanted: Callable[[Fates, int], Bools], block: Callable[[float, int], int]
    ) -> Fates:
        """What becomes of each of `rows` rows in their order, from NOBODY to LARGE.

        `wanted(done, end)` is asked whether the scores from the row after those `done` to `end` are under their
        thresholds; the rows that are LARGE among `done` have no score. `block(money, left)` says how far ahead
        it may be asked.
        """
        done = np.full(rows, NOBODY, np.int8)
        money, at, end = budget * rows, 0, 0
        want = np.zeros(0, bool)
        while at < rows:
            case = int(self._case(money, float(rows - at)))
            if case == NOBODY:
                break
            if case != LARGE and at >= end:
                end = at + block(money, rows - at)
                want = wanted(done[:at], end)
            if case == LARGE:
                fate, money = self._alone(money, rows - at)
                end = at
            else:
                fate, money = self._tiers(money, rows - at, want[at - end :])
            done[at : at + len(fate)] = fate
            at += len(fate)
        return done

    def _case(self, money: Floats | float, left: Floats | float) -> Fates:
        """NOBODY, SMALL or LARGE where the money settles it, else BOTH; `left` are the rows from this one on."""
        small, large = self.costs
        enough = (money - left * large >= 0) & self.large_better
        settled = np.where(money - left * small <= 0, SMALL, np.where(enough, LARGE, BOTH))
        return np.asarray(np.where(money < small, NOBODY, settled), np.int8)

    def _can(self, money: Floats | float, case: Fates) -> Bools:
        """Whether the large one can be paid for where its answer is wanted."""
        small, large = self.costs
        return np.asarray((money - small - large >= 0) & (case == BOTH))

    def _alone(self, money: float, left: int) -> tuple[Fates, float]:
        """The large one alone, for as long as the money says so."""
        path = np.add.accumulate(np.append(money, np.full(left, -self.costs[1])))
        stop = _first(self._case(path[:-1], np.arange(left, 0, -1.0)) != LARGE)
        return np.full(stop, LARGE, np.int8), float(path[stop])

    def _tiers(self, money: float, left: int, want: Bools) -> tuple[Fates, float]:
        """The small one, and the large one either wherever wanted or nowhere, for as long as that holds."""
        small, large = self.costs
        paid = bool(self._can(money, self._case(money, float(left))))
        go = want if paid or not want[0] else np.zeros(len(want), bool)
        first, second = np.full(len(want), -small), np.where(go, -large, 0.0)
        # One payment after the other, so that the money is rounded as by a loop over the rows.
        path = np.add.accumulate(np.append(money, np.stack([first, second], axis=1)))[::2]
        case = self._case(path[:-1], left - np.arange(len(want), dtype=float))
        otherwise = (want & self._can(path[:-1], case)) != go
        stop = _first((case == NOBODY) | (case == LARGE) | otherwise)
        return np.where(go[:stop], BOTH, SMALL).astype(np.int8), float(path[stop])


def published_order(seed: int, rows: int) -> Ints:
    """The order in which rows come, as the published code draws it."""
    return np.asarray(np.random.RandomState(seed).permutation(rows), np.int64)  # noqa: NPY002


def running_rank(score: Floats) -> Ints:
    """For each score how many up to and with it are at most it, shape (rows,).

    Merges ever smaller halves of the stream, each level in a few passes over all rows: O(n log n), no loop over rows.
    """
    n = len(score)
    at = np.argsort(score, kind="stable")
    rank = np.ones(n, np.int64)
    for level in range(max(n - 1, 0).bit_length() - 1, -1, -1):
        start = at >> (level + 1) << (level + 1)
        late = (at >> level) & 1
        early = np.append(0, np.cumsum(1 - late))
        before = early[:-1] - early[start]
        rank[at] += late * before
        half = np.minimum(1 << level, n - start)
        place = np.where(late == 1, start + half + (np.arange(n) - start - before), start + before)
        moved = np.empty_like(at)
        moved[place] = at
        at = moved
    return rank


def _first(where: Bools) -> int:
    """Index of the first that is true, the length if none is."""
    return int(np.argmax(where)) if where.any() else len(where)
