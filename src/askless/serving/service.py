"""One text answered: decided, put to an expensive expert where it is deferred, given, logged; nothing is lost."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from askless.errors import BudgetError
from askless.labelling.answerer import AskedText, TextBatch
from askless.monitoring.decision_log import DecisionRow
from askless.policies.base import Budget
from askless.serving.batching import Batcher, Work
from askless.serving.feedback import Learner
from askless.serving.log_writer import LogWriter
from askless.serving.measures import Measures
from askless.serving.messages import Refusal
from askless.serving.shadow import Shadow
from askless.serving.versions import DeployedVersion, Watch
from askless.spending.billing import LIMIT, SLOW
from askless.spending.guard import Piece

T = TypeVar("T")
RETRY_AFTER_S = "1"
STEP_S = 0.02
LEARNING = "learning"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What the server takes on.

    Parameters
    ----------
    kilobytes
        Of the body of a request.
    waiting
        Requests at once; others are turned away.
    asking
        Calls to expensive experts at once.
    patience
        Seconds that such a call is waited for.
    fails
        Whether a failed call is an error rather than the small expert's answer.
    grace
        Seconds in which calls under way may end when the server does.
    """

    kilobytes: int = 256
    waiting: int = 64
    asking: int = 16
    patience: float = 30.0
    fails: bool = False
    grace: float = 30.0


@dataclass(frozen=True)
class Reply:
    """The answer to one text.

    Parameters
    ----------
    row
        As the log has it.
    reason
        Why that expert answered.
    usage
        Tokens of an expensive answer.
    in_dollars
        Whether costs are counted in dollars.
    """

    row: DecisionRow
    reason: str
    usage: dict[str, int]
    in_dollars: bool

    @property
    def answer(self) -> str:
        """The label or the summary, empty where there is none."""
        return self.row.answer or ""

    def facts(self) -> dict[str, Any]:
        """The object `askless` of a response."""
        row = self.row
        return {
            "id": row.id,
            "expert": row.expert,
            "cost_usd": row.cost if self.in_dollars else None,
            "score": None if row.score is None else round(row.score, 6),
            "reason": self.reason,
            "version": row.version,
            "asked": list(row.asked),
            "error": row.error,
        }


@dataclass
class Case:
    """One text on its way to an answer.

    Parameters
    ----------
    deployed
        The version that answers it, in use until then.
    work
        What is to be decided.
    streams
        Whether the client reads pieces.
    start, decided
        When it came, on the performance counter, and the seconds until it was decided.
    pieces
        Of the answer, None after the last.
    begun
        Set with the first piece, and at the end.
    closed
        Whether another answer was given, so that pieces are dropped.
    early
        What comes of the text, as soon as it is known; a judge of it may be asked still.
    task
        Comes to the reply.
    """

    deployed: DeployedVersion
    work: Work
    streams: bool
    start: float = field(default_factory=time.perf_counter)
    decided: float = 0.0
    pieces: asyncio.Queue[str | None] = field(default_factory=asyncio.Queue)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False
    early: AskedText | None = None
    task: asyncio.Task[Reply] | None = None

    def piece(self, text: str) -> None:
        """Take in a piece of the answer, unless another one was given by now."""
        if text and not self.closed:
            self.pieces.put_nowait(text)
            self.begun.set()

    def answer(self, asked: AskedText) -> None:
        """Take in what comes of the text before all are asked about it."""
        self.early = asked
        self.begun.set()


