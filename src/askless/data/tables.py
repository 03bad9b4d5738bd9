"""Generic files with a column `text` and a column `label` or `reference`: CSV, Parquet, JSON lines."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from askless.config import Source
from askless.data.readers import RAW, as_name, as_text, raw_table
from askless.errors import DataError

LARGEST_BLOCK = 2**31 - 1


def read_csv(source: Source, path: Path) -> pa.Table:
    """Read a CSV file with a header; every value is taken as text, and an empty label or reference as none."""
    return _raw(csv_table(path, ["text"]), path)


def read_parquet(source: Source, path: Path) -> pa.Table:
    """Read a Parquet file."""
    return _raw(parquet_table(path, ["text"]), path)


def read_jsonl(source: Source, path: Path) -> pa.Table:
    """Read JSON lines, or one JSON list, of objects."""
    from askless.data.recorded.paper_records import read_records

    records, _ = read_records(path)
    names = [name for name in RAW.names if any(name in record for record in records)]
    columns = {name: _strings([record.get(name) for record in records], name, path) for name in names}
    return _raw(pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}), path)


def csv_table(path: Path, names: Sequence[str]) -> pa.Table:
    """A CSV file with a header as a table of strings, values untouched.

    Raises `DataError` where it cannot be read or lacks a column of `names`; no value of the file is in the message.
    """
    from pyarrow import csv as arrow

    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file), [])
        table = arrow.read_csv(
            path,
            # A row must fit into a block, and a document may be of any length.
            arrow.ReadOptions(use_threads=False, block_size=min(path.stat().st_size + 1, LARGEST_BLOCK)),
            arrow.ParseOptions(newlines_in_values=True),
            arrow.ConvertOptions(column_types=dict.fromkeys(header, pa.string())),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError, csv.Error) as error:
        said = re.search(r"Row #\d+: Expected \d+ columns, got \d+|invalid UTF8|Empty CSV file", str(error))
        reason = said[0] if said else "malformed"
        raise DataError(path, f"unreadable ({reason})", "CSV in UTF-8 with a header", "Correct the file.") from None
    return require(table, names, path)


def parquet_table(path: Path, names: Sequence[str]) -> pa.Table:
    """A Parquet file as a table, its texts checked to be UTF-8.

    Raises `DataError` where it cannot be read or lacks a column of `names`.
    """
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        table.validate(full=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(path, f"unreadable ({error})", "a whole Parquet file", "Make or fetch it again.") from error
    return require(table, names, path)


def require(table: pa.Table, names: Sequence[str], path: Path) -> pa.Table:
    """The same table, or a `DataError` that names the missing column."""
    for name in names:
        if name not in table.column_names:
            raise DataError(
                path,
                f"missing column {name!r} (columns are {table.column_names})",
                ", ".join(names),
                "Rename or add the column.",
            )
    return table


def _raw(table: pa.Table, path: Path) -> pa.Table:
    require(table, ["text", "reference" if "reference" in table.column_names else "label"], path)
    names = [name for name in RAW.names if name in table.column_names]
    columns = {name: _strings(table[name].to_pylist(), name, path) for name in names}
    given = [name for name in ("label", "reference") if name in columns]
    return raw_table(**columns | {name: [value or None for value in columns[name]] for name in given})


def _strings(values: Sequence[object], name: str, path: Path) -> list[str | None]:
    """The values of a column as strings; a text has to be one, a name may be a number."""
    return as_text(values, name, path) if name in ("text", "reference") else [as_name(value) for value in values]
