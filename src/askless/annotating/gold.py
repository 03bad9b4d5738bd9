"""Human labels of a few rows drawn by chance: what they say of the LLM, and so of labels that are mostly the LLM's.

A label that is not what people say is one that the LLM would not give, or one on which the LLM is wrong. How many the
latter are at most is told by the human labels, exactly and without replacement; the former are the agreement's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from askless.annotating.asked import AskedTexts
from askless.annotating.floors import AGREEMENT, Floor
from askless.arrays import Ints
from askless.data.columns import counted, strings
from askless.data.prepare import clean
from askless.data.tables import Wanted, read
from askless.errors import BudgetError, ConfigError, DataError
from askless.stats.finite_population import most_wrong

FEWEST = 20


@dataclass(frozen=True, eq=False)
class Gold:
    """Human labels.

    Parameters
    ----------
    places
        Of the text of each labelled row, (rows,).
    label
        Its class, an index, (rows,).
    """

    places: Ints
    label: Ints

    @classmethod
    def read(
        cls, path: Path, text: str, column: str, texts: Sequence[str], count: Ints, classes: Sequence[str]
    ) -> Gold:
        """From a file with the texts, in a column named as in the file to be labelled, and what people say.

        `count` is how many rows of the latter have each text. Raises `DataError` for a text or a class that is not
        there, for more labels of a text than it has rows, and for fewer than 20 rows.
        """
        table = read(path, Wanted(("text", "gold"), names={"text": text, "gold": column}))
        place, number = ({name: at for at, name in enumerate(each)} for each in (texts, classes))
        said = strings(table["gold"], column, path).to_pylist()
        given = [
            (clean(row or ""), each.strip())
            for row, each in zip(strings(table["text"], text, path).to_pylist(), said, strict=True)
            if each and each.strip()
        ]
        if unknown := [row for row, _ in given if row not in place]:
            got = counted(len(unknown), "text") + " that the file to be labelled has not"
            raise DataError(path, got, "rows of that file, drawn by chance", "Draw them from the file itself.")
        if wrong := [each for _, each in given if each not in number]:
            got = f"a human label '{wrong[0]}'"
            raise DataError(path, got, f"one of {', '.join(classes)}", "Correct it, or --classes.")
        if len(given) < FEWEST:
            got = counted(len(given), "human label")
            raise DataError(path, got, f"{FEWEST} or more, better some hundred", "Label more rows drawn by chance.")
        found = cls(np.array([place[row] for row, _ in given]), np.array([number[each] for _, each in given]))
        if (more := np.bincount(found.places, minlength=len(texts)) - count).max() > 0:
            got = f"{counted(int(np.maximum(more, 0).sum()), 'label')} more than its texts have rows in the other file"
            remedy = "Of several people's labels of a row give one, such as that of most."
            raise DataError(path, got, "a label for each row", remedy)
        return found

    def compared(self, asked: AskedTexts, rows: int, delta: float) -> Checked:
        """What the LLM, asked about all of them, has right; a reply without a label is wrong.

        Raises `BudgetError` where the money did not reach for all.
        """
        if left := int(asked.unasked[self.places].sum()):
            raise BudgetError(
                f"The limit was reached before {asked.expert.name} was asked about {left:,} of {len(self.places):,} "
                "human labels. Give a higher --max-usd and run again: what was answered is kept."
            )
        wrong = int((asked.label[self.places] != self.label).sum())
        return Checked(len(self.places), wrong, most_wrong(rows, len(self.places), wrong, delta) / rows)


@dataclass(frozen=True)
class Checked:
    """What human labels say of the LLM.

    Parameters
    ----------
    labels, wrong
        How many there are, and on how many of these rows the LLM says something else.
    most
        The share of all rows, 0 to 1, on which it does so at most.
    """

    labels: int
    wrong: int
    most: float

    def stricter(self, floor: Floor, llm: str) -> Floor:
        """The agreement with the LLM that keeps a floor about people; raises `BudgetError` where none does."""
        if floor.measure != AGREEMENT or floor.group is not None:
            raise ConfigError("Human labels and a goal other than --agree over all rows. Allowed: --agree alone.")
        least = floor.least + self.most
        if least >= 1:
            possible = math.floor(1000 * (1 - self.most)) / 10
            raise BudgetError(
                f"A goal of {100 * floor.least:g} % of what people say. Of {self.labels:,} human labels {llm} gives "
                f"{self.labels - self.wrong:,}, which promises {possible:g} % at most, whatever is paid. Give less "
                "than that, or more human labels."
            )
        return replace(floor, least=least)
