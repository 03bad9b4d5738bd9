"""Chooses a policy for a goal by cross-fitting on labelled rows, fits it on all of them, and says what it promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from askless import policies as registry
from askless.arrays import Bools, Floats
from askless.data.recorded import Study
from askless.errors import BudgetError, ConfigError, DataError
from askless.evaluation.replay import crossfit
from askless.panel import Answers, Panel
from askless.plans.boards import Boards
from askless.plans.plan import FittedRows, Goal, Plan, Promise
from askless.policies.base import Budget, Policy
from askless.stats.guarantees import Certificate, certify_quality, certify_spend

STEPS = 30
FOLDS = 5


@dataclass(frozen=True)
class Option:
    """One way to reach a goal, and what became of each row decided by it, not fitted on that row.

    Parameters
    ----------
    kind
        Name of the kind of policy.
    experts
        Who may be asked.
    budget
        At which it decides.
    right, cost, deferred
        Whether each row was decided rightly, what it cost, and whether it went beyond the first expert, each (rows,).
    """

    kind: str
    experts: tuple[str, ...]
    budget: Budget | None
    right: Bools
    cost: Floats
    deferred: Bools

    @property
    def mean_cost(self) -> float:
        """Mean cost of a row."""
        return float(self.cost.mean())


def make_plan(study: Study, goal: Goal, reference: str | None = None, **search: Any) -> Plan:
    """The plan for `goal` from recorded answers: which experts to ask, in which order, until which threshold.

    Parameters
    ----------
    study
        Labelled items and what each expert answered, as `askless.read_study` gives them. The plan is made on its train
        and valid items; its test items are left alone.
    goal
        A quality floor, a spend limit, or a budget.
    reference
        The expert that a floor is held against; by default the costliest.
    **search
        `kinds`, `bound`, `folds` and `random_state` of `plan_on`.

    Returns
    -------
    Plan
        Ready to decide; `words()` says what is planned and what is promised.

    Raises
    ------
    ConfigError
        For an unknown expert or kind of policy.
    DataError
        For too few labelled items.
    BudgetError
        For a budget that nothing can keep.
    """
    return plan_on(Boards.labelled(study).train, study.experts, goal, reference, **search)


def plan_on(
    labelled: Panel,
    experts: Sequence[str],
    goal: Goal,
    reference: str | None = None,
    *,
    kinds: Sequence[str] | None = None,
    bound: str = "clopper_pearson",
    folds: int = FOLDS,
    random_state: int = 0,
) -> Plan:
    """The plan for `goal` from all rows of a labelled panel, none of them of the test split.

    Parameters
    ----------
    labelled
        Rows with gold labels, every answer at hand.
    experts
        Names of the experts that may be asked, in any order.
    goal
        A quality floor, a spend limit, or a budget.
    reference
        The expert that a floor is held against; by default the costliest.
    kinds
        Kinds of policy that are tried beside each expert alone. By default `two_tier` for two experts, `planned` for
        more, and for a floor `two_tier` from every cheaper expert to the reference, which differs from it in the fewest
        rows for what it saves.
    bound
        The test of a floor: `clopper_pearson` counts on no row that only the cheaper expert gets right, which a shift
        takes first; `exact` does and saves more; `betting`.
    folds
        Folds of the cross-fitting.
    random_state
        Seed of the folds and of policies that draw.

    Returns
    -------
    Plan
        Fitted on all rows; what it promises was measured on rows that its policy was not fitted on.

    Raises
    ------
    ConfigError
        For an unknown expert or kind of policy, and for a kind that cannot be kept.
    DataError
        For fewer than two rows a fold.
    BudgetError
        For a budget that nothing can keep.
    """
    if len(labelled) < 2 * folds:
        got, allowed = f"{len(labelled)}", f"at least {2 * folds}, to hold some out {folds} times"
        raise DataError("labelled rows", got, allowed, "Label more.")
    if reference is not None and reference not in experts:
        raise ConfigError.unknown("expert", reference, experts)
    for kind in kinds or ():
        if not registry.resolve(kind, kind).kept:
            able = ", ".join(name for name in registry.able("kept") if registry.resolve(name, name).budgets)
            raise ConfigError(f"Policy '{kind}' cannot be kept, and a plan keeps what was learnt. Allowed: {able}.")
    alone = {}
    for name in experts:
        answers = labelled.copy().ask(name)
        right, nobody = right_of(labelled, answers), np.zeros(len(labelled), bool)
        alone[name] = Option("always", (name,), None, right, answers.cost, nobody)
    experts = tuple(sorted(experts, key=lambda e: (alone[e].mean_cost, e)))
    asked = None if kinds is None else tuple(kinds)
    return _Search(labelled, experts, goal, reference or experts[-1], alone, asked, bound, folds, random_state).plan()


def right_of(panel: Panel, answers: Answers) -> Bools:
    """Which answers are right, (n,); raises `DataError` where some were judged to be neither right nor wrong."""
    quality = panel.quality(answers)
    if not np.isin(quality, (0, 1)).all():
        got = f"a quality of {quality[(quality != 0) & (quality != 1)][0]:g}"
        remedy = "Judge them as right or wrong, in a column correct; `askless evaluate` takes any quality from 0 to 1."
        raise DataError(f"answers of '{answers.expert}'", got, "0 or 1: a plan counts right answers", remedy)
    return np.asarray(quality == 1)


@dataclass(frozen=True)
class _Search:
    labelled: Panel
    experts: tuple[str, ...]
    goal: Goal
    reference: str
    alone: Mapping[str, Option]
    kinds: tuple[str, ...] | None
    bound: str
    folds: int
    random_state: int

    def plan(self) -> Plan:
        if self.goal.floor is not None:
            option, certificate = self._by_floor()
        elif self.goal.limit is not None:
            option, certificate = self._by_limit()
        else:
            option, certificate = self._by_budget(), None
        return self._fitted(option, certificate)

    def _by_budget(self) -> Option:
        """The best of everything that keeps the budget; of equals one expert alone, the cheapest first."""
        budget, price = self.goal.budget, self.goal.price or 0.0
        least = 1000 * min(option.mean_cost for option in self.alone.values())
        if self.goal.per_1000 is not None and self.goal.per_1000 < least * (1 - 1e-9):
            raise BudgetError.too_little(self.goal.per_1000, least)
        options = [self.alone[name] for name in self.experts if self._keeps(name)]
        for kind, experts in self._families():
            options += self._crossfitted(kind, experts, [budget])
        return max(options, key=lambda option: float(option.right.mean()) - price * option.mean_cost)

    def _by_floor(self) -> tuple[Option, Certificate]:
        """The cheapest operating point certified near the reference, tested from its price down; else the reference."""
        reference, eps = self.alone[self.reference], round(1 - self.goal.value, 12)
        families = self._families()
        if self.kinds is None:
            cheaper = [name for name in self.experts if self.alone[name].mean_cost < reference.mean_cost]
            families = [("two_tier", (name, self.reference)) for name in cheaper]
        found = []
        for kind, experts in families:
            options = self._crossfitted(kind, experts, self._dial(experts[0], reference.mean_cost)[::-1])
            certificate = self._near(options, eps, len(families))
            found.append((reference if certificate.index is None else options[certificate.index], certificate))
        if not found:
            found = [(reference, self._near([reference], eps, 1))]
        option, certificate = min(found, key=lambda pair: (pair[0].mean_cost, pair[1].needed or np.inf))
        return (option if option.mean_cost < reference.mean_cost else reference), certificate

    def _near(self, options: Sequence[Option], eps: float, families: int) -> Certificate:
        """The test of one family, at its part of the chance of a broken promise (Bonferroni)."""
        right, cost = np.stack([o.right for o in options]), np.stack([o.cost for o in options])
        sure = 1 - (1 - self.goal.confidence) / families
        return certify_quality(right, self.alone[self.reference].right, cost, eps, sure, self.bound)

    def _by_limit(self) -> tuple[Option, Certificate]:
        """The best operating point certified to cost no more than the limit, tested from the cheapest up."""
        limit, cheapest = self.goal.value / 1000, self.alone[self.experts[0]]
        most = sum(float(option.cost.max()) for option in self.alone.values())
        families, found = self._families(), []
        sure = 1 - (1 - self.goal.confidence) / max(1, len(families))
        for kind, experts in families:
            options = self._crossfitted(kind, experts, self._dial(experts[0], limit))
            right, cost = np.stack([o.right for o in options]), np.stack([o.cost for o in options])
            certificate = certify_spend(right, cost, limit, most, sure)
            found.append((cheapest if certificate.index is None else options[certificate.index], certificate))
        if not found:
            found = [(cheapest, certify_spend(cheapest.right[None], cheapest.cost[None], limit, most, sure))]
        return max(found, key=lambda pair: float(pair[0].right.mean()))

    def _families(self) -> list[tuple[str, tuple[str, ...]]]:
        """Kinds of policy with their experts, each with a dial of budgets."""
        more = "planned" if self.labelled.classes else "chain"
        default: tuple[str, ...] = {1: (), 2: ("two_tier",)}.get(len(self.experts), (more,))
        return [(kind, self.experts) for kind in (default if self.kinds is None else self.kinds)]

    def _dial(self, first: str, top: float) -> list[Budget]:
        """Operating points from the price of the first expert to `top`; by share where all prices are equal."""
        low, high = self.alone[first].mean_cost, max(option.mean_cost for option in self.alone.values())
        if not high > low:
            return [Budget(share=float(s)) for s in np.linspace(0, 1, STEPS)]
        return [Budget(per_1000=1000 * float(c)) for c in np.linspace(low, max(low, top), STEPS)]

    def _keeps(self, name: str) -> bool:
        """Whether one expert alone keeps the goal's budget."""
        if self.goal.per_1000 is not None:
            return 1000 * self.alone[name].mean_cost <= self.goal.per_1000 * (1 + 1e-9)
        return self.goal.share is None or self.goal.share == 1 or name == self.experts[0]

    def _make(self, kind: str, experts: tuple[str, ...], seed: int) -> Policy:
        options = {"expert": experts[0]} if kind == "always" else {}
        return registry.build(kind, options, experts=experts, random_state=seed)

    def _crossfitted(self, kind: str, experts: tuple[str, ...], budgets: Sequence[Budget | None]) -> list[Option]:
        def make(seed: int) -> Policy:
            return self._make(kind, experts, seed)

        run = crossfit(kind, make, self.labelled, budgets, (self.random_state,), self.folds)
        gold = np.zeros(len(self.labelled), np.int64) if self.labelled.graded else self.labelled.gold
        right = run.right(gold)[:, 0] == 1
        return [Option(kind, experts, b, right[i], run.cost[i, 0], run.deferred[i, 0]) for i, b in enumerate(budgets)]

    def _fitted(self, option: Option, certificate: Certificate | None) -> Plan:
        policy = self._make(option.kind, option.experts, self.random_state)
        policy.fit(self.labelled.copy(), self.labelled.take(np.zeros(0, np.int64)))
        panel = self.labelled.copy(blind=True)
        done = policy.decide(panel, option.budget)
        reference, sure = self.alone[self.reference], self.goal.confidence
        return Plan(
            goal=self.goal,
            kind=option.kind,
            policy=policy,
            budget=option.budget,
            reference=self.reference,
            classes=self.labelled.classes,
            unit=self.labelled.cost_model.unit,
            promise=Promise.of(option.right, option.cost, option.deferred, (reference.right, reference.cost), sure),
            certificate=certificate and replace(certificate, confidence=sure),
            seen=FittedRows.of(done, panel),
            notes=self._notes(option, [name for name in done.experts if done.asked[:, done.experts.index(name)].any()]),
        )

    def _notes(self, option: Option, asked: Sequence[str]) -> tuple[str, ...]:
        notes, reference = [], self.alone[self.reference]
        if len(asked) == 1 and len(self.experts) > 1:
            notes.append(f"{asked[0]} alone is the answer: nobody else is asked about any row.")
        for name in self.experts:
            other = self.alone[name]
            if other.mean_cost < reference.mean_cost and other.right.mean() >= reference.right.mean():
                notes.append(
                    f"{name} costs less than {self.reference} and is at least as good on these rows "
                    f"({100 * other.right.mean():.1f} against {100 * reference.right.mean():.1f} %): "
                    "between these two no cascade is needed."
                )
            if len(asked) > 1 and other.mean_cost <= option.mean_cost and other.right.mean() >= option.right.mean():
                untested = ", which was not put to the test of the floor" if self.goal.floor is not None else ""
                notes.append(f"{name} alone was as good as this plan on these rows, for no more{untested}.")
        return tuple(notes)
