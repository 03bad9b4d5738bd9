"""A plan: which experts, in which order, when to stop; what it promises was measured on rows not learnt on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np

from askless.arrays import Bools, Floats, Ints
from askless.errors import ConfigError, DataError
from askless.panel import NO_LABEL, Answers, Panel
from askless.policies.base import Budget, Decisions, Policy, Step, some_rows
from askless.policies.classes import check_classes
from askless.policies.planned.first_threshold import FirstThreshold
from askless.policies.planned.gain_rule import GainRule
from askless.policies.planned.operating_points import Measured, Mix, OperatingPoints
from askless.policies.planned.subchains import Subchains
from askless.policies.planned.walk import STOP, Alone, AnswerMatrix, Rule, outcomes, walk
from askless.stats.uncertainty import confidence, probability, resolve

METHODS: dict[str, Callable[[], Rule]] = {
    "threshold": FirstThreshold,
    "gain": GainRule,
    "vote": lambda: GainRule(votes=True),
    "search": Subchains,
}
CLEARLY = 0.5
SUREST_SCORE = 1e300


class Planned(Policy):
    """Chooses, on labelled answers, a way to ask one expert after another, and its operating point for every budget.

    `method` is a threshold on the first of two experts' confidence (`threshold`), the gain rule (`gain`; `vote`, where
    the surest answer stands instead of the costliest), a search over sub-chains (`search`), or `auto`: the threshold
    for two experts and the gain rule for more, unless another has by more than half a standard error the larger area
    under its cost-quality curve. Single experts are operating points too.

    With an empty `valid` quality is cross-fitted on train, and costs are those of the rule learnt on all of train: they
    foretell the bill of new rows better than the costs of the rules that lacked a fold. Else rules are learnt on train,
    chosen and measured on valid: experts trained on train are surer there than they should be, so the two are not
    pooled.

    Attributes learnt: `method_`; `order_`, places of `experts` by rising mean cost; `thresholds_`, the operating
    points, cheapest first, with what each costs and promises; `areas_`, method -> area under its curve over the mix of
    single experts, as a share of right answers; `single_`, the expert that alone is the whole plan, or None; `items_`,
    on how many rows the promise rests; `prices_` (experts,), mean cost of each on train.
    """

    single_: str | None

    def __init__(
        self,
        experts: tuple[str, ...],
        *,
        method: str = "auto",
        folds: int = 5,
        most_rows: int = 5_000,
        random_state: int = 0,
    ) -> None:
        self.experts = tuple(experts)
        self.method = method
        self.folds = folds
        self.most_rows = most_rows
        self.random_state = random_state

    def fit(self, train: Panel, valid: Panel) -> Self:
        """Learn every method on `train`, choose among them and set operating points on `valid`, or cross-fitted.

        More than `most_rows` rows of a panel are sampled. Raises `DataError` without rows, `ConfigError` for an unknown
        method or a task without classes.
        """
        super().fit(train, valid)
        check_classes(self, train)
        self._check(train)
        told = self._told(train)
        rest = self._told(valid) if len(valid) else None
        tried = {name: self._measure(name, told, rest) for name in self._candidates(told)}
        self.items_ = len(told if rest is None else rest)
        self.areas_ = {name: float((m.area() - m.mixture()).mean()) for name, (_, m) in tried.items()}
        self.method_ = chosen({name: m.area() for name, (_, m) in tried.items()})
        self.rule_, measured = tried[self.method_]
        self.thresholds_ = measured.points() if worth_it(measured) else measured.alone()
        self._name_single()
        return self

    def look(self, panel: Panel) -> None:
        """Nothing: whom to ask first depends on the budget."""

    def decide(self, panel: Panel, budget: Budget | None = None, seen: None = None) -> Decisions:
        """Ask expert after expert, each only about the rows that are due.

        Raises `BudgetError` for a budget under the least cost.
        """
        mix = self.thresholds_.mix(budget)
        place = np.where(panel.draws(self.random_state) < mix.weight, mix.high, mix.low)
        names = [self.experts[j] for j in self.order_]
        label = np.full((len(panel), len(names)), NO_LABEL)

        def ask(j: int, rows: Ints) -> tuple[Ints, Floats, Floats]:
            answers = panel.ask(names[j], rows)
            label[rows, j] = answers.label
            return answers.label, *self._stated(j, answers)

        done = walk(Alone(self.rule_, len(names)), self.thresholds_.point[place], len(names), ask)
        given = np.where(done.last.answer == STOP, done.asked.argmax(axis=1), done.last.answer)
        steps = tuple(Step(names[j], rows, look.score, look.threshold) for j, rows, look in done.looks)
        asked = panel.asked_of(self.experts)
        said = label[np.arange(len(panel)), given]
        sure = np.where(said == NO_LABEL, np.nan, done.last.sure)
        return Decisions(self.experts, self.order_[given], said, done.last.score, panel.spent, asked, sure, steps)

    def promise(self, budget: Budget | None = None) -> Mix:
        """What `budget` buys: cost per item, share beyond the first expert, quality on rows not learnt on."""
        return self.thresholds_.mix(budget)

    def alone(self, budget: Budget | None = None) -> str | None:
        """The one expert that answers everything at `budget`, None where more than one is asked."""
        mix = self.thresholds_.mix(budget)
        places = {mix.low, mix.high} if mix.weight else {mix.low}
        names = {self._expert_at(int(self.thresholds_.point[place])) for place in places}
        return names.pop() if len(names) == 1 else None

    def cross_fitted(self, train: Panel) -> tuple[Bools, Floats]:
        """What became of each row of `train` at each of `thresholds_`, by a rule that was not learnt on the row.

        Whether it was answered rightly and what it cost, each (points, rows): for certificates, which need the outcomes
        themselves. The method and the operating points are those of `fit`.
        """
        told = self._told(train, sample=False)
        right, cost, _ = crossfit(METHODS[self.method_], told, self.folds, self.random_state, self._first())
        return right[self.thresholds_.point], cost[self.thresholds_.point]

    def state(self) -> dict[str, Any]:
        """What was learnt, as plain values."""
        return {
            "method": self.method_,
            "single": self.single_,
            "items": self.items_,
            "order": self.order_.tolist(),
            "prices": self.prices_.tolist(),
            "measures": list(self.measures_),
            "areas": dict(self.areas_),
            "points": self.thresholds_.state(),
            "rule": self.rule_.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        """Take over what `state` gave: it then decides the same."""
        self.method_, self.single_, self.items_ = state["method"], state["single"], int(state["items"])
        self.order_, self.prices_ = np.array(state["order"], np.int64), np.array(state["prices"], float)
        self.measures_, self.areas_ = tuple(state["measures"]), dict(state["areas"])
        self.thresholds_ = OperatingPoints.restored(state["points"])
        self.rule_ = METHODS[self.method_]().restore(state["rule"])
        return self

    def _check(self, train: Panel) -> None:
        if self.method not in ("auto", *METHODS):
            raise ConfigError.unknown("method of a plan", self.method, ("auto", *METHODS))
        if not self.experts:
            raise ConfigError("Planned got no experts. Allowed: one or more. Name whom to plan with.")
        if self.method == "threshold" and len(self.experts) != 2:
            raise ConfigError(f"Method 'threshold' got {len(self.experts)} experts. Allowed: two. Choose 'gain'.")
        if self.folds < 2:
            raise ConfigError(f"Got folds {self.folds}. Allowed: 2 or more.")
        if not len(train):
            raise DataError("train", "no rows", "at least one labelled row", "Put some rows into the split 'train'.")
        rows = some_rows(len(train), self.most_rows, self.random_state)
        answers = [train.ask(name, rows) for name in self.experts]
        self.prices_ = np.array([a.cost.mean() for a in answers])
        self.order_ = np.argsort(self.prices_, kind="stable")
        self.measures_ = tuple(resolve(answers[j], "auto") for j in self.order_)

    def _candidates(self, told: AnswerMatrix) -> list[str]:
        """Methods to compare, the default first; too few rows to cross-fit leave nothing to choose."""
        if self.method != "auto":
            return [self.method]
        k = len(self.experts)
        if k == 2:
            return ["threshold", "gain", "search"] if len(told) >= 2 * self.folds else ["threshold"]
        more = [] if len(told) < 2 * self.folds or k < 2 else ["vote", "search"] if k > 3 else ["search"]
        return ["gain", *more]

    def _measure(self, name: str, told: AnswerMatrix, valid: AnswerMatrix | None) -> tuple[Rule, Measured]:
        make, k, first = METHODS[name], told.label.shape[1], self._first()
        rule = make().fit(told)
        right, cost, beyond = outcomes(rule, told if valid is None else valid, first)
        bill, share = cost.mean(axis=1), beyond.mean(axis=1)
        if valid is None:
            right, cost, _ = crossfit(make, told, self.folds, self.random_state, first)
        return rule, Measured(right, cost, bill, share, rule.lambdas_, k)

    def _told(self, panel: Panel, *, sample: bool = True) -> AnswerMatrix:
        """Everybody's answers to a panel, experts by rising cost."""
        rows = some_rows(len(panel), self.most_rows, self.random_state) if sample else np.arange(len(panel))
        answers = [panel.ask(self.experts[j], rows) for j in self.order_]
        stated = [self._stated(j, a) for j, a in enumerate(answers)]
        label = np.stack([a.label for a in answers], axis=1)
        return AnswerMatrix(
            label=label,
            p=np.stack([p for p, _ in stated], axis=1),
            score=np.stack([score for _, score in stated], axis=1),
            cost=np.stack([a.cost for a in answers], axis=1),
            right=label == panel.gold[rows, None],
        )

    def _stated(self, j: int, answers: Answers) -> tuple[Floats, Floats]:
        score = confidence(answers, self.measures_[j])
        return probability(answers), np.clip(score, -SUREST_SCORE, SUREST_SCORE)

    def _first(self) -> int:
        return int(np.flatnonzero(self.order_ == 0)[0])

    def _expert_at(self, point: int) -> str | None:
        own = self.rule_.points
        return None if point < own else self.experts[self.order_[point - own]]

    def _name_single(self) -> None:
        names = {self._expert_at(int(point)) for point in self.thresholds_.point}
        self.single_ = names.pop() if len(names) == 1 else None


