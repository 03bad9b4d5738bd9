"""The demo's generated posts as raw rows."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from deferral.config import Source
from deferral.datasets import raw_table
from deferral.datasets.tables import read_csv
from deferral.errors import ConfigError


def read(source: Source, path: Path | None = None) -> pa.Table:
    """Generate `source.rows` posts from `source.seed`; the group of a post is its kind.

    With a `path`, read them back from the CSV file that they were written to.
    """
    if path is not None:
        return read_csv(source, path)
    from deferral.demo.posts import posts

    if source.rows is None:
        raise ConfigError("Source 'demo' is generated: got no number of rows. Set rows in its source.")
    made = posts(source.rows, source.seed)
    return raw_table(
        text=[post["text"] for post in made],
        label=[post["label"] for post in made],
        group=[post["kind"] for post in made],
        source_id=[str(number) for number in range(len(made))],
    )
