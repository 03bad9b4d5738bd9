"""One expensive expert, asked within a limit: what it costs is written down first, what it fails at is borne.

Asked for a table it always gives a table. A row that could not be answered has the reason in `error`, which begins with
one of the words below; whoever asked gives the small expert's answer then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa

from askless import schema
from askless.config import Price
from askless.costs import CostModel
from askless.errors import ConfigError, DataError, ExpertError
from askless.experts.answer_store import AnswerStore, Row
from askless.experts.faults import NO_CONNECTION, Fault, Refused
from askless.experts.paid import PaidExpert
from askless.spending.breaker import Breaker
from askless.spending.ledger import Ledger

LIMIT, PAUSED, DOUBT, FAULT = "limit", "paused", "in doubt", "fault"
CODES = (LIMIT, PAUSED, DOUBT)
OVERRUN = "a call was billed more than its price and its tokens allow; nothing more is paid"
UNHEARD = "asked once, and no answer came: it may have been billed, and is not asked again"
STEP_S = 0.2


@dataclass(frozen=True)
class Conduct:
    """What is done about faults of a server.

    `waits`: items wait until it answers again, for at most `patience` seconds, then asking stops. Otherwise they are
    given up. `again`: calls in doubt are made once more, which may be billed twice.
    """

    waits: bool = False
    patience: float = 600.0
    again: bool = False


@dataclass
class _Turn:
    """Whoever asks about one key, and how many there are."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    askers: int = 0


