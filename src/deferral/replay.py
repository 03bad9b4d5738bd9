"""Policies replayed over budgets and seeds: what each decided, asked and paid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from deferral import schema
from deferral.errors import BudgetError, ConfigError
from deferral.metrics import Quality
from deferral.panel import NO_LABEL, Bools, Floats, Ints, Panel
from deferral.policies.base import Budget, Decisions, Policy

LARGEST = float(np.finfo(np.float32).max)
PACKED = {
    "label": np.int16,
    "expert": np.int8,
    "deferred": np.bool_,
    "cost": np.float64,
    "score": np.float32,
    "confidence": np.float32,
    "paid": np.uint32,
}


@dataclass(frozen=True)
class Replay:
    """One policy's decisions over budgets and seeds, packed: a million items times many budgets fit in memory.

    `label`, `expert`, `deferred`, `cost`, `score`, `confidence`, `paid` are (points, seeds, items); bit j of `paid`
    says that expert j was asked.
    """

    policy: str
    budgets: Floats
    seeds: tuple[int, ...]
    experts: tuple[str, ...]
    label: NDArray[np.int16]
    expert: NDArray[np.int8]
    deferred: NDArray[np.bool_]
    cost: NDArray[np.float64]
    score: NDArray[np.float32]
    confidence: NDArray[np.float32]
    paid: NDArray[np.uint32]

    @property
    def points(self) -> int:
        """How many budgets were replayed."""
        return len(self.budgets)

    def asked(self, point: int, seed: int) -> Bools:
        """Who was asked about each row at one point with one seed's policy, (items, experts)."""
        return np.asarray(self.paid[point, seed][:, None] >> np.arange(len(self.experts), dtype=np.uint32) & 1, bool)

    def decisions(self, point: int, seed: int, ids: Sequence[str], classes: Sequence[str]) -> pa.Table:
        """What was decided at one point with one seed's policy, as a `decisions` table; both are indices."""
        asked, names = self.asked(point, seed), pa.array(self.experts)
        offsets = np.concatenate([[0], np.cumsum(asked.sum(axis=1))])
        flat = names.take(pa.array(np.nonzero(asked)[1]))
        label = self.label[point, seed]
        return schema.table(
            "decisions",
            {
                "id": pa.array(ids, pa.string()),
                "policy": pa.repeat(self.policy, len(label)),
                "budget": np.full(len(label), np.nan_to_num(self.budgets[point])),
                "seed": np.full(len(label), self.seeds[seed], np.int32),
                "expert": names.take(pa.array(self.expert[point, seed])),
                "label": pa.array(classes).take(pa.array(label, mask=label == NO_LABEL)),
                "score": self.score[point, seed],
                "cost": self.cost[point, seed],
                "asked": pa.ListArray.from_arrays(
                    pa.array(offsets, pa.int32()), flat, type=schema.DECISIONS.field("asked").type
                ),
            },
        )

    def flat_labels(self) -> NDArray[np.int16]:
        """Labels as columns, (items, points * seeds)."""
        return self.label.reshape(-1, self.label.shape[2]).T

    def flat_cost(self) -> Floats:
        """Costs as columns, (items, points * seeds)."""
        return self.cost.reshape(-1, self.cost.shape[2]).T


def replay(
    name: str, policies: Mapping[int, Policy], panels: Mapping[int, Panel], budgets: Sequence[Budget | None]
) -> Replay:
    """Decide every budget with every seed's fitted policy.

    Each seed looks once, and each budget pays for that look and its own asks. A cost below the least that a policy can
    do with buys what costs least.
    """
    arrays: dict[str, NDArray[Any]] = {}
    experts: tuple[str, ...] = ()
    for s, seed in enumerate(policies):
        base = panels[seed].copy()
        seen = policies[seed].look(base)
        for p, budget in enumerate(budgets):
            decided = _decided(policies[seed], base, budget, seen)
            experts = decided.experts
            for column, value in _packed(decided).items():
                shape = (len(budgets), len(policies), len(value))
                arrays.setdefault(column, np.empty(shape, PACKED[column]))[p, s] = value
    values = np.array([np.nan if b is None else b.value for b in budgets])
    return Replay(name, values, tuple(policies), experts, **arrays)


