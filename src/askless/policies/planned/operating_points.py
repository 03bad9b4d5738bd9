"""Operating points of a plan, cheapest first: what each costs and promises, and which two a budget lies between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from askless.arrays import Bools, Floats, Ints
from askless.errors import BudgetError
from askless.policies.allocator import Thresholds
from askless.policies.base import Budget

GRID = 201
SLACK = 1e-9
NAMES = ("point", "price", "share", "cost", "quality")


@dataclass(frozen=True)
class Mix:
    """Two operating points, by their place on the curve: `high` for the share `weight` of the rows, `low` for the rest.

    `cost` per item, `share` of rows beyond the first expert and `quality` are what is promised.
    """

    low: int
    high: int
    weight: float
    cost: float
    share: float
    quality: float


@dataclass(frozen=True)
class OperatingPoints(Thresholds):
    """Points of rising cost and quality, each array (points,); `point` names the rule's point that is meant."""

    point: Ints

    def mix(self, budget: Budget | None) -> Mix:
        """The neighbours that meet `budget` exactly; at a price, 0 without one, the costliest point that is worth it.

        Of points that promise the same quality the cheapest is worth it.

        Raises `BudgetError` for a budget under the least cost.
        """
        if budget is None or budget.price is not None:
            costliest = np.flatnonzero(self.price >= (budget.value if budget else 0.0))[-1]
            return self._mixed(int(np.argmax(self.quality >= self.quality[costliest] - SLACK)), 0.0)
        if budget.share is not None:
            return self._by_share(budget.share)
        cost = budget.value / 1000
        if cost < self.cost[0] * (1 - SLACK):
            raise BudgetError(
                f"A budget of {budget.value:g} is under the least cost per 1,000 items, {1000 * self.cost[0]:g}. "
                "Allowed: at least that."
            )
        low, weight = between(self.cost, np.array([cost]))
        return self._mixed(int(low[0]), float(weight[0]))

    def _by_share(self, share: float) -> Mix:
        """Of points that go beyond the first expert for as many rows the last is meant: a share is no limit on cost."""
        last = np.flatnonzero(self.share >= np.maximum.accumulate(self.share))
        last = last[np.append(np.diff(self.share[last]) > SLACK, True)]
        low, weight = between(self.share[last], np.array([share]))
        return self._mixed(int(last[low[0]]), float(weight[0]), int(last[min(low[0] + 1, len(last) - 1)]))

    def _mixed(self, low: int, weight: float, high: int | None = None) -> Mix:
        high = min(low + 1, len(self.point) - 1) if high is None else high
        cost, share, quality = (
            float((1 - weight) * of[low] + weight * of[high]) for of in (self.cost, self.share, self.quality)
        )
        return Mix(low, high, weight, cost, share, quality)

    def __getitem__(self, places: Ints | Bools) -> OperatingPoints:
        return OperatingPoints(**{name: getattr(self, name)[places] for name in NAMES})

    def joined(self, other: OperatingPoints) -> OperatingPoints:
        """These points and then the other ones."""
        return OperatingPoints(**{n: np.append(getattr(self, n), getattr(other, n)) for n in NAMES})

    def state(self) -> dict[str, Any]:
        """The points as plain values."""
        return {name: getattr(self, name).tolist() for name in NAMES}

    @classmethod
    def restored(cls, state: dict[str, Any]) -> OperatingPoints:
        """The points that `state` tells of."""
        return cls(**{name: np.array(state[name], np.int64 if name == "point" else float) for name in NAMES})


