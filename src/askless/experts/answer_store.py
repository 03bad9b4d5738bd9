"""Paid answers, kept as they come: a key -> JSON row store that survives a kill at any moment."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, Self, TypeVar

from askless.errors import DataError
from askless.files import locked, opened, opened_to_read, place_taken
from askless.id_key import keyed

Row = dict[str, Any]
T = TypeVar("T")
_CHUNK = 500
# What is asked for comes first, so that a long reply is not read with it. In the order of keeping: a new answer changes
# one page of these and one of each index.
_ANSWERS = (
    "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, day TEXT, row TEXT NOT NULL, id TEXT UNIQUE, reply)"
)
_SET_ASIDE = "CREATE TABLE IF NOT EXISTS set_aside (key TEXT NOT NULL, row TEXT NOT NULL)"
# Of what was set aside: it may hold a text, and is forgotten by its day too.
_DAYS = "CREATE TABLE IF NOT EXISTS days (key TEXT PRIMARY KEY, day TEXT NOT NULL) WITHOUT ROWID"
_TABLES = f"""
{_ANSWERS};
{_SET_ASIDE};
{_DAYS};
CREATE TABLE IF NOT EXISTS batches (name TEXT PRIMARY KEY, about TEXT NOT NULL) WITHOUT ROWID;
"""
_REPLIES = (
    "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, id TEXT UNIQUE, reply BLOB NOT NULL) WITHOUT ROWID"
)
_EARLIER = f"""
CREATE TABLE answers (key TEXT PRIMARY KEY, row TEXT NOT NULL) WITHOUT ROWID;
{_DAYS};
CREATE TRIGGER days_of_answers AFTER INSERT ON answers
BEGIN INSERT OR IGNORE INTO days VALUES (NEW.key, date('now')); END;
{_REPLIES};
CREATE TRIGGER replies_of_answers AFTER DELETE ON answers
BEGIN DELETE FROM replies WHERE key = OLD.key; END;
"""
_WHOLE = "SELECT key, day, row, id, reply FROM answers"
_WHOLE_EARLIER = f"{_WHOLE} LEFT JOIN replies USING (key) LEFT JOIN days USING (key)"
_MOVED = (
    _SET_ASIDE,
    _DAYS,
    _REPLIES,
    "DROP TRIGGER IF EXISTS days_of_answers",
    "DROP TRIGGER IF EXISTS replies_of_answers",
    "ALTER TABLE answers RENAME TO earlier",
    _ANSWERS,
    f"INSERT INTO answers {_WHOLE_EARLIER.replace('answers', 'earlier')}",
    "DELETE FROM days WHERE key NOT IN (SELECT key FROM set_aside)",
    *(f"DROP TABLE {name}" for name in ("earlier", "replies")),
)
# A first answer stays, and none is kept whose reply is that of another key.
_PUT = "INSERT OR IGNORE INTO answers VALUES (?, date('now'), ?, ?, ?)"
_OLDER = "UPDATE answers SET day = min(day, ?) WHERE key = ?"
# Bytes from which on a reply is kept compressed, which takes as long as writing so many.
_LONG = 1000
_encoded = json.JSONEncoder(sort_keys=True).encode
# What a row may hold beside what was read of a reply: all of it, as JSON, and the id that its server gave it.
REPLY, REPLY_ID = "reply", "reply_id"
logger = logging.getLogger(__name__)


class PaidAnswers(Protocol):
    """Where paid answers are kept: a file of this machine (`AnswerStore`), or whatever stands before one."""

    def get_many(self, keys: Iterable[str]) -> dict[str, Row]:
        """The rows of those `keys` that are kept."""

    def put_many(self, rows: Mapping[str, Row]) -> list[str]:
        """Keep `rows`, all of them or none; once this returns they survive a kill.

        Returned are the keys of rows that are not kept, for their reply is kept as the answer to another key.
        """

    def replies(self, keys: Iterable[str]) -> dict[str, str]:
        """The whole replies of servers, as JSON, of which the rows of `keys` were read; of those that have one."""

    def mend(self, rows: Mapping[str, Row]) -> None:
        """Put `rows` in the place of kept ones that cannot be read."""

    def set_aside(self, keys: Sequence[str]) -> None:
        """Keep rows that cannot be read any more where they are in nobody's way; their keys are asked for again."""

    def once(self, key: str, ask: Callable[[], Row], stopped: Callable[[], bool]) -> Row:
        """The row that `ask` gives, kept before anybody else's turn; that which is kept once it is this one's turn."""

    def batches(self) -> dict[str, Row]:
        """What was noted of batches that a server is answering, by their names."""

    def note_batch(self, name: str, about: Row | None) -> None:
        """Note this of a batch, in the place of what was noted before; None: nothing any more."""


