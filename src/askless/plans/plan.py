"""A plan: which experts to ask, in which order and when, what that promises and what the promise was made on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from askless.arrays import Bools, Floats
from askless.errors import ConfigError
from askless.panel import Panel
from askless.plans.floors import Ask, requirements
from askless.plans.options import Option
from askless.policies.base import BUDGETS, Budget, Decisions, Policy, Step
from askless.stats import shift
from askless.stats.bounds import mean_interval, paired_interval, share_interval
from askless.stats.guarantees import Certificate
from askless.stats.uncertainty import confidence as stated
from askless.stats.uncertainty import resolve

Span = tuple[float, float, float]


@dataclass(frozen=True)
class Goal:
    """What a plan is for: exactly one of the first five, and the confidence of what is promised.

    Floors of classes join a floor of quality, or stand for themselves.

    Parameters
    ----------
    price
        Price of quality (lambda): a right answer more is worth 1 / price of cost. A budget, kept in the mean, as the
        next two.
    per_1000
        Cost of 1,000 items.
    share
        Share of items that go beyond the first expert, 0 to 1.
    floor
        Quality not more than 1 - floor below the reference's, between 0 and 1: 0.99 is at most 1 point below.
    limit
        A mean cost of 1,000 items that is promised, not just aimed at; above 0.
    confidence
        Of what is promised, 0.5 or more and below 1.
    recall, precision
        Class to the least share of its items that are answered so, and of such answers that are right, each between 0
        and 1.
    macro_f1
        The least mean of the classes' F1, between 0 and 1.
    per_group
        Every floor holds in each group of items, not just over all.
    """

    price: float | None = None
    per_1000: float | None = None
    share: float | None = None
    floor: float | None = None
    limit: float | None = None
    confidence: float = 0.95
    recall: Mapping[str, float] = field(default_factory=dict)
    precision: Mapping[str, float] = field(default_factory=dict)
    macro_f1: float | None = None
    per_group: bool = False

    def __post_init__(self) -> None:
        given = {k: v for k in KINDS if (v := getattr(self, k)) is not None}
        if len(given) != 1 and (given or not self.of_classes):
            raise ConfigError(f"A goal got {given or 'nothing'}. Give exactly one of {', '.join(KINDS)}.")
        if given and self.floor is None and (self.of_classes or self.per_group):
            raise ConfigError(f"A goal got {given} beside floors of classes or groups. Give a floor, or these alone.")
        for name, least in [*self.recall.items(), *self.precision.items()]:
            if not 0 < least < 1:
                raise ConfigError(f"A floor of {least:g} for class '{name}'. Allowed: between 0 and 1; 0.9 is 90 %.")
        if self.macro_f1 is not None and not 0 < self.macro_f1 < 1:
            raise ConfigError(f"A floor of {self.macro_f1:g} for macro-F1. Allowed: between 0 and 1; 0.8 is 80 %.")
        if self.floor is not None and not 0 < self.floor < 1:
            raise ConfigError(f"A quality floor of {self.floor:g}. Allowed: between 0 and 1; 0.99 is one point below.")
        if self.limit is not None and not 0 < self.limit < np.inf:
            raise ConfigError(f"A spend limit of {self.limit:g} per 1,000 items. Allowed: a finite number above 0.")
        if not 0.5 <= self.confidence < 1:
            raise ConfigError(f"A confidence of {self.confidence:g}. Allowed: 0.5 or more and less than 1.")
        if given and self.floor is None and self.limit is None:
            Budget(**given)

    @property
    def of_classes(self) -> bool:
        """Whether there are floors of classes."""
        return bool(self.recall or self.precision or self.macro_f1)

    @property
    def floors(self) -> bool:
        """Whether the goal is a floor, of quality or of classes."""
        return self.floor is not None or self.of_classes

    @property
    def budget(self) -> Budget | None:
        """The goal as a budget, None for a floor or a limit."""
        given = {k: getattr(self, k) for k in BUDGETS if getattr(self, k) is not None}
        return Budget(**given) if given else None

    def as_dict(self) -> dict[str, Any]:
        """What was given, and the confidence."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return {
            k: dict(v) if isinstance(v, Mapping) else v
            for k, v in given.items()
            if v is not None and v is not False and v != {}
        }

    def requirements(self, classes: Sequence[str], groups: NDArray[np.str_]) -> list[Ask]:
        """What the floors ask for, of rows of these groups; raises `ConfigError` for an unknown class."""
        named = sorted(set(groups.tolist())) if self.per_group else None
        return requirements(self.floor, self.recall, self.precision, self.macro_f1, classes, named)


