"""Policies replayed over budgets and seeds: what each decided, asked and paid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deferral.metrics import Quality
from deferral.panel import Floats, Ints, Panel
from deferral.policies.base import Budget, Decisions, Policy


@dataclass(frozen=True)
class Replay:
    """One policy's decisions over budgets and seeds.

    `label`, `expert`, `deferred`, `cost`, `score`, `confidence` are (points, seeds, items).
    """

    policy: str
    budgets: Floats
    seeds: tuple[int, ...]
    experts: tuple[str, ...]
    label: NDArray[np.int16]
    expert: NDArray[np.int16]
    deferred: NDArray[np.bool_]
    cost: NDArray[np.float64]
    score: NDArray[np.float32]
    confidence: NDArray[np.float32]
    asked: NDArray[np.bool_]

    @property
    def points(self) -> int:
        """How many budgets were replayed."""
        return len(self.budgets)

    def flat_labels(self) -> Ints:
        """Labels as columns, (items, points * seeds)."""
        return self.label.reshape(-1, self.label.shape[2]).T.astype(np.int64)

    def flat_cost(self) -> Floats:
        """Costs as columns, (items, points * seeds)."""
        return self.cost.reshape(-1, self.cost.shape[2]).T


def replay(
    name: str, policies: Mapping[int, Policy], panels: Mapping[int, Panel], budgets: Sequence[Budget | None]
) -> Replay:
    """Decide every budget with every seed's fitted policy.

    Each seed looks once, and each budget pays for that look and its own asks.
    """
    runs = [_run(policies[seed], panels[seed], budgets) for seed in policies]
    first = runs[0][0]

    def stack(of: str, kind: Any) -> NDArray[Any]:
        return np.stack([[getattr(d, of) for d in run] for run in runs], axis=1).astype(kind)

    return Replay(
        policy=name,
        budgets=np.array([np.nan if b is None else b.value for b in budgets]),
        seeds=tuple(policies),
        experts=first.experts,
        label=stack("label", np.int16),
        expert=stack("expert", np.int16),
        deferred=np.stack([[d.asked[:, 1:].any(axis=1) for d in run] for run in runs], axis=1),
        cost=stack("cost", np.float64),
        score=stack("score", np.float32),
        confidence=stack("confidence", np.float32),
        asked=stack("asked", bool),
    )


def _run(policy: Policy, panel: Panel, budgets: Sequence[Budget | None]) -> list[Decisions]:
    base = panel.copy()
    seen = policy.look(base)
    return [policy.decide(base.copy(), budget, seen) for budget in budgets]


def oracle(name: str, small: Replay, dear: Replay, gold: Ints, budgets: Sequence[float]) -> Replay:
    """The bound that no policy between two experts passes in accuracy at any share: it knows who is right.

    Within each share it defers rows that only the dear expert gets right, the cheapest first, and no others.
    `small` and `dear` are replays of always asking the one or the other, `dear` of the same seeds or of one
    for all. A row is paid for the expert that answers.
    """
    weak, strong = small.label[0], np.broadcast_to(dear.label[0], small.label[0].shape)
    price = np.broadcast_to(dear.cost[0], weak.shape)
    useful = (strong == gold) & (weak != gold)
    place = np.argsort(np.lexsort((price, ~useful)), axis=1)
    most = np.floor(np.asarray(budgets, float) * weak.shape[1] + 1e-9)
    deferred = (place < most[:, None, None]) & useful
    blank = np.full(deferred.shape, np.nan, np.float32)
    return Replay(
        policy=name,
        budgets=np.asarray(budgets, float),
        seeds=small.seeds,
        experts=(small.experts[0], dear.experts[int(dear.expert.max())]),
        label=np.where(deferred, strong, weak),
        expert=deferred.astype(np.int16),
        deferred=deferred,
        cost=np.where(deferred, price, small.cost[0]),
        score=blank,
        confidence=blank,
        asked=np.stack([~deferred, deferred], axis=-1),
    )


def only(run: Replay, points: Ints) -> Replay:
    """The replay with only these points: indices for all seeds (points,), or one for each seed (1, seeds)."""
    points = np.asarray(points)
    if points.ndim == 1:
        picks = np.repeat(points[:, None], len(run.seeds), axis=1)
    else:
        picks = points
    columns = np.arange(len(run.seeds))[None]
    arrays = {
        name: getattr(run, name)[picks, columns]
        for name in ("label", "expert", "deferred", "cost", "score", "confidence", "asked")
    }
    return Replay(run.policy, run.budgets[picks[:, 0]], run.seeds, run.experts, **arrays)


def chosen_on_valid(valid: Replay, gold: Ints, quality: Quality, floors: Floats) -> Ints:
    """For each seed the cheapest point whose quality on valid reaches that seed's floor (1, seeds).

    Where no point reaches it, the best one. Nothing of the test split is seen here.
    """
    shape = (valid.points, len(valid.seeds))
    reached = quality(gold, valid.flat_labels()).reshape(shape)
    cost = valid.cost.mean(axis=2)
    picks = []
    for s in range(shape[1]):
        enough = np.flatnonzero(reached[:, s] >= floors[s] - 1e-12)
        best = enough[np.argmin(cost[enough, s])] if len(enough) else np.argmax(reached[:, s])
        picks.append(int(best))
    return np.array([picks])


def best_on_valid(valid: Replay, gold: Ints, quality: Quality) -> Ints:
    """For each seed the point of the best quality on valid, the first on a tie (1, seeds)."""
    return chosen_on_valid(valid, gold, quality, np.full(len(valid.seeds), np.inf))
