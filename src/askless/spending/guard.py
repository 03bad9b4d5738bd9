"""One expensive expert, asked within a limit: its calls are billed by a ledger, its faults are borne.

Asked for a table it always gives a table. A row that could not be answered has the reason in `error`, which begins with
one of the words of `billing`; whoever asked gives the small expert's answer then.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

from askless import schema
from askless.costs import CostModel
from askless.errors import ExpertError
from askless.experts.answer_store import AnswerStore
from askless.experts.paid import PaidExpert
from askless.made_once import made_once
from askless.spending.billing import Billing, FaultHandling, over_limit
from askless.spending.breaker import Breaker
from askless.spending.call_price import CallPrice
from askless.spending.key_limits import KeyLimit, key_limit
from askless.spending.ledger import Ledger

Piece = Callable[[str], None]


class GuardedExpert:
    """An expensive expert behind a ledger, a circuit breaker and its kept answers; any number of threads may ask.

    With costs in dollars each row's `cost_usd` is what the ledger paid for it, counted once: for the first part that
    asks. An answer that was kept before costs nothing now, unless `kept_cost` says otherwise.

    Parameters
    ----------
    expert
        Who is asked; from now on all its calls are billed here.
    costs
        The prices, and the unit in which costs are counted.
    ledger
        Every call, and the limit. It stays its owner's: `let_go` does not close it.
    handling
        What is done about faults of the server.
    breaker
        When the server is left alone.
    kept_cost
        Whether an answer has its price whenever it was paid, so that kept ones have it too.

    Raises
    ------
    ConfigError
        For an option that cannot be meant, and a price that sets no most for a call where the ledger has a limit.
    """

    def __init__(
        self,
        expert: PaidExpert,
        costs: CostModel,
        ledger: Ledger,
        handling: FaultHandling | None = None,
        breaker: Breaker | None = None,
        *,
        kept_cost: bool = False,
    ) -> None:
        expert.validate()
        expert.quiet = True
        self.expert = expert
        self.ledger = ledger
        self.breaker = breaker or Breaker()
        self.price = CallPrice(expert, costs, self.left < math.inf)
        self.part = 0
        self._kept_cost = kept_cost
        self._busy = threading.RLock()
        self._turns = _Turns()
        handling, payer = handling or FaultHandling(), expert.payer
        self.billing = Billing(self.name, self.price, ledger, self.breaker, handling, lambda: self.kept, payer)
        if expert.hosted:
            expert.billing = self.billing
        self._close_open_calls(ledger.left_open(self.name))

    @property
    def name(self) -> str:
        """The expert's name."""
        return self.expert.name

    @property
    def key_limit(self) -> KeyLimit | None:
        """What its key may pay in all tools, where less is left of that than of the ledger's limit."""
        return self.ledger.key_limit(self.expert.payer)

    @property
    def left(self) -> float:
        """Dollars that it may still be paid, infinite without a limit."""
        return self.ledger.left if (limit := self.key_limit) is None else limit.left

    @made_once
    def kept(self) -> AnswerStore:
        """The expert's answers."""
        return self.expert.store()

    def let_go(self) -> None:
        """Close what is held open, but for the ledger."""
        self.expert.let_go()
        self.kept.close()

    def expect_confidence(self) -> None:
        """Ask no more, and say so, where none of the first answers states a probability."""
        self.billing.states = lambda row: _stated(self.expert.columns_of([row]))

    def halt(self, why: str) -> None:
        """Make no call any more; those under way are waited for."""
        self.billing.halted = why

    def answer(self, examples: pa.Table, part: int | None = None, piece: Piece | None = None) -> pa.Table:
        """One prediction row for each example.

        Parameters
        ----------
        examples
            Whom to ask about.
        part
            The part of a run that this is for (`part` as it is set, by default): the first that asks for an answer has
            its cost, and has it again when it asks again.
        piece
            Called with the pieces of the one example's summary as they come, where a server writes it; else with all
            of it. A reply that breaks off has an error, and is in doubt.

        Returns
        -------
        pa.Table
            Predictions; a row without an answer has the reason in `error`.

        Raises
        ------
        ExpertError
            Only where asking was to stop.
        """
        texts = examples["text"].to_pylist()
        keys = [self.expert.keys(text) for text in texts]
        if not self.expert.hosted:
            with self._busy:
                table = self._billed(self._answer_here(examples, texts, [key for key, *_ in keys]), keys, part)
        else:
            # What two ask at once is paid for once; who asks about many asks alone.
            with self._turns.of(keys[0][0] if len(keys) == 1 else ""):
                written = self._streamed(examples, texts[0], piece) if piece else None
                table = self._billed(self.expert.answer(examples) if written is None else written, keys, part)
                if written is not None:
                    return table
        if piece is not None:
            for text in filter(None, table["text"].to_pylist()):
                piece(text)
        return table

    def ask_ahead(self, examples: pa.Table) -> None:
        """Ask as `answer` does, and leave the cost to the part that asks for these answers next."""
        texts = examples["text"].to_pylist()
        if self.expert.hosted:
            with self._turns.of(""):
                self.expert.answer(examples)
        else:
            with self._busy:
                self._answer_here(examples, texts, [self.expert.key(text) for text in texts])

    def _streamed(self, examples: pa.Table, text: str, piece: Piece) -> pa.Table | None:
        """The answer to one example, its pieces passed on; None where the expert cannot write in pieces."""
        from askless.experts.remote.openai import OpenAiExpert

        if not isinstance(self.expert, OpenAiExpert) or self.expert.setting.classes:
            return None
        from askless.experts.remote.streaming import stream

        pieces = stream(self.expert, text)
        while True:
            try:
                piece(next(pieces))
            except StopIteration as end:
                return self.expert.predictions(examples, self.expert.columns_of([end.value]))

    def _answer_here(self, examples: pa.Table, texts: Sequence[str], keys: Sequence[str]) -> pa.Table:
        """Answers of a model run here: kept ones, and as many new ones as the limit allows, in the order of rows."""
        kept = self.kept.get_many(keys)
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in kept}
        reserved = self._reserve(new)
        due = [at for at, key in enumerate(keys) if key in kept or key in reserved]
        table = unpaid(self.name, examples, error=over_limit(self.ledger))
        if due:
            try:
                answered = self.expert.answer(examples.take(pa.array(due)))
            finally:
                self._close_open_calls(self.ledger.open_calls(self.name))
            table = _put(table, answered, due)
        return table

    def _reserve(self, new: Mapping[str, str]) -> set[str]:
        if self.billing.halted:
            raise ExpertError(f"Expert '{self.name}': {self.billing.halted}.")
        calls = list(zip(new, self.price.most(list(new.values())), strict=True))
        return {key for key, _ in calls[: self.ledger.reserve(self.name, calls)]}

    def _close_open_calls(self, keys: list[str]) -> None:
        """Close calls by what is kept: an answer is paid for, a call to a server without one is in doubt.

        What a batch that was sent before is answering stays open.
        """
        if not keys:
            return
        rows = self.kept.get_many(keys)
        self.ledger.settle(self.price.paid(rows))
        under_way = self.expert.under_way()
        rest = [key for key in keys if key not in rows and key not in under_way]
        (self.ledger.doubt if self.expert.hosted else self.ledger.release)(rest)

    def _billed(self, table: pa.Table, answers: Sequence[list[str]], part: int | None) -> pa.Table:
        if not self.price.in_dollars:
            return table
        keys = [key for each in answers for key in each]
        if self._kept_cost:
            prices = self.price.paid(self.kept.get_many(keys))
            each = [math.nan if (cost := prices.get(key, 0.0)) is None else cost for key in keys]
        else:
            each = self.ledger.paid(keys, self.part if part is None else part)
        paid = np.reshape(each, (len(answers), self.expert.replies)).sum(axis=1)
        at = table.schema.get_field_index("cost_usd")
        return table.set_column(at, table.schema.field(at), pa.array(paid, pa.float64(), from_pandas=True))


