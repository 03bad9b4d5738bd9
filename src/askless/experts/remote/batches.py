"""A server asked by batches: files of requests that it answers within a day, for less.

What is noted of a batch in the file of answers, before each step, says what a run that was killed there left behind.
Without a `file` it was never sent. With one it may have been: the server's own list says whether. With an `id` it is
looked at until it has ended, and the note goes once all its answers are kept.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from itertools import islice
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

from askless.data.problems import Problem
from askless.errors import ExpertError
from askless.experts.answer_store import PaidAnswers, Row
from askless.experts.faults import Fault
from askless.experts.paid import failed
from askless.experts.remote.problems import fault, of_status
from askless.experts.remote.retrying import Failed, persist
from askless.experts.remote.wire import Wire

if TYPE_CHECKING:
    from askless.experts.remote.openai import OpenAiExpert

MOST_BYTES, LONGEST_RESULTS, RESULTS_S = 90 * 10**6, 2**30, 3600.0
FIRST_LOOK_S, LAST_LOOK_S, STEP_S = 2.0, 60.0, 0.2
# How often a line that failed, or was not reached in time, is asked in all.
ROUNDS = 3
ENDED = ("completed", "expired", "cancelled", "failed")
ROWS, LISTED = 500, 1000
ENDPOINT, WITHIN = "/v1/chat/completions", "24h"
_NO_LIST = (404, 405, 501)
_FULL = "token_limit_exceeded"
T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """What is noted of a batch.

    Parameters
    ----------
    name
        Of the file that has its requests.
    address
        Of its server, None for OpenAI's.
    keys
        Of the answers that are asked for.
    file, id
        What the server calls the file and the batch, None before it has them.
    read
        Whether all its answers are kept, so that it is of no more use.
    """

    name: str
    address: str | None
    keys: list[str]
    file: str | None = None
    id: str | None = None
    read: bool = False


class Batches:
    """The batches of one expert.

    Parameters
    ----------
    expert
        Whose requests and replies they are.
    client
        Of its server.
    store
        Where answers are kept, and batches noted.
    wire
        What happened to the requests of `client`.
    """

    def __init__(self, expert: OpenAiExpert, client: Any, store: PaidAnswers, wire: Wire) -> None:
        self._expert, self._client, self._store, self._wire = expert, client, store, wire
        self._stop, self._said = Event(), ""
        self._asked: Counter[str] = Counter()

    @classmethod
    @contextmanager
    def of(cls, expert: OpenAiExpert) -> Iterator[Batches]:
        """Those of an expert, its server reached by a client that lasts as long as the block."""
        wire = Wire(RESULTS_S, LONGEST_RESULTS)
        with expert.opened_store() as store, expert.new_client(wire) as client:
            yield cls(expert, client, store, wire)

    def ask(self, work: Mapping[str, str], missing: Sequence[str]) -> Generator[dict[str, Row]]:
        """Yield rows for the keys that are `missing`, of batches of earlier runs and of new ones."""
        told = self._expert.failed_in_batches
        if before := {key: failed(told[key]) for key in missing if key in told}:
            yield before
        missing = [key for key in missing if key not in told]
        open_ = self._begun_before(missing)
        under_way = {key for batch in open_ for key in batch.keys}
        due = {key: work[key] for key in missing if key not in under_way}
        held: dict[str, str] = {}
        while due or open_:
            for part in self._parts(due):
                yield from self._send(part, open_)
            if not open_:
                return
            batch, result = self._ended(open_)
            open_.remove(batch)
            due = yield from self._answers(batch, result, work)
            if due and open_ and result.status == "failed":
                # Its server has no room for it beside the others.
                self._asked.subtract(list(due))
                due, held = {}, held | due
            else:
                due, held = due | held, {}

    def noted(self) -> list[Batch]:
        """Those that this server was sent and whose answers are not all kept yet."""
        found = [Batch(**{"name": name, **about}) for name, about in self._store.batches().items()]
        return [batch for batch in found if batch.address == self._expert.address]

    def state(self, batch: Batch) -> tuple[str, int]:
        """In the server's words, how far a batch is, and how many of its lines are answered."""
        result = self._look(batch) if batch.id else None
        counts = getattr(result, "request_counts", None)
        return (result.status if result else "not sent"), int(getattr(counts, "completed", 0) or 0)

    def cancel(self, batch: Batch) -> None:
        """Have the server stop; what it has answered until then is billed, and fetched by the next run."""
        if batch.id:
            self._tried(lambda: self._client.batches.cancel(batch.id))

    def _begun_before(self, missing: Sequence[str]) -> list[Batch]:
        """Batches of earlier runs that some of these answers are in; notes that are of no use any more go."""
        wanted, found = set(missing), []
        for batch in self.noted():
            kept = self._store.get_many(batch.keys)
            if batch.read or len(kept) == len(batch.keys):
                self._forget(batch, self._look(batch) if batch.id else None)
            elif not batch.file:
                self._unsent(batch)
            elif wanted & {key for key in batch.keys if key not in kept}:
                try:
                    found.append(batch if batch.id else self._create(batch))
                except _Fault as refusal:
                    self._give_up(batch, refusal.found)
                    raise self._took_none(refusal.found) from None
        return found

    def _unsent(self, batch: Batch) -> None:
        """A batch was written down and never sent: its calls cost nothing, and its file, if it has one, goes."""
        for key in batch.keys:
            self._expert.on_fault(key, Fault("give up", "never sent"))
        with suppress(Exception):
            for each in islice(self._client.files.list(), LISTED):
                if each.filename == f"{batch.name}.jsonl":
                    self._client.files.delete(each.id)
        self._store.note_batch(batch.name, None)

    def _parts(self, due: Mapping[str, str]) -> Iterator[dict[str, str]]:
        """What is due, cut as one file can hold it."""
        part: dict[str, str] = {}
        size = 0
        for key, text in due.items():
            length = len(self._line(key, text))
            if part and (len(part) == self._expert.batch_requests or size + length > MOST_BYTES):
                yield part
                part, size = {}, 0
            part[key], size = text, size + length
        if part:
            yield part

    def _line(self, key: str, text: str) -> bytes:
        line = {"custom_id": key, "method": "POST", "url": ENDPOINT, "body": self._expert.body(text)}
        return json.dumps(line).encode() + b"\n"

    def _send(self, part: Mapping[str, str], open_: list[Batch]) -> Generator[dict[str, Row]]:
        """Write a batch down, pay for it and send it; yields rows for what may not be asked."""
        expert = self._expert
        batch = Batch(uuid.uuid4().hex, expert.address, list(part))
        self._note(batch)
        refused = {} if expert.billing is None else expert.billing.before_batch(part)
        if refused:
            yield self._failed(refused)
        batch = replace(batch, keys=[key for key in part if key not in refused])
        if not batch.keys:
            self._store.note_batch(batch.name, None)
            return
        self._asked.update(batch.keys)
        content = b"".join(self._line(key, part[key]) for key in batch.keys)
        named = (f"{batch.name}.jsonl", content, "application/jsonl")
        try:
            file = self._tried(lambda: self._client.files.create(file=named, purpose="batch"))
            batch = replace(batch, file=file.id)
            self._note(batch)
            open_.append(self._create(batch))
        except _Fault as refusal:
            yield from self._refused(batch, refusal.found)

    def _create(self, batch: Batch) -> Batch:
        """Have a file answered, unless it is being answered already."""

        def found_or_new() -> Any:
            return self._listed(batch) or self._client.batches.create(
                input_file_id=batch.file,
                endpoint=ENDPOINT,
                completion_window=WITHIN,
                metadata={"askless": batch.name},
                extra_headers={"Idempotency-Key": batch.name},
            )

        batch = replace(batch, id=self._tried(found_or_new).id)
        self._note(batch)
        return batch

    def _listed(self, batch: Batch) -> Any:
        """The batch of a file among those that the server lists, None where it is not there."""
        try:
            listed = islice(self._client.batches.list(limit=100), LISTED)
            return next((each for each in listed if each.input_file_id == batch.file), None)
        except Exception as error:
            if getattr(error, "status_code", None) not in _NO_LIST:
                raise
            return None

    def _refused(self, batch: Batch, found: Fault) -> Generator[dict[str, Row]]:
        """A batch that its server would not have ends the run, unless the billing bears it."""
        settled = self._give_up(batch, found)
        if self._expert.billing is None or any(each.then == "stop" for each in settled.values()):
            raise self._took_none(found)
        yield self._failed({key: each.why for key, each in settled.items()})

    def _give_up(self, batch: Batch, found: Fault) -> dict[str, Fault]:
        """Forget a batch that its server would not have; where it may have it, the next run looks for it."""
        if batch.file and found.sent:
            raise self._took_none(found)
        # A file that is sent costs nothing.
        settled = {key: self._expert.on_fault(key, replace(found, sent=False)) for key in batch.keys}
        self._forget(batch)
        return settled

    def _took_none(self, found: Fault) -> ExpertError:
        return self._error(f"it took no batch ({found.why})")

    def _ended(self, open_: Sequence[Batch]) -> tuple[Batch, Any]:
        """The first batch that has ended, and what the server says of it."""
        wait = FIRST_LOOK_S
        while True:
            for batch in open_:
                result = self._look(batch)
                if result is None or result.status in ENDED:
                    return batch, result
                self._say(batch, result)
            if (billing := self._expert.billing) is not None and billing.halted:
                raise self._error(f"{billing.halted}; the server goes on with what it has")
            self._pause(wait)
            wait = min(2 * wait, LAST_LOOK_S)

    def _pause(self, seconds: float) -> None:
        until, billing = time.monotonic() + seconds, self._expert.billing
        while (left := until - time.monotonic()) > 0 and not (billing and billing.halted):
            self._stop.wait(min(left, STEP_S))

    def _look(self, batch: Batch) -> Any:
        """What the server says of a batch, None where it knows none."""
        try:
            return self._tried(lambda: self._client.batches.retrieve(batch.id))
        except _Fault as refusal:
            if refusal.found.status == 404:
                return None
            raise self._error(f"a batch cannot be looked at ({refusal.found.why})") from None

    def _say(self, batch: Batch, result: Any) -> None:
        counts = getattr(result, "request_counts", None)
        done = f"{getattr(counts, 'completed', 0) or 0:,} of {len(batch.keys):,}"
        said = f"batch {batch.id} is {result.status}, {done} answered"
        if said != self._said:
            self._said = said
            self._expert.on_wait(said)

    def _answers(
        self, batch: Batch, result: Any, work: Mapping[str, str]
    ) -> Generator[dict[str, Row], None, dict[str, str]]:
        """Yield the rows of a batch that has ended, and forget it; returns what is to be asked again."""
        lines, again, end = self._lines(result), dict[str, str](), ""
        result = None if lines is None else result
        lines = lines or {}
        for line in lines.values():
            self._check_model(line)
        kept = self._store.get_many(batch.keys)
        missing = [key for key in batch.keys if key not in kept]
        for some in (missing[at : at + ROWS] for at in range(0, len(missing), ROWS)):
            rows: dict[str, Row] = {}
            for key in some:
                if self._expert.trace is not None and key in work:
                    self._expert.trace.begin(key, work[key])
                read = self._read(key, lines.get(key), work.get(key, ""), result)
                if not isinstance(read, Fault):
                    rows[key] = read
                    continue
                passing = read.then == "retry"
                settled = self._expert.on_fault(key, replace(read, then="give up") if passing else read)
                if settled.then == "stop":
                    end = end or settled.why
                elif passing and key in work and self._may_ask_again(key, read):
                    again[key] = work[key]
                else:
                    rows |= self._failed({key: settled.why})
            yield rows
        self._forget(batch, result)
        if end:
            raise self._error(end)
        return again

    def _failed(self, why: Mapping[str, str]) -> dict[str, Row]:
        """Rows of items that are not asked again before the next run."""
        self._expert.failed_in_batches.update(why)
        return {key: failed(each) for key, each in why.items()}

    def _may_ask_again(self, key: str, found: Fault) -> bool:
        billed = found.sent and self._expert.billing is not None
        return not billed and self._asked[key] < ROUNDS

    def _check_model(self, line: Mapping[str, Any]) -> None:
        """Raise where another model answered: nothing is kept, so that the answers are there once that is put right."""
        body = _body(line)
        if body is not None and (wrong := self._expert.another(body)):
            raise self._error(f"a batch was {wrong}; say served_as")

    def _read(self, key: str, line: Mapping[str, Any] | None, text: str, result: Any) -> Row | Fault:
        """The row of a line, or what it failed of."""
        expert = self._expert
        if line is None:
            return _unanswered(result)
        body = _body(line)
        if body is None:
            response = line.get("response")
            inside, status = _of(response, "body"), _of(response, "status_code")
            found = Problem.of(inside or line.get("error"), expert.secrets(text))
            if not isinstance(status, int):
                passing = found.code.startswith("batch_")
                return Fault("retry" if passing else "give up", found.words or found.code or "no reason given")
            if status in (400, 422) and expert.learns(found, expert.request(text)):
                self._asked[key] -= 1
                return Fault("retry", found.words)
            return of_status(status, found, billed=())
        try:
            row = {**expert.read(body, key, None, text), "batched": True}
        except Failed as broken:
            return broken.found
        return expert.on_answer(key, row)

    def _lines(self, result: Any) -> dict[str, Mapping[str, Any]] | None:
        """The lines of a batch's results by their keys, the first answer before all else; None where they are gone."""
        found: dict[str, Mapping[str, Any]] = {}
        for kind in ("error_file_id", "output_file_id"):
            file = getattr(result, kind, None)
            content = self._content(file) if file else b""
            if content is None:
                return None
            for line in content.splitlines():
                with suppress(ValueError, RecursionError):
                    record = json.loads(line)
                    if isinstance(record, dict) and isinstance(name := record.get("custom_id"), str):
                        if _body(found.get(name, {})) is None:
                            found[name] = record
        return found

    def _content(self, file: str) -> bytes | None:
        try:
            return bytes(self._tried(lambda: self._client.files.content(file).content))
        except _Fault as refusal:
            if refusal.found.status == 404:
                return None
            raise self._error(f"the results of a batch cannot be fetched ({refusal.found.why})") from None

    def _forget(self, batch: Batch, result: Any = None) -> None:
        """All answers are kept: what the server has of the texts goes, and then the note."""
        self._note(replace(batch, read=True))
        files = [batch.file, *(getattr(result, name, None) for name in ("output_file_id", "error_file_id"))]
        for file in filter(None, files):
            with suppress(Exception):
                self._client.files.delete(file)
        self._store.note_batch(batch.name, None)

    def _note(self, batch: Batch) -> None:
        self._store.note_batch(batch.name, asdict(batch))

    def _tried(self, call: Callable[[], T]) -> T:
        """What a request gives, tried as often as others are; raises `_Fault`."""
        expert = self._expert

        def one() -> T:
            self._wire.begin()
            try:
                return call()
            except Exception as error:
                raise Failed(fault(error, (expert.api_key(),), self._wire.sent)) from None

        found = persist(one, expert.pace, self._stop, expert.max_retries + 1)
        if isinstance(found, Fault):
            raise _Fault(found)
        return found

    def _error(self, why: str) -> ExpertError:
        expert = self._expert
        where = expert.address or "the OpenAI API"
        return ExpertError(
            f"Expert '{expert.name}': stopped asking '{expert.model}' by batches at {where}: {why}. Allowed: a server "
            f"with /files and /batches of OpenAI's API, and the key it wants in {expert.api_key_env}; mode: live for "
            "others. Put it right and run again: what was sent is fetched and not asked again."
        )


class _Fault(Exception):
    """What no try got over."""

    def __init__(self, found: Fault) -> None:
        super().__init__(found.why)
        self.found = found


def _body(line: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The reply in a line, None where it failed."""
    response = line.get("response")
    if not isinstance(response, Mapping) or str(response.get("status_code", 200)) != "200":
        return None
    body = response.get("body")
    return body if isinstance(body, Mapping) else None


def _of(response: Any, name: str) -> Any:
    return response.get(name) if isinstance(response, Mapping) else None


def _unanswered(result: Any) -> Fault:
    """What it means that a batch has no line for a key."""
    if result is None:
        return Fault("give up", "its server knows the batch no more", sent=True)
    if result.status == "completed":
        return Fault("retry", "the batch has no line for it", sent=True)
    if result.status != "failed":
        return Fault("retry", f"the batch {result.status}")
    errors = getattr(getattr(result, "errors", None), "data", None) or []
    found = Problem.of({"error": errors[0].model_dump() if errors else {}})
    return Fault(
        "retry" if found.code == _FULL else "stop",
        f"the batch was refused ({found.words or found.code or 'no reason given'})",
    )
