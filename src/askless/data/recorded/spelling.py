"""Labels as experts spell them, read as classes: " b. ", "B", "(B) because", and 1.0 for class 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from askless.data.label_reader import LabelReader
from askless.errors import ConfigError

SHOWN = 5
NOTHING: Mapping[str, str] = MappingProxyType({})


class Read(NamedTuple):
    """The class of each row, null where its label is none, and how many labels are spelt otherwise than their class.

    `unread` are the rows whose label is no class, `empty` those whose label has nothing in it; `examples` are up to
    five of the unread labels, the most frequent first, and how often each comes.
    """

    label: pa.ChunkedArray
    respelt: int
    unread: pa.ChunkedArray
    empty: pa.ChunkedArray
    examples: tuple[tuple[str, int], ...]


def read_labels(labels: pa.ChunkedArray, classes: Sequence[str], spelt: Mapping[str, str] = NOTHING) -> Read:
    """Each label as the class that `spelt` says of it, else as the one it names, or says that it is.

    Raises `ConfigError` where `spelt` says something that is no class. See `data.label_reader`.
    """
    for name in spelt.values():
        if name not in classes:
            raise ConfigError.unknown("class", name, classes)
    distinct = pc.unique(labels).drop_null()
    names = distinct.to_pylist()
    reader = LabelReader({name: name for name in classes})
    found = [spelt.get(name.strip()) or reader.label(name) for name in names]
    label = pc.take(pa.array(found, pa.string()), pc.index_in(labels, distinct))
    empty = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(labels), ""), False)
    unread = pc.and_(pc.and_(pc.is_valid(labels), pc.is_null(label)), pc.invert(empty))
    respelt = pc.sum(pc.fill_null(pc.not_equal(labels, label), False)).as_py() or 0
    often = Counter(labels.filter(unread).to_pylist()).most_common(SHOWN)
    return Read(label, respelt, unread, empty, tuple(often))