KINDS = ("price", "per_1000", "share", "floor", "limit")


@dataclass(frozen=True)
class Expectation:
    """What to expect of new rows, measured on labelled rows by policies that were not fitted on them.

    Parameters
    ----------
    items
        How many labelled rows.
    quality
        Share of right answers: value, low and high at the goal's confidence.
    cost
        Cost of an item, the same three.
    loss
        The reference's quality less the plan's on the same rows, the same three.
    deferred
        Share of rows that go beyond the first expert, 0 to 1.
    reference_quality, reference_cost
        The reference's quality, and its cost of an item.
    """

    items: int
    quality: Span
    cost: Span
    loss: Span
    deferred: float
    reference_quality: float
    reference_cost: float

    @classmethod
    def of(
        cls,
        right: Bools,
        cost: Floats,
        deferred: Bools,
        reference: tuple[Bools, Floats],
        confidence: float,
        foretold: bool = False,
        luck: float = 0.0,
    ) -> Expectation:
        """From what became of each row, arrays (rows,); `reference` is (right, cost) of the reference alone.

        With `foretold` the interval of the cost is that of a policy whose thresholds are set on as many rows: they are
        as uncertain again as the mean. `luck` is what the policy is expected to lose beyond what it lost of these rows.
        """
        n = len(right)
        lost, won = int((reference[0] & ~right).sum()), int((right & ~reference[0]).sum())
        return cls(
            n,
            _shifted((float(right.mean()), *share_interval(int(right.sum()), n, confidence)), -luck),
            (float(cost.mean()), *mean_interval(cost, confidence, n / 2 if foretold else n)),
            _shifted(((lost - won) / n, *paired_interval(lost, won, n, confidence)), luck),
            float(deferred.mean()),
            float(reference[0].mean()),
            float(reference[1].mean()),
        )

    def words(self, reference: str, unit: str) -> str:
        """Quality and cost with their intervals, beside the reference's."""
        cost, own = self.cost[0], self.reference_cost
        saved = f", {_less(1 - cost / own)} than {reference}" if own > 0 else ""
        return (
            f"{_span(self.quality, 100, 1)} % right ({reference} alone {100 * self.reference_quality:.1f} %) "
            f"at {_span(self.cost, 1000, 4 if 1000 * cost < 100 else 0)} {unit} per 1,000 items{saved}"
        )


@dataclass(frozen=True)
class StepSummary:
    """What one step did to the labelled rows.

    Parameters
    ----------
    expert
        Who had answered last.
    rows, kept
        How many rows came to it, and how many of them reached their threshold.
    threshold
        The lowest and the highest threshold, which differ where a rule sets one for each row.
    """

    expert: str
    rows: int
    kept: int
    threshold: tuple[float, float]

    @classmethod
    def of(cls, step: Step) -> StepSummary:
        """From one step of the decisions."""
        kept = np.where(np.isnan(step.score), -np.inf, step.score) >= step.threshold
        return cls(
            step.expert, len(step.rows), int(kept.sum()), (float(step.threshold.min()), float(step.threshold.max()))
        )


