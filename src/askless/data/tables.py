"""One reader of tables for everything: CSV, JSON lines, Parquet or a text a line, from a file or a pipe.

The rules are the same whether a table is read whole (`read`) or row by row in bounded memory (`TableFile.rows`):

- text is UTF-8, with or without a byte order mark; a line ends in LF, CRLF or CR;
- CSV has a header and values that are text, with commas, semicolons, tabs or bars between them, whichever divides the
  header into most columns (of .tsv always tabs); blank lines are no rows;
- JSON is an object a line, or, where it is read whole, one list of objects or one object of columns, each a list (or
  an object by row, as pandas writes it); blank lines are no rows;
- a text file has a row a line, and a blank line is a row without a text;
- what is broken is named by its line (of Parquet, by its row), and no text of the file is in the message.
"""

from __future__ import annotations

import csv
import difflib
import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import TextIOWrapper
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, NoReturn, TextIO

import pyarrow as pa

from askless.data.columns import as_name, listed
from askless.errors import DataError

PIPE = "-"
KINDS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "jsonl",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".txt": "text",
}
ALLOWED = "CSV (.csv, .tsv), JSON lines (.jsonl, .json), Parquet (.parquet) or a text a line (.txt)"
DELIMITERS = ",;\t|"
LONGEST_LINE = 16 * 2**20
PART = 4096
Record = dict[str, Any]


def delimiter_of(path: Path | str, header: str) -> str:
    """What stands between the columns of a file of CSV with this first line."""
    if str(path).lower().endswith(".tsv"):
        return "\t"
    return max(DELIMITERS, key=lambda each: len(next(csv.reader([header], delimiter=each), [])))


@dataclass(frozen=True)
class Wanted:
    """The columns to read.

    Parameters
    ----------
    required : tuple of str
        Those that must be there, by our names.
    others : callable
        Which others are taken along.
    names : mapping of str to str
        Ours to the file's, where they differ.
    option : str
        How a person says so on the command line; empty where there is no way.
    either : tuple of str
        Of which one must be there at least.
    """

    required: tuple[str, ...]
    others: Callable[[str], bool] = lambda name: False
    names: Mapping[str, str] = field(default_factory=dict)
    option: str = ""
    either: tuple[str, ...] = ()

    def chosen(self, theirs: Sequence[str], where: str) -> dict[str, str]:
        """Which of a file's columns are read, and what they are called here; raises `DataError` for one it lacks."""
        for name in self.names.values():
            if name not in theirs:
                near = difflib.get_close_matches(name, theirs, 1)
                hint = f" Did you mean '{near[0]}'?" if near else ""
                raise DataError(where, f"no column '{name}'", f"one of {listed(theirs)}", f"Correct the name.{hint}")
        called = {name: ours for ours, name in self.names.items()}
        own = {n for n in theirs if n in (*self.required, *self.either) or self.others(n)} - set(called.values())
        keep = [n for n in theirs if n in called or n in own]
        for name in keep:
            if keep.count(name) > 1:
                raise DataError(where, f"two columns '{name}'", "one", "Rename or drop the other.")
        chosen = {name: called.get(name, name) for name in keep}
        for names in (*((name,) for name in self.required), self.either):
            if names and not set(names) & set(chosen.values()):
                got = f"no column {' or '.join(map(repr, names))} (its columns are {listed(theirs)})"
                way = f"Add it, or say which column holds it: {self.option} {names[0]}=ITS_NAME."
                allowed = f"a column '{names[0]}'" if len(names) == 1 else "one of them"
                raise DataError(where, got, allowed, way if self.option else "Add it, or rename one.")
        return chosen