@dataclass
class GuardedExpert:
    """An expensive expert behind a `ledger`, a circuit `breaker` and its kept answers; any number of threads may ask.

    With the unit dollars each row's `cost_usd` is what the ledger paid for it, told once to the `part` that is set;
    an answer that was kept before costs nothing now. Raises `ConfigError` for a price that sets no most for a call.
    """

    expert: PaidExpert
    costs: CostModel
    ledger: Ledger
    conduct: Conduct = Conduct()
    breaker: Breaker = field(default_factory=Breaker)
    part: int = 0
    on_wait: Callable[[str], None] = lambda why: None
    _busy: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _turns: dict[str, _Turn] = field(default_factory=dict, repr=False)
    _halted: str = ""
    _bounded: bool = False

    def __post_init__(self) -> None:
        self.expert.validate()
        self.expert.quiet = True
        if self.expert.hosted:
            self.expert.billing = self
        self._check_price()
        self._take_up(self.ledger.left_open(self.name))

    @property
    def name(self) -> str:
        """The expert's name."""
        return self.expert.name

    @cached_property
    def kept(self) -> AnswerStore:
        """The expert's answers."""
        return self.expert.store()

    def let_go(self) -> None:
        """Close what is held open; the ledger is its owner's."""
        self.expert.let_go()
        self.kept.close()

    def halt(self, why: str) -> None:
        """Make no call any more; those under way are waited for."""
        self._halted = why

    def answer(self, examples: pa.Table, part: int | None = None) -> pa.Table:
        """One prediction row for each example; raises `ExpertError` only where asking was to stop.

        What was paid is told once, to the first `part` (that which is set, by default) that asks.
        """
        texts = examples["text"].to_pylist()
        keys = [self.expert.key(text) for text in texts]
        if self.expert.hosted:
            # What two ask at once is paid for once; who asks about many asks alone.
            with self._turn(keys[0] if len(keys) == 1 else ""):
                return self._billed(self.expert.answer(examples), keys, part)
        with self._busy:
            return self._billed(self._local(examples, texts, keys), keys, part)

    def stream(self, text: str, part: int | None = None) -> Streamed:
        """The reply to one text, in pieces as they come where a server writes it, else whole; rows as of `answer`."""
        return Streamed(self, text, part)

    # The expert's billing: each call to a server comes here first, and with what came of it.

    def before_call(self, key: str, text: str, stop: threading.Event) -> None:
        """Reserve a call at the most it can cost; raises `Refused` where it must not be made."""
        if not self.conduct.again and self.ledger.doubtful(key):
            raise Refused(f"{DOUBT}: {UNHEARD}")
        self._pass_breaker(stop)
        if not self.ledger.reserve(self.name, [(key, self._most([text])[0])], stop):
            self.breaker.unused()
            raise Refused(self._limit())

    def on_fault(self, key: str, found: Fault) -> Fault:
        """Close a call that failed; one that may have been billed is not made again."""
        passing = found.then == "retry" and found.why.endswith(" 429")
        if found.then == "give up" or passing:
            self.breaker.unused()
        else:
            self.breaker.fault(found.why, final=found.then == "stop")
        if found.sent:
            self.ledger.doubt([key])
            if not self.conduct.again:
                return Fault("give up", f"{DOUBT}: {found.why}; it may have been billed, and is not asked again")
        self.ledger.release([key])
        why = "the server cannot be reached" if found.why == NO_CONNECTION else found.why
        if found.then == "stop" and self.conduct.waits:
            return Fault("stop", why)
        return Fault("give up" if found.then == "stop" else found.then, why, found.wait)

    def on_answer(self, key: str, row: Row) -> None:
        """Keep an answer as it comes, and pay for it."""
        self.breaker.well()
        self.kept.put_many({key: row})
        self.ledger.settle(self._costs({key: row}))

    def _pass_breaker(self, stop: threading.Event) -> None:
        while True:
            if self._halted or stop.is_set():
                raise Refused(self._halted, "stop")
            outage = self.breaker.outage
            if self.conduct.waits and outage > self.conduct.patience:
                raise Refused(f"no answer for {outage:.0f} s, the last fault: {self.breaker.last}", "stop")
            left = self.breaker.wait()
            if not left:
                return
            why = f"no call for {left:.0f} s after repeated faults, the last: {self.breaker.last}"
            if not self.conduct.waits:
                raise Refused(f"{PAUSED}: {why}")
            self.on_wait(why)
            stop.wait(min(left, STEP_S))

    @contextmanager
    def _turn(self, key: str) -> Iterator[None]:
        with self._busy:
            turn = self._turns.setdefault(key, _Turn())
            turn.askers += 1
        try:
            with turn.lock:
                yield
        finally:
            with self._busy:
                turn.askers -= 1
                if not turn.askers:
                    del self._turns[key]

    def _local(self, examples: pa.Table, texts: Sequence[str], keys: Sequence[str]) -> pa.Table:
        """Answers of a model run here: kept ones, and as many new ones as the limit allows, in the order of rows."""
        kept = self.kept.get_many(keys)
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in kept}
        paid = self._pay(new)
        due = [at for at, key in enumerate(keys) if key in kept or key in paid]
        table = _nothing(self.expert, examples, self._limit())
        if due:
            try:
                said = self.expert.answer(examples.take(pa.array(due)))
            finally:
                self._take_up(self.ledger.open_calls(self.name))
            table = _put(table, said, due)
        return table

    def _pay(self, new: Mapping[str, str]) -> set[str]:
        if self._halted:
            raise ExpertError(f"Expert '{self.name}': {self._halted}.")
        calls = list(zip(new, self._most(list(new.values())), strict=True))
        return {key for key, _ in calls[: self.ledger.reserve(self.name, calls)]}

    def _take_up(self, left: list[str]) -> None:
        """Close calls by what is kept: an answer is paid for, a call to a server without one is in doubt."""
        if not left:
            return
        rows = self.kept.get_many(left)
        self.ledger.settle(self._costs(rows))
        rest = [key for key in left if key not in rows]
        (self.ledger.doubt if self.expert.hosted else self.ledger.release)(rest)

    def _costs(self, rows: Mapping[str, Row]) -> dict[str, float | None]:
        """Dollars that each row cost, None where what is priced was not measured."""
        if self.costs.unit != "usd" or not rows:
            return dict.fromkeys(rows, 0.0)
        told = {"id": list(rows), "expert": [self.name] * len(rows), **self.expert.columns(list(rows.values()))}
        table = schema.table("predictions", told)
        try:
            return dict(zip(rows, self.costs.price(table, self.name).tolist(), strict=True))
        except DataError:
            if len(rows) == 1:
                return dict.fromkeys(rows)
            return {key: cost for one in rows.items() for key, cost in self._costs(dict([one])).items()}

    def _billed(self, table: pa.Table, keys: Sequence[str], part: int | None) -> pa.Table:
        if self.costs.unit != "usd":
            return table
        told = self.ledger.paid(keys, self.part if part is None else part)
        at = table.schema.get_field_index("cost_usd")
        return table.set_column(at, table.schema.field(at), pa.array(told, pa.float64()))

    @property
    def _price(self) -> Price:
        return self.costs.prices.get(self.name, Price())

    def _most(self, texts: Sequence[str]) -> list[float]:
        if not self._bounded:
            return [0.0] * len(texts)
        price = self._price
        sizes = np.array(self.expert.most_tokens(texts), np.float64).reshape(-1, 2)
        rates = np.array([price.usd_per_1m_prompt_tokens, price.usd_per_1m_completion_tokens]) / 1e6
        return [float(most) for most in sizes @ rates + price.usd_per_1k_answers / 1e3]

    def _check_price(self) -> None:
        limited, dollars = self.ledger.limit is not None, self.costs.unit == "usd"
        if dollars and self.name not in self.costs.prices:
            raise ConfigError(
                f"Expert '{self.name}' has no price. Priced: {', '.join(sorted(self.costs.prices)) or 'none'}. "
                f"Add costs.prices.{self.name}, {{}} for one that is free."
            )
        if limited and not dollars:
            unit = self.costs.unit
            raise ConfigError(f"A spend limit is in dollars. Got costs in {unit}. Set costs.unit to usd.")
        if limited and self._price.usd_per_hour:
            raise ConfigError(
                f"Expert '{self.name}' is priced by the hour, and how long a call will take is not known before. "
                "Allowed under a spend limit: prices of tokens or answers. Price it so, or give no limit."
            )
        # Without a limit the most matters only where a server does not say how many tokens it billed.
        self._bounded = dollars and (limited or (self.expert.hosted and not self._price.usd_per_hour))
        try:
            self._most(["x"])
        except ConfigError:
            if limited:
                raise
            self._bounded = False

    def _limit(self) -> str:
        reached = f"the spend limit of ${self.ledger.limit or 0:g} is reached"
        return f"{LIMIT}: {OVERRUN if self.ledger.overrun else reached}"


