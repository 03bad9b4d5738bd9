"""Labels as experts spell them, read as classes: " b. ", "B", "(B) because", and 1.0 for class 1."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

MARKS = ")].:;"


class Read(NamedTuple):
    """The class of each row, null where its label is none, and how many labels are spelt otherwise than their class.

    `unread` are the rows whose label is no class, `examples` up to three of those labels.
    """

    label: pa.ChunkedArray
    respelt: int
    unread: pa.ChunkedArray
    examples: tuple[str, ...]


def read_labels(labels: pa.ChunkedArray, classes: Sequence[str]) -> Read:
    """Each label as the class it names.

    The class itself; else the one class that is equal but for case, white space, marks around it and a ".0"; else the
    one class that the first line begins with, if a mark follows it ("A) ...", "(A) ...", "A: ...", "A - ...") and no
    other class is marked so in that line.
    """
    distinct = pc.unique(labels).drop_null()
    names = distinct.to_pylist()
    reader = _Reader(classes)
    found = [reader(name) for name in names]
    label = pc.take(pa.array(found, pa.string()), pc.index_in(labels, distinct))
    unread = pc.and_(pc.is_valid(labels), pc.is_null(label))
    respelt = pc.sum(pc.fill_null(pc.not_equal(labels, label), False)).as_py() or 0
    strange = (name for name, known in zip(names, found, strict=True) if known is None)
    return Read(label, respelt, unread, tuple(name for name, _ in zip(strange, range(3), strict=False)))


class _Reader:
    """Names the class that a text says, or nothing."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.exact = set(classes)
        self.bare = _unambiguous(classes)
        names = "|".join(re.escape(name) for name in sorted(self.bare, key=len, reverse=True))
        marked = rf"({names})[^\w\n]*?(?:[{re.escape(MARKS)}](?!\d)|\s-\s)"
        self.leading = re.compile(rf"[\s\"'`*_#>(\[]*{marked}")
        self.later = re.compile(rf"(?<=\W){marked}")

    def __call__(self, text: str) -> str | None:
        if text in self.exact:
            return text
        if (name := self.bare.get(_bare(text))) is not None:
            return name
        line = next((line for line in text.splitlines() if line.strip()), "").casefold()
        if (name := self.bare.get(_bare(line))) is not None:
            return name
        return self._leading(line)

    def _leading(self, line: str) -> str | None:
        first = self.leading.match(line) if self.bare else None
        if first is None:
            return None
        named = {self.bare[match[1]] for match in (first, *self.later.finditer(line, first.end()))}
        return named.pop() if len(named) == 1 else None


def _bare(text: str) -> str:
    """In lower case, without what surrounds it, a whole number without its ".0"."""
    text = re.sub(r"^[^\w+-]+|\W+$", "", text.casefold())
    return re.sub(r"^([+-]?\d+)\.0+$", r"\1", text)


def _unambiguous(classes: Sequence[str]) -> dict[str, str]:
    bare = [_bare(name) for name in classes]
    return {b: name for b, name in zip(bare, classes, strict=True) if b and bare.count(b) == 1}
