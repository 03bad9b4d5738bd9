"""Policies replayed over budgets and seeds: what each decided, asked and paid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from askless import schema
from askless.arrays import Bools, Floats, Ints
from askless.errors import BudgetError, ConfigError
from askless.evaluation.metrics import Quality
from askless.panel import NO_LABEL, Panel
from askless.policies.base import Budget, Decisions, Policy

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
KINDS = {**PACKED, "quality": np.float32}


@dataclass(frozen=True)
class Replay:
    """One policy's decisions over budgets and seeds, packed: a million items times many budgets fit in memory.

    Parameters
    ----------
    policy
        Its name.
    budgets
        The value of each point's budget, NaN for the policy's own rule, shape (points,).
    seeds, experts
        The seeds, and the names that `expert` counts from.
    label, expert, deferred, cost, score, confidence, paid
        Shape (points, seeds, items): class of the answer, who gave it, whether an expensive expert was asked, cost of
        the item, what decided, stated probability of being right, and in bit j whether expert j was asked.
    quality
        Quality score from 0 to 1 of the answer given, of the same shape; None where labels are held against gold ones.
    title, about
        What the policy says of itself, for reports.
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
    quality: NDArray[np.float32] | None = None
    title: str = ""
    about: str = ""

    @property
    def points(self) -> int:
        """How many budgets were replayed."""
        return len(self.budgets)

    @property
    def graded(self) -> bool:
        """Whether answers have a quality score, and no gold label."""
        return self.quality is not None

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

    def right(self, gold: Ints) -> NDArray[Any]:
        """How good each answer is (points, seeds, items): its score, or whether the label is `gold` (items,)."""
        return np.asarray(self.label == gold) if self.quality is None else self.quality

    def flat_answers(self) -> NDArray[Any]:
        """Labels, or quality scores where there are some, as columns, (items, points * seeds)."""
        answers: NDArray[Any] = self.label if self.quality is None else self.quality
        return answers.reshape(-1, answers.shape[2]).T

    def flat_cost(self) -> Floats:
        """Costs as columns, (items, points * seeds)."""
        return self.cost.reshape(-1, self.cost.shape[2]).T


def replay(
    name: str, policies: Mapping[int, Policy], panels: Mapping[int, Panel], budgets: Sequence[Budget | None]
) -> Replay:
    """Decide every budget with every seed's fitted policy, each of which sees a blind copy of its panel.

    Each seed looks once, and each budget pays for that look and its own asks. A cost below the least that a policy can
    do with buys what costs least.
    """
    arrays: dict[str, NDArray[Any]] = {}
    experts: tuple[str, ...] = ()
    for s, seed in enumerate(policies):
        base = panels[seed].copy(blind=True)
        seen = policies[seed].look(base)
        for p, budget in enumerate(budgets):
            decided = _decided(policies[seed], base, budget, seen)
            experts = decided.experts
            columns = _packed(decided)
            if panels[seed].graded:
                columns["quality"] = quality_of(panels[seed], decided)
            for column, value in columns.items():
                shape = (len(budgets), len(policies), len(value))
                arrays.setdefault(column, np.empty(shape, KINDS[column]))[p, s] = value
    values = np.array([np.nan if b is None else b.value for b in budgets])
    one = next(iter(policies.values()))
    return Replay(name, values, tuple(policies), experts, **arrays, title=one.title, about=one.about)


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
        part = replay(name, fitted, {s: board.take(rows) for s in seeds}, budgets)
        if whole is None:
            shape = (part.points, len(part.seeds), len(board))
            empty: dict[str, Any] = {column: np.empty(shape, KINDS[column]) for column in _columns(part)}
            whole = replace(part, **empty)
        for column in _columns(part):
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


def quality_of(panel: Panel, decided: Decisions) -> Floats:
    """The quality of the answer that stands for each row of an open panel, 0 to 1, shape (rows,)."""
    if not panel.graded:
        return np.asarray(decided.label == panel.gold, np.float64)
    quality, open_panel = np.zeros(len(panel)), panel.copy()
    for j, name in enumerate(decided.experts):
        rows = np.flatnonzero(decided.expert == j)
        quality[rows] = open_panel.quality(open_panel.ask(name, rows))
    return quality


def _columns(run: Replay) -> list[str]:
    return [column for column in KINDS if getattr(run, column) is not None]


