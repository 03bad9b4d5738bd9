"""What LLMs answered to labelled items, for a model that learns to begin with: without texts and ids."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from askless.arrays import Ints
from askless.data.recorded import Study
from askless.errors import DataError
from askless.files import read_json, write_text
from askless.plans.boards import Boards
from askless.policies.bandit.bandit import Bandit
from askless.policies.bandit.rounds import Rounds
from askless.policies.base import some_rows
from askless.policies.state import plain, restored

FILE = "known.json"
MOST_ROWS = 2_000


@dataclass(frozen=True)
class Known:
    """Labelled answers.

    Parameters
    ----------
    rounds
        What each expert answered, and what that cost in dollars.
    gold
        The class index of each true label, (n,).
    """

    rounds: Rounds
    gold: Ints

    @classmethod
    def of(cls, study: Study, seed: int) -> Self | None:
        """Those of a study's items but test's, drawn where they are many; None without labels or prices in dollars."""
        if not study.classes or study.judged or study.cost.unit != "usd":
            return None
        board = Boards.labelled(study).train
        rows = some_rows(len(board), MOST_ROWS, seed)
        # What came before the first item has numbers below 0.
        rounds = Rounds.blank(study.experts, np.arange(len(rows)) - len(rows))
        for j, name in enumerate(study.experts):
            rounds.put(j, np.arange(len(rows)), board.ask(name, rows), free=True)
        return cls(rounds, board.gold[rows])

    def write(self, folder: Path) -> None:
        """Put them beside a plan's bundle."""
        write_text(folder / FILE, json.dumps({"rounds": plain(self.rounds), "gold": self.gold.tolist()}) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Those beside a bundle, None where there are none; raises `DataError` for a file that is none."""
        path = folder / FILE
        if not path.exists():
            return None
        try:
            kept = read_json(path)
            return cls(restored(Rounds, kept["rounds"]), np.array(kept["gold"], np.int64))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(path, f"unreadable ({error})", "the file as it was written", "Plan again.") from error

    def taught(self, bandit: Bandit) -> Bandit:
        """A bandit that began with nothing, once it has learnt these."""
        mine = self.rounds.of(bandit.experts)
        return bandit.count(mine).feed(mine, self.gold)
