"""What any policy must beat: always the same expert, chance, the length of the text."""

from __future__ import annotations

import numpy as np

from askless.arrays import Floats, Ints
from askless.errors import ConfigError
from askless.panel import Panel
from askless.policies.allocator import Allocator
from askless.policies.base import Budget, Chooser


class Always(Chooser):
    """One expert answers every row, whatever the budget; where it gives no label there is none."""

    fallback = False
    takes_budget = False

    def __init__(self, experts: tuple[str, ...], expert: str) -> None:
        self.experts = tuple(experts)
        self.expert = expert

    def look(self, panel: Panel) -> Floats:
        """Nothing is looked at."""
        return np.full((len(panel), 1), np.nan)

    def choose(self, seen: Floats, budget: Budget | None) -> Ints:
        """The one expert, for every row; raises `ConfigError` if it is none of `experts`."""
        if self.expert not in self.experts:
            raise ConfigError.unknown("expert", self.expert, self.experts)
        return np.full(len(seen), self.experts.index(self.expert), np.int64)


class Random(Allocator):
    """Defers a share of the rows drawn by chance: the straight line every curve is held against."""

    pair = True

    def __init__(self, experts: tuple[str, ...], random_state: int = 0) -> None:
        super().__init__(experts)
        self.random_state = random_state

    def look(self, panel: Panel) -> Floats:
        """A draw for each row and costlier expert, shape (rows, experts)."""
        draw = np.random.default_rng([self.random_state, len(panel)]).random((len(panel), len(self.experts)))
        draw[:, 0] = 0.5
        return draw


class Length(Allocator):
    """Defers the longest texts: what can be had without learning anything."""

    pair = True
    reads_text = True

    def look(self, panel: Panel) -> Floats:
        """The text's length in characters for every costlier expert, against 0, shape (rows, experts)."""
        length = np.array([len(text) for text in panel.text], float)[:, None]
        return np.hstack([np.zeros_like(length), np.repeat(length, len(self.experts) - 1, axis=1)])