@dataclass(frozen=True)
class Measured:
    """What every operating point came to on rows it was not fitted on.

    `right` and `cost` (points, rows): answered rightly, and paid. `bill` and `share` (points,): the mean cost and the
    rows beyond the first expert under the rule that will decide. The last `experts` points are each expert alone,
    cheapest first, the others the rule's own, costliest first, of lambda `price` (rising).
    """

    right: Bools
    cost: Floats
    bill: Floats
    share: Floats
    price: Floats
    experts: int

    @property
    def own(self) -> int:
        """How many points are the rule's own."""
        return len(self.right) - self.experts

    def area(self) -> Floats:
        """Each row's part of the area under the plan's curve, (rows,): their mean is the mean quality over the range.

        The range runs from the cheapest expert's cost to the costliest's. Points are taken in the order of their
        lambda, not of their luck.
        """
        points = self._points_at(self.cost.mean(axis=1))
        return self._over_range(points.point, points.cost)

    def mixture(self) -> Floats:
        """Each row's part of the area of the best random mix of single experts, (rows,)."""
        cost, quality = self._alone()
        hull = upper_hull(cost, quality)
        return self._over_range(self.own + hull, cost[hull])

    def alone(self) -> OperatingPoints:
        """The operating points of single experts: of each that is better than all that cost no more."""
        cost, quality = self._alone()
        hull = upper_hull(cost, quality)
        slope = np.diff(quality[hull]) / np.maximum(np.diff(cost[hull]), 1e-300)
        return self._points(self.own + hull, np.append(np.inf, slope), cost[hull], quality[hull])

    def points(self) -> OperatingPoints:
        """The plan's operating points, in the order of lambda; each promises what the measured curve has at its bill.

        The measured quality is made rising by isotonic regression. The cheapest expert alone comes first. The best one
        alone, if it is better than what is had at its cost, takes the place of every point that costs no less and is no
        better.
        """
        return self._points_at(self.bill)

    def _points_at(self, bill: Floats) -> OperatingPoints:
        cost, quality = self._alone()
        order = np.arange(self.own)[::-1]
        paid, promised = bill[order], self._at(bill[order])
        rises = (paid >= np.maximum.accumulate(paid)) & (paid >= cost[0]) & (promised > quality[0] + SLACK)
        points = self._points(
            np.append(self.own, order[rises]),
            np.append(np.inf, self.price[order[rises]]),
            np.append(cost[0], paid[rises]),
            np.append(quality[0], promised[rises]),
        )
        best = int(np.argmax(quality))
        if best and not (points.quality[points.cost <= cost[best]] >= quality[best] - SLACK).any():
            before = np.append(True, points.cost[1:] < cost[best])
            after = ~before & (points.quality > quality[best] + SLACK)
            lam = points.price[~before][:1] if (~before).any() else np.zeros(1)
            single = self._points(np.array([self.own + best]), lam, cost[[best]], quality[[best]])
            points = points[before].joined(single).joined(points[after])
        return points

    def _at(self, bill: Floats) -> Floats:
        """Quality promised at each of the costs `bill`: the measured curve, from the cheapest expert alone on."""
        cost, quality = self._alone()
        order = np.arange(self.own)[::-1]
        paid = np.maximum.accumulate(np.append(cost[0], self.cost[order].mean(axis=1)))
        had = np.append(quality[0], rising(self.right[order].mean(axis=1)))
        low, weight = between(paid, bill)
        return np.asarray((1 - weight) * had[low] + weight * had[np.minimum(low + 1, len(had) - 1)])

    def _points(self, point: Ints, price: Floats, cost: Floats, quality: Floats) -> OperatingPoints:
        return OperatingPoints(price=price, share=self.share[point], cost=cost, quality=quality, point=point)

    def _alone(self) -> tuple[Floats, Floats]:
        return self.cost[self.own :].mean(axis=1), self.right[self.own :].mean(axis=1)

    def _over_range(self, point: Ints, cost: Floats) -> Floats:
        alone = self._alone()[0]
        low, weight = between(cost, np.linspace(alone.min(), alone.max(), GRID))
        last = len(point) - 1
        held = np.bincount(low, 1 - weight, len(point)) + np.bincount(np.minimum(low + 1, last), weight, len(point))
        return np.asarray(held @ self.right[point] / GRID)


def rising(quality: Floats) -> Floats:
    """The non-decreasing values nearest to `quality` in least squares (pooling of adjacent violators)."""
    value: list[float] = []
    count: list[int] = []
    for q in quality.tolist():
        value.append(q)
        count.append(1)
        while len(value) > 1 and value[-2] > value[-1]:
            q, n = value.pop(), count.pop()
            value[-1] = (value[-1] * count[-1] + q * n) / (count[-1] + n)
            count[-1] += n
    return np.repeat(value, count)


def between(level: Floats, target: Floats) -> tuple[Ints, Floats]:
    """The last of `level` (rising) that is within each target, and the weight of the next one that makes it exact."""
    low = np.clip(np.searchsorted(level, target * (1 + SLACK) + 1e-300, side="right") - 1, 0, len(level) - 1)
    high = np.minimum(low + 1, len(level) - 1)
    gap = level[high] - level[low]
    weight = np.where(gap > 0, (target - level[low]) / np.where(gap > 0, gap, 1.0), 0.0)
    return low, np.clip(weight, 0.0, 1.0)


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


def _sags(cost: Floats, quality: Floats, a: int, b: int, c: int) -> bool:
    return bool((quality[b] - quality[a]) * (cost[c] - cost[a]) <= (quality[c] - quality[a]) * (cost[b] - cost[a]))