class Streamed:
    """A reply in pieces: iterate it, then `table` has its prediction row.

    A reply that breaks off has an error there, and is in doubt.
    """

    def __init__(self, guarded: GuardedExpert, text: str, part: int | None) -> None:
        self._guarded = guarded
        self._text = text
        self._part = part
        self.table: pa.Table | None = None

    def __iter__(self) -> Iterator[str]:
        guarded, expert = self._guarded, self._guarded.expert
        one = schema.table("examples", {"id": ["0"], "text": [self._text], "split": ["test"]})
        from askless.experts.remote.openai import OpenAiExpert

        if isinstance(expert, OpenAiExpert) and not expert.setting.classes:
            from askless.experts.remote.streaming import stream

            key = expert.key(self._text)
            with guarded._turn(key):
                row = yield from stream(expert, self._text)
                self.table = guarded._billed(expert.predictions(one, expert.columns([row])), [key], self._part)
            return
        self.table = guarded.answer(one, self._part)
        yield from filter(None, self.table["text"].to_pylist())


def code_of(error: str) -> str:
    """The word for what went wrong with a row: limit, paused, in doubt, else fault."""
    return next((code for code in CODES if error.startswith(f"{code}: ")), FAULT)


def _nothing(expert: PaidExpert, examples: pa.Table, why: str) -> pa.Table:
    """A row without an answer for each example."""
    n = examples.num_rows
    none = {"prompt_tokens": np.zeros(n, np.int32), "completion_tokens": np.zeros(n, np.int32)}
    told = {"id": examples["id"].combine_chunks(), "expert": [expert.name] * n, "error": [why] * n, **none}
    return schema.table("predictions", {**told, "seconds": np.zeros(n, np.float32)})


def _put(table: pa.Table, said: pa.Table, rows: Sequence[int]) -> pa.Table:
    """`table` with the rows `said` in the places `rows`."""
    place = np.arange(table.num_rows)
    place[list(rows)] = table.num_rows + np.arange(len(rows))
    both = pa.concat_tables([each.replace_schema_metadata(None) for each in (table, said)])
    return both.take(pa.array(place))
