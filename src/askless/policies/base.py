"""What every policy is: it looks at something, then chooses who answers each row, within a budget."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from askless.arrays import Bools, Floats, Ints
from askless.errors import BudgetError, ConfigError, DataError
from askless.panel import NO_LABEL, Answers, Panel
from askless.policies.state import arguments, learnt, plain, restored

BUDGETS = ("share", "per_1000", "price")


@dataclass(frozen=True)
class Budget:
    """What may be spent: exactly one of the three.

    Parameters
    ----------
    share
        Share of the rows, from 0 to 1, that may go beyond the small expert: the escalation rate.
    per_1000
        Mean cost of 1,000 items, everything asked included, in the cost model's unit (dollars, seconds or tokens).
    price
        Price of quality, lambda: ask where the expected gain in quality exceeds price x cost.

    Raises
    ------
    BudgetError
        Unless exactly one is given, a finite number in its range.
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
    def kind(self) -> str:
        """Which of the three is given."""
        return next(name for name in BUDGETS if getattr(self, name) is not None)

    @property
    def value(self) -> float:
        """The one number given."""
        return float(getattr(self, self.kind))


@dataclass(frozen=True)
class Step:
    """One look before answering or going on.

    Parameters
    ----------
    expert
        Who was asked before it; "" where nobody was.
    rows
        Places of the rows it was about, (n,).
    score, threshold
        What was compared, each (n,): at the threshold or above it the row was kept.
    """

    expert: str
    rows: Ints
    score: Floats
    threshold: Floats


@dataclass(frozen=True)
class Decisions:
    """Who answered each row and what it cost.

    Parameters
    ----------
    experts
        Names of whom the policy may ask.
    expert, label
        Who answered, an index of `experts`, and its class index or `NO_LABEL`, each (rows,).
    score, confidence
        What decided, and the stated probability of being right, each (rows,); NaN where there is none.
    cost, asked
        What all that was asked for the row cost, in the cost model's unit, (rows,); and who was asked, (rows, experts).
    steps
        The looks on the way there, in order.
    version
        The number of what decided, where that is another than its bundle's.
    """

    experts: tuple[str, ...]
    expert: Ints
    label: Ints
    score: Floats
    cost: Floats
    asked: Bools
    confidence: Floats
    steps: tuple[Step, ...] = field(default=(), repr=False)
    version: str | None = field(default=None, kw_only=True)

    @property
    def deferral_rate(self) -> float:
        """Share of rows for which any but the first expert was asked."""
        return float(self.asked[:, 1:].any(axis=1).mean()) if len(self.expert) else 0.0


