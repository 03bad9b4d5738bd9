"""What was asked about some items and what came of it: all that a bandit learns from, without a text or an id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from askless.arrays import Bools, Floats, Ints
from askless.panel import NO_LABEL, Answers
from askless.stats.uncertainty import probability


@dataclass(frozen=True)
class Rounds:
    """Items that were decided, one row each.

    Parameters
    ----------
    experts
        Names of the columns.
    item
        The running number of each item, by which a label is put right later, (n,).
    label, p
        The class index that each expert gave, `NO_LABEL` where none, and its stated probability, NaN where none,
        each (n, experts).
    cost
        What the answer cost, NaN where the expert was not asked, (n, experts).
    free
        Who was asked before anything was seen of the item, (n, experts): of these alone may rates be read off.
    """

    experts: tuple[str, ...]
    item: Ints
    label: Ints
    p: Floats
    cost: Floats
    free: Bools

    def __len__(self) -> int:
        return len(self.item)

    def __getitem__(self, rows: Ints | Bools | slice) -> Self:
        return type(self)(self.experts, *(getattr(self, f.name)[rows] for f in fields(self)[1:]))

    @property
    def asked(self) -> Bools:
        """Who was asked, (n, experts)."""
        return ~np.isnan(self.cost)

    @property
    def explored(self) -> int:
        """How many items several experts answered before anything was seen of them."""
        return int(self._explored.sum())

    @property
    def _explored(self) -> Bools:
        return np.asarray(self.free.sum(axis=1) > 1)

    def newest(self, most: int) -> Ints:
        """So many of them in the order of their items, the newest: half of them explored ones, if there are so many."""
        order = np.argsort(self.item, kind="stable")
        explored = self._explored[order]
        later = explored[::-1].cumsum()[::-1]
        some = most - min(int((~explored).sum()), most // 2)
        tried = order[explored & (later <= some)]
        others = order[~explored]
        kept = np.concatenate([tried, others[len(others) - min(len(others), most - len(tried)) :]])
        return kept[np.argsort(self.item[kept], kind="stable")]

    @classmethod
    def blank(cls, experts: Sequence[str], item: Ints) -> Self:
        """Nobody asked about any of these items."""
        shape = (len(item), len(experts))
        empty = np.full(shape, np.nan)
        return cls(tuple(experts), item, np.full(shape, NO_LABEL), empty, empty.copy(), np.zeros(shape, bool))

    def put(self, j: int, rows: Ints, answers: Answers, *, free: bool = False) -> None:
        """Write down what expert `j` answered to `rows`."""
        self.free[rows, j] = free
        self.label[rows, j], self.p[rows, j], self.cost[rows, j] = answers.label, probability(answers), answers.cost

    def of(self, experts: Sequence[str]) -> Rounds:
        """The columns of `experts`; one that was not there has been asked nothing."""
        wide = Rounds.blank(experts, self.item)
        for j, name in enumerate(experts):
            if name in self.experts:
                i = self.experts.index(name)
                for f in fields(self)[2:]:
                    getattr(wide, f.name)[:, j] = getattr(self, f.name)[:, i]
        return wide

    def without(self, answers: Bools) -> Rounds:
        """These as if some answers, a mask (n, experts), had not been asked for."""
        blank = Rounds.blank(self.experts, self.item)
        parts = (np.where(answers, getattr(blank, f.name), getattr(self, f.name)) for f in fields(self)[2:])
        return Rounds(self.experts, self.item, *parts)

    def then(self, other: Rounds) -> Rounds:
        """These and, after them, `other`, in the columns of these."""
        more = other.of(self.experts)
        parts = ([getattr(self, f.name), getattr(more, f.name)] for f in fields(self)[1:])
        return Rounds(self.experts, *(np.concatenate(both) for both in parts))
