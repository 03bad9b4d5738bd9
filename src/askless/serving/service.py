"""One text answered: decided, put to an expensive expert where it is deferred, given, logged; nothing is lost."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from askless.data.incoming import fault_of
from askless.data.prepare import clean, ids
from askless.errors import BudgetError
from askless.labelling.label import DEFERRED, KEPT
from askless.monitoring.decision_log import DecisionRow
from askless.policies.base import Budget
from askless.serving.batching import Batches, Decision
from askless.serving.calls import Askers, CallOutcome, ask, small_says
from askless.serving.log_writer import LogWriter
from askless.serving.measures import Measures
from askless.serving.messages import Refusal
from askless.serving.shadow import Shadow
from askless.serving.versions import DeployedVersion, Watch

SLOW = "slow"
RETRY_AFTER_S = "1"
STEP_S = 0.02
NO_COUNT = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What the server takes on.

    `kilobytes` of a body, `waiting` requests at once, `asking` calls to expensive experts at once, `patience` seconds
    for such a call, `fails` (an error rather than the small expert's answer where it fails), `grace` seconds to end.
    """

    kilobytes: int = 256
    waiting: int = 64
    asking: int = 16
    patience: float = 30.0
    fails: bool = False
    grace: float = 30.0


@dataclass(frozen=True)
class Given:
    """The answer to one text, and how it came about."""

    answer: str
    expert: str
    reason: str
    error: str | None
    asked: list[str]
    score: float | None
    cost: float | None
    version: str
    usage: dict[str, int]

    def facts(self) -> dict[str, Any]:
        """The object `askless` of a response."""
        return {
            "expert": self.expert,
            "cost_usd": self.cost,
            "score": self.score,
            "reason": self.reason,
            "version": self.version,
            "asked": self.asked,
            "error": self.error,
        }


@dataclass
class Case:
    """One text on its way to an answer."""

    standing: DeployedVersion
    name: str
    text: str
    budget: Budget | None
    streams: bool
    arrived: datetime = field(default_factory=lambda: datetime.now(UTC))
    start: float = field(default_factory=time.perf_counter)
    decided: float = 0.0
    pieces: asyncio.Queue[str | None] = field(default_factory=asyncio.Queue)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False
    task: asyncio.Task[Given] | None = None

    def piece(self, said: str) -> None:
        """Take in a piece of the answer, unless another one was given by now."""
        if said and not self.closed:
            self.pieces.put_nowait(said)
            self.begun.set()


