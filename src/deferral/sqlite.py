"""A SQLite file that survives a kill at any moment, for one process with several threads."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def opened(path: Path | None, tables: str) -> sqlite3.Connection:
    """The file at `path` (None: one in memory) with its `tables`, written ahead; raises `sqlite3.Error`, `OSError`."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path or ":memory:", timeout=30, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.executescript(tables)
    except sqlite3.Error:
        db.close()
        raise
    return db
