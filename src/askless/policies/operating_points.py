"""What each operating point of a policy buys, and which of them a budget means."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from askless.arrays import Bools, Floats, Ints
from askless.errors import BudgetError
from askless.policies.base import Budget

GRID = 101
SLACK = 1e-9


@dataclass(frozen=True)
class Threshold:
    """A threshold of a score: rows under it go on, and of those just at it a share.

    Which of the tied rows go on is settled by `Panel.draws`, a fixed draw for each id: the same row goes the same way
    alone, in a batch and on a stream.

    Parameters
    ----------
    value, tie
        The score, and the share, 0 to 1, of the rows just at it that go on.
    """

    value: float
    tie: float

    def below(self, score: Floats, draw: Floats) -> Bools:
        """Which rows go on, shape (rows,); a score of NaN states nothing and goes on unless nothing does."""
        score = least_if_nan(score)
        return np.asarray((score < self.value) | ((score == self.value) & (draw < self.tie)))

    def by_row(self, draw: Floats) -> Floats:
        """What each row must reach to be kept (rows,): just above the value where its draw lets it on at a tie."""
        return np.where(draw < self.tie, np.nextafter(self.value, np.inf), self.value)

    def share(self, score: Floats) -> Floats:
        """The chance of each row to go on, over its draws, shape (rows,)."""
        return np.asarray((score < self.value) + self.tie * (score == self.value), np.float64)


NOBODY = Threshold(-math.inf, 0.0)
EVERYBODY = Threshold(math.inf, 1.0)


def threshold_at(score: Floats, share: float, weight: Floats | None = None) -> Threshold:
    """The threshold that lets on the lowest scores until they hold `share` of the rows, or of their `weight` (rows,).

    Raises `BudgetError` without rows, or for a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise BudgetError(f"A share of {share:g} of the rows. Allowed: from 0 to 1.")
    if not len(score):
        raise BudgetError("No rows to set a threshold on. Give at least one.")
    if share in (0, 1):
        return EVERYBODY if share else NOBODY
    levels, place = np.unique(least_if_nan(score), return_inverse=True)
    at = np.bincount(place, np.ones(len(score)) if weight is None else weight, len(levels))
    upto = np.cumsum(at)
    target = share * upto[-1]
    first = min(int(np.searchsorted(upto, target - 1e-12 * upto[-1])), len(levels) - 1)
    rest = target - (upto[first] - at[first])
    return Threshold(float(levels[first]), float(np.clip(rest / at[first], 0, 1)) if at[first] > 0 else 1.0)


def least_if_nan(score: Floats) -> Floats:
    """Scores with NaN, which states nothing, as the least of all."""
    return np.where(np.isnan(score), -np.inf, score)


@dataclass(frozen=True)
class Mix:
    """Two operating points, one for some of the rows and one for the rest.

    Parameters
    ----------
    low, high
        Their places among the points.
    weight
        Share of the rows, 0 to 1, that `high` is for.
    """

    low: int
    high: int
    weight: float

    def of(self, values: Floats) -> float:
        """What a value of each point comes to in the mix."""
        return float((1 - self.weight) * values[self.low] + self.weight * values[self.high])

    def place(self, draw: Floats) -> Ints:
        """The point that each row is decided at, by its draw, shape (rows,)."""
        return np.where(draw < self.weight, self.high, self.low)


