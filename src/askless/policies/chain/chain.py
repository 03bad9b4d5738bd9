"""A chain with saved thresholds: link after link asks on until the answer is probably right, or good enough.

After LLM Chain Ensembles for Scalable and Accurate Data Annotation; what differs is said in `Chain`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Self

import numpy as np

from askless.arrays import Bools, Floats, Ints
from askless.errors import ConfigError
from askless.panel import NO_LABEL, Answers, Panel
from askless.policies.base import Budget, Decisions, Policy, Step
from askless.policies.chain.links import cross_fitted, evidence, given_of, lines_of, stated, sure_of
from askless.policies.operating_points import GRID, Threshold, ThresholdPoints, nested_links, threshold_at
from askless.stats.uncertainty import check

HELP = 2.0
PENDING = -2.0
SILENT = -1.0
AGGREGATES = ("last", "rank", "posterior")


class Chain(Policy):
    """Each link's answer gets a probability of being right; where it is below a threshold the next link is asked.

    Other than the published rule it saves thresholds, so that a row is decided alike alone, in a batch and on a stream;
    it keeps exact shares where scores tie; it takes budgets; and it combines the answers only where that helps.

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
        Leave out experts, those first that lie furthest beneath the hull of single experts, as long as what the
        thresholds buy, on the rows on which they are set, is the better for it. Not with `shares`, which are of the
        links as given; the first and at least one more stay.
    measure
        "margin", "entropy", or by any other name the probability of the answer; an answer that states none is compared
        with those already paid for.
    random_state
        Seed of the draws, one for each id and link, by which rows of equal probability are told apart.

    Attributes
    ----------
    aggregate_ : str
        What "auto" came to.
    """

    title = "Cascade"
    about = "Asks one model after another, cheapest first, until an answer is sure enough."
    graded = True
    # Places in `experts` of those that are asked, in order, (links,).
    links_: Ints
    # Slope and intercept of each link, from a stated confidence and from agreement, (links, 2, 2).
    lines_: Floats
    # The own rule's thresholds, and what each common threshold buys.
    thresholds_: tuple[Threshold, ...]
    points_: ThresholdPoints
    aggregate_: str
    # Quantiles of the probabilities, (links, 101).
    ranks_: Floats

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
        self.links_ = np.arange(len(self.experts))
        self._check_shares()
        if self.aggregate not in ("auto", *AGGREGATES):
            raise ConfigError.unknown("aggregate of a chain", self.aggregate, ("auto", *AGGREGATES))
        check(self.measure)
        super().fit(train, valid)
        _, quality, cost = self._answers(train)
        tried = nested_links(cost, quality) if self.prune and self.shares is None else [self.links_]
        top = float(cost.mean(axis=0).max())
        best = max(
            (copy(self)._fitted(links, train, valid) for links in tried), key=lambda each: each.points_.area(top)
        )
        vars(self).update(vars(best))
        return self

    def _fitted(self, links: Ints, train: Panel, valid: Panel) -> Self:
        """Learn for these links alone."""
        self.links_ = links
        about, quality, cost = self._answers(train)
        self.lines_ = lines_of(about, quality)
        if len(valid):
            about, quality, cost = self._answers(valid)
        sure = sure_of(about, self.lines_)
        if train.classes and not len(valid):
            sure = cross_fitted(about, quality, train.draws(self.random_state))
        self._learn(sure, given_of(about), quality, cost)
        return self

    def look(self, panel: Panel) -> Answers:
        """The first expert's answers: every row begins with it."""
        return panel.ask(self.experts[0])

    def decide(self, panel: Panel, budget: Budget | None = None, seen: Answers | None = None) -> Decisions:
        """Ask link after link the rows that are not sure enough; raises `BudgetError` for less than the first costs."""
        n, links = len(panel), len(self.links_)
        thresholds = self._by_row(panel, budget)
        rows, steps = np.arange(n), []
        sure, label, given = np.full((n, links), PENDING), np.full((n, links), NO_LABEL), np.zeros((n, links), bool)
        for link, name in enumerate(self._names()):
            answers = seen if link == 0 and seen is not None else panel.ask(name, rows)
            label[rows, link] = answers.label
            about = stated(answers, label[rows, : link + 1], self.measure)
            sure[rows, link], given[rows, link] = sure_of(about, self.lines_[link]), given_of(about)
            steps.append(Step(name, rows, sure[rows, link], thresholds[link][rows]))
            rows = rows[sure[rows, link] < thresholds[link][rows]]
        chosen = best_so_far(self._standing(sure, given, self.aggregate_), self.aggregate_)[:, -1]
        every, last = np.arange(n), (sure >= 0).sum(axis=1) - 1
        sureness = np.where(label[every, chosen] == NO_LABEL, np.nan, sure[every, chosen])
        asked = panel.asked_of(self.experts)
        return Decisions(
            self.experts,
            self.links_[chosen],
            label[every, chosen],
            sure[every, last],
            panel.spent,
            asked,
            sureness,
            tuple(steps),
        )

    def _names(self) -> list[str]:
        """Who is asked, in order."""
        return [self.experts[place] for place in self.links_]

    def _answers(self, panel: Panel) -> tuple[Floats, Floats, Floats]:
        """What each link states of each row (rows, links, 2), its quality and its cost, (rows, links)."""
        asked = [panel.ask(name) for name in self._names()]
        quality, cost = ([panel.quality(each) for each in asked], [each.cost for each in asked])
        return evidence(asked, self.measure), np.stack(quality, axis=1), np.stack(cost, axis=1)

    def _kept(self) -> Floats:
        """The share of all rows that each link keeps, (links,)."""
        links = len(self.links_)
        return np.full(links, 1 / links) if self.shares is None else np.asarray(self.shares, float)

    def _check_shares(self) -> None:
        links, shares = len(self.experts), self._kept()
        if shares.shape != (links,) or not (shares >= 0).all() or abs(shares.sum() - 1) > 1e-6:
            raise ConfigError(
                f"Chain got shares {self.shares}. Allowed: {links} numbers from 0 to 1 that add up to 1, "
                "one for each expert: the part of all rows that it keeps."
            )

    def _learn(self, sure: Floats, given: Bools, quality: Floats, cost: Floats) -> None:
        """Set the thresholds, and who answers, on the calibration rows: all arrays (rows, links)."""
        rows = np.arange(len(sure))[:, None]
        self.thresholds_ = self._own_thresholds(sure)
        self.ranks_ = np.quantile(sure, np.linspace(0, 1, GRID), axis=0).T
        reached = {
            how: quality[rows, best_so_far(self._standing(sure, given, how), how)]
            for how in (AGGREGATES if self.aggregate == "auto" else (self.aggregate,))
        }
        self.aggregate_ = self.aggregate
        if self.aggregate == "auto":
            self.aggregate_ = _helpful(sure, reached, ThresholdPoints.of_links(sure, quality, cost))
        self.points_ = ThresholdPoints.of_links(sure, reached[self.aggregate_], cost)

    def _own_thresholds(self, sure: Floats) -> tuple[Threshold, ...]:
        """For each link but the last the threshold that keeps its share of the rows expected to reach it."""
        left = np.cumsum(self._kept()[::-1])[::-1]
        reach, found = np.ones(len(sure)), []
        for link in range(sure.shape[1] - 1):
            on = left[link + 1] / left[link] if left[link] > 0 else 0.0
            found.append(threshold_at(sure[:, link], float(np.clip(on, 0, 1)), reach))
            reach = reach * found[-1].share(sure[:, link])
        return tuple(found)

    def _by_row(self, panel: Panel, budget: Budget | None) -> list[Floats]:
        """What each row must reach to be kept, for each link (rows,); the last keeps all."""
        # A draw of its own for each link: a row that was let on by chance is no likelier to be let on again.
        if budget is None:
            draws = [panel.draws(self.random_state + 7919 * link) for link in range(len(self.thresholds_))]
            found = [each.by_row(draw) for each, draw in zip(self.thresholds_, draws, strict=True)]
        else:
            mix, draw = self.points_.mix(budget), panel.draws(self.random_state)
            low, high = (self.points_.threshold(place).by_row(draw) for place in (mix.low, mix.high))
            common = np.where(panel.draws(self.random_state + 7919) < mix.weight, high, low)
            found = [common] * (len(self.links_) - 1)
        return [*found, np.full(len(panel), -np.inf)]

    def _standing(self, sure: Floats, given: Bools, how: str) -> Floats:
        """By what the answers are compared (rows, links): the highest answers."""
        if how == "last":
            standing = np.broadcast_to(np.arange(sure.shape[1], dtype=float), sure.shape)
        elif how == "rank":
            standing = np.stack(
                [np.searchsorted(self.ranks_[j], sure[:, j], side="right") for j in range(sure.shape[1])], 1
            )
        else:
            standing = sure
        return np.where(sure == PENDING, PENDING, np.where(given, standing, SILENT))


