"""The whole evaluation: points chosen on valid, reported on test, as plain values for JSON and the report."""

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
from deferral.errors import ConfigError, DataError
from deferral.metrics import QUALITIES, Quality
from deferral.panel import NO_LABEL, Floats, Ints, class_indices, proba_matrix
from deferral.readings import (
    Bootstrap,
    Ends,
    against_reference,
    curve_summary,
    misrouted,
    none_if_nan,
    point_summary,
)
from deferral.replay import Replay, best_on_valid, chosen_on_valid, only

CURVE_COLUMNS = ("policy", "budget", "seed", "cost", "quality", "deferral_rate", "ci_low", "ci_high")


@dataclass(frozen=True)
class Runs:
    """Everything replayed on one split: a policy's sweep over budgets, and its own rule without a budget."""

    gold: Ints
    group: list[str | None]
    sweeps: Mapping[str, Replay]
    own_rule: Mapping[str, Replay]

    def __post_init__(self) -> None:
        unlabelled = int((self.gold == NO_LABEL).sum())
        if unlabelled or not len(self.gold):
            raise DataError(
                "evaluation",
                f"{unlabelled} of {len(self.gold)} rows have no label",
                "one row or more, all labelled",
                "Label the split or leave these rows out.",
            )


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

    `test.sweeps` holds `always_<expert>` for every expert, every policy of params.yaml and `oracle`;
    operating points are chosen on `valid` and reported on `test`. `answers` are the experts' predictions
    on test. Raises `ConfigError` if the headline's policy was not replayed.
    """
    if settings.headline not in valid.sweeps:
        raise ConfigError.unknown("policy", settings.headline, valid.sweeps)
    qualities = {q: Quality(q, len(task.classes), task.classes.index(task.positive)) for q in QUALITIES}
    boot = Bootstrap(test.gold, qualities[settings.quality], settings.bootstrap, settings.confidence, 0)
    weak, strong = test.sweeps[f"always_{small}"], test.sweeps[f"always_{settings.reference}"]
    picks = {p: picked(p, valid, boot.quality, settings.reference) for p in valid.sweeps}
    chosen = {p: only(test.sweeps[p], rows) for p, rows in picks.items()}
    best = chosen[settings.headline]
    ends = Ends.of(boot, weak, strong)
    policies = {
        p: _policy(boot, run, test.own_rule.get(p), ends, qualities, settings.budgets) for p, run in test.sweeps.items()
    }
    for p, run in chosen.items():
        policies[p]["operating_point"] = {
            **operating_point(boot, run, strong, settings.margin),
            "budgets": [none_if_nan(float(test.sweeps[p].budgets[i])) for i in picks[p][0]],
        }
        peak = only(test.sweeps[p], best_on_valid(valid.sweeps[p], valid.gold, boot.quality))
        policies[p]["peak"] = operating_point(boot, peak, strong, settings.margin)
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
        "headline": headline(settings, policies[settings.headline]),
        "misrouted": misrouted(best, weak, strong, test.gold),
        "reliability": _reliability(settings.headline, best, test.gold, answers, task.classes),
        "groups": _groups({small: weak, settings.reference: strong, settings.headline: best}, test),
    }


def picked(policy: str, valid: Runs, quality: Quality, reference: str) -> Ints:
    """For each seed the point that valid chooses: the cheapest as good as the reference (1, seeds)."""
    floor = quality(valid.gold, valid.sweeps[f"always_{reference}"].flat_labels())[0]
    run = valid.sweeps[policy]
    floors = floor if len(floor) == len(run.seeds) else np.repeat(floor.mean(), len(run.seeds))
    return chosen_on_valid(run, valid.gold, quality, floors)


def operating_point(boot: Bootstrap, chosen: Replay, reference: Replay, margin: float) -> dict[str, Any]:
    """What came on test of the point chosen on valid, and whether the reference's quality is reached."""
    out = against_reference(boot, chosen, reference)
    low = out["quality_difference"]["ci"][0]
    out["reached"] = low is not None and low >= -margin
    return out


def headline(settings: Evaluate, policy: Mapping[str, Any]) -> dict[str, Any]:
    """One sentence: the same quality as the LLM alone at so much of its cost, or that it is not reached.

    `policy` holds the two points that valid chose: `operating_point`, the cheapest as good, and `peak`, the best.
    """
    point, peak = policy["operating_point"], policy["peak"]
    share, gap = point["cost_share"], point["quality_difference"]
    cost = "a share of its cost that is undefined, for it costs nothing"
    if share["value"] is not None:
        cost = f"{_percent(share['value']):.1f} % of its cost{_range(share['ci'], '.1f')}"
    words = settings.quality.replace("_", " ").replace("f1", "F1")
    difference = f"{words} {_percent(gap['value']):+.1f} points{_range(gap['ci'], '+.1f')}"
    text = f"Same quality as {settings.reference} alone at {cost}: {difference}."
    if point["reached"] and (share["ci"][1] is None or share["ci"][1] >= 1):
        text = f"As good as {settings.reference} alone, but not cheaper: {difference} at {cost}."
    if not point["reached"]:
        text = (
            f"The quality of {settings.reference} alone is not reached "
            f"(within {100 * settings.margin:.1f} points): {difference} at {cost}."
        )
    return {
        "policy": settings.headline,
        "text": text,
        "best": _best(words, peak),
        "margin": settings.margin,
        **point,
    }


