"""Quality, cost and savings read off replayed policies, each with its bootstrap interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from deferral import curves
from deferral.calibration import brier, reliability
from deferral.config import Evaluate, Task
from deferral.metrics import (
    QUALITIES,
    Interval,
    Quality,
    Weights,
    bootstrap_weights,
    interval,
    seed_weights,
)
from deferral.panel import NO_LABEL, Floats, Ints, class_indices, proba_matrix
from deferral.replay import Replay, chosen_on_valid, only

SLACKS = (0.0, 0.005, 0.01)


class Bootstrap:
    """Resamples of items and seeds, the same for every policy, so that differences are paired."""

    def __init__(self, gold: Ints, quality: Quality, draws: int, confidence: float, seed: int) -> None:
        self.gold, self.quality, self.confidence, self.seed = gold, quality, confidence, seed
        self.weights: Weights = bootstrap_weights(len(gold), draws, seed)

    def quality_of(self, run: Replay, quality: Quality | None = None) -> tuple[Floats, Floats]:
        """Mean quality over seeds of each point (points,), and of each draw (draws, points)."""
        quality = quality or self.quality
        labels = run.flat_labels()
        return self._over_seeds(run, quality(self.gold, labels), quality(self.gold, labels, self.weights))

    def cost_of(self, run: Replay) -> tuple[Floats, Floats]:
        """Mean cost per item and over seeds of each point (points,), and of each draw (draws, points)."""
        flat = run.flat_cost()
        drawn = (self.weights @ flat.astype(np.float64)) / len(self.gold)
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
    """Everything read off one policy's curve: areas, APGR, CPT, savings at equal quality, with intervals."""
    quality, quality_d = boot.quality_of(run)
    cost, cost_d = boot.cost_of(run)
    share = boot.share_of(run)
    low, high = ends.small_cost, ends.large_cost
    draws = range(len(quality_d))
    large_c, large_q = ends.large_draws
    small_q = ends.small_draws[1]

    def with_interval(value: float, drawn: list[float]) -> dict[str, Any]:
        return boot.interval(value, np.array(drawn)).as_dict()

    return {
        "auc": with_interval(
            curves.area(cost, quality, low, high),
            [curves.area(cost_d[i], quality_d[i], low, high) for i in draws],
        ),
        "auc_hull": none_if_nan(curves.area(*curves.hull(cost, quality), low, high)),
        "auc_line": none_if_nan(curves.line_area(ends.small_quality, ends.large_quality)),
        "apgr": with_interval(
            curves.apgr(share, quality, ends.small_quality, ends.large_quality),
            [curves.apgr(share, quality_d[i], small_q[i], large_q[i]) for i in draws],
        ),
        "cpt": {
            f"{x:.2f}": none_if_nan(curves.cpt(share, quality, ends.small_quality, ends.large_quality, x))
            for x in (0.5, 0.8, 1.0)
        },
        "saving_at_equal_quality": {
            f"{slack:.3f}".rstrip("0").ljust(4, "0"): with_interval(
                curves.saving(cost, quality, high, ends.large_quality, slack),
                [curves.saving(cost_d[i], quality_d[i], large_c[i], large_q[i], slack) for i in draws],
            )
            for slack in SLACKS
        },
    }


def point_summary(
    boot: Bootstrap, run: Replay, point: int, qualities: Mapping[str, Quality]
) -> dict[str, Any]:
    """Quality, cost and deferral rate of one operating point, with intervals; cost is per 1,000 items."""
    one = only(run, np.array([point]))
    out: dict[str, Any] = {"budget": none_if_nan(float(run.budgets[point]))}
    for name in QUALITIES:
        value, drawn = boot.quality_of(one, qualities[name])
        out[name] = boot.interval(float(value[0]), drawn[:, 0]).as_dict()
    cost, cost_d = boot.cost_of(one)
    out["cost_per_1k"] = boot.interval(1000 * float(cost[0]), 1000 * cost_d[:, 0]).as_dict()
    out["deferral_rate"] = float(boot.share_of(one)[0])
    return out


