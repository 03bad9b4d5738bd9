"""The published figure of the online budget rule: accuracy over budgets, and the line that chance draws beside it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from askless.arrays import Bools, Floats, Ints
from askless.policies.online_rule import LARGE, NOBODY, SMALL, Fates, OnlineRule, published_order, running_rank


def online_decisions(rule: OnlineRule, score: Floats, budgets: Sequence[float] | Floats, order: Ints) -> Fates:
    """What becomes of each row when they come in `order` (rows,), shape (budgets, rows); a score of NaN is the least.

    The same as the published loop over rows, decision by decision. How many scores so far are at most this row's does
    not depend on the budget, so it is counted once, and each budget costs a comparison and a running sum.
    """
    score = np.where(np.isnan(score), -np.inf, score)[order]
    rank, top, count = running_rank(score), np.maximum.accumulate(score), np.arange(1, len(score) + 1)
    out = np.empty((len(budgets), len(score)), np.int8)
    for i, budget in enumerate(budgets):
        base = rule.wanted(score, rank, top, count, budget)

        def wanted(done: Fates, end: int, base: Bools = base, budget: float = budget) -> Bools:
            scored = done != LARGE
            if scored.all():
                return base[len(done) : end]
            seen = score[np.append(scored, np.ones(len(score) - len(done), bool))]
            again = rule.wanted(seen, running_rank(seen), np.maximum.accumulate(seen), count[: len(seen)], budget)
            return again[len(done) - len(score) :]

        out[i, order] = rule.play(float(budget), len(score), wanted, lambda _, left: left)
    return out


def online_accuracy(fates: Fates, small_right: Bools, large_right: Bools, n_classes: int) -> Floats:
    """Accuracy of each budget's `fates` (budgets, rows); a row that nobody answers counts 1 / n_classes."""
    credit = np.where(fates == SMALL, small_right, np.where(fates == NOBODY, 1 / n_classes, large_right))
    return np.asarray(credit.mean(axis=1), np.float64)


def online_area(
    score: Floats,
    small_right: Bools,
    large_right: Bools,
    costs: tuple[float, float],
    n_classes: int,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    points: int = 100,
) -> float:
    """The published area: mean accuracy over budgets from the small one's price to the large one's, mean of the orders.

    The last budget is the large one alone. NaN where the large one is not costlier.
    """
    rule = OnlineRule(costs, (float(np.mean(small_right)), float(np.mean(large_right))))
    budgets = np.linspace(*costs, points)
    runs = [online_decisions(rule, score, budgets[:-1], published_order(seed, len(score))) for seed in seeds]
    curve = np.mean([online_accuracy(run, small_right, large_right, n_classes) for run in runs], axis=0)
    return _mean_over(budgets, np.append(curve, rule.quality[1]))


def random_area(
    small_right: Bools,
    large_right: Bools,
    costs: tuple[float, float],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    points: int = 100,
) -> float:
    """The same area for the published random line: the small one answers the first rows, the large one the rest."""
    budgets = np.linspace(*costs, points)
    if not costs[1] > costs[0]:
        return float("nan")
    split = (len(small_right) * ((budgets[:-1] - costs[1]) / (costs[0] - costs[1]))).astype(np.int64)
    curves = []
    for seed in seeds:
        order = published_order(seed, len(small_right))
        first = np.append(0, np.cumsum(small_right[order]))[split]
        last = np.append(0, np.cumsum(large_right[order]))
        curves.append((first + last[-1] - last[split]) / len(order))
    return _mean_over(budgets, np.append(np.mean(curves, axis=0), np.mean(large_right)))


def _mean_over(x: Floats, y: Floats) -> float:
    return float(np.trapezoid(y, x) / (x[-1] - x[0])) if x[-1] > x[0] else float("nan")
