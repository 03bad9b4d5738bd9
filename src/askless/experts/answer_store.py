"""Paid answers, kept as they come: a key -> JSON row store that survives a kill at any moment."""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from askless.errors import DataError
from askless.files import opened

Row = dict[str, Any]
T = TypeVar("T")
_CHUNK = 500
_TABLES = """
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, row TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS set_aside (key TEXT NOT NULL, row TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS days (key TEXT PRIMARY KEY, day TEXT NOT NULL) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS days_of_answers AFTER INSERT ON answers
BEGIN INSERT OR IGNORE INTO days VALUES (NEW.key, date('now')); END;
"""
logger = logging.getLogger(__name__)


class PaidAnswers(Protocol):
    """Where paid answers are kept: a file of this machine (`AnswerStore`), or whatever stands before one."""

    def get_many(self, keys: Iterable[str]) -> dict[str, Row]:
        """The rows of those `keys` that are kept."""

    def put_many(self, rows: Mapping[str, Row]) -> None:
        """Keep `rows`, all of them or none; once this returns they survive a kill."""

    def set_aside(self, keys: Sequence[str]) -> None:
        """Keep rows that cannot be read any more where they are in nobody's way; their keys are asked for again."""


def answer_key(*determinants: Any) -> str:
    """The key of an answer: SHA-256 over everything that determines it, and nothing else.

    Backend, model, revision, rendered prompt, decoding and dtype do; price, batch size and device do not.
    """
    text = json.dumps(determinants, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class AnswerStore:
    """Answers in one SQLite file, safe to share among threads.

    Rows put together are kept together or not at all. The first answer to a key stays. Write-ahead logging
    with `synchronous=NORMAL` loses nothing when the process is killed; a power cut can lose the last few
    batches, never the file, and spares one disk flush a batch.

    Parameters
    ----------
    path
        The file; None keeps answers in memory.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = None if path is None else Path(path)
        self._lock = threading.Lock()
        self._db = self._guarded(lambda: opened(self.path, _TABLES))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return int(self._guarded(lambda: self._db.execute("SELECT count(*) FROM answers").fetchone()[0]))

    def get_many(self, keys: Iterable[str]) -> dict[str, Row]:
        """The rows of those `keys` that are kept."""

        def read() -> dict[str, Row | None]:
            found: dict[str, Row | None] = {}
            wanted = list(keys)
            for part in (wanted[at : at + _CHUNK] for at in range(0, len(wanted), _CHUNK)):
                marks = ",".join("?" * len(part))
                query = f"SELECT key, row FROM answers WHERE key IN ({marks})"
                found |= {key: _row(row) for key, row in self._db.execute(query, part)}
            return found

        found = self._guarded(read)
        if broken := [key for key, row in found.items() if row is None]:
            self.set_aside(broken)
        return {key: row for key, row in found.items() if row is not None}

    def put_many(self, rows: Mapping[str, Row]) -> None:
        """Keep `rows`, all of them or none; a key that is already kept keeps its first row."""

        def write() -> None:
            values = [(key, json.dumps(row, sort_keys=True)) for key, row in rows.items()]
            with self._db:
                self._db.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?)", values)

        self._guarded(write)

    def set_aside(self, keys: Sequence[str]) -> None:
        """Keep rows that cannot be read any more where they are in nobody's way; their keys are asked for again."""
        these = [(key,) for key in keys]

        def move() -> None:
            with self._db:
                self._db.executemany("INSERT INTO set_aside SELECT key, row FROM answers WHERE key = ?", these)
                self._db.executemany("DELETE FROM answers WHERE key = ?", these)

        self._guarded(move)
        note = "%s: %d kept answers are not valid. They were set aside (table set_aside), and will be asked for again."
        logger.warning(note, self.path or "answers", len(these))

    def close(self) -> None:
        """Fold the log into the file and release it."""
        with self._lock:
            self._db.close()

    def _guarded(self, action: Callable[[], T]) -> T:
        try:
            with self._lock:
                return action()
        except sqlite3.OperationalError as error:
            raise DataError(
                self.path,
                f"answers could not be kept or read ({error})",
                "a writable folder with room for the file",
                "Free some space or change the path and run again: answers kept so far are not asked again.",
            ) from error
        except (sqlite3.DatabaseError, OSError, ValueError) as error:
            raise DataError(
                self.path,
                f"not a file of kept answers ({error})",
                "a SQLite file that askless wrote, in a folder that can be written",
                "Restore the file, or move it away: its answers will then be asked for again.",
            ) from error


def _row(text: str) -> Row | None:
    """A kept row, None for what is none."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
