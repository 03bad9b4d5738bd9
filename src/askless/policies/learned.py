"""Learned deciders that the two-tier cascade is held against; each reads the text, one the small answer too.

TF-IDF with logistic regression stands for the fine-tuned encoders of the papers. Source of the comparison:
Ramirez et al. 2024, Optimising Calls to Large Language Models with Uncertainty-Based Two-Tier Selection.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from askless.arrays import Bools, Floats, Ints
from askless.errors import ConfigError, DataError
from askless.panel import NO_LABEL, Panel
from askless.policies.allocator import Timer
from askless.policies.base import Budget, Chooser, Decisions, Step, answered, some_rows
from askless.policies.classes import check_classes
from askless.policies.cuts import Cut
from askless.policies.sweep import Sweep
from askless.policies.text_chances import TextChances
from askless.stats.calibration import PlattCalibrator


@dataclass(frozen=True)
class Known:
    """Rows that both experts answered: the small one's `label` (rows,), the `quality` and `cost` of each (rows, 2).

    `silent` (rows,) are those that the large one did not answer, so that the small one's answer stands.
    """

    text: list[str]
    label: Ints
    quality: Floats
    cost: Floats
    silent: Bools

    @classmethod
    def of(cls, panel: Panel, experts: Sequence[str], rows: Ints) -> Known:
        """What is known of `rows` of a panel that shows the quality of answers."""
        small, large = (panel.ask(name, rows) for name in experts)
        first, second = panel.quality(small), panel.quality(large)
        silent = ~answered(large)
        quality = np.stack([first, np.where(silent, first, second)], axis=1)
        text = [panel.text[row] for row in rows]
        return cls(text, small.label, quality, np.stack([small.cost, large.cost], axis=1), silent)


class Learned(Chooser):
    """A decider between two experts, learnt from texts; a row of a low score goes to the large one.

    Learns on `train` (of more than `most` rows on so many, drawn), sets thresholds on `valid`; without one on train, by
    scores that are out of fold. Without a budget the price of quality is 0: whatever is best in the mean. What
    only `compares` the two answers learns from graded ones too.

    Attributes learnt: `prices_` (2,), mean cost of each expert on train; `chances_`; `sweep_`; `calibrators_`.
    """

    pair = True
    reads_text = True
    asks_first = False
    compares = False
    prices_: Floats
    chances_: TextChances
    sweep_: Sweep
    calibrators_: tuple[PlattCalibrator, PlattCalibrator]

    def __init__(
        self,
        experts: tuple[str, ...],
        *,
        strength: float = 1.0,
        folds: int = 5,
        most: int = 20_000,
        random_state: int = 0,
    ) -> None:
        self.experts = tuple(experts)
        self.strength = strength
        self.folds = folds
        self.most = most
        self.random_state = random_state

    def fit(self, train: Panel, valid: Panel) -> Self:
        """Learn the chances on `train`, the thresholds on `valid`, or without one on train, out of fold."""
        self._validate(train)
        super().fit(train, valid)
        known = Known.of(train, self.experts, some_rows(len(train), self.most, self.random_state))
        self.prices_ = known.cost.mean(axis=0)
        self.chances_ = TextChances(self.strength, len(train.classes) + 1 if self.asks_first else 0)
        if len(valid):
            self.chances_.fit(known.text, known.label, self.events(known.quality))
            known = Known.of(valid, self.experts, np.arange(len(valid)))
            chances = self.chances_.predict(known.text, known.label)
        else:
            chances = self.chances_.cross_fit(
                known.text, known.label, self.events(known.quality), folds=self.folds, random_state=self.random_state
            )
        chances = self._sure(chances, known.label)
        small, large = known.cost.T
        # What is silent falls back on the small one, who is then paid too.
        go = small + large if self.asks_first else large + small * known.silent
        gain = known.quality[:, 1] - known.quality[:, 0]
        self.sweep_ = Sweep.of(self.rank(chances), small, go, gain)
        first, last = (PlattCalibrator().fit(chances[:, j], known.quality[:, e]) for e, j in enumerate((0, -1)))
        self.calibrators_ = (first, last)
        return self

    def look(self, panel: Panel) -> Floats:
        """Each row's score, the calibrated chance of either expert, and its draw for ties, shape (rows, 4)."""
        given = panel.ask(self.experts[0]).label if self.asks_first else np.full(len(panel), NO_LABEL)
        with Timer() as timer:
            chances = self._sure(self.chances_.predict(panel.text, given), given)
        panel.charge(panel.cost_model.compute(timer.seconds) / max(len(panel), 1))
        stated = [calibrate(chances[:, j]) for calibrate, j in zip(self.calibrators_, (0, -1), strict=True)]
        return np.column_stack([self.rank(chances), *stated, panel.draws(self.random_state)])

    def decide(self, panel: Panel, budget: Budget | None = None, seen: Floats | None = None) -> Decisions:
        """Ask the chosen experts; the one step says which score was held against which threshold."""
        seen = self.look(panel) if seen is None else seen
        done = super().decide(panel, budget, seen)
        after = self.experts[0] if self.asks_first else ""
        threshold = np.full(len(panel), self.cut(budget).threshold)
        step = Step(after, np.arange(len(panel)), self.score(seen), threshold)
        return replace(done, steps=(step,), confidence=np.where(done.label == NO_LABEL, np.nan, done.confidence))

    def choose(self, seen: Floats, budget: Budget | None) -> Ints:
        """1 for the rows below the budget's cut, else 0."""
        return self.cut(budget).below(seen[:, 0], seen[:, 3]).astype(np.int64)

    def score(self, seen: Floats) -> Floats:
        """What is held against the threshold, shape (rows,)."""
        return np.asarray(seen[:, 0])

    def confidence(self, seen: Floats, choice: Ints) -> Floats:
        """The calibrated chance that the answer given is right, shape (rows,)."""
        return np.asarray(seen[np.arange(len(choice)), 1 + choice])

    def cut(self, budget: Budget | None) -> Cut:
        """The cut that keeps `budget`."""
        return self.sweep_.at(Budget(price=0.0) if budget is None else budget)

    @abstractmethod
    def events(self, quality: Floats) -> Bools:
        """What the chances are of, (rows, events), from the quality of both answers (rows, 2)."""

    def rank(self, chances: Floats) -> Floats:
        """The score (rows,) from the chances (rows, events): the first one, unless a subclass knows better."""
        return np.asarray(chances[:, 0])

    def _sure(self, chances: Floats, given: Ints) -> Floats:
        """The chances, but 0 for an answer without a label."""
        return np.where(given[:, None] == NO_LABEL, 0.0, chances) if self.asks_first else chances

    def _validate(self, train: Panel) -> None:
        name = type(self).__name__
        if len(self.experts) != 2:
            raise ConfigError(
                f"{name} got experts {list(self.experts)}. Allowed: two, the small one and the large one."
            )
        for what, value, least in (("folds", self.folds, 2), ("most", self.most, 1)):
            if value < least:
                raise ConfigError(f"{name} got {what} {value}. Allowed: {least} or more.")
        if not self.strength > 0:
            raise ConfigError(f"{name} got strength {self.strength:g}. Allowed: a number > 0.")
        if not self.compares:
            check_classes(self, train)
        if not len(train):
            raise DataError("train split", "no rows", "one row or more", "Label some items to learn from.")


