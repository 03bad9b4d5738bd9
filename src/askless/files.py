"""Files that a kill at any moment leaves whole: written beside their place and renamed, or SQLite written ahead."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import glob
import hashlib
import json
import logging
import math
import os
import secrets
import shutil
import sqlite3
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

from askless import id_key
from askless.errors import DataError

STEP_S = 0.02
# Seconds for which a file of SQLite is waited for that another is writing.
WAIT_S = 30.0
DEEPEST = 100
_MAKING = threading.Lock()


def sha256_of(path: Path) -> str:
    """Of a file, in hexadecimal, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """What a file of JSON says; raises `ValueError` for one that is none, or that is nested too deep, and `OSError`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("nested too deep") from None


def read_yaml(path: Path) -> Any:
    """What a file of YAML says; raises `yaml.YAMLError`, also for one that is nested too deep, and as reading does."""
    import yaml

    text, loader, depth = path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader), 0
    for event in yaml.parse(text, loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        # The fast loader ends the process where its stack does.
        if depth > DEEPEST:
            raise yaml.YAMLError("nested too deep")
    return yaml.load(text, loader)


def write_text(path: Path | str, text: str) -> Path:
    """Write text beside `path`, then rename."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")
    return Path(path)


@contextmanager
def replacing(path: Path | str, private: bool = False) -> Iterator[Path]:
    """Yield a scratch path beside `path` that takes its place only if the block succeeds; of several writers the last.

    What an earlier, killed write left behind is removed. A `private` file is read by its owner alone, any other as the
    umask says.
    """
    path = Path(path)

    def make(part: Path) -> None:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600 if private else 0o666))

    with _scratch(path, make, "a writable folder with room for the file", "file") as part:
        yield part
        os.replace(part, path)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a scratch folder beside `folder` that takes its place only if the block succeeds; of several the last.

    What an earlier, killed build left behind is removed.
    """
    with _scratch(folder, Path.mkdir, "a writable folder with room for it", "folder") as part:
        yield part
        _put(part, folder)


@contextmanager
def _scratch(path: Path, make: Callable[[Path], None], allowed: str, kind: str) -> Iterator[Path]:
    """A new path beside `path`, locked so that no other writer takes it for what a killed one left behind."""
    part, lock = None, None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_up(path)
        while lock is None:
            part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
            make(part)
            lock = _lock_of(part)
        assert part is not None
        yield part
    except OSError as error:
        raise DataError(
            path,
            f"could not be written ({error.strerror or error})",
            allowed,
            f"Free some space or change the path; the previous {kind}, if any, is untouched.",
        ) from error
    finally:
        if part is not None:
            _remove(part)
        if lock is not None:
            os.close(lock)


def _lock_of(part: Path) -> int | None:
    """The descriptor that holds the lock of what is at `part`; None where it was cleared away, or is another's."""
    try:
        found = os.open(part, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with suppress(BlockingIOError):
        fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if part.exists():
            return found
    os.close(found)
    return None


def _clear_up(path: Path) -> None:
    """Remove what killed writers left beside `path`; a folder that one had moved away goes back."""
    beside = glob.escape(path.name)
    for old in path.parent.glob(f".{beside}.*.old"):
        with suppress(OSError):
            old.rename(path)
        _remove(old)
    for left in path.parent.glob(f".{beside}.*.part"):
        if (lock := _lock_of(left)) is not None:
            _remove(left)
            os.close(lock)


def _put(part: Path, folder: Path) -> None:
    """Put a folder in the place of whatever is there, in one step where the system can."""
    old = part.with_suffix(".old")
    while True:
        try:
            part.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        else:
            break
        if _exchange(part, folder):
            return
        with suppress(FileNotFoundError):
            folder.rename(old)
    _remove(old)


def _exchange(one: Path, other: Path) -> bool:
    """Let two paths change places, at once; False where this system or file system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    here, exchange = -100, 2
    return rename is not None and rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def user_folder() -> Path:
    """Where what this user said once is kept, whatever the project."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config", "askless")


