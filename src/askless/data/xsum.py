"""XSum, BBC articles with one-sentence summaries (Narayan et al., 2018), in the Parquet files of its public copy."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from askless.config import Source
from askless.data.readers import as_name, as_text, raw_table
from askless.data.tables import parquet_table

COLUMNS = {"document": "text", "summary": "reference", "id": "source_id"}


def read(source: Source, path: Path) -> pa.Table:
    """Read one split of XSum, by its columns `document`, `summary` and `id`."""
    table = parquet_table(path, list(COLUMNS))
    columns = {ours: table[name].to_pylist() for name, ours in COLUMNS.items()}
    names = [as_name(value) for value in columns.pop("source_id")]
    return raw_table(**{name: as_text(values, name, path) for name, values in columns.items()}, source_id=names)
