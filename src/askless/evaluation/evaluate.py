"""The whole evaluation: points chosen on valid, reported on test, as plain values for JSON and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from askless import schema
from askless.arrays import Ints
from askless.config import Evaluate
from askless.errors import ConfigError, DataError
from askless.evaluation import curves
from askless.evaluation.expert_results import StatedAnswers, diagrams, labelled_expert, summarising_expert
from askless.evaluation.headline import headline, operating_point
from askless.evaluation.metrics import QUALITIES, Quality
from askless.evaluation.replay import (
    Replay,
    best_on_valid,
    chosen_on_valid,
    only,
    oracle_by_cost,
    prices_of_quality,
)
from askless.evaluation.results import (
    Bootstrap,
    Measured,
    by_group,
    curve_summary,
    misrouted,
    none_if_nan,
    point_summary,
)
from askless.panel import NO_LABEL

CURVE_DRAWS = 200
# Points of the bound over costs, close enough that no policy lies between two of them.
BOUND_POINTS = 101
ORACLE = "oracle"
CURVE_COLUMNS = ("policy", "budget", "seed", "cost", "quality", "deferral_rate", "ci_low", "ci_high")


class Judged(Protocol):
    """What is asked of the experts of a task, and by which quality their answers are judged."""

    @property
    def kind(self) -> str:
        """`classification`, `summarisation`, or `judged` where answers were judged already."""

    @property
    def quality(self) -> str:
        """The quality that is reported and by which points are chosen."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Every class, in a fixed order; none where answers have a quality."""

    @property
    def positive(self) -> str:
        """The class that F1 is about."""


@dataclass(frozen=True)
class Runs:
    """Everything replayed on one split.

    Parameters
    ----------
    gold
        Class index of each item, (items,); void where answers have quality scores.
    group
        Each item's group, None for none.
    sweeps, own_rule
        By policy, its replay over budgets, and its replay by its own rule without a budget.
    """

    gold: Ints
    group: list[str | None]
    sweeps: Mapping[str, Replay]
    own_rule: Mapping[str, Replay]

    def __post_init__(self) -> None:
        graded = any(run.graded for run in self.sweeps.values())
        unlabelled = 0 if graded else int((self.gold == NO_LABEL).sum())
        if unlabelled or not len(self.gold):
            raise DataError(
                "evaluation",
                f"{unlabelled} of {len(self.gold)} rows have no label",
                "one row or more, all labelled",
                "Label the split or leave these rows out.",
            )


