"""The base of a policy between two experts: it gives one score a row, everything else is done here."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import ClassVar, NamedTuple, Self

import numpy as np

from askless.arrays import Bools, Floats, Ints
from askless.panel import NO_LABEL, Panel
from askless.policies.base import Budget, Decisions, Policy, Step, answered, billed, settle
from askless.policies.operating_points import Threshold, ThresholdPoints
from askless.stats.calibration import PlattCalibrator


class ScoredRows(NamedTuple):
    """What is looked at: the score of each row (rows,), and the chance of either expert to be right, (rows, 2)."""

    score: Floats
    right: Floats


class ScoreThreshold(Policy):
    """Asks the large expert where a score is below a threshold, else the small one.

    A subclass gives `score`, and where it learns anything `learn`. Budgets, ties, confidence, explanation, saving and
    loading are done here: thresholds are quantiles of the score on the rows set aside, and a share or a cost is met
    there exactly in expectation. Without a budget the price of quality is 0: whatever is best in the mean.

    Parameters
    ----------
    experts
        Names of two: the small one and the large one.
    random_state
        Seed of the draws, one for each id, by which rows of equal score are told apart.

    Attributes
    ----------
    asks_first : bool
        The small expert is asked about every row before the score is known, so that the score may read its answer;
        where the large one is asked too, both are paid.
    points_ : ThresholdPoints
        What each threshold buys.
    calibrators_ : tuple of PlattCalibrator
        Of each expert: how likely it is right, by the place of the score among those set aside.
    """

    pair = True
    decides_alone = True
    asks_first: ClassVar[bool] = False
    points_: ThresholdPoints
    calibrators_: tuple[PlattCalibrator, PlattCalibrator]

    def __init__(self, experts: tuple[str, ...], random_state: int = 0) -> None:
        self.experts = tuple(experts)
        self.random_state = random_state

    @abstractmethod
    def score(self, panel: Panel) -> Floats:
        """One number a row, shape (rows,): the lower, the sooner the large expert is asked.

        It must depend on the row alone, never on the rows beside it: `panel.text`, `panel.draws(seed)`, and the small
        expert's answers `panel.ask(self.experts[0])` where `asks_first` is set. NaN is the lowest of all.
        """

    def learn(self, train: Panel) -> None:
        """What `score` needs to know, learnt on `train`; by default nothing."""

    def fit(self, train: Panel, valid: Panel) -> Self:
        """Learn on `train`, set thresholds on `valid`, or on `train` where it is empty; see `Policy.fit`."""
        super().fit(train, valid)
        self._require(train)
        self.learn(train)
        held = valid if len(valid) else train
        _, quality, cost, unanswered = self.both(held)
        score = self.score(held)
        self.set_points(score, quality, cost, unanswered)
        place = self._place(score)
        first, second = (PlattCalibrator().fit(place, of) for of in quality.T)
        self.calibrators_ = (first, second)
        return self

    def both(self, panel: Panel, rows: Ints | None = None) -> tuple[Ints, Floats, Floats, Bools]:
        """What both experts answer to `rows`, or to all, of a panel that shows their quality.

        The small one's labels (rows,), quality and cost of each (rows, 2), and which the large one did not answer.
        """
        small, large = (panel.ask(name, rows) for name in self.experts)
        quality = np.stack([panel.quality(small), panel.quality(large)], axis=1)
        return small.label, quality, np.stack([small.cost, large.cost], axis=1), ~answered(large)

    def set_points(self, score: Floats, quality: Floats, cost: Floats, unanswered: Bools) -> None:
        """Measure what each threshold buys on rows of known `quality` and `cost` (rows, 2).

        Where the large expert leaves a row `unanswered` (rows,), the small one's answer stands, and both are paid.
        """
        small, large = cost.T
        go = small + large if self.asks_first else large + small * unanswered
        gain = np.where(unanswered, 0.0, quality[:, 1] - quality[:, 0])
        self.points_ = ThresholdPoints.of_levels(score, small, go, gain)

    def look(self, panel: Panel) -> ScoredRows:
        """The scores; what they take is billed to `panel`, and the small expert where it is asked first."""
        if self.asks_first:
            panel.ask(self.experts[0])
        with billed(panel):
            return self.scores(panel)

    def scores(self, panel: Panel) -> ScoredRows:
        """Each row's score and what it says of either expert."""
        score = self.score(panel)
        place = self._place(score)
        return ScoredRows(score, np.stack([calibrate(place) for calibrate in self.calibrators_], axis=1))

    def decide(self, panel: Panel, budget: Budget | None = None, seen: ScoredRows | None = None) -> Decisions:
        """Ask the large expert below the threshold; see `Policy.decide`."""
        seen = self.look(panel) if seen is None else seen
        draw, threshold = panel.draws(self.random_state), self.threshold(budget)
        choice = threshold.below(seen.score, draw).astype(np.int64)
        done = settle(panel, self.experts, choice, seen.score)
        every = np.arange(len(panel))
        step = Step(self.experts[0] if self.asks_first else "", every, seen.score, threshold.by_row(draw))
        return replace(
            done, steps=(step,), confidence=np.where(done.label == NO_LABEL, np.nan, seen.right[every, done.expert])
        )

    def threshold(self, budget: Budget | None) -> Threshold:
        """The threshold that keeps `budget`; raises `BudgetError` for one under the least cost."""
        return self.points_.at(Budget(price=0.0) if budget is None else budget)

    def threshold_words(self, budget: Budget | None) -> str:
        """What the score is compared with."""
        return f"score under {self.threshold(budget).value:.4g}"

    def _place(self, score: Floats) -> Floats:
        """The share of the rows set aside that score no more, shape (rows,)."""
        return self.points_.share[
            np.searchsorted(
                self.points_.value[:-1], np.nan_to_num(score, nan=-np.inf, posinf=np.inf, neginf=-np.inf), side="right"
            )
        ]