@dataclass(frozen=True)
class TableFile:
    """A file of rows, or standard input.

    Parameters
    ----------
    path : str
        Where it is; `PIPE` is standard input.
    kind : str
        csv, jsonl, parquet or text.
    remedy : str
        What a person is told to do about a broken row.
    lists : bool
        Whether JSON may be one list, which takes the memory of all of it.
    halves : bool
        Whether text in JSON may hold half a character, as replies do that a limit cut.
    """

    path: str
    kind: str
    remedy: str = "Correct the file."
    lists: bool = False
    halves: bool = False

    @classmethod
    def of(cls, path: Path | str, kind: str | None = None, **more: Any) -> TableFile:
        """What `path` is, by its ending where `kind` does not say it; a pipe is JSON lines.

        Raises `DataError` for a file that is missing, empty or of a kind that is not read.
        """
        if str(path) == PIPE:
            if kind == "parquet":
                raise DataError("standard input", "Parquet", "jsonl, csv or text there", "Give a file, or convert it.")
            return cls(PIPE, kind or "jsonl", **more)
        file = Path(path)
        if not file.is_file():
            raise DataError(path, "no such file", ALLOWED, "Correct the path.")
        if not file.stat().st_size:
            raise DataError(path, "an empty file", ALLOWED, "Make or fetch it again.")
        kind = kind or KINDS.get(file.suffix.lower())
        if kind is None:
            raise DataError(path, f"a file that ends in '{file.suffix}'", ALLOWED, "Convert or rename it.")
        return cls(str(path), kind, **more)

    @property
    def where(self) -> str:
        """What it is called in errors."""
        return "standard input" if self.path == PIPE else self.path

    def rows(self, columns: Collection[str] | None = None) -> Iterator[tuple[int, Record]]:
        """Each row's number, from 1, and its values by the file's names; of Parquet only `columns`, or all.

        Raises `DataError` where it comes to a row that is none.
        """
        if self.kind == "parquet":
            with self._sound() as file:
                parts = file.iter_batches(PART, columns=columns)
                yield from enumerate((row for part in parts for row in part.to_pylist()), 1)
            return
        with self._lines() as lines:
            if self.kind == "jsonl":
                yield from self._records(lines)
            elif self.kind == "text":
                yield from ((number, {"text": line.rstrip("\r\n")}) for number, line in lines)
            else:
                names, rows = self._csv(lines)
                yield from ((number, dict(zip(names, values, strict=True))) for number, values in rows)

    def names(self) -> list[str]:
        """The columns of a Parquet file."""
        with self._sound() as file:
            return list(file.schema_arrow.names)

    def count(self) -> int | None:
        """How many rows there are, where that is quickly told."""
        if self.path == PIPE or self.kind == "csv":
            return None
        if self.kind == "parquet":
            with self._sound() as file:
                return int(file.metadata.num_rows)
        with open(self.path, "rb") as file:
            return sum(part.count(b"\n") for part in iter(lambda: file.read(2**20), b""))

    def table(self, wanted: Wanted) -> pa.Table:
        """The wanted columns, all rows, under our names; of Parquet its metadata are kept."""
        if self.kind == "parquet":
            with self._sound() as file:
                chosen = wanted.chosen(file.schema_arrow.names, self.where)
                table = file.read(columns=list(chosen)).select(list(chosen)).rename_columns(list(chosen.values()))
                table.validate(full=True)
                table = table.replace_schema_metadata(file.schema_arrow.metadata)
        elif self.kind == "csv":
            with self._lines() as lines:
                names, rows = self._csv(lines)
                chosen = wanted.chosen(names, self.where)
                table = self._columns(names, rows, chosen)
        else:
            records = [record for _, record in self.rows()]
            if not records:
                raise self._no_rows()
            chosen = wanted.chosen(list(dict.fromkeys(name for record in records for name in record)), self.where)
            table = pa.table({ours: self._values(records, name, ours) for name, ours in chosen.items()})
        if not table.num_rows:
            raise self._no_rows()
        return table

    @contextmanager
    def _lines(self) -> Iterator[Iterator[tuple[int, str]]]:
        """Lines with their number and their end."""
        newline = "" if self.kind == "csv" else None
        try:
            binary = sys.stdin.buffer if self.path == PIPE else open(self.path, "rb")
        except OSError as error:
            raise DataError(self.path, f"not readable ({error.strerror or error})", ALLOWED, "Correct it.") from error
        file = TextIOWrapper(binary, "utf-8-sig", errors="surrogateescape", newline=newline)
        try:
            yield self._decoded(file)
        finally:
            file.detach()
            if self.path != PIPE:
                binary.close()

    def _decoded(self, file: TextIO) -> Iterator[tuple[int, str]]:
        longest = sys.maxsize - 1 if self.lists else LONGEST_LINE
        for number in count(1):
            line = file.readline(longest + 1)
            if not line:
                return
            if len(line) > longest:
                self._refuse(f"line {number}: longer than {LONGEST_LINE // 2**20} MiB", "a row a line")
            self._check_utf8(line, f"line {number}")
            yield number, line

    def _check_utf8(self, line: str, at: str) -> None:
        try:
            _ = line.isascii() or line.encode()
        except UnicodeEncodeError as error:
            byte = ord(error.object[error.start]) - 0xDC00
            self._refuse(f"{at}: no UTF-8 (byte {byte:#04x})", "text in UTF-8", "Save it as UTF-8. ")

    def _records(self, lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, Record]]:
        allowed = "an object of JSON on each line" + (", or one list of objects" if self.lists else "")
        first = True
        for number, line in lines:
            if not line.strip():
                continue
            if self.lists and first and (line.lstrip().startswith("[") or _is_part(line)):
                text = line + "".join(rest for _, rest in lines)
                halves = not self.halves and _may_have_halves(text)
                for place, record in enumerate(self._whole(self._loaded(text, number, allowed))):
                    yield place + 1, self._object(record, f"record {place}", allowed, halves)
            else:
                record, halves = self._loaded(line, number, allowed), not self.halves and _may_have_halves(line)
                yield number, self._object(record, f"line {number}", allowed, halves)
            first = False

    def _whole(self, found: Any) -> Any:
        """The rows of JSON that is one value: a list of them, or an object of columns."""
        if not isinstance(found, dict):
            return found
        columns = [list(each.values()) if isinstance(each, dict) else each for each in found.values()]
        if not columns or not all(isinstance(each, list) and len(each) == len(columns[0]) for each in columns):
            return [found]
        return [dict(zip(found, values, strict=True)) for values in zip(*columns, strict=True)]

    def _loaded(self, text: str, number: int, allowed: str) -> Any:
        try:
            return json.loads(text.rstrip("\n"))
        except json.JSONDecodeError as error:
            self._refuse(f"line {number + error.lineno - 1}: {error.msg}", allowed)
        except (ValueError, RecursionError):
            self._refuse(f"line {number}: not to be read", allowed)

    def _object(self, record: Any, at: str, allowed: str, halves: bool) -> Record:
        if not isinstance(record, dict):
            self._refuse(f"{at}: a {type(record).__name__}", allowed)
        if halves:
            try:
                json.dumps(record, ensure_ascii=False).encode()
            except UnicodeEncodeError:
                self._refuse(f"{at}: half a character in text", "text that is Unicode")
        return record

    def _csv(self, lines: Iterator[tuple[int, str]]) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
        """The header, and each row's line and values."""
        csv.field_size_limit(sys.maxsize if self.lists else LONGEST_LINE)
        blank = 0
        for number, first in lines:
            if first.strip():
                blank = number - 1
                break
        else:
            raise self._no_rows()
        divided = delimiter_of(self.path, first)
        reader = csv.reader(chain([first], (line for _, line in lines)), delimiter=divided, strict=True)
        rows = self._fields(reader, blank)
        _, names = next(rows)
        return names, rows

    def _fields(self, reader: Any, blank: int) -> Iterator[tuple[int, list[str]]]:
        columns = 0
        try:
            for values in reader:
                columns = columns or len(values)
                if values and len(values) != columns:
                    got = f"{columns} columns in the header, {len(values)} here"
                    self._refuse(f"line {blank + reader.line_num}: {got}", "as many fields as the header has")
                if values:
                    yield blank + reader.line_num, values
        except csv.Error as error:
            self._refuse(f"line {blank + reader.line_num}: malformed ({error})", "CSV with a header")

    def _columns(
        self, names: Sequence[str], rows: Iterator[tuple[int, list[str]]], chosen: Mapping[str, str]
    ) -> pa.Table:
        schema = pa.schema([pa.field(ours, pa.string()) for ours in chosen.values()])
        at, parts = [names.index(name) for name in chosen], [schema.empty_table()]
        while part := [values for _, values in islice(rows, PART)]:
            columns = list(zip(*part, strict=True))
            parts.append(pa.table([pa.array(columns[place], pa.string()) for place in at], schema=schema))
        return pa.concat_tables(parts)

    def _values(self, records: Sequence[Record], name: str, ours: str) -> pa.Array:
        """A column of JSON; values of several kinds, such as 1 and "1", become names."""
        values = [record.get(name) for record in records]
        try:
            return pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            for row, value in enumerate(values):
                if isinstance(value, list | dict):
                    of = f" (id {as_name(records[row]['id'])})" if ours != "id" and "id" in records[row] else ""
                    got = f"{ours} is a {type(value).__name__} in row {row + 1} of the data{of}"
                    raise DataError(self.where, got, "one value a row", "Give each row one.") from None
            return pa.array([as_name(value) for value in values], pa.string())

    @contextmanager
    def _sound(self) -> Iterator[Any]:
        """The Parquet file, which whatever is done with it may show to be broken."""
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.path, memory_map=True) as file:
                yield file
        except (pa.ArrowException, OSError) as error:
            first = str(error).splitlines()[0].split(". ")[0]
            raise DataError(self.where, f"not readable ({first})", "a whole Parquet file", "Make it again.") from None

    def _refuse(self, got: str, allowed: str, first: str = "") -> NoReturn:
        raise DataError(self.where, got, allowed, first + self.remedy)

    def _no_rows(self) -> DataError:
        return DataError(self.where, "no rows", "at least one", "Make or fetch it again.")


