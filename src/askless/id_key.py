"""The project's secret, by which texts are named: without it nobody can tell whether a text that they guess is there.

It is what `ASKLESS_ID_KEY` holds, else the file `.askless/id.key` of the folder that a command is run in. Without
either, names are plain hashes. What is kept by one says by a mark of 31 bits which one that was.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from askless.errors import ConfigError, DataError

VARIABLE, FILE, SHORTEST = "ASKLESS_ID_KEY", Path(".askless", "id.key"), 32


def keyed(digests: Iterable[str]) -> Iterator[str]:
    """The names of what has these plain hashes: HMACs of 64 hexadecimal digits, or themselves where there is no key.

    Raises `ConfigError` for a key that is too short, `DataError` for a file of it that cannot be read.
    """
    key = _key_here()
    return iter(digests) if key is None else (_hmac(key, digest) for digest in digests)


def mark() -> int:
    """Which key names are made by here: 0 for none."""
    key = _key_here()
    return 0 if key is None else int(_hmac(key, "mark")[:8], 16) >> 1 or 1


def forwarded() -> dict[str, str]:
    """What the environment of a worker needs that is in another folder, or on another machine, than the key."""
    key = _key_here()
    return {} if key is None else {VARIABLE: key.decode()}


def make() -> Path | None:
    """Make the file of a key that none but its owner can read; None where there is a key."""
    if mark():
        return None
    FILE.parent.mkdir(exist_ok=True)
    (FILE.parent / ".gitignore").write_text("*\n", encoding="ascii")
    with open(os.open(FILE, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32))
    _key.cache_clear()
    return FILE


def claim(db: sqlite3.Connection, path: Path, new: bool) -> None:
    """Mark a `new` file as kept by the key of here; raises `DataError` for one that is kept by another, or by none."""
    here, there = mark(), kept_by(db)
    if new:
        db.execute(f"PRAGMA user_version = {here}")
    elif here != there:
        raise another(path, there)


def kept_by(db: sqlite3.Connection) -> int:
    """The mark of a file's key."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def another(path: Path | str, there: int) -> DataError:
    """What to say of a file that is not kept by the key of here."""
    got = "names texts by plain hashes, and here is a key" if not there else "names texts by a key that is not here"
    do = (
        f"Replace them (`askless key {Path(path).parent}`), or unset {VARIABLE}."
        if not there
        else f"Put it back ({VARIABLE}, or {FILE} in the folder that the command is run in), or move the file away: "
        "its answers will then be paid for again."
    )
    return DataError(path, got, "names by the key of this project", do)


def _hmac(key: bytes, digest: str) -> str:
    return hmac.new(key, digest.encode(), hashlib.sha256).hexdigest()


def _key_here() -> bytes | None:
    return _key(os.environ.get(VARIABLE, ""), os.getcwd())


@cache
def _key(given: str, here: str) -> bytes | None:
    """The key in the environment or in a folder. Read once: what one process keeps is kept by one key."""
    where = VARIABLE
    if not given:
        path = Path(here, FILE)
        try:
            given, where = path.read_text(encoding="utf-8").strip(), str(FILE)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            remedy = f"Correct its rights, or set {VARIABLE}."
            raise DataError(path, f"not readable ({error})", "the key of this project", remedy) from error
    if len(given) < SHORTEST:
        raise ConfigError(
            f"{where} has {len(given)} characters. Allowed: {SHORTEST} or more that nobody can guess. Put the right "
            "one back, or take it away and let `askless key` make another."
        )
    return given.encode()
