"""The file to be annotated: its different texts in memory, its rows read again when the output is written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from askless.arrays import Ints
from askless.data.columns import listed
from askless.data.incoming import fault_of
from askless.data.prepare import clean, ids
from askless.data.tables import PART, TableFile
from askless.errors import DataError
from askless.plans.floors import NO_GROUP

# Each needs a sample of its own.
GROUPS = 50
REMEDY = "Correct the file and run again: what was paid for is kept."


@dataclass(frozen=True, eq=False)
class TextTable:
    """A file's rows, and the different texts among them.

    Parameters
    ----------
    file
        Where the rows are.
    column
        Which column holds the texts.
    columns
        The file's columns and their types, as an output has them.
    ids, texts
        Of each different text that can be answered, cleaned, in the order in which they come first.
    of_row
        The text of each row, -1 for a row without one that can be answered, (rows,).
    faults
        Row to what makes it unanswerable.
    groups
        Of each group of rows how many have each text, (texts,); of all rows under None where no column says.
    """

    file: TableFile
    column: str
    columns: pa.Schema
    ids: list[str]
    texts: list[str]
    of_row: Ints
    faults: Mapping[int, str]
    groups: Mapping[str | None, Ints]

    @classmethod
    def read(
        cls,
        file: TableFile,
        column: str,
        task: str,
        new: Sequence[str],
        longest: int | None = None,
        group: str | None = None,
    ) -> TextTable:
        """Look through a file once.

        Parameters
        ----------
        file
            Of any kind that can be read twice.
        column
            The column of texts.
        task
            What the ids of texts are named after.
        new
            Columns that will be added, which the file may not have.
        longest
            Texts of more characters cannot be answered; None for no limit.
        group
            The column of the rows' groups; None for one group of all rows.

        Returns
        -------
        TextTable

        Raises
        ------
        DataError
            For a column that is missing or there already, and a file without a text that can be answered.
        """
        seen: dict[str, int] = {}
        texts: list[str] = []
        of_row: list[int] = []
        faults: dict[int, str] = {}
        group_of: list[str | None] = []
        schemas = [] if file.kind != "parquet" else [_parquet_schema(file)]
        for part in _parts(file.rows()):
            _check_columns(file, part[0], column, group)
            if file.kind != "parquet":
                schemas.append(_schema(part))
            for row in part:
                group_of.append(None if group is None else NO_GROUP if row.get(group) is None else str(row[group]))
                text, fault = _text_of(row.get(column), column, longest)
                if fault is not None:
                    faults[len(of_row)] = fault
                    of_row.append(-1)
                    continue
                place = seen.setdefault(text, len(texts))
                if place == len(texts):
                    texts.append(text)
                of_row.append(place)
        if not texts:
            raise DataError(file.where, "no text that can be answered", "at least one", REMEDY)
        columns = _unified(schemas, file.where)
        if there := [name for name in new if name in columns.names]:
            got = f"a column '{there[0]}' already"
            raise DataError(file.where, got, "a file without it", "Rename it, or give --prefix llm_, say.")
        groups = _counts(file, np.array(of_row, np.int64), group_of, len(texts))
        return cls(file, column, columns, ids(task, texts), texts, np.array(of_row, np.int64), faults, groups)

    def __len__(self) -> int:
        return len(self.of_row)

    def with_columns(self, new: Mapping[str, pa.Array]) -> Iterator[pa.Table]:
        """All rows in their order, and these columns (rows,) beside theirs, some thousand at a time."""
        at = 0
        for part in _parts(self.file.rows()):
            table = pa.Table.from_arrays([_array(part, each) for each in self.columns], schema=self.columns)
            for name, values in new.items():
                table = table.append_column(name, values.slice(at, len(part)))
            at += len(part)
            yield table


def _check_columns(file: TableFile, row: Mapping[str, Any], column: str, group: str | None) -> None:
    for name, what, option in ((column, "texts", "--text"), (group, "groups", "--per-group")):
        if name is not None and name not in row:
            got = f"no column '{name}' (its columns are {listed(list(row)) or 'none'})"
            raise DataError(file.where, got, f"the column that holds the {what}", f"Name it with {option}.")


def _counts(file: TableFile, of_row: Ints, group_of: Sequence[str | None], texts: int) -> dict[str | None, Ints]:
    """Rows of each group that have each text."""
    names = {name: n for n, name in enumerate(dict.fromkeys(group_of))}
    if len(names) > GROUPS:
        got = f"{len(names):,} groups of rows"
        raise DataError(file.where, got, f"up to {GROUPS}", "Name a column of fewer with --per-group.")
    number, there = np.array([names[name] for name in group_of]), of_row >= 0
    found = {name: np.bincount(of_row[there & (number == n)], minlength=texts) for name, n in names.items()}
    return {name: count for name, count in found.items() if count.any()}


def _parts(rows: Iterator[tuple[int, dict[str, Any]]]) -> Iterator[list[dict[str, Any]]]:
    values = (row for _, row in rows)
    while part := list(islice(values, PART)):
        yield part


def _text_of(value: object, column: str, longest: int | None) -> tuple[str, str | None]:
    """A cell's text, cleaned, and why it cannot be answered, None where it can."""
    if value is not None and not isinstance(value, str):
        return "", f"{column} is no text but {type(value).__name__}"
    text = clean(value or "")
    return text, fault_of(text, longest)


def _parquet_schema(file: TableFile) -> pa.Schema:
    import pyarrow.parquet as pq

    return pq.read_schema(file.path).remove_metadata()


def _schema(part: Sequence[Mapping[str, Any]]) -> pa.Schema:
    """The columns of some rows, by their values."""
    names = dict.fromkeys(name for row in part for name in row)
    return pa.schema([pa.field(name, _type([row.get(name) for row in part])) for name in names])


def _type(values: Sequence[Any]) -> pa.DataType:
    """That of a column's values; text where they are of several kinds."""
    try:
        return pa.array(values).type
    except (pa.ArrowException, OverflowError):
        return pa.string()


def _array(part: Sequence[Mapping[str, Any]], field: pa.Field) -> pa.Array:
    """A column of some rows; what is no text in one of texts is written as JSON."""
    values = [row.get(field.name) for row in part]
    if pa.types.is_string(field.type):
        values = [
            each if each is None or isinstance(each, str) else json.dumps(each, ensure_ascii=False) for each in values
        ]
    return pa.array(values, field.type)


def _unified(schemas: Sequence[pa.Schema], where: str) -> pa.Schema:
    try:
        return pa.unify_schemas(list(dict.fromkeys(schemas)), promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        first = str(error).splitlines()[0]
        raise DataError(where, f"a column of several kinds ({first})", "one kind of value a column", REMEDY) from None
