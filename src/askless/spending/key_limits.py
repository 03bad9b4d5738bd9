"""What the key of an API may pay in a day and in all, whichever tool of this user asks with it.

Limits and bills are in one SQLite file of the user, which all processes share. A call is booked at its most before it
is made, and at its cost once that is known; what a killed process leaves stays booked at its most.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path

from askless.errors import BudgetError, DataError
from askless.files import opened, user_folder

NANO = 10**9
LARGEST = 1e9
_TABLES = """
CREATE TABLE IF NOT EXISTS limits (key TEXT PRIMARY KEY, per_day INTEGER, in_all INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spent (key TEXT, day TEXT, amount INTEGER NOT NULL, PRIMARY KEY (key, day)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS held (
  run TEXT, call INTEGER, key TEXT NOT NULL, day TEXT NOT NULL, most INTEGER NOT NULL, PRIMARY KEY (run, call)
) WITHOUT ROWID;
"""
_USED = """
SELECT coalesce(sum(CASE day WHEN :day THEN amount ELSE 0 END), 0), coalesce(sum(amount), 0) FROM (
  SELECT day, amount FROM spent WHERE key = :key UNION ALL SELECT day, most FROM held WHERE key = :key
)
"""
_SPEND = "INSERT INTO spent VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET amount = amount + excluded.amount"


@dataclass(frozen=True)
class KeyLimit:
    """The limit of one key, in dollars.

    Parameters
    ----------
    key
        The environment variable that holds it.
    per_day, in_all
        What it may pay in a day of UTC, and since it has a limit; None for no such limit.
    today, paid
        What of each is gone: paid, or set aside for calls under way and in doubt.
    """

    key: str
    per_day: float | None
    in_all: float | None
    today: float
    paid: float

    @property
    def left(self) -> float:
        """What it may still pay today."""
        return max(0.0, _left(self.per_day, self.in_all, self.today, self.paid))

    def __str__(self) -> str:
        both = ((self.per_day, "a day"), (self.in_all, "in all"))
        return f"the limit of {' and '.join(f'${usd:g} {how}' for usd, how in both if usd is not None)} for {self.key}"


class KeyLimits:
    """The limits of all keys of this user, and what was paid under them; any number of processes may use the file.

    Parameters
    ----------
    path
        The SQLite file.

    Raises
    ------
    DataError
        For a file that cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._db = opened(path, _TABLES, names_texts=False)
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from error

    @classmethod
    def here(cls) -> KeyLimits | None:
        """Those of this user, None where no key ever had one."""
        path = kept_in()
        return cls(path) if path.exists() else None

    def set(self, key: str, per_day: float | None, in_all: float | None) -> None:
        """Give a key these limits in place of those that it has, or none; what it has paid stays counted."""
        if not key.isidentifier():
            # Neither said nor kept: it may be the key itself.
            raise BudgetError(
                "Got what is no name of an environment variable. Allowed: letters, digits, underscores. Give the name "
                "of the variable that holds the key, such as OPENAI_API_KEY, not the key."
            )
        for dollars in (per_day, in_all):
            if dollars is not None and not 0 <= dollars <= LARGEST:
                raise BudgetError(f"A limit of {dollars:g} dollars for {key}. Allowed: 0 to {LARGEST:g}.")
        nanos = [None if usd is None else round(usd * NANO) for usd in (per_day, in_all)]
        with self._alone() as db:
            db.execute("DELETE FROM limits WHERE key = ?", (key,))
            if nanos != [None, None]:
                db.execute("INSERT INTO limits VALUES (?, ?, ?)", (key, *nanos))

    def keys(self) -> list[str]:
        """The keys that have a limit."""
        with self._alone() as db:
            return [key for (key,) in db.execute("SELECT key FROM limits ORDER BY key")]

    def of(self, key: str, day: str) -> KeyLimit | None:
        """The limit of a key as it is on a day, None where it has none."""
        with self._alone() as db:
            found = _limit(db, key, day)
        if found is None:
            return None
        per_day, in_all, today, paid = found
        daily, whole = (None if each is None else each / NANO for each in (per_day, in_all))
        return KeyLimit(key, daily, whole, today / NANO, paid / NANO)

    def book(self, key: str, day: str, run: str, calls: Sequence[tuple[int, int]]) -> int:
        """Book calls of a run, (number, most billionths of a dollar), for as long as they fit; returns how many do.

        All do, and none is booked, where the key has no limit.
        """
        with self._alone() as db:
            if (found := _limit(db, key, day)) is None:
                return len(calls)
            left = _left(*found)
            fit = sum(total <= left for total in accumulate(most for _, most in calls))
            rows = [(run, number, key, day, most) for number, most in calls[:fit]]
            # A number that comes again is that of a call that was not made, or surely not billed.
            db.executemany("INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?, ?)", rows)
            return fit

    def settle(self, run: str, costs: Mapping[int, int]) -> frozenset[int]:
        """Book calls of a run at their cost in billionths of a dollar, those that are held; returns which were."""
        with self._alone() as db:
            held = "DELETE FROM held WHERE run = ? AND call = ? RETURNING key, day"
            found = {call: row for call in costs for row in db.execute(held, (run, call)).fetchall()}
            db.executemany(_SPEND, [(*row, costs[call]) for call, row in found.items()])
            return frozenset(found)

    def held(self, run: str) -> list[int]:
        """The calls of a run that are booked at their most."""
        with self._alone() as db:
            return [number for (number,) in db.execute("SELECT call FROM held WHERE run = ?", (run,))]

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    @contextmanager
    def _alone(self) -> Iterator[sqlite3.Connection]:
        """The file while no other process writes to it: what is done to it is done whole."""
        try:
            with self._db as db:
                db.execute("BEGIN IMMEDIATE")
                yield db
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> DataError:
        allowed = "the file that askless limit wrote, in a folder with room that can be written"
        remedy = "Put it right, or move it away to begin without limits."
        return DataError(self.path, f"the limits of keys could not be kept or read ({error})", allowed, remedy)


def today() -> str:
    """The day, in UTC."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


def key_limit(key: str | None) -> KeyLimit | None:
    """The limit of a key as it is today, None where it has none."""
    if key is None or (limits := KeyLimits.here()) is None:
        return None
    with closing(limits):
        return limits.of(key, today())


def kept_in() -> Path:
    """The file of this user's limits."""
    return user_folder() / "limits.sqlite"


def _limit(db: sqlite3.Connection, key: str, day: str) -> tuple[int | None, int | None, int, int] | None:
    """The limits of a key, a day and in all, and what of each is gone, in billionths of a dollar."""
    limit = db.execute("SELECT per_day, in_all FROM limits WHERE key = ?", (key,)).fetchone()
    return limit and (*limit, *db.execute(_USED, {"key": key, "day": day}).fetchone())


def _left(per_day: float | None, in_all: float | None, today: float, paid: float) -> float:
    """What a limit, a day, in all or both, leaves of what is gone of each; below 0 where more is gone."""
    return min(most - gone for most, gone in ((per_day, today), (in_all, paid)) if most is not None)
