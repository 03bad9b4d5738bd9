"""An allocator estimates each expert's quality before it asks, and weighs it against the price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from askless.arrays import Floats, Ints
from askless.errors import BudgetError, ConfigError
from askless.panel import Panel
from askless.policies.base import Budget, Chooser, Step

GRID = 101


@dataclass(frozen=True)
class AllocatorPoints:
    """Operating points measured on valid, from nobody deferred to everybody, cost ascending.

    Parameters
    ----------
    price
        Lambda, the quality that one unit of cost must buy, (points,).
    share, cost, quality
        Share of rows deferred; cost of an item; mean quality, accuracy where answers are labels: each (points,).
    """

    price: Floats
    share: Floats
    cost: Floats
    quality: Floats

    def at(self, budget: Budget) -> float:
        """The lambda of the costliest operating point that keeps `budget` on valid."""
        if budget.price is not None:
            return budget.price
        spent = self.share if budget.share is not None else self.cost * 1000
        within = np.flatnonzero(spent <= budget.value * (1 + 1e-9) + 1e-12)
        if not len(within):
            what = "share deferred" if budget.share is not None else "cost per 1,000 items"
            raise BudgetError(
                f"A budget of {budget.value:g} is under the least {what} on valid, {spent.min():g}. "
                "Allowed: at least that."
            )
        return float(self.price[within[-1]])


class Allocator(Chooser):
    """Chooses argmax over experts j of quality_j(x) - lambda * price_j.

    Lambda is set for each budget on valid. A subclass gives `look` (rows, experts): its estimate of each
    expert's quality.

    Parameters
    ----------
    experts
        Names of two or more, by rising cost: the small one first.

    Attributes
    ----------
    prices_ : array (experts,)
        Mean cost of each expert on train.
    thresholds_ : AllocatorPoints
        What each lambda buys.
    """

    studied = False
    decides_alone = True
    prices_: Floats
    thresholds_: AllocatorPoints

    def __init__(self, experts: tuple[str, ...]) -> None:
        self.experts = tuple(experts)

    def fit(self, train: Panel, valid: Panel) -> Self:
        """Learn prices on `train`, operating points on `valid`, or on `train` where `valid` is empty."""
        if len(self.experts) < 2:
            raise ConfigError(
                f"{type(self).__name__} got experts {list(self.experts)}. "
                "Allowed: the small one and at least one to defer to."
            )
        super().fit(train, valid)
        self.prices_ = np.array([train.ask(name).cost.mean() for name in self.experts])
        self._learn(train, valid)
        held = valid if len(valid) else train
        answers = [held.ask(name) for name in self.experts]
        quality = np.stack([held.quality(a) for a in answers], axis=1)
        cost = np.stack([a.cost for a in answers], axis=1)
        self.thresholds_ = self._thresholds(self.look(held), quality, cost)
        return self

    def choose(self, seen: Floats, budget: Budget | None) -> Ints:
        """The expert of the largest quality less lambda times price; without a budget lambda is 0.

        A share of nothing is nobody, whatever a new row looks like.
        """
        return np.asarray(np.argmax(self._worth(seen, budget), axis=1), np.int64)

    def score(self, seen: Floats) -> Floats:
        """Expected gain of the best costlier expert over the small one, shape (rows,)."""
        return np.asarray(seen[:, 1:].max(axis=1) - seen[:, 0])

    def steps(self, seen: Floats, budget: Budget | None) -> tuple[Step, ...]:
        """What the small one is worth, less its price, against the best costlier one."""
        worth = self._worth(seen, budget)
        return (Step(self.looked_at(), np.arange(len(seen)), worth[:, 0], worth[:, 1:].max(axis=1)),)

    def looked_at(self) -> str:
        """The expert whose answer was read before the choice, "" for none."""
        return ""

    def threshold_words(self, budget: Budget | None) -> str:
        """Lambda, the quality that one unit of cost must be expected to buy."""
        return f"lambda {0.0 if budget is None else self.thresholds_.at(budget):.4g}"

    def _worth(self, seen: Floats, budget: Budget | None) -> Floats:
        """Each expert's quality less lambda times its price, (rows, experts)."""
        if budget is not None and budget.share == 0:
            return np.where(np.arange(seen.shape[1]) > 0, -np.inf, seen)
        price = 0.0 if budget is None else self.thresholds_.at(budget)
        return np.asarray(seen - price * self._effective_prices())

    def _learn(self, train: Panel, valid: Panel) -> None:
        """What the subclass learns before its operating points are measured."""

    def _effective_prices(self) -> Floats:
        # Where all experts cost the same there is nothing to weigh but the number of deferrals.
        if np.ptp(self.prices_) > 0:
            return self.prices_
        return np.arange(len(self.experts)).clip(0, 1).astype(float)

    def _thresholds(self, seen: Floats, quality: Floats, cost: Floats) -> AllocatorPoints:
        prices = self._effective_prices()
        lambdas = self._lambdas(seen, prices)
        rows, points = np.arange(len(seen)), []
        for price in lambdas[np.argsort(-lambdas, kind="stable")]:
            choice = np.argmax(seen - price * prices, axis=1)
            points.append((price, (choice != 0).mean(), cost[rows, choice].mean(), quality[rows, choice].mean()))
        return AllocatorPoints(*np.array(points).T)

    @staticmethod
    def _lambdas(seen: Floats, prices: Floats) -> Floats:
        """Lambdas at which up to 0, 1, ... 100 % of the price range is spent on `seen`.

        Choices change only where two experts tie; the quantiles of these places are tried.
        """
        costlier, cheaper = np.nonzero(prices[:, None] > prices)
        ties = (seen[:, costlier] - seen[:, cheaper]) / (prices[costlier] - prices[cheaper])
        tried = np.unique(np.quantile(ties, np.linspace(0, 1, 4 * GRID)))
        ends = (2 * tried[0] - tried[-1] - 1, 2 * tried[-1] - tried[0] + 1)
        tried = np.concatenate([ends[:1], tried, ends[1:]])
        means = [prices[np.argmax(seen - price * prices, axis=1)].mean() for price in tried[::-1]]
        spent = np.maximum.accumulate(means)
        targets = np.linspace(prices.min(), prices.max(), GRID)
        affordable = np.searchsorted(spent, targets + 1e-12 * prices.max(), side="right") - 1
        return np.unique(tried[::-1][np.maximum(affordable, 0)])
