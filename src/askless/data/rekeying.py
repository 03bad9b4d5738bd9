"""Kept answers and ledgers that name texts by plain hashes, named by the project's key instead."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from askless import id_key
from askless.data.forgetting import TABLES, WAIT_S, alone, files_in


class Rekeyed(NamedTuple):
    """A file whose names were replaced, or that is left with a reason."""

    path: Path
    names: int
    why: str = ""


def rekey(folders: list[Path]) -> list[Rekeyed]:
    """Replace the plain names in every SQLite file of askless under folders, each whole or not at all.

    Raises `DataError` for a folder that is not there, and while another process is at one.
    """
    with alone(folders):
        return [found for path in _databases(folders) if (found := _one(path)) is not None]


def _databases(folders: Iterable[Path]) -> list[Path]:
    return [path for path in files_in(folders) if path.suffix == ".sqlite"]


def _one(path: Path) -> Rekeyed | None:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=WAIT_S)) as db:
            db.execute("PRAGMA trusted_schema=OFF")
            db.execute("PRAGMA secure_delete=ON")
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables & {"answers", "calls", "decided"}:
                return None
            if (there := id_key.kept_by(db)) == id_key.mark():
                return None
            if there:
                return Rekeyed(path, 0, "its names are by another key")
            if "batches" in tables and db.execute("SELECT 1 FROM batches").fetchone():
                return Rekeyed(path, 0, "a batch is under way: fetch it first, by the command that began it")
            db.create_function("keyed", 1, lambda name: next(id_key.keyed([name]))[: len(name)], deterministic=True)
            count = 0
            with db:
                db.execute("BEGIN IMMEDIATE")
                for name in (name for name in TABLES if name in tables):
                    changed = db.execute(f"UPDATE {name} SET key = keyed(key) WHERE key NOT LIKE 'forgotten-%'")
                    count += changed.rowcount if name in ("answers", "calls", "decided") else 0
                if "decided" in tables:
                    db.execute("UPDATE names SET decided = keyed(decided)")
                db.execute(f"PRAGMA user_version = {id_key.mark()}")
            # What was there is in no free page and in no log.
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except (sqlite3.Error, OSError) as error:
        return Rekeyed(path, 0, f"not readable ({error})")
    return Rekeyed(path, count)
