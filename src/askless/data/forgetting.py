"""Rows about some items, or from before a day, taken out of whatever files hold them.

No file is read whole. One that loses rows is written aside and renamed, with its rights and its times; rows that stay
are the same bytes in JSON lines, CSV and text. Pages that quote an item go whole, for they can be made again. What can
be neither is told.
"""

from __future__ import annotations

import csv
import json
import math
import mmap
import os
import re
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from askless import id_key
from askless.data.prepare import clean, ids, own_ids
from askless.data.tables import KINDS, delimiter_of
from askless.errors import DataError
from askless.files import locked, replacing

IDS = ("id", "source_id")
PAGES = (".html", ".md")
SKIPPED = (".dvc", ".git")
LOG_PART = re.compile(r"\d{8}T\d{6}\.\d+Z-.*")
RUN, LOCKS, BUNDLE = "run.json", ".*lock", "bundle.json"
HELD = "in a bundle, which holds its files to their digests: train or register it anew"
LINKED = "only linked to from these folders: take it out of this file yourself, or name its folder"
ROWS = 65_536
# Of answers (`replies` and `days` in earlier files of them), of ledgers, and of what a model learns from.
TABLES = ("answers", "set_aside", "replies", "calls", "days", "decided", "names")
COUNTED = ("answers", "set_aside", "calls", "decided")
# Shorter ones are found in files that do not have them.
SHORTEST, LONGEST = 12, 200
WAIT_S = 5.0
What = Literal["rows", "file", "left"]


class Found(NamedTuple):
    """A file that held something: rows were taken out, or all of it was, or it is left with a reason."""

    path: Path
    what: What
    rows: int = 0
    why: str = ""


@dataclass(frozen=True)
class Forgotten:
    """What is to be forgotten.

    Parameters
    ----------
    ids, texts
        Of items, texts cleaned.
    keys
        Of kept answers.
    before
        Instead of these: what is older.
    """

    ids: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    before: datetime | None = None

    def is_id(self, value: Any) -> bool:
        """Whether a value is one of the ids, be it a text or a number."""
        return value is not None and str(value) in self.ids

    def is_text(self, value: Any) -> bool:
        """Whether a value is one of the texts, as it came or guarded in a CSV (`labelling.outputs.inert`)."""
        # Cleaning makes a text three times as long at most.
        if not isinstance(value, str) or 3 * len(value) < self._shortest:
            return False
        return not self.texts.isdisjoint((clean(value), clean(value.removeprefix("'"))))

    def is_short(self, value: Any) -> bool:
        """Whether a text is so short that a label, a reply or a name may be the same by chance."""
        return isinstance(value, str) and len(clean(value)) < SHORTEST

    def hits(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is about one of the items."""
        if any(self.is_id(row.get(name)) for name in IDS):
            return True
        return any(
            self.is_text(value) and (not self.is_short(value) or name == _text_of_items(row))
            for name, value in row.items()
        )

    def among(self, rows: pa.RecordBatch) -> list[bool]:
        """Which rows of a batch are."""
        if self.before is not None:
            return [time is not None and time < self.before for time in rows["time"].to_pylist()]
        return [self.hits(row) for row in rows.to_pylist()]

    @cached_property
    def _shortest(self) -> float:
        return min(map(len, self.texts), default=math.inf)

    @cached_property
    def needles(self) -> list[bytes]:
        """What a page that is about one of the items has in it."""
        long = [text[:LONGEST] for text in self.texts if len(text) >= SHORTEST]
        told = [*(name for name in self.ids if len(name) >= SHORTEST), *long]
        told += [each for text in long for each in (escape(text), json.dumps(text)[1:-1])]
        return [text.encode("utf-8", "surrogatepass") for text in dict.fromkeys(told)]


def files_in(folders: Iterable[Path]) -> Iterator[Path]:
    """The files under folders, those of DVC and Git apart; raises `DataError` for a folder that is not there."""
    for folder in folders:
        if not folder.exists():
            raise DataError(folder, "no such file or folder", "folders that hold texts or answers", "Correct the path.")
        for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
            if path.is_file() and not set(SKIPPED) & set(path.parts) and not path.match(LOCKS):
                yield path


def texts_of(folders: Iterable[Path], ids: frozenset[str]) -> frozenset[str]:
    """The cleaned texts of rows that have one of the ids."""
    wanted, found = Forgotten(ids), set[str]()
    for path in files_in(folders):
        kind = KINDS.get(path.suffix.lower())
        if kind == "parquet":
            names = [name for name in (*IDS, "text") if name in _names(path)]
            own = _text_of_items(pq.read_schema(path).names)
            rows = (row for some in _batches(path, names) for row in some.to_pylist()) if own in names else ()
        else:
            rows = (row for _, row in _records(path, kind)) if kind in ("jsonl", "csv") else ()
            rows = (row for row in rows if _text_of_items(row) == "text")
        found |= {clean(row["text"]) for row in rows if isinstance(row.get("text"), str) and wanted.hits(row)}
    return frozenset(found) - {""}


def _text_of_items(columns: Iterable[str]) -> str:
    """The column that holds items' texts; empty where `text` is what an expert replied, as in predictions."""
    names = set(columns)
    return "" if "expert" in names and "reason" not in names else "text"


def forget(folders: list[Path], what: Forgotten, dry_run: bool = False) -> list[Found]:
    """Take rows out of all files under folders, or with `dry_run` say which would be.

    Raises `DataError` for a folder that is not there, and while another process is at one.
    """
    with ExitStack() as stack:
        if not dry_run:
            stack.enter_context(alone(folders))
        runs = [] if what.before is None else _old_runs(folders, what.before)
        for run in [] if dry_run else runs:
            shutil.rmtree(run)
        found = [Found(run, "file", why="a run") for run in runs]
        for path in files_in(folders):
            place = path.resolve() if path.is_symlink() else path
            if set(path.parents) & set(runs) or (place != path and _within(place, folders)):
                continue
            held = HELD if any((parent / BUNDLE).is_file() for parent in path.parents) else ""
            why = LINKED if place != path else held
            those = _one(path, what, dry_run or bool(why))
            found += [Found(place, "left", why=why) for _ in those] if why else those
    return found


def _within(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder.resolve()) for folder in folders)


