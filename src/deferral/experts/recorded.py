"""Replays answers that were given before: a prediction table, by id."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from deferral import schema
from deferral.datasets.recorded import recorded_predictions
from deferral.errors import ConfigError, DataError
from deferral.experts.base import Expert, Setting


class RecordedExpert(Expert):
    """Answers from a Parquet file or a table of predictions, in microseconds a row.

    A path to the paper's JSON (`.json`, `.jsonl`) is read too, its records matched by text. Where the table holds
    several experts' answers, those under this expert's name are used; else whatever name they carry becomes this
    expert's.
    """

    def __init__(self, setting: Setting, *, path: Path | str | None = None, table: pa.Table | None = None) -> None:
        super().__init__(setting)
        self.path = path
        self.table = table

    def answer(self, examples: pa.Table) -> pa.Table:
        """The recorded row of each example; raises `DataError` where one has none."""
        if str(self.path).endswith((".json", ".jsonl")):
            return recorded_predictions(str(self.path), examples, self.name, self.setting.classes)
        table = self._recorded
        if examples["id"].equals(table["id"]):
            return table
        index = pc.index_in(examples["id"], table["id"])
        if index.null_count:
            raise self._missing(examples.filter(pc.is_null(index)), examples.num_rows)
        return table.take(index)

    @cached_property
    def _recorded(self) -> pa.Table:
        """The answers, checked once."""
        table, classes = self._table(), self.setting.classes
        said = schema.meta_of(table).get("classes")
        if said is not None and tuple(said) != classes:
            raise DataError(
                self._where,
                f"answers about the classes {said}",
                f"{list(classes)}, in this order",
                "Record the answers for this task, or correct its classes.",
            )
        names = pc.unique(table["expert"]).to_pylist()
        if len(names) > 1:
            table = table.filter(pc.equal(table["expert"], self.name))
        if not table.num_rows:
            raise DataError(
                self._where, f"no answers of '{self.name}'", f"answers of {sorted(names)}", "Rename the expert."
            )
        name = pa.repeat(pa.scalar(self.name, pa.string()), table.num_rows)
        table = table.set_column(table.column_names.index("expert"), schema.PREDICTIONS.field("expert"), name)
        return table.combine_chunks()

    def _table(self) -> pa.Table:
        if (self.path is None) == (self.table is None):
            raise ConfigError(f"Expert '{self.name}': give either path or table, the answers to replay.")
        if self.table is not None:
            return schema.check(self.table, "predictions", self._where, classes=self.setting.classes)
        return schema.read(Path(str(self.path)), "predictions", classes=self.setting.classes)

    @property
    def _where(self) -> str:
        return str(self.path or f"answers of '{self.name}'")

    def _missing(self, absent: pa.Table, asked: int) -> DataError:
        return DataError(
            self._where,
            f"no answer to {absent.num_rows} of {asked} examples (first id {absent['id'][0]})",
            "a recorded answer to every example that is asked about",
            "Record the missing answers, or leave these examples out.",
        )
