"""Readers turn a raw file, or the demo, into a table with columns text, label, reference, group and source_id.

Nothing is cleaned here: `askless.data.prepare` turns such a table into examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pyarrow as pa

from askless.config import Source
from askless.errors import ConfigError, DataError

RAW = pa.schema([pa.field(name, pa.string()) for name in ("text", "label", "reference", "group", "source_id")])
READERS = {
    "demo": "askless.data.demo.rows:read",
    "demo-documents": "askless.data.demo.rows:read_documents",
    "olhs": "askless.data.olhs:read_csv",
    "keswani": "askless.data.olhs:read_npy",
    "offline": "askless.data.recorded.paper_files:read",
    "online": "askless.data.recorded.paper_files:read",
    "summaries": "askless.data.recorded.paper_files:read",
    "xsum": "askless.data.xsum:read",
    "csv": "askless.data.tables:read_csv",
    "parquet": "askless.data.tables:read_parquet",
    "jsonl": "askless.data.tables:read_jsonl",
}
WITHOUT_FILE = ("demo", "demo-documents")


def read(source: Source, path: Path | str | None = None) -> pa.Table:
    """The raw rows of a source, in its own order; `path` is the file that `askless.data.sources.obtain` gave.

    `source.rows` keeps only the first rows. Raises `ConfigError` for an unknown kind or a missing path, `DataError` for
    a file that is missing, empty or not of its kind.
    """
    if source.kind not in READERS:
        raise ConfigError.unknown("kind of source", source.kind, READERS)
    if path is None and source.kind not in WITHOUT_FILE:
        raise ConfigError(f"Source '{source.kind}' is read from a file: got none. Set path or url in its source.")
    if path is not None and not (Path(path).is_file() and Path(path).stat().st_size):
        got = "a folder" if Path(path).is_dir() else "a file of 0 bytes" if Path(path).exists() else "no such file"
        raise DataError(path, got, f"a file of kind '{source.kind}'", "Correct the path, or fetch the file again.")
    module, _, function = READERS[source.kind].partition(":")
    raw: pa.Table = getattr(import_module(module), function)(source, path)
    return raw.slice(0, source.rows) if source.rows else raw


def raw_table(**columns: object) -> pa.Table:
    """A raw table from lists; a column that is not given is null in every row."""
    count = max((len(values) for values in columns.values() if hasattr(values, "__len__")), default=0)
    arrays = [pa.array(columns[n], pa.string()) if n in columns else pa.nulls(count, pa.string()) for n in RAW.names]
    return pa.Table.from_arrays(arrays, schema=RAW)


def as_text(values: Sequence[object], name: str, path: Path) -> list[str | None]:
    """The values of a column of texts; raises `DataError` for a number, a list or an object, which is none."""
    for row, value in enumerate(values):
        if not isinstance(value, str | None):
            got = f"{name} is no text but {type(value).__name__} in row {row}"
            raise DataError(path, got, "texts", "Correct the file, or name the column that holds texts.")
    return list(values)  # type: ignore[arg-type]


def as_name(value: object) -> str | None:
    """A label or an id as it is kept in tables: 1, 1.0 and "1" are all "1"; nothing stays nothing."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
