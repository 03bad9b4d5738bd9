"""The answers of a run: a part for each chunk, put together in order when the last is there."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from askless import schema
from askless.data.stream import Chunk
from askless.errors import DataError
from askless.files import replacing

OUTPUT = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string()),
        pa.field("answer", pa.string()),
        pa.field("expert", pa.string()),
        pa.field("score", pa.float64()),
        pa.field("cost", pa.float64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("error", pa.string()),
    ]
)
KINDS = {".jsonl": "jsonl", ".csv": "csv", ".parquet": "parquet"}
Writer = Callable[[Iterator[pa.Table], Path, pa.Schema, Mapping[str, Any]], None]
FORMULA = ("=", "+", "-", "@", "\t", "\r")
NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?")
REMEDY = "Remove the part, and run again: what was paid for is kept."


def output(chunk: Chunk, answered: pa.Table, texts: bool = True) -> pa.Table:
    """Answered texts of a chunk as rows of `OUTPUT`: under their own ids or their numbers, the texts as they came.

    Beside rows with ids of their own, which may be numbers too, number 5 is called row-5.
    """
    before = "" if not any(chunk.ids) else "row-"
    own = [f"{before}{chunk.first + n}" if name is None else name for n, name in enumerate(chunk.ids)]
    columns = {name: answered[name] for name in OUTPUT.names}
    shown = pa.array(chunk.texts if texts else [None] * len(chunk), pa.string())
    columns |= {"id": pa.array(own, pa.string()), "text": shown}
    return pa.table(columns, schema=OUTPUT)


def kind_of(path: Path) -> str:
    """The format of an output by its ending; raises `DataError` for another."""
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise DataError(path, f"a file that ends in '{path.suffix}'", ", ".join(KINDS), "Give it one of these endings.")
    return kind


class Parts:
    """The parts of a run; each knows the rows it answers.

    Parameters
    ----------
    folder
        Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, number: int) -> Path:
        """Where part `number` is."""
        return self.folder / f"{number:08d}.parquet"

    def numbers(self) -> list[int]:
        """Those that are there, in order."""
        return sorted(int(path.stem) for path in self.folder.glob(f"{8 * '[0-9]'}.parquet"))

    def reasons(self, chunk: Chunk, where: str) -> Counter[str] | None:
        """How often a part has each reason; None where it is not there. Raises `DataError` for one of other rows."""
        path = self.path(chunk.number)
        if not path.exists():
            return None
        about = _meta(path)
        if about.get("digest") != chunk.digest:
            last = chunk.first + len(chunk) - 1
            raise DataError(
                path,
                f"it answers other rows than {chunk.first:,} to {last:,} of {where}",
                "the rows that this run began with",
                "Give the same input again, or another output for a new one.",
            )
        reasons = about.get("reasons")
        if not isinstance(reasons, dict) or not all(isinstance(count, int) for count in reasons.values()):
            raise DataError(path, f"reasons {reasons!r}", "a part as it was written", REMEDY)
        return Counter(reasons)

    def write(self, chunk: Chunk, rows: pa.Table) -> Counter[str]:
        """Keep the answers to a chunk, whole or not at all; returns how often they have each reason."""
        reasons = Counter(rows["reason"].to_pylist())
        meta = {"digest": chunk.digest, "reasons": dict(reasons)}
        with replacing(self.path(chunk.number), private=True) as part:
            pq.write_table(schema.with_meta(rows, "labelled", meta), part, compression="zstd")
        return reasons

    def merge(self, out: Path, meta: Mapping[str, Any], texts: bool, raw: bool = False) -> None:
        """All parts in order as one file, a part at a time; `raw`: of a CSV, cells as they are (`inert`)."""
        columns = pa.schema([field for field in OUTPUT if texts or field.name != "text"])
        write_output(out, self.tables(columns.names), columns, meta, raw)

    def clear(self) -> None:
        """Remove them."""
        for number in self.numbers():
            self.path(number).unlink()

    def tables(self, names: list[str]) -> Iterator[pa.Table]:
        """These columns of each part, in order."""
        for number in self.numbers():
            yield _readable(self.path(number)).select(names)


def write_output(
    out: Path, tables: Iterator[pa.Table], columns: pa.Schema, meta: Mapping[str, Any], raw: bool = False
) -> None:
    """Tables of these columns as one file, in the format of its ending, one at a time; `raw` as of `Parts.merge`."""
    as_csv: Writer = partial(_csv, guarded=not raw)
    write = {"jsonl": _jsonl, "csv": as_csv, "parquet": _parquet}[kind_of(out)]
    with replacing(out) as part:
        write(tables, part, columns, meta)


def _readable(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(path, f"unreadable ({error})", "a part as it was written", REMEDY) from error


def _meta(path: Path) -> dict[str, Any]:
    try:
        return schema.meta_of(pq.read_schema(path).empty_table())
    except (pa.ArrowException, OSError) as error:
        raise DataError(path, f"unreadable ({error})", "a part as it was written", REMEDY) from error


def _jsonl(tables: Iterator[pa.Table], path: Path, columns: pa.Schema, meta: Mapping[str, Any]) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for table in tables:
            file.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in table.to_pylist())


def inert(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: a text that begins like one gets an apostrophe before it.

    >>> inert('=HYPERLINK("http://example.org")'), inert("-5"), inert(-5.0), inert("2 - 1")
    ('\'=HYPERLINK("http://example.org")', '-5', -5.0, '2 - 1')
    """
    if not isinstance(cell, str) or not cell.startswith(FORMULA) or NUMBER.fullmatch(cell):
        return cell
    return f"'{cell}"


def _csv(
    tables: Iterator[pa.Table], path: Path, columns: pa.Schema, meta: Mapping[str, Any], guarded: bool = True
) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns.names)
        for table in tables:
            values = (table[name].to_pylist() for name in columns.names)
            writer.writerows(zip(*(map(inert, each) if guarded else each for each in values), strict=True))


def _parquet(tables: Iterator[pa.Table], path: Path, columns: pa.Schema, meta: Mapping[str, Any]) -> None:
    wanted = schema.with_meta(columns.empty_table(), "labelled", meta).schema
    with pq.ParquetWriter(path, wanted, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table.replace_schema_metadata(wanted.metadata))
