"""A search over sub-chains and the thresholds of their links: at each lambda the best pair on train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from askless.arrays import Floats, Ints
from askless.policies.planned.gain_rule import POINTS, price_grid
from askless.policies.planned.posteriors import Posteriors, code_of
from askless.policies.planned.walk import STOP, AnswerMatrix, Observations, RuleVerdict


class Subchains:
    """Asks a chain of experts, each link keeping the rows whose posterior reaches its threshold.

    Attributes learnt: `chain_` (points, most) experts, `STOP` beyond the last; `threshold_` (points, most).

    Parameters
    ----------
    most
        Most experts of a chain.
    levels
        Thresholds are among so many quantiles of the posterior on train.
    trust
        From 0 to 1: a kept row counts `trust` times whether it is right and 1 - trust times its posterior, which a few
        hundred labels tell more surely.
    points
        How many operating points there are, each a lambda of `price_grid`.
    """

    lambdas_: Floats
    posteriors_: Posteriors
    chain_: Ints
    threshold_: Floats

    def __init__(self, *, most: int = 4, levels: int = 8, trust: float = 0.5, points: int = POINTS) -> None:
        self.most = most
        self.levels = levels
        self.trust = trust
        self.points = points

    def fit(self, seen: AnswerMatrix) -> Self:
        """Learn the posteriors, and at each lambda the best chain and thresholds."""
        self.lambdas_ = price_grid(seen.cost.mean(axis=0), self.points)
        self.posteriors_ = Posteriors(most=self.most).fit(seen)
        self.best_ = np.full(self.points, -np.inf)
        self.chain_ = np.full((self.points, self.most), STOP)
        self.threshold_ = np.full((self.points, self.most), -np.inf)
        self._search(_ChainPrefix((), (), np.zeros(len(seen), np.int64), np.zeros(()), np.zeros(())), seen)
        return self

    def first(self, point: Ints) -> Ints:
        """The first link of each row's chain, shape (n,)."""
        return np.asarray(self.chain_[point, 0], np.int64)

    def look(self, point: Ints, answers: Observations) -> RuleVerdict:
        """Keep the answer at the link's threshold or above it, else ask the next link."""
        answer, sure, _ = self.posteriors_.look(answers)
        link = len(answers.experts) - 1
        if link + 1 == self.most:
            return RuleVerdict(answer, sure, sure, np.full(len(answers), -np.inf), np.full(len(answers), STOP))
        threshold = self.threshold_[point, link]
        return RuleVerdict(
            answer, sure, sure, threshold, np.where(sure < threshold, self.chain_[point, link + 1], STOP)
        )

    def _search(self, prefix: _ChainPrefix, seen: AnswerMatrix) -> None:
        """Try every chain that begins with `prefix`, for all choices of thresholds at once."""
        experts = seen.label.shape[1]
        for j in range(prefix.chain[-1] + 1 if prefix.chain else 0, experts):
            chain = (*prefix.chain, j)
            code = code_of(chain)
            sure = self.posteriors_.fitted_[code]
            worth = self.trust * self.posteriors_.right_[code] + (1 - self.trust) * sure
            paid = prefix.paid + prefix.going(seen.cost[:, j])
            self._compare(chain, prefix.thresholds, (prefix.kept + prefix.going(worth)) / len(seen), paid / len(seen))
            if len(chain) < self.most and j + 1 < experts:
                edges = np.quantile(sure, np.arange(1, self.levels) / self.levels)
                self._search(prefix.link(j, np.append(edges, np.inf), sure, worth, paid), seen)

    def _compare(self, chain: tuple[int, ...], thresholds: tuple[Floats, ...], quality: Floats, cost: Floats) -> None:
        utility = quality.ravel() - self.lambdas_[:, None] * cost.ravel()
        best = utility.argmax(axis=1)
        top = utility[np.arange(self.points), best]
        better = np.flatnonzero(top > self.best_ + 1e-12)
        self.best_[better] = top[better]
        self.chain_[better] = STOP
        self.chain_[better, : len(chain)] = chain
        self.threshold_[better] = -np.inf
        if thresholds:
            for link, index in enumerate(np.unravel_index(best[better], quality.shape)):
                self.threshold_[better, link] = thresholds[link][index]


@dataclass(frozen=True)
class _ChainPrefix:
    """The first links of a chain, with every choice of their thresholds, one axis for each link.

    `thresholds` are those of each link; `cell` (rows,) is the place of each row among the cells between them;
    `kept` and `paid` are what the links keep of worth, and what they cost, under each choice.
    """

    chain: tuple[int, ...]
    thresholds: tuple[Floats, ...]
    cell: Ints
    kept: Floats
    paid: Floats

    def going(self, each: Floats) -> Floats:
        """Sum of `each` (rows,) over the rows that go on beyond the last link, under each choice."""
        table = np.asarray(np.bincount(self.cell, each, self.kept.size), np.float64)
        return upto(table.reshape(self.kept.shape), self.kept.ndim)

    def link(self, expert: int, thresholds: Floats, sure: Floats, worth: Floats, paid: Floats) -> _ChainPrefix:
        """The prefix with one link more, which keeps the rows whose `sure` (rows,) is not under its threshold."""
        levels = len(thresholds)
        cell = self.cell * levels + np.searchsorted(thresholds[:-1], sure, side="right")
        table = np.bincount(cell, worth, self.kept.size * levels).reshape(*self.kept.shape, levels)
        stays = upto(table.sum(axis=-1, keepdims=True) - table.cumsum(axis=-1), self.kept.ndim)
        return _ChainPrefix(
            (*self.chain, expert),
            (*self.thresholds, thresholds),
            cell,
            self.kept[..., None] + stays,
            np.repeat(paid[..., None], levels, axis=-1),
        )


def upto(table: Floats, axes: int) -> Floats:
    """Cumulative sums along the first `axes` axes."""
    for axis in range(axes):
        table = table.cumsum(axis=axis)
    return table
