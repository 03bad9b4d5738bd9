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


class Bootstrap:
    """Resamples of items and seeds, the same for every policy, so that differences are paired."""

    def __init__(self, gold: Ints, quality: Quality, draws: int, confidence: float, seed: int) -> None:
        self.gold, self.quality, self.confidence, self.seed = gold, quality, confidence, seed
        self.weights: Weights = bootstrap_weights(len(gold), draws, seed)

    def quality_of(self, run: Replay, quality: Quality | None = None) -> tuple[Floats, Floats]:
        """Mean quality over seeds of each point (points,), and of each draw (draws, points)."""
        quality = quality or self.quality
        answers = run.flat_answers()
        return self._over_seeds(run, quality(self.gold, answers), quality(self.gold, answers, self.weights))

    def cost_of(self, run: Replay) -> tuple[Floats, Floats]:
        """Mean cost per item and over seeds of each point (points,), and of each draw (draws, points)."""
        flat = run.flat_cost()
        drawn = weighted_sums(self.weights, flat) / len(self.gold)
        return self._over_seeds(run, flat.mean(axis=0, keepdims=True), drawn)

    def share_of(self, run: Replay) -> Floats:
        """Mean share of deferred rows of each point (points,)."""
        return np.asarray(run.deferred.mean(axis=(1, 2)), np.float64)

    def interval(self, value: float, draws: Floats) -> Interval:
        """The percentile interval at this bootstrap's confidence."""
        return interval(value, draws, self.confidence)

    def _over_seeds(self, run: Replay, value: Floats, drawn: Floats) -> tuple[Floats, Floats]:
        shape = (run.points, len(run.seeds))
        mix = seed_weights(len(run.seeds), len(self.weights), self.seed)
        each = np.einsum("dps,ds->dp", drawn.reshape(-1, *shape), mix)
        return value.reshape(shape).mean(axis=1), each


@dataclass(frozen=True)
class Ends:
    """The two experts a curve runs between: cost and quality, and those of every bootstrap draw."""

    small_cost: float
    large_cost: float
    small_quality: float
    large_quality: float
    small_draws: tuple[Floats, Floats]
    large_draws: tuple[Floats, Floats]

    @classmethod
    def of(cls, boot: Bootstrap, small: Replay, large: Replay) -> Ends:
        """From the replays of always asking the one and the other; draws are (cost, quality)."""
        (cs, cs_d), (cl, cl_d) = boot.cost_of(small), boot.cost_of(large)
        (qs, qs_d), (ql, ql_d) = boot.quality_of(small), boot.quality_of(large)
        return cls(
            float(cs[0]),
            float(cl[0]),
            float(qs[0]),
            float(ql[0]),
            (cs_d[:, 0], qs_d[:, 0]),
            (cl_d[:, 0], ql_d[:, 0]),
        )


def curve_summary(boot: Bootstrap, run: Replay, ends: Ends) -> dict[str, Any]:
    """Everything read off one policy's curve: areas, APGR, CPT, savings at equal quality, with intervals.

    A single point has no area, APGR or CPT: they are None.
    """
    quality, quality_d = boot.quality_of(run)
    cost, cost_d = boot.cost_of(run)
    share = boot.share_of(run)
    low, high = ends.small_cost, ends.large_cost
    draws = range(len(quality_d))
    large_c, large_q = ends.large_draws
    small_q = ends.small_draws[1]

    def with_interval(name: str, value: float, drawn: list[float]) -> dict[str, Any]:
        measured = boot.interval(value, np.array(drawn)).as_dict()
        return {name: measured["value"], f"{name}_ci": measured["ci"]}

    savings = {
        key: boot.interval(
            curves.saving(cost, quality, high, ends.large_quality, slack),
            np.array([curves.saving(cost_d[i], quality_d[i], large_c[i], large_q[i], slack) for i in draws]),
        ).as_dict()
        for key, slack in SLACKS.items()
    }
    if run.points == 1:
        return {**NO_CURVE, "saving_at_equal_quality": savings}
    area = [curves.area(cost_d[i], quality_d[i], low, high) for i in draws]
    recovered = [curves.apgr(share, quality_d[i], small_q[i], large_q[i]) for i in draws]
    ends_q = (ends.small_quality, ends.large_quality)
    return {
        **with_interval("auc", curves.area(cost, quality, low, high), area),
        "auc_hull": none_if_nan(curves.area(*curves.hull(cost, quality), low, high)),
        "auc_line": none_if_nan(curves.line_area(*ends_q) if high > low else np.nan),
        **with_interval("apgr", curves.apgr(share, quality, *ends_q), recovered),
        "cpt": {f"{x:.2f}": none_if_nan(curves.cpt(share, quality, *ends_q, x)) for x in RECOVERED},
        "saving_at_equal_quality": savings,
    }


def point_summary(boot: Bootstrap, run: Replay, point: int, qualities: Mapping[str, Quality]) -> dict[str, Any]:
    """Quality, cost and deferral rate of one operating point, with intervals; cost is per 1,000 items."""
    one = only(run, np.array([point]))
    out: dict[str, Any] = {"budget": none_if_nan(float(run.budgets[point]))}
    for name, quality in qualities.items():
        value, drawn = boot.quality_of(one, quality)
        out[name] = boot.interval(float(value[0]), drawn[:, 0]).as_dict()
    cost, cost_d = boot.cost_of(one)
    out["cost_per_1k"] = boot.interval(1000 * float(cost[0]), 1000 * cost_d[:, 0]).as_dict()
    out["deferral_rate"] = float(boot.share_of(one)[0])
    return out


def against_reference(boot: Bootstrap, run: Replay, reference: Replay) -> dict[str, Any]:
    """A single operating point beside the reference, paired.

    Its cost as a share of the reference's (None where that is free), and the difference in quality.
    """
    (q, q_d), (rq, rq_d) = boot.quality_of(run), boot.quality_of(reference)
    (c, c_d), (rc, rc_d) = boot.cost_of(run), boot.cost_of(reference)
    return {
        "quality": boot.interval(float(q[0]), q_d[:, 0]).as_dict(),
        "reference_quality": boot.interval(float(rq[0]), rq_d[:, 0]).as_dict(),
        "quality_difference": boot.interval(float(q[0] - rq[0]), q_d[:, 0] - rq_d[:, 0]).as_dict(),
        "cost_share": boot.interval(float(_ratio(c, rc)[0]), _ratio(c_d, rc_d)[:, 0]).as_dict(),
        "cost_per_1k": boot.interval(1000 * float(c[0]), 1000 * c_d[:, 0]).as_dict(),
        "deferral_rate": float(boot.share_of(run)[0]),
    }


def outcomes(run: Replay, small: Replay, expensive: Replay, gold: Ints) -> dict[str, Bools]:
    """Which rows (seeds, items) came to what at one operating point, against what both experts would have said.

    An asked row is judged by the answer that was given, a kept one by what the reference would have said.
    """
    asked, weak, strong = compared(run, small, expensive, gold)
    better = strong > weak
    if run.mark is not None:
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
