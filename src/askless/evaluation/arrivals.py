"""Learners replayed on recorded answers in orders of arrival, told each label after they have decided.

All answers are recorded, so that a replay is what would have happened. Each answer counts as it was given, before its
label was told (prequential: Dawid 1984, J. R. Stat. Soc. A 147; Gama, Sebastião and Rodrigues 2013, Mach. Learn. 90).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from askless.arrays import Bools, Floats, Ints
from askless.errors import ConfigError
from askless.panel import NO_LABEL, Panel
from askless.policies.bandit.learner import Learner
from askless.policies.bandit.rounds import Rounds
from askless.policies.base import Budget


@dataclass(frozen=True)
class Feedback:
    """Which labels a learner is told, and when.

    Parameters
    ----------
    share
        The share of the items, 0 to 1, whose label comes: drawn by chance, whatever was answered.
    late
        So many items later than its own it comes.
    block
        So many items are decided together; labels come between blocks.

    Raises
    ------
    ConfigError
        For values that are not in range.
    """

    share: float = 1.0
    late: int = 0
    block: int = 50

    def __post_init__(self) -> None:
        if not (0 <= self.share <= 1 and self.late >= 0 and self.block >= 1):
            raise ConfigError(
                f"Feedback got a share of {self.share:g}, {self.late} items late, blocks of {self.block}. Allowed: a "
                "share from 0 to 1, no items late or more, blocks of one item or more."
            )


EVERY_LABEL = Feedback()


@dataclass(frozen=True)
class Played:
    """What a learner did with items in their order.

    Parameters
    ----------
    right, cost
        Whether each answer was right, and what it cost, everything asked included, each (items,).
    asked
        Who was asked, (items, experts).
    """

    right: Bools
    cost: Floats
    asked: Bools


@dataclass(frozen=True)
class Arrivals:
    """What learners that began alike did in several orders of arrival.

    Parameters
    ----------
    usd
        The budget of an item, in the cost model's unit.
    experts
        The columns of `asked`.
    rows
        Which row of the panel came, (orders, items).
    right, cost, asked
        As of `Played`, (orders, items) and (orders, items, experts).
    """

    usd: float
    experts: tuple[str, ...]
    rows: Ints
    right: Bools
    cost: Floats
    asked: Bools


def played(learner: Learner, panel: Panel, usd: float, feedback: Feedback = EVERY_LABEL, seed: int = 0) -> Played:
    """Let a learner, which this changes, answer the rows of an open panel in their order for `usd` an item.

    `seed` draws the items whose labels come.
    """
    items, gold = len(panel), panel.gold
    told = np.where(np.random.default_rng(seed).random(items) < feedback.share, gold, NO_LABEL)
    recorded = panel.copy()
    for name in learner.experts:
        recorded.ask(name)
    done = Played(np.zeros(items, bool), np.zeros(items), np.zeros((items, len(learner.experts)), bool))
    waiting = deque[tuple[Ints, Rounds]]()
    for first in range(0, items, feedback.block):
        rows = np.arange(first, min(first + feedback.block, items))
        decided = learner.decide(recorded.take(rows, blind=True), Budget(per_1000=1000 * usd))
        done.right[rows], done.cost[rows], done.asked[rows] = decided.label == gold[rows], decided.cost, decided.asked
        learner.count(decided.rounds)
        waiting.append((rows, decided.rounds))
        while waiting and waiting[0][0][-1] + feedback.late <= rows[-1]:
            earlier, rounds = waiting.popleft()
            learner.feed(rounds, told[earlier])
    return done


def arrivals(
    begin: Callable[[int], Learner],
    panel: Panel,
    usd: float,
    *,
    orders: int,
    most: int,
    feedback: Feedback = EVERY_LABEL,
) -> Arrivals:
    """Replay a panel in so many orders, of each the first `most` items; `begin` gives a learner for an order's seed."""
    rows, runs, experts = [], [], tuple[str, ...]()
    for seed in range(orders):
        rows.append(np.random.default_rng(seed).permutation(len(panel))[:most])
        learner = begin(seed)
        experts = learner.experts
        runs.append(played(learner, panel.take(rows[-1]), usd, feedback, seed))
    right, cost, asked = (np.stack([getattr(run, name) for run in runs]) for name in ("right", "cost", "asked"))
    return Arrivals(usd, experts, np.stack(rows), right, cost, asked)
