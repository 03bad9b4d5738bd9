"""Tables that anybody wrote: Parquet, CSV or JSON lines alike, their columns as text or as numbers.

No column is looped over in Python, but for JSON, which is parsed a record at a time.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from askless.data.readers import as_name
from askless.errors import DataError

KINDS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
}
ALLOWED = "a file in Parquet, CSV or JSON lines (.parquet, .csv, .jsonl, .json)"
NOTHING = ["", "nan", "null", "none", "na", "n/a"]
NUMBER = r"^[+-]?(inf(inity)?|nan|\d+\.?\d*(e[+-]?\d+)?|\.\d+(e[+-]?\d+)?)$"


@dataclass(frozen=True)
class Wanted:
    """The columns to read: those that must be there, and which others are taken along.

    `names` maps our names to the file's where they differ; `option` is how a person says so.
    """

    required: tuple[str, ...]
    others: Callable[[str], bool]
    names: Mapping[str, str] = field(default_factory=dict)
    option: str = "--column"


def read(path: Path | str, wanted: Wanted) -> pa.Table:
    """The wanted columns of a file under our names, its schema metadata kept.

    Raises `DataError` for a file that is missing, empty or no table, and for a column that it does not have.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(path, "no such file", ALLOWED, "Correct the path.")
    if not path.stat().st_size:
        raise DataError(path, "an empty file", ALLOWED, "Make or fetch it again.")
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise DataError(path, f"a file that ends in '{path.suffix}'", ALLOWED, "Convert or rename it.")
    try:
        table = {"parquet": _parquet, "csv": _csv, "json": _json}[kind](path, wanted)
    except OSError as error:
        raise DataError(path, f"not readable ({error.strerror or error})", ALLOWED, "Make or fetch it again.") from None
    if not table.num_rows:
        raise _no_rows(path)
    return table


def strings(column: pa.ChunkedArray, name: str, path: Path | str) -> pa.ChunkedArray:
    """A column as text: 1, 1.0 and "1" are all "1", true is "true", NaN is null.

    Raises `DataError` for lists and other things that are no plain values.
    """
    column = _plain(column)
    kind = column.type
    if pa.types.is_floating(kind):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
        whole = pc.and_(pc.equal(column, pc.round(column)), pc.less(pc.abs(column), 2.0**53))
        counted = pc.cast(pc.if_else(whole, column, 0.0), pa.int64(), safe=False)
        return pc.if_else(whole, counted.cast(pa.string()), column.cast(pa.string()))
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(path, f"column '{name}' is {kind}", "text or numbers", "Convert the column.") from None


def numbers(column: pa.ChunkedArray, name: str, path: Path | str) -> pa.ChunkedArray:
    """A column as float64; an empty text is null. Raises `DataError` naming the first value that is no number."""
    column = _plain(column)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        text = pc.utf8_lower(pc.utf8_trim_whitespace(column))
        text = pc.if_else(pc.is_in(text, pa.array(NOTHING, text.type)), pa.scalar(None, text.type), text)
        refuse(text, pc.invert(pc.match_substring_regex(text, NUMBER)), name, path, "a number, or nothing")
        return text.cast(pa.float64())
    try:
        return column.cast(pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(path, f"column '{name}' is {column.type}", "numbers", "Convert the column.") from None


def refuse(column: pa.ChunkedArray, bad: pa.ChunkedArray, name: str, path: Path | str, allowed: str) -> None:
    """Raise `DataError` with the first bad value of a column, shortened, and how many there are."""
    bad = pc.fill_null(bad, False)
    count = pc.sum(bad).as_py() or 0
    if count:
        row = pc.index(bad, True).as_py()
        got = f"{name} is {shorten(str(column[row].as_py())) or 'empty'} in row {row} ({counted(count, 'row')} in all)"
        raise DataError(path, got, allowed, "Correct it, or leave the column out.")


def shorten(text: str, size: int = 20) -> str:
    """At most `size` characters, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= size else line[: size - 3] + "..."


def counted(number: int, what: str) -> str:
    """`1 item`, `1,200 items`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _no_rows(path: Path) -> DataError:
    return DataError(path, "no rows", "at least one", "Make or fetch it again.")


def _parquet(path: Path, wanted: Wanted) -> pa.Table:
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, memory_map=True)
        chosen = _chosen(file.schema_arrow.names, wanted, path)
        return file.read(columns=list(chosen)).select(list(chosen)).rename_columns(list(chosen.values()))
    except (pa.ArrowException, OSError) as error:
        first = str(error).splitlines()[0].split(". ")[0]
        raise DataError(path, f"not readable ({first})", "a whole Parquet file", "Make or fetch it again.") from None


def _csv(path: Path, wanted: Wanted) -> pa.Table:
    from askless.data.tables import csv_table

    try:
        table = csv_table(path, ())
    except DataError:
        _refuse_encoding(path)
        raise
    chosen = _chosen(table.column_names, wanted, path)
    return table.select(list(chosen)).rename_columns(list(chosen.values()))


def _refuse_encoding(path: Path) -> None:
    try:
        with open(path, encoding="utf-8") as file:
            for _ in file:
                pass
    except UnicodeDecodeError as error:
        got = f"not UTF-8 (byte {error.object[error.start]:#04x})"
        raise DataError(path, got, "CSV in UTF-8 with a header", "Save it as UTF-8.") from None


def _json(path: Path, wanted: Wanted) -> pa.Table:
    from askless.data.recorded.paper_records import read_records

    records, _ = read_records(path)
    if not records:
        raise _no_rows(path)
    chosen = _chosen(list(dict.fromkeys(name for record in records for name in record)), wanted, path)
    return pa.table({ours: _values([record.get(name) for record in records]) for name, ours in chosen.items()})


def _values(values: list[object]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([as_name(value) for value in values], pa.string())


def _chosen(theirs: Sequence[str], wanted: Wanted, path: Path) -> dict[str, str]:
    """Which of the file's columns are read, and what they are called here."""
    for name in wanted.names.values():
        if name not in theirs:
            near = difflib.get_close_matches(name, theirs, 1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise DataError(path, f"no column '{name}'", f"one of {_listed(theirs)}", f"Correct its name.{hint}")
    called = {name: ours for ours, name in wanted.names.items()}
    own = {n for n in theirs if n in wanted.required or wanted.others(n)} - set(called.values())
    keep = [n for n in theirs if n in called or n in own]
    for name in keep:
        if keep.count(name) > 1:
            raise DataError(path, f"two columns '{name}'", "one", "Rename or drop the other.")
    chosen = {name: called.get(name, name) for name in keep}
    for name in wanted.required:
        if name not in chosen.values():
            got = f"no column '{name}' (its columns are {_listed(theirs)})"
            remedy = f"Add it, or say which column holds it: {wanted.option} {name}=ITS_NAME."
            raise DataError(path, got, f"a column '{name}'", remedy)
    return chosen


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(shorten, names[:12]))
    return f"{shown}, ..." if len(names) > 12 else shown