def read(path: Path | str, wanted: Wanted, kind: str | None = None) -> pa.Table:
    """The wanted columns of a whole file under our names, its schema metadata kept; values of CSV are text.

    Raises `DataError` for a file that is missing, empty or no table, and for a column that it does not have.
    """
    return TableFile.of(path, kind, lists=True).table(wanted)


def read_records(path: Path | str) -> tuple[list[Record], bool]:
    """The objects of a JSON list or of JSON lines, and whether it was lines; `DataError` naming the broken line."""
    file = TableFile(str(path), "jsonl", "Correct the line, or fetch it again.", lists=True)
    with file._lines() as lines:
        first = next(((number, line) for number, line in lines if line.strip()), None)
        records = [] if first is None else [record for _, record in file._records(chain([first], lines))]
    return records, first is None or not first[1].lstrip().startswith("[")


def _is_part(line: str) -> bool:
    """Whether a line is no record of JSON lines: it has columns, or is the first of an object of several lines."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return line.strip() == "{"
    return isinstance(found, dict) and len(found) > 1 and all(isinstance(each, list | dict) for each in found.values())


def _may_have_halves(text: str) -> bool:
    """Whether JSON may hold half a character: only an escape can be one, for the text itself is UTF-8."""
    return "\\ud" in text.lower()
