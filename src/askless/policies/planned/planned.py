"""A plan: which experts, in which order, when to stop; what it promises was measured on rows not learnt on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Self

import numpy as np

from askless.arrays import Bools, Floats, Ints
from askless.errors import ConfigError
from askless.panel import NO_LABEL, Answers, Panel
from askless.policies.base import Budget, Decisions, Policy, Step, some_rows
from askless.policies.operating_points import PricedPoints, beneath_hull
from askless.policies.planned.first_threshold import FirstThreshold
from askless.policies.planned.gain_rule import GainRule
from askless.policies.planned.measured import MeasuredPoints
from askless.policies.planned.subchains import Subchains
from askless.policies.planned.votes import VoteSets
from askless.policies.planned.walk import STOP, Alone, AnswerMatrix, outcomes, walk
from askless.stats.uncertainty import confidence, probability, resolve

AnyRule = GainRule | FirstThreshold | Subchains | VoteSets
METHODS: dict[str, Callable[[], AnyRule]] = {
    "threshold": FirstThreshold,
    "gain": GainRule,
    "vote": partial(GainRule, votes=True),
    "search": Subchains,
    "subset": VoteSets,
}
CLEARLY = 0.5
# The sets of whom to have asked grow with the fourth power of how many there are.
MOST_EXPERTS = 9
SUREST_SCORE = 1e300


class Planned(Policy):
    """Chooses, on labelled answers, a way to ask one expert after another, and its operating point for every budget.

    With an empty `valid` quality is cross-fitted on train, and costs are those of the rule learnt on all of train: they
    foretell the bill of new rows better than the costs of the rules that lacked a fold. Else rules are learnt on train,
    chosen and measured on valid: experts trained on train are surer there than they should be, so the two are not
    pooled. Single experts are operating points too.

    Parameters
    ----------
    experts
        Names of one or more, in any order.
    method
        "threshold" on the first of two experts' confidence; "gain", the gain rule; "vote", the same, where the surest
        answer stands instead of the costliest; "search" over sub-chains; "subset", as of the policy of that name; or
        "auto": the threshold for two experts and the gain rule for more, unless another of the first four has by more
        than half a standard error the larger area under its cost-quality curve.
    folds
        How many folds qualities out of fold come from, 2 or more.
    most_rows
        Of more rows so many are drawn.
    random_state
        Seed of folds, of the rows drawn, and of the draws by which a budget is met.

    Attributes
    ----------
    method_ : str
        What "auto" came to.
    order_ : array
        Places of `experts` by rising mean cost on train, `prices_`: of more than nine the first and those that lie on
        the hull of single experts or next beneath it.
    measures_ : tuple of str
        How sure each is, in that order.
    rule_ : GainRule or FirstThreshold or Subchains or VoteSets
        The rule.
    thresholds_ : PricedPoints
        The operating points, cheapest first, with what each costs and promises.
    """

    title = "Planned cascade"
    about = "Asks one model after another while one more answer is worth its price; may skip models."
    method_: str
    order_: Ints
    prices_: Floats
    measures_: tuple[str, ...]
    rule_: AnyRule
    thresholds_: PricedPoints

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
        self._check(train)
        seen = self._answers(train)
        held = self._answers(valid) if len(valid) else None
        tried = {name: self._measure(name, seen, held) for name in self._candidates(seen)}
        self.method_ = chosen({name: m.area() for name, (_, m) in tried.items()})
        self.rule_, measured = tried[self.method_]
        self.thresholds_ = measured.points() if worth_it(measured) else measured.alone()
        return self

    def look(self, panel: Panel) -> None:
        """Nothing: whom to ask first depends on the budget."""

    def decide(self, panel: Panel, budget: Budget | None = None, seen: None = None) -> Decisions:
        """Ask expert after expert, each only about the rows that are due.

        Raises `BudgetError` for a budget under the least cost.
        """
        mix = self.thresholds_.mix(Budget(price=0.0) if budget is None else budget)
        place = mix.place(panel.draws(self.random_state))
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
        answer = label[np.arange(len(panel)), given]
        sure = np.where(answer == NO_LABEL, np.nan, done.last.sure)
        return Decisions(self.experts, self.order_[given], answer, done.last.score, panel.spent, asked, sure, steps)

    def _check(self, train: Panel) -> None:
        if self.method not in ("auto", *METHODS):
            raise ConfigError.unknown("method of a plan", self.method, ("auto", *METHODS))
        if not self.experts:
            raise ConfigError(f"{type(self).__name__} got no experts. Allowed: one or more. Name whom to plan with.")
        if self.method == "threshold" and len(self.experts) != 2:
            raise ConfigError(f"Method 'threshold' got {len(self.experts)} experts. Allowed: two. Choose 'gain'.")
        self._require(train, folds=2)
        rows = some_rows(len(train), self.most_rows, self.random_state)
        answers = [train.ask(name, rows) for name in self.experts]
        self.prices_ = np.array([a.cost.mean() for a in answers])
        kept = np.arange(len(answers))
        if len(kept) > MOST_EXPERTS:
            right = np.array([train.quality(a).mean() for a in answers])
            kept = np.argsort(np.append(-1.0, beneath_hull(self.prices_, right)[1:]), kind="stable")[:MOST_EXPERTS]
        self.order_ = kept[np.argsort(self.prices_[kept], kind="stable")]
        self.measures_ = tuple(resolve(answers[j], "auto") for j in self.order_)

    def _candidates(self, seen: AnswerMatrix) -> list[str]:
        """Methods to compare, the default first; too few rows to cross-fit leave nothing to choose."""
        if self.method != "auto":
            return [self.method]
        k = len(self.experts)
        if k == 2:
            return ["threshold", "gain", "search"] if len(seen) >= 2 * self.folds else ["threshold"]
        more = [] if len(seen) < 2 * self.folds or k < 2 else ["vote", "search"] if k > 3 else ["search"]
        return ["gain", *more]

    def _measure(self, name: str, seen: AnswerMatrix, valid: AnswerMatrix | None) -> tuple[AnyRule, MeasuredPoints]:
        make, k, first = METHODS[name], seen.label.shape[1], int(np.flatnonzero(self.order_ == 0)[0])
        rule = make().fit(seen)
        right, cost, beyond = outcomes(rule, seen if valid is None else valid, first)
        bill, share = cost.mean(axis=1), beyond.mean(axis=1)
        if valid is None:
            right, cost, _ = crossfit(make, seen, self.folds, self.random_state, first)
        return rule, MeasuredPoints(right, cost, bill, share, rule.lambdas_, k)

    def _answers(self, panel: Panel) -> AnswerMatrix:
        """Everybody's answers to a panel, experts by rising cost."""
        rows = some_rows(len(panel), self.most_rows, self.random_state)
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


def crossfit(
    make: Callable[[], AnyRule], seen: AnswerMatrix, folds: int, seed: int, first: int = 0
) -> tuple[Bools, Floats, Bools]:
    """`outcomes` of each row by a rule that `make` made and that was fitted on the other folds, all (points, rows).

    With fewer than two rows a fold nothing can be learnt: the rule's own points then count as wrong.
    """
    n, k = seen.label.shape
    if n < 2 * folds:
        right, cost, beyond = outcomes(make().fit(seen), seen, first)
        right[:-k] = False
        return right, cost, beyond
    fold = np.random.default_rng(seed).permutation(n) % folds
    parts = [outcomes(make().fit(seen[fold != held]), seen[fold == held], first) for held in range(folds)]
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


def worth_it(measured: MeasuredPoints) -> bool:
    """Whether to ask more than one: always where a costlier expert is better, else only if that clearly helps."""
    quality = measured.right[measured.own :].mean(axis=1)
    return bool(quality.argmax()) or clearly(measured.area() - measured.mixture())