@contextmanager
def within_limits(
    expert: PaidExpert, costs: CostModel, path: Path | None = None, max_usd: float | None = None
) -> Iterator[None]:
    """Have the calls of an expert to a server paid for by a ledger where there is a limit, of its key perhaps.

    The ledger is the file `path`, and a server that is away is waited for; without one it lasts as long as the block.
    """
    if not expert.hosted or (max_usd is None and key_limit(expert.payer) is None):
        yield
        return
    with Ledger(path, max_usd) as ledger:
        quiet, handling = expert.quiet, FaultHandling(waits=path is not None, ask_in_doubt=True)
        guard = GuardedExpert(expert, costs, ledger, handling)
        expert.quiet = quiet
        try:
            yield
        finally:
            guard.let_go()
            expert.billing = None


class _Turns:
    """A lock for each key that somebody asks about, and none for the others."""

    def __init__(self) -> None:
        self._locks: dict[str, threading.Lock] = {}
        self._askers: dict[str, int] = {}
        self._busy = threading.Lock()

    def __len__(self) -> int:
        return len(self._locks)

    @contextmanager
    def of(self, key: str) -> Iterator[None]:
        """Wait for the key's turn, and have it while the block lasts."""
        with self._busy:
            lock = self._locks.setdefault(key, threading.Lock())
            self._askers[key] = self._askers.get(key, 0) + 1
        try:
            with lock:
                yield
        finally:
            with self._busy:
                self._askers[key] -= 1
                if not self._askers[key]:
                    del self._askers[key], self._locks[key]


def _stated(columns: Mapping[str, Sequence[object]]) -> bool:
    """Whether an answer says how probable it is; one without a label has nothing to say."""
    label, *stated = ((columns.get(name) or [None])[0] for name in ("label", "logprob", "proba"))
    return label is None or any(each is not None for each in stated)


def unpaid(name: str, examples: pa.Table, **values: str) -> pa.Table:
    """A prediction row for each example that costs nothing and has these `values` in its columns."""
    n = examples.num_rows
    columns = {"id": examples["id"].combine_chunks(), **{column: [value] * n for column, value in values.items()}}
    nothing = {column: np.zeros(n, np.int32) for column in ("prompt_tokens", "completion_tokens")}
    nothing |= {"seconds": np.zeros(n, np.float32), "cost_usd": np.zeros(n)}
    return schema.table("predictions", {**columns, "expert": [name] * n, **nothing})


def _put(table: pa.Table, answered: pa.Table, rows: Sequence[int]) -> pa.Table:
    """`table` with the rows `answered` in the places `rows`."""
    place = np.arange(table.num_rows)
    place[list(rows)] = table.num_rows + np.arange(len(rows))
    both = pa.concat_tables([each.replace_schema_metadata(None) for each in (table, answered)])
    return both.take(pa.array(place))
