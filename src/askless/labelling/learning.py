"""What a bandit that answers live has spent and learnt: a SQLite file that any number of processes share.

Money is written down before it is spent: each turn of decisions reserves the most that it may take, and gives back the
rest at its end. A turn that was killed counts at what its ledger says was paid. Of a decided item a few numbers are
kept under its id, no text, until its label comes. What was learnt is a row for each version, the newest of which
decides.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Self

from askless.bundles.bundle import Bundle
from askless.data.prepare import clean, ids, own_ids
from askless.errors import ConfigError, DataError
from askless.files import locked, opened
from askless.spending.key_limits import today
from askless.spending.ledger import Ledger, Moment, spent_since

FILE = "learning.sqlite"
# What each turn may reserve of the money that is left, so that others under way have some.
PART = 0.5
MOST_ITEMS, VERSIONS = 100_000, 10
TWO, NONE_SUCH = "the id stands for two texts: give the text", "no such item was answered"
UNNAMED = "neither an id nor a text"
TABLES = """
CREATE TABLE IF NOT EXISTS totals (
  one INTEGER PRIMARY KEY CHECK (one = 1), task TEXT NOT NULL, next INTEGER NOT NULL, items INTEGER NOT NULL,
  allowed REAL NOT NULL, spent REAL NOT NULL, fed INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS ledgers (
  id INTEGER PRIMARY KEY, path TEXT NOT NULL, name TEXT NOT NULL, call INTEGER NOT NULL, counted REAL NOT NULL,
  UNIQUE (path, name)
);
CREATE TABLE IF NOT EXISTS turns (
  id INTEGER PRIMARY KEY, most REAL NOT NULL, own REAL NOT NULL, ledger INTEGER NOT NULL, place TEXT NOT NULL,
  pid INTEGER NOT NULL, owner TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS decided (
  key TEXT PRIMARY KEY, item INTEGER NOT NULL, day TEXT NOT NULL, version INTEGER NOT NULL, round TEXT NOT NULL,
  answered INTEGER NOT NULL, label TEXT, fed INTEGER
);
CREATE INDEX IF NOT EXISTS decided_by_fed ON decided (fed);
CREATE INDEX IF NOT EXISTS decided_by_item ON decided (item);
CREATE TABLE IF NOT EXISTS names (key TEXT PRIMARY KEY, day TEXT NOT NULL, decided TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS versions (
  number INTEGER PRIMARY KEY, digest TEXT NOT NULL, made TEXT NOT NULL, fed INTEGER NOT NULL, labels INTEGER NOT NULL,
  experts TEXT NOT NULL, state TEXT NOT NULL
);
"""


class Turn(NamedTuple):
    """Some items that are being decided: the number of the first, the dollars that they may take, the call before."""

    id: int
    first: int
    usd: float
    call: int


class Decided(NamedTuple):
    """An item that was decided: its id, its number, what was asked ("" where there was no money for anybody).

    `paid` is whether all that was asked about it was paid for now, `answered` whether anybody gave an answer; `version`
    which one decided.
    """

    key: str
    item: int
    round: str
    paid: bool
    answered: bool
    version: int = 0


class Kept(NamedTuple):
    """What is known of an item: its id, the day and the version that decided, what was asked, the label if one came."""

    key: str
    day: str
    version: int
    round: str
    label: str | None


class Version(NamedTuple):
    """What was learnt, by the labels up to the `fed`-th that came."""

    number: int
    digest: str
    made: str
    fed: int
    labels: int
    experts: list[str]
    state: dict[str, Any]


@dataclass
class Told:
    """What became of some labels.

    Parameters
    ----------
    new, again, corrected
        How many were the first of their item, the same as before, and another than before.
    refused
        Of each other one its place among them, from 0, and why.
    """

    new: int = 0
    again: int = 0
    corrected: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)


class Label(NamedTuple):
    """A label that came: of the item with this id, or this text."""

    id: str | None
    text: str | None
    label: str


class Learning:
    """The file of one bandit; any number of threads and processes may use it.

    Parameters
    ----------
    path
        Of the file.
    task
        Where a new one is to be begun, the bandit's task; None: it is there.

    Raises
    ------
    DataError
        For a file that is missing or cannot be used.
    """

    def __init__(self, path: Path, task: str | None = None) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._owner = secrets.token_hex(8)
        if task is None and not path.exists():
            remedy = "Put it back, or begin anew: askless learn with another --output."
            raise DataError(path, "no such file", "what this model has spent and learnt", remedy)
        with self._sound():
            self._db = opened(path, TABLES)
            self._db.isolation_level = None
        if task is not None:
            with self._writing() as db:
                db.execute("INSERT OR IGNORE INTO totals VALUES (1, ?, 0, 0, 0, 0, 0)", [task])
        self.task = str(self._one("SELECT task FROM totals")[0])

    @classmethod
    def of(cls, bundle: Bundle) -> Learning | None:
        """That of a bundle with a folder; None for one that does not learn while it answers."""
        if not bundle.facts.get("learns"):
            return None
        assert bundle.folder is not None
        return cls(bundle.folder.parent / FILE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._db.close()

    def begin(self, items: int, usd: float, most: float, ledger: Ledger) -> Turn:
        """Reserve what `items` may take: their budget of `usd` each and, up to `most`, a part of what is left.

        Their calls are in `ledger`, which is this process's alone: turns that another one has begun on it are over.
        """
        own = items * usd
        with self._writing() as db:
            now = ledger.now
            self._settle(now)
            number, left = self._one("SELECT next, allowed - spent FROM totals")
            turns = self._all("SELECT most, own FROM turns")
            left -= sum(most for most, _ in turns)
            if left < 0:
                # Items under way will have brought their own budget.
                left = min(0.0, left + sum(brings for _, brings in turns))
            money = max(0.0, own + (min(most, PART * left) if left > 0 else left))
            db.execute("UPDATE totals SET next = next + ?", [items])
            db.execute("INSERT OR IGNORE INTO ledgers (path, name, call, counted) VALUES (?, ?, ?, 0)", now)
            at = self._one("SELECT id FROM ledgers WHERE path = ? AND name = ?", *now[:2])[0]
            values = [money, own, at, _here(), os.getpid(), self._owner]
            turn = db.execute(
                "INSERT INTO turns (most, own, ledger, place, pid, owner) VALUES (?, ?, ?, ?, ?, ?)", values
            ).lastrowid
            assert turn is not None
            return Turn(turn, number, money, now.call)

    def end(self, turn: Turn, usd: float, spent: float, decided: Sequence[Decided] = ()) -> None:
        """Count what a turn took, and `usd` for each item that it decided, and keep these.

        An item that comes again is the same one, unless it was answered, and all that was asked about it is paid anew:
        one that was not (no money, a call that broke off) is tried again for the money that it brought.
        """
        with self._writing() as db:
            known = "SELECT answered FROM decided WHERE key = ?"
            before = [db.execute(known, [each.key]).fetchone() for each in decided]
            count = sum(row is None or (each.paid and row[0]) for each, row in zip(decided, before, strict=True))
            ended = db.execute("DELETE FROM turns WHERE id = ? RETURNING ledger", [turn.id]).fetchall()
            db.executemany("UPDATE ledgers SET counted = counted + ? WHERE id = ?", [(spent, at) for (at,) in ended])
            db.execute("DELETE FROM ledgers WHERE id NOT IN (SELECT ledger FROM turns)")
            db.execute(
                "UPDATE totals SET items = items + ?, allowed = allowed + ?, spent = spent + ?",
                [count, count * usd, spent],
            )
            # What was asked about it when it was first answered is what teaches, also where its label is there already.
            db.execute("UPDATE totals SET fed = fed + 1 WHERE ?", [(0,) in before])
            db.executemany(
                "INSERT INTO decided (key, item, day, version, round, answered) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT "
                "(key) DO UPDATE SET item = excluded.item, version = excluded.version, round = excluded.round, "
                "answered = excluded.answered, fed = iif(label IS NULL, NULL, (SELECT fed FROM totals)) "
                "WHERE NOT decided.answered AND excluded.round != ''",
                [(each.key, each.item, today(), each.version, each.round, each.answered) for each in decided],
            )
            last = db.execute("SELECT item FROM decided ORDER BY item DESC LIMIT 1 OFFSET ?", [MOST_ITEMS]).fetchone()
            if last is not None:
                db.execute("DELETE FROM decided WHERE item <= ?", last)
                db.execute("DELETE FROM names WHERE decided != '' AND decided NOT IN (SELECT key FROM decided)")

    def name(self, own: Iterable[tuple[str | None, str]]) -> None:
        """Keep which item (its id) people call by an id of their own; one that stands for two items is for none."""
        given = [(name, key) for name, key in own if name is not None]
        keys = own_ids(self.task, [name for name, _ in given])
        with self._writing() as db:
            db.executemany(
                "INSERT INTO names (key, day, decided) SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM decided WHERE "
                "key = ?3) ON CONFLICT (key) DO UPDATE SET decided = CASE decided WHEN ?3 THEN ?3 ELSE '' END",
                [(name, today(), key) for name, (_, key) in zip(keys, given, strict=True)],
            )

    def label(self, labels: Sequence[Label], classes: Sequence[str], first: bool = False) -> Told:
        """Write down labels that came; what cannot be, loses nothing of the others.

        With `first` none takes the place of another.
        """
        told = Told()
        named = own_ids(self.task, [each.id or "" for each in labels])
        by_text = ids(self.task, [clean(each.text or "") for each in labels])
        with self._writing() as db:
            for at, (each, own, key) in enumerate(zip(labels, named, by_text, strict=True)):
                if each.label not in classes:
                    told.refused.append((at, f"the label is none of {', '.join(classes)}"))
                    continue
                if not (each.id or each.text):
                    told.refused.append((at, UNNAMED))
                    continue
                found = None
                if not each.text:
                    found = db.execute("SELECT decided FROM names WHERE key = ?", [own]).fetchone()
                    key = found[0] if found else each.id or ""
                row = db.execute("SELECT label FROM decided WHERE key = ? AND round != ''", [key]).fetchone()
                if row is None:
                    told.refused.append((at, TWO if found == ("",) else NONE_SUCH))
                elif row[0] == each.label or (first and row[0] is not None):
                    told.again += 1
                else:
                    told.new, told.corrected = told.new + (row[0] is None), told.corrected + (row[0] is not None)
                    db.execute("UPDATE totals SET fed = fed + 1")
                    db.execute(
                        "UPDATE decided SET label = ?, fed = (SELECT fed FROM totals) WHERE key = ?", [each.label, key]
                    )
        return told

    def find(self, name: str | None, text: str | None = None) -> Kept | None:
        """The item of an id, its own or the one that it was answered with, or of a text; None for one not known."""
        keys = ids(self.task, [clean(text)]) if text is not None else []
        for own in own_ids(self.task, [name]) if name else []:
            keys += [key for (key,) in self._all("SELECT decided FROM names WHERE key = ?", own)] or [str(name)]
        query = "SELECT key, day, version, round, label FROM decided WHERE key = ?"
        return next((Kept._make(row) for key in keys if (row := self._one(query, key))), None)

    @property
    def number(self) -> int:
        """Of the newest version, 0 where there is none."""
        return int(self._one("SELECT coalesce(max(number), 0) FROM versions")[0])

    def version(self, number: int | None = None) -> Version | None:
        """The version of this number, the newest by default; None where there is none."""
        at = self.number if number is None else number
        row = self._one("SELECT number, digest, made, fed, labels, experts, state FROM versions WHERE number = ?", at)
        return None if row is None else Version._make((*row[:5], json.loads(row[5]), json.loads(row[6])))

    def learn(self, teach: Callable[[Version | None, list[tuple[str, str]]], tuple[Sequence[str], Any]]) -> int:
        """Make a version of the labels that came since the newest; its number, or that of before where none came.

        `teach` gives the experts and the state that come of a version and of rounds with their labels, in the order in
        which they came. One process at a time; labels that come meanwhile are for the next version.
        """
        with locked(self.path.with_name(f".{self.path.name}.lock")):
            before = self.version()
            since = 0 if before is None else before.fed
            rows = self._all("SELECT fed, round, label FROM decided WHERE fed > ? ORDER BY fed", since)
            if not rows and before is not None:
                return before.number
            experts, state = teach(before, [(text, label) for _, text, label in rows])
            return self._add(rows[-1][0] if rows else since, experts, state)

    def replace(self, change: Callable[[Version | None], tuple[Sequence[str], Any]]) -> int:
        """Make a version of the newest by a change that is no label, such as of the experts; its number."""
        with locked(self.path.with_name(f".{self.path.name}.lock")):
            before = self.version()
            return self._add(0 if before is None else before.fed, *change(before))

    def roll_back(self, number: int) -> int:
        """Make an earlier version the newest again, and take back the labels that came after it; the new number."""
        with locked(self.path.with_name(f".{self.path.name}.lock")):
            old, known = self.version(number), [str(row[0]) for row in self._all("SELECT number FROM versions")]
            if old is None:
                raise ConfigError.unknown("version", str(number), known)
            with self._writing() as db:
                db.execute("UPDATE decided SET label = NULL, fed = NULL WHERE fed > ?", [old.fed])
            return self._add(int(self._one("SELECT fed FROM totals")[0]), old.experts, old.state)

    def facts(self) -> dict[str, Any]:
        """What it has spent and learnt, in plain values."""
        with self._writing():
            self._settle()
        names = ("items", "allowed_usd", "spent_usd", "reserved_usd", "waiting", "labels")
        row = self._one(
            "SELECT items, allowed, spent, (SELECT coalesce(sum(most), 0) FROM turns), (SELECT count(*) FROM decided "
            "WHERE label IS NULL AND round != ''), (SELECT count(*) FROM decided WHERE label IS NOT NULL) FROM totals"
        )
        versions = [
            dict(zip(("number", "digest", "made", "labels"), each, strict=True))
            for each in self._all("SELECT number, digest, made, labels FROM versions ORDER BY number")
        ]
        return {**dict(zip(names, row, strict=True)), "versions": versions}

    def rounds(self) -> list[tuple[str, str | None]]:
        """What was asked about each item that is kept, in their order, and its label where one came."""
        return [
            (row[0], row[1]) for row in self._all("SELECT round, label FROM decided WHERE round != '' ORDER BY item")
        ]

    def _settle(self, mine: Moment | None = None) -> None:
        """Count turns of processes that are gone at what their ledger says, once none of it is under way any more.

        What is open in it still counts at its most: whoever goes on with that run finds out what came of it.
        """
        for at, *moment, counted in self._all("SELECT id, path, name, call, counted FROM ledgers"):
            whose, turns = Moment(*moment), self._all("SELECT place, pid, owner FROM turns WHERE ledger = ?", at)
            over = mine is not None and mine[:2] == whose[:2]
            if not all(owner != self._owner and (over or _gone(place, pid)) for place, pid, owner in turns):
                continue
            if (found := spent_since(whose)) is None:
                continue
            closed, most = found
            self._db.execute("UPDATE totals SET spent = spent + ?", [closed - counted])
            self._db.execute("UPDATE ledgers SET counted = ? WHERE id = ?", [closed, at])
            first = "SELECT min(id) FROM turns WHERE ledger = ?1"
            self._db.execute(f"DELETE FROM turns WHERE ledger = ?1 AND (?2 = 0 OR id > ({first}))", [at, most])
            self._db.execute("UPDATE turns SET most = ?, own = 0 WHERE ledger = ?", [most, at])
        self._db.execute("DELETE FROM ledgers WHERE id NOT IN (SELECT ledger FROM turns)")

    def _add(self, fed: int, experts: Sequence[str], state: Any) -> int:
        text, made = json.dumps(state, sort_keys=True), f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        digest = hashlib.sha256(text.encode()).hexdigest()
        with self._writing() as db:
            number = self.number + 1
            labels = self._one("SELECT count(*) FROM decided WHERE fed <= ?", fed)[0]
            values = [number, digest, made, fed, labels, json.dumps(list(experts)), text]
            db.execute("INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?)", values)
            db.execute("DELETE FROM versions WHERE number <= ?", [number - VERSIONS])
        return number

    def _one(self, query: str, *values: object) -> Any:
        found = self._all(query, *values)
        return found[0] if found else None

    def _all(self, query: str, *values: object) -> list[Any]:
        with self._lock, self._sound():
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Alone at the file, all or nothing."""
        with self._lock, self._sound():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def _sound(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            remedy = "Free some space or correct the path or its rights, and run again: what was learnt is kept."
            got = f"could not be kept or read ({error})"
            raise DataError(self.path, got, "a SQLite file that askless wrote", remedy) from error


@cache
def _here() -> str:
    """Where the numbers of processes mean what they mean to this one."""
    space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    return f"{socket.gethostname()} {space}"


def _gone(place: str, pid: int) -> bool:
    """Whether it is known that no process of this number runs there."""
    if place != _here():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
