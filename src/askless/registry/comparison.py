"""Two bundles on the same test items at the same prices: what the one has over the other, with paired intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from askless.arrays import Bools, Floats, Ints
from askless.costs import CostModel
from askless.evaluation.metrics import Quality, weighted_sums
from askless.evaluation.replay import Replay
from askless.evaluation.results import Bootstrap
from askless.monitoring import shadow_log as shadow
from askless.panel import class_indices
from askless.registry.held_out import HeldOut, Side, decide_both

Figure = dict[str, Any]
ROLES = ("champion", "challenger")


@dataclass(frozen=True)
class Comparison:
    """Champion and challenger on the same items; figures are `{"value", "ci": [low, high]}`, costs of 1,000 items.

    Parameters
    ----------
    task, kind, quality, positive, unit
        The task, its kind, the quality measure, the class F1 is about, the unit of costs.
    items, confidence, bootstrap
        How many test items, and the confidence and resamples of the paired intervals.
    reference
        The expert by whose cost savings are counted: `name` and `cost_per_1k`.
    sides
        Of champion and challenger each: `name`, `kind`, `experts`, `budget`, `quality`, `cost_per_1k`, `saving` (of the
        cost of asking the reference alone) and `deferral_rate`.
    quality_difference, cost_difference, cost_change
        Challenger less champion; `cost_change` is a share of the champion's cost, None where that is free.
    unchanged
        The share of items with answers as good at the same cost.
    classes, groups
        A row for each: `name`, `items`, `quality` and `cost_per_1k` by role, `quality_difference`, `cost_difference`;
        `p_worse`, the p-value of the challenger being no worse there (exact sign test, times the rows of both).
    live
        `shadow_log.Live` as a dict, None where live requests were not looked at.
    """

    task: str
    kind: str
    quality: str
    positive: str
    unit: str
    items: int
    confidence: float
    bootstrap: int
    reference: Figure
    sides: dict[str, Figure]
    quality_difference: Figure
    cost_difference: Figure
    cost_change: Figure
    unchanged: float
    classes: list[Figure]
    groups: list[Figure]
    live: Figure | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; `Comparison(**them)` is the comparison again."""
        return asdict(self)


def compare(champion: Side, challenger: Side, held_out: HeldOut) -> Comparison:
    """Let both decide the test items and hold them against each other, by the same resamples of items.

    Of small experts that only a seed tells apart, an answer takes the same time, and deciding takes none: a stopwatch
    makes no difference between two that are the same. Raises `DataError` as `held_out.decide_both`.
    """
    sides = dict(zip(ROLES, (champion, challenger), strict=True))
    found = _PairedRuns(held_out, dict(zip(ROLES, decide_both((champion, challenger), held_out), strict=True)))
    figures = {
        role: {
            "name": side.name,
            "kind": side.bundle.kind,
            "experts": list(side.bundle.experts),
            "budget": side.budget,
            **found.side(role),
        }
        for role, side in sides.items()
    }
    return found.comparison(figures)


def on_live(found: Comparison, held_out: HeldOut, folder: Path, versions: tuple[str, str]) -> Comparison:
    """The comparison with what the log of decisions in `folder`, and the shadow's beside it, have of both versions.

    Expensive answers are priced at what those on record cost today, in the mean. Raises `DataError` as `shadow.live`.
    """
    costs = CostModel.of(held_out.settings.costs)
    expensive = sorted({name for side in found.sides.values() for name in side["experts"][1:]})
    recorded = {name: held_out.answers(name).answer(held_out.items) for name in expensive}
    prices = {name: float(costs.price(rows, name).mean()) for name, rows in recorded.items()}
    seen = shadow.live(folder, versions, prices, confidence=found.confidence, draws=found.bootstrap)
    return replace(found, live=seen.as_dict())