class Policy(ABC):
    """Fit on labelled panels, then decide on a blind one.

    A class says of itself what it can; nothing else has a list of names. `askless.policies.score_threshold` has the
    base of a policy that compares one score with a threshold, which is most of them.

    Attributes
    ----------
    experts : tuple of str
        Whom it may ask, by rising cost: `experts[0]` is the small one.
    title, about : str
        Its name and what it does, as reports say it: a few plain words, and one sentence.
    pair : bool
        It decides between two experts.
    reads_text : bool
        It learns from or looks at the texts.
    labels : bool
        It decides between labels, where a task has classes.
    graded : bool
        It decides between texts of graded quality (summaries), where a task has none.
    studied : bool
        `askless evaluate` tries it where no policy is named.
    budgets : tuple of str
        The kinds of `Budget` that it takes; none for a rule of one operating point.
    whole_batch : bool
        What becomes of a row depends on the rows decided with it, as in some published rules.
    decides_alone : bool
        Who should answer is known before any costlier expert has answered.
    kept : bool
        What it has learnt can be kept in a bundle or a plan: `state` and `restore` work.
    in_plans : bool
        What it has learnt can be kept in a plan, though it is too wide for a bundle.
    fallback : bool
        A row that a costlier expert leaves without an answer goes to the small one.
    brings : bool
        It answers with a model of its own: `experts[0]` is that one's name, which no expert of a panel may have.
    """

    experts: tuple[str, ...]
    title: ClassVar[str] = ""
    about: ClassVar[str] = ""
    pair: ClassVar[bool] = False
    reads_text: ClassVar[bool] = False
    labels: ClassVar[bool] = True
    graded: ClassVar[bool] = False
    studied: ClassVar[bool] = True
    budgets: ClassVar[tuple[str, ...]] = BUDGETS
    whole_batch: ClassVar[bool] = False
    decides_alone: ClassVar[bool] = False
    kept: ClassVar[bool] = True
    in_plans: ClassVar[bool] = False
    fallback: ClassVar[bool] = True
    brings: ClassVar[bool] = False

    def fit(self, train: Panel, valid: Panel) -> Self:
        """Learn from `train`, set operating points on `valid`.

        Parameters
        ----------
        train
            Labelled rows; what is asked about them is billed to it.
        valid
            Other labelled rows, or none: then all is learnt on `train`, cross-fitted where that is needed.

        Returns
        -------
        Policy
            Itself.

        Raises
        ------
        ConfigError
            For experts that `train` does not have, or too few or many; for a task that it is not for, as `labels` and
            `graded` have it.
        """
        self._check_task(train)
        for name in self.experts:
            if name not in train.experts:
                raise ConfigError.unknown("expert", name, train.experts)
        return self

    @abstractmethod
    def look(self, panel: Panel) -> Any:
        """What is looked at whatever the budget; any ask made for it is billed to `panel`."""

    @abstractmethod
    def decide(self, panel: Panel, budget: Budget | None = None, seen: Any = None) -> Decisions:
        """Decide every row of `panel`, asking (and billing) experts.

        Parameters
        ----------
        panel
            The rows; it may be blind.
        budget
            What may be spent; without one the policy's own rule decides.
        seen
            An earlier `look` at this same panel, so that a sweep over budgets looks once.

        Raises
        ------
        BudgetError
            For a budget under the least cost, or of a kind that is not among `budgets`.
        """

    def _check_task(self, train: Panel) -> None:
        """Raise unless it is for such a task, and for so many experts."""
        if self.pair and len(self.experts) != 2:
            raise ConfigError(
                f"{type(self).__name__} got experts {list(self.experts)}. Allowed: two, the small one and the "
                "large one."
            )
        if train.classes and not self.labels:
            raise ConfigError(f"{type(self).__name__} got a task of classification. Allowed: a task of summaries.")
        if not train.classes and not self.graded:
            from askless.policies import able

            raise ConfigError(
                f"{type(self).__name__} got a task without classes, whose answers are texts of graded quality. "
                f"Allowed: a task of classification. For summaries choose one of {', '.join(able('graded'))}."
            )

    def _require(self, train: Panel | None = None, *, experts: int = 1, **least: int) -> None:
        """Raise unless there are rows in `train`, so many experts, and options of at least so much."""
        name = type(self).__name__
        if len(self.experts) < experts:
            raise ConfigError(f"{name} got experts {list(self.experts)}. Allowed: at least two, the small one first.")
        for option, fewest in least.items():
            if (value := getattr(self, option)) < fewest:
                raise ConfigError(f"{name} got {option} {value}. Allowed: {fewest} or more.")
        if train is not None and not len(train):
            raise DataError("train split", "no rows", "one row or more", "Label some items to learn from.")

    def threshold_words(self, budget: Budget | None) -> str:
        """What an item is compared with at `budget`, in a few words; none where there is more than one threshold."""
        return ""

    def get_params(self) -> dict[str, Any]:
        """The arguments it was made with: `type(policy)(**policy.get_params())` is an unfitted clone."""
        return {name: getattr(self, name) for name in arguments(type(self))}

    def state(self) -> dict[str, Any]:
        """What was learnt, as numbers, strings, lists and dicts of them: the annotated attributes ending in `_`."""
        return {name: plain(getattr(self, name)) for name in learnt(type(self))}

    def restore(self, state: Mapping[str, Any]) -> Self:
        """Take over what `state` gave, also after a round through JSON; returns itself, and decides the same."""
        for name, hint in learnt(type(self)).items():
            setattr(self, name, restored(hint, state[name]))
        return self

    def brought(self) -> Any:
        """The model of its own under the name `experts[0]`, once it is fitted; None where it `brings` none."""
        return None

    def write(self, folder: Path) -> None:  # noqa: B027
        """Put into files what plain values cannot tell, such as networks."""

    def read(self, folder: Path, small: Any) -> None:  # noqa: B027
        """Take over what `write` put there, and `small`, what it brought."""


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
        return replace(done, confidence=self.confidence(seen, done.expert), steps=self.steps(seen, budget))

    def score(self, seen: Floats) -> Floats:
        """One number for each row that says why it was deferred, shape (rows,)."""
        return np.asarray(seen if seen.ndim == 1 else seen[:, -1], np.float64)

    def confidence(self, seen: Floats, choice: Ints) -> Floats:
        """Probability that the chosen expert is right (rows,), NaN for a policy that does not state one."""
        return np.full(len(choice), np.nan)

    def steps(self, seen: Floats, budget: Budget | None) -> tuple[Step, ...]:
        """What was compared with which threshold, for explanations."""
        return ()


@contextmanager
def billed(panel: Panel) -> Iterator[None]:
    """Charge the seconds of the decider's own work within to a panel, every row its part."""
    start = time.perf_counter()
    yield
    panel.charge(panel.cost_model.compute(time.perf_counter() - start) / max(len(panel), 1))


def some_rows(rows: int, most: int, seed: int) -> Ints:
    """All rows in order or, of more than `most`, so many drawn by `seed`."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def answered(answers: Answers) -> Bools:
    """Which rows were answered (n,): by a label or, where the task has no classes, without an error."""
    if answers.proba.shape[1]:
        return np.asarray(answers.label != NO_LABEL)
    return np.asarray(answers.table["error"].is_null().to_numpy(), np.bool_)


def settle(panel: Panel, experts: tuple[str, ...], choice: Ints, score: Floats, *, fallback: bool = True) -> Decisions:
    """Ask the chosen experts; with `fallback` a row without an answer goes to the first expert, who is paid too.

    No confidence is stated and no step told: a policy that has them puts them in.
    """
    label, unanswered = np.full(len(panel), NO_LABEL), np.zeros(len(panel), bool)
    expert = choice.astype(np.int64)
    for j, name in enumerate(experts):
        rows = np.flatnonzero(expert == j)
        answers = panel.ask(name, rows)
        label[rows], unanswered[rows] = answers.label, ~answered(answers)
    back = np.flatnonzero(unanswered & (expert != 0))
    if fallback and len(back):
        label[back] = panel.ask(experts[0], back).label
        expert[back] = 0
    asked = panel.asked_of(experts)
    return Decisions(experts, expert, label, score, panel.spent, asked, np.full(len(panel), np.nan))
