"""Replays answers that were given before: a prediction table, by id."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from askless import schema
from askless.data.recorded.paper_files import recorded_predictions
from askless.errors import ConfigError, DataError
from askless.experts.base import Expert, Setting, number


class RecordedExpert(Expert):
    """Replays answers that were given before: a table of predictions, found by id.

    Where the table holds several experts' answers, those under this expert's name are used; else whatever name they
    carry becomes this expert's. Metadata `unmatched` counts the answers that were not asked for.

    Parameters
    ----------
    setting
        What the task tells the expert.
    path
        A Parquet file of predictions, or the paper's JSON (`.json`, `.jsonl`), whose records are matched by text.
    table
        The predictions themselves, in the place of `path`.
    key
        The name of the reply in a record of the JSON, such as `nn_generation`; None is the first one.
    seconds
        Seconds that an answer takes which states no time, 0 or more.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        path: Path | str | None = None,
        table: pa.Table | None = None,
        key: str | None = None,
        seconds: float | None = None,
    ) -> None:
        super().__init__(setting)
        self.path = path
        self.table = table
        self.key = key
        self.seconds = seconds

    def answer(self, examples: pa.Table) -> pa.Table:
        """The recorded row of each example; raises `DataError` where one has none."""
        self._validate()
        return self._timed(self._given(examples))

    def _validate(self) -> None:
        self.require("seconds", self.seconds is None or number(self.seconds), "null or a number >= 0")
        self.require(
            "key", self.key is None or self._json, "null, or a key of a file whose name ends in .json or .jsonl"
        )

    @property
    def _json(self) -> bool:
        return str(self.path).endswith((".json", ".jsonl"))

    def _given(self, examples: pa.Table) -> pa.Table:
        if self._json:
            return recorded_predictions(str(self.path), examples, self.name, self.setting.classes, self.key)
        table = self._recorded
        if examples["id"].equals(table["id"]):
            return table
        index = pc.index_in(examples["id"], table["id"])
        if index.null_count:
            raise self._missing(examples.filter(pc.is_null(index)), examples.num_rows)
        meta = {**schema.meta_of(table), "unmatched": len(table) - len(index)}
        return schema.with_meta(table.take(index), "predictions", meta)

    def _timed(self, answers: pa.Table) -> pa.Table:
        """The same answers; those without a time take `seconds`, if that is given."""
        if self.seconds is None:
            return answers
        at = answers.schema.get_field_index("seconds")
        filled = pc.fill_null(answers["seconds"], pa.scalar(self.seconds, pa.float32()))
        return answers.set_column(at, answers.schema.field(at), filled)

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
        names = known = pc.unique(table["expert"]).to_pylist()
        if len(names) > 1:
            table, names = table.filter(pc.equal(table["expert"], self.name)), [self.name]
        if not table.num_rows:
            raise DataError(
                self._where, f"no answers of '{self.name}'", f"answers of {sorted(known)}", "Rename the expert."
            )
        name = pa.repeat(pa.scalar(self.name, pa.string()), table.num_rows)
        table = table.set_column(table.column_names.index("expert"), schema.PREDICTIONS.field("expert"), name)
        meta = schema.meta_of(table)
        if samples := meta.get(schema.SAMPLES, {}).get(names[0]):
            table = schema.with_meta(table, "predictions", {**meta, schema.SAMPLES: {self.name: samples}})
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
