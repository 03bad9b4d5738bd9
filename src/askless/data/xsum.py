"""XSum, BBC articles with one-sentence summaries (Narayan et al., 2018), in the Parquet files of its public copy."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from askless.config import Source
from askless.data import tables
from askless.data.readers import raw_of
from askless.data.tables import Wanted

COLUMNS = {"text": "document", "reference": "summary", "source_id": "id"}


def read(source: Source, path: Path) -> pa.Table:
    """Read one split of XSum, by its columns `document`, `summary` and `id`."""
    return raw_of(tables.read(path, Wanted(tuple(COLUMNS), names=COLUMNS), "parquet"), path)
