"""The cost-quality curve and what is read off it.

All functions take points of one curve: `cost` per item and `quality`, shape (points,), in any order.
"""

from __future__ import annotations

import numpy as np

from askless.arrays import Floats


def sorted_by_cost(cost: Floats, quality: Floats) -> tuple[Floats, Floats]:
    """The points by rising cost; of equal costs the better comes last."""
    order = np.lexsort((quality, cost))
    return cost[order], quality[order]


def hull(cost: Floats, quality: Floats) -> tuple[Floats, Floats]:
    """The non-decreasing curve: at each cost the best quality had for no more."""
    cost, quality = sorted_by_cost(cost, quality)
    return cost, np.maximum.accumulate(quality)


def area(cost: Floats, quality: Floats, low: float, high: float) -> float:
    """Mean quality over the cost range [low, high]; NaN if that is empty.

    The curve is linear between points and flat beyond them; of points at equal cost the best counts.
    """
    if not high > low:
        return float("nan")
    cost, quality = sorted_by_cost(cost, quality)
    cost, first = np.unique(cost, return_index=True)
    last = np.append(first[1:], len(quality)) - 1
    knots = np.concatenate([[low], cost[(cost > low) & (cost < high)], [high]])
    return float(np.trapezoid(np.interp(knots, cost, quality[last]), knots) / (high - low))


def line_area(weak: float, strong: float) -> float:
    """Area of the straight line between the two experts: what a random mix of them buys."""
    return (weak + strong) / 2


def pgr(quality: Floats, weak: float, strong: float) -> Floats:
    """Performance gap recovered, (quality - weak) / (strong - weak); NaN unless strong > weak.

    Source: RouteLLM (Ong et al. 2024), section 3.
    """
    if not strong > weak:
        return np.full(len(quality), np.nan)
    return (quality - weak) / (strong - weak)


def apgr(share: Floats, quality: Floats, weak: float, strong: float) -> float:
    """Mean PGR over the share of expensive calls from 0 to 1; a random mix has .5."""
    gap = pgr(quality, weak, strong)
    return area(share, gap, 0.0, 1.0) if np.isfinite(gap).all() else float("nan")


def cpt(share: Floats, quality: Floats, weak: float, strong: float, recovered: float) -> float:
    """Smallest share of expensive calls at which PGR first reaches `recovered`; NaN if it never does.

    Linear between points.
    """
    x, y = sorted_by_cost(share, pgr(quality, weak, strong))
    above = np.flatnonzero(y >= recovered)
    if not len(above):
        return float("nan")
    i = int(above[0])
    if i == 0 or y[i] == y[i - 1]:
        return float(x[i])
    return float(x[i - 1] + (recovered - y[i - 1]) / (y[i] - y[i - 1]) * (x[i] - x[i - 1]))


def saving(cost: Floats, quality: Floats, reference_cost: float, reference_quality: float, slack: float) -> float:
    """1 - C / C_ref for the cheapest point of quality >= reference - slack.

    The reference itself is always a point, so the least is 0: nothing cheaper is as good.
    """
    if not reference_cost > 0:
        return float("nan")
    enough = quality >= reference_quality - slack - 1e-12
    return float(max(0.0, 1 - cost[enough].min() / reference_cost)) if enough.any() else 0.0


def ibc_lift(cost: float, quality: float, small: tuple[float, float], large: tuple[float, float]) -> float:
    """Incremental benefit per cost of a point over that of the large expert, less 1; NaN where undefined.

    `small` and `large` are (cost, quality). Source: AutoMix (Madaan et al. 2023).
    """
    if cost <= small[0] or large[0] <= small[0] or large[1] == small[1]:
        return float("nan")
    slope = (quality - small[1]) / (cost - small[0])
    return slope / ((large[1] - small[1]) / (large[0] - small[0])) - 1