class Service:
    """Everything that a server is made of but HTTP.

    Parameters
    ----------
    watch
        The version in service.
    log
        Where decisions are logged.
    limits
        What is taken on.
    measures
        What is counted and timed.
    shadow
        The challenger that decides too, if there is one.
    """

    def __init__(
        self,
        watch: Watch,
        log: LogWriter,
        limits: Limits,
        measures: Measures,
        shadow: Shadow | None = None,
    ) -> None:
        self.watch = watch
        self.log = log
        self.limits = limits
        self.measures = measures
        self.shadow = shadow
        self.draining = False
        version = watch.current.version
        self.learner = None if version.learning is None else Learner(version, version.learning, measures)
        self.batches = Batcher()
        self._calls = ThreadPoolExecutor(limits.asking, "ask")
        # `_late`: calls whose reply was given before they end, until that is logged.
        self._held = self._busy = self._late = 0
        self._lock = threading.Lock()

    @property
    def answering(self) -> int:
        """How many requests are being answered, whether or not somebody waits for the answer still."""
        return self._held

    @property
    def busy(self) -> int:
        """How many calls to expensive experts are under way."""
        return self._busy

    def start(self) -> None:
        """Begin to serve."""
        for part in (self.batches, self.watch, self.log, self.shadow, self.learner):
            if part is not None:
                part.start()

    def close(self, until: float = 0.0) -> bool:
        """Wait, until `until` of the monotonic clock, for calls under way; write the log; whether all calls ended."""
        self.draining = True
        while (self.busy or self._late) and time.monotonic() < until:
            time.sleep(STEP_S)
        if self.watch.current.pool is not None:
            self.watch.current.pool.halt()
        self._calls.shutdown(wait=False, cancel_futures=True)
        self.batches.close()
        for part in (self.shadow, self.learner):
            if part is not None:
                part.close()
        self.log.close()
        self.watch.close()
        return not self.busy

    def admit(self) -> None:
        """Let a request in; raises `Refusal` (429, 503) where the server is full, or ends."""
        if self.draining:
            raise Refusal(503, "The server is shutting down.", "shutting_down", headers={"Retry-After": RETRY_AFTER_S})
        with self._lock:
            full = self._held >= self.limits.waiting
            self._held += not full
        if full:
            self.measures.shed.inc()
            message = f"{self.limits.waiting} requests are being answered. Try again."
            raise Refusal(429, message, "overloaded", headers={"Retry-After": RETRY_AFTER_S})
        self.measures.in_flight.inc()

    def release(self) -> None:
        """A request that was let in has ended."""
        with self._lock:
            self._held -= 1
        self.measures.in_flight.dec()

    def begin(self, model: str, text: str, budget: Budget | None, streams: bool) -> Case:
        """Begin to answer a text; raises `Refusal` (404, 400) for another model, or a text that cannot be answered."""
        if model != self.watch.model:
            raise Refusal(404, f"No such model. Served: {self.watch.model}.", "model_not_found", "model")
        deployed = self.watch.take()
        try:
            answerer = deployed.answerer
            policy = deployed.version.bundle.policy
            if budget is not None and not policy.budgets:
                message = f"{type(policy).__name__} decides by its own rule and takes no budget."
                raise Refusal(400, message, "invalid_budget", "askless")
            items = TextBatch.of(deployed.version.terms, [text])
            if items.faults[0]:
                raise Refusal(400, f"Unanswerable: {items.faults[0]}.", "unanswerable", "messages")
        except BaseException:
            deployed.leave()
            raise
        work = Work(answerer, items.ids[0], items.texts[0], answerer.budget if budget is None else budget)
        case = Case(deployed, work, streams)
        case.task = asyncio.get_running_loop().create_task(self._answer(case))
        # What nobody waits for any more is no unhandled fault.
        case.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return case

    async def _answer(self, case: Case) -> Reply:
        late: Future[AskedText] | None = None
        try:
            answerer, whole = case.work.answerer, not case.deployed.version.decides_alone
            decided = self._undecided(case) if whole else await self._decided(case)
            if not (whole or decided.asked):
                return self._replied(case, AskedText(decided), None)
            early = partial(_told, asyncio.get_running_loop(), case.answer)
            one = partial(answerer.answer_one, decided, case.work.budget, early)
            asked, late = await self._asked(case, decided, one if whole else partial(answerer.ask, decided))
            return self._replied(case, asked, late)
        except BudgetError as error:
            work = case.work
            if work.budget is not work.answerer.budget:
                raise Refusal(400, str(error), "invalid_budget", "askless") from None
            # The client said nothing of a budget: it is the model's own that is not enough any more.
            undecided = work.answerer.undecided(work.name, work.text, work.arrived)
            return self._replied(
                case, AskedText(work.answerer.without(undecided, f"{LIMIT}: {str(error).rstrip('.')}")), None
            )
        finally:
            case.pieces.put_nowait(None)
            case.begun.set()
            if late is None:
                case.deployed.leave()

    def _undecided(self, case: Case) -> DecisionRow:
        """The row of a text that is decided while experts are asked."""
        work = case.work
        if self.shadow is not None:
            self.shadow.offer(work.name, work.text, work.arrived)
        return work.answerer.undecided(work.name, work.text, work.arrived)

    async def _decided(self, case: Case) -> DecisionRow:
        row = await self.batches.decide(case.work)
        case.decided = time.perf_counter() - case.start
        self.measures.decision.observe(case.decided)
        self.measures.decisions.labels(row.expert, row.version).inc()
        if self.shadow is not None:
            self.shadow.offer(row.id, case.work.text, row.time)
        return row

    async def _asked(
        self, case: Case, decided: DecisionRow, ask: Callable[[Piece | None], AskedText]
    ) -> tuple[AskedText, Future[AskedText] | None]:
        """The row once its expert was asked; a slow one, and a judge, are not waited for: the call comes along."""
        piece = partial(_told, asyncio.get_running_loop(), case.piece)
        call = self._calls.submit(self._call, ask, piece if case.streams else None)
        asked = asyncio.wrap_future(call)
        begun = asyncio.ensure_future(case.begun.wait())
        both: list[asyncio.Future[Any]] = [asked, begun]
        await asyncio.wait(both, timeout=self.limits.patience, return_when=asyncio.FIRST_COMPLETED)
        if begun.done() and case.early is None:
            await asked
        begun.cancel()
        if case.early is not None:
            return case.early, call
        if asked.done():
            return asked.result(), None
        case.closed = True
        seconds, unasked = f"within {self.limits.patience:g} s", call.cancel()
        why = f"{SLOW}: {'nobody was free to ask it' if unasked else 'no answer'} {seconds}"
        return AskedText(await asyncio.to_thread(case.work.answerer.without, decided, why)), None if unasked else call

    def _call(self, ask: Callable[[Piece | None], AskedText], piece: Piece | None) -> AskedText:
        self._count(1)
        try:
            return ask(piece)
        finally:
            # Counted before it is known, so that whoever waits for it finds nobody busy.
            self._count(-1)

    def _count(self, more: int) -> None:
        with self._lock:
            self._busy += more

    def _replied(self, case: Case, asked: AskedText, late: Future[AskedText] | None) -> Reply:
        """The reply, logged and counted, once its call has ended where that is `late`; raises `Refusal` for none."""
        row = asked.row
        prompt = sum(used.prompt_tokens for used in asked.used.values())
        completion = sum(used.completion_tokens for used in asked.used.values())
        usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        reason = case.work.answerer.reason(row.expert, row.error, row.answer)
        reply = Reply(row, reason, usage, case.deployed.version.terms.costs.unit == "usd")
        if late is None:
            self._write(case, reply, asked)
        else:
            with self._lock:
                self._late += 1
            late.add_done_callback(lambda call: self._ended(case, reply, call))
        if row.error is None:
            return reply
        self.measures.errors.labels(reason).inc()
        partly = case.begun.is_set() and case.streams and not case.closed
        if self.limits.fails or partly or row.answer is None:
            what = "The reply broke off" if partly else "The expert that should answer did not"
            why = row.error.partition(": ")[2]
            failed = Refusal(503, f"{what}: {why}.", reason, headers={"Retry-After": RETRY_AFTER_S})
            failed.add(askless={**reply.facts(), "answer": reply.answer})
            raise failed
        return reply

    def _ended(self, case: Case, reply: Reply, call: Future[AskedText]) -> None:
        """A slow expert's answer, or a judge's verdict, has come after the reply: it is kept, and paid for."""
        try:
            self._write(case, reply, call.result())
        finally:
            with self._lock:
                self._late -= 1
            case.deployed.leave()

    def _write(self, case: Case, reply: Reply, asked: AskedText) -> None:
        """Count and log a reply, and what was asked for it."""
        row, measures, paid = reply.row, self.measures, asked.row.paid
        # Those of a model that learns are too many to be counted apart.
        version = case.deployed.version.number if self.learner is None else LEARNING
        own = max(each.cost - (each.paid or 0.0) for each in (row, asked.row))
        measures.answers.labels(row.expert, version, reply.reason).inc()
        if reply.in_dollars:
            small = case.work.answerer.small
            bills = {small: own, **{name: used.usd for name, used in asked.used.items()}}
            for name, usd in bills.items():
                measures.dollars.labels(name, version).inc(usd)
        for name, used in asked.used.items():
            measures.tokens.labels(name, "prompt").inc(used.prompt_tokens)
            measures.tokens.labels(name, "completion").inc(used.completion_tokens)
        self.log.put(replace(row, cost=own + (paid or 0.0), paid=paid))


def _told(loop: asyncio.AbstractEventLoop, hears: Callable[[T], None], what: T) -> None:
    """Tell the loop's thread; where it has ended, as at the server's end, what is under way is kept all the same."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(hears, what)
