"""A chain with saved thresholds: link after link asks on until the answer is probably right, or good enough.

After LLM Chain Ensembles for Scalable and Accurate Data Annotation; what differs is said in `Chain`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Self

import numpy as np

from askless.arrays import Floats, Ints
from askless.errors import ConfigError
from askless.panel import NO_LABEL, Panel
from askless.policies.base import Budget, Decisions, Policy, Step
from askless.policies.chain.links import cross_fitted, evidence, given_of, lines_of, sure_of
from askless.policies.chain.subchain import AGGREGATES, MeasuredSubchain, Subchain, measured
from askless.policies.operating_points import Threshold, ThresholdPoints, nested_links, threshold_at, upper_hull
from askless.stats.uncertainty import check


class Chain(Policy):
    """Each link's answer gets a probability of being right; where it is below a threshold the next link is asked.

    Other than the published rule it saves thresholds, so that a row is decided alike alone, in a batch and on a stream;
    it keeps exact shares where scores tie; it takes budgets, and begins for one of money with any of the links; and it
    combines the answers only where that helps.

    Of summaries, read "quality in [0, 1] to be expected" for "probability of being right": it goes by the mean
    log-probability of the tokens, or where none is stated it is the link's mean. No confidence is stated.

    Parameters
    ----------
    experts
        Names of two or more, by rising cost: the links.
    shares
        What each link keeps of all rows, adding up to 1 (equal by default): the policy's own rule, used without a
        budget. With one, a common threshold at every link meets it.
    aggregate
        Who answers of those asked: "last", the one of the highest "rank" or "posterior", or "auto", which is the last
        unless another is clearly better.
    prune
        Skip the first links, and leave out experts, those first that lie furthest beneath the hull of single experts,
        as long as what the thresholds buy, on the rows on which they are set, is the better for it; two or more stay. A
        budget of a share begins with the first. Not with `shares`, which are of the links as given.
    measure
        "margin", "entropy", or by any other name the probability of the answer; an answer that states none is compared
        with those already paid for.
    random_state
        Seed of the draws, one for each id and link, by which rows of equal probability are told apart.

    Attributes
    ----------
    subchains_ : tuple of Subchain
        The one that begins with the first expert, then those that begin with the others.
    """

    title = "Cascade"
    about = "Asks one model after another, cheapest first, until an answer is sure enough."
    graded = True
    subchains_: tuple[Subchain, ...]
    # Of the first sub-chain: the own rule's thresholds, and what each common threshold buys.
    thresholds_: tuple[Threshold, ...]
    points_: ThresholdPoints
    # What money buys, and by which sub-chain, (points,).
    priced_: ThresholdPoints
    through_: Ints

    def __init__(
        self,
        experts: tuple[str, ...],
        *,
        shares: Sequence[float] | None = None,
        aggregate: str = "auto",
        prune: bool = True,
        measure: str = "auto",
        random_state: int = 0,
    ) -> None:
        self.experts = tuple(experts)
        self.shares = shares
        self.prune = prune
        self.aggregate = aggregate
        self.measure = measure
        self.random_state = random_state

    def fit(self, train: Panel, valid: Panel) -> Self:
        """Calibrate on `train`, set thresholds on `valid` (on cross-fitted probabilities where that is empty).

        Of texts without `valid` they are set on train itself: cross-fitted lines of so little slope would lie further
        apart than the rows, and a budget between two of them would be missed.
        """
        self._require(train, experts=2)
        self._check_shares()
        if self.aggregate not in ("auto", *AGGREGATES):
            raise ConfigError.unknown("aggregate of a chain", self.aggregate, ("auto", *AGGREGATES))
        check(self.measure)
        super().fit(train, valid)
        every = np.arange(len(self.experts))
        _, quality, cost = self._answers(train, every)
        tried = [[every]]
        if self.prune and self.shares is None:
            starts = every[:-1]
            tried = [[first + links for links in nested_links(cost[:, first:], quality[:, first:])] for first in starts]
        top = float(cost.mean(axis=0).max())
        found = [
            max((self._learnt(links, train, valid) for links in begun), key=lambda each: each.points.area(top))
            for begun in tried
        ]
        self.subchains_ = tuple(each.subchain for each in found)
        self.points_, self.thresholds_ = found[0].points, self._own_thresholds(found[0].sure)
        self.priced_ = reduce(ThresholdPoints.joined, (each.points for each in found))
        self.through_ = np.repeat(np.arange(len(found)), [len(each.trusted) for each in found])
        if len(found) > 1:
            on = upper_hull(self.priced_.cost, np.concatenate([each.trusted for each in found]))
            self.priced_, self.through_ = self.priced_[on], self.through_[on]
        return self

    def look(self, panel: Panel) -> None:
        """Nothing: whom to ask first depends on the budget."""

    def decide(self, panel: Panel, budget: Budget | None = None, seen: None = None) -> Decisions:
        """Ask link after link the rows that are not sure enough; raises `BudgetError` for less than the least cost."""
        n = len(panel)
        expert, label = np.zeros(n, np.int64), np.full(n, NO_LABEL)
        score, sure = np.full(n, np.nan), np.full(n, np.nan)
        steps: list[Step] = []
        for subchain, rows, thresholds in self._ways(panel, budget):
            done = subchain.walk(panel, self.experts, rows, thresholds, self.measure)
            expert[rows], label[rows], score[rows] = subchain.links[done.link], done.label, done.score
            sure[rows] = np.where(done.label == NO_LABEL, np.nan, done.sure)
            steps += done.steps
        asked = panel.asked_of(self.experts)
        return Decisions(self.experts, expert, label, score, panel.spent, asked, sure, tuple(steps))

    def _answers(self, panel: Panel, links: Ints) -> tuple[Floats, Floats, Floats]:
        """What each link states of each row (rows, links, 2), its quality and its cost, (rows, links)."""
        asked = [panel.ask(self.experts[place]) for place in links]
        quality, cost = ([panel.quality(each) for each in asked], [each.cost for each in asked])
        return evidence(asked, self.measure), np.stack(quality, axis=1), np.stack(cost, axis=1)

    def _learnt(self, links: Ints, train: Panel, valid: Panel) -> MeasuredSubchain:
        about, quality, cost = self._answers(train, links)
        lines = lines_of(about, quality)
        if len(valid):
            about, quality, cost = self._answers(valid, links)
        sure = sure_of(about, lines)
        if train.classes and not len(valid):
            sure = cross_fitted(about, quality, train.draws(self.random_state))
        return measured(links, lines, self.aggregate, sure, given_of(about), quality, cost)

    def _kept(self, links: int) -> Floats:
        """The share of all rows that each link keeps, (links,)."""
        return np.full(links, 1 / links) if self.shares is None else np.asarray(self.shares, float)

    def _check_shares(self) -> None:
        links, shares = len(self.experts), self._kept(len(self.experts))
        if shares.shape != (links,) or not (shares >= 0).all() or abs(shares.sum() - 1) > 1e-6:
            raise ConfigError(
                f"Chain got shares {self.shares}. Allowed: {links} numbers from 0 to 1 that add up to 1, "
                "one for each expert: the part of all rows that it keeps."
            )

    def _own_thresholds(self, sure: Floats) -> tuple[Threshold, ...]:
        """For each link but the last the threshold that keeps its share of the rows expected to reach it."""
        left = np.cumsum(self._kept(sure.shape[1])[::-1])[::-1]
        reach, found = np.ones(len(sure)), []
        for link in range(sure.shape[1] - 1):
            on = left[link + 1] / left[link] if left[link] > 0 else 0.0
            found.append(threshold_at(sure[:, link], float(np.clip(on, 0, 1)), reach))
            reach = reach * found[-1].share(sure[:, link])
        return tuple(found)

    def _ways(self, panel: Panel, budget: Budget | None) -> Iterator[tuple[Subchain, Ints, list[Floats]]]:
        """Each sub-chain taken, its rows, and what these must reach at each link to stay: at the last nothing."""
        first, every = self.subchains_[0], np.arange(len(panel))
        if budget is None:
            # A draw of its own for each link: a row that was let on by chance is no likelier to be let on again.
            draws = [panel.draws(self.random_state + 7919 * link) for link in range(len(self.thresholds_))]
            own = [each.by_row(draw) for each, draw in zip(self.thresholds_, draws, strict=True)]
            yield first, every, [*own, np.full(len(every), -np.inf)]
            return
        points, through = self.priced_, self.through_
        if budget.share is not None:
            points, through = self.points_, np.zeros(len(self.points_.cost), np.int64)
        mix, draw = points.mix(budget), panel.draws(self.random_state)
        place = np.where(panel.draws(self.random_state + 7919) < mix.weight, mix.high, mix.low)
        low, high = (points.threshold(end).by_row(draw) for end in (mix.low, mix.high))
        common = np.where(place == mix.high, high, low)
        for way in np.unique(through[place]):
            rows, subchain = np.flatnonzero(through[place] == way), self.subchains_[way]
            yield subchain, rows, [*[common[rows]] * (len(subchain.links) - 1), np.full(len(rows), -np.inf)]
