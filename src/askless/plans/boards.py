"""A study as panels on which policies are fitted and replayed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow.compute as pc

from askless import schema
from askless.arrays import Floats
from askless.data.recorded import Study
from askless.errors import DataError
from askless.experts import Setting
from askless.experts.recorded import RecordedExpert
from askless.panel import Panel
from askless.policies.base import Budget


@dataclass(frozen=True)
class Boards:
    """A study's panels, every answer at hand and nothing billed yet.

    Parameters
    ----------
    train
        Rows on which policies are fitted.
    valid
        Rows on which operating points are chosen; may be empty.
    test
        Rows that are only reported; may be empty.
    """

    train: Panel
    valid: Panel
    test: Panel

    @classmethod
    def of(cls, study: Study) -> Boards:
        """The splits of a study; raises `DataError` where there are no train rows."""
        recorded = {
            name: RecordedExpert(Setting(name, "study", study.classes), table=study.answers[name])
            for name in study.experts
        }
        board = Panel(study.examples, recorded, study.cost, study.classes)
        for name in study.experts:
            board.ask(name)
        split = np.asarray(study.examples["split"].to_numpy(zero_copy_only=False))
        boards = cls(*(board.take(split == name) for name in schema.SPLITS))
        if not len(boards.train):
            raise DataError(
                "items",
                "no row in split 'train'",
                "rows to learn from, and rows in 'test' to report on",
                "Mark some rows 'train', or leave the column split out: then a seeded hash splits them.",
            )
        return boards

    @classmethod
    def labelled(cls, study: Study) -> Boards:
        """All rows but those of test as one panel, `train`, on which a plan is made, and `test`."""
        at = study.examples.column_names.index("split")
        field, split = study.examples.schema.field(at), study.examples["split"]
        joined = pc.if_else(pc.equal(split, "test"), "test", "train")
        return cls.of(replace(study, examples=study.examples.set_column(at, field, joined)))

    def prices(self, experts: Sequence[str]) -> Floats:
        """Mean cost of an answer of each expert on train, shape (experts,)."""
        twin = self.train.copy()
        return np.array([twin.ask(name).cost.mean() for name in experts])

    def budgets(self, experts: Sequence[str], sweep: int) -> list[Budget]:
        """Budgets over the range of the experts' prices; shares of rows where all cost the same."""
        prices = self.prices(experts)
        low, high = prices[0], prices.max()
        if high > low:
            return [Budget(per_1000=float(1000 * c)) for c in np.linspace(low, high, sweep)]
        return [Budget(share=float(s)) for s in np.linspace(0, 1, sweep)]

    @property
    def held(self) -> Panel:
        """The rows on which operating points are chosen: valid, or train where there is none."""
        return self.valid if len(self.valid) else self.train
