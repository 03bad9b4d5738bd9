"""Items of any number, read a chunk at a time in memory that does not grow with them; from a file or a pipe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from askless.data.columns import as_name, listed
from askless.data.tables import Record, TableFile
from askless.errors import DataError
from askless.id_key import keyed

REMEDY = "Correct the file and run again: rows answered so far are kept."


class Item(NamedTuple):
    """A row's own id and its text, None where it has none; `fault` says why its text is none."""

    id: str | None
    text: str | None
    fault: str | None = None


@dataclass(frozen=True)
class Chunk:
    """Some rows in a row.

    Parameters
    ----------
    number : int
        Its place among the chunks, from 0.
    first : int
        The number of its first row, from 1.
    ids, texts : list of str or None
        Of each row, None where it has none.
    faults : tuple of str or None
        Why a row has no text, as in "text is a number"; empty where no row has such a fault.
    """

    number: int
    first: int
    ids: list[str | None]
    texts: list[str | None]
    faults: tuple[str | None, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def digest(self) -> str:
        """SHA-256 of its ids and texts, named by `id_key`."""
        content = json.dumps([self.first, self.ids, self.texts], ensure_ascii=False, separators=(",", ":"))
        return next(keyed([hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()]))


@dataclass(frozen=True)
class ItemSource:
    """Items to be answered. Use `of`.

    Parameters
    ----------
    file : TableFile
        Where they come from.
    names : mapping of str to str
        Which columns hold `text` and `id`, where these are called otherwise.
    """

    file: TableFile
    names: Mapping[str, str]

    @classmethod
    def of(cls, path: str, kind: str | None, names: Mapping[str, str]) -> ItemSource:
        """What `path` is, by its ending where `kind` does not say it; `-` is standard input, JSON lines.

        Raises `DataError` for a file that is missing, empty or of a kind that is not read.
        """
        return cls(TableFile.of(path, kind, remedy=REMEDY), names)

    @property
    def where(self) -> str:
        """What it is called in errors."""
        return self.file.where

    def count(self) -> int | None:
        """How many rows there are, where that is quickly told."""
        return self.file.count()

    def chunks(self, rows: int) -> Iterator[Chunk]:
        """All items in order, `rows` at a time; raises `DataError` naming a broken line when it comes to it."""
        items, first, number = self._items(), 1, 0
        while some := list(islice(items, rows)):
            faults = tuple(item.fault for item in some)
            yield Chunk(number, first, [i.id for i in some], [i.text for i in some], faults if any(faults) else ())
            first, number = first + len(some), number + 1

    def _items(self) -> Iterator[Item]:
        text, own = (self.names.get(ours, ours) for ours in ("text", "id"))
        columns = None
        if self.file.kind == "parquet":
            has = self.file.names()
            self._need(text, has, "row 0")
            columns = [name for name in (own, text) if name in has]
        unit = "row" if self.file.kind == "parquet" else "line"
        for number, row in self.file.rows(columns):
            self._need(text, row, f"{unit} {number}")
            value, name = row[text], as_name(row.get(own))
            good = isinstance(value, str | None)
            yield Item(name, value) if good else Item(name, None, f"{text} is no text but {type(value).__name__}")

    def _need(self, text: str, names: Record | list[str], at: str) -> None:
        if text not in names:
            got = f"{at}: no '{text}' (it has {listed(list(names), 8) or 'nothing'})"
            raise DataError(self.where, got, f"a '{text}'", f"Say --column text=ITS_NAME. {REMEDY}")