def best_so_far(standing: Floats, how: str) -> Ints:
    """Of the links up to each the one of the highest standing, shape (rows, links).

    On a tie it is the later one, but by "rank", as published, the earlier.
    """
    highest = np.maximum.accumulate(standing, axis=1)
    before = np.concatenate([np.full((len(standing), 1), -np.inf), highest[:, :-1]], axis=1)
    better = (standing > before) if how == "rank" else (standing >= before)
    return np.maximum.accumulate(np.where(better, np.arange(standing.shape[1]), 0), axis=1)


def _helpful(sure: Floats, reached: Mapping[str, Floats], points: ThresholdPoints) -> str:
    """The aggregate that beats the last answer by most, if by over two standard errors, else "last".

    Compared as the mean over all operating points of the quality, `reached` (rows, links), where each row stops.
    """
    levels = np.sort(points.value)
    passed = np.searchsorted(levels, np.maximum.accumulate(sure[:, :-1], axis=1), side="right") / len(levels)
    stops = np.diff(np.pad(passed, ((0, 0), (1, 1)), constant_values=((0, 0), (0, 1))), axis=1)
    found, gain = "last", 0.0
    for how in ("rank", "posterior"):
        by_row = (stops * (reached[how] - reached["last"])).sum(axis=1)
        if by_row.mean() > max(gain, HELP * by_row.std() / np.sqrt(len(by_row))):
            found, gain = how, float(by_row.mean())
    return found
