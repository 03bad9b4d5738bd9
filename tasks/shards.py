"""The shards of one generation on this machine's disk: their examples, the answers to them, their parts."""

from __future__ import annotations

import json
import math
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from askless import schema
from askless.config import Price
from askless.costs import CostModel
from askless.errors import AsklessError, ConfigError, DataError
from askless.experts.answer_store import AnswerStore, Row
from askless.experts.paid import PaidExpert
from askless.registry.traces import trace
from askless.spending.billing import FaultHandling
from askless.spending.call_price import CallPrice
from askless.spending.guard import GuardedExpert
from askless.spending.key_limits import key_limit
from askless.spending.ledger import Ledger

TOKENS = ("prompt_tokens", "completion_tokens")
BILLED = (
    "cost_usd",
    "seconds",
    "batched",
    "replies",
    *(name for name in schema.PREDICTIONS.names if name.endswith("_tokens")),
)


class ShardStopped(AsklessError):
    """Another shard failed for good, so that this one stops too; what was answered is kept."""


@dataclass(frozen=True)
class Counts:
    """How far a generation is.

    Parameters
    ----------
    done
        Examples that have an answer, those of earlier runs included.
    asked
        Answers asked for in this run.
    tokens
        Prompt and completion tokens of those asked for.
    usd
        Their dollars; None where an answer has no price.
    """

    done: int
    asked: int
    tokens: int
    usd: float | None


class Shards:
    """All that shards read and write, so that whoever answers one needs no file of this machine.

    A shard's examples are in `<folder>/examples`, its part, once it is answered, in `<folder>/parts`; answers are kept
    as they come in the file `answers`. On Ray this is an actor on the machine that runs the stage.

    Parameters
    ----------
    folder
        Of the shards, an absolute path.
    answers
        The SQLite file of kept answers, an absolute path.
    expert
        Name of the expert that is asked.
    prices
        Of each expert, by which dollars are counted.
    max_usd
        That a server may be paid, over all runs; None for no limit.
    replies
        How many an answer is made of.
    """

    def __init__(
        self,
        folder: str,
        answers: str,
        expert: str,
        prices: Mapping[str, Price],
        max_usd: float | None = None,
        replies: int = 1,
    ) -> None:
        self.run = uuid.uuid4().hex
        self._folder, self._path = Path(folder), Path(answers)
        self._expert, self._costs = expert, CostModel("usd", prices)
        self._max_usd, self._guarded = max_usd, ExitStack()
        self._replies = replies
        self._lock = threading.Lock()
        self._done: Counter[int] = Counter()
        self._asked = self._tokens = 0
        self._usd: float | None = 0.0
        self._stopped = False

    def bill(self, expert: PaidExpert) -> None:
        """Have an expert's calls paid for by a ledger beside the answers, where there is a limit, of its key perhaps.

        What is in doubt counts as the most that it can cost, and is asked again: every answer is wanted. Calls become
        traces where ASKLESS_TRACE says so.
        """
        if expert.billing is not None or expert.trace is not None:
            return
        price = CallPrice(expert, self._costs, limited=False) if expert.name in self._costs.prices else None
        if self._max_usd is not None or key_limit(expert.payer) is not None:
            ledger = self._guarded.enter_context(Ledger(self._path.with_suffix(".ledger.sqlite"), self._max_usd))
            expert.setting = replace(expert.setting, answers=self._path.parent)
            guard = GuardedExpert(expert, self._costs, ledger, FaultHandling(waits=True, ask_in_doubt=True))
            self._guarded.enter_context(guard.kept)
        trace(expert, price)
        if expert.billing is not None or expert.trace is not None:
            self._guarded.callback(expert.let_go)

    def examples(self, number: int) -> pa.Table:
        """The examples of a shard."""
        return schema.read(examples_of(self._folder, number), "examples")

    def made(self, number: int, digest: str) -> bool:
        """Whether the part of a shard is there, made of what has this `digest`."""
        path = part_of(self._folder, number)
        try:
            found = path.exists() and digest_of(path) == digest
        except pa.ArrowException:
            return False
        if found:
            self._note(number, self._replies * pq.read_metadata(path).num_rows)
        return found

    def make(self, number: int, part: pa.Table, digest: str) -> None:
        """Write the part of a shard."""
        marked = schema.with_meta(part, "predictions", {**schema.meta_of(part), "digest": digest})
        schema.write(marked, part_of(self._folder, number), "predictions")
        self._note(number, self._replies * part.num_rows)

    def kept(self, number: int, keys: list[str]) -> dict[str, Row]:
        """The answers to `keys` that are kept."""
        self._go_on()
        found = self._store.get_many(keys)
        self._note(number, len(found))
        return found

    def keep(self, number: int, rows: Mapping[str, Row]) -> list[str]:
        """Keep answers but those whose replies were others', whose keys it returns; raises `ShardStopped`."""
        others = self._store.put_many(rows)
        rows = {key: row for key, row in rows.items() if key not in others}
        with self._lock:
            self._done[number] += len(rows)
            self._asked += len(rows)
            self._tokens += sum(row.get(name) or 0 for row in rows.values() for name in TOKENS)
        self._bill(rows)
        self._go_on()
        return others

    def replies(self, keys: list[str]) -> dict[str, str]:
        """The replies that are kept beside the answers to `keys`."""
        return self._store.replies(keys)

    def mend(self, rows: Mapping[str, Row]) -> None:
        """Put rows in the place of kept ones that cannot be read."""
        self._store.mend(rows)

    def set_aside(self, number: int, keys: list[str]) -> None:
        """Take answers that cannot be read any more out of those that are kept."""
        self._store.set_aside(keys)
        with self._lock:
            self._done[number] -= len(keys)

    def once(self, key: str, ask: Callable[[], Row]) -> Row:
        """The row that `ask` gives, or that which is kept by then; it counts once `keep` has it."""
        return self._store.once(key, ask, lambda: self._stopped)

    def batches(self) -> dict[str, Row]:
        """What was noted of batches that a server is answering."""
        return self._store.batches()

    def note_batch(self, name: str, about: Row | None) -> None:
        """Note this of a batch."""
        self._store.note_batch(name, about)

    def counts(self) -> Counts:
        """How far all shards are."""
        with self._lock:
            done, asked = self._done.total() // self._replies, math.ceil(self._asked / self._replies)
            return Counts(done, asked, self._tokens, self._usd)

    def done(self, number: int) -> int:
        """How many replies to the examples of a shard there are."""
        return self._done[number]

    def stop(self) -> None:
        """Let every shard end after what it is at."""
        self._stopped = True

    def close(self) -> None:
        """Fold the answers' log into their file."""
        self._guarded.close()
        if "_store" in self.__dict__:
            self._store.close()

    @cached_property
    def _store(self) -> AnswerStore:
        return AnswerStore(self._path)

    def _note(self, number: int, replies: int) -> None:
        with self._lock:
            self._done[number] = replies

    def _go_on(self) -> None:
        if self._stopped:
            raise ShardStopped("Stopped: another shard failed. What was answered is kept and not asked again.")

    def _bill(self, rows: Mapping[str, Row]) -> None:
        if not rows:
            return
        types = {name: schema.PREDICTIONS.field(name).type for name in BILLED}
        columns = {name: pa.array([row.get(name) for row in rows.values()], kind) for name, kind in types.items()}
        try:
            usd = float(self._costs.price(pa.table(columns), self._expert).sum())
        except (ConfigError, DataError):
            self._usd = None
            return
        with self._lock:
            self._usd = None if self._usd is None else self._usd + usd


