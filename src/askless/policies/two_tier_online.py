"""Two tiers under the published online budget rule: the money is spent as the rows come in."""

from __future__ import annotations

import math
from typing import Self

import numpy as np

from askless.arrays import Bools, Floats, Ints
from askless.errors import BudgetError
from askless.panel import NO_LABEL, Answers, Panel
from askless.policies.base import Budget, Decisions, Policy, Step
from askless.policies.online_rule import BOTH, LARGE, SMALL, Fates, OnlineRule, published_order, running_rank
from askless.stats.calibration import PlattCalibrator
from askless.stats.uncertainty import check, confidence, probability, resolve


class OnlineTwoTier(Policy):
    """The published cascade on a stream: `OnlineRule` at the mean prices and accuracies of train.

    Rows come in the order that `random_state` draws, as published. A share s of a budget is a small one's price and s
    large ones' for each row. What the rule does not look at is not asked: neither expert once the money is gone (no
    label then, no cost), the small one not where the large one alone answers. Where the large one is not costlier there
    is no cascade: the better one answers, the small one if they are equal. As published, a costlier one that is worse
    is asked all the same. Where the small one states no confidence rows are drawn by chance.

    Parameters
    ----------
    experts
        Names of two: the small one and the large one.
    measure
        How sure the small one is, as in `TwoTier`; log-probability and entropy are exponentiated, as published.
    random_state
        Seed of the order of the rows.
    """

    title = "Small model first, published"
    about = "The same on a stream, by the published rule: the threshold follows the money that is left."
    pair = True
    budgets = ("share", "per_1000")
    whole_batch = True
    kept = False
    rule_: OnlineRule
    measure_: str
    states_confidence_: bool
    calibrators_: tuple[PlattCalibrator, ...]

    def __init__(self, experts: tuple[str, ...], *, measure: str = "logprob", random_state: int = 0) -> None:
        self.experts = tuple(experts)
        self.measure = measure
        self.random_state = random_state

    def fit(self, train: Panel, valid: Panel) -> Self:
        """Learn prices, accuracies and calibration on `train`; `valid` is not needed."""
        super().fit(train, valid)
        check(self.measure)
        self._require(train)
        answers = [train.ask(name) for name in self.experts]
        right = [a.label == train.gold for a in answers]
        self.measure_ = resolve(answers[0], self.measure)
        self.states_confidence_ = not np.isnan(confidence(answers[0], self.measure_)).all()
        small, large = (float(a.cost.mean()) for a in answers)
        self.rule_ = OnlineRule((small, large), (float(right[0].mean()), float(right[1].mean())))
        self.calibrators_ = tuple(PlattCalibrator().fit(probability(a), r) for a, r in zip(answers, right, strict=True))
        return self

    def look(self, panel: Panel) -> _OrderedScores:
        """Nobody is asked yet: whom to ask depends on the money from the first row on."""
        return _OrderedScores(published_order(self.random_state, len(panel)))

    def decide(self, panel: Panel, budget: Budget | None = None, seen: _OrderedScores | None = None) -> Decisions:
        """Ask as the rule says; without a budget each row may cost a large one's price.

        Raises `BudgetError` for a price of quality, and for less than the least cost.
        """
        seen = self.look(panel) if seen is None else seen
        stream = _Stream(self, panel, self._per_row(budget), seen)
        fates = stream.fates()
        large = panel.ask(self.experts[1], (fates == BOTH) | (fates == LARGE))
        asked = panel.asked_of(self.experts)
        label = np.where(asked[:, 0], seen.label, NO_LABEL)
        score, right = (np.where(asked[:, 0], values, np.nan) for values in (seen.score, seen.right))
        kept = (large.label == NO_LABEL) & (label[large.rows] != NO_LABEL)
        rows, expert = large.rows[~kept], np.zeros(len(panel), np.int64)
        label[rows], expert[rows], right[rows] = large.label[~kept], 1, self.right(large)[~kept]
        return Decisions(self.experts, expert, label, score, panel.spent, asked, right, (stream.step(fates),))

    def score(self, small: Answers, draw: Floats) -> Floats:
        """What is compared with the threshold (n,): at least 0 but for rows without a label, which come first."""
        if not self.states_confidence_:
            return draw
        stated = confidence(small, self.measure_)
        stated = np.exp(stated) if self.measure_ in ("logprob", "entropy") else stated
        return np.where(np.isnan(stated), -np.inf, stated)

    def right(self, answers: Answers) -> Floats:
        """Calibrated probability that each answer is right (n,), NaN where none is stated or no label was given."""
        return self.calibrators_[self.experts.index(answers.expert)](probability(answers))

    def _per_row(self, budget: Budget | None) -> float:
        small, large = self.rule_.costs
        if budget is None:
            return max(small, large)
        if budget.price is not None:
            raise BudgetError("OnlineTwoTier spends money, it knows no price of quality. Allowed: share or per_1000.")
        per_row = small + budget.value * large if budget.share is not None else budget.value / 1000
        least = min(small, large)
        if per_row < least * (1 - 1e-9):
            raise BudgetError.too_little(budget.value, least * 1000)
        return max(per_row, least)