class _PairedRuns:
    """The runs of both sides, a single point each, and what is read off them."""

    def __init__(self, held_out: HeldOut, runs: Mapping[str, Replay]) -> None:
        self.held_out, self.task = held_out, held_out.settings.task(held_out.task)
        self.evaluate = held_out.settings.evaluate[held_out.task]
        gold: Ints = class_indices(held_out.items["label"], self.task.classes)
        positive = self.task.classes.index(self.task.positive) if self.task.positive else 0
        quality = Quality(self.task.quality, len(self.task.classes), positive)
        self.boot = Bootstrap(gold, quality, self.evaluate.bootstrap, held_out.settings.promote.confidence, 0)
        self.rate = {role: float(run.deferred.mean()) for role, run in runs.items()}
        self.quality = {role: _single(self.boot.quality_of(run)) for role, run in runs.items()}
        # Quality of champion's and challenger's answers, then what 1,000 of them cost, (items, 4).
        scores = [np.asarray(run.right(gold)[0, 0], float) for run in runs.values()]
        self.columns = np.stack([*scores, *(1000 * run.cost[0, 0] for run in runs.values())], axis=1)
        prices = CostModel.of(held_out.settings.costs)
        reference = self.evaluate.reference
        alone = 1000 * prices.price(held_out.answers(reference).answer(held_out.items), reference)
        means = self._means(np.column_stack([self.columns[:, 2:], alone]))
        self.cost = dict(zip((*ROLES, "reference"), means, strict=True))

    def side(self, role: str) -> Figure:
        """The figures of one side alone."""
        kept = _ratio(self.cost[role], self.cost["reference"])
        return {
            "quality": self._figure(self.quality[role]),
            "cost_per_1k": self._figure(self.cost[role]),
            "saving": self._figure(1 - kept),
            "deferral_rate": self.rate[role],
        }

    def comparison(self, sides: dict[str, Figure]) -> Comparison:
        """Everything, with the figures of both sides."""
        costlier = self.cost["challenger"] - self.cost["champion"]
        labels, groups = (self.held_out.items[name].to_pylist() for name in ("label", "group"))
        names = self.task.classes, sorted({group for group in groups if group})
        rows = sum(map(len, names))
        same = (self.columns[:, 0] == self.columns[:, 1]) & (self.columns[:, 2] == self.columns[:, 3])
        return Comparison(
            task=self.held_out.task,
            kind=self.task.kind,
            quality=self.task.quality,
            positive=self.task.positive,
            unit=self.held_out.settings.costs.unit,
            items=len(same),
            confidence=self.boot.confidence,
            bootstrap=self.evaluate.bootstrap,
            reference={"name": self.evaluate.reference, "cost_per_1k": float(self.cost["reference"][0])},
            sides=sides,
            quality_difference=self._figure(self.quality["challenger"] - self.quality["champion"]),
            cost_difference=self._figure(costlier),
            cost_change=self._figure(_ratio(costlier, self.cost["champion"])),
            unchanged=float(same.mean()),
            classes=self._parts(labels, names[0], rows),
            groups=self._parts(groups, names[1], rows),
        )

    def _parts(self, of_items: Sequence[str | None], names: Sequence[str], rows: int) -> list[Figure]:
        of = np.array([name or "" for name in of_items], dtype=object)
        return [self._part(name, of == name, rows) for name in names]

    def _part(self, name: str, inside: Bools, rows: int) -> Figure:
        """One class or group; quality there is the share of right answers, or the mean quality score."""
        means = self._means(self.columns[inside], inside)
        gained = self.columns[inside, 1] - self.columns[inside, 0]
        worse, unlike = int((gained < 0).sum()), int((gained != 0).sum())
        return {
            "name": name,
            "items": int(inside.sum()),
            "quality": {role: self._figure(means[i])["value"] for i, role in enumerate(ROLES)},
            "cost_per_1k": {role: self._figure(means[2 + i])["value"] for i, role in enumerate(ROLES)},
            "quality_difference": self._figure(means[1] - means[0]),
            "p_worse": min(1.0, rows * float(binom.sf(worse - 1, unlike, 0.5))),
            "cost_difference": self._figure(means[3] - means[2]),
        }

    def _means(self, columns: NDArray[Any], inside: Bools | slice = slice(None)) -> list[Floats]:
        """Of each column (items, n) its mean and, after it, that of every resample, (1 + draws,)."""
        weights = self.boot.weights[:, inside]
        drawn = _ratio(weighted_sums(weights, columns), weights.sum(axis=1, dtype=np.int64)[:, None])
        mean = _ratio(columns.sum(axis=0, keepdims=True), len(columns))
        return list(np.concatenate([mean, drawn]).T)

    def _figure(self, measured: Floats) -> Figure:
        """The first is the value, the others are its draws."""
        return self.boot.interval(float(measured[0]), measured[1:]).as_dict()


def _single(measured: tuple[Floats, Floats]) -> Floats:
    """A single point's value and, after it, its draws."""
    value, draws = measured
    return np.concatenate([value[:1], draws[:, 0]])


def _ratio(part: Floats, whole: Floats | float) -> Floats:
    """`part / whole`, NaN where the whole is nothing."""
    whole = np.broadcast_to(np.asarray(whole, float), part.shape)
    return np.asarray(np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0))
