"""Readers turn a raw file, or the demo, into a table with columns text, label, reference, group and source_id.

Nothing is cleaned here: `askless.data.prepare` turns such a table into examples.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pyarrow as pa

from askless.config import Source
from askless.data import tables
from askless.data.columns import strings, texts
from askless.data.tables import Wanted
from askless.errors import ConfigError, DataError

RAW = pa.schema([pa.field(name, pa.string()) for name in ("text", "label", "reference", "group", "source_id")])
ID = "id"
WANTED = Wanted(("text",), {*RAW.names, ID}.__contains__, either=("label", "reference"))
READERS = {
    "demo": "askless.data.demo.rows:read",
    "demo-documents": "askless.data.demo.rows:read_documents",
    "olhs": "askless.data.olhs:read_csv",
    "keswani": "askless.data.olhs:read_npy",
    "offline": "askless.data.recorded.paper_files:read",
    "online": "askless.data.recorded.paper_files:read",
    "summaries": "askless.data.recorded.paper_files:read",
    "xsum": "askless.data.readers:read_xsum",
    "csv": "askless.data.readers:read_table",
    "parquet": "askless.data.readers:read_table",
    "jsonl": "askless.data.readers:read_table",
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


def read_table(source: Source, path: Path) -> pa.Table:
    """Read CSV, Parquet or JSON, of any origin, with columns `text` and `label` or `reference`, or what those are."""
    names = {str(ours): theirs for ours, theirs in source.columns.items() if theirs or ours != ID}
    wanted = replace(WANTED, names=names, option="tasks.<task>.source.columns:")
    table = tables.read(path, wanted, source.kind)
    named, names = source.columns.get("id"), table.column_names
    if ID in names and (named == "" or (named is None and "source_id" in names)):
        table = table.drop([ID])
    elif ID in names:
        table = table.select([name for name in names if name != "source_id"]).rename_columns({ID: "source_id"})
    return raw_of(table, path)


def read_xsum(source: Source, path: Path) -> pa.Table:
    """Read a split of XSum (Narayan et al., 2018), BBC articles with one-sentence summaries, in its public copy."""
    columns = {"text": "document", "reference": "summary", "source_id": "id"}
    return raw_of(tables.read(path, Wanted(tuple(columns), names=columns), "parquet"), path)


def raw_of(table: pa.Table, path: Path) -> pa.Table:
    """A raw table of one that has some of its columns; an empty label or reference is none.

    Raises `DataError` for a text that is none.
    """
    columns: dict[str, list[str | None]] = {}
    for name in table.column_names:
        plain = texts if name in ("text", "reference") else lambda *of: strings(*of).to_pylist()
        values = plain(table[name], name, path)
        columns[name] = [value or None for value in values] if name in ("label", "reference") else values
    return raw_table(**columns)