def _best(words: str, peak: Mapping[str, Any]) -> str:
    """A second sentence where the best point is better than the reference for certain; else nothing."""
    more, share = peak["quality_difference"], peak["cost_share"]["value"]
    if share is None or more["ci"][0] is None or more["ci"][0] <= 0:
        return ""
    gain = f"{_percent(more['value']):+.1f} points{_range(more['ci'], '+.1f')}"
    return f"At its best {words} {gain} at {_percent(share):.1f} % of the cost."


def curve_table(boot_confidence: float, runs: Runs, quality: Quality, draws: int) -> dict[str, NDArray[Any]]:
    """Columns of the `curve` table: each policy, budget and seed, with the interval over items."""
    boot = Bootstrap(runs.gold, quality, draws, boot_confidence, 0)
    tail = (1 - boot_confidence) / 2
    columns: dict[str, list[Any]] = {k: [] for k in CURVE_COLUMNS}
    for name, run in runs.sweeps.items():
        labels = run.flat_labels()
        value = quality(runs.gold, labels)[0].reshape(run.points, -1)
        drawn = quality(runs.gold, labels, boot.weights).reshape(draws, run.points, -1)
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


def _range(ends: list[float | None], form: str) -> str:
    low, high = ends
    return "" if low is None or high is None else f" [{_percent(low):{form}}, {_percent(high):{form}}]"


def _percent(share: float) -> float:
    """In percent to one digit, without a negative zero."""
    return round(100 * share, 1) + 0.0


def _policy(
    boot: Bootstrap,
    run: Replay,
    own: Replay | None,
    ends: Ends,
    qualities: Mapping[str, Quality],
    budgets: tuple[float, ...],
) -> dict[str, Any]:
    swept = {round(b, 9): i for i, b in enumerate(run.budgets)}
    points = [swept[round(b, 9)] for b in budgets if round(b, 9) in swept] or [0]
    quality, quality_d = boot.quality_of(run)
    cost, _ = boot.cost_of(run)
    best = int(np.argmax(quality)) if run.policy == "oracle" else points[0]
    out: dict[str, Any] = {
        "quality": float(quality[best]),
        "cost_per_1k": 1000 * float(cost[best]),
        "quality_ci": boot.interval(float(quality[best]), quality_d[:, best]).as_dict()["ci"],
        "seeds": list(run.seeds),
        "points": [point_summary(boot, run, p, qualities) for p in points],
    }
    for p, point in zip(points, out["points"], strict=True):
        small, large = (ends.small_cost, ends.small_quality), (ends.large_cost, ends.large_quality)
        point["ibc_lift"] = none_if_nan(curves.ibc_lift(cost[p], quality[p], small, large))
    if run.points > 1:
        out |= curve_summary(boot, run, ends)
    if own is not None:
        out["own_rule"] = point_summary(boot, own, 0, qualities)
    return out


def _expert(
    boot: Bootstrap, run: Replay, table: pa.Table, classes: tuple[str, ...], qualities: Mapping[str, Quality]
) -> dict[str, Any]:
    label, confidence, right = _stated(table, classes, boot.gold)
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
    policy: str, chosen: Replay, gold: Ints, answers: Mapping[str, pa.Table], classes: tuple[str, ...]
) -> dict[str, Any]:
    """The reliability diagram of the policy and of each expert that states a confidence."""
    stated = {policy: (chosen.confidence[0].ravel().astype(float), (chosen.label[0] == gold).ravel())}
    for name, table in answers.items():
        stated[name] = _stated(table, classes, gold)[1:]
    out = {}
    for name, (confidence, right) in stated.items():
        if np.isfinite(confidence).any():
            bins = reliability(confidence, right)
            out[name] = {
                "confidence": bins.confidence.tolist(),
                "accuracy": bins.accuracy.tolist(),
                "count": bins.count.tolist(),
                "ece": bins.ece,
            }
    return out


def _stated(table: pa.Table, classes: tuple[str, ...], gold: Ints) -> tuple[Ints, Floats, NDArray[np.bool_]]:
    """Of one expert's answers the labels, the stated confidence and whether they are right, each (rows,)."""
    label = class_indices(table["label"], classes)
    return label, proba_matrix(table["proba"], len(classes)).max(axis=1), label == gold


def _groups(runs: Mapping[str, Replay], test: Runs) -> list[dict[str, Any]]:
    """Accuracy of small, LLM and policy (the last of `runs`) and its deferral rate, in each group."""
    chosen = list(runs.values())[-1]
    group = np.array([g or "" for g in test.group], dtype=object)
    rows = []
    for value in sorted(set(group) - {""}):
        inside = group == value
        row: dict[str, Any] = {"group": value, "items": int(inside.sum())}
        row["accuracy"] = {n: float((r.label[0] == test.gold)[:, inside].mean()) for n, r in runs.items()}
        row["deferral_rate"] = float(chosen.deferred[0][:, inside].mean())
        rows.append(row)
    return rows