def opened(
    path: Path | None, tables: str, *, names_texts: bool = True, earlier: str = "", moved: Sequence[str] = ()
) -> sqlite3.Connection:
    """The file at `path` (None: one in memory) with its `tables`, written ahead, read by its owner alone.

    A file that holds anything else, such as a trigger, which would change what is written, is refused. One that names
    no texts is of no project. One with `earlier` tables has these by the statements `moved`, all of them or none.
    Raises `sqlite3.Error`, `OSError`, and `DataError` for a file whose names are by another key (`id_key`).
    """
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # SQLite gives the files of its log the rights of this one. A process that closes a file gives up all its locks
        # on it, also those of its connections, so that one which is there is never opened here.
        with _MAKING:
            if not path.exists():
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    db = sqlite3.connect(path or ":memory:", timeout=WAIT_S, check_same_thread=False)
    try:
        db.execute("PRAGMA trusted_schema=OFF")
        # Before anything is written: a link could lead to a file of another program.
        new = not _own(db, tables, earlier)
        if path is not None and names_texts:
            id_key.claim(db, path, new)
        _write_ahead(db)
        db.execute("PRAGMA synchronous=NORMAL")
        if _schema(db) & (old := _schema_of(earlier) - _schema_of(tables)):
            with db:
                db.execute("BEGIN IMMEDIATE")
                # Unless another process has by now.
                for statement in moved if _schema(db) & old else ():
                    db.execute(statement)
        db.executescript(tables)
    except (sqlite3.Error, DataError):
        db.close()
        raise
    return db


def opened_to_read(path: Path, tables: str, earlier: str = "") -> sqlite3.Connection:
    """A file of these or `earlier` tables that `opened` made; it stays as it is, its rights and its folder too.

    Raises as `opened` does.
    """
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=WAIT_S)
    try:
        db.execute("PRAGMA trusted_schema=OFF")
        if not _own(db, tables, earlier):
            raise sqlite3.DatabaseError("it is empty")
        id_key.claim(db, path, new=False)
    except (sqlite3.Error, DataError):
        db.close()
        raise
    return db


def _write_ahead(db: sqlite3.Connection) -> None:
    """Write ahead from now on, once nobody else is opening the file: for that alone SQLite does not wait by itself."""
    until = time.monotonic() + WAIT_S
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
        time.sleep(STEP_S)


def _own(db: sqlite3.Connection, *tables: str) -> bool:
    """Whether a database has some of these tables; raises `sqlite3.DatabaseError` for one that holds anything else."""
    if others := (found := _schema(db)).difference(*map(_schema_of, tables)):
        raise sqlite3.DatabaseError(f"{' '.join(min(others)[:2])} in it is none that askless makes")
    return bool(found)


def _schema(db: sqlite3.Connection) -> frozenset[tuple[str, str, str]]:
    """Kind, name and definition of all that a database holds, but for what SQLite keeps for itself."""
    found = db.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master").fetchall()
    return frozenset(
        (kind, name, " ".join(text.split()))
        for kind, name, text in found
        if kind not in ("table", "index") or not name.startswith("sqlite_")
    )


@cache
def _schema_of(tables: str) -> frozenset[tuple[str, str, str]]:
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(tables)
        return _schema(db)


@contextmanager
def locked(path: Path, wait: float = math.inf) -> Iterator[bool]:
    """Hold the lock file `path` while the block lasts; yields False where another process holds it for `wait` seconds.

    The lock ends with the process that holds it, however that ends. Raises `DataError` where it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a", encoding="utf-8")  # noqa: SIM115  closed below, which is what ends the lock
    except OSError as error:
        got = f"cannot be locked ({error.strerror or error})"
        raise DataError(path, got, "a folder that can be written", "Correct the path or its rights.") from error
    with file:
        yield _taken(file, wait)


def _taken(file: IO[str], wait: float) -> bool:
    if wait == math.inf:
        fcntl.flock(file, fcntl.LOCK_EX)
        return True
    until = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(STEP_S)


@contextmanager
def place_taken(path: Path, number: int, stopped: Callable[[], bool]) -> Iterator[None]:
    """Hold one place of the lock file `path` while the block lasts, once whoever has it lets go, or `stopped`.

    It ends with the process that holds it. A system without such locks (all but Linux) holds nothing, which is told.
    """
    with open(path, "a", encoding="utf-8") as file:
        while not _place(file, number) and not stopped():
            time.sleep(STEP_S)
        yield


def _place(file: IO[str], number: int) -> bool:
    """Whether the place is this file's own now: locks of open files, which threads have as processes do."""
    take = getattr(fcntl, "F_OFD_SETLK", None)
    if take is None:
        _without_places()
        return True
    try:
        fcntl.fcntl(file, take, struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, number, 1, 0))
    except (BlockingIOError, PermissionError):
        return False
    return True


@cache
def _without_places() -> None:
    logging.getLogger(__name__).warning(
        "This system has no locks of parts of files, as Linux has: two processes that ask about one text at once may "
        "both pay for it. Run one at a time."
    )