@contextmanager
def alone(folders: Iterable[Path]) -> Iterator[None]:
    """Alone at folders while the block lasts; raises `DataError` while another process is at one."""
    with ExitStack() as stack:
        for path in [lock for folder in folders for lock in sorted(folder.rglob(LOCKS))]:
            if not stack.enter_context(locked(path, WAIT_S)):
                remedy = "Wait until it ends, or stop it."
                raise DataError(path.parent, "another process is at this folder", "nobody there", remedy)
        yield


def _one(path: Path, what: Forgotten, dry: bool) -> list[Found]:
    kind, suffix = KINDS.get(path.suffix.lower()), path.suffix.lower()
    try:
        if suffix == ".sqlite":
            rows = _sqlite(path, what, dry)
        elif what.before is not None and not LOG_PART.fullmatch(path.stem):
            return []
        elif kind == "parquet":
            rows = _parquet(path, what, dry)
        elif suffix in PAGES and _mentions(path, what):
            if not dry:
                path.unlink()
            return [Found(path, "file", why="a page")]
        else:
            rows = _lines(path, kind, what, dry) if kind else 0
            if not (dry and rows) and _mentions(path, what):
                return [*([Found(path, "rows", rows)] if rows else []), Found(path, "left", why="it quotes the item")]
    except DataError as error:
        return [Found(path, "left", why=error.got)]
    except (pa.ArrowException, OSError, ValueError, csv.Error, sqlite3.Error) as error:
        return [Found(path, "left", why=f"not readable ({type(error).__name__})")]
    return [Found(path, "rows", rows)] if rows else []


def _old_runs(folders: Iterable[Path], before: datetime) -> list[Path]:
    """Folders of runs of which nothing was written since."""
    found = {path.parent for path in files_in(folders) if path.name == RUN and path.parent.suffix == ".run"}
    newest = {run: max(path.stat().st_mtime for path in run.rglob("*") if path.is_file()) for run in found}
    return sorted(run for run, time in newest.items() if time < before.timestamp())


def _names(path: Path) -> list[str]:
    """The columns of a Parquet file that may name an item, hold its text, or say when it was decided."""
    names = []
    for column in pq.read_schema(path):
        text = column.name in IDS or pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        names += [column.name] if text or (column.name == "time" and pa.types.is_timestamp(column.type)) else []
    return names