@dataclass(frozen=True)
class ShardAnswers:
    """The kept answers of one shard, as an expert asks for them (`askless.experts.answer_store.Answers`).

    Parameters
    ----------
    shards
        All of the run's.
    number
        Of this one, from 0.
    """

    shards: Shards
    number: int

    def get_many(self, keys: Iterable[str]) -> dict[str, Row]:
        """The rows of those `keys` that are kept."""
        return self.shards.kept(self.number, list(keys))

    def put_many(self, rows: Mapping[str, Row]) -> list[str]:
        """Keep `rows`, all of them or none, but those whose replies were others', whose keys it returns."""
        return self.shards.keep(self.number, dict(rows))

    def replies(self, keys: Iterable[str]) -> dict[str, str]:
        """The replies that are kept beside the answers to `keys`."""
        return self.shards.replies(list(keys))

    def mend(self, rows: Mapping[str, Row]) -> None:
        """Put rows in the place of kept ones that cannot be read."""
        self.shards.mend(dict(rows))

    def set_aside(self, keys: Sequence[str]) -> None:
        """Take answers that cannot be read any more out of those that are kept."""
        self.shards.set_aside(self.number, list(keys))

    def once(self, key: str, ask: Callable[[], Row], stopped: Callable[[], bool]) -> Row:
        """The row that `ask` gives, or that which is kept by then."""
        return self.shards.once(key, ask)

    def batches(self) -> dict[str, Row]:
        """What was noted of batches that a server is answering."""
        return self.shards.batches()

    def note_batch(self, name: str, about: Row | None) -> None:
        """Note this of a batch."""
        self.shards.note_batch(name, about)


def examples_of(folder: str | Path, number: int) -> Path:
    """The file of a shard's examples."""
    return Path(folder) / "examples" / f"{number:05}.parquet"


def part_of(folder: str | Path, number: int) -> Path:
    """The file of the answers to a shard."""
    return Path(folder) / "parts" / f"{number:05}.parquet"


def digest_of(path: Path) -> str | None:
    """The digest of what a part was made of, None where it has none."""
    found = (pq.read_schema(path).metadata or {}).get(b"digest")
    return None if found is None else str(json.loads(found))