@dataclass(frozen=True)
class OperatingPoints:
    """Points of rising cost on the rows that they were measured on.

    Parameters
    ----------
    share
        Share of rows beyond the first expert, (points,).
    cost, quality
        Of a row in the mean, each (points,); cost is in the cost model's unit.
    """

    share: Floats
    cost: Floats
    quality: Floats

    def mix(self, budget: Budget) -> Mix:
        """The neighbours that spend `budget` in the mean; at a price the one point of best quality less price x cost.

        Raises `BudgetError` for a budget under the least cost.
        """
        if budget.price is not None:
            best = int(np.argmax(self.quality - budget.price * self.cost))
            return Mix(best, best, 0.0)
        spent, value = (self.cost, budget.value / 1000) if budget.share is None else (self.share, budget.value)
        return self._spending(spent, value)

    def _spending(self, spent: Floats, value: float) -> Mix:
        """The last point within `value` and its neighbour; of points that spend just that the one of best quality."""
        slack = SLACK * float(spent.max())
        same, within = np.flatnonzero(np.abs(spent - value) <= slack), np.flatnonzero(spent <= value + slack)
        if not len(within):
            raise BudgetError.too_little(1000 * value, 1000 * float(spent.min()))
        if len(same):
            best = int(same[np.argmax(self.quality[same])])
            return Mix(best, best, 0.0)
        low = int(within[-1])
        high = min(low + 1, len(spent) - 1)
        return Mix(low, high, float((value - spent[low]) / (spent[high] - spent[low])) if high > low else 0.0)

    def __getitem__(self, places: Ints | Bools) -> Self:
        return type(self)(**{each.name: getattr(self, each.name)[places] for each in fields(self)})

    def joined(self, other: Self) -> Self:
        """These points and then the other ones."""
        return type(self)(**{e.name: np.append(getattr(self, e.name), getattr(other, e.name)) for e in fields(self)})


@dataclass(frozen=True)
class ThresholdPoints(OperatingPoints):
    """What every threshold of a score buys, from nobody who goes on to everybody.

    Parameters
    ----------
    share, cost, quality
        As of `OperatingPoints`.
    value, tie
        Those of the thresholds, each (points,).
    """

    value: Floats
    tie: Floats

    @classmethod
    def of_levels(cls, score: Floats, stay: Floats, go: Floats, gain: Floats) -> Self:
        """A point for each score: what rows cost if they stay and if they go on, and gain then, each (rows,)."""
        levels, place = np.unique(least_if_nan(score), return_inverse=True)

        def upto(each: Floats) -> Floats:
            return np.append(0.0, np.cumsum(np.bincount(place, each, len(levels)))) / len(score)

        tie = np.append(np.zeros(len(levels)), 1.0)
        share, cost = upto(np.ones(len(score))), stay.mean() + upto(go - stay)
        return cls(share, cost, upto(gain), np.append(levels, np.inf), tie)

    @classmethod
    def of_links(cls, sure: Floats, quality: Floats, cost: Floats) -> Self:
        """Points of a threshold that all links of a chain have; of expected qualities, those had, and costs.

        Each array is (rows, links). A row goes on at a link if the largest it expects so far is below the threshold, so
        that all are measured in one pass over the sorted (row, link) pairs. The points divide the cost of going on, and
        the number of times, into equal parts.
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
        value = levels[level]
        value[0], value[-1], tie[0], tie[-1] = -np.inf, np.inf, 0.0, 1.0
        return cls(spent[0], cost[:, 0].mean() + spent[1], quality[:, 0].mean() + spent[2], value, tie)

    def area(self, top: float) -> float:
        """Mean quality over costs from that of the first point to `top`."""
        return float(np.interp(np.linspace(self.cost[0], top, GRID), self.cost, self.quality).mean())

    def threshold(self, place: int) -> Threshold:
        """The threshold of one point."""
        return Threshold(float(self.value[place]), float(self.tie[place]))

    def at(self, budget: Budget) -> Threshold:
        """Of points `of_levels`, the one threshold that spends `budget` to the full."""
        mix = self.mix(budget)
        found = self.threshold(mix.low)
        return Threshold(found.value, mix.weight) if mix.weight else found if mix.low else NOBODY


@dataclass(frozen=True)
class PricedPoints(OperatingPoints):
    """Points that are each meant for a price of quality.

    Parameters
    ----------
    share, cost, quality
        As of `OperatingPoints`.
    price, point
        The price, lambda, falling, and the place of the rule's own point, each (points,).
    """

    price: Floats
    point: Ints

    def mix(self, budget: Budget) -> Mix:
        """As of any points, but at a price the costliest point that is worth it.

        Of points that promise the same quality the cheapest is worth it.
        """
        if budget.price is None:
            return super().mix(budget)
        costliest = np.flatnonzero(self.price >= budget.price)[-1]
        best = int(np.argmax(self.quality >= self.quality[costliest] - SLACK))
        return Mix(best, best, 0.0)

    def _spending(self, spent: Floats, value: float) -> Mix:
        """Of points that spend the same the last is meant, which goes furthest."""
        if value < spent[0] * (1 - SLACK):
            raise BudgetError.too_little(1000 * value, 1000 * float(spent[0]))
        last = np.flatnonzero(spent >= np.maximum.accumulate(spent))
        last = last[np.append(np.diff(spent[last]) > SLACK * spent.max(), True)]
        low, weight = between(spent[last], np.array([value]))
        return Mix(int(last[low[0]]), int(last[min(low[0] + 1, len(last) - 1)]), float(weight[0]))


def between(level: Floats, target: Floats) -> tuple[Ints, Floats]:
    """The last of `level` (rising) that is within each target, and the weight of the next one that makes it exact."""
    low = np.clip(np.searchsorted(level, target * (1 + SLACK) + 1e-300, side="right") - 1, 0, len(level) - 1)
    high = np.minimum(low + 1, len(level) - 1)
    gap = level[high] - level[low]
    weight = np.where(gap > 0, (target - level[low]) / np.where(gap > 0, gap, 1.0), 0.0)
    return low, np.clip(weight, 0.0, 1.0)


def _divided(at: Floats, upto: Floats) -> Floats:
    """Where equal parts of the whole end: a level's index plus the part taken of it, shape (GRID,) or none."""
    if upto[-1] <= 0:
        return np.empty(0)
    target = np.linspace(0, upto[-1], GRID)
    level = np.minimum(np.searchsorted(upto, target), len(upto) - 1)
    part = np.divide(target - (upto - at)[level], at[level], out=np.ones(GRID), where=at[level] > 0)
    return np.asarray(level + np.clip(part, 0, 1))


