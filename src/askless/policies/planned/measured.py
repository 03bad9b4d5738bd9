"""What every operating point of a plan came to on rows it was not fitted on, and which of them are worth having."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from askless.arrays import Bools, Floats, Ints
from askless.policies.operating_points import SLACK, PricedPoints, between, upper_hull

GRID = 201


@dataclass(frozen=True)
class MeasuredPoints:
    """What every operating point came to on rows it was not fitted on.

    Parameters
    ----------
    right, cost
        Whether each row was answered rightly, and what was paid for it, each (points, rows).
    bill, share
        The mean cost and the share of rows beyond the first expert under the rule that will decide, each (points,).
    price
        Lambda of each of the rule's own points, rising: the costliest comes first.
    experts
        How many points there are after them: each expert alone, cheapest first.
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

    def alone(self) -> PricedPoints:
        """The operating points of single experts: of each that is better than all that cost no more."""
        cost, quality = self._alone()
        hull = upper_hull(cost, quality)
        slope = np.diff(quality[hull]) / np.maximum(np.diff(cost[hull]), 1e-300)
        return self._points(self.own + hull, np.append(np.inf, slope), cost[hull], quality[hull])

    def points(self) -> PricedPoints:
        """The plan's operating points, in the order of lambda; each promises what the measured curve has at its bill.

        The measured quality is made rising by isotonic regression. The cheapest expert alone comes first. The best one
        alone, if it is better than what is had at its cost, takes the place of every point that costs no less and is no
        better.
        """
        return self._points_at(self.bill)

    def _points_at(self, bill: Floats) -> PricedPoints:
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

    def _points(self, point: Ints, price: Floats, cost: Floats, quality: Floats) -> PricedPoints:
        return PricedPoints(price=price, share=self.share[point], cost=cost, quality=quality, point=point)

    def _alone(self) -> tuple[Floats, Floats]:
        return self.cost[self.own :].mean(axis=1), self.right[self.own :].mean(axis=1)

    def _over_range(self, point: Ints, cost: Floats) -> Floats:
        alone = self._alone()[0]
        low, weight = between(cost, np.linspace(alone.min(), alone.max(), GRID))
        last = len(point) - 1
        held = np.bincount(low, 1 - weight, len(point)) + np.bincount(np.minimum(low + 1, last), weight, len(point))
        return np.asarray(held @ self.right[point] / GRID)


def rising(quality: Floats) -> Floats:
    """The non-decreasing values nearest to `quality` in least squares."""
    from scipy.optimize import isotonic_regression

    return np.asarray(isotonic_regression(quality).x, np.float64)