def against_reference(boot: Bootstrap, run: Replay, reference: Replay) -> dict[str, Any]:
    """A single operating point beside the reference: cost as a share of its cost, and the quality difference, paired."""
    (q, q_d), (rq, rq_d) = boot.quality_of(run), boot.quality_of(reference)
    (c, c_d), (rc, rc_d) = boot.cost_of(run), boot.cost_of(reference)
    return {
        "quality": boot.interval(float(q[0]), q_d[:, 0]).as_dict(),
        "reference_quality": boot.interval(float(rq[0]), rq_d[:, 0]).as_dict(),
        "quality_difference": boot.interval(float(q[0] - rq[0]), q_d[:, 0] - rq_d[:, 0]).as_dict(),
        "cost_share": boot.interval(float(c[0] / rc[0]), c_d[:, 0] / rc_d[:, 0]).as_dict(),
        "cost_per_1k": boot.interval(1000 * float(c[0]), 1000 * c_d[:, 0]).as_dict(),
        "deferral_rate": float(boot.share_of(run)[0]),
    }


def misrouted(run: Replay, small: Replay, dear: Replay, gold: Ints) -> list[dict[str, Any]]:
    """What became of each row at one operating point, against what both experts would have said.

    One row for each outcome: its share of items (mean over seeds), and the cost per 1,000 items that it caused.
    """
    weak, strong, asked = small.label[0] == gold, dear.label[0] == gold, run.deferred[0]
    outcomes = {
        "kept, small right": ~asked & weak,
        "asked, only the LLM right": asked & strong & ~weak,
        "should have asked": ~asked & ~weak & strong,
        "asked for nothing": asked & weak & strong,
        "asked and misled": asked & weak & ~strong,
        "hopeless, kept": ~asked & ~weak & ~strong,
        "hopeless, asked": asked & ~weak & ~strong,
    }
    return [
        {
            "outcome": name,
            "share": float(rows.mean()),
            "cost_per_1k": float(1000 * (run.cost[0] * rows).mean()),
        }
        for name, rows in outcomes.items()
    ]


def none_if_nan(value: float) -> float | None:
    """`value`, or None where it is undefined: JSON has no NaN."""
    return float(value) if np.isfinite(value) else None


@dataclass(frozen=True)
class Runs:
    """Everything replayed on one split: a policy's sweep over budgets, and its own rule without a budget."""

    gold: Ints
    group: list[str | None]
    sweeps: Mapping[str, Replay]
    own_rule: Mapping[str, Replay]


def summarise(
    name: str,
    task: Task,
    settings: Evaluate,
    unit: str,
    test: Runs,
    valid: Runs,
    answers: Mapping[str, pa.Table],
    small: str,
) -> dict[str, Any]:
    """The whole evaluation as plain values, for JSON and the report.

    `test.sweeps` holds `always_<expert>` for every expert, every policy of params.yaml and `oracle`; operating
    points are chosen on `valid` and reported on `test`. `answers` are the experts' predictions on test.
    """
    qualities = {q: Quality(q, len(task.classes), task.classes.index(task.positive)) for q in QUALITIES}
    boot = Bootstrap(test.gold, qualities[settings.quality], settings.bootstrap, settings.confidence, 0)
    reference = test.sweeps[f"always_{settings.reference}"]
    ends = Ends.of(boot, test.sweeps[f"always_{small}"], reference)
    policies = {}
    for policy, run in test.sweeps.items():
        policies[policy] = _policy(boot, run, test.own_rule.get(policy), ends, qualities, settings)
        if policy in valid.sweeps:
            policies[policy]["operating_point"] = operating_point(
                boot, policy, test, valid, reference, settings
            )
    return {
        "task": name,
        "items": len(test.gold),
        "classes": list(task.classes),
        "positive": task.positive,
        "class_shares": {c: float((test.gold == i).mean()) for i, c in enumerate(task.classes)},
        "quality": settings.quality,
        "unit": unit,
        "small": small,
        "reference": settings.reference,
        "confidence": settings.confidence,
        "bootstrap": settings.bootstrap,
        "seeds": sorted({s for run in test.sweeps.values() for s in run.seeds}),
        "experts": {
            expert: _expert(boot, test.sweeps[f"always_{expert}"], table, task.classes, qualities)
            for expert, table in answers.items()
        },
        "policies": policies,
        "headline": headline(settings.headline, policies[settings.headline]["operating_point"], settings),
        "misrouted": misrouted_table(settings.headline, test, valid, boot.quality, settings, small),
        "reliability": _reliability(
            settings.headline, test, valid, boot.quality, settings, answers, task.classes
        ),
        "groups": _groups(settings.headline, test, valid, boot.quality, settings, small),
    }


