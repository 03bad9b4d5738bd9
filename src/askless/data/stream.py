"""Items of any number, read a chunk at a time: JSON lines, CSV, Parquet, or lines of text; from a file or a pipe."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from askless.data.readers import as_name
from askless.data.recorded.files import shorten
from askless.errors import DataError

PIPE = "-"
KINDS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet", ".pq": "parquet", ".txt": "text"}
LONGEST_LINE = 16 * 2**20
ALLOWED = "JSON lines (.jsonl), CSV (.csv), Parquet (.parquet) or a text a line (.txt), or - for standard input"
REMEDY = "Correct the file and run again: rows answered so far are kept."
Item = tuple[str | None, str | None]


@dataclass(frozen=True)
class Chunk:
    """Some rows in a row, the first of them number `first` from 1; ids are their own, None where they have none."""

    number: int
    first: int
    ids: list[str | None]
    texts: list[str | None]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def digest(self) -> str:
        """SHA-256 of its ids and texts."""
        told = json.dumps([self.first, self.ids, self.texts], ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class ItemSource:
    """Where items come from, and which columns hold `text` and `id` where these are called otherwise.

    Raises `DataError` for a file that is missing, empty or of a kind that is not read.
    """

    path: str
    kind: str
    names: Mapping[str, str]

    @classmethod
    def of(cls, path: str, kind: str | None, names: Mapping[str, str]) -> ItemSource:
        """What `path` is, by its ending where `kind` does not say it; a pipe is JSON lines."""
        if path == PIPE:
            found = kind or "jsonl"
            if found == "parquet":
                raise DataError("standard input", "Parquet", "jsonl, csv or text there", "Give a file, or convert it.")
            return cls(path, found, names)
        file = Path(path)
        if not file.is_file():
            raise DataError(path, "no such file", ALLOWED, "Correct the path.")
        if not file.stat().st_size:
            raise DataError(path, "an empty file", ALLOWED, "Make or fetch it again.")
        found = kind or KINDS.get(file.suffix.lower(), "")
        if not found:
            raise DataError(path, f"a file that ends in '{file.suffix}'", ALLOWED, "Convert it, or say --format.")
        return cls(path, found, names)

    @property
    def where(self) -> str:
        """What it is called in errors."""
        return "standard input" if self.path == PIPE else self.path

    def chunks(self, rows: int) -> Iterator[Chunk]:
        """All items in order, `rows` at a time; raises `DataError` naming a line that is none when it comes to it."""
        items, first, number = self._items(), 1, 0
        while some := list(islice(items, rows)):
            yield Chunk(number, first, [name for name, _ in some], [text for _, text in some])
            first, number = first + len(some), number + 1

    def count(self) -> int | None:
        """How many rows there are, where that is quickly told."""
        if self.path == PIPE or self.kind == "csv":
            return None
        if self.kind == "parquet":
            import pyarrow.parquet as pq

            try:
                return int(pq.read_metadata(self.path).num_rows)
            except Exception:
                return None
        with open(self.path, "rb") as file:
            return sum(part.count(b"\n") for part in iter(lambda: file.read(2**20), b""))

    def _items(self) -> Iterator[Item]:
        if self.kind == "parquet":
            yield from self._parquet()
            return
        with self._opened() as file:
            yield from {"jsonl": self._json, "csv": self._csv, "text": self._text}[self.kind](file)

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        if self.path == PIPE:
            yield sys.stdin.buffer
            return
        try:
            with open(self.path, "rb") as file:
                yield file
        except OSError as error:
            raise DataError(self.path, f"not readable ({error.strerror or error})", ALLOWED, "Correct it.") from error

    def _decoded(self, file: BinaryIO) -> Iterator[tuple[int, str]]:
        """Lines with their number and their end; none is longer than memory allows for."""
        for number in range(1, sys.maxsize):
            raw = file.readline(LONGEST_LINE + 1)
            if not raw:
                return
            if len(raw) > LONGEST_LINE:
                raise self._broken(number, f"longer than {LONGEST_LINE // 2**20} MiB", "a row a line")
            try:
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                bad = error.object[error.start]
                raise self._broken(number, f"no UTF-8 (byte {bad:#04x})", "text in UTF-8") from None

    def _lines(self, file: BinaryIO) -> Iterator[tuple[int, str]]:
        """Lines that are not blank, without their end."""
        for number, line in self._decoded(file):
            if line.strip():
                yield number, line.rstrip("\r\n")

    def _text(self, file: BinaryIO) -> Iterator[Item]:
        for _, line in self._lines(file):
            yield None, line

    def _json(self, file: BinaryIO) -> Iterator[Item]:
        for number, line in self._lines(file):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                said = error.msg if isinstance(error, json.JSONDecodeError) else "not to be read"
                hint = ", and a list is none" if line.lstrip().startswith("[") else ""
                raise self._broken(number, said, f"an object of JSON on each line{hint}") from None
            if not isinstance(record, dict):
                raise self._broken(number, f"a {type(record).__name__}", "an object of JSON on each line")
            yield self._item(record, number)

    def _csv(self, file: BinaryIO) -> Iterator[Item]:
        csv.field_size_limit(LONGEST_LINE)
        reader = csv.DictReader((line for _, line in self._decoded(file)), strict=True)
        try:
            for record in reader:
                if None in record or None in record.values():
                    got = f"{len(reader.fieldnames or [])} columns in the header, more or fewer here"
                    raise self._broken(reader.line_num, got, "as many fields as the header has")
                yield self._item(record, reader.line_num)
        except csv.Error as error:
            raise self._broken(reader.line_num, f"malformed ({error})", "CSV with a header") from None

    def _parquet(self) -> Iterator[Item]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            file = pq.ParquetFile(self.path)
            self._item(dict.fromkeys(file.schema_arrow.names), 0)
            wanted = [self._name(name) for name in ("id", "text") if self._name(name) in file.schema_arrow.names]
            number = 0
            for batch in file.iter_batches(batch_size=1024, columns=wanted):
                for record in batch.to_pylist():
                    number += 1
                    yield self._item(record, number)
        except (pa.ArrowException, OSError) as error:
            first = str(error).splitlines()[0]
            raise DataError(self.path, f"not readable ({first})", "a whole Parquet file", "Make it again.") from None

    def _name(self, ours: str) -> str:
        return self.names.get(ours, ours)

    def _item(self, record: Mapping[str, Any], number: int) -> Item:
        """A row's own id and its text; raises `DataError` for one without a text, and a text that is none."""
        column = self._name("text")
        if column not in record:
            has = ", ".join(shorten(str(name)) for name in list(record)[:8]) or "nothing"
            raise self._broken(number, f"no '{column}' (it has {has})", f"a '{column}'", "Say --column text=ITS_NAME. ")
        text = record[column]
        if not isinstance(text, str | None):
            raise self._broken(number, f"{column} is a {type(text).__name__}", "a text, or null")
        try:
            (text or "").encode()
        except UnicodeEncodeError:
            raise self._broken(number, f"half a character in {column}", "text that is Unicode") from None
        return as_name(record.get(self._name("id"))), text

    def _broken(self, number: int, got: str, allowed: str, or_else: str = "") -> DataError:
        unit = "row" if self.kind == "parquet" else "line"
        return DataError(self.where, f"{unit} {number}: {got}", allowed, f"{or_else}{REMEDY}")