class Service:
    """Everything that a server is made of but HTTP."""

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
        self.batches = Batches()
        self.askers = Askers(limits.asking)
        self._held, self._lock = 0, threading.Lock()

    def start(self) -> None:
        """Begin to serve."""
        for part in (self.batches, self.askers, self.watch, self.log, self.shadow):
            if part is not None:
                part.start()

    def close(self, until: float = 0.0) -> bool:
        """Wait, until `until` of the monotonic clock, for calls under way; write the log; whether all calls ended."""
        self.draining = True
        while self.askers.busy and time.monotonic() < until:
            time.sleep(STEP_S)
        if self.watch.current.pool is not None:
            self.watch.current.pool.halt()
        self.batches.close()
        if self.shadow is not None:
            self.shadow.close()
        self.log.close()
        self.watch.close()
        return not self.askers.busy

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
        standing = self.watch.take()
        try:
            policy, terms = standing.version.bundle.policy, standing.version.terms
            if budget is not None and not policy.takes_budget:
                message = f"{type(policy).__name__} decides by its own rule and takes no budget."
                raise Refusal(400, message, "invalid_budget", "askless")
            cleaned = clean(text)
            fault = fault_of(cleaned, terms.longest)
            if fault:
                raise Refusal(400, f"Unanswerable: {fault}.", "unanswerable", "messages")
        except BaseException:
            standing.leave()
            raise
        name = ids(terms.task, [cleaned])[0]
        case = Case(standing, name, cleaned, standing.budget if budget is None else budget, streams)
        case.task = asyncio.get_running_loop().create_task(self._answer(case))
        # What nobody waits for any more is no unhandled fault.
        case.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return case

    async def _answer(self, case: Case) -> Given:
        late: Future[CallOutcome] | None = None
        try:
            decision = await self._decided(case)
            if decision.expert == case.standing.small:
                return self._given(case, decision, CallOutcome(decision.small_answer), KEPT)
            heard, late = await self._asked(case, decision)
            if heard.answer is not None:
                return self._given(case, decision, heard, DEFERRED)
            return await self._instead(case, decision, heard, late)
        finally:
            case.pieces.put_nowait(None)
            case.begun.set()
            if late is None:
                case.standing.leave()

    async def _decided(self, case: Case) -> Decision:
        standing = case.standing
        try:
            decision = await self.batches.decide(
                standing.version.bundle, standing.costs, case.name, case.text, case.budget
            )
        except BudgetError as error:
            raise Refusal(400, str(error), "invalid_budget", "askless") from None
        case.decided = time.perf_counter() - case.start
        self.measures.decision.observe(case.decided)
        self.measures.decisions.labels(decision.expert, standing.version.number).inc()
        if self.shadow is not None:
            self.shadow.offer(case.name, case.text, case.arrived)
        return decision

    async def _asked(self, case: Case, decision: Decision) -> tuple[CallOutcome, Future[CallOutcome] | None]:
        """What the expensive expert said; one that is slow is not waited for, and comes back to be logged later."""
        loop = asyncio.get_running_loop()

        def piece(said: str) -> None:
            loop.call_soon_threadsafe(case.piece, said)

        def call() -> CallOutcome:
            return ask(case.standing, decision.expert, case.name, case.text, piece if case.streams else None)

        future = self.askers.put(call)
        heard = asyncio.wrap_future(future)
        begun = asyncio.ensure_future(case.begun.wait())
        both: list[asyncio.Future[Any]] = [heard, begun]
        await asyncio.wait(both, timeout=self.limits.patience, return_when=asyncio.FIRST_COMPLETED)
        if begun.done():
            await heard
        begun.cancel()
        if heard.done():
            return heard.result(), None
        case.closed = True
        seconds = f"within {self.limits.patience:g} s"
        if future.cancel():
            return CallOutcome(None, f"{SLOW}: nobody was free to ask it {seconds}"), None
        return CallOutcome(None, f"{SLOW}: no answer {seconds}"), future

    async def _instead(
        self, case: Case, decision: Decision, heard: CallOutcome, late: Future[CallOutcome] | None
    ) -> Given:
        """The small expert's answer where the expensive one's did not come, or the error that says so."""
        small = CallOutcome(decision.small_answer)
        if decision.small_answer is None:
            small = await asyncio.to_thread(small_says, case.standing, case.name, case.text)
        reason = SLOW if (heard.error or "").startswith(f"{SLOW}: ") else heard.reason
        self.measures.errors.labels(reason).inc()
        given = self._given(case, decision, heard, reason, small, late)
        partly = case.begun.is_set() and case.streams and not case.closed
        if self.limits.fails or partly or small.answer is None:
            what = "The reply broke off" if partly else "The expert that should answer did not"
            failed = Refusal(503, f"{what}: {heard.error}.", reason, headers={"Retry-After": RETRY_AFTER_S})
            failed.tell(askless={**given.facts(), "answer": given.answer})
            raise failed
        return given

    def _given(
        self,
        case: Case,
        decision: Decision,
        heard: CallOutcome,
        reason: str,
        small: CallOutcome | None = None,
        late: Future[CallOutcome] | None = None,
    ) -> Given:
        """What is told, logged and counted of a case."""
        standing, expensive = case.standing, decision.expert != case.standing.small
        by = decision.expert if small is None else standing.small
        answer = heard.answer if small is None else small.answer
        cheap = decision.cost + (small.paid if small else 0.0)
        usd = standing.version.terms.costs.unit == "usd"
        error = None if heard.answer is not None or not expensive else f"{decision.expert}: {heard.error}"
        given = Given(
            answer=answer or "",
            expert=by,
            reason=reason,
            error=error,
            asked=[decision.expert] if expensive else [],
            score=None if decision.score is None else round(decision.score, 6),
            cost=cheap + heard.paid if usd else None,
            version=standing.version.number,
            usage=_usage(heard) if expensive else dict(NO_COUNT),
        )
        row = self._row(case, decision, given, cheap, answer, small)
        if late is None:
            self._write(case, row, given, decision.expert, heard.paid if expensive else None, usd)
        else:
            late.add_done_callback(lambda done: self._later(case, row, given, decision.expert, done, usd))
        return given

    def _row(
        self, case: Case, decision: Decision, given: Given, cheap: float, answer: str | None, small: CallOutcome | None
    ) -> DecisionRow:
        return DecisionRow(
            time=case.arrived,
            id=case.name,
            task=case.standing.version.terms.task,
            version=given.version,
            expert=given.expert,
            asked=given.asked,
            score=decision.score,
            cost=cheap,
            small_answer=decision.small_answer or (small.answer if small else None),
            answer=answer,
            error=given.error,
            text=case.text,
        )

    def _later(
        self, case: Case, row: DecisionRow, given: Given, expensive: str, done: Future[CallOutcome], usd: bool
    ) -> None:
        """A slow expert's answer has come, too late to be given: it is kept for the next time, and paid for."""
        try:
            self._write(case, row, given, expensive, done.result().paid, usd)
        finally:
            case.standing.leave()

    def _write(self, case: Case, row: DecisionRow, given: Given, expensive: str, paid: float | None, usd: bool) -> None:
        cheap, small = row.cost, case.standing.small
        measures, number = self.measures, given.version
        measures.answers.labels(given.expert, number, given.reason).inc()
        if usd:
            measures.dollars.labels(small, number).inc(cheap)
        if usd and paid is not None:
            measures.dollars.labels(expensive, number).inc(paid)
        for kind in ("prompt_tokens", "completion_tokens"):
            if given.asked:
                measures.tokens.labels(expensive, kind.removesuffix("_tokens")).inc(given.usage[kind])
        self.log.put(replace(row, cost=cheap + (paid or 0.0), paid=paid))


def _usage(heard: CallOutcome) -> dict[str, int]:
    total = heard.prompt_tokens + heard.completion_tokens
    return {
        "prompt_tokens": heard.prompt_tokens,
        "completion_tokens": heard.completion_tokens,
        "total_tokens": total,
    }
