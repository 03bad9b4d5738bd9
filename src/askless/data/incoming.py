"""New items to be answered: a file with a column `text`, and an `id` if its rows have one."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from askless.config import Task
from askless.data.columns import counted, refuse_repeated, strings
from askless.data.prepare import clean, ids
from askless.data.tables import KINDS, Wanted, read
from askless.errors import DataError

ENDINGS = tuple(ending for ending, kind in KINDS.items() if kind != "text")
ITEMS = pa.schema([pa.field(name, pa.string()) for name in ("id", "text", "source_id", "fault")])


def read_items(path: Path, task: Task, name: str) -> pa.Table:
    """The items of a file in its own order, cleaned and named as the examples of the task called `name` are.

    `source_id` is the row's own id, null where the file has none; `fault` says why a row cannot be answered, null where
    it can: a text that is empty, where the task leaves those out, or longer than its `max_chars`. Raises `DataError`
    for a file that cannot be read, lacks `text`, or has an id twice, and for an empty text where the task allows none.
    """
    table = read(path, Wanted(("text",), lambda column: column == "id"))
    texts = [clean(text or "") for text in strings(table["text"], "text", path).to_pylist()]
    own = strings(table["id"], "id", path) if "id" in table.column_names else pa.nulls(len(texts), pa.string())
    refuse_repeated(own, path, "each id once, or no column 'id'")
    empty = [row for row, text in enumerate(texts) if not text]
    if empty and task.empty_text == "error":
        got = f"an empty text in row {empty[0]} ({counted(len(empty), 'row')} in all)"
        raise DataError(path, got, "at least one visible character", "Correct it, or set empty_text to 'drop'.")
    faults = [fault_of(text, task.max_chars) for text in texts]
    return pa.table([ids(name, texts), texts, own, faults], schema=ITEMS)


def fault_of(text: str, longest: int | None) -> str | None:
    """Why a cleaned text cannot be answered: it is empty, or of more than `longest` characters; None where it can."""
    if not text:
        return "empty text"
    return f"longer than {longest:,} characters" if longest is not None and len(text) > longest else None