class _OrderedScores:
    """The small one's answers to a panel's rows, in their `order`, worked out once for all budgets.

    `label`, `score`, `right` (rows,) are void where not `given`; `rank` is a score's among those up to it in the order,
    worked out for its first `upto` rows.
    """

    def __init__(self, order: Ints) -> None:
        self.order, self.upto, self.sorted = order, 0, np.empty(0)
        self.given = np.zeros(len(order), bool)
        self.label, self.rank = np.full((2, len(order)), NO_LABEL)
        self.score, self.right = np.full((2, len(order)), np.nan)

    def rank_to(self, end: int) -> None:
        """Rank the scores of the first `end` rows of the order, all of which are given."""
        rows = self.order[self.upto : max(end, self.upto)]
        self.rank[rows] = np.searchsorted(self.sorted, self.score[rows], side="right") + running_rank(self.score[rows])
        self.sorted = np.sort(np.append(self.sorted, self.score[rows]), kind="stable")
        self.upto += len(rows)


class _Stream:
    """The rows of a panel as they come in: the small one is asked only when it is certain that the rule asks it."""

    def __init__(self, policy: OnlineTwoTier, panel: Panel, budget: float, scores: _OrderedScores) -> None:
        self.policy, self.panel, self.budget, self.scores, self.rule = policy, panel, budget, scores, policy.rule_
        self.place, self.threshold = np.full((2, len(panel)), np.nan)
        self.top = -np.inf

    def fates(self) -> Fates:
        """What becomes of each row, in the panel's order."""
        small, large = self.rule.costs
        n = len(self.panel)
        out = np.full(n, LARGE if self.rule.large_better else SMALL, np.int8)
        if small < large:
            out[self.scores.order] = self.rule.play(self.budget, n, self._wanted, self._certain)
        elif not self.rule.large_better:
            self._ask(np.arange(n))
        return out

    def step(self, fates: Fates) -> Step:
        """The looks at the small one's answers: the share of the scores so far that are no surer, against the quantile.

        Where the money said otherwise than the score, the threshold shows it as infinite.
        """
        order = self.scores.order
        rows = order[np.isin(fates[order], (SMALL, BOTH))]
        place, threshold, went = self.place[rows], self.threshold[rows], fates[rows] == BOTH
        settled = np.where(went, np.inf, -np.inf)
        return Step(self.policy.experts[0], rows, place, np.where((place < threshold) == went, threshold, settled))

    def _ask(self, rows: Ints) -> None:
        small, scores = self.panel.ask(self.policy.experts[0], rows), self.scores
        if not scores.given[rows].all():
            scores.label[rows], scores.right[rows] = small.label, self.policy.right(small)
            scores.score[rows] = self.policy.score(small, self.panel.draws(self.policy.random_state)[rows])
            scores.given[rows] = True

    def _wanted(self, done: Fates, end: int) -> Bools:
        scores, at = self.scores, len(done)
        rows = scores.order[at:end]
        self._ask(rows)
        score, spared = scores.score[rows], done == LARGE
        if spared.any():
            # Rounding can end a run of the large one alone; the scores it was spared are not among those so far.
            before = np.sort(scores.score[scores.order[:at][~spared]])
            rank = np.searchsorted(before, score, side="right") + running_rank(score)
        else:
            scores.rank_to(end)
            rank = scores.rank[rows]
        count = np.arange(1, len(rows) + 1) + np.sum(~spared)
        top = np.maximum(self.top, np.maximum.accumulate(score))
        self.top = float(top[-1])
        self.place[rows] = rank / count
        self.threshold[rows] = (np.floor(count * self.rule.share(self.budget)) + 1) / count
        return self.rule.wanted(score, rank, top, count, self.budget)

    def _certain(self, money: float, left: int) -> int:
        """For how many rows on, at least, the small one is asked whatever the scores turn out to be."""
        small, large = self.rule.costs
        most = left
        if self.rule.large_better:
            # Each row that the small one keeps brings the large one for all rows left that much nearer.
            most = math.floor(min(left, (left * large - money) / (large - small)))
        if small > 0:
            # As many large ones as can be paid for at once, then what is left for the small one.
            expensive = max(math.floor((money - small) / large), 0) if money > (left - 1) * small else 0
            short = math.floor(min(left, (money - expensive * large) / small)) - 1
            most = min(most, max(short, left - math.ceil(min(left, large / small)) - 3))
        return max(most, 1)
