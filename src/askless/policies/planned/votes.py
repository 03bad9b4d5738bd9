"""Votes weighted by calibrated confidence, and the subsets of experts whose votes are worth their price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Self

import numpy as np

from askless.arrays import Bools, Floats, Ints
from askless.panel import NO_LABEL
from askless.policies.planned.gain_rule import POINTS, price_grid
from askless.policies.planned.posteriors import code_of
from askless.policies.planned.walk import STOP, AnswerMatrix, Observations, RuleVerdict
from askless.stats.calibration import PlattCalibrator, laplace, platt, sigmoid

SUREST = 0.99
# The least posterior of which the log-odds are told; so many rows the common gain counts where a set has its own.
LEAST, OWN = 1e-3, 100.0
FEATURES = 3


class Votes:
    """What each expert's vote weighs: log(p (classes - 1) / (1 - p)), p its probability of being right.

    That is the weight under which the class of most votes is the likeliest, where errors are independent and each wrong
    class is as likely as another. A vote that is no better than chance weighs nothing.

    References
    ----------
    Nitzan and Paroush 1982, Optimal decision rules in uncertain dichotomous choice situations; ThriftLLM (Huang et al.
    2025) for more classes than two.
    """

    classes_: int
    calibrators_: list[PlattCalibrator]
    # How often each is right where it states no probability, (experts,).
    rate_: Floats

    def fit(self, seen: AnswerMatrix) -> Self:
        """Learn what each expert's stated probability means."""
        self.classes_ = max(2, int(seen.label.max(initial=1)) + 1)
        self.calibrators_, rate = [], []
        for p, label, right in zip(seen.p.T, seen.label.T, seen.right.T, strict=True):
            given, silent = label != NO_LABEL, np.isnan(p)
            self.calibrators_.append(PlattCalibrator().fit(p[given], right[given]))
            rate.append(laplace(right[given & silent]))
        self.rate_ = np.array(rate)
        return self

    def weights(self, label: Ints, p: Floats, experts: Ints) -> Floats:
        """What the votes of these `experts` (m,) weigh, 0 or more, shape (n, m)."""
        sure = np.stack([self.calibrators_[j](mine) for j, mine in zip(experts, p.T, strict=True)], axis=1)
        sure = np.clip(np.where(np.isnan(sure), self.rate_[experts], sure), 1 / self.classes_, SUREST)
        return np.where(label == NO_LABEL, 0.0, np.log(sure * (self.classes_ - 1) / (1 - sure)))


def counted(label: Ints, weight: Floats) -> tuple[Ints, Floats]:
    """Who stands for the class of most weight, `STOP` where nobody gave a label, and its lead over the next, each (n,).

    Of votes `label` and their `weight`, (n, m) each; of those for the class the last one stands for it.
    """
    same = (label[:, :, None] == label[:, None, :]) & (label[:, None, :] != NO_LABEL)
    total = np.where(label == NO_LABEL, -1.0, (same * weight[:, None, :]).sum(axis=2))
    best = label.shape[1] - 1 - total[:, ::-1].argmax(axis=1)
    row = np.arange(len(label))
    others = np.where(label == label[row, best][:, None], 0.0, total)
    lead = total[row, best] - np.maximum(others.max(axis=1), 0.0)
    none = label[row, best] == NO_LABEL
    return np.where(none, STOP, best), np.where(none, 0.0, lead)


