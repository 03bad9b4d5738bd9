"""The billing of calls to a server: each is reserved in the ledger before it is made, and closed by its outcome."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from askless.experts.answer_store import AnswerStore, Row, without_reply
from askless.experts.faults import NO_CONNECTION, REPEATED, Fault, Refused
from askless.experts.paid import failed
from askless.spending.breaker import Breaker
from askless.spending.call_price import CallPrice
from askless.spending.ledger import Ledger

LIMIT, PAUSED, DOUBT, SLOW, FAULT = "limit", "paused", "in doubt", "slow", "fault"
CODES = (LIMIT, PAUSED, DOUBT, SLOW)
OVERRUN = "a call was billed more than its price and its tokens allow; nothing more is paid until tomorrow (UTC)"
ASKED_BEFORE = "asked once, and no answer came: it may have been billed, and is not asked again"
UNSTATED_AFTER = 5
UNSTATED = (
    f"its first {UNSTATED_AFTER} answers state no probability, by which the model decides what to ask more about: it "
    "was made on answers that do, and would ask about far more rows (use a server that gives these, plan again "
    "on answers like these, or go on with --anyway)"
)
STEP_S = 0.2
_AT_ONCE = threading.Event()
_AT_ONCE.set()


@dataclass(frozen=True)
class FaultHandling:
    """What is done about faults of a server.

    Parameters
    ----------
    waits
        Whether items wait until the server answers again; otherwise they are given up.
    patience
        Seconds that they wait at most; then asking stops.
    ask_in_doubt
        Whether calls in doubt are made once more, which may be billed twice.
    """

    waits: bool = False
    patience: float = 600.0
    ask_in_doubt: bool = False


class Billing:
    """Pays for the calls of one expert, or refuses them (`experts.paid.BillingHook`).

    Parameters
    ----------
    name
        The expert's.
    price
        What its calls can cost.
    ledger
        Where they are reserved and closed.
    breaker
        Says when the server is left alone.
    handling
        What is done about its faults.
    answers
        Where answers are kept, so that they are there before they are paid for.
    payer
        The environment variable of the key that pays, None where there is none.
    """

    def __init__(
        self,
        name: str,
        price: CallPrice,
        ledger: Ledger,
        breaker: Breaker,
        handling: FaultHandling,
        answers: Callable[[], AnswerStore],
        payer: str | None = None,
    ) -> None:
        self.halted = ""
        # Whether a row says how sure its answer is, where that is what its asker goes by.
        self.states: Callable[[Row], bool] | None = None
        self._unstated = 0
        self.on_wait: Callable[[str], None] = lambda why: None
        self._name = name
        self._price = price
        self._ledger = ledger
        self._breaker = breaker
        self._handling = handling
        self._answers = answers
        self._payer = payer

    def turn(self, key: str, stop: threading.Event) -> AbstractContextManager[Row | None]:
        """Wait until no thread and no process asks for the answer of a key; gives it where it is kept by then."""
        return self._answers().turn(key, lambda: stop.is_set() or bool(self.halted))

    def before_call(self, key: str, text: str, stop: threading.Event) -> None:
        """Reserve a call at the most it can cost; raises `Refused` where it must not be made."""
        if not self._handling.ask_in_doubt and self._ledger.doubtful(key):
            raise Refused(f"{DOUBT}: {ASKED_BEFORE}")
        self._wait_for_server(stop)
        fits = 0
        try:
            fits = self._ledger.reserve(self._name, [(key, self._price.most([text])[0])], stop, self._payer)
        finally:
            if not fits:
                self._breaker.unused()
        if not fits:
            raise Refused(over_limit(self._ledger, self._payer))

    def before_batch(self, work: Mapping[str, str]) -> dict[str, str]:
        """Reserve calls at the most that they can cost, in their order for as long as they fit; why not for others."""
        doubtful = set() if self._handling.ask_in_doubt else {key for key in work if self._ledger.doubtful(key)}
        calls = {key: text for key, text in work.items() if key not in doubtful}
        most = zip(calls, self._price.most(list(calls.values())), strict=True)
        # None of them is under way yet, so that there is nothing to wait for.
        fit = self._ledger.reserve(self._name, list(most), _AT_ONCE, self._payer)
        over = dict.fromkeys(list(calls)[fit:], over_limit(self._ledger, self._payer))
        return over | dict.fromkeys(doubtful, f"{DOUBT}: {ASKED_BEFORE}")

    def on_fault(self, key: str, found: Fault) -> Fault:
        """Close a call that failed; one that may have been billed is not made again."""
        passing = found.then == "retry" and found.status == 429
        if found.then == "give up" or passing:
            self._breaker.unused()
        else:
            self._breaker.fault(found.why, final=found.then == "stop")
        if found.sent:
            self._ledger.doubt([key])
            if not self._handling.ask_in_doubt:
                return Fault("give up", f"{DOUBT}: {found.why}; it may have been billed, and is not asked again")
        self._ledger.release([key])
        why = "the server cannot be reached" if found.why == NO_CONNECTION else found.why
        if found.then == "stop" and self._handling.waits:
            return Fault("stop", why)
        return Fault("give up" if found.then == "stop" else found.then, why, found.wait)

    def on_answer(self, key: str, row: Row) -> Row:
        """Keep an answer as it comes, and pay for it; one whose reply was another's has failed, and is in doubt."""
        self._breaker.well()
        if self._answers().put_many({key: row}):
            return failed(self.on_fault(key, Fault("give up", REPEATED, sent=True)).why)
        self._ledger.settle(self._price.paid({key: row}))
        self._look(row)
        return without_reply(row)

    def _look(self, row: Row) -> None:
        """Ask no more where what its asker goes by is in none of the first answers."""
        if self.states is None:
            return
        if self.states(row):
            self.states = None
        else:
            self._unstated += 1
            self.halted = UNSTATED if self._unstated >= UNSTATED_AFTER else self.halted

    def _wait_for_server(self, stop: threading.Event) -> None:
        while True:
            if self.halted or stop.is_set():
                raise Refused(self.halted, "stop")
            outage, last = self._breaker.outage, self._breaker.last
            if self._handling.waits and outage > self._handling.patience:
                raise Refused(f"no answer for {outage:.0f} s, the last fault: {last}", "stop")
            left = self._breaker.wait()
            if not left:
                return
            why = f"no call for {left:.0f} s after repeated faults, the last: {self._breaker.last}"
            if not self._handling.waits:
                raise Refused(f"{PAUSED}: {why}")
            self.on_wait(why)
            stop.wait(min(left, STEP_S))


def over_limit(ledger: Ledger, payer: str | None = None) -> str:
    """The error of a row that is not asked about for want of money."""
    if ledger.overran(payer):
        return f"{LIMIT}: {OVERRUN}"
    limit = ledger.key_limit(payer) or f"the spend limit of ${ledger.limit or 0:g}"
    return f"{LIMIT}: {limit} is reached"


def code_of(error: str) -> str:
    """The word for what went wrong with a row: limit, paused, in doubt, slow, else fault."""
    return next((code for code in CODES if error.startswith(f"{code}: ")), FAULT)
