"""What is read off one replayed policy: quality, cost, areas and savings, each with its bootstrap interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from askless.arrays import Bools, Floats, Ints
from askless.evaluation import curves
from askless.evaluation.metrics import (
    Interval,
    Quality,
    Weights,
    bootstrap_weights,
    interval,
    seed_weights,
    weighted_sums,
)
from askless.evaluation.replay import Replay, only

SLACKS = {"0.00": 0.0, "0.005": 0.005, "0.01": 0.01}
RECOVERED = (0.5, 0.8, 1.0)
NO_CURVE: Mapping[str, Any] = {
    **dict.fromkeys(("auc", "auc_hull", "auc_line", "apgr")),
    **{f"{name}_ci": [None, None] for name in ("auc", "apgr")},
    "cpt": dict.fromkeys(f"{x:.2f}" for x in RECOVERED),
}


@dataclass(frozen=True)
class Measured:
    """Mean quality and cost of the points of a replay, as they are and in each resample.

    Parameters
    ----------
    quality, cost, share
        Over items and seeds, shape (points,): quality from 0 to 1, cost per item, share of items deferred.
    quality_draws, cost_draws
        The same in each resample of items and seeds, shape (draws, points).
    seed_quality, seed_quality_draws
        Quality of each seed, (points, seeds), and in each resample of items, (draws, points, seeds).
    """

    quality: Floats
    cost: Floats
    share: Floats
    quality_draws: Floats
    cost_draws: Floats
    seed_quality: Floats
    seed_quality_draws: Floats


class Bootstrap:
    """Resamples of items and seeds, the same for every policy, so that differences are paired.

    Parameters
    ----------
    gold
        Index of each item's class, shape (items,); void where answers have a quality score.
    quality
        The quality that is reported.
    draws
        How many resamples.
    confidence
        Of intervals, above 0 and below 1.
    seed
        Of the resamples.
    """

    def __init__(self, gold: Ints, quality: Quality, draws: int, confidence: float, seed: int) -> None:
        self.gold, self.quality, self.confidence, self.seed = gold, quality, confidence, seed
        self.weights: Weights = bootstrap_weights(len(gold), draws, seed)

    def measure(self, run: Replay) -> Measured:
        """Quality and cost of every point of a replay."""
        (quality, quality_d), (cost, cost_d) = self._seeds_of(run, self.quality), self._seed_costs(run)
        return Measured(
            quality.mean(axis=1),
            cost.mean(axis=1),
            np.asarray(run.deferred.mean(axis=(1, 2)), np.float64),
            self._over_seeds(quality_d),
            self._over_seeds(cost_d),
            quality,
            quality_d,
        )

    def quality_of(self, run: Replay, quality: Quality | None = None) -> tuple[Floats, Floats]:
        """Mean quality over seeds of each point (points,), and of each draw (draws, points)."""
        value, drawn = self._seeds_of(run, quality or self.quality)
        return value.mean(axis=1), self._over_seeds(drawn)

    def interval(self, value: float, draws: Floats) -> Interval:
        """The percentile interval at this bootstrap's confidence."""
        return interval(value, draws, self.confidence)

    def _seeds_of(self, run: Replay, quality: Quality) -> tuple[Floats, Floats]:
        shape, answers = (run.points, len(run.seeds)), run.flat_answers()
        drawn = quality(self.gold, answers, self.weights)
        return quality(self.gold, answers).reshape(shape), drawn.reshape(-1, *shape)

    def _seed_costs(self, run: Replay) -> tuple[Floats, Floats]:
        shape, flat = (run.points, len(run.seeds)), run.flat_cost()
        drawn = weighted_sums(self.weights, flat) / len(self.gold)
        return flat.mean(axis=0, keepdims=True).reshape(shape), drawn.reshape(-1, *shape)

    def _over_seeds(self, drawn: Floats) -> Floats:
        mix = seed_weights(drawn.shape[2], len(self.weights), self.seed)
        return np.asarray(np.einsum("dps,ds->dp", drawn, mix))


