"""What calls to expensive experts may cost and did: a hard limit, written down before each call.

A call is reserved at the most it can cost, in a file, before it is made; reserved and spent together never pass the
limit. What came of it closes it: an answer at its cost, a fault that is surely not billed at nothing, and one that may
have been billed (no answer came) *in doubt*, at the most. So the limit holds whenever the process is killed.
"""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

from askless.errors import BudgetError, DataError
from askless.files import opened, opened_to_read, write_text
from askless.spending.key_limits import LARGEST, NANO, KeyLimit, KeyLimits, today

T = TypeVar("T")
STEP_S = 0.2
KEYS_AT_ONCE = 10_000
OPEN, PAID, DOUBT = "open", "paid", "in doubt"
_TABLES = """
CREATE TABLE IF NOT EXISTS calls (
  id INTEGER PRIMARY KEY, key TEXT NOT NULL, expert TEXT NOT NULL, day TEXT NOT NULL,
  state TEXT NOT NULL, most INTEGER NOT NULL, cost INTEGER, part INTEGER
);
CREATE INDEX IF NOT EXISTS calls_by_key ON calls (key, state);
CREATE TABLE IF NOT EXISTS overruns (day TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (one INTEGER PRIMARY KEY CHECK (one = 1), name TEXT NOT NULL);
INSERT OR IGNORE INTO runs VALUES (1, hex(randomblob(16)));
"""
_KEYED = "SELECT key, id, expert, day, most FROM calls"
_USED = f"SELECT day, sum(CASE state WHEN '{OPEN}' THEN most ELSE cost END) FROM calls GROUP BY day"
_COUNTS = "SELECT expert, state, count(*) FROM calls GROUP BY expert, state"
_WRONG = f"""SELECT 1 FROM calls WHERE typeof(most) != 'integer' OR most < 0
  OR state NOT IN ('{OPEN}', '{PAID}', '{DOUBT}')
  OR (state != '{OPEN}' AND (typeof(cost) != 'integer' OR cost < 0)) LIMIT 1"""
_SUM = "SELECT coalesce(sum(cost), 0) FROM calls WHERE state = ? AND day LIKE ?"
_SINCE = f"""SELECT coalesce(sum(CASE state WHEN '{OPEN}' THEN 0 ELSE cost END), 0),
  coalesce(sum(CASE state WHEN '{OPEN}' THEN most ELSE 0 END), 0) FROM calls WHERE id > ?"""


class Moment(NamedTuple):
    """A moment of a ledger: its file (empty for one in memory), its name, and the last call that had ended by then."""

    path: str
    name: str
    call: int


@dataclass(frozen=True)
class _OpenCall:
    """A call that is open: its row, its day, the most it can cost in billionths of a dollar."""

    row: int
    expert: str
    day: str
    most: int


