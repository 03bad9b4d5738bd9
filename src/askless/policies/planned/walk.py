"""Rows led from expert to expert: what a rule sees on the way, what it costs, what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Protocol, Self

import numpy as np

from askless.arrays import Bools, Floats, Ints
from askless.panel import NO_LABEL

STOP = -1
AT_ONCE = 200_000


@dataclass(frozen=True)
class AnswerMatrix:
    """The answers of experts to some rows, in arrays (rows, experts), experts by rising mean cost.

    Parameters
    ----------
    label, right
        Class index, `NO_LABEL` where an expert gave none, and whether it is the gold label.
    p, score
        The stated probability of the label and the stated confidence, NaN where nothing is stated.
    cost
        What the answer cost, in the cost model's unit.
    """

    label: Ints
    p: Floats
    score: Floats
    cost: Floats
    right: Bools

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, rows: Ints | Bools) -> AnswerMatrix:
        return AnswerMatrix(*(getattr(self, f.name)[rows] for f in fields(self)))


@dataclass(frozen=True)
class Observations:
    """The answers to some rows so far, all from the same experts.

    Parameters
    ----------
    experts
        Places of the experts asked, by rising cost, (m,).
    label, p, score
        As of `AnswerMatrix`, each (n, m).
    """

    experts: Ints
    label: Ints
    p: Floats
    score: Floats

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True)
class RuleVerdict:
    """What a rule makes of the answers so far, each (n,).

    Parameters
    ----------
    answer, sure
        The expert whose label stands, `STOP` where none gave one, and the calibrated posterior that it is right.
    score, threshold
        What was compared with what.
    then
        The expert to ask next, `STOP` where the answer stands.
    """

    answer: Ints
    sure: Floats
    score: Floats
    threshold: Floats
    then: Ints

    @classmethod
    def blank(cls, n: int) -> RuleVerdict:
        """No answer yet and nobody to ask, for `n` rows."""
        return cls(np.full(n, STOP), np.zeros(n), np.zeros(n), np.full(n, -np.inf), np.full(n, STOP))

    def put(self, rows: Ints | Bools, other: RuleVerdict) -> None:
        """Write what was made of `rows` into their places."""
        for f in fields(self):
            getattr(self, f.name)[rows] = getattr(other, f.name)


class Leading(Protocol):
    """What a walk needs of a rule."""

    def first(self, point: Ints) -> Ints:
        """The expert to ask first at each row's operating point, shape (n,)."""

    def look(self, point: Ints, answers: Observations) -> RuleVerdict:
        """What to do next with rows (n,), each at its operating point."""


class Rule(Leading, Protocol):
    """A family of operating points, each a way to ask one expert after another, always a costlier one.

    `lambdas_` (points,) is the price of quality that each is meant for, rising: the costliest comes first.
    """

    points: int
    lambdas_: Floats

    def fit(self, seen: AnswerMatrix) -> Self:
        """Learn every operating point."""


class Alone:
    """A rule's operating points and, after them, those of each expert alone, cheapest first.

    Parameters
    ----------
    rule, experts
        The rule, and how many experts there are.
    """

    def __init__(self, rule: Rule, experts: int) -> None:
        self.rule = rule
        self.points = rule.points + experts

    def first(self, point: Ints) -> Ints:
        """The rule's first, or the one expert."""
        own = point < self.rule.points
        return np.where(own, self.rule.first(np.where(own, point, 0)), point - self.rule.points)

    def look(self, point: Ints, answers: Observations) -> RuleVerdict:
        """The rule's look, which ends there for an expert alone."""
        own = point < self.rule.points
        look = self.rule.look(np.where(own, point, 0), answers)
        look.threshold[~own], look.then[~own] = -np.inf, STOP
        return look


Ask = Callable[[int, Ints], tuple[Ints, Floats, Floats]]


@dataclass(frozen=True)
class Walked:
    """Rows at their end.

    Parameters
    ----------
    asked, last
        Who was asked, (rows, experts), and the last look at each row.
    looks
        Every look, with the place of its expert and of its rows.
    """

    asked: Bools
    last: RuleVerdict
    looks: list[tuple[int, Ints, RuleVerdict]]


def walk(rule: Leading, point: Ints, experts: int, ask: Ask) -> Walked:
    """Lead each row through the operating point (rows,) it is given, asking every expert once for all rows it is due.

    `ask(expert, rows)` returns labels, stated probabilities and confidences.
    """
    shape = (len(point), experts)
    asked, label = np.zeros(shape, bool), np.full(shape, NO_LABEL)
    p, score = np.full(shape, np.nan), np.full(shape, np.nan)
    last, looks, then = RuleVerdict.blank(len(point)), [], rule.first(point)
    for j in range(experts):
        rows = np.flatnonzero(then == j)
        if not len(rows):
            continue
        label[rows, j], p[rows, j], score[rows, j] = ask(j, rows)
        asked[rows, j] = True
        look = RuleVerdict.blank(len(rows))
        for members, here in same_experts(asked[rows]):
            at = np.ix_(rows[here], members)
            look.put(here, rule.look(point[rows[here]], Observations(members, label[at], p[at], score[at])))
        last.put(rows, look)
        then[rows] = look.then
        looks.append((j, rows, look))
    return Walked(asked, last, looks)


def same_experts(asked: Bools) -> list[tuple[Ints, Ints]]:
    """The sets of experts that occur in `asked` (n, experts), each with its rows."""
    code = asked @ (1 << np.arange(asked.shape[1]))
    places = [np.flatnonzero(code == c) for c in np.unique(code)]
    return [(np.flatnonzero(asked[rows[0]]), rows) for rows in places]


def outcomes(rule: Rule, seen: AnswerMatrix, first: int = 0) -> tuple[Bools, Floats, Bools]:
    """What every operating point of a rule, and then each expert alone, makes of recorded answers.

    Whether each row is answered rightly, what it costs, and whether anyone but the expert `first` was asked; all
    (points, rows).
    """
    n, experts = seen.label.shape
    led, parts = Alone(rule, experts), []
    step = max(1, AT_ONCE // max(n, 1))
    for start in range(0, led.points, step):
        points = np.arange(start, min(start + step, led.points))
        parts.append(_outcomes(led, seen, np.repeat(points, n), np.tile(np.arange(n), len(points)), first))
    right, cost, beyond = (np.concatenate(part).reshape(-1, n) for part in zip(*parts, strict=True))
    return right, cost, beyond


def _outcomes(led: Leading, seen: AnswerMatrix, point: Ints, place: Ints, first: int) -> tuple[Bools, Floats, Bools]:
    def ask(j: int, rows: Ints) -> tuple[Ints, Floats, Floats]:
        at = place[rows]
        return seen.label[at, j], seen.p[at, j], seen.score[at, j]

    done = walk(led, point, seen.label.shape[1], ask)
    right = seen.right[place, done.last.answer] & (done.last.answer != STOP)
    beyond = np.asarray(np.delete(done.asked, first, axis=1).any(axis=1), np.bool_)
    return right, (done.asked * seen.cost[place]).sum(axis=1), beyond