def crossfit(
    name: str,
    make: Callable[[int], Policy],
    board: Panel,
    budgets: Sequence[Budget | None],
    seeds: Sequence[int],
    folds: int,
) -> Replay:
    """Every row of `board` decided by a policy fitted on the other folds, so that points can be chosen without a split.

    `make` gives an unfitted policy for a seed. Raises `ConfigError` for fewer than two folds or rows.
    """
    if folds < 2 or len(board) < 2:
        raise ConfigError(f"Cross-fitting got {folds} folds of {len(board)} rows. Allowed: two of each, or more.")
    fold = np.random.default_rng(len(board)).permutation(len(board)) % folds
    whole: Replay | None = None
    for k in range(min(folds, len(board))):
        rows = np.flatnonzero(fold == k)
        fitted = {s: make(s).fit(board.take(fold != k), board.take(rows[:0])) for s in seeds}
        part = replay(name, fitted, {s: board.take(rows, blind=True) for s in seeds}, budgets)
        if whole is None:
            shape = (part.points, len(part.seeds), len(board))
            empty: dict[str, Any] = {column: np.empty(shape, kind) for column, kind in PACKED.items()}
            whole = replace(part, **empty)
        for column in PACKED:
            getattr(whole, column)[:, :, rows] = getattr(part, column)
    assert whole is not None
    return whole


def _decided(policy: Policy, base: Panel, budget: Budget | None, seen: Any) -> Decisions:
    try:
        return policy.decide(base.copy(), budget, seen)
    except BudgetError:
        if budget is None or budget.per_1000 is None:
            raise
        return policy.decide(base.copy(), Budget(share=0.0), seen)


def _packed(decided: Decisions) -> dict[str, NDArray[Any]]:
    paid = np.zeros(len(decided.label), np.uint32)
    for j in range(len(decided.experts)):
        paid |= decided.asked[:, j].astype(np.uint32) << np.uint32(j)
    return {
        "label": decided.label,
        "expert": decided.expert,
        "deferred": paid > 1,
        "cost": decided.cost,
        "score": np.clip(decided.score, -LARGEST, LARGEST),
        "confidence": decided.confidence,
        "paid": paid,
    }


def oracle(name: str, small: Replay, dear: Sequence[Replay], gold: Ints, budgets: Sequence[float]) -> Replay:
    """The bound that no policy between these experts passes in accuracy at any share: it knows who is right.

    Within each share it defers rows that the small expert gets wrong and a dearer one right, to the cheapest that is,
    the cheapest first, and no others. `small` and `dear` are replays of always asking one expert, `dear` of the same
    seeds or of one for all. A row is paid for the expert that answers.
    """
    weak = small.label[0]
    label, price = (
        np.stack([np.broadcast_to(of, weak.shape) for of in ofs])
        for ofs in ([d.label[0] for d in dear], [d.cost[0] for d in dear])
    )
    right = np.where(label == gold, price, np.inf)
    best = right.argmin(axis=0)[None]
    label, price = np.take_along_axis(label, best, 0)[0], np.take_along_axis(price, best, 0)[0]
    useful = (label == gold) & (weak != gold)
    place = np.argsort(np.lexsort((price, ~useful)), axis=1)
    most = np.floor(np.asarray(budgets, float) * weak.shape[1] + 1e-9)
    deferred = (place < most[:, None, None]) & useful
    blank = np.full(deferred.shape, np.nan, np.float32)
    answering = np.where(deferred, best + 1, 0).astype(np.int8)
    return Replay(
        policy=name,
        budgets=np.asarray(budgets, float),
        seeds=small.seeds,
        experts=(small.experts[0], *(d.experts[int(d.expert.max())] for d in dear)),
        label=np.where(deferred, label, weak),
        expert=answering,
        deferred=deferred,
        cost=np.where(deferred, price, small.cost[0]),
        score=blank,
        confidence=blank,
        paid=np.uint32(1) << answering.astype(np.uint32),
    )


def only(run: Replay, points: Ints) -> Replay:
    """The replay with only these points: indices for all seeds (points,), or one for each seed (1, seeds)."""
    points = np.asarray(points)
    if points.ndim == 1:
        picks = np.repeat(points[:, None], len(run.seeds), axis=1)
    else:
        picks = points
    columns = np.arange(len(run.seeds))[None]
    arrays = {name: getattr(run, name)[picks, columns] for name in PACKED}
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
