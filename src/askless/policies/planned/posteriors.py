"""The probability that an answer is right, given the answers of everybody asked so far."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Self

import numpy as np

from askless.arrays import Bools, Floats, Ints
from askless.panel import NO_LABEL
from askless.policies.planned.walk import STOP, AnswerMatrix, Observations
from askless.stats.calibration import sigmoid, transform

CHUNK = 4_000_000
RANKS = 500


class Surety:
    """Stated probabilities as features: t = -ln(1 - p) and r, its rank on train, both standardised.

    An answer for which no probability is stated has the features' means, one without a label p = 0.
    """

    sorted_: list[Floats]
    mean_: Floats
    scale_: Floats
    unstated_: bool

    def fit(self, label: Ints, p: Floats) -> Self:
        """Learn each expert's ranks, means and scales; `unstated_` if some answer states no probability."""
        t = self._t(label, p)
        self.unstated_ = bool(np.isnan(t).any())
        self.sorted_ = [known_ranks(column[~np.isnan(column)]) for column in t.T]
        raw = self._raw(t, np.arange(t.shape[1]))
        known = ~np.isnan(raw)
        count = np.maximum(known.sum(axis=0), 1)
        self.mean_ = np.where(known, raw, 0).sum(axis=0) / count
        spread = np.sqrt((np.where(known, raw - self.mean_, 0) ** 2).sum(axis=0) / count)
        self.scale_ = np.where(spread > 1e-12, spread, 1.0)
        return self

    def features(self, label: Ints, p: Floats, experts: Ints) -> Floats:
        """Features (n, m, 2) of the answers of these `experts` (m,)."""
        z = (self._raw(self._t(label, p), experts) - self.mean_[experts]) / self.scale_[experts]
        return np.where(np.isnan(z), 0.0, z)

    def _raw(self, t: Floats, experts: Ints) -> Floats:
        known = [self.sorted_[j] for j in experts]
        rank = [np.searchsorted(k, at, side="right") / max(len(k), 1) for k, at in zip(known, t.T, strict=True)]
        return np.stack([t, np.where(np.isnan(t), np.nan, np.stack(rank, axis=1))], axis=2)

    @staticmethod
    def _t(label: Ints, p: Floats) -> Floats:
        return transform(np.where(label == NO_LABEL, 0.0, p))