class AnswerScorer(Learned):
    """Asks the small expert, estimates from text and answer whether it is right, and escalates the least likely.

    Source: FrugalGPT (Chen et al. 2023), the scoring function of its cascade.
    """

    asks_first = True

    def events(self, quality: Floats) -> Bools:
        """The small one is right."""
        return np.asarray(quality[:, :1] == 1)


class QueryAllocator(Learned):
    """Estimates from the text alone whether the small expert will do as well as the large one, and asks one of the two.

    Source: Hybrid LLM (Ding et al. 2024), the deterministic target.
    """

    compares = True

    def events(self, quality: Floats) -> Bools:
        """The small one is as good as the large one."""
        return quality[:, :1] >= quality[:, 1:]


class MetaModel(Learned):
    """Estimates from the text alone the chance of either expert to be right, and asks the one worth its price.

    Chooses the large one where P_large - P_small > lambda x (price_large - price_small). Source: Šakota et al. 2024,
    Fly-Swat or Cannon.
    """

    def events(self, quality: Floats) -> Bools:
        """The small one is right, the large one is right."""
        return np.asarray(quality == 1)

    def rank(self, chances: Floats) -> Floats:
        """P_small - P_large, shape (rows,)."""
        return np.asarray(chances[:, 0] - chances[:, 1])

    def cut(self, budget: Budget | None) -> Cut:
        """The cut that keeps `budget`; a price is weighed against the chances themselves."""
        price = 0.0 if budget is None else budget.price
        if price is None:
            return super().cut(budget)
        return Cut(float(price * (self.prices_[0] - self.prices_[1])), 0.0)
