"""The whole evaluation: points chosen on valid, reported on test, as plain values for JSON and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from deferral import curves, schema
from deferral.calibration import PlattCalibrator
from deferral.config import Evaluate, Task
from deferral.errors import ConfigError, DataError
from deferral.metrics import QUALITIES, Quality
from deferral.panel import NO_LABEL, Floats, Ints, class_indices, proba_matrix
from deferral.readings import (
    Bootstrap,
    Ends,
    against_reference,
    by_group,
    curve_summary,
    misrouted,
    none_if_nan,
    point_summary,
)
from deferral.reliability import brier, reliability
from deferral.replay import Replay, best_on_valid, chosen_on_valid, only

CURVE_DRAWS = 200
CURVE_COLUMNS = ("policy", "budget", "seed", "cost", "quality", "deferral_rate", "ci_low", "ci_high")


class Labels(Protocol):
    """The classes of a task and which of them F1 is about."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Every class, in a fixed order."""

    @property
    def positive(self) -> str:
        """One of them."""


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


@dataclass(frozen=True)
class Stated:
    """One expert's answers: labels, the stated probability of each, and whether they are right, all (rows,)."""

    label: Ints
    p: Floats
    right: NDArray[np.bool_]

    @classmethod
    def of(cls, table: pa.Table, classes: tuple[str, ...], gold: Ints) -> Stated:
        """From predictions in the order of `gold`; NaN where no probability is stated."""
        label = class_indices(table["label"], classes)
        logprob = table["logprob"].cast(pa.float64()).to_numpy()
        top = proba_matrix(table["proba"], len(classes)).max(axis=1)
        return cls(label, np.where(np.isnan(top), np.exp(logprob), top), label == gold)


