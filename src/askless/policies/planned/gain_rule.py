"""The gain rule: after every answer, ask the costlier expert whose expected gain exceeds its price, or stop."""

from __future__ import annotations

from typing import Self

import numpy as np

from askless.arrays import Floats, Ints
from askless.policies.planned.posteriors import Posteriors, SomeAsked, code_of
from askless.policies.planned.walk import STOP, AnswerMatrix, Observations, RuleVerdict

POINTS = 141


def price_grid(prices: Floats, points: int = POINTS) -> Floats:
    """Lambdas (points,) from 0 up, log-spaced on [1e-3, 20] / the largest price: from quality only to cost only."""
    top = prices.max() if prices.max() > 0 else 1.0
    return np.concatenate([[0.0], np.geomspace(1e-3, 20, points - 1) / top])


class GainRule:
    """Asks the costlier expert j with the largest Q_j - P - lambda * c_j - tax while that is positive.

    P is the posterior that the answer so far is right, Q_j the posterior to expect after asking j; both are linear in
    the features of who was asked. Attributes learnt: `prices_` (experts,), `lambdas_` and `first_` (points,).

    Parameters
    ----------
    tax
        The gain that an ask must promise beyond its price.
    most, votes
        As of `Posteriors`.
    points
        How many operating points there are, each a lambda of `price_grid`.
    """

    prices_: Floats
    lambdas_: Floats
    first_: Ints
    posteriors_: Posteriors
    next_: dict[int, tuple[Ints, Floats]]

    def __init__(self, *, tax: float = 0.0, most: int = 4, votes: bool = False, points: int = POINTS) -> None:
        self.tax = tax
        self.most = most
        self.votes = votes
        self.points = points

    def fit(self, seen: AnswerMatrix, some: SomeAsked | None = None) -> Self:
        """Learn P and Q of every set of up to `most` experts, and whom to ask first at each lambda.

        Where only `some` were asked, an expert about whom no row tells is never asked.
        """
        self.prices_ = seen.cost.mean(axis=0)
        self.lambdas_ = price_grid(self.prices_, self.points)
        self.posteriors_ = Posteriors(most=self.most, votes=self.votes).fit(seen, some)
        self._learn_next(seen, some)
        return self

    def first(self, point: Ints) -> Ints:
        """The expert to ask first at each row's operating point, shape (n,)."""
        return self.first_[point]

    def look(self, point: Ints, answers: Observations) -> RuleVerdict:
        """Stop, or the costlier expert of the largest expected gain."""
        answer, sure, x = self.posteriors_.look(answers)
        code = code_of(answers.experts)
        if code not in self.next_:
            return RuleVerdict(answer, sure, sure, np.full(len(answers), -np.inf), np.full(len(answers), STOP))
        costlier, coef = self.next_[code]
        worth = np.clip(x @ coef.T, 0.0, 1.0) - self.lambdas_[point, None] * self.prices_[costlier] - self.tax
        best = worth.argmax(axis=1)
        threshold = worth[np.arange(len(worth)), best]
        return RuleVerdict(answer, sure, sure, threshold, np.where(threshold > sure, costlier[best], STOP))

    def _learn_next(self, seen: AnswerMatrix, some: SomeAsked | None) -> None:
        post, k = self.posteriors_, seen.label.shape[1]
        z = post.surety_.features(seen.label, seen.p, np.arange(k))
        self.next_ = {}
        for sets in post.sets(k, len(seen)):
            if sets.shape[1] == min(self.most, k):
                break
            if some is None:
                target = np.zeros((len(sets), len(seen), k))
                for i, members in enumerate(sets):
                    for j in range(members[-1] + 1, k):
                        target[i, :, j] = post.fitted_[code_of(members) | 1 << j]
                coef = ridge(post.design(z, seen.label, sets), target)
            else:
                rows = some.rows(sets.shape[1] + 1)
                coef = self._ridge(post.design(z[rows], seen.label[rows], sets), sets, some, rows)
            for i, members in enumerate(sets):
                costlier = np.arange(members[-1] + 1, k)
                if len(costlier):
                    self.next_[code_of(members)] = (costlier, coef[i][:, costlier].T)
        self.first_ = self._first(post.design(z, seen.label, np.arange(k)[:, None]))

    def _ridge(self, x: Floats, sets: Ints, some: SomeAsked, rows: Ints) -> Floats:
        """As `ridge`, each expert's coefficients from those `rows` that tell of it beside a set."""
        coef = np.zeros((len(sets), x.shape[2], some.asked.shape[1]))
        for j in range(1, coef.shape[2]):
            at = np.flatnonzero(sets[:, -1] < j)
            tells = some.tell(np.concatenate([sets[at], np.full((len(at), 1), j)], axis=1))[:, rows, None]
            target = np.zeros(tells.shape)
            for n, i in enumerate(at):
                target[n, :, 0] = self._paired(sets[i], j, rows, tells[n, :, 0])
            coef[at, :, j] = ridge(x[at] * tells, target * tells)[:, :, 0]
        return coef

    def _paired(self, members: Ints, j: int, rows: Ints, tells: Floats) -> Floats:
        """The posterior once `j` is asked beside a set, (rows,), without what is chance in the rows that tell of both.

        As far as both miss together, what the set alone came to there, and not on all rows that tell of it, is taken
        off: a control variate.
        """
        post, alone, both = self.posteriors_, code_of(members), code_of(members) | 1 << j
        fitted = post.fitted_[both][rows]
        missed, too = post.right_[alone][rows] - post.fitted_[alone][rows], post.right_[both][rows] - fitted
        share = float(tells @ (too * missed)) / max(float(tells @ missed**2), 1e-9)
        return np.asarray(fitted - np.clip(share, 0.0, 1.0) * missed)

    def _first(self, x: Floats) -> Ints:
        """For each lambda the expert that promises most when asked first: its posterior, or that of asking on."""
        worth = np.empty((self.points, len(x)))
        for j in range(len(x)):
            now = self.posteriors_.fitted_[1 << j]
            then = np.full((self.points, len(now)), -np.inf)
            costlier, coef = self.next_.get(1 << j, (np.array([], np.int64), np.zeros((0, x.shape[2]))))
            for d, after in zip(costlier, np.clip(x[j] @ coef.T, 0.0, 1.0).T, strict=True):
                np.maximum(then, after - self.lambdas_[:, None] * self.prices_[d] - self.tax, out=then)
            worth[:, j] = np.maximum(now, then).mean(axis=1) - self.lambdas_ * self.prices_[j]
        return np.asarray(worth.argmax(axis=1), np.int64)


def ridge(x: Floats, target: Floats, l2: float = 30.0) -> Floats:
    """Coefficients (sets, features, targets) of the least squares fit to target (sets, n, targets).

    The last feature is the constant and is not shrunk.
    """
    turned = x.transpose(0, 2, 1)
    shrink = np.diag(np.append(np.full(x.shape[2] - 1, l2), 1e-9))
    return np.asarray(np.linalg.solve(np.matmul(turned, x) + shrink, np.matmul(turned, target)))
