"""How likely the votes in hand are right, and how likely they would be after one more: few numbers for each expert."""

from __future__ import annotations

from itertools import combinations
from typing import Self

import numpy as np

from askless.arrays import Bools, Floats, Ints
from askless.panel import NO_LABEL
from askless.policies.bandit.rounds import Rounds
from askless.stats.calibration import sigmoid, transform

# The most that a probability's log-odds say.
SUREST = 1e-3
UNSTATED = 0.5
# Precisions of the normal priors, that is, what a few dozen rows must outweigh.
COMMON, OWN, SINGLE, PAIR, GAIN, LATER = 0.01, 8.0, 0.3, 1.0, 5.0, 1.0
# Votes of experts unknown: worth something, more so the surer they are.
VOTE = (1.0, 0.5)
SLOPE = 0.6
STEPS = 30
# Experts, and the rows from which something is learnt of them together.
Sets = dict[tuple[int, ...], Ints]


class Chances:
    """P(the votes in hand are right), and P(they will be right once another expert has voted).

    A conditional logit says which class the votes of any experts stand for: each vote weighs a_j + b_j t, where t grows
    with the stated probability and a_j, b_j are shrunk towards what all experts have in common. What the probability of
    the winning class means is a line in its log-odds, one for each expert alone and each pair, one for all larger sets.
    The probability after asking d, where f was asked, is a line in the log-odds of f alone, shrunk towards what all
    pairs have in common; after a third expert, a line in what its pair and the votes so far say.

    Only what was known when somebody was asked is conditioned on, so that it may be learnt from rows that were chosen
    by it: the answers of f were asked for blindly (`Rounds.free`), those of d because of what f said.

    Attributes
    ----------
    vote_ : array
        (2 + 2 experts,): weight of a vote and of its t, in common, and what each expert's differ by.
    single_, pair_, after_ : array
        Intercepts and slopes: (experts, 2), and twice (experts, experts, 2), the cheaper one first.
    more_, third_ : array
        Intercept and slope for larger sets; the three numbers of a third expert.

    References
    ----------
    McFadden 1974 (conditional logit); Platt 1999 (lines in the log-odds).
    """

    classes_: int
    vote_: Floats
    single_: Floats
    pair_: Floats
    after_: Floats
    more_: Floats
    third_: Floats

    def fit(self, seen: Rounds, gold: Ints, prices: Floats) -> Self:
        """Learn from rounds whose true labels are `gold` (n,), experts of which cost `prices` (experts,)."""
        k = len(seen.experts)
        self.classes_ = max(2, int(max(seen.label.max(initial=0), gold.max(initial=0))) + 1)
        order = [int(j) for j in np.argsort(prices, kind="stable")]
        free, asked = seen.free, seen.asked
        both: Sets = {c: np.flatnonzero(free[:, c[0]] & asked[:, c[1]]) for c in combinations(order, 2)}
        pairs = {c: rows for c, rows in both.items() if len(rows)}
        single: Sets = {(j,): np.flatnonzero(free[:, j]) for j in order}
        share = 1 / np.maximum(1, asked.sum(axis=1) - 1)
        self._votes(seen, gold, {**single, **pairs}, share)
        self.single_, self.more_ = np.tile([0.0, 1.0], (k, 1)), np.array([0.0, 0.8])
        self.pair_, self.third_ = np.tile([0.0, 1.0], (k, k, 1)), np.array([0.0, 0.5, 0.5])
        for members, rows in single.items():
            right, odds = self._said(seen, gold, members, rows)
            self.single_[members[0]] = line([odds], right, (0.0, 1.0), SINGLE)
        self._pairs(seen, gold, pairs, prices, share)
        self._triples(seen, gold, order, share)
        return self

    def look(self, label: Ints, p: Floats, voted: Bools) -> tuple[Ints, Floats]:
        """The class that the votes stand for, and the probability that it is right, each (n,).

        `label`, `p` and `voted` are (n, experts).
        """
        best, odds = self._lead(label, p, voted)
        voted = voted & (label != NO_LABEL)
        size, row = voted.sum(axis=1), np.arange(len(best))
        lines = np.tile(self.more_, (len(best), 1))
        one, two = size == 1, size == 2
        lines[one] = self.single_[voted[one].argmax(axis=1)]
        pair = np.stack([voted[two].argmax(axis=1), voted.shape[1] - 1 - voted[two, ::-1].argmax(axis=1)])
        lines[two] = self.pair_[tuple(pair)]
        sure = sigmoid(lines[row, 0] + lines[row, 1] * odds)
        return np.where(size == 0, NO_LABEL, best), np.where(size == 0, 0.0, sure)

    def third(self, pair: Floats, sure: Floats) -> Floats:
        """The probability after a third vote, from what its pair foretells and how sure the votes are, each (n,)."""
        return sigmoid(self.third_[0] + self.third_[1] * log_odds(pair) + self.third_[2] * log_odds(sure))

    def _votes(self, seen: Rounds, gold: Ints, sets: Sets, share: Floats) -> None:
        """Learn what votes weigh from each expert alone and each pair: a row's pairs count as one."""
        rows = np.concatenate(list(sets.values()))
        voted = np.zeros((len(rows), len(seen.experts)), bool)
        start = 0
        for members, mine in sets.items():
            voted[start : start + len(mine), list(members)] = True
            start += len(mine)
        x = self._features(seen.label[rows], seen.p[rows], voted)
        precision = np.append(np.full(2, COMMON), np.full(x.shape[2] - 2, OWN))
        self.vote_ = conditional_logit(x, gold[rows], share[rows], np.append(VOTE, np.zeros(x.shape[2] - 2)), precision)

    def _features(self, label: Ints, p: Floats, voted: Bools) -> Floats:
        """For each row and class the votes and their t, in common and of each expert, (n, classes, 2 + 2 experts)."""
        t = transform(np.where(np.isnan(p), UNSTATED, p)) / 3 - 1
        own = (label[:, None, :] == np.arange(self.classes_)[:, None]) & voted[:, None, :]
        sure = own * t[:, None, :]
        return np.concatenate([own.sum(2, keepdims=True), sure.sum(2, keepdims=True), own, sure], axis=2)

    def _lead(self, label: Ints, p: Floats, voted: Bools) -> tuple[Ints, Floats]:
        """The class of most weight, and the log-odds that the logit gives it, each (n,)."""
        k = label.shape[1]
        t = transform(np.where(np.isnan(p), UNSTATED, p)) / 3 - 1
        weight = np.where(voted, self.vote_[0] + self.vote_[2 : 2 + k] + (self.vote_[1] + self.vote_[2 + k :]) * t, 0.0)
        weight = np.stack([np.where(label == c, weight, 0.0).sum(axis=1) for c in range(self.classes_)], axis=1)
        # A class that nobody voted for does not stand, however little the votes weigh.
        there = np.stack([np.any(voted & (label == c), axis=1) for c in range(self.classes_)], axis=1)
        best = np.where(there, weight, -np.inf).argmax(axis=1)
        chance = np.exp(weight - weight.max(axis=1, keepdims=True))
        return best, log_odds(chance[np.arange(len(best)), best] / chance.sum(axis=1))

    def _said(self, seen: Rounds, gold: Ints, members: tuple[int, ...], rows: Ints) -> tuple[Bools, Floats]:
        """Whether the votes of `members` are right, and the log-odds that the logit gives them, each (rows,)."""
        voted = np.zeros((len(rows), len(seen.experts)), bool)
        voted[:, list(members)] = True
        best, odds = self._lead(seen.label[rows], seen.p[rows], voted)
        given = np.any(seen.label[rows][:, list(members)] != NO_LABEL, axis=1)
        return (best == gold[rows]) & given, odds

    def _alone(self, seen: Rounds, gold: Ints, j: int, rows: Ints) -> Floats:
        """The log-odds that expert `j` alone is right, (rows,)."""
        _, odds = self._said(seen, gold, (j,), rows)
        return log_odds(sigmoid(self.single_[j, 0] + self.single_[j, 1] * odds))

    def _pairs(self, seen: Rounds, gold: Ints, pairs: Sets, prices: Floats, share: Floats) -> None:
        """Learn what the votes of each pair mean, and what the first of it foretells."""
        k = len(prices)
        dear = np.log(np.maximum(prices, 1e-3 * max(float(prices.max()), 1e-300)))
        dear = (dear - dear.mean()) / max(float(dear.std()), 1e-9)
        self.after_ = np.zeros((k, k, 2))
        parts = {}
        for members, rows in pairs.items():
            f, d = members
            right, odds = self._said(seen, gold, (f, d), rows)
            # A pair is looked up by places in either order.
            self.pair_[f, d] = self.pair_[d, f] = line([odds], right, (0.0, 1.0), PAIR)
            about = np.zeros((len(rows), 2 + 2 * k))
            about[:, 0], about[:, 1] = self._alone(seen, gold, f, rows), dear[d]
            about[:, 2 + d], about[:, 2 + k + f] = 1, 1
            parts[f, d] = (right, about, share[rows])
        parts = parts or {(0, 0): (np.zeros(0, bool), np.zeros((0, 2 + 2 * k)), np.zeros(0))}
        right, about, weight = (np.concatenate(part) for part in zip(*parts.values(), strict=True))
        prior = np.append([0.5, SLOPE, 0.2], np.zeros(2 * k))
        common = line(list(about.T), right, prior, np.append([COMMON, COMMON, 1.0], np.full(2 * k, OWN)), weight)
        for f, d in combinations(np.argsort(prices, kind="stable").tolist(), 2):
            mean = (common[0] + common[2] * dear[d] + common[3 + d] + common[3 + k + f], common[1])
            right, about, _ = parts.get((f, d), (np.zeros(0, bool), np.zeros((0, 1)), None))
            self.after_[f, d] = line([about[:, 0]], right, mean, GAIN)

    def _triples(self, seen: Rounds, gold: Ints, order: list[int], share: Floats) -> None:
        """Learn what more than two votes mean, from all triples at once."""
        parts = []
        for f, d, e in combinations(order, 3):
            rows = np.flatnonzero(seen.free[:, f] & seen.asked[:, d] & seen.asked[:, e])
            if len(rows):
                right, odds = self._said(seen, gold, (f, d, e), rows)
                voted = np.zeros((len(rows), len(order)), bool)
                voted[:, [f, d]] = True
                _, sure = self.look(seen.label[rows], seen.p[rows], voted)
                pair = self.after_[d, e, 0] + self.after_[d, e, 1] * log_odds(sure)
                weight = 2 * share[rows] / np.maximum(1, seen.asked[rows].sum(axis=1) - 2)
                parts.append((right, odds, pair, log_odds(sure), weight))
        if parts:
            right, odds, pair, before, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
            self.more_ = line([odds], right, self.more_, LATER, weight)
            self.third_ = line([pair, before], right, self.third_, LATER, weight)


