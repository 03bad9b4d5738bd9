"""What any policy must beat: always the same expert, chance, the length of the text."""

from __future__ import annotations

import numpy as np

from askless.arrays import Floats, Ints
from askless.errors import ConfigError
from askless.panel import Panel
from askless.policies.base import Budget, Chooser
from askless.policies.score_threshold import ScoreThreshold


class Always(Chooser):
    """One expert answers every row, whatever the budget; where it gives no label there is none.

    Parameters
    ----------
    experts
        Names of experts, by rising cost.
    expert
        The one of them that answers.
    """

    title = "One expert alone"
    about = "Answers every item."
    graded = True
    studied = False
    budgets = ()
    decides_alone = True
    fallback = False

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


class Random(ScoreThreshold):
    """Asks the large expert about rows drawn by chance: the straight line that every curve is compared with.

    The draw is of the id: the same item is decided the same way alone, in a batch and on a stream.

    Parameters
    ----------
    experts
        Names of two: the small one and the large one.
    random_state
        Seed of the draws.
    """

    title = "By chance"
    about = "Asks the large one about items drawn by chance: what any policy must beat."
    graded = True

    def score(self, panel: Panel) -> Floats:
        """A draw from [0, 1) for each id."""
        return panel.draws(self.random_state)


class Length(ScoreThreshold):
    """Asks the large expert about the longest texts: what can be had without learning anything.

    Parameters
    ----------
    experts
        Names of two: the small one and the large one.
    random_state
        Seed of the draws by which texts of equal length are told apart.
    """

    title = "By length"
    about = "Asks the large one about the longest texts: what is to be had without learning."
    graded = True
    reads_text = True

    def score(self, panel: Panel) -> Floats:
        """The text's length in characters, the longest lowest."""
        return -np.array([len(text) for text in panel.text], np.float64)