def upper_hull(cost: Floats, quality: Floats) -> Ints:
    """Indices of the points on the rising upper concave envelope, cheapest first."""
    hull: list[int] = []
    for i in np.lexsort((-quality, cost)):
        if hull and quality[i] <= quality[hull[-1]]:
            continue
        while len(hull) > 1 and _sags(cost, quality, hull[-2], hull[-1], int(i)):
            hull.pop()
        hull.append(int(i))
    return np.array(hull)


def beneath_hull(cost: Floats, quality: Floats) -> Floats:
    """How far each expert alone lies beneath what mixes of the others buy for its mean cost, shape (experts,).

    Of those on the rising upper hull it is 0; one that costs more than the best lies beneath the best.
    """
    hull = upper_hull(cost, quality)
    return np.maximum(0.0, np.interp(cost, cost[hull], quality[hull]) - quality)


def nested_links(cost: Floats, quality: Floats) -> list[Ints]:
    """All experts, then without the one furthest beneath the hull, and so on to two; of answers (rows, experts).

    Each is the places of those left, in order; the first expert stays.
    """
    beneath = beneath_hull(cost.mean(axis=0), quality.mean(axis=0))
    order = np.argsort(np.append(-1.0, beneath[1:]), kind="stable")
    return [np.sort(order[:count]) for count in range(len(order), 1, -1)]


def near_hull(cost: Floats, quality: Floats, least: int = 2) -> Ints:
    """Which experts a chain is worth asking, from their answers to some rows (rows, experts): places in order.

    Left out is who lies beneath the hull by more than the standard error of its own mean quality. The first stays, and
    so do at least so many.
    """
    beneath = beneath_hull(cost.mean(axis=0), quality.mean(axis=0))
    error = quality.std(axis=0) / np.sqrt(len(quality))
    beneath[0] = -1.0
    count = max(least, int((beneath <= error + SLACK).sum()))
    return np.sort(np.argsort(np.where(beneath <= error + SLACK, -1.0, beneath), kind="stable")[:count])


def _sags(cost: Floats, quality: Floats, a: int, b: int, c: int) -> bool:
    """Whether b lies on or beneath the line from a to c."""
    return bool((quality[b] - quality[a]) * (cost[c] - cost[a]) <= (quality[c] - quality[a]) * (cost[b] - cost[a]))
