"""What a price of quality means for every row: whom to ask first, and whether to ask on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from askless.arrays import Floats, Ints
from askless.policies.operating_points import PricedPoints

GRID = 201
SPREAD, LEAST = 1e-9, 1e-6


@dataclass(frozen=True)
class SummaryGainRule:
    """At a price lambda asks the expert of the largest expected gain - lambda x cost, the small one's gain being 0.

    Where quality has no price, reading that is expected to add less than `LEAST` is left out all the same.

    Parameters
    ----------
    prices
        Mean cost of each expert, (experts,).
    news
        Standard deviation of what reading the small one's summary changes in each expected gain, (costlier,).
    reads
        Whether the small one may be asked first and its summary read.
    straight
        Whether a costlier expert is asked at once where gain - lambda x (price - small price) exceeds the value of
        reading, the mean of max(0, gain after reading - lambda x price), gains after reading being normal about those
        before.
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
        """Score and threshold of each row before any call, (rows,): below it a costlier expert is asked at once."""
        worth = before - price[:, None] * self.extra
        best = worth.argmax(axis=1)
        every = np.arange(len(before))
        threshold = price * self.extra[best]
        if self.reads:
            threshold = threshold + (self._reading(before, price) - LEAST if self.straight else np.inf)
        return -before[every, best], -threshold

    def second(self, after: Floats, price: Floats) -> tuple[Floats, Floats]:
        """Score and threshold of rows whose summary was read: below it a costlier expert is asked, each (rows,)."""
        best = (after - price[:, None] * self.prices[1:]).argmax(axis=1)
        return -after[np.arange(len(after)), best], -price * self.prices[1:][best]

    def decide(self, before: Floats, after: Floats, price: Floats) -> tuple[Ints, Ints]:
        """The expert asked first and the one whose answer stands, for each row at its price, each (rows,)."""
        score, threshold = self.first(before, price)
        costlier = 1 + (before - price[:, None] * self.extra).argmax(axis=1)
        first = np.where(score < threshold, costlier, 0)
        if not self.reads:
            return first, first
        score, threshold = self.second(after, price)
        on = np.where(score < threshold, 1 + (after - price[:, None] * self.prices[1:]).argmax(axis=1), 0)
        return first, np.where(first > 0, first, on)

    def points(self, before: Floats, after: Floats, cost: Floats, quality: Floats) -> tuple[PricedPoints, PricedPoints]:
        """What each price of a grid buys on rows of known `cost` and `quality` (rows, experts): by cost, by share."""
        grid, rows, found = self._grid(before, after), np.arange(len(before)), []
        for price in grid:
            first, last = self.decide(before, after, np.full(len(before), price))
            paid = cost[rows, last] + (cost[:, 0] * (last > 0) if self.reads else 0.0) * (first == 0)
            found.append(((last > 0).mean(), paid.mean(), quality[rows, last].mean()))
        share, paid, had = np.array(found).T
        points = PricedPoints(price=grid, share=share, cost=paid, quality=had, point=np.arange(len(grid)))
        return _rising(points, paid), _rising(points, share)

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


def _rising(points: PricedPoints, spent: Floats) -> PricedPoints:
    """The points that spend no less than all before them; of those that spend the least the price furthest out.

    New rows go on at such a price no more than the known ones did.
    """
    more = spent > spent[0]
    more[0] = True
    return points[more & (spent >= np.maximum.accumulate(spent))]