def operating_point(
    boot: Bootstrap, policy: str, test: Runs, valid: Runs, reference: Replay, settings: Evaluate
) -> dict[str, Any]:
    """The cheapest budget that matches the reference on valid, and what came of it on test."""
    picks = picked(policy, valid, boot.quality, settings)
    chosen = only(test.sweeps[policy], picks)
    out = against_reference(boot, chosen, reference)
    out["budgets"] = [none_if_nan(float(test.sweeps[policy].budgets[p])) for p in picks[0]]
    low = out["quality_difference"]["ci"][0]
    out["reached"] = low is not None and low >= -settings.margin
    return out


def picked(policy: str, valid: Runs, quality: Quality, settings: Evaluate) -> Ints:
    """For each seed the point of `policy` that valid chooses: the cheapest as good as the reference (1, seeds)."""
    reference = valid.sweeps[f"always_{settings.reference}"]
    floor = quality(valid.gold, reference.flat_labels())[0]
    run = valid.sweeps[policy]
    floors = floor if len(floor) == len(run.seeds) else np.repeat(floor.mean(), len(run.seeds))
    return chosen_on_valid(run, valid.gold, quality, floors)


def headline(policy: str, point: Mapping[str, Any], settings: Evaluate) -> dict[str, Any]:
    """One sentence: the same quality as the LLM alone at so much of its cost, or that it is not reached."""
    share, gap = point["cost_share"], point["quality_difference"]

    def percent(x: float) -> str:
        return f"{100 * x:.1f}"

    cost = f"{percent(share['value'])} % of its cost [{percent(share['ci'][0])}, {percent(share['ci'][1])}]"
    diff = f"{100 * gap['value']:+.1f} points [{100 * gap['ci'][0]:+.1f}, {100 * gap['ci'][1]:+.1f}]"
    words = settings.quality.replace("_", " ").replace("f1", "F1")
    if point["reached"]:
        text = f"Same quality as {settings.reference} alone at {cost}: {words} {diff}."
    else:
        text = (
            f"The quality of {settings.reference} alone is not reached (within {percent(settings.margin)} points): "
            f"{words} {diff} at {cost}."
        )
    return {"policy": policy, "text": text, "margin": settings.margin, **point}


def misrouted_table(
    policy: str, test: Runs, valid: Runs, quality: Quality, settings: Evaluate, small: str
) -> list[dict[str, Any]]:
    """`misrouted` at the operating point that valid chose."""
    chosen = only(test.sweeps[policy], picked(policy, valid, quality, settings))
    pair = (test.sweeps[f"always_{small}"], test.sweeps[f"always_{settings.reference}"])
    return misrouted(chosen, *pair, test.gold)


def _policy(
    boot: Bootstrap,
    run: Replay,
    own: Replay | None,
    ends: Ends,
    qualities: Mapping[str, Quality],
    settings: Evaluate,
) -> dict[str, Any]:
    asked = {round(b, 9): i for i, b in enumerate(run.budgets)}
    points = [asked[round(b, 9)] for b in settings.budgets if round(b, 9) in asked] or [0]
    quality, quality_d = boot.quality_of(run)
    cost, _ = boot.cost_of(run)
    best = int(np.argmax(quality)) if run.policy == "oracle" else points[0]
    out = {
        "quality": float(quality[best]),
        "cost_per_1k": 1000 * float(cost[best]),
        "quality_ci": boot.interval(float(quality[best]), quality_d[:, best]).as_dict()["ci"],
        "seeds": list(run.seeds),
        "points": [point_summary(boot, run, p, qualities) for p in points],
    }
    if run.points > 1:
        out |= curve_summary(boot, run, ends)
    if own is not None:
        out["own_rule"] = point_summary(boot, own, 0, qualities)
    return out