@dataclass(frozen=True)
class FittedRows:
    """What there was to see of the labelled rows, to compare later rows with.

    Who was asked, and how often somebody was, is that of policies that were not fitted on these rows: one that learns
    from texts decides other rows otherwise.

    Parameters
    ----------
    looks
        Each step, in order.
    measure
        Expert to how its confidence is measured.
    sample
        Expert to a summary of its confidence where it was asked.
    deferred
        How many rows went beyond the first expert.
    rows
        How many rows there were.
    """

    looks: tuple[StepSummary, ...]
    measure: Mapping[str, str]
    sample: Mapping[str, Floats]
    deferred: int
    rows: int

    @classmethod
    def of(cls, done: Decisions, panel: Panel, option: Option, without: Collection[str] = ()) -> FittedRows:
        """From decisions, the panel they were made on, and what became of its rows without having been fitted on.

        Experts that state no confidence are left out. So are those `without`: what an expert says out of fold is no
        sample of what it will say.
        """
        measure, sample = {}, {}
        whom = np.ones((len(option.rows), 1), bool) if option.asked is None else option.asked
        for name, asked in zip(done.experts, whom.T, strict=True):
            answers = panel.ask(name, option.rows[asked])
            how = resolve(answers, "auto")
            score = shift.summary(stated(answers, how))
            if len(score) and name not in without:
                measure[name], sample[name] = how, score
        looks = tuple(StepSummary.of(step) for step in done.steps if len(step.rows))
        return cls(looks, measure, sample, int(whom[:, 1:].any(axis=1).sum()), len(whom))

    def against(self, done: Decisions, panel: Panel, level: float = 0.05) -> shift.Shift:
        """Whether later decisions, made on `panel`, look like these: false alarms at a rate of `level`."""
        now = {}
        for name, asked in zip(done.experts, done.asked.T, strict=True):
            if name in self.measure:
                now[name] = stated(panel.ask(name, asked), self.measure[name])
        rate = (self.deferred, self.rows), (int(done.asked[:, 1:].any(axis=1).sum()), len(done.label))
        return shift.compare(self.sample, now, rate if len(done.experts) > 1 else None, level)


@dataclass(frozen=True)
class Plan:
    """A fitted policy and its budget, what it promises and on what grounds.

    Parameters
    ----------
    goal
        What it is for.
    kind
        Name of the kind of policy.
    policy
        The fitted policy.
    budget
        At which it decides; None where the policy takes none.
    reference
        The expert it is measured against.
    classes
        Names of the classes.
    unit
        In which cost is counted.
    promise
        What to expect.
    certificate
        What is proven of a floor or a limit; None for a budget.
    seen
        What it saw of the labelled rows.
    notes
        What was assumed, a sentence each.
    certify
        How what is promised was measured: `cross`-fitted on all rows, or on a `split` of them, not fitted on.
    """

    goal: Goal
    kind: str
    policy: Policy
    budget: Budget | None
    reference: str
    classes: tuple[str, ...]
    unit: str
    promise: Expectation
    certificate: Certificate | None
    seen: FittedRows
    notes: tuple[str, ...] = ()
    certify: str = "cross"

    @property
    def promised(self) -> bool:
        """Whether a floor or a limit was certified."""
        return self.certificate is not None and self.certificate.index is not None

    def decide(self, panel: Panel) -> Decisions:
        """Decide rows as planned."""
        return self.policy.decide(panel, self.budget)

    def words(self) -> list[str]:
        """What is planned and what is promised, a sentence or two each."""
        names = list(self.policy.experts)
        how = f"Always ask {names[0]}." if len(names) == 1 else f"Policy {self.kind} over {', '.join(names)}."
        sure = f"{self.promise.items:,} labelled items, {100 * self.goal.confidence:g} % intervals"
        way = "cross-fitted on" if self.certify == "cross" else "held out,"
        lines = [how, f"Expected, {way} {sure}: {self.promise.words(self.reference, self.unit)}."]
        return lines + ([self.certificate.words()] if self.certificate else []) + list(self.notes)


def _shifted(span: Span, by: float) -> Span:
    value, low, high = (float(np.clip(x + by, -1, 1)) for x in span)
    return value, low, high


def _span(span: Span, scale: float, digits: int) -> str:
    value, low, high = (f"{scale * v:.{digits}f}" for v in span)
    return f"{value} [{low}, {high}]"


def _less(share: float) -> str:
    return f"{100 * abs(share):.0f} % {'less' if share >= 0 else 'MORE'}"