class Evaluation:
    """One evaluation, fed one policy at a time: of each sweep only what is read off it and its chosen point are kept.

    `alone` and `alone_valid` are the replays of always asking each expert, under `always_<expert>`; `valid_gold`
    belongs to the rows on which operating points are chosen. All figures are of the test rows `gold`, in `group`s.
    """

    def __init__(
        self,
        task: Labels,
        settings: Evaluate,
        unit: str,
        small: str,
        test: Runs,
        valid: Runs,
    ) -> None:
        self.task, self.settings, self.unit, self.small = task, settings, unit, small
        self.gold, self.group, self.valid_gold = test.gold, test.group, valid.gold
        self.qualities = {q: Quality(q, len(task.classes), task.classes.index(task.positive)) for q in QUALITIES}
        quality = self.qualities[settings.quality]
        self.boot = Bootstrap(self.gold, quality, settings.bootstrap, settings.confidence, 0)
        self.alone = {name: run for name, run in test.sweeps.items() if name.startswith("always_")}
        reference = f"always_{settings.reference}"
        self.weak, self.strong = self.alone[f"always_{small}"], self.alone[reference]
        self.floor = quality(valid.gold, valid.sweeps[reference].flat_labels())[0]
        self.ends = Ends.of(self.boot, self.weak, self.strong)
        self.policies: dict[str, dict[str, Any]] = {}
        self.chosen: dict[str, Replay] = {}
        self.columns: dict[str, list[Any]] = {k: [] for k in CURVE_COLUMNS}
        for name, run in self.alone.items():
            self.add(run, valid.sweeps[name])

    def add(self, run: Replay, valid: Replay | None = None, own: Replay | None = None) -> None:
        """Take in a policy's sweep on test, the same sweep on valid, and what it decides without a budget.

        Without `valid` no operating point is chosen.
        """
        found = _policy(self.boot, run, own, self.ends, self.qualities, self.settings.budgets, self.unit)
        self._append(run)
        if valid is not None:
            quality, settings = self.boot.quality, self.settings
            floors = self.floor if len(self.floor) == len(valid.seeds) else np.full(len(valid.seeds), self.floor.mean())
            picks = chosen_on_valid(valid, self.valid_gold, quality, floors)
            self.chosen[run.policy] = only(run, picks)
            found["operating_point"] = {
                **operating_point(self.boot, self.chosen[run.policy], self.strong, settings.margin),
                "budgets": [none_if_nan(float(run.budgets[i])) for i in picks[0]],
            }
            peak = only(run, best_on_valid(valid, self.valid_gold, quality))
            found["peak"] = operating_point(self.boot, peak, self.strong, settings.margin)
            if not settings.budgets:
                found |= self._at(found["operating_point"])
        self.policies[run.policy] = found

    def summary(
        self, name: str, main: str, answers: Mapping[str, pa.Table], held: Mapping[str, pa.Table] = {}
    ) -> dict[str, Any]:
        """The whole as plain values, for JSON and the report; `main` names the policy of the headline.

        `answers` are the experts' predictions on test, `held` those on valid, by which stated confidence is calibrated.
        Raises `ConfigError` if `main` was not taken in.
        """
        if main not in self.chosen:
            raise ConfigError.unknown("policy", main, self.chosen)
        task, settings, best = self.task, self.settings, self.chosen[main]
        stated = {expert: Stated.of(table, task.classes, self.gold) for expert, table in answers.items()}
        known = {expert: Stated.of(table, task.classes, self.valid_gold) for expert, table in held.items()}
        experts = {
            expert: _expert(self.boot, self.alone[f"always_{expert}"], said, self.qualities, self.unit)
            for expert, said in stated.items()
        }
        shown = {self.small: self.weak, settings.reference: self.strong, main: best}
        return {
            "task": name,
            "items": len(self.gold),
            "classes": list(task.classes),
            "positive": task.positive,
            "class_shares": {c: float((self.gold == i).mean()) for i, c in enumerate(task.classes)},
            "quality": settings.quality,
            "unit": self.unit,
            "small": self.small,
            "reference": settings.reference,
            "confidence": settings.confidence,
            "bootstrap": settings.bootstrap,
            "seeds": sorted({s for p in self.policies.values() for s in p["seeds"]}),
            "experts": experts,
            "policies": self.policies,
            "headline": headline(settings, main, self.policies[main]),
            "misrouted": misrouted(best, self.weak, self.strong, self.gold),
            "reliability": _reliability(main, best, self.gold, stated, known),
            "groups": by_group(shown, self.gold, self.group) if len(shown) == 3 else [],
        }

    def _at(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """A policy's own figures where no budgets were asked for: those of its operating point."""
        cost, quality = point["cost_per_1k"]["value"], point["quality"]
        usd = cost if self.unit == "usd" else None
        return {
            "quality": quality["value"],
            "quality_ci": quality["ci"],
            "cost_per_1k": cost,
            "cost_usd_per_1k": usd,
        }

    def curve(self) -> pa.Table:
        """The `curve` table: each policy, budget and seed, with the interval over items."""
        return schema.table("curve", {k: np.asarray(v) for k, v in self.columns.items()})

    def _append(self, run: Replay) -> None:
        labels, quality, weights = run.flat_labels(), self.boot.quality, self.boot.weights[:CURVE_DRAWS]
        tail = (1 - self.settings.confidence) / 2
        value = quality(self.gold, labels)[0].reshape(run.points, -1)
        drawn = quality(self.gold, labels, weights).reshape(len(weights), run.points, -1)
        low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
        for s, seed in enumerate(run.seeds):
            of_run: list[Any] = [[run.policy] * run.points, np.nan_to_num(run.budgets), [seed] * run.points]
            measured = [
                run.cost[:, s].mean(axis=1),
                value[:, s],
                run.deferred[:, s].mean(axis=1),
                low[:, s],
                high[:, s],
            ]
            for column, values in zip(CURVE_COLUMNS, of_run + measured, strict=True):
                self.columns[column] += list(values)


def summarise(
    name: str,
    task: Task,
    settings: Evaluate,
    unit: str,
    test: Runs,
    valid: Runs,
    answers: Mapping[str, pa.Table],
    small: str,
    held: Mapping[str, pa.Table] = {},
) -> tuple[dict[str, Any], pa.Table]:
    """An evaluation of everything replayed: its summary, for JSON and the report, and its `curve` table.

    `test.sweeps` holds `always_<expert>` for every expert, every policy of params.yaml and `oracle`;
    operating points are chosen on `valid` and reported on `test`. `answers` are the experts' predictions
    on test, `held` those on valid. Raises `ConfigError` if the headline's policy was not replayed.
    """
    evaluation = Evaluation(task, settings, unit, small, test, valid)
    for policy, run in test.sweeps.items():
        if policy not in evaluation.policies:
            evaluation.add(run, valid.sweeps.get(policy), test.own_rule.get(policy))
    return evaluation.summary(name, settings.headline, answers, held), evaluation.curve()


def operating_point(boot: Bootstrap, chosen: Replay, reference: Replay, margin: float) -> dict[str, Any]:
    """What came on test of the point chosen on valid, and whether the reference's quality is reached."""
    out = against_reference(boot, chosen, reference)
    low = out["quality_difference"]["ci"][0]
    out["reached"] = low is not None and low >= -margin
    return out


def headline(settings: Evaluate, name: str, policy: Mapping[str, Any]) -> dict[str, Any]:
    """One sentence: the same quality as the LLM alone at so much of its cost, or that it is not reached.

    `policy`, called `name`, holds the two points that valid chose: `operating_point`, the cheapest as good, and
    `peak`, the best.
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
        "policy": name,
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
    unit: str,
) -> dict[str, Any]:
    swept = {round(b, 9): i for i, b in enumerate(run.budgets)}
    points = [swept[round(b, 9)] for b in budgets if round(b, 9) in swept] or [0]
    quality, quality_d = boot.quality_of(run)
    cost, _ = boot.cost_of(run)
    best = int(np.argmax(quality)) if run.policy == "oracle" else points[0]
    out: dict[str, Any] = {
        "quality": float(quality[best]),
        "cost_per_1k": 1000 * float(cost[best]),
        "cost_usd_per_1k": 1000 * float(cost[best]) if unit == "usd" else None,
        "quality_ci": boot.interval(float(quality[best]), quality_d[:, best]).as_dict()["ci"],
        "seeds": list(run.seeds),
        "swept": run.points > 1,
        "points": [point_summary(boot, run, p, qualities) for p in points],
    }
    for p, point in zip(points, out["points"], strict=True):
        small, large = (ends.small_cost, ends.small_quality), (ends.large_cost, ends.large_quality)
        point["ibc_lift"] = none_if_nan(curves.ibc_lift(cost[p], quality[p], small, large))
    out |= curve_summary(boot, run, ends)
    if own is not None:
        out["own_rule"] = point_summary(boot, own, 0, qualities)
    return out


def _expert(
    boot: Bootstrap, run: Replay, stated: Stated, qualities: Mapping[str, Quality], unit: str
) -> dict[str, Any]:
    point = point_summary(boot, run, 0, qualities)
    return {
        "quality": point[boot.quality.name]["value"],
        **point,
        "cost_usd_per_1k": point["cost_per_1k"]["value"] if unit == "usd" else None,
        "unparsed": float((stated.label == NO_LABEL).mean()),
        "ece": none_if_nan(reliability(stated.p, stated.right).ece),
        "ece_mass": none_if_nan(reliability(stated.p, stated.right, mass=True).ece),
        "brier": none_if_nan(brier(stated.p, stated.right)),
    }


def _reliability(
    policy: str, chosen: Replay, gold: Ints, stated: Mapping[str, Stated], held: Mapping[str, Stated]
) -> dict[str, Any]:
    """The reliability diagram of the policy and of each expert that states a confidence.

    An expert's has beside it, under `after`, that of its confidence calibrated on the rows `held`.
    """
    out = {}
    confidence = chosen.confidence[0].ravel().astype(float)
    if np.isfinite(confidence).any():
        out[policy] = _bins(confidence, (chosen.label[0] == gold).ravel())
    for name, one in stated.items():
        if np.isfinite(one.p).any():
            out[name] = _bins(one.p, one.right)
            if name in held:
                after = PlattCalibrator().fit(held[name].p, held[name].right).predict(one.p)
                out[name]["after"] = _bins(np.where(np.isnan(one.p), np.nan, after), one.right)
    return out


def _bins(confidence: Floats, right: NDArray[np.bool_]) -> dict[str, Any]:
    bins = reliability(confidence, right)
    return {
        "confidence": bins.confidence.tolist(),
        "accuracy": bins.accuracy.tolist(),
        "count": bins.count.tolist(),
        "ece": bins.ece,
    }