def _batches(path: Path, names: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(ROWS, columns=names)


def _parquet(path: Path, what: Forgotten, dry: bool) -> int:
    names = [name for name in _names(path) if (name == "time") == (what.before is not None)]
    if not names:
        return 0
    hits = [what.among(batch) for batch in _batches(path, names)]
    count, rows = sum(map(sum, hits)), sum(map(len, hits))
    if count and not dry:
        if count == rows and what.before is not None:
            path.unlink()
            return count
        with _same_rights(path) as part, pq.ParquetWriter(part, pq.read_schema(path), compression="zstd") as writer:
            for batch, hit in zip(_batches(path), hits, strict=True):
                writer.write_batch(batch.filter(pc.invert(pa.array(hit, pa.bool_()))))
    return count


def _lines(path: Path, kind: str, what: Forgotten, dry: bool) -> int:
    count = sum(what.hits(row) for _, row in _records(path, kind))
    if count and not dry:
        with _same_rights(path) as part, open(part, "wb") as file:
            file.writelines(raw for raw, row in _records(path, kind) if not what.hits(row))
    return count


def _records(path: Path, kind: str) -> Iterator[tuple[bytes, Mapping[str, Any]]]:
    """Each record of a file as its bytes, and as a row; what is none has no values."""
    if kind == "csv":
        yield from _csv(path)
        return
    with open(path, "rb") as file:
        for line in file:
            if kind == "text":
                yield line, {"text": line.decode("utf-8", "replace")}
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            yield line, row if isinstance(row, dict) else {}


def _csv(path: Path) -> Iterator[tuple[bytes, Mapping[str, Any]]]:
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        taken: list[str] = []

        def lines() -> Iterator[str]:
            for line in file:
                taken.append(line)
                yield line

        first = next((line for line in lines() if line.strip()), "")
        divided = delimiter_of(path, first)
        names = next(csv.reader([first.lstrip("\ufeff")], delimiter=divided), [])
        yield "".join(taken).encode("utf-8", "surrogateescape"), {}
        taken.clear()
        for values in csv.reader(lines(), delimiter=divided):
            yield "".join(taken).encode("utf-8", "surrogateescape"), dict(zip(names, values, strict=False))
            taken.clear()


def _sqlite(path: Path, what: Forgotten, dry: bool) -> int:
    """Kept answers go; in a ledger a call keeps its cost, and loses the key that says what was asked."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=WAIT_S)) as db:
        db.execute("PRAGMA trusted_schema=OFF")
        db.execute("PRAGMA secure_delete=ON")
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        keys = what.keys if "decided" not in tables else _decided(db, what)
        if keys and tables & {"answers", "calls", "decided"} and (there := id_key.kept_by(db)) != id_key.mark():
            raise id_key.another(path, there)
        keyed = [name for name in TABLES if name in tables]
        db.execute("CREATE TEMP TABLE gone (key TEXT PRIMARY KEY)")
        db.executemany("INSERT INTO gone VALUES (?)", [(key,) for key in sorted(keys)])
        if what.before is not None:
            for name in keyed:
                if db.execute("SELECT 1 FROM pragma_table_info(?) WHERE name = 'day'", [name]).fetchone():
                    query = f"INSERT OR IGNORE INTO gone SELECT key FROM {name} WHERE day < ?"
                    db.execute(query, [f"{what.before:%Y-%m-%d}"])
        those, count = "key IN (SELECT key FROM gone)", 0
        for name in keyed:
            hit = f"{those} AND state != 'open' AND key NOT LIKE 'forgotten-%'" if name == "calls" else those
            if name in COUNTED:
                count += db.execute(f"SELECT count(*) FROM {name} WHERE {hit}").fetchone()[0]
            change = "UPDATE calls SET key = 'forgotten-' || hex(randomblob(16))" if name == "calls" else ""
            if not dry:
                db.execute(f"{change or f'DELETE FROM {name}'} WHERE {hit}")
        db.commit()
        if count and not dry:
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return int(count)


def _decided(db: sqlite3.Connection, what: Forgotten) -> set[str]:
    """What items are called that a model learns from (`labelling.learning`)."""
    (task,) = db.execute("SELECT task FROM totals").fetchone()
    keys = {*what.ids, *ids(task, what.texts), *own_ids(task, what.ids)}
    named = db.execute("SELECT key, decided FROM names").fetchall()
    keys |= {item for name, item in named if name in keys and item}
    return keys | {name for name, item in named if item in keys}


def _mentions(path: Path, what: Forgotten) -> bool:
    if not what.needles or not path.stat().st_size:
        return False
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as inside:
        return any(inside.find(needle) >= 0 for needle in what.needles)


@contextmanager
def _same_rights(path: Path) -> Iterator[Path]:
    """A scratch path that takes a file's place, with its rights and times, if the block succeeds."""
    before = path.stat()
    with replacing(path, private=True) as part:
        yield part
        shutil.copymode(path, part)
        os.utime(part, ns=(before.st_atime_ns, before.st_mtime_ns))