def oracle(name: str, small: Replay, expensive: Sequence[Replay], gold: Ints, budgets: Sequence[float]) -> Replay:
    """The bound that no policy between these experts passes in mean quality at any share: it knows who is right.

    Within each share it defers rows for which a costlier expert's answer is better than the small one's, to the best
    (the cheapest of equals), where most is gained first (of equals the cheapest), and no others. `small` and
    `expensive` are replays of always asking one expert, `expensive` of the same seeds or of one for all. A row is paid
    for the expert that answers.
    """
    weak, shape = small.right(gold)[0].astype(float), small.label[0].shape
    label, price, strong = (
        np.stack([np.broadcast_to(of, shape) for of in ofs])
        for ofs in (
            [d.label[0] for d in expensive],
            [d.cost[0] for d in expensive],
            [d.right(gold)[0].astype(float) for d in expensive],
        )
    )
    best = np.where(strong == strong.max(axis=0), price, np.inf).argmin(axis=0)[None]
    label, price, strong = (np.take_along_axis(of, best, 0)[0] for of in (label, price, strong))
    gain = strong - weak
    place = np.argsort(np.lexsort((price, -gain)), axis=1)
    most = np.floor(np.asarray(budgets, float) * shape[1] + 1e-9)
    deferred = (place < most[:, None, None]) & (gain > 0)
    blank = np.full(deferred.shape, np.nan, np.float32)
    answering = np.where(deferred, best + 1, 0).astype(np.int8)
    return Replay(
        policy=name,
        budgets=np.asarray(budgets, float),
        seeds=small.seeds,
        experts=(small.experts[0], *(d.experts[int(d.expert.max())] for d in expensive)),
        label=np.where(deferred, label, small.label[0]),
        expert=answering,
        deferred=deferred,
        cost=np.where(deferred, price, small.cost[0]),
        score=blank,
        confidence=blank,
        paid=np.uint32(1) << answering.astype(np.uint32),
        quality=None if small.quality is None else np.where(deferred, strong, weak).astype(np.float32),
    )


def oracle_by_cost(name: str, alone: Sequence[Replay], gold: Ints, prices: Sequence[float]) -> Replay:
    """The bound that no policy passes in mean quality at any mean cost: it knows how good each answer is.

    At each price of quality a row goes to the expert of most quality less price x cost, of equals to the cheapest, and
    is paid for that one alone: the corners of the upper hull of all that can be had. `alone` are replays of always
    asking one expert, of the same seeds or of one for all.
    """
    quality, cost, label = _stacked(alone, gold)
    best = np.stack([(quality - price * cost).argmax(axis=0) for price in prices])
    blank = np.full(best.shape, np.nan, np.float32)
    longest = max(alone, key=lambda run: len(run.seeds))
    return Replay(
        policy=name,
        budgets=np.asarray(prices, float),
        seeds=longest.seeds,
        experts=tuple(run.policy.removeprefix("always_") for run in alone),
        label=np.take_along_axis(label, best, 0),
        expert=best.astype(np.int8),
        deferred=best > 0,
        cost=np.take_along_axis(cost, best, 0),
        score=blank,
        confidence=blank,
        paid=np.uint32(1) << best.astype(np.uint32),
        quality=np.take_along_axis(quality, best, 0).astype(np.float32) if alone[0].graded else None,
        title="Oracle",
        about="Knows how good each answer is. Nobody can: it bounds what choosing may buy.",
    )


def prices_of_quality(alone: Sequence[Replay], gold: Ints, most: int) -> list[float]:
    """Prices between which `oracle_by_cost` changes its mind, falling: all there are, or `most` of them."""
    quality, cost, _ = _stacked(alone, gold)
    slopes = []
    for i, j in permutations(range(len(alone)), 2):
        gain, dearer = (quality[j] - quality[i]).ravel(), (cost[j] - cost[i]).ravel()
        worth = (gain > 0) & (dearer > 0)
        slopes.append(np.log(gain[worth] / dearer[worth]))
    levels = np.exp(np.unique(np.round(np.concatenate([*slopes, []]), 9)))[::-1]
    if not len(levels):
        return [1.0]
    levels = levels[np.unique(np.linspace(0, len(levels) - 1, most).astype(int))]
    between = np.sqrt(levels[:-1] * levels[1:])
    return [2 * float(levels[0]), *between.tolist(), float(levels[-1]) / 2]


def _stacked(alone: Sequence[Replay], gold: Ints) -> tuple[Floats, Floats, NDArray[np.int16]]:
    """Quality, cost and label of each expert's answers, (experts, seeds, items)."""
    shape = max((run.label[0].shape for run in alone), key=lambda of: of[0])
    quality = np.stack([np.broadcast_to(run.right(gold)[0].astype(float), shape) for run in alone])
    cost = np.stack([np.broadcast_to(run.cost[0], shape) for run in alone])
    return quality, cost, np.stack([np.broadcast_to(run.label[0], shape) for run in alone])


def only(run: Replay, points: Ints) -> Replay:
    """The replay with only these points: indices for all seeds (points,), or one for each seed (1, seeds)."""
    points = np.asarray(points)
    if points.ndim == 1:
        picks = np.repeat(points[:, None], len(run.seeds), axis=1)
    else:
        picks = points
    columns = np.arange(len(run.seeds))[None]
    arrays: dict[str, Any] = {name: getattr(run, name)[picks, columns] for name in _columns(run)}
    return replace(run, budgets=run.budgets[picks[:, 0]], **arrays)


def chosen_on_valid(valid: Replay, gold: Ints, quality: Quality, floors: Floats) -> Ints:
    """For each seed the cheapest point whose quality on valid reaches that seed's floor (1, seeds).

    Where no point reaches it, the best one. Nothing of the test split is seen here.
    """
    shape = (valid.points, len(valid.seeds))
    reached = quality(gold, valid.flat_answers()).reshape(shape)
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