class Evaluation:
    """One evaluation, fed one policy at a time: of each sweep only what is read off it and its chosen point are kept.

    Parameters
    ----------
    task
        What is asked of the experts, and the quality that is reported.
    settings
        The section `evaluate` of params.yaml.
    unit
        The cost model's unit: `usd`, `seconds` or `tokens`.
    small
        Name of the small expert.
    test, valid
        The rows that all figures are of, and those on which operating points are chosen; both hold `always_<expert>`.
    networks
        By policy, always asking the network of its own with which it answers, on test.
    """

    def __init__(
        self,
        task: Judged,
        settings: Evaluate,
        unit: str,
        small: str,
        test: Runs,
        valid: Runs,
        networks: Mapping[str, Replay] = {},
    ) -> None:
        self.networks = networks
        self.task, self.settings, self.unit, self.small = task, settings, unit, small
        self.gold, self.group, self.valid_gold = test.gold, test.group, valid.gold
        self.graded = any(run.graded for run in test.sweeps.values())
        if not task.classes:
            self.qualities = {task.quality: Quality(task.quality)}
        else:
            self.qualities = {q: Quality(q, len(task.classes), task.classes.index(task.positive)) for q in QUALITIES}
        quality = self.qualities[task.quality]
        self.boot = Bootstrap(self.gold, quality, settings.bootstrap, settings.confidence, 0)
        self.alone = {name: run for name, run in test.sweeps.items() if name.startswith("always_")}
        reference = f"always_{settings.reference}"
        self.weak, self.strong = self.alone[f"always_{small}"], self.alone[reference]
        self.floor = quality(valid.gold, valid.sweeps[reference].flat_answers())[0]
        self.weak_measured, self.strong_measured = self.boot.measure(self.weak), self.boot.measure(self.strong)
        self.policies: dict[str, dict[str, Any]] = {}
        self.chosen: dict[str, Replay] = {}
        self.areas: dict[str, float] = {}
        self.columns: dict[str, list[Any]] = {k: [] for k in CURVE_COLUMNS}
        for name, run in self.alone.items():
            self.add(run, valid.sweeps[name])

    def add(self, run: Replay, valid: Replay | None = None, own: Replay | None = None) -> None:
        """Take in a policy's sweep on test, the same sweep on valid, and what it decides without a budget.

        Without `valid` no operating point is chosen.
        """
        measured = self.boot.measure(run)
        found = self._figures(run, measured)
        if own is not None:
            found["own_rule"] = point_summary(self.boot, own, 0, self.qualities)
        self._append(run, measured)
        if valid is not None:
            quality, settings = self.boot.quality, self.settings
            if valid.points > 1:
                self.areas[run.policy] = self._area(valid)
            floors = self.floor if len(self.floor) == len(valid.seeds) else np.full(len(valid.seeds), self.floor.mean())
            picks = chosen_on_valid(valid, self.valid_gold, quality, floors)
            self.chosen[run.policy] = only(run, picks)
            found["operating_point"] = {
                **self._beside(self.chosen[run.policy]),
                "budgets": [none_if_nan(float(run.budgets[i])) for i in picks[0]],
            }
            peak = only(run, best_on_valid(valid, self.valid_gold, quality))
            found["peak"] = self._beside(peak)
            if not settings.budgets:
                found |= self._at(found["operating_point"])
        self.policies[run.policy] = found

    def add_oracle(self, by_share: Sequence[Replay] = ()) -> None:
        """Take in the bound: over costs that of all experts, at the budgets asked for the best of those `by_share`."""
        others = (*self.alone.values(), *self.networks.values())
        alone = [self.weak, *(run for run in others if run is not self.weak)]
        prices = prices_of_quality(alone, self.gold, max(self.settings.sweep, BOUND_POINTS))
        self.add(oracle_by_cost(ORACLE, alone, self.gold, prices))
        if by_share:
            bounds = zip(*(self._points(run, self.boot.measure(run)) for run in by_share), strict=True)
            self.policies[ORACLE]["points"] = [
                max(at, key=lambda point: float(point[self.task.quality]["value"])) for at in bounds
            ]

    def best(self, among: Sequence[str]) -> str | None:
        """The policy of the largest area under its curve on the rows that choose, None where none of them has one."""
        known = [name for name in among if name in self.areas and np.isfinite(self.areas[name])]
        return max(known, key=lambda name: self.areas[name], default=None)

    def _area(self, valid: Replay) -> float:
        """Mean quality over the range of the experts' costs; where these are equal, over shares of items deferred."""
        costs = [float(run.cost.mean()) for run in self.alone.values()]
        low, high = float(self.weak_measured.cost[0]), max(costs)
        quality = self.boot.quality(self.valid_gold, valid.flat_answers()).reshape(valid.points, -1).mean(axis=1)
        spent, ends = (valid.cost, (low, high)) if high > low else (valid.deferred, (0.0, 1.0))
        return curves.area(spent.mean(axis=(1, 2)), quality, *ends)

    def summary(
        self,
        name: str,
        main: str,
        answers: Mapping[str, pa.Table],
        held: Mapping[str, pa.Table] = {},
        references: Sequence[str] = (),
    ) -> dict[str, Any]:
        """The whole as plain values, for JSON and the report; `main` names the policy of the headline.

        `answers` are the experts' predictions on test, `held` those on valid, by which stated confidence is calibrated,
        `references` the summaries to be had on test. What a policy with a network of its own does not defer is held
        against that one. Raises `ConfigError` if `main` was not taken in.
        """
        if main not in self.chosen:
            raise ConfigError.unknown("policy", main, self.chosen)
        task, settings, best = self.task, self.settings, self.chosen[main]
        run = self.networks.get(main, self.weak)
        first = run.experts[0] if main in self.networks else self.small
        shown = {first: run, settings.reference: self.strong, main: best}
        alone = {**self.alone, f"always_{first}": run}
        return {
            "task": name,
            "kind": task.kind,
            "items": len(self.gold),
            "classes": list(task.classes),
            "positive": task.positive,
            "class_shares": {c: float((self.gold == i).mean()) for i, c in enumerate(task.classes)},
            "quality": task.quality,
            "unit": self.unit,
            "small": self.small,
            "first": first,
            "reference": settings.reference,
            "confidence": settings.confidence,
            "bootstrap": settings.bootstrap,
            "items_per_month": settings.items_per_month,
            "seeds": sorted({s for p in self.policies.values() for s in p["seeds"]}),
            **self._experts(main, answers, held, references, alone),
            "policies": self.policies,
            "headline": headline(settings, task.quality, main, self.policies[main]),
            "misrouted": misrouted(best, run, self.strong, self.gold),
            "groups": by_group(shown, self.gold, self.group) if len(shown) == 3 else [],
        }

    def _experts(
        self,
        main: str,
        answers: Mapping[str, pa.Table],
        held: Mapping[str, pa.Table],
        references: Sequence[str],
        asked: Mapping[str, Replay],
    ) -> dict[str, Any]:
        """`experts`, from always asking each of them, and `reliability` where there are classes."""
        alone = {expert: (self.boot, asked[f"always_{expert}"]) for expert in answers}
        if self.task.kind == "summarisation":
            found = {
                expert: summarising_expert(*alone[expert], table, references, self.qualities, self.unit)
                for expert, table in answers.items()
            }
            return {"experts": found, "reliability": {}}
        classes = self.task.classes
        stated = {expert: StatedAnswers.of(table, classes, self.gold) for expert, table in answers.items()}
        valid = {expert: StatedAnswers.of(table, classes, self.valid_gold) for expert, table in held.items()}
        return {
            "experts": {
                e: labelled_expert(*alone[e], one, self.qualities, self.unit, classes) for e, one in stated.items()
            },
            "reliability": diagrams(main, self.chosen[main], self.gold, stated, valid),
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

    def _beside(self, chosen: Replay) -> dict[str, Any]:
        measured = self.boot.measure(chosen)
        return operating_point(self.boot, measured, self.strong_measured, self.settings.margin, self.graded)

    def _figures(self, run: Replay, measured: Measured) -> dict[str, Any]:
        """A policy at the budgets asked for, and its curve."""
        quality, cost = measured.quality, measured.cost
        best = int(np.argmax(quality)) if run.policy == ORACLE else self._asked_for(run)[0]
        weak, strong = self.weak_measured, self.strong_measured
        own = self.networks[run.policy].experts[:1] if run.policy in self.networks else ()
        pair = set(run.experts) <= {self.small, self.settings.reference, *own}
        out: dict[str, Any] = {
            "title": run.title,
            "about": run.about,
            "quality": float(quality[best]),
            "cost_per_1k": 1000 * float(cost[best]),
            "cost_usd_per_1k": 1000 * float(cost[best]) if self.unit == "usd" else None,
            "quality_ci": self.boot.interval(float(quality[best]), measured.quality_draws[:, best]).as_dict()["ci"],
            "seeds": list(run.seeds),
            "swept": run.points > 1,
            "points": self._points(run, measured),
            "pair": pair,
        }
        return out | curve_summary(self.boot, measured, weak, strong, pair)

    def _asked_for(self, run: Replay) -> list[int]:
        """Places of the budgets that figures are asked for, the first of all where there is none."""
        swept = {round(b, 9): i for i, b in enumerate(run.budgets)}
        return [swept[round(b, 9)] for b in self.settings.budgets if round(b, 9) in swept] or [0]

    def _points(self, run: Replay, measured: Measured) -> list[dict[str, Any]]:
        """A policy at the budgets asked for."""
        ends = [(float(one.cost[0]), float(one.quality[0])) for one in (self.weak_measured, self.strong_measured)]
        found = []
        for p in self._asked_for(run):
            lift = curves.ibc_lift(float(measured.cost[p]), float(measured.quality[p]), *ends)
            found.append(point_summary(self.boot, run, p, self.qualities) | {"ibc_lift": none_if_nan(lift)})
        return found

    def _append(self, run: Replay, measured: Measured) -> None:
        tail = (1 - self.settings.confidence) / 2
        low, high = np.quantile(measured.seed_quality_draws[:CURVE_DRAWS], [tail, 1 - tail], axis=0)
        for s, seed in enumerate(run.seeds):
            of_run: list[Any] = [[run.policy] * run.points, np.nan_to_num(run.budgets), [seed] * run.points]
            figures = [
                run.cost[:, s].mean(axis=1),
                measured.seed_quality[:, s],
                run.deferred[:, s].mean(axis=1),
                low[:, s],
                high[:, s],
            ]
            for column, values in zip(CURVE_COLUMNS, of_run + figures, strict=True):
                self.columns[column] += list(values)


def evaluated(
    task: Judged,
    settings: Evaluate,
    unit: str,
    small: str,
    test: Runs,
    valid: Runs,
    networks: Mapping[str, Replay] = {},
    by_share: Sequence[Replay] = (),
) -> Evaluation:
    """An evaluation that has taken in everything replayed.

    `test.sweeps` holds `always_<expert>` for every expert and every policy of params.yaml; operating points are chosen
    on `valid` and reported on `test`. `by_share` are the bounds of what a share buys, one for each model that answers
    the rest.
    """
    evaluation = Evaluation(task, settings, unit, small, test, valid, networks)
    for policy, run in test.sweeps.items():
        if policy not in evaluation.policies:
            evaluation.add(run, valid.sweeps.get(policy), test.own_rule.get(policy))
    evaluation.add_oracle(by_share)
    return evaluation
