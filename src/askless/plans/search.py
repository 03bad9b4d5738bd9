"""The search for a plan: what each way comes to on rows it was not fitted on, which are certified, which is chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from askless import policies as registry
from askless.arrays import Bools
from askless.errors import BudgetError, DataError
from askless.evaluation.replay import crossfit, replay
from askless.panel import Panel
from askless.plans import remarks
from askless.plans.floors import Ask, Requirement, Truth, judged
from askless.plans.options import Option, luck, shares
from askless.plans.plan import Expectation, FittedRows, Goal, Plan
from askless.policies.base import Budget, Policy
from askless.stats.bounds import SPENT, betting_mean
from askless.stats.guarantees import Certificate, fixed_sequences

STEPS, STEPS_OF_MANY = 60, 30
ENDS = 5
ENOUGH, MANY_EXPERTS = 1000, 4


@dataclass(frozen=True)
class Search:
    """The options of one goal on labelled rows, their tests, and the plan that follows.

    Parameters
    ----------
    labelled, goal, reference, kinds, bound, certify, learnt, ordered, most_per_item, max_tokens, folds
        As of `plan_on`; `kinds` without `always`.
    random_state, say
        As of `plan_on`.
    experts
        Their names, by rising mean cost unless they are `ordered`.
    asks
        What the floors ask for.
    alone
        Each expert alone, on all rows.
    truth
        What all rows are held against.
    allocated
        Experts that state no confidence, from which texts decide.
    held
        The rows that certify by `split`, (rows,).
    """

    labelled: Panel
    experts: tuple[str, ...]
    goal: Goal
    asks: tuple[Ask, ...]
    reference: str
    alone: Mapping[str, Option]
    truth: Truth
    kinds: tuple[str, ...] | None
    allocated: frozenset[str]
    bound: str
    certify: str
    held: Bools
    learnt: frozenset[str]
    ordered: bool
    most_per_item: float | None
    max_tokens: Mapping[str, int]
    folds: int
    random_state: int
    say: Callable[[str], None]

    def plan(self) -> Plan:
        """The plan, fitted and ready to decide."""
        if self.goal.floors:
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
        for kind, experts in self._kinds():
            options += self._outcomes(kind, experts, [budget])
        return max(options, key=lambda option: option.quality - price * option.mean_cost)

    def _by_floor(self, tried: Sequence[tuple[str, tuple[str, ...]]] | None = None) -> tuple[Option, Certificate]:
        """The cheapest that is certified and that no expert alone beats; else the reference.

        Of the cascades those of `tried` alone, tested as if beside all the others.
        """
        reference, cascades = self.alone[self.reference], []
        for kind, experts in self._kinds() if tried is None else tried:
            cascades.append(self._outcomes(kind, experts, self._dial(experts[0], reference.mean_cost, kind)[::-1]))
        cheaper = [name for name in self.experts if self._cheaper(name)]
        # Floors of classes do not come with the reference: it is tested like everybody.
        singles = cheaper + [self.reference] * (self.goal.of_classes or not cheaper)
        families = cascades + [[self._single(name)] for name in singles]
        parts = self._parts(cascades, len(singles))
        results = fixed_sequences(
            [
                [partial(self._p_value, option, part) for option in family]
                for family, part in zip(families, parts, strict=True)
            ],
            1 - self.goal.confidence,
            parts,
        )
        passed = [(f, j) for f, (count, _) in enumerate(results) for j in range(count)]
        worth = [at for at in passed if self._dearer(families[at[0]][at[1]]) <= 0]
        if not worth:
            return reference, self._uncertified(families, parts, results)
        worth.sort(key=lambda at: (self._dearer(families[at[0]][at[1]]), len(families[at[0]])))
        found = ((self._with_luck(families[f], j), f, j) for f, j in worth)
        unbeaten = next((each for each in found if not self._beaten_by(each[0])), None)
        if unbeaten is None and not self._beaten_by(reference):
            return reference, self._certificate([reference], (1, (0.0,)), 0)
        option, f, j = unbeaten or (self._with_luck(families[worth[0][0]], worth[0][1]), *worth[0])
        return option, self._certificate(families[f], results[f], j)

    def _dearer(self, option: Option) -> float:
        """What it costs more than the reference, on the same rows: by `split` not all have the same."""
        return option.mean_cost - float(self.alone[self.reference].cost[option.rows].mean())

    def _with_luck(self, family: Sequence[Option], j: int) -> Option:
        """The point as it is to be expected; one at which nobody else is asked is its first expert alone."""
        option = family[j]
        if len(family) == 1:
            return option
        single, at = self._single(option.experts[0]), self.alone[option.experts[0]].label[option.rows]
        if not option.deferred.any() and np.array_equal(option.label, at):
            return single
        more = luck(family, j, self._truth(option).reference, self.folds, self.random_state)
        return replace(option, luck=more)

    def _parts(self, cascades: Sequence[Sequence[Option]], singles: int) -> list[float]:
        """The part of the chance of a broken promise of each of these cascades, then of each expert alone."""
        of_class = any(each.measure != "quality" for each in self.asks)
        rows = len(cascades[0][0].rows) if cascades else 0
        least = 0.0 if of_class else float(max((1 - each.slack) ** rows for each in self.asks)) / (1 - SPENT)
        first, last = shares(len(self._kinds()), singles, least, 1 - self.goal.confidence)
        return first[: len(cascades)] + last

    def _p_value(self, option: Option, delta: float) -> float:
        """Of "this option breaks a floor": the largest of the floors'."""
        bound, truth = self._bound(option), self._truth(option)
        return max(each.p_value(option.label, truth, bound, delta) for each in self.asks)

    def _bound(self, option: Option) -> str:
        return "exact" if option.kind == "always" else self.bound

    def _truth(self, option: Option) -> Truth:
        return self.truth if len(option.rows) == len(self.truth.gold) else self.truth.take(option.rows)

    def _certificate(
        self,
        family: Sequence[Option],
        result: tuple[int, tuple[float, ...]],
        index: int | None,
        needed: int | None = None,
    ) -> Certificate:
        floor = self.goal.floor
        of_all = [Requirement("quality", each.slack) for each in self.asks if each.measure == "quality"]
        terms = () if list(self.asks) == of_all else tuple(each.words() for each in self.asks)
        return Certificate(
            kind="classes" if floor is None else "quality",
            bound=self._bound(family[0]),
            limit=0.0 if floor is None else round(1 - floor, 12),
            confidence=self.goal.confidence,
            n=len(family[0].rows),
            index=index,
            certified=result[0],
            p_values=result[1],
            needed=needed,
            terms=terms,
        )

    def _uncertified(
        self,
        families: Sequence[Sequence[Option]],
        parts: Sequence[float],
        results: Sequence[tuple[int, tuple[float, ...]]],
    ) -> Certificate:
        """That nothing passed, and how many labels the family would take that takes the fewest."""
        equal = (1 - self.goal.confidence) / len(families)
        takes = [
            min(self._needed(option, 1 - (part or equal)) for option in family[:ENDS])
            for family, part in zip(families, parts, strict=True)
        ]
        f = int(np.argmin(takes))
        enough = np.isfinite(takes[f]) and takes[f] > len(self.labelled)
        return self._certificate(families[f], results[f], None, int(takes[f]) if enough else None)

    def _needed(self, option: Option, confidence: float) -> float:
        truth, bound = self._truth(option), self._bound(option)
        found = [each.needed(option.label, truth, bound, confidence) for each in self.asks]
        takes = max(np.inf if n is None else n for n in found)
        return takes * len(self.labelled) / len(option.rows)

    def _single(self, name: str) -> Option:
        """One expert alone on the rows that tell of it: those that certify, for one that has learnt from the others."""
        alone = self.alone[name]
        if self.certify == "cross" or name not in self.learnt:
            return alone
        rows = np.flatnonzero(self.held)
        parts = {part: getattr(alone, part)[rows] for part in ("label", "right", "cost", "deferred")}
        return replace(alone, rows=rows, **parts)

    def _beaten_by(self, option: Option) -> str | None:
        """The expert that alone is better for less on the option's own rows."""
        return next((name for name in self.experts if self.alone[name].beats(option)), None)

    def _by_limit(self) -> tuple[Option, Certificate]:
        """The best that is certified to cost no more than the limit, tested from the cheapest up; else the cheapest."""
        assert self.goal.limit is not None
        limit, names = self.goal.limit / 1000, self.experts
        cheapest = min(self.alone.values(), key=lambda option: option.mean_cost)
        most, assumed = self._most()
        families = [[self._single(name)] for name in names]
        for kind, experts in self._kinds():
            families.append(self._outcomes(kind, experts, self._dial(experts[0], limit, kind)))
        dearest = max(float(option.cost.max()) for family in families for option in family)
        if dearest > most * (1 + 1e-9):
            raise DataError("cost", f"an item of {dearest:g}", f"at most {most:g}", "Raise the most of an item.")

        def p_value(option: Option) -> float:
            return 0.0 if limit >= most else betting_mean(option.cost / most, limit / most)

        delta = 1 - self.goal.confidence
        results = fixed_sequences([[partial(p_value, option) for option in family] for family in families], delta)
        passed = [(f, j) for f, (count, _) in enumerate(results) for j in range(count)]
        f, index = max(
            passed,
            key=lambda at: (families[at[0]][at[1]].quality, -families[at[0]][at[1]].mean_cost),
            default=(0, None),
        )
        option = cheapest if index is None else families[f][index]
        count, p_values = results[f]
        bound = "ceiling" if limit >= most else "betting"
        return option, Certificate(
            "spend", bound, limit, self.goal.confidence, len(option.rows), index, count, p_values, None, (assumed,)
        )

    def _most(self) -> tuple[float, str]:
        """What no item may cost more than, and the assumption that it never does."""
        if self.most_per_item is not None:
            return self.most_per_item, f"if no item costs more than {self.most_per_item:.4g}"
        most, longest = 0.0, bool(self.max_tokens)
        for name, option in self.alone.items():
            answers, dearest, known = self.labelled.copy().ask(name).table, float(option.cost.max()), None
            if name in self.max_tokens:
                known = self.labelled.cost_model.ceiling(answers, name, self.max_tokens[name])
            longest = longest and (known is not None or dearest == option.cost.min())
            most += max(dearest, known or 0.0)
        what = "the longest prompts seen and the longest replies" if longest else "the costliest answers seen"
        return most, f"if no item costs more than {most:.4g}, what {what} come to together"

    def _kinds(self) -> list[tuple[str, tuple[str, ...]]]:
        """Kinds of policy with their experts, each with a dial of budgets."""
        kinds = self._default() if self.kinds is None else self.kinds
        found = []
        for kind in kinds:
            if not registry.resolve(kind, kind).pair:
                found.append((kind, tuple(name for name in self.experts if self._worth_asking(name))))
                continue
            found += [(self._instead(kind, pair[0]), pair) for pair in self._pairs()]
        return [(kind, experts) for kind, experts in found if len(experts) > 1]

    def _instead(self, kind: str, first: str) -> str:
        return "query_allocator" if self.kinds is None and first in self.allocated else kind

    def _default(self) -> tuple[str, ...]:
        k, enough = sum(map(self._worth_asking, self.experts)), len(self.labelled) >= ENOUGH
        if not self.goal.floors:
            return {1: (), 2: ("two_tier",)}.get(k, ("planned" if self.labelled.classes else "chain",))
        more = self.labelled.classes and (k >= MANY_EXPERTS or (k > 2 and enough))
        return ("two_tier", "planned") if more else ("two_tier",)

    def _worth_asking(self, name: str) -> bool:
        """Of no use for a floor is who costs more than the reference."""
        return not self.goal.floors or self.alone[name].mean_cost <= self.alone[self.reference].mean_cost

    def _pairs(self) -> list[tuple[str, str]]:
        """For a floor from every cheaper expert, the costliest first, to the reference; else those within a budget."""
        if self.goal.floors:
            return [(name, self.reference) for name in self.experts[::-1] if self._cheaper(name)]
        firsts = [name for name in self.experts[:-1] if self._keeps(name)]
        return [(one, two) for one in firsts for two in self.experts[self.experts.index(one) + 1 :]]

    def _cheaper(self, name: str) -> bool:
        return self.alone[name].mean_cost < self.alone[self.reference].mean_cost

    def _dial(self, first: str, top: float, kind: str) -> list[Budget | None]:
        """Operating points from the price of the first expert to `top`; by share where all prices are equal."""
        policy = registry.resolve(kind, kind)
        if not policy.budgets:
            return [None]
        steps = STEPS if policy.pair else STEPS_OF_MANY
        low, high = self.alone[first].mean_cost, max(option.mean_cost for option in self.alone.values())
        if not high > low:
            return [Budget(share=float(s)) for s in np.linspace(0, 1, steps)]
        return [Budget(per_1000=1000 * float(c)) for c in np.linspace(low, max(low, top), steps)]

    def _keeps(self, name: str) -> bool:
        """Whether one expert alone keeps the goal's budget."""
        if self.goal.per_1000 is not None:
            return 1000 * self.alone[name].mean_cost <= self.goal.per_1000 * (1 + 1e-9)
        return self.goal.share is None or self.goal.share == 1 or name == self.experts[0]

    def _make(self, kind: str, experts: tuple[str, ...], seed: int) -> Policy:
        options = {"expert": experts[0]} if kind == "always" else {}
        return registry.build(kind, options, experts=experts, random_state=seed, prune=not self.ordered)

    def _outcomes(self, kind: str, experts: tuple[str, ...], budgets: Sequence[Budget | None]) -> list[Option]:
        """What each budget comes to on rows that the policy was not fitted on."""
        self.say(f"{kind} over {', '.join(experts)}: fitting and replaying")

        def make(seed: int) -> Policy:
            return self._make(kind, experts, seed)

        if self.certify == "split":
            rows, policy = np.flatnonzero(self.held), self._fit(make(self.random_state))
            run = replay(kind, {self.random_state: policy}, {self.random_state: self.labelled.take(rows)}, budgets)
        else:
            rows = np.arange(len(self.labelled))
            run = crossfit(kind, make, self.labelled, budgets, (self.random_state,), self.folds)
        right = run.right(self.truth.gold[rows])[:, 0] == 1
        label = run.label[:, 0].astype(np.int64) if self.labelled.classes else judged(right)
        return [
            replace(
                Option(kind, experts, b, rows, label[i], right[i], run.cost[i, 0], run.deferred[i, 0]),
                asked=run.asked(i, 0),
            )
            for i, b in enumerate(budgets)
        ]

    def _fit(self, policy: Policy) -> Policy:
        """The policy that decides: fitted on all rows or, certified by split, on those that do not certify."""
        rows = np.flatnonzero(~self.held) if self.certify == "split" else np.arange(len(self.labelled))
        return policy.fit(self.labelled.take(rows), self.labelled.take(rows[:0]))

    def _fitted(self, option: Option, certificate: Certificate | None) -> Plan:
        policy = self._fit(self._make(option.kind, option.experts, self.random_state))
        panel = self.labelled.copy(blind=True)
        done = policy.decide(panel, option.budget)
        reference = self.alone[self.reference]
        promise = Expectation.of(
            option.right,
            option.cost,
            option.deferred,
            (reference.right[option.rows], reference.cost[option.rows]),
            self.goal.confidence,
            foretold=option.kind != "always",
            luck=option.luck,
        )
        return Plan(
            goal=self.goal,
            kind=option.kind,
            policy=policy,
            budget=option.budget,
            reference=self.reference,
            classes=self.labelled.classes,
            unit=self.labelled.cost_model.unit,
            promise=promise,
            certificate=certificate,
            seen=FittedRows.of(done, panel, option, self.learnt if self.certify == "cross" else ()),
            notes=self._notes(option, [name for name in done.experts if done.asked[:, done.experts.index(name)].any()]),
            certify=self.certify,
        )

    def _notes(self, option: Option, asked: Sequence[str]) -> tuple[str, ...]:
        reference, truth = self.alone[self.reference], self._truth(option)
        answers, classes = reference.label[option.rows], self.labelled.classes
        notes = [
            *remarks.on_experts(self.experts),
            *remarks.on_singles(option, self.alone, self.reference, asked),
            *remarks.on_budget(option, self.goal),
        ]
        notes += remarks.on_floors(option, self.asks, truth, self.reference, self.goal.confidence)
        notes += remarks.on_classes(option, self.goal, truth, answers, classes)
        if self.goal.floors and option.kind != "always" and not self.learnt:
            other_way = replace(self, certify="split" if self.certify == "cross" else "cross", say=lambda _: None)
            other, _ = other_way._by_floor([(option.kind, option.experts)])
            saved, else_saved = (1 - each.mean_cost / reference.cost[each.rows].mean() for each in (option, other))
            notes.append(remarks.on_certifying(self.certify, saved, else_saved))
        return tuple(notes)
