"""Labels as experts spell them, read as classes: " b. ", "B", "(B) because", and 1.0 for class 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from askless.data.label_reader import LabelReader


class Read(NamedTuple):
    """The class of each row, null where its label is none, and how many labels are spelt otherwise than their class.

    `unread` are the rows whose label is no class, `examples` up to three of those labels.
    """

    label: pa.ChunkedArray
    respelt: int
    unread: pa.ChunkedArray
    examples: tuple[str, ...]


def read_labels(labels: pa.ChunkedArray, classes: Sequence[str]) -> Read:
    """Each label as the class it names, or says that it is (`data.label_reader`)."""
    distinct = pc.unique(labels).drop_null()
    names = distinct.to_pylist()
    reader = LabelReader({name: name for name in classes})
    found = [reader.label(name) for name in names]
    label = pc.take(pa.array(found, pa.string()), pc.index_in(labels, distinct))
    unread = pc.and_(pc.is_valid(labels), pc.is_null(label))
    respelt = pc.sum(pc.fill_null(pc.not_equal(labels, label), False)).as_py() or 0
    strange = (name for name, known in zip(names, found, strict=True) if known is None)
    return Read(label, respelt, unread, tuple(name for name, _ in zip(strange, range(3), strict=False)))