def crossfit(
    make: Callable[[], Rule], told: AnswerMatrix, folds: int, seed: int, first: int = 0
) -> tuple[Bools, Floats, Bools]:
    """`outcomes` of each row by a rule that `make` made and that was fitted on the other folds, all (points, rows).

    With fewer than two rows a fold nothing can be learnt: the rule's own points then count as wrong.
    """
    n, k = told.label.shape
    if n < 2 * folds:
        right, cost, beyond = outcomes(make().fit(told), told, first)
        right[:-k] = False
        return right, cost, beyond
    fold = np.random.default_rng(seed).permutation(n) % folds
    parts = [outcomes(make().fit(told[fold != held]), told[fold == held], first) for held in range(folds)]
    back = np.argsort(np.concatenate([np.flatnonzero(fold == held) for held in range(folds)]))
    right, cost, beyond = (np.concatenate(part, axis=1)[:, back] for part in zip(*parts, strict=True))
    return right, cost, beyond


def chosen(areas: Mapping[str, Floats]) -> str:
    """The first method, or of those clearly above it the one of the largest mean; each has its rows' parts (rows,)."""
    default, *others = areas
    clear = [name for name in others if clearly(areas[name] - areas[default])]
    return max(clear, key=lambda name: float(areas[name].mean()), default=default)


def clearly(gain: Floats) -> bool:
    """Whether the mean of paired differences (rows,) is above half its standard error."""
    return bool(gain.mean() > CLEARLY * gain.std() / np.sqrt(len(gain)) + 1e-12)


def worth_it(measured: Measured) -> bool:
    """Whether to ask more than one: always where a costlier expert is better, else only if that clearly helps."""
    quality = measured.right[measured.own :].mean(axis=1)
    return bool(quality.argmax()) or clearly(measured.area() - measured.mixture())
