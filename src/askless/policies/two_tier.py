"""Two tiers by uncertainty: the large expert is asked where the small one is not sure enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from askless.arrays import Floats, Ints
from askless.errors import BudgetError
from askless.panel import Answers, Panel
from askless.policies.base import Budget, Decisions, Policy, Step, answered
from askless.policies.operating_points import EVERYBODY, NOBODY, Threshold, least_if_nan, threshold_at
from askless.stats.calibration import PlattCalibrator
from askless.stats.uncertainty import check, confidence, probability, resolve, unit

SUREST_SCORE = 1e300


@dataclass
class _SmallScores:
    """What the small one's answers to a panel come to, worked out when it is first asked and then kept.

    `score` (rows,) orders them; `right` (rows,) is the calibrated probability that they are, NaN where none is stated.
    """

    score: Floats | None = None
    right: Floats | None = None


class TwoTier(Policy):
    """The cascade: asks the small expert, and the large one where the small one's confidence is under a threshold.

    Both are paid then. The threshold is a quantile of the confidence on valid (on train where that is empty), so that a
    share or a cost is met exactly in expectation, ties or not. At a price the threshold is where the gain expected of
    the large one, a difference of two calibrated probabilities, falls to price x cost; without a budget the price is 0.
    Where the small one states no confidence, rows are drawn by chance. Of answers without labels the score is the mean
    log-probability of their tokens, what is calibrated is their quality in [0, 1], and no confidence is stated, for
    quality is no probability.

    Parameters
    ----------
    experts
        Names of two: the small one and the large one.
    measure
        How sure the small one is: "margin", "entropy", "least_confidence", "logprob", or "auto", which is the margin
        where a distribution is stated; see `askless.stats.uncertainty.confidence`.
    straight
        Ask the large one alone at a share of 1 (the same answers, and the small one saved), and where a cost pays it
        for every row and the rows that the threshold would keep are not expected to be the better for it; at a price,
        where that is worth more.
    random_state
        Seed of the draws, one for each id, by which rows of equal confidence are told apart.
    point
        The threshold without a budget, and the share, 0 to 1, of the rows just at it that go on; None: the rule above.

    Attributes
    ----------
    measure_ : str
        What "auto" came to.
    states_confidence_ : bool
        False where chance is all there is.
    prices_ : tuple of float
        Mean cost of an answer of each.

    References
    ----------
    Ramirez, Birch and Titov 2024, Optimising Calls to Large Language Models with Uncertainty-Based Two-Tier Selection.
    """

    title = "Small model first"
    about = "Keeps the small model's answer where it is sure, and asks the large one where it is not."
    pair = True
    graded = True
    decides_alone = True
    measure_: str
    states_confidence_: bool
    prices_: tuple[float, float]
    # Of the scores seen, ascending, (levels,): how many rows had each, and what the large one took for them.
    levels_: Floats
    rows_: Floats
    cost_: Floats
    # Small right by its score, large right by that score, large right by its own.
    calibrators_: tuple[PlattCalibrator, PlattCalibrator, PlattCalibrator]

    def __init__(
        self,
        experts: tuple[str, ...],
        *,
        measure: str = "auto",
        straight: bool = True,
        random_state: int = 0,
        point: Sequence[float] | None = None,
    ) -> None:
        self.experts = tuple(experts)
        self.measure = measure
        self.straight = straight
        self.random_state = random_state
        self.point = point

    def fit(self, train: Panel, valid: Panel) -> Self:
        """Calibrate on `train`, set thresholds on `valid`, or on `train` where that is empty."""
        super().fit(train, valid)
        check(self.measure)
        self._require(train)
        small, large = (train.ask(name) for name in self.experts)
        self.measure_ = resolve(small, self.measure)
        score = self._score(small)
        good = [train.quality(each) for each in (small, large)]
        self.states_confidence_ = not np.isnan(confidence(small, self.measure_)).all()
        self.calibrators_ = (
            PlattCalibrator().fit(self._unit(score), good[0]),
            PlattCalibrator().fit(self._unit(score), good[1]),
            PlattCalibrator().fit(probability(large), good[1]),
        )
        if len(valid):
            small, large = (valid.ask(name) for name in self.experts)
        self.levels_, place = np.unique(self._score(small), return_inverse=True)
        self.rows_ = np.asarray(np.bincount(place), np.float64)
        self.cost_ = np.asarray(np.bincount(place, large.cost), np.float64)
        self.prices_ = float(small.cost.mean()), float(large.cost.mean())
        return self

    def look(self, panel: Panel) -> _SmallScores:
        """Nothing yet: some budgets never ask the small one."""
        return _SmallScores()

    def decide(self, panel: Panel, budget: Budget | None = None, seen: _SmallScores | None = None) -> Decisions:
        """Ask the small one for every row and the large one below the threshold, or the large one straight away.

        Raises `BudgetError` for a cost under that of the small one.
        """
        threshold, straight = self.rule(budget)
        if straight:
            return self._large_alone(panel)
        small, seen = panel.ask(self.experts[0]), seen or _SmallScores()
        if seen.score is None or seen.right is None:
            seen.score = self._score(small)
            seen.right = self.calibrators_[0](self._unit(confidence(small, self.measure_)))
        draw = panel.draws(self.random_state)
        rows = np.flatnonzero(threshold.below(seen.score, draw))
        large = panel.ask(self.experts[1], rows)
        given = answered(large)
        better = rows[given]
        label, right = small.label.copy(), seen.right.copy()
        label[better] = large.label[given]
        right[better] = self._large_right(large, seen.score[rows])[given]
        expert = np.zeros(len(panel), np.int64)
        expert[rows[given | ~answered(small)[rows]]] = 1
        step = Step(self.experts[0], np.arange(len(panel)), seen.score, threshold.by_row(draw))
        return self._decisions(panel, expert, label, seen.score, right, (step,))

    def rule(self, budget: Budget | None) -> tuple[Threshold, bool]:
        """The threshold that meets `budget`, and whether the large one is asked straight away instead."""
        if budget is None and self.point is not None:
            return Threshold(*self.point), False
        if budget is None or budget.price is not None:
            return self._by_price(0.0 if budget is None else budget.value)
        if budget.share is not None:
            return threshold_at(self.levels_, budget.share, self.rows_), self.straight and budget.share == 1
        return self._by_cost(budget.value / 1000)

    def threshold_words(self, budget: Budget | None) -> str:
        """The confidence under which the large one is asked."""
        threshold, straight = self.rule(budget)
        return f"{self.experts[1]} alone" if straight else f"{self.measure_} under {threshold.value:.4g}"

    def gain(self, score: Floats) -> Floats:
        """How much likelier the large one is right than the small one, by the small one's score, shape of `score`."""
        small, large, _ = self.calibrators_
        return large(self._unit(score)) - small(self._unit(score))

    def _score(self, small: Answers) -> Floats:
        return np.minimum(least_if_nan(confidence(small, self.measure_)), SUREST_SCORE)

    def _unit(self, score: Floats) -> Floats:
        return unit(score, self.measure_)

    def _by_price(self, price: float) -> tuple[Threshold, bool]:
        """The best threshold, by what the rows below it are expected to gain; then against the large one alone."""
        gain, (small, large) = self.gain(self.levels_), self.prices_
        worth = np.append(0.0, np.cumsum(self.rows_ * (gain - price * large)))
        best = int(np.argmax(worth))
        alone = float(self.rows_ @ gain - price * (large - small) * self.rows_.sum())
        everything = best == len(self.levels_)
        last = float(self.levels_[best - 1])
        threshold = EVERYBODY if everything else NOBODY if best == 0 else Threshold(last, 1.0)
        return threshold, self.straight and (everything or alone > worth[best])

    def _by_cost(self, cost: float) -> tuple[Threshold, bool]:
        """The threshold that spends `cost` a row in the mean; the large one alone if that is payable and no worse."""
        small, large = self.prices_
        slack = 1e-9 * (small + large)
        payable = self.straight and cost >= large - slack
        if cost < small - slack and not payable:
            least = min(small, large) if self.straight else small
            raise BudgetError.too_little(cost * 1000, least * 1000)
        share = float(np.clip((cost - small) / large, 0, 1)) if large > 0 else 1.0
        threshold = threshold_at(self.levels_, share, self.cost_ if large > 0 else self.rows_)
        kept = self.rows_ * (1 - threshold.share(self.levels_))
        return threshold, bool(payable and (cost < small - slack or kept @ self.gain(self.levels_) >= 0))

    def _large_right(self, large: Answers, score: Floats | None = None) -> Floats:
        """Calibrated probability that the large one is right: by what it states, else by the small one's score."""
        right = self.calibrators_[2](probability(large))
        if score is None or not self.states_confidence_:
            return right
        return np.where(np.isnan(right), self.calibrators_[1](self._unit(score)), right)

    def _large_alone(self, panel: Panel) -> Decisions:
        large = panel.ask(self.experts[1])
        right = np.where(answered(large), self._large_right(large), np.nan)
        return self._decisions(
            panel, np.ones(len(panel), np.int64), large.label, np.full(len(panel), np.nan), right, ()
        )

    def _decisions(
        self, panel: Panel, expert: Ints, label: Ints, score: Floats, right: Floats, steps: tuple[Step, ...]
    ) -> Decisions:
        asked = panel.asked_of(self.experts)
        if not panel.classes:
            right = np.full(len(panel), np.nan)
        return Decisions(self.experts, expert, label, score, panel.spent, asked, right, steps)