class Posteriors:
    """For every set of experts: whose answer stands, and the probability that it is right.

    The probability is a logistic regression on the surety of all who were asked.

    Parameters
    ----------
    most
        Most experts of a set.
    votes
        Whether the answer of the largest posterior given its own confidence alone stands, or else that of the costliest
        asked that gave a label.
    """

    surety_: Surety
    coef_: dict[int, Floats]

    def __init__(self, *, most: int = 4, votes: bool = False) -> None:
        self.most = most
        self.votes = votes

    def fit(self, seen: AnswerMatrix) -> Self:
        """Learn the posterior of every set; `fitted_` keeps them on these rows, set -> (rows,)."""
        self.surety_ = Surety().fit(seen.label, seen.p)
        self.coef_ = {}
        self.fitted_: dict[int, Floats] = {}
        self.right_: dict[int, Bools] = {}
        k = seen.label.shape[1]
        z = self.surety_.features(seen.label, seen.p, np.arange(k))
        for sets in self.sets(k, len(seen)):
            x = self.design(z, seen.label, sets)
            answer = np.stack([self.answer(z[:, s], seen.label[:, s], s) for s in sets])
            right = seen.right[np.arange(len(seen)), answer] & (answer != STOP)
            coef = logistic(x, right)
            fitted = np.where(answer == STOP, 0.0, sigmoid(np.einsum("snf,sf->sn", x, coef)))
            for i, members in enumerate(sets):
                code = code_of(members)
                self.coef_[code], self.fitted_[code], self.right_[code] = coef[i], fitted[i], right[i]
        return self

    def sets(self, experts: int, rows: int) -> list[Ints]:
        """All sets of one size after another, in arrays (sets, size) small enough to be worked on at once."""
        chunks = []
        for size in range(1, min(self.most, experts) + 1):
            same = np.array(list(combinations(range(experts), size)))
            step = max(1, CHUNK // ((2 * size + 2 + experts) * max(rows, 1)))
            chunks += [same[i : i + step] for i in range(0, len(same), step)]
        return chunks

    def design(self, z: Floats, label: Ints, sets: Ints) -> Floats:
        """Features and a constant of each set (sets, size), shape (sets, n, features).

        Where some answers state no probability there is one feature more: how many agree with the costliest asked.
        """
        size = sets.shape[1]
        parts = [np.moveaxis(z[:, sets], 0, 1).reshape(len(sets), len(z), 2 * size), np.ones((len(sets), len(z), 1))]
        if self.surety_.unstated_ and size > 1:
            labels = label[:, sets]
            same = (labels[:, :, :-1] == labels[:, :, -1:]) & (labels[:, :, -1:] != NO_LABEL)
            parts.insert(1, same.mean(axis=2).T[:, :, None] - 0.5)
        return np.concatenate(parts, axis=2)

    def answer(self, z: Floats, label: Ints, members: Ints) -> Ints:
        """The one of `members` (m,) whose answer stands, `STOP` where none gave a label, shape (n,)."""
        known = label != NO_LABEL
        if self.votes and len(members) > 1:
            alone = np.stack([self.coef_[1 << int(j)] for j in members])
            worth = np.where(known, sigmoid((z * alone[:, :2]).sum(axis=2) + alone[:, 2]), -1.0)
        else:
            worth = np.where(known, np.arange(len(members)), -1.0)
        last = len(members) - 1 - worth[:, ::-1].argmax(axis=1)
        return np.where(known.any(axis=1), members[last], STOP)

    def look(self, answers: Observations) -> tuple[Ints, Floats, Floats]:
        """Whose answer stands, how surely, and the features (n, f)."""
        z = self.surety_.features(answers.label, answers.p, answers.experts)
        answer = self.answer(z, answers.label, answers.experts)
        x = self.design(z, answers.label, np.arange(len(answers.experts))[None])[0]
        return answer, np.where(answer == STOP, 0.0, sigmoid(x @ self.coef_[code_of(answers.experts)])), x


def known_ranks(t: Floats) -> Floats:
    """Sorted values to rank against: all, or of many as many quantiles."""
    if len(t) <= RANKS:
        return np.sort(t)
    return np.quantile(t, np.arange(1, RANKS + 1) / RANKS, method="inverted_cdf")


def code_of(members: Sequence[int] | Ints) -> int:
    """A set of experts as a number, a bit for each."""
    return sum(1 << int(j) for j in members)


def logistic(x: Floats, right: Bools, l2: float = 2.0, steps: int = 30) -> Floats:
    """Coefficients (sets, features) of P(right) = sigmoid(x @ coef) for x (sets, n, features), by Newton's method.

    The last feature is the constant: it is not shrunk, but one more row of means, half right, keeps it finite.
    """
    sets, _, f = x.shape
    coef = np.zeros((sets, f))
    shrink = np.append(np.full(f - 1, l2), 0.0)
    last = np.append(np.zeros(f - 1), 1.0)
    for _ in range(steps):
        p = sigmoid(np.einsum("snf,sf->sn", x, coef))
        prior = sigmoid(coef[:, -1])
        slope = np.einsum("snf,sn->sf", x, right - p) - shrink * coef + (0.5 - prior)[:, None] * last
        bend = np.matmul((x * (p * (1 - p))[:, :, None]).transpose(0, 2, 1), x) + np.diag(shrink + 1e-9)
        bend = bend + (prior * (1 - prior))[:, None, None] * np.diag(last)
        move = np.linalg.solve(bend, slope[:, :, None])[:, :, 0]
        size = np.abs(move).max(axis=1, keepdims=True)
        coef = coef + move * np.minimum(1.0, 3.0 / np.maximum(size, 1e-12))
        if size.max() < 1e-6:
            break
    return coef
