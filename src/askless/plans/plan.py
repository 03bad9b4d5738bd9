"""A plan: which experts to ask, in which order and when, what that promises and what the promise was made on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from askless.arrays import Bools, Floats
from askless.errors import ConfigError
from askless.panel import Panel
from askless.policies.base import Budget, Decisions, Policy, Step
from askless.stats import shift
from askless.stats.bounds import mean_interval, share_interval
from askless.stats.guarantees import Certificate
from askless.stats.uncertainty import confidence as stated
from askless.stats.uncertainty import resolve

Span = tuple[float, float, float]


@dataclass(frozen=True)
class Goal:
    """What a plan is for: exactly one of these, and the confidence of what is promised.

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
    """

    price: float | None = None
    per_1000: float | None = None
    share: float | None = None
    floor: float | None = None
    limit: float | None = None
    confidence: float = 0.95

    def __post_init__(self) -> None:
        given = {k: v for k, v in vars(self).items() if v is not None and k != "confidence"}
        if len(given) != 1:
            raise ConfigError(f"A goal got {given or 'nothing'}. Give exactly one of {', '.join(KINDS)}.")
        if self.floor is not None and not 0 < self.floor < 1:
            raise ConfigError(f"A quality floor of {self.floor:g}. Allowed: between 0 and 1; 0.99 is one point below.")
        if self.limit is not None and not 0 < self.limit < np.inf:
            raise ConfigError(f"A spend limit of {self.limit:g} per 1,000 items. Allowed: a finite number above 0.")
        if not 0.5 <= self.confidence < 1:
            raise ConfigError(f"A confidence of {self.confidence:g}. Allowed: 0.5 or more and less than 1.")
        if self.floor is None and self.limit is None:
            Budget(**given)

    @property
    def kind(self) -> str:
        """Name of the one that is given."""
        return next(k for k in KINDS if getattr(self, k) is not None)

    @property
    def value(self) -> float:
        """The one number given."""
        return float(getattr(self, self.kind))

    @property
    def budget(self) -> Budget | None:
        """The goal as a budget, None for a floor or a limit."""
        return Budget(**{self.kind: self.value}) if self.floor is None and self.limit is None else None


KINDS = tuple(f.name for f in fields(Goal) if f.name != "confidence")


@dataclass(frozen=True)
class Promise:
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
        cls, right: Bools, cost: Floats, deferred: Bools, reference: tuple[Bools, Floats], confidence: float
    ) -> Promise:
        """From what became of each row, arrays (rows,); `reference` is (right, cost) of the reference alone."""
        loss = reference[0].astype(float) - right
        n = len(right)
        return cls(
            n,
            (float(right.mean()), *share_interval(int(right.sum()), n, confidence)),
            (float(cost.mean()), *mean_interval(cost, confidence)),
            (float(loss.mean()), *mean_interval(loss, confidence)),
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
            f"at {_span(self.cost, 1000, 4)} {unit} per 1,000 items{saved}"
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
    """What the policy saw of the labelled rows, to compare later rows with.

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
    def of(cls, done: Decisions, panel: Panel) -> FittedRows:
        """From decisions and the panel they were made on; experts that state no confidence are left out."""
        measure, sample = {}, {}
        for name, asked in zip(done.experts, done.asked.T, strict=True):
            answers = panel.ask(name, asked)
            how = resolve(answers, "auto")
            score = shift.summary(stated(answers, how))
            if len(score):
                measure[name], sample[name] = how, score
        looks = tuple(StepSummary.of(step) for step in done.steps if len(step.rows))
        return cls(looks, measure, sample, int(done.asked[:, 1:].any(axis=1).sum()), len(done.label))

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
    """

    goal: Goal
    kind: str
    policy: Policy
    budget: Budget | None
    reference: str
    classes: tuple[str, ...]
    unit: str
    promise: Promise
    certificate: Certificate | None
    seen: FittedRows
    notes: tuple[str, ...] = ()

    def decide(self, panel: Panel) -> Decisions:
        """Decide rows as planned."""
        return self.policy.decide(panel, self.budget)

    def words(self) -> list[str]:
        """What is planned and what is promised, a sentence or two each."""
        names = list(self.policy.experts)
        how = f"Always ask {names[0]}." if len(names) == 1 else f"Policy {self.kind} over {', '.join(names)}."
        sure = f"{self.promise.items:,} labelled items, {100 * self.goal.confidence:g} % intervals"
        lines = [how, f"Expected, cross-fitted on {sure}: {self.promise.words(self.reference, self.unit)}."]
        return lines + ([self.certificate.words()] if self.certificate else []) + list(self.notes)


def _span(span: Span, scale: float, digits: int) -> str:
    value, low, high = (f"{scale * v:.{digits}f}" for v in span)
    return f"{value} [{low}, {high}]"


def _less(share: float) -> str:
    return f"{100 * abs(share):.0f} % {'less' if share >= 0 else 'MORE'}"
