"""The demo's generated posts and documents as raw rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from askless.config import Source
from askless.data import tables
from askless.data.readers import WANTED, raw_of, raw_table
from askless.errors import ConfigError


def read(source: Source, path: Path | None = None) -> pa.Table:
    """Generate `source.rows` posts with labels from `source.seed`; the group of a post is its kind.

    With a `path`, read them back from the CSV file that they were written to.
    """
    from askless.data.demo.posts import posts

    return _rows(source, path, posts, "label")


def read_documents(source: Source, path: Path | None = None) -> pa.Table:
    """Generate `source.rows` documents with reference summaries, as `read` does posts."""
    from askless.data.demo.documents import documents

    return _rows(source, path, documents, "reference")


def _rows(source: Source, path: Path | None, make: Callable[[int, int], list[dict[str, str]]], gold: str) -> pa.Table:
    if path is not None:
        return raw_of(tables.read(path, WANTED, "csv"), path)
    if source.rows is None:
        raise ConfigError(f"Source '{source.kind}' is generated: got no number of rows. Set rows in its source.")
    made = make(source.rows, source.seed)
    columns = {name: [row[key] for row in made] for name, key in (("text", "text"), (gold, gold), ("group", "kind"))}
    return raw_table(**columns, source_id=[str(number) for number in range(len(made))])
