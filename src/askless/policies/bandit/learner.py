"""What a policy is that learns from labels which come after it has decided."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Self

from askless.arrays import Ints
from askless.panel import Panel
from askless.policies.base import Budget, Policy

if TYPE_CHECKING:
    from askless.policies.bandit.bandit import Round


class Learner(Policy):
    """Decides some items, is told what they cost and, later, the labels of some; `decide` itself changes nothing.

    It may begin with nothing, by `fit` on empty panels. What it would have done with recorded answers depends on the
    order in which they come: `askless.evaluation.arrivals` replays that.
    """

    studied = False
    budgets = ("per_1000",)
    whole_batch = True

    @abstractmethod
    def decide(self, panel: Panel, budget: Budget | None = None, seen: Any = None) -> Round:
        """As of `Policy`, with the rounds that `count` and `feed` take."""

    @abstractmethod
    def count(self, rounds: Any) -> Self:
        """Take note of items that were decided, and of what was paid for them: once, and before the next are.

        `rounds` are those of `decide`.
        """

    @abstractmethod
    def feed(self, rounds: Any, label: Ints) -> Self:
        """Learn true labels of rounds of `decide` (n,), `NO_LABEL` where none is known."""