def curve_summary(
    boot: Bootstrap, run: Measured, weak: Measured, strong: Measured, pair: bool = True
) -> dict[str, Any]:
    """Everything read off one policy's curve: areas, APGR, CPT, savings at equal quality, with intervals.

    `weak` and `strong` are always asking the one and the other expert between which the curve runs. A single point has
    no area, APGR or CPT: they are None. So are APGR and CPT unless the policy is one between this `pair`: with more
    experts a share deferred is no share of the expensive one's calls.
    """
    low, high = float(weak.cost[0]), float(strong.cost[0])
    ends = float(weak.quality[0]), float(strong.quality[0])
    small_q, large_q, large_c = weak.quality_draws[:, 0], strong.quality_draws[:, 0], strong.cost_draws[:, 0]
    draws = list(enumerate(zip(run.cost_draws, run.quality_draws, strict=True)))

    def with_interval(name: str, value: float, drawn: list[float]) -> dict[str, Any]:
        measured = boot.interval(value, np.array(drawn)).as_dict()
        return {name: measured["value"], f"{name}_ci": measured["ci"]}

    savings = {
        key: boot.interval(
            curves.saving(run.cost, run.quality, high, ends[1], slack),
            np.array([curves.saving(c, q, large_c[i], large_q[i], slack) for i, (c, q) in draws]),
        ).as_dict()
        for key, slack in SLACKS.items()
    }
    if len(run.quality) == 1:
        return {**NO_CURVE, "saving_at_equal_quality": savings}
    area = [curves.area(c, q, low, high) for _, (c, q) in draws]
    recovered = [curves.apgr(run.share, q, small_q[i], large_q[i]) for i, (_, q) in draws]
    gap = with_interval("apgr", curves.apgr(run.share, run.quality, *ends), recovered) | {
        "cpt": {f"{x:.2f}": none_if_nan(curves.cpt(run.share, run.quality, *ends, x)) for x in RECOVERED}
    }
    return {
        **with_interval("auc", curves.area(run.cost, run.quality, low, high), area),
        "auc_hull": none_if_nan(curves.area(*curves.hull(run.cost, run.quality), low, high)),
        "auc_line": none_if_nan(curves.line_area(*ends) if high > low else np.nan),
        **(gap if pair else {name: NO_CURVE[name] for name in gap}),
        "saving_at_equal_quality": savings,
    }


def point_summary(boot: Bootstrap, run: Replay, point: int, qualities: Mapping[str, Quality]) -> dict[str, Any]:
    """Quality, cost and deferral rate of one operating point, with intervals; cost is per 1,000 items."""
    one = only(run, np.array([point]))
    out: dict[str, Any] = {"budget": none_if_nan(float(run.budgets[point]))}
    measured = boot.measure(one)
    for name, quality in qualities.items():
        own = measured.quality, measured.quality_draws
        value, drawn = own if quality == boot.quality else boot.quality_of(one, quality)
        out[name] = boot.interval(float(value[0]), drawn[:, 0]).as_dict()
    cost, cost_d = measured.cost, measured.cost_draws
    out["cost_per_1k"] = boot.interval(1000 * float(cost[0]), 1000 * cost_d[:, 0]).as_dict()
    out["deferral_rate"] = float(measured.share[0])
    return out


def against_reference(boot: Bootstrap, run: Measured, reference: Measured) -> dict[str, Any]:
    """A single operating point beside the reference, paired.

    Its cost as a share of the reference's (None where that is free), and the difference in quality.
    """
    (q, q_d), (rq, rq_d) = (run.quality, run.quality_draws), (reference.quality, reference.quality_draws)
    (c, c_d), (rc, rc_d) = (run.cost, run.cost_draws), (reference.cost, reference.cost_draws)
    return {
        "quality": boot.interval(float(q[0]), q_d[:, 0]).as_dict(),
        "reference_quality": boot.interval(float(rq[0]), rq_d[:, 0]).as_dict(),
        "quality_difference": boot.interval(float(q[0] - rq[0]), q_d[:, 0] - rq_d[:, 0]).as_dict(),
        "cost_share": boot.interval(float(_ratio(c, rc)[0]), _ratio(c_d, rc_d)[:, 0]).as_dict(),
        "cost_per_1k": boot.interval(1000 * float(c[0]), 1000 * c_d[:, 0]).as_dict(),
        "deferral_rate": float(run.share[0]),
    }


