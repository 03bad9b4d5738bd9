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

    def fit(self, label: Ints, p: Floats, asked: Bools | None = None) -> Self:
        """Learn each expert's ranks, means and scales; `unstated_` if some answer states no probability.

        Only answers that were `asked` for, (n, experts), are learnt from; without it all were.
        """
        t = self._t(label, p)
        self.unstated_ = bool(np.isnan(t if asked is None else t[asked]).any())
        t = t if asked is None else np.where(asked, t, np.nan)
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


class SomeAsked:
    """Rows about which only some experts were asked, each set of experts to be learnt from those that tell of it.

    An answer that was asked for because of others tells nothing of its expert by itself, but with these others it does:
    what was seen before is then conditioned on.

    Parameters
    ----------
    asked, free
        Who was asked, and who of them before anything was seen of the row, each (rows, experts), cheapest first.
    """

    def __init__(self, asked: Bools, free: Bools) -> None:
        bit = 1 << np.arange(asked.shape[1])
        self.asked = asked
        self._asked, self._because = asked @ bit, (asked & ~free) @ bit

    def rows(self, size: int) -> Ints:
        """Rows about which so many experts, or more, were asked: no others tell of sets of that size."""
        return np.flatnonzero(self.asked.sum(axis=1) >= size)

    def tell(self, sets: Ints) -> Floats:
        """1 for each row that tells of each set (sets, size), else 0, shape (sets, rows)."""
        code = (1 << sets).sum(axis=1)[:, None]
        whole = (self._asked & code) == code
        for j in sets.T:
            cheaper = (1 << j)[:, None] - 1
            whole &= ((self._because & (1 << j)[:, None]) == 0) | ((self._asked & cheaper & ~code) == 0)
        return np.asarray(whole, np.float64)


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

    def fit(self, seen: AnswerMatrix, some: SomeAsked | None = None) -> Self:
        """Learn the posterior of every set; `fitted_` keeps them on these rows, set -> (rows,).

        Where only `some` were asked, what a set's votes mean leans on what its costliest expert alone means, and
        `fitted_` is 0 where fewer than its size were.
        """
        self.surety_ = Surety().fit(seen.label, seen.p, None if some is None else some.asked)
        self.coef_ = {}
        self.fitted_: dict[int, Floats] = {}
        self.right_: dict[int, Bools] = {}
        k = seen.label.shape[1]
        z = self.surety_.features(seen.label, seen.p, np.arange(k))
        for sets in self.sets(k, len(seen)):
            size = sets.shape[1]
            if size <= 2:
                worth = self._worth(z, seen.label, np.arange(k), votes=self.votes and size > 1)
            rows = np.arange(len(seen)) if some is None else some.rows(size)
            x = self.design(z[rows], seen.label[rows], sets)
            answer = _stands(worth[rows][:, sets], sets).T
            right = seen.right[rows, answer] & (answer != STOP)
            if some is None:
                coef = logistic(x, right)
            else:
                coef = logistic(x, right, weight=some.tell(sets)[:, rows], mean=self._leaning(sets, x.shape[2]))
            fitted = np.where(answer == STOP, 0.0, sigmoid(np.einsum("snf,sf->sn", x, coef)))
            for i, members in enumerate(sets):
                code = code_of(members)
                self.coef_[code], self.fitted_[code] = coef[i], np.zeros(len(seen))
                self.right_[code] = np.zeros(len(seen), bool)
                self.fitted_[code][rows], self.right_[code][rows] = fitted[i], right[i]
        return self

    def _leaning(self, sets: Ints, features: int) -> Floats:
        """The coefficients of the costliest expert of each set alone, in their places, (sets, features)."""
        mean = np.zeros((len(sets), features))
        if (last := 2 * sets.shape[1]) > 2:
            alone = np.stack([self.coef_[1 << int(j)] for j in sets[:, -1]])
            mean[:, last - 2 : last], mean[:, -1] = alone[:, :2], alone[:, 2]
        return mean

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
        return _stands(self._worth(z, label, members, votes=self.votes and len(members) > 1), members)

    def _worth(self, z: Floats, label: Ints, members: Ints, *, votes: bool) -> Floats:
        """The answer of `members` (m,) with the largest one stands; below 0 where there is none, (n, m)."""
        worth: Floats = np.broadcast_to(np.arange(len(members), dtype=np.float64), label.shape)
        if votes:
            alone = np.stack([self.coef_[1 << int(j)] for j in members])
            worth = sigmoid((z * alone[:, :2]).sum(axis=2) + alone[:, 2])
        return np.where(label == NO_LABEL, -1.0, worth)

    def look(self, answers: Observations) -> tuple[Ints, Floats, Floats]:
        """Whose answer stands, how surely, and the features (n, f)."""
        z = self.surety_.features(answers.label, answers.p, answers.experts)
        answer = self.answer(z, answers.label, answers.experts)
        x = self.design(z, answers.label, np.arange(len(answers.experts))[None])[0]
        return answer, np.where(answer == STOP, 0.0, sigmoid(x @ self.coef_[code_of(answers.experts)])), x


def _stands(worth: Floats, members: Ints) -> Ints:
    """Of the last axis the costliest of `members` (..., m) with the largest worth, `STOP` where all are below 0."""
    last = worth.shape[-1] - 1 - worth[..., ::-1].argmax(axis=-1)
    place = np.take_along_axis(np.broadcast_to(members, worth.shape), last[..., None], axis=-1)[..., 0]
    return np.where((worth >= 0).any(axis=-1), place, STOP)


def known_ranks(t: Floats) -> Floats:
    """Sorted values to rank against: all, or of many as many quantiles."""
    if len(t) <= RANKS:
        return np.sort(t)
    return np.quantile(t, np.arange(1, RANKS + 1) / RANKS, method="inverted_cdf")


def code_of(members: Sequence[int] | Ints) -> int:
    """A set of experts as a number, a bit for each."""
    return sum(1 << int(j) for j in members)


def logistic(
    x: Floats,
    right: Bools,
    l2: float = 2.0,
    steps: int = 30,
    *,
    weight: Floats | float = 1.0,
    mean: Floats | float = 0.0,
) -> Floats:
    """Coefficients (sets, features) of P(right) = sigmoid(x @ coef) for x (sets, n, features), by Newton's method.

    They are shrunk towards `mean` (sets, features). The last feature is the constant: it is not shrunk, but one more
    row, right as often as its mean says, keeps it finite. `weight` is each row's, (sets, n).
    """
    sets, _, f = x.shape
    mean = np.zeros((sets, f)) + mean
    coef = mean.copy()
    shrink = np.append(np.full(f - 1, l2), 0.0)
    last = np.append(np.zeros(f - 1), 1.0)
    rate = sigmoid(mean[:, -1])
    for _ in range(steps):
        p = sigmoid(np.einsum("snf,sf->sn", x, coef))
        prior = sigmoid(coef[:, -1])
        slope = np.einsum("snf,sn->sf", x, weight * (right - p)) - shrink * (coef - mean)
        slope = slope + (rate - prior)[:, None] * last
        bend = np.matmul((x * (weight * p * (1 - p))[:, :, None]).transpose(0, 2, 1), x) + np.diag(shrink + 1e-9)
        bend = bend + (prior * (1 - prior))[:, None, None] * np.diag(last)
        move = np.linalg.solve(bend, slope[:, :, None])[:, :, 0]
        size = np.abs(move).max(axis=1, keepdims=True)
        coef = coef + move * np.minimum(1.0, 3.0 / np.maximum(size, 1e-12))
        if size.max() < 1e-6:
            break
    return coef
