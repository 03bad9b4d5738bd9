"""Votes weighted by calibrated confidence, and the subsets of experts whose votes are worth their price."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Asks a subset of experts, cheapest first, until their weighted votes are surely enough right.

    At each lambda it is the subset, and the posterior at which it stops early, that make quality - lambda x cost
    largest on train; of several the smallest. The posterior is a calibrated line of the lead of the class of most
    votes, one for each subset: errors of LLMs are not independent, so that what a lead means has to be measured.

    Attributes learnt: `chain_` (points, most) experts, `STOP` beyond the last; `threshold_` (points,); `lines_`, slope
    and intercept of each subset.

    Parameters
    ----------
    most
        Most experts of a subset.
    levels
        Thresholds are among so many quantiles of the posterior on train.
    trust
        From 0 to 1: as of `Subchains`.
    points
        How many operating points there are, each a lambda of `price_grid`.
    """

    lambdas_: Floats
    votes_: Votes
    lines_: dict[int, Floats]
    chain_: Ints
    threshold_: Floats

    def __init__(self, *, most: int = 4, levels: int = 16, trust: float = 0.5, points: int = POINTS) -> None:
        self.most = most
        self.levels = levels
        self.trust = trust
        self.points = points

    def fit(self, seen: AnswerMatrix) -> Self:
        """Learn the weights, what leads mean, and at each lambda the best subset and threshold."""
        self.lambdas_ = price_grid(seen.cost.mean(axis=0), self.points)
        self.votes_ = Votes().fit(seen)
        experts = np.arange(seen.label.shape[1])
        weight = self.votes_.weights(seen.label, seen.p, experts)
        best = np.full(self.points, -np.inf)
        self.lines_ = {}
        self.chain_ = np.full((self.points, self.most), STOP)
        self.threshold_ = np.full(self.points, -np.inf)
        stands: dict[int, tuple[Bools, Floats]] = {}
        for size in range(1, min(self.most, len(experts)) + 1):
            for chain in combinations(experts.tolist(), size):
                stands[code_of(chain)] = self._learn(chain, seen, weight)
                along = [stands[code_of(chain[: k + 1])] for k in range(size)]
                levels, quality, cost = self._tried(along, seen.cost[:, chain].T)
                worth = quality - self.lambdas_[:, None] * cost
                level = worth.argmax(axis=1)
                top = worth[np.arange(self.points), level]
                better = top > best + 1e-12
                best[better] = top[better]
                self.chain_[better] = np.append(chain, np.full(self.most - size, STOP))
                self.threshold_[better] = levels[level[better]]
        return self

    def first(self, point: Ints) -> Ints:
        """The cheapest of each row's subset, shape (n,)."""
        return np.asarray(self.chain_[point, 0], np.int64)

    def look(self, point: Ints, answers: Observations) -> RuleVerdict:
        """Stop where the votes are sure enough or the subset has been asked, else ask its next."""
        weight = self.votes_.weights(answers.label, answers.p, answers.experts)
        best, lead = counted(answers.label, weight)
        sure = posterior(best, lead, self.lines_.get(code_of(answers.experts), np.zeros(2)))
        size = len(answers.experts)
        then = self.chain_[point, size] if size < self.most else np.full(len(point), STOP)
        threshold = np.where(then == STOP, -np.inf, self.threshold_[point])
        answer = np.where(best == STOP, STOP, answers.experts[best])
        return RuleVerdict(answer, sure, sure, threshold, np.where(sure < threshold, then, STOP))

    def _learn(self, chain: tuple[int, ...], seen: AnswerMatrix, weight: Floats) -> tuple[Bools, Floats]:
        """Whether the votes of a subset are right, and the posterior that they are, each (rows,)."""
        best, lead = counted(seen.label[:, chain], weight[:, chain])
        right = seen.right[np.arange(len(seen)), np.array(chain)[best]] & (best != STOP)
        given = best != STOP
        line = self.lines_[code_of(chain)] = line_of(lead[given], right[given])
        return right, posterior(best, lead, line)

    def _tried(self, along: Sequence[tuple[Bools, Floats]], cost: Floats) -> tuple[Floats, Floats, Floats]:
        """Thresholds of a chain, and the mean quality and cost of stopping at each, (levels,).

        Given what `_learn` said of each part of it from the first expert on, and what each cost, (asked, rows).
        """
        right, sure = (np.stack(part) for part in zip(*along, strict=True))
        early = sure[:-1]
        quantiles = np.quantile(early, np.linspace(0, 1, self.levels)) if early.size else np.zeros(0)
        levels = np.append(quantiles, np.inf)
        # A row stops where it first reaches the threshold.
        stop = (np.maximum.accumulate(early, axis=0)[None] < levels[:, None, None]).sum(axis=1)
        row = np.arange(right.shape[1])
        worth = self.trust * right + (1 - self.trust) * sure
        return levels, worth[stop, row].mean(axis=1), np.cumsum(cost, axis=0)[stop, row].mean(axis=1)


def line_of(lead: Floats, right: Bools) -> Floats:
    """Slope and intercept (2,) of P(right) by the lead; the same for all leads where all rows agree."""
    if len(right) and right.min() != right.max():
        return platt(lead, right)
    rate = laplace(right)
    return np.array([0.0, np.log(rate / (1 - rate))])


def posterior(best: Ints, lead: Floats, line: Floats) -> Floats:
    """The probability (n,) that the class in the lead is right; 0 where nobody gave a label."""
    return np.where(best == STOP, 0.0, sigmoid(line[0] * lead + line[1]))