class Ledger:
    """Every call to expensive experts, and the limit that they must not pass; for one process at a time.

    Amounts are whole billionths of a dollar, rounded up.

    Parameters
    ----------
    path
        The SQLite file; None keeps it in memory.
    limit
        US dollars, above 0 and up to a billion; None for no limit.
    daily
        Whether the limit is that of a day in UTC rather than that of all time.
    begun
        Whether answers were paid by it before, so that a file that is not there is lost. One with a daily limit leaves
        a mark beside the file on each day on which it makes a call, and knows by that.

    Raises
    ------
    BudgetError
        For a limit that is not.
    DataError
        For a file that cannot be used, and for one that is lost.
    """

    def __init__(
        self, path: Path | None = None, limit: float | None = None, *, daily: bool = False, begun: bool = False
    ) -> None:
        if limit is not None and not 0 < limit <= LARGEST:
            raise BudgetError(f"A spend limit of {limit:g} dollars. Allowed: above 0, up to {LARGEST:g}.")
        self.path = path
        self.limit = limit
        self.daily = daily
        self._changed = threading.Condition()
        self._mark = path.with_name(f".{path.name}.day") if path is not None and daily else None
        self._marked = self._mark.read_text("ascii", "replace") if self._mark and self._mark.exists() else ""
        lost = path is not None and not (path.exists() and path.stat().st_size)
        if lost and (begun or (limit is not None and self._marked == self._today())):
            raise self._lost()
        self._db = self._guarded(lambda: opened(self.path, _TABLES))
        if self._all(_WRONG):
            raise self._unusable("a call in it has a cost below 0, or none")
        self._open = {key: _OpenCall(*rest) for key, *rest in self._all(f"{_KEYED} WHERE state = ?", OPEN)}
        self._left_open = set(self._open)
        self._used = {day: int(used) for day, used in self._all(_USED)}
        self._overruns = {day for (day,) in self._all("SELECT day FROM overruns")}
        # With its path: a copy of the file is another run.
        self._name = str(self._all("SELECT name FROM runs")[0][0])
        self._run = f"{self._name} {path and path.resolve()}"
        self._limits: KeyLimits | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def spent(self) -> float:
        """Dollars that answers cost: those of the day, where the limit is daily."""
        return self._sum(PAID)

    @property
    def doubted(self) -> float:
        """Dollars that calls in doubt may have cost at most, in the same time."""
        return self._sum(DOUBT)

    def spent_in(self, days: str) -> float:
        """Dollars that answers cost, and those in doubt at most, on days that begin with this: `2026-07`."""
        return sum(float(self._all(_SUM, state, f"{days}%")[0][0]) for state in (PAID, DOUBT)) / NANO

    @property
    def left(self) -> float:
        """Dollars that may still be reserved, infinite without a limit."""
        with self._changed:
            return self._left() / NANO

    def key_limit(self, payer: str | None) -> KeyLimit | None:
        """What a key may pay in all tools, where less is left of that than of the limit here."""
        with self._changed:
            limits = self._key_limits() if payer else None
            found = limits.of(payer, self._today()) if payer and limits else None
            return found if found is not None and found.left < self.left else None

    def overran(self, payer: str | None = None) -> bool:
        """Whether a call was billed more than its most today, under a limit or that of the key that pays.

        Nothing more is paid then until tomorrow.
        """
        with self._changed:
            if self._today() not in self._overruns or self.limit is not None:
                return self._today() in self._overruns
            limits = self._key_limits()
            return payer is not None and limits is not None and limits.of(payer, self._today()) is not None

    def counts(self) -> dict[tuple[str, str], int]:
        """How many calls there were of each expert, by what came of them."""
        return {(expert, state): n for expert, state, n in self._all(_COUNTS)}

    def reserve(
        self,
        expert: str,
        calls: Sequence[tuple[str, float]],
        stop: threading.Event | None = None,
        payer: str | None = None,
    ) -> int:
        """Reserve calls, (key, most dollars), in their order for as long as they fit; returns how many did.

        Where not one fits, but calls that are under way may turn out cheaper, it waits for these, or until `stop`.
        `payer` is the environment variable of the API's key that pays, which may have a limit of its own (`KeyLimits`).
        """
        amounts = [_nanos(most) for _, most in calls]
        with self._changed:
            while True:
                over = self.overran(payer)
                if fit := 0 if over else self._booked(payer, amounts[: self._fitting(amounts)]):
                    break
                idle = self._left_open >= set(self._open)
                if not calls or over or idle or (stop is not None and stop.is_set()):
                    return 0
                self._changed.wait(STEP_S)
            day = self._today()
            if self._mark is not None and self._marked != day:
                write_text(self._mark, day)
                self._marked = day
            first = enumerate(zip(calls[:fit], amounts[:fit], strict=True), self._next())
            rows = [(number, key, expert, day, OPEN, most) for number, ((key, _), most) in first]
            self._write("INSERT INTO calls (id, key, expert, day, state, most) VALUES (?, ?, ?, ?, ?, ?)", rows)
            for number, key, _, _, _, most in rows:
                self._open[key] = _OpenCall(number, expert, day, most)
            self._used[day] = self._used.get(day, 0) + sum(row[-1] for row in rows)
            return fit

    def settle(self, costs: Mapping[str, float | None]) -> None:
        """Calls that were answered, and the dollars they cost (None where that is unknown: the most)."""
        billed = {key: None if cost is None else _nanos(cost) for key, cost in costs.items()}
        self._close(PAID, billed)

    def release(self, keys: Iterable[str]) -> None:
        """Calls that were surely not billed."""
        self._close("", dict.fromkeys(keys, 0))

    def doubt(self, keys: Iterable[str]) -> None:
        """Calls that may have been billed though no answer came: they count at their most."""
        self._close(DOUBT, dict.fromkeys(keys))

    @property
    def now(self) -> Moment:
        """This moment, since when any process can tell what was spent (`spent_since`)."""
        # The number of a call that is open may come again, should it not be billed.
        last = self._all("SELECT coalesce(max(id), 0) FROM calls WHERE state != ?", OPEN)[0][0]
        return Moment(str(self.path.resolve()) if self.path else "", self._name, int(last))

    def since(self, call: int, keys: Sequence[str]) -> tuple[dict[int, float], set[str]]:
        """Calls of these keys after a call: number to dollars of the closed, in doubt at most, and keys of the open."""
        closed, still_open = dict[int, float](), set[str]()
        query = "SELECT id, key, state, cost FROM calls WHERE id > ? AND key IN "
        for at in range(0, len(keys), KEYS_AT_ONCE):
            some = keys[at : at + KEYS_AT_ONCE]
            for number, key, state, cost in self._all(f"{query} ({', '.join('?' * len(some))})", call, *some):
                if state == OPEN:
                    still_open.add(key)
                else:
                    closed[number] = cost / NANO
        return closed, still_open

    def doubtful(self, key: str) -> bool:
        """Whether a call of this key is in doubt."""
        return bool(self._all("SELECT 1 FROM calls WHERE key = ? AND state = ? LIMIT 1", key, DOUBT))

    def left_open(self, expert: str) -> list[str]:
        """Keys of the calls that an earlier process left open."""
        with self._changed:
            return [key for key in self.open_calls(expert) if key in self._left_open]

    def open_calls(self, expert: str) -> list[str]:
        """Keys of the calls that are open."""
        with self._changed:
            return [key for key, call in self._open.items() if call.expert == expert]

    def paid(self, keys: Sequence[str], part: int = 0) -> list[float]:
        """Dollars that were paid for the answer of each key, shape (keys,): counted for the first `part` that asks.

        So the parts of a run add up to what was spent, and any of them may ask again.
        """
        with self._changed:
            self._write(
                "UPDATE calls SET part = ? WHERE key = ? AND state = ? AND part IS NULL",
                [(part, key, PAID) for key in dict.fromkeys(keys)],
            )
            query = "SELECT coalesce(sum(cost), 0) FROM calls WHERE key = ? AND state = ? AND part = ?"
            amounts = {key: self._all(query, key, PAID, part)[0][0] / NANO for key in dict.fromkeys(keys)}
            return [amounts.pop(key, 0.0) for key in keys]

    def close(self) -> None:
        """Release the file."""
        with self._changed:
            self._db.close()
            if self._limits is not None:
                self._limits.close()

    def _close(self, state: str, costs: Mapping[str, int | None]) -> None:
        with self._changed:
            calls = {key: self._open[key] for key in costs if key in self._open}
            cost = {key: call.most if costs[key] is None else int(costs[key] or 0) for key, call in calls.items()}
            if state:
                rows = [(state, cost[key], call.row) for key, call in calls.items()]
                self._write("UPDATE calls SET state = ?, cost = ? WHERE id = ?", rows)
            else:
                self._write("DELETE FROM calls WHERE id = ?", [(call.row,) for call in calls.values()])
            limited = set[int]() if self.limit is None else {call.row for call in calls.values()}
            if calls and (limits := self._key_limits()) is not None:
                limited |= limits.settle(self._run, {call.row: cost[key] for key, call in calls.items()})
            if any(cost[key] > call.most and call.row in limited for key, call in calls.items()):
                self._write("INSERT OR IGNORE INTO overruns VALUES (?)", [(self._today(),)])
                self._overruns.add(self._today())
            for key, call in calls.items():
                self._used[call.day] += cost[key] - call.most
                del self._open[key]
            self._left_open.difference_update(calls)
            self._changed.notify_all()

    def _booked(self, payer: str | None, most: Sequence[int]) -> int:
        """How many of the next calls, which fit here, fit into what their key may pay too; they are booked there."""
        limits = self._key_limits() if payer and most else None
        if payer is None or limits is None:
            return len(most)
        return limits.book(payer, self._today(), self._run, [*enumerate(most, self._next())])

    def _key_limits(self) -> KeyLimits | None:
        """The limits of keys, if there are any by now; what a kill left between them and this file is made good."""
        if self._limits is None and (limits := KeyLimits.here()) is not None:
            # What is not here was not made, or surely not billed.
            query, ended = "SELECT state, cost FROM calls WHERE id = ?", dict[int, int]()
            for number in limits.held(self._run):
                state, cost = next(iter(self._all(query, number)), (PAID, 0))
                ended |= {} if state == OPEN else {number: cost}
            limits.settle(self._run, ended)
            self._limits = limits
        return self._limits

    def _next(self) -> int:
        """The number of the next call."""
        return int(self._all("SELECT coalesce(max(id), 0) FROM calls")[0][0]) + 1

    def _fitting(self, most: Sequence[int]) -> int:
        """How many of the first calls fit into what is left."""
        left = self._left()
        for count, amount in enumerate(most):
            left -= amount
            if left < 0:
                return count
        return len(most)

    def _left(self) -> float:
        if self.limit is None:
            return math.inf
        used = self._used.get(self._today(), 0) if self.daily else sum(self._used.values())
        return math.floor(self.limit * NANO) - used

    def _today(self) -> str:
        return today()

    def _sum(self, state: str) -> float:
        day = self._today() if self.daily else "%"
        return float(self._all(_SUM, state, day)[0][0]) / NANO

    def _all(self, query: str, *values: object) -> list[Any]:
        with self._changed:
            return self._guarded(lambda: self._db.execute(query, values).fetchall())

    def _write(self, query: str, rows: Sequence[tuple[object, ...]]) -> None:
        def write() -> None:
            with self._db:
                self._db.executemany(query, rows)

        self._guarded(write)

    def _guarded(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(str(error)) from error

    def _lost(self) -> DataError:
        new, until = "give another output for a new run with a limit of its own", ""
        if self._mark is not None:
            new, until = f"remove {self._mark} to begin the day's limit anew", " today"
        return DataError(
            self.path,
            f"no ledger, though answers were paid by it{until}: what they cost is not known",
            "the ledger that they were paid by",
            f"Put it back, or {new}.",
        )

    def _unusable(self, why: str) -> DataError:
        return DataError(
            self.path,
            f"the ledger of calls could not be kept or read ({why})",
            "a SQLite file that askless wrote, in a folder with room that can be written",
            "Free some space or correct the path and run again: what was paid for is kept.",
        )


def spent_since(moment: Moment) -> tuple[float, float] | None:
    """Dollars that calls since then cost, or may have, and the most of those that are open; None where none can tell.

    The ledger may be that of a process that is gone; nothing in it is changed.
    """
    path = Path(moment.path)
    try:
        with closing(opened_to_read(path, _TABLES)) as db:
            if db.execute("SELECT name FROM runs").fetchone() != (moment.name,):
                return None
            closed, most = db.execute(_SINCE, [moment.call]).fetchone()
    except (sqlite3.Error, OSError, DataError):
        return None
    return closed / NANO, most / NANO


def _nanos(dollars: float) -> int:
    """Billionths of a dollar, rounded up; what a float's last digits add is no billionth."""
    return math.ceil(round(dollars * NANO, 3))
