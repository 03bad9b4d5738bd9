"""What every policy is: it looks at something, then chooses who answers each row, within a budget."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import pyarrow.compute as pc

from askless.arrays import Bools, Floats, Ints
from askless.errors import BudgetError, ConfigError
from askless.panel import NO_LABEL, Answers, Panel


@dataclass(frozen=True)
class Budget:
    """What may be spent: exactly one of the three.

    `share` of the rows that may go beyond the small expert; `per_1000` items in the cost model's unit
    (dollars, seconds or tokens); `price` of quality, lambda: ask when the expected gain exceeds price x cost.
    """

    share: float | None = None
    per_1000: float | None = None
    price: float | None = None

    def __post_init__(self) -> None:
        given = {k: v for k, v in vars(self).items() if v is not None}
        if len(given) != 1:
            raise BudgetError(f"Budget got {given or 'nothing'}. Give exactly one of share, per_1000, price.")
        ((name, value),) = given.items()
        top = 1.0 if name == "share" else math.inf
        if not (math.isfinite(value) and 0 <= value <= top):
            raise BudgetError(f"Budget {name} is {value}. Allowed: a finite number from 0 to {top:g}.")

    @property
    def value(self) -> float:
        """The one number given."""
        return next(v for v in (self.share, self.per_1000, self.price) if v is not None)


@dataclass(frozen=True)
class Step:
    """One look before answering or going on: which `rows` (n,) it was about, after asking `expert`.

    `score` (n,) is what was held against `threshold` (n,): at the threshold or above it the row was kept.
    """

    expert: str
    rows: Ints
    score: Floats
    threshold: Floats


@dataclass(frozen=True)
class Decisions:
    """Who answered each row and what it cost.

    `expert` (rows,) indexes `experts`; `label` (rows,) is a class index or `NO_LABEL`; `score` (rows,) is
    what decided (NaN where nothing did); `cost` (rows,) is everything asked for the row; `asked` is
    (rows, experts); `confidence` (rows,) is the stated probability of being right, NaN where none is stated;
    `steps` are the looks on the way there, in order.
    """

    experts: tuple[str, ...]
    expert: Ints
    label: Ints
    score: Floats
    cost: Floats
    asked: Bools
    confidence: Floats
    steps: tuple[Step, ...] = field(default=(), repr=False)

    @property
    def deferral_rate(self) -> float:
        """Share of rows for which any but the first expert was asked."""
        return float(self.asked[:, 1:].any(axis=1).mean()) if len(self.expert) else 0.0


class Policy(ABC):
    """Fit on labelled panels, then decide on a blind one.

    `experts` rise in cost: `experts[0]` is the small one, the rest are costlier. A class says of itself whether it
    is meant for two experts (`pair`), learns from texts (`reads_text`), and can be told a budget (`takes_budget`).
    """

    experts: tuple[str, ...]
    fallback = True
    pair = False
    reads_text = False
    takes_budget = True

    def fit(self, train: Panel, valid: Panel) -> Self:
        """Learn from `train` (its asks are billed to it), choose on `valid`; returns itself.

        A policy that says so takes an empty `valid`: then all is learnt on `train`, cross-fitted.
        """
        self._check_experts(train)
        return self

    def get_params(self) -> dict[str, Any]:
        """The arguments it was made with: `type(policy)(**policy.get_params())` is an unfitted clone."""
        return {name: getattr(self, name) for name in arguments(type(self))}

    @abstractmethod
    def look(self, panel: Panel) -> Any:
        """What is looked at whatever the budget; any ask made for it is billed to `panel`."""

    @abstractmethod
    def decide(self, panel: Panel, budget: Budget | None = None, seen: Any = None) -> Decisions:
        """Decide every row of `panel`, asking (and billing) experts; without a budget by its own rule.

        `seen` is an earlier `look` at this same panel, so that a sweep over budgets looks once.
        """

    def _check_experts(self, panel: Panel) -> None:
        for name in self.experts:
            if name not in panel.experts:
                raise ConfigError.unknown("expert", name, panel.experts)


@runtime_checkable
class Plain(Protocol):
    """A policy whose learning can all be written down as plain values: numbers, strings, lists and dicts of them."""

    def state(self) -> dict[str, Any]:
        """What was learnt."""

    def restore(self, state: Mapping[str, Any]) -> Self:
        """Take over what `state` gave; returns itself, and decides the same."""


class Chooser(Policy):
    """A policy that looks once and then chooses one expert for each row."""

    @abstractmethod
    def look(self, panel: Panel) -> Floats:
        """What is looked at before choosing, (rows,) or (rows, n).

        Any ask made for it is billed to `panel`.
        """

    @abstractmethod
    def choose(self, seen: Floats, budget: Budget | None) -> Ints:
        """Index of the expert to answer each row (rows,), from what `look` saw.

        Without a budget the policy's own rule decides.
        """

    def decide(self, panel: Panel, budget: Budget | None = None, seen: Floats | None = None) -> Decisions:
        """Ask the expert that `choose` names for each row."""
        seen = self.look(panel) if seen is None else seen
        choice = self.choose(seen, budget)
        done = settle(panel, self.experts, choice, self.score(seen), fallback=self.fallback)
        return replace(done, confidence=self.confidence(seen, done.expert))

    def score(self, seen: Floats) -> Floats:
        """One number for each row that says why it was deferred, shape (rows,)."""
        return np.asarray(seen if seen.ndim == 1 else seen[:, -1], np.float64)

    def confidence(self, seen: Floats, choice: Ints) -> Floats:
        """Probability that the chosen expert is right (rows,), NaN for a policy that does not state one."""
        return np.full(len(choice), np.nan)


def arguments(kind: type) -> list[str]:
    """Names of a policy's arguments, among them those that its `**options` hand on to its parents."""
    names: list[str] = []
    for parent in kind.__mro__:
        if "__init__" not in vars(parent):
            continue
        parameters = inspect.signature(parent).parameters.values()
        own = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        names += [name for name in own if name not in names]
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    return names


def some_rows(rows: int, most: int, seed: int) -> Ints:
    """All rows in order or, of more than `most`, so many drawn by `seed`."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def answered(answers: Answers) -> Bools:
    """Which rows were answered (n,): by a label or, where the task has no classes, by a text without an error."""
    if answers.proba.shape[1]:
        return np.asarray(answers.label != NO_LABEL)
    table = answers.table
    return np.asarray(pc.and_(table["text"].is_valid(), table["error"].is_null()).to_numpy(), np.bool_)


def settle(panel: Panel, experts: tuple[str, ...], choice: Ints, score: Floats, *, fallback: bool = True) -> Decisions:
    """Ask the chosen experts; with `fallback` a row without an answer goes to the first expert, who is paid too.

    No confidence is stated and no step told: a policy that has them puts them in.
    """
    label, silence = np.full(len(panel), NO_LABEL), np.zeros(len(panel), bool)
    expert = choice.astype(np.int64)
    for j, name in enumerate(experts):
        rows = np.flatnonzero(expert == j)
        answers = panel.ask(name, rows)
        label[rows], silence[rows] = answers.label, ~answered(answers)
    silent = np.flatnonzero(silence & (expert != 0))
    if fallback and len(silent):
        label[silent] = panel.ask(experts[0], silent).label
        expert[silent] = 0
    asked = panel.asked_of(experts)
    return Decisions(experts, expert, label, score, panel.spent, asked, np.full(len(panel), np.nan))