def outcomes(run: Replay, small: Replay, expensive: Replay, gold: Ints) -> dict[str, Bools]:
    """Which rows (seeds, items) had which outcome at one operating point, by what both experts would have answered.

    An asked row is judged by the answer that was given, a kept one by what the reference would have answered.
    """
    asked, weak, strong = compared(run, small, expensive, gold)
    better = strong > weak
    if run.graded:
        return {
            "kept, small as good": ~asked & ~better,
            "asked, LLM better": asked & better,
            "should have asked": ~asked & better,
            "asked for nothing": asked & (strong == weak),
            "asked and misled": asked & (strong < weak),
        }
    small_right, neither = weak > 0, (weak == 0) & (strong == 0)
    return {
        "kept, small right": ~asked & small_right,
        "asked, only the LLM right": asked & better,
        "should have asked": ~asked & better,
        "asked for nothing": asked & small_right & (strong > 0),
        "asked and misled": asked & (strong < weak),
        "hopeless, kept": ~asked & neither,
        "hopeless, asked": asked & neither,
    }


def misrouted(run: Replay, small: Replay, expensive: Replay, gold: Ints) -> list[dict[str, Any]]:
    """One row for each of the `outcomes`: its share of items (mean over seeds) and the cost per 1,000 it caused.

    `quality` is what the LLM's answers have over the small expert's in these rows, as a mean over all items.
    """
    _, weak, strong = compared(run, small, expensive, gold)
    return [
        {
            "outcome": name,
            "share": float(rows.mean()),
            "cost_per_1k": float(1000 * (run.cost[0] * rows).mean()),
            "quality": float(((strong - weak) * rows).mean()),
        }
        for name, rows in outcomes(run, small, expensive, gold).items()
    ]


def by_group(runs: Mapping[str, Replay], gold: Ints, groups: Sequence[str | None]) -> list[dict[str, Any]]:
    """Each group's mean quality by small expert, reference and policy (the three `runs`), and where that misroutes.

    `asked_for_nothing`, `should_have_asked` and `misled` are shares of the group's items, means over seeds;
    `wasted_per_1k` is what the calls that brought nothing or worse cost beyond the small expert, over 1,000 items.
    """
    small, expensive, chosen = runs.values()
    found, group = outcomes(chosen, small, expensive, gold), np.array([g or "" for g in groups], dtype=object)
    idle = ("asked for nothing", "asked and misled", "hopeless, asked")
    wasted = sum(found[name] for name in idle if name in found) * np.maximum(chosen.cost[0] - small.cost[0], 0)
    rows = []
    for value in sorted(set(group) - {""}):
        inside = group == value
        rows.append(
            {
                "group": value,
                "items": int(inside.sum()),
                "quality": {n: float(r.right(gold)[0][:, inside].mean()) for n, r in runs.items()},
                "deferral_rate": float(chosen.deferred[0][:, inside].mean()),
                "should_have_asked": float(found["should have asked"][:, inside].mean()),
                "asked_for_nothing": float(found["asked for nothing"][:, inside].mean()),
                "misled": float(found["asked and misled"][:, inside].mean()),
                "wasted_per_1k": float(1000 * wasted[:, inside].mean()),
            }
        )
    return rows


def compared(run: Replay, small: Replay, expensive: Replay, gold: Ints) -> tuple[Bools, Floats, Floats]:
    """Whether the LLM was asked, and how good the small expert's and the LLM's answers are, each (seeds, items)."""
    asked = run.deferred[0]
    weak = np.broadcast_to(small.right(gold)[0], asked.shape).astype(np.float64)
    return asked, weak, np.where(asked, run.right(gold)[0], expensive.right(gold)[0]).astype(np.float64)


def none_if_nan(value: float) -> float | None:
    """`value`, or None where it is undefined: JSON has no NaN."""
    return float(value) if np.isfinite(value) else None


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0))
