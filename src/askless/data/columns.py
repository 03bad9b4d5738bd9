"""Columns that anybody wrote, as text or as numbers, and the first value that is neither."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from askless.errors import DataError

NOTHING = ["", "nan", "null", "none", "na", "n/a"]
NUMBER = r"^[+-]?(inf(inity)?|nan|\d+\.?\d*(e[+-]?\d+)?|\.\d+(e[+-]?\d+)?)$"
WHOLE = r"^-?\d+\.0$"


def strings(column: pa.ChunkedArray, name: str, path: Path | str) -> pa.ChunkedArray:
    """A column as text: 1, 1.0 and "1" are all "1", true is "true", NaN is null.

    So are ids "1.0" where all are written so, as pandas does beside a missing one. Raises `DataError` for lists and
    other things that are no plain values.
    """
    column = _plain(column)
    kind = column.type
    if pa.types.is_floating(kind):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
        whole = pc.and_(pc.equal(column, pc.round(column)), pc.less(pc.abs(column), 2.0**53))
        counted = pc.cast(pc.if_else(whole, column, 0.0), pa.int64(), safe=False)
        return pc.if_else(whole, counted.cast(pa.string()), column.cast(pa.string()))
    try:
        column = column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(path, f"column '{name}' is {kind}", "text or numbers", "Convert the column.") from None
    if name == "id" and pc.all(pc.match_substring_regex(column, WHOLE)).as_py():
        return pc.utf8_slice_codeunits(column, 0, -2)
    return column


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


def texts(column: pa.ChunkedArray, name: str, path: Path) -> list[str | None]:
    """A column of texts; raises `DataError` for a number, a list or an object, which is none."""
    values = column.to_pylist()
    for row, value in enumerate(values):
        if not isinstance(value, str | None):
            got = f"{name} is no text but {type(value).__name__} in row {row + 1} of the data"
            raise DataError(path, got, "texts", "Correct the file, or name the column that holds texts.")
    return list(values)


def as_name(value: object) -> str | None:
    """A label or an id as it is kept in tables: 1, 1.0 and "1" are all "1"; nothing stays nothing."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def refuse(column: pa.ChunkedArray, bad: pa.ChunkedArray, name: str, path: Path | str, allowed: str) -> None:
    """Raise `DataError` with the first bad value of a column, shortened, its row from 1, and how many there are."""
    bad = pc.fill_null(bad, False)
    count = pc.sum(bad).as_py() or 0
    if count:
        row = pc.index(bad, True).as_py()
        said = shorten(str(column[row].as_py())) or "empty"
        got = f"{name} is {said} in row {row + 1} of the data ({counted(count, 'row')} in all)"
        raise DataError(path, got, allowed, "Correct it, or leave the column out.")


def refuse_repeated(
    ids: pa.ChunkedArray, where: Path | str, allowed: str, remedy: str = "Remove the duplicates.", whose: str = ""
) -> None:
    """Raise `DataError` where an id comes twice; `whose` stands before what is said of it."""
    counts = pc.value_counts(ids.drop_null())
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        got = f"{whose}{counted(len(twice), 'id')} more than once (first '{shorten(str(twice[0]['values']))}')"
        raise DataError(where, got, allowed, remedy)


def shorten(text: str, size: int = 20) -> str:
    """At most `size` characters, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= size else line[: size - 3] + "..."


def counted(number: int, what: str) -> str:
    """`1 item`, `1,200 items`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names with commas between them, each shortened, the first `most` of them."""
    shown = ", ".join(map(shorten, names[:most]))
    return f"{shown}, ..." if len(names) > most else shown


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
