"""A search over sub-chains and the thresholds of their links: at each lambda the best pair on train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from askless.arrays import Floats, Ints
from askless.policies.planned.gain_rule import POINTS, price_grid
from askless.policies.planned.posteriors import Posteriors, code_of
from askless.policies.planned.walk import STOP, AnswerMatrix, Observations, RuleVerdict


class Subchains:
    """Asks a chain of up to `most` experts, each link keeping the rows whose posterior reaches its threshold.

    Thresholds are among `levels` quantiles of the posterior on train. A kept row counts `trust` times whether it is
    right and 1 - trust times its posterior, which a few hundred labels tell more surely.

    Attributes learnt: `chain_` (points, most) experts, `STOP` beyond the last; `threshold_` (points, most).
    """

    def __init__(self, *, most: int = 4, levels: int = 8, trust: float = 0.5, points: int = POINTS) -> None:
        self.most = most
        self.levels = levels
        self.trust = trust
        self.points = points

    def fit(self, told: AnswerMatrix) -> Self:
        """Learn the posteriors, and at each lambda the best chain and thresholds."""
        self.prices_ = told.cost.mean(axis=0)
        self.lambdas_ = price_grid(self.prices_, self.points)
        self.posteriors_ = Posteriors(most=self.most).fit(told)
        self.best_ = np.full(self.points, -np.inf)
        self.chain_ = np.full((self.points, self.most), STOP)
        self.threshold_ = np.full((self.points, self.most), -np.inf)
        self._search(ChainPrefix((), (), np.zeros(len(told), np.int64), np.zeros(()), np.zeros(())), told)
        return self

    def first(self, point: Ints) -> Ints:
        """The first link of each row's chain, shape (n,)."""
        return np.asarray(self.chain_[point, 0], np.int64)

    def look(self, point: Ints, heard: Observations) -> RuleVerdict:
        """Keep the answer at the link's threshold or above it, else ask the next link."""
        answer, sure, _ = self.posteriors_.look(heard)
        link = len(heard.experts) - 1
        if link + 1 == self.most:
            return RuleVerdict(answer, sure, sure, np.full(len(heard), -np.inf), np.full(len(heard), STOP))
        threshold = self.threshold_[point, link]
        return RuleVerdict(
            answer, sure, sure, threshold, np.where(sure < threshold, self.chain_[point, link + 1], STOP)
        )

    def state(self) -> dict[str, Any]:
        """What was learnt, as plain values: at each lambda the chain and the threshold of each link."""
        chains = [[int(j) for j in chain if j != STOP] for chain in self.chain_]
        return {
            "lambdas": self.lambdas_.tolist(),
            "chains": chains,
            "thresholds": [row[: len(c)].tolist() for c, row in zip(chains, self.threshold_, strict=True)],
            "posteriors": self.posteriors_.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        """Take over what `state` gave: it then decides the same."""
        self.lambdas_ = np.array(state["lambdas"], float)
        self.posteriors_ = Posteriors(most=self.most).restore(state["posteriors"])
        self.chain_ = np.full((self.points, self.most), STOP)
        self.threshold_ = np.full((self.points, self.most), -np.inf)
        for point, (chain, threshold) in enumerate(zip(state["chains"], state["thresholds"], strict=True)):
            self.chain_[point, : len(chain)] = chain
            self.threshold_[point, : len(chain)] = threshold
        return self

    def _search(self, prefix: ChainPrefix, told: AnswerMatrix) -> None:
        """Try every chain that begins with `prefix`, for all choices of thresholds at once."""
        experts = told.label.shape[1]
        for j in range(prefix.chain[-1] + 1 if prefix.chain else 0, experts):
            chain = (*prefix.chain, j)
            code = code_of(chain)
            sure = self.posteriors_.fitted_[code]
            worth = self.trust * self.posteriors_.right_[code] + (1 - self.trust) * sure
            paid = prefix.paid + prefix.going(told.cost[:, j])
            self._compare(chain, prefix.cuts, (prefix.kept + prefix.going(worth)) / len(told), paid / len(told))
            if len(chain) < self.most and j + 1 < experts:
                edges = np.quantile(sure, np.arange(1, self.levels) / self.levels)
                self._search(prefix.link(j, np.append(edges, np.inf), sure, worth, paid), told)

    def _compare(self, chain: tuple[int, ...], cuts: tuple[Floats, ...], quality: Floats, cost: Floats) -> None:
        utility = quality.ravel() - self.lambdas_[:, None] * cost.ravel()
        best = utility.argmax(axis=1)
        top = utility[np.arange(self.points), best]
        better = np.flatnonzero(top > self.best_ + 1e-12)
        self.best_[better] = top[better]
        self.chain_[better] = STOP
        self.chain_[better, : len(chain)] = chain
        self.threshold_[better] = -np.inf
        if cuts:
            for link, index in enumerate(np.unravel_index(best[better], quality.shape)):
                self.threshold_[better, link] = cuts[link][index]


@dataclass(frozen=True)
class ChainPrefix:
    """The first links of a chain, with every choice of their thresholds, one axis for each link.

    `cuts` are the thresholds of each link; `cell` (rows,) is the place of each row among the cells between them;
    `kept` and `paid` are what the links keep of worth, and what they cost, under each choice.
    """

    chain: tuple[int, ...]
    cuts: tuple[Floats, ...]
    cell: Ints
    kept: Floats
    paid: Floats

    def going(self, each: Floats) -> Floats:
        """Sum of `each` (rows,) over the rows that go on beyond the last link, under each choice."""
        table = np.asarray(np.bincount(self.cell, each, self.kept.size), np.float64)
        return upto(table.reshape(self.kept.shape), self.kept.ndim)

    def link(self, expert: int, cuts: Floats, sure: Floats, worth: Floats, paid: Floats) -> ChainPrefix:
        """The prefix with one link more, which keeps the rows whose `sure` (rows,) is not under its cut."""
        levels = len(cuts)
        cell = self.cell * levels + np.searchsorted(cuts[:-1], sure, side="right")
        table = np.bincount(cell, worth, self.kept.size * levels).reshape(*self.kept.shape, levels)
        stays = upto(table.sum(axis=-1, keepdims=True) - table.cumsum(axis=-1), self.kept.ndim)
        return ChainPrefix(
            (*self.chain, expert),
            (*self.cuts, cuts),
            cell,
            self.kept[..., None] + stays,
            np.repeat(paid[..., None], levels, axis=-1),
        )


def upto(table: Floats, axes: int) -> Floats:
    """Cumulative sums along the first `axes` axes."""
    for axis in range(axes):
        table = table.cumsum(axis=axis)
    return table
