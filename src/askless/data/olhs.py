"""OLHS, the offensive-language tweets of Davidson et al. (2017), as published and as Keswani et al. (2021) pack them.

The binary label is that of the team paper: 1 where the class is hate speech (0) or offensive (1), 0 where it is neither
(2). The group of a row is the name of its class.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from askless.config import Source
from askless.data import tables
from askless.data.columns import as_name
from askless.data.plain_pickle import load_npy
from askless.data.readers import raw_table
from askless.data.tables import Wanted
from askless.errors import DataError

CLASSES = {"0": "hate", "1": "offensive", "2": "neither"}


def read_csv(source: Source, path: Path) -> pa.Table:
    """Read Davidson's `labeled_data.csv`, by its columns `tweet` and `class`."""
    table = tables.read(path, Wanted(("class", "tweet"), lambda name: name == ""), "csv")
    kept = table[""].to_pylist() if "" in table.column_names else list(map(str, range(table.num_rows)))
    return _binary(table["tweet"].to_pylist(), table["class"].to_pylist(), kept, path)


def read_npy(source: Source, path: Path) -> pa.Table:
    """Read Keswani's `labelled_data.npy`, a pickled dict of posts (lists of tokens) and labels, without running it."""
    data = load_npy(path)
    try:
        posts, labels = list(data["posts"]), [as_name(label) for label in data["labels"]]
        texts = [" ".join(post) for post in posts]
    except (TypeError, KeyError, IndexError) as error:
        raise _not_keswani(path, f"{type(error).__name__} {error}") from None
    if len(texts) != len(labels):
        raise _not_keswani(path, f"{len(texts)} posts and {len(labels)} labels")
    return _binary(texts, labels, [str(number) for number in range(len(texts))], path)


def _binary(texts: Sequence[str], classes: Sequence[str | None], kept: Sequence[str], path: Path) -> pa.Table:
    for row, name in enumerate(classes):
        if name not in CLASSES:
            raise DataError(path, f"class {name!r} in row {row}", "0, 1 or 2", "Fetch the original file again.")
    names = [str(name) for name in classes]
    return raw_table(
        text=texts,
        label=["1" if int(name) < 2 else "0" for name in names],
        group=[CLASSES[name] for name in names],
        source_id=kept,
    )


def _not_keswani(path: Path, got: str) -> DataError:
    return DataError(path, got, "a dict of posts (lists of tokens) and labels", "Fetch the original file again.")