def answer_key(*determinants: Any) -> str:
    """The key of an answer: SHA-256 over everything that determines it, and nothing else, named by `id_key`.

    Backend, model, revision, rendered prompt, decoding and dtype do; price, batch size and device do not.
    """
    text = json.dumps(determinants, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return next(keyed([hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()]))


class AnswerStore:
    """Answers in one SQLite file, safe to share among threads.

    Rows put together are kept together or not at all. The first answer to a key stays. A server's whole reply (`REPLY`)
    is kept beside its row, a long one compressed, so that a row can be read again from it. Write-ahead logging
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
        self._db = self._guarded(lambda: opened(self.path, _TABLES, earlier=_EARLIER, moved=_MOVED))

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

    def put_many(self, rows: Mapping[str, Row]) -> list[str]:
        """Keep `rows`, all of them or none; a key that is already kept keeps its first row.

        Returned are the keys of rows that are not kept, for their reply is kept as the answer to another key.
        """

        values = [(key, _json(row), row.get(REPLY_ID), _packed(row.get(REPLY))) for key, row in rows.items()]

        def write() -> list[str]:
            with self._db:
                put = self._db.executemany(_PUT, values).rowcount
                return [] if put == len(values) else [key for key in rows if not self._has(key)]

        return self._guarded(write)

    @contextmanager
    def turn(self, key: str, stopped: Callable[[], bool]) -> Iterator[Row | None]:
        """Wait until no thread and no process asks for the answer of a key; gives it where it is kept by then."""
        with ExitStack() as stack:
            if self.path is not None:
                lock = self.path.with_name(f".{self.path.name}.asking.lock")
                stack.enter_context(place_taken(lock, zlib.crc32(key.encode()), stopped))
            yield self.get_many([key]).get(key)

    def once(self, key: str, ask: Callable[[], Row], stopped: Callable[[], bool]) -> Row:
        """The row that `ask` gives, kept before anybody else's turn; that which is kept once it is this one's turn."""
        with self.turn(key, stopped) as kept:
            row = ask() if kept is None else kept
            if kept is not None or {"failed", "stop"} & row.keys() or self.put_many({key: row}):
                return row
            return without_reply(row)

    def replies(self, keys: Iterable[str]) -> dict[str, str]:
        """The whole replies of servers, as JSON, of which the rows of `keys` were read; of those that have one."""
        query = "SELECT reply FROM answers WHERE key = ?"

        def read() -> dict[str, str]:
            found = {key: self._db.execute(query, (key,)).fetchone() for key in keys}
            return {key: text for key, reply in found.items() if reply and (text := _unpacked(reply[0])) is not None}

        return self._guarded(read)

    def mend(self, rows: Mapping[str, Row]) -> None:
        """Put `rows` in the place of kept ones that cannot be read."""

        def write() -> None:
            with self._db:
                self._db.executemany(
                    "UPDATE answers SET row = ? WHERE key = ?", [(_json(row), key) for key, row in rows.items()]
                )

        self._guarded(write)

    def set_aside(self, keys: Sequence[str]) -> None:
        """Keep rows that cannot be read any more where they are in nobody's way; their keys are asked for again."""
        these, aside = [(key,) for key in keys], "INSERT INTO set_aside SELECT key,"
        day = "INSERT OR IGNORE INTO days SELECT key, day FROM answers WHERE key = ? AND day IS NOT NULL"

        def move() -> None:
            with self._db:
                self._db.executemany(f"{aside} row FROM answers WHERE key = ?", these)
                self._db.executemany(f"{aside} reply FROM answers WHERE key = ? AND reply IS NOT NULL", these)
                self._db.executemany(day, these)
                self._db.executemany("DELETE FROM answers WHERE key = ?", these)

        self._guarded(move)
        note = "%s: %d kept answers are not valid. They were set aside (table set_aside), and will be asked for again."
        logger.warning(note, self.path or "answers", len(these))

    def batches(self) -> dict[str, Row]:
        """What was noted of batches that a server is answering, by their names."""
        noted = self._guarded(lambda: self._db.execute("SELECT name, about FROM batches").fetchall())
        return {name: row for name, about in noted if (row := _row(about)) is not None}

    def note_batch(self, name: str, about: Row | None) -> None:
        """Note this of a batch, in the place of what was noted before; None: nothing any more."""

        def write() -> None:
            with self._db:
                self._db.execute("DELETE FROM batches WHERE name = ?", (name,))
                if about is not None:
                    self._db.execute("INSERT INTO batches VALUES (?, ?)", (name, json.dumps(about)))

        self._guarded(write)

    def take(self, path: Path) -> int:
        """Keep the answers of another file too, with their replies and days; returns how many were not kept before."""
        before = len(self)
        with closing(self._guarded(lambda: opened_to_read(path, _TABLES, _EARLIER), path)) as db:
            earlier = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'replies'").fetchone()
            found = self._guarded(lambda: db.execute(_WHOLE_EARLIER if earlier else _WHOLE), path)
            while part := self._guarded(lambda: found.fetchmany(_CHUNK), path):
                self.put_many({key: whole for key, _, *told in part if (whole := _with_reply(*told)) is not None})
                self._date((day, key) for key, day, *_ in part if day is not None)
        return len(self) - before

    def close(self) -> None:
        """Fold the log into the file and release it."""
        with self._lock:
            self._db.close()

    def _date(self, days: Iterable[tuple[str, str]]) -> None:
        """An answer was kept on the earlier of two days."""

        def write() -> None:
            with self._db:
                self._db.executemany(_OLDER, days)

        self._guarded(write)

    def _has(self, key: str) -> bool:
        return self._db.execute("SELECT 1 FROM answers WHERE key = ?", (key,)).fetchone() is not None

    def _guarded(self, action: Callable[[], T], path: Path | None = None) -> T:
        try:
            with self._lock:
                return action()
        except sqlite3.OperationalError as error:
            raise DataError(
                path or self.path,
                f"answers could not be kept or read ({error})",
                "a writable folder with room for the file",
                "Free some space or change the path and run again: answers kept so far are not asked again.",
            ) from error
        except (sqlite3.DatabaseError, OSError, ValueError) as error:
            raise DataError(
                path or self.path,
                f"not a file of kept answers ({error})",
                "a SQLite file that askless wrote, in a folder that can be written",
                "Restore the file, or move it away: its answers will then be asked for again.",
            ) from error


@contextmanager
def asking(folder: Path, names: Iterable[str]) -> Iterator[None]:
    """Alone among the runs that ask these experts with the answers in a folder, so that none pays for another's."""
    with ExitStack() as stack:
        # In one order, so that no two wait for each other.
        for name in sorted(names):
            lock = folder / f".{name}.lock"
            if not stack.enter_context(locked(lock, wait=0)):
                logger.warning("Waiting: another run is asking '%s' with the answers in %s.", name, folder)
                stack.enter_context(locked(lock))
        yield


def merged(source: Path, target: Path) -> int:
    """Put the answers of one file with those of another, which is written anew, for whoever may read its folder.

    Returned is how many are new there; where none is, the file stays as it is. One that somebody answers with is added
    to: what they keep meanwhile, or kept until a kill, would be lost with it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    while True:
        if _worked_with(target):
            with AnswerStore(target) as store:
                return store.take(source)
        before = _version(target)
        with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
            part = Path(folder, target.name)
            with AnswerStore(part) as store:
                if before is not None:
                    store.take(target)
                new = store.take(source)
            if not new:
                return 0
            with closing(sqlite3.connect(part)) as db:
                # No log beside it, which a copy would lose.
                db.execute("PRAGMA journal_mode=DELETE")
            part.chmod(target.parent.stat().st_mode & 0o666)
            # Else another has written it in the meantime.
            if _version(target) == before:
                os.replace(part, target)
                return new


def _worked_with(path: Path) -> bool:
    """Whether a file is written ahead, as all are that answers are kept in: by the version of its format."""
    if not path.exists():
        return False
    with open(path, "rb") as file:
        return file.read(19)[18:] == b"\2"


def _version(path: Path) -> tuple[int, int] | None:
    return (found.st_ino, found.st_mtime_ns) if path.exists() and (found := path.stat()) else None


def without_reply(row: Row) -> Row:
    """A row as it is kept, without the reply that it was read of."""
    return {name: value for name, value in row.items() if name not in (REPLY, REPLY_ID)}


def _json(row: Row) -> str:
    return _encoded(without_reply(row))


def _packed(reply: str | None) -> str | bytes | None:
    return reply if reply is None or len(reply) < _LONG else zlib.compress(reply.encode(), 1)


def _with_reply(text: str, name: str | None, reply: str | bytes | None) -> Row | None:
    """A kept row as it came, with the reply that it was read of; None for what is none."""
    row, whole = _row(text), None if reply is None else _unpacked(reply)
    return row if row is None or whole is None else {**row, REPLY: whole, REPLY_ID: name}


def _unpacked(reply: str | bytes) -> str | None:
    """A kept reply, None for what is none."""
    if isinstance(reply, str):
        return reply
    try:
        return zlib.decompress(reply).decode()
    except (zlib.error, ValueError, TypeError):
        return None


def _row(text: str) -> Row | None:
    """A kept row, None for what is none."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
