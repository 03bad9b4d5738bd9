"""What a price of quality means for every row: whom to ask first, and whether to ask on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from askless.arrays import Floats, Ints
from askless.policies.planned.operating_points import OperatingPoints

GRID = 201
SPREAD, LEAST = 1e-9, 1e-6


@dataclass(frozen=True)
class SummaryGainRule:
    """At a price lambda asks the expert of the largest expected gain - lambda x cost, the small one's gain being 0.

    `prices` (experts,) are mean costs. With `reads` the small one may be asked first and its summary read: `news`
    (costlier,) is the standard deviation of what that reading changes in the expected gain. Under `straight` a costlier
    expert is asked at once where gain - lambda x (price - small price) exceeds the value of reading, the mean of
    max(0, gain after reading - lambda x price), gains after reading being normal about those before. Where quality has
    no price, reading that is expected to add less than `LEAST` is left out all the same.
    """

    prices: Floats
    news: Floats
    reads: bool
    straight: bool

    @classmethod
    def of(cls, prices: Floats, news: Floats, look_at: str, straight: bool) -> SummaryGainRule:
        """The rule for mean costs; where all are the same, or nothing, one call of a costlier expert counts as 1."""
        if not np.ptp(prices) > 0:
            prices = np.arange(len(prices)).clip(0, 1).astype(float)
        return cls(np.asarray(prices, float), np.asarray(news, float), look_at == "small", straight)

    @property
    def extra(self) -> Floats:
        """What a costlier expert costs more than the small one, shape (costlier,); never nothing."""
        return np.asarray(np.maximum(self.prices[1:] - self.prices[0], SPREAD * self.prices.max()), np.float64)

    def first(self, before: Floats, price: Floats) -> tuple[Floats, Floats]:
        """Score and bar of each row before any call: below the bar a costlier expert is asked at once, each (rows,)."""
        worth = before - price[:, None] * self.extra
        best = worth.argmax(axis=1)
        every = np.arange(len(before))
        bar = price * self.extra[best]
        if self.reads:
            bar = bar + (self._reading(before, price) - LEAST if self.straight else np.inf)
        return -before[every, best], -bar

    def second(self, after: Floats, price: Floats) -> tuple[Floats, Floats]:
        """Score and bar of rows whose summary was read: below the bar a costlier expert is asked, each (rows,)."""
        best = (after - price[:, None] * self.prices[1:]).argmax(axis=1)
        return -after[np.arange(len(after)), best], -price * self.prices[1:][best]

    def decide(self, before: Floats, after: Floats, price: Floats) -> tuple[Ints, Ints]:
        """The expert asked first and the one whose answer stands, for each row at its price, each (rows,)."""
        score, bar = self.first(before, price)
        costlier = 1 + (before - price[:, None] * self.extra).argmax(axis=1)
        first = np.where(score < bar, costlier, 0)
        if not self.reads:
            return first, first
        score, bar = self.second(after, price)
        on = np.where(score < bar, 1 + (after - price[:, None] * self.prices[1:]).argmax(axis=1), 0)
        return first, np.where(first > 0, first, on)

    def points(
        self, before: Floats, after: Floats, cost: Floats, quality: Floats
    ) -> tuple[OperatingPoints, OperatingPoints]:
        """What each price of a grid buys on rows of known `cost` and `quality` (rows, experts): by cost, by share."""
        grid, rows, found = self._grid(before, after), np.arange(len(before)), []
        for price in grid:
            first, last = self.decide(before, after, np.full(len(before), price))
            paid = cost[rows, last] + (cost[:, 0] * (last > 0) if self.reads else 0.0) * (first == 0)
            found.append(((last > 0).mean(), paid.mean(), quality[rows, last].mean()))
        share, paid, had = np.array(found).T
        points = OperatingPoints(price=grid, share=share, cost=paid, quality=had, point=np.arange(len(grid)))
        return _rising(points, paid), _rising(points, share)

    def state(self) -> dict[str, Any]:
        """The rule as plain values."""
        return {"prices": self.prices.tolist(), "news": self.news.tolist(), **{k: getattr(self, k) for k in FLAGS}}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> SummaryGainRule:
        """The rule that `state` tells of."""
        return cls(np.array(state["prices"], float), np.array(state["news"], float), *(bool(state[k]) for k in FLAGS))

    def _reading(self, before: Floats, price: Floats) -> Floats:
        """What the small one's summary is worth before it is read, shape (rows,); nothing at a price under 0."""
        from scipy.special import ndtr

        net = before - price[:, None] * self.prices[1:]
        spread = np.maximum(self.news, SPREAD)
        z = net / spread
        value = spread * np.exp(-np.minimum(z * z, 1400) / 2) / np.sqrt(2 * np.pi) + net * ndtr(z)
        return np.where(price < 0, 0.0, np.maximum(value, 0.0).max(axis=1))

    def _grid(self, before: Floats, after: Floats) -> Floats:
        """Prices at which choices change, falling: quantiles over the rows, 0, and one beyond either end."""
        ties = [(before / self.extra).ravel()]
        if self.reads:
            ties.append((after / self.prices[1:].clip(SPREAD * self.prices.max())).ravel())
        tried = np.concatenate([np.quantile(each, np.linspace(0, 1, GRID)) for each in ties])
        room = 1 + np.ptp(tried)
        return np.unique(np.concatenate([tried, [0.0, tried.min() - room, tried.max() + room]]))[::-1]


FLAGS = ("reads", "straight")


def _rising(points: OperatingPoints, spent: Floats) -> OperatingPoints:
    """The points that spend no less than all before them; of those that spend the least the price furthest out.

    New rows go on at such a price no more than the known ones did.
    """
    more = spent > spent[0]
    more[0] = True
    return points[more & (spent >= np.maximum.accumulate(spent))]