def log_odds(p: Floats) -> Floats:
    """log(p / (1 - p)), of probabilities neither nearly 0 nor nearly 1."""
    p = np.clip(p, SUREST, 1 - SUREST)
    return np.asarray(np.log(p / (1 - p)))


def line(
    x: list[Floats],
    right: Bools,
    prior: tuple[float, ...] | Floats,
    precision: float | Floats,
    weight: Floats | None = None,
) -> Floats:
    """Intercept and slopes of P(right): a logistic regression with a normal prior.

    `x` are columns (n,), `prior` the means of intercept and slopes.
    """
    both = np.zeros((len(right), 2, 1 + len(x)))
    both[:, 1] = np.stack([np.ones(len(right)), *x], axis=1)
    weight = np.ones(len(right)) if weight is None else weight
    mean = np.asarray(prior, np.float64)
    return conditional_logit(both, right.astype(np.int64), weight, mean, np.broadcast_to(precision, mean.shape))


def conditional_logit(x: Floats, chosen: Ints, weight: Floats, mean: Floats, precision: Floats) -> Floats:
    """Coefficients (d,) of the utility of each alternative by features `x` (n, alternatives, d), by Newton steps.

    `chosen` (n,) is the alternative that was true, `mean` and `precision` (d,) a normal prior.
    """
    coef, row, flat = mean.copy(), np.arange(len(x)), x.reshape(-1, x.shape[2])

    def loss_at(at: Floats) -> float:
        utility = x @ at
        top = utility.max(axis=1)
        total = top + np.log(np.exp(utility - top[:, None]).sum(axis=1))
        return float(weight @ (total - utility[row, chosen]) + precision @ (at - mean) ** 2 / 2)

    loss = loss_at(coef)
    for _ in range(STEPS):
        utility = x @ coef
        p = np.exp(utility - utility.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        expected = (p[:, None, :] @ x)[:, 0]
        slope = weight @ (x[row, chosen] - expected) - precision * (coef - mean)
        curvature = (flat * (weight[:, None] * p).reshape(-1, 1)).T @ flat + np.diag(precision)
        step = np.linalg.solve(curvature - (expected * weight[:, None]).T @ expected, slope)
        while (there := loss_at(coef + step)) > loss and np.abs(step).max() > 1e-9:
            step = step / 2
        if there > loss:
            break
        coef, before, loss = coef + step, loss, there
        if before - loss < 1e-8 * max(1.0, abs(loss)):
            break
    return coef