class VoteSets:
    """Asks the next of the one or two costlier experts whose votes promise most beyond lambda x their price, or stops.

    The posterior that the votes in hand are right is a calibrated line of the lead of the class of most votes, one for
    each set of experts: errors of LLMs are not independent, so that what a lead means has to be measured. What one or
    two more votes add to it is a regression on it that all sets of a size share, by how far those experts are above the
    best of the set, and what is each set's own beside that, shrunk: of hundreds of gains that are learnt from a few
    hundred rows the largest would else be one that chance made.

    Attributes learnt: `first_` (points,), whom to ask first; `lines_`, slope and intercept of each set; `next_`, for
    each set who may be asked next, what one or two more cost, and the coefficients of their gains, a row each.

    Parameters
    ----------
    most
        Most experts of a set.
    trust
        From 0 to 1: how much of a gain is what was right on train, the rest the posterior.
    points
        How many operating points there are, each a lambda of `price_grid`.
    """

    lambdas_: Floats
    votes_: Votes
    lines_: dict[int, Floats]
    next_: dict[int, tuple[Ints, Floats, Floats]]
    first_: Ints

    def __init__(self, *, most: int = 4, trust: float = 0.5, points: int = POINTS) -> None:
        self.most = most
        self.trust = trust
        self.points = points

    def fit(self, seen: AnswerMatrix) -> Self:
        """Learn the weights, what leads mean, what more votes add, and whom to ask first at each lambda."""
        k, prices = seen.label.shape[1], seen.cost.mean(axis=0)
        self.lambdas_ = price_grid(prices, self.points)
        self.votes_ = Votes().fit(seen)
        weight = self.votes_.weights(seen.label, seen.p, np.arange(k))
        self.lines_, self.next_ = {}, {}
        sizes = [list(combinations(range(k), size)) for size in range(1, min(self.most, k) + 1)]
        said = {chain: self._learn(chain, seen, weight) for sets in sizes for chain in sets}
        rate = (seen.right.sum(axis=0) + 1) / (len(seen) + 2)
        for sets in sizes[:-1]:
            self._learn_next(sets, said, np.log(rate / (1 - rate)), prices)
        worth = np.empty((self.points, k))
        for j in range(k):
            now = said[j,][1]
            then = self._worth(1 << j, now, self.lambdas_[:, None, None]).max(axis=2, initial=-np.inf)
            worth[:, j] = np.maximum(now, then).mean(axis=1) - self.lambdas_ * prices[j]
        self.first_ = worth.argmax(axis=1)
        return self

    def first(self, point: Ints) -> Ints:
        """The expert to ask first at each row's operating point, shape (n,)."""
        return self.first_[point]

    def look(self, point: Ints, answers: Observations) -> RuleVerdict:
        """Stop, or the next of those whose votes promise most."""
        weight, code = self.votes_.weights(answers.label, answers.p, answers.experts), code_of(answers.experts)
        best, lead = counted(answers.label, weight)
        sure = posterior(best, lead, self.lines_.get(code, np.zeros(2)))
        answer = np.where(best == STOP, STOP, answers.experts[best])
        worth = self._worth(code, sure, self.lambdas_[point, None])
        if not worth.shape[1]:
            return RuleVerdict(answer, sure, sure, np.full(len(answers), -np.inf), np.full(len(answers), STOP))
        then = worth.argmax(axis=1)
        threshold = worth[np.arange(len(answers)), then]
        return RuleVerdict(answer, sure, sure, threshold, np.where(threshold > sure, self.next_[code][0][then], STOP))

    def _learn(self, chain: tuple[int, ...], seen: AnswerMatrix, weight: Floats) -> tuple[Bools, Floats]:
        """Whether the votes of a set are right, and the posterior that they are, each (rows,)."""
        best, lead = counted(seen.label[:, chain], weight[:, chain])
        right = seen.right[np.arange(len(seen)), np.array(chain)[best]] & (best != STOP)
        given = best != STOP
        line = self.lines_[code_of(chain)] = line_of(lead[given], right[given])
        return right, posterior(best, lead, line)

    def _learn_next(
        self,
        sets: Sequence[tuple[int, ...]],
        said: Mapping[tuple[int, ...], tuple[Bools, Floats]],
        odds: Floats,
        prices: Floats,
    ) -> None:
        """Learn what one or two more votes add to sets of one size.

        Given what `_learn` said of each set, and of each expert the log-odds of its being right and its price.
        """
        found: dict[int, list[tuple[Ints, Floats, Floats]]] = {code_of(chain): [] for chain in sets}
        for size in (1, 2):
            square, product, parts = np.eye(2 * FEATURES), np.zeros(2 * FEATURES), []
            for chain in sets:
                more = [m for m in combinations(range(chain[-1] + 1, len(odds)), size) if chain + m in said]
                if not more:
                    continue
                after = [said[chain + m] for m in more]
                gain = [self.trust * right + (1 - self.trust) * sure - said[chain][1] for right, sure in after]
                x, above = of_posterior(said[chain][1]), np.array([odds[list(m)].mean() for m in more])
                told, squares = x.T @ np.stack(gain, axis=1), x.T @ x
                each = np.stack([np.ones(len(more)), above - odds[list(chain)].max()])
                square += np.kron(each @ each.T, squares)
                product += (each @ told.T).ravel()
                parts.append((code_of(chain), more, squares, told, each))
            common = np.linalg.solve(square, product).reshape(2, FEATURES)
            for code, more, squares, told, each in parts:
                shared = common.T @ each
                own = np.linalg.solve(squares + OWN * np.eye(FEATURES), told - squares @ shared)
                cost = np.array([prices[list(m)].sum() for m in more])
                found[code].append((np.array([m[0] for m in more]), cost, (shared + own).T))
        for code, both in found.items():
            if both:
                then, cost, coef = (np.concatenate(part) for part in zip(*both, strict=True))
                self.next_[code] = (then, cost, coef)

    def _worth(self, code: int, sure: Floats, price: Floats) -> Floats:
        """The posterior to expect after each way of asking on, less its price, (..., rows, ways)."""
        _, cost, coef = self.next_.get(code, (np.zeros(0, np.int64), np.zeros(0), np.zeros((0, FEATURES))))
        return np.asarray(np.clip(sure[:, None] + of_posterior(sure) @ coef.T, 0.0, 1.0) - price * cost)


def of_posterior(sure: Floats) -> Floats:
    """What gains are regressed on: half the log-odds, the posterior and a constant, (n, 3)."""
    bounded = np.clip(sure, LEAST, 1 - LEAST)
    return np.stack([np.log(bounded / (1 - bounded)) / 2, sure, np.ones(len(sure))], axis=1)


def line_of(lead: Floats, right: Bools) -> Floats:
    """Slope and intercept (2,) of P(right) by the lead; the same for all leads where all rows agree."""
    if len(right) and right.min() != right.max():
        return platt(lead, right)
    rate = laplace(right)
    return np.array([0.0, np.log(rate / (1 - rate))])


def posterior(best: Ints, lead: Floats, line: Floats) -> Floats:
    """The probability (n,) that the class in the lead is right; 0 where nobody gave a label."""
    return np.where(best == STOP, 0.0, sigmoid(line[0] * lead + line[1]))