def _expert(
    boot: Bootstrap, run: Replay, table: pa.Table, classes: tuple[str, ...], qualities: Mapping[str, Quality]
) -> dict[str, Any]:
    label = class_indices(table["label"], classes)
    confidence = proba_matrix(table["proba"], len(classes)).max(axis=1)
    right = label == boot.gold
    point = point_summary(boot, run, 0, qualities)
    return {
        "quality": point[boot.quality.name]["value"],
        **point,
        "unparsed": float((label == NO_LABEL).mean()),
        "ece": none_if_nan(reliability(confidence, right).ece),
        "ece_mass": none_if_nan(reliability(confidence, right, mass=True).ece),
        "brier": none_if_nan(brier(confidence, right)),
    }


def _reliability(
    policy: str,
    test: Runs,
    valid: Runs,
    quality: Quality,
    settings: Evaluate,
    answers: Mapping[str, pa.Table],
    classes: tuple[str, ...],
) -> dict[str, Any]:
    chosen = only(test.sweeps[policy], picked(policy, valid, quality, settings))
    stated = {policy: (chosen.confidence[0].ravel(), (chosen.label[0] == test.gold).ravel())}
    for name, table in answers.items():
        right = class_indices(table["label"], classes) == test.gold
        stated[name] = (proba_matrix(table["proba"], len(classes)).max(axis=1), right)
    out = {}
    for name, (confidence, right) in stated.items():
        if np.isfinite(confidence).any():
            bins = reliability(np.asarray(confidence, float), right)
            out[name] = {
                "confidence": bins.confidence.tolist(),
                "accuracy": bins.accuracy.tolist(),
                "count": bins.count.tolist(),
                "ece": bins.ece,
            }
    return out


def _groups(
    policy: str, test: Runs, valid: Runs, quality: Quality, settings: Evaluate, small: str
) -> list[dict[str, Any]]:
    """Accuracy of small, LLM and policy, and the deferral rate, in each group of the data."""
    chosen = only(test.sweeps[policy], picked(policy, valid, quality, settings))
    runs = {
        small: test.sweeps[f"always_{small}"],
        settings.reference: test.sweeps[f"always_{settings.reference}"],
        policy: chosen,
    }
    group = np.array([g or "" for g in test.group], dtype=object)
    rows = []
    for value in sorted(set(group) - {""}):
        inside = group == value
        row: dict[str, Any] = {"group": value, "items": int(inside.sum())}
        row["accuracy"] = {n: float((r.label[0] == test.gold)[:, inside].mean()) for n, r in runs.items()}
        row["deferral_rate"] = float(chosen.deferred[0][:, inside].mean())
        rows.append(row)
    return rows


def curve_table(boot_confidence: float, runs: Runs, quality: Quality, draws: int) -> dict[str, NDArray[Any]]:
    """Columns of the `curve` table: each policy, budget and seed, with the interval over items."""
    boot = Bootstrap(runs.gold, quality, draws, boot_confidence, 0)
    columns: dict[str, list[Any]] = {k: [] for k in CURVE_COLUMNS}
    for name, run in runs.sweeps.items():
        labels = run.flat_labels()
        value = quality(runs.gold, labels)[0].reshape(run.points, -1)
        drawn = quality(runs.gold, labels, boot.weights).reshape(draws, run.points, -1)
        tail = (1 - boot_confidence) / 2
        low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
        for s, seed in enumerate(run.seeds):
            columns["policy"] += [name] * run.points
            columns["budget"] += np.nan_to_num(run.budgets).tolist()
            columns["seed"] += [seed] * run.points
            columns["cost"] += run.cost[:, s].mean(axis=1).tolist()
            columns["quality"] += value[:, s].tolist()
            columns["deferral_rate"] += run.deferred[:, s].mean(axis=1).tolist()
            columns["ci_low"] += low[:, s].tolist()
            columns["ci_high"] += high[:, s].tolist()
    return {k: np.asarray(v) for k, v in columns.items()}


CURVE_COLUMNS = ("policy", "budget", "seed", "cost", "quality", "deferral_rate", "ci_low", "ci_high")
