"""Ways to reach a goal, and what became of labelled rows by each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from askless.arrays import Bools, Floats, Ints
from askless.policies.base import Budget

RESERVED, LEAST_RESERVED = 0.2, 0.01


@dataclass(frozen=True)
class Option:
    """One way to reach a goal, and what became of rows decided by it, not fitted on them.

    Parameters
    ----------
    kind
        Name of the kind of policy.
    experts
        Who may be asked.
    budget
        At which it decides.
    rows
        Which of the labelled rows these are, (rows,).
    label, right, cost, deferred
        What each row was answered, whether rightly, what it cost, and whether it went beyond the first expert, each
        (rows,).
    luck
        What it is expected to lose of new rows beyond what it lost of these, for which it was chosen; see `luck`.
    asked
        Who was asked about each row, (rows, experts); None for one expert, who was asked about all.
    """

    kind: str
    experts: tuple[str, ...]
    budget: Budget | None
    rows: Ints
    label: Ints
    right: Bools
    cost: Floats
    deferred: Bools
    luck: float = 0.0
    asked: Bools | None = None

    @property
    def mean_cost(self) -> float:
        """Mean cost of a row."""
        return float(self.cost.mean())

    @property
    def quality(self) -> float:
        """Share of rows to expect right."""
        return float(self.right.mean()) - self.luck

    def beats(self, other: Option) -> bool:
        """Whether on the other's rows this is better for less; it is of all rows."""
        dearer = other.mean_cost > self.cost[other.rows].mean() * (1 + 1e-9)
        return bool(dearer and self.right[other.rows].mean() > other.quality + 1e-12)


def luck(family: Sequence[Option], index: int, reference: Bools, folds: int, seed: int) -> float:
    """How much more the point `index` is expected to lose of new rows than of these, for which it was chosen.

    Each fold is decided at the point that the other folds choose in the same way: the cheapest before more is lost than
    at `index`, in the mean of rows, from the safest point on. What it loses more there than on the rows that chose it
    is the luck of the choice; where all folds choose the same point there is none.

    Parameters
    ----------
    family
        The points, the safest first.
    index
        The one that was chosen.
    reference
        Whether the reference is right about their rows, (rows,).
    folds, seed
        How the rows are parted.
    """
    right = np.stack([option.right for option in family])
    lost, cost = reference & ~right, np.stack([option.cost for option in family])
    fold = np.random.default_rng(seed).permutation(len(reference)) % folds
    most, more = lost[index].mean() + 1e-12, 0.0
    for k in range(folds):
        held, others = fold == k, fold != k
        over = np.flatnonzero(lost[:, others].mean(axis=1) > most)
        last = max(1, int(over[0]) if len(over) else len(family))
        j = int(np.argmin(cost[:last, others].mean(axis=1)))
        gain = right[j].astype(float) - reference
        more += float(held.sum() * (gain[others].mean() - gain[held].mean()))
    return max(0.0, more / len(reference))


def shares(cascades: int, singles: int, least: float, delta: float) -> tuple[list[float], list[float]]:
    """Parts of the chance `delta` of a broken promise: for each cascade, the first ones first, and each expert alone.

    A fifth is for experts alone, at which the cascades that begin with them end: little is won by more. Where so few
    rows allow no cascade to pass with its part, `least` being the smallest p-value that there is, fewer are tested, and
    experts alone have a hundredth, enough for one that is clearly better. All of this is settled before anybody looks
    at a label.
    """
    for part in (1 - RESERVED, 1 - LEAST_RESERVED) if singles else (1.0,):
        for tried in range(cascades, 0, -1):
            if least <= part * delta / tried:
                rest = (1 - part) * delta / singles if singles else 0.0
                return [part * delta / tried] * tried + [0.0] * (cascades - tried), [rest] * singles
    return [0.0 if singles else delta / cascades] * cascades, [delta / singles] * singles if singles else []
