"""Any server that speaks OpenAI's chat API, through the openai client, in parallel and resumable."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from askless import schema
from askless.data.label_reader import LabelReader, reader_of
from askless.data.problems import Problem, stated
from askless.data.replies import confidence, observed, quantity, said
from askless.errors import ConfigError, ExpertError, MissingExtra
from askless.experts.answer_store import REPLY, REPLY_ID, PaidAnswers, Row, answer_key
from askless.experts.base import Setting, number, whole
from askless.experts.faults import REPEATED, Fault
from askless.experts.paid import TEMPLATE_TOKENS, PaidExpert, Wording, failed
from askless.experts.remote.batches import Batches
from askless.experts.remote.confidences import STATED, VOTES, of_stated, of_votes, stated_probability, voted
from askless.experts.remote.problems import BILLED_ERRORS, fault, problem_of, refused_field, stated_fault
from askless.experts.remote.providers import BATCHES, provider
from askless.experts.remote.retrying import Failed, Pace, persist
from askless.experts.remote.wire import HEADERS, SeenReplies, Wire, reply_id
from askless.experts.replies import replied
from askless.hosts import is_local_url
from askless.made_once import made_once
from askless.prompts import LABEL, PROBABILITY, Prompt
from askless.schema import PREDICTIONS

logger = logging.getLogger(__name__)
FAILED_IN_A_ROW = 24
# Answers of another model are paid for: fewer of them in a row are enough.
FEW = 3
UNREAD = "..."
UNSURE = "without log-probabilities its answers state no confidence, unless by confidence: stated or samples: 5"
ANOTHER = "answered by another model"
NO_KEY = "none"
REDIRECT = "OPENAI_BASE_URL"
OPENAI = "https://api.openai.com/v1"
OWN_FIELDS = ("model", "messages", "n", "best_of", "stream", "logprobs", "top_logprobs")
LENGTHS = ("max_tokens", "max_completion_tokens")
MAX_TOKENS, AFTER_WORD = {"label": 16, "summary": 128}, 8
TAKEN = tuple(name for name in PREDICTIONS.names if name.endswith("_tokens"))
OBSERVED = ("logprob", *TAKEN, "batched", "replies", "seconds", "cost_usd")


class OpenAiExpert(PaidExpert):
    """Answers through a server that speaks OpenAI's chat API, in parallel and resumable.

    An item that fails for good has a null label and its error, and is asked again by the next run; a refused key, an
    unknown model, a dead server or `FAILED_IN_A_ROW` failures stop the run, and what was answered is kept. A text that
    the server will not have (moderation, filters, its length) is no such failure. With a `billing` none of these stops
    a run: it decides what is made of them. A field that the model does not take (`max_tokens`, `temperature`, ...) is
    asked for as the server wants it, or left out, which is told once; the key of an answer stays that of what was set.

    Parameters
    ----------
    setting
        What the task tells the expert.
    model
        The name that the server knows.
    base_url
        The server's address up to `/v1`; None is OpenAI's, or the one that OPENAI_BASE_URL in the environment names,
        which is told. Another server is asked everything again; those of this machine are one.
    revision
        A mark of your own for what stands behind the name; a change asks everything again.
    prompt
        As of `LlmExpert`.
    api_key_env
        The environment variable that holds the key, which is read when it is needed and kept nowhere.
    temperature
        0 is greedy, more draws; None leaves the field out of the request.
    top_p
        Share of probability that is drawn from, more than 0, up to 1; None leaves the field out.
    max_tokens
        Most tokens of a reply, 1 or more; `auto` is 16 for a label, or what its longest word needs, and 128 for a
        summary; None leaves the field out.
    seed
        Where draws begin; None leaves the field out.
    top_logprobs
        Alternatives to the first token that are asked for, 0 to 20; 0 for a server that refuses log-probabilities.
    confidence
        How sure a label is: by `logprobs`, the server's log-probabilities, or `stated`, by the model itself, which the
        prompt then asks for JSON with a `probability`.
    samples
        Replies that are asked for about each text, 1 or more, where answers are labels: with more than one the
        label is that of most, each class as likely as its share of them. Each is a call, and billed; `temperature` must
        be above 0 and `seed` null, or they would be alike. No log-probabilities are asked for.
    concurrency
        Requests in flight, a thread each, 1 or more.
    requests_per_minute
        Most requests a minute, over all threads, more than 0; None is no limit.
    tokens_per_minute
        Most tokens a minute, over all threads, more than 0; None is no limit.
    served_as
        What the server calls the model in its answers, where that does not begin with `model`, whatever its case and
        owner. An answer of another model is refused, and `FEW` in a row stop the run.
    timeout
        Seconds that a request may take.
    max_retries
        Further tries, 0 or more, after HTTP 408, 409, 425, 429 and 5xx, time-outs and replies that cannot be read.
    extra
        Further fields of the request, such as `{guided_choice: ["0", "1"]}`; none that an option states, and no `n`.
    billed_errors
        HTTP statuses after which a call may have been billed all the same, so that it is in doubt; `[]` for a server
        that surely bills no error.
    mode
        `live`, or `batch`: by files that the server answers within a day, for less (`costs.prices.<name>.batch`).
        Answers are the same. Where somebody waits for one, as behind `serve`, it is asked live.
    batch_requests
        Most requests of a batch, 1 or more.
    """

    hosted = True
    packages = ("openai",)

    def __init__(
        self,
        setting: Setting,
        *,
        model: str,
        base_url: str | None = None,
        revision: str | None = None,
        prompt: Wording = None,
        api_key_env: str = "OPENAI_API_KEY",
        temperature: float | None = 0.0,
        top_p: float | None = 1.0,
        max_tokens: int | str | None = "auto",
        seed: int | None = None,
        top_logprobs: int = 5,
        confidence: str = "logprobs",
        samples: int = 1,
        concurrency: int = 8,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        served_as: str | None = None,
        timeout: float = 60.0,
        max_retries: int = 5,
        extra: Mapping[str, Any] | None = None,
        billed_errors: Sequence[int] = BILLED_ERRORS,
        mode: str = "live",
        batch_requests: int = 50_000,
    ) -> None:
        super().__init__(setting, model=model, prompt=prompt)
        self.base_url = base_url
        self.revision = revision
        self.api_key_env = api_key_env
        self.temperature = temperature
        self.top_p = top_p
        self.max_tokens = max_tokens
        self.seed = seed
        self.top_logprobs = top_logprobs
        self.confidence = confidence
        self.samples = samples
        self.concurrency = concurrency
        self.requests_per_minute = requests_per_minute
        self.tokens_per_minute = tokens_per_minute
        self.served_as = served_as
        self.timeout = timeout
        self.max_retries = max_retries
        self.extra = extra
        self.billed_errors = billed_errors
        self.mode = mode
        self.batch_requests = batch_requests

    def validate(self) -> None:
        """Raise `ConfigError` for an option that cannot be meant."""
        url = self.base_url
        self.require("base_url", url is None or url.startswith(("http://", "https://")), "null or an http(s) URL")
        self.require("temperature", self.temperature is None or number(self.temperature), "null or a number >= 0")
        self.require("top_p", self.top_p is None or number(self.top_p, 1e-6, 1), "null or a share > 0, up to 1")
        limited = self.max_tokens is None or self.max_tokens == "auto" or whole(self.max_tokens)
        self.require("max_tokens", limited, "auto, null or a whole number >= 1")
        self.require("top_logprobs", whole(self.top_logprobs, 0) and self.top_logprobs <= 20, "0 (none) to 20")
        self.require("confidence", self.confidence in ("logprobs", STATED), "logprobs or stated")
        drawn = self.temperature != 0 and self.seed is None and self.confidence != STATED
        drawn = whole(self.samples) and (self.samples == 1 or drawn)
        allowed = "1, or more with a temperature above 0, seed: null and confidence: logprobs"
        self.require("samples", drawn, allowed)
        self.require("concurrency", whole(self.concurrency), "a whole number >= 1")
        for option in ("requests_per_minute", "tokens_per_minute"):
            rate = getattr(self, option)
            self.require(option, rate is None or number(rate, 1e-6), "null or a number > 0")
        self.require("timeout", number(self.timeout, 1e-6), "seconds > 0")
        self.require("max_retries", whole(self.max_retries, 0), "a whole number >= 0")
        statuses = self.billed_errors
        errors = isinstance(statuses, list | tuple) and all(whole(each, 400) and each < 600 for each in statuses)
        self.require("billed_errors", errors, "a list of HTTP statuses, 400 to 599")
        self.require("mode", self.mode in ("live", "batch"), "live or batch")
        name, lacks = provider(self.address)
        able = self.mode == "live" or BATCHES not in lacks
        self.require("mode", able, f"live: {name} takes no batches of OpenAI's form (docs/providers.md)")
        self.require("batch_requests", whole(self.batch_requests), "a whole number >= 1")
        # A field of these would ask, and bill, for something else than what is read and reckoned with.
        own = {*OWN_FIELDS, *(name for name in LENGTHS if self.max_tokens is not None)}
        own |= {name for name in ("temperature", "top_p", "seed") if getattr(self, name) is not None}
        fits = isinstance(self.extra or {}, Mapping) and not own & set(self.extra or {})
        self.require("extra", fits, f"fields of a request without {', '.join(sorted(own))}")
        self.words()

    def check_access(self) -> None:
        """Raise `ExpertError` where the key is missing, `MissingExtra` without the client."""
        self.api_key()
        import_openai()

    def let_go(self) -> None:
        """Close the client that lasts over many runs, and what is told of calls."""
        if self.trace is not None:
            self.trace.close()
        if "_lasting" in vars(self):
            self._lasting.close()
            del self._lasting

    @property
    def batches(self) -> bool:
        """Whether it is asked by batches."""
        return self.mode == "batch" and not self.live

    @cached_property
    def failed_in_batches(self) -> dict[str, str]:
        """Why items failed in batches of this run: a batch takes hours, and is not tried for them again."""
        return {}

    def under_way(self) -> set[str]:
        """Keys that a server is answering in batches of earlier runs."""
        with self.store(make=False) as store:
            return {key for about in store.batches().values() if not about["read"] for key in about["keys"]}

    @property
    def server(self) -> str:
        """Host and port of `address`."""
        return urlsplit(self.address or OPENAI).netloc

    @property
    def address(self) -> str | None:
        """Where it is asked: `base_url`, else what OPENAI_BASE_URL in the environment says; None for OpenAI's own."""
        return self.base_url or os.environ.get(REDIRECT) or None

    def key(self, text: str) -> str:
        """The store's key of the answer to one text.

        The server is part of it; servers of this machine are one, for their port is whatever was free.
        """
        return self.keys(text)[0]

    def keys(self, text: str) -> list[str]:
        """The store's keys of all `replies` that the answer to one text is made of."""
        asked = self.address and ("this machine" if is_local_url(self.address) else self.address)
        about = ["openai", self.revision, self.request(text), *([asked] if asked else [])]
        return [answer_key(*about, *([number] if number else [])) for number in range(self.replies)]

    @property
    def replies(self) -> int:  # type: ignore[override]
        """How many replies an answer is made of."""
        return self.samples if self.setting.classes else 1

    @property
    def payer(self) -> str | None:  # type: ignore[override]
        """The environment variable of the key that pays for calls, where there is one."""
        return self.api_key_env if os.environ.get(self.api_key_env) else None

    def joined(self, rows: Sequence[Row]) -> Row:
        """The row of an answer that is made of these."""
        if len(rows) == 1:
            return rows[0]
        words = self.words()
        return voted(rows, replied([row.get("text") for row in rows], words)["label"], list(words))

    def template(self) -> Prompt:
        """The prompt, which asks for a probability where that is to be stated."""
        return self._stating if self.confidence == STATED and self.setting.classes else super().template()

    @cached_property
    def _stating(self) -> Prompt:
        return replace(super().template(), reply="stated")

    def ask(self, work: Mapping[str, str], kept: Mapping[str, Row]) -> Generator[dict[str, Row]]:
        """Yield rows as replies arrive; when a run must stop, what is under way is still waited for."""
        missing = [key for key in work if key not in kept]
        if self.batches:
            with Batches.of(self) as batches:
                yield from batches.ask(work, missing)
            return
        if not self.live and (busy := self.under_way().intersection(missing)):
            raise ExpertError(
                f"Expert '{self.name}': batches that are under way answer {len(busy)} of these items. Allowed until "
                "they have ended: mode: batch. Set it and run again, or stop them by askless batches --cancel."
            )
        yield from self._ask_live(work, missing)

    def _ask_live(self, work: Mapping[str, str], missing: Sequence[str]) -> Generator[dict[str, Row]]:
        stop, counting = threading.Event(), threading.Lock()
        end, failures = "", 0

        def one(key: str, text: str) -> Row:
            """Counted where it is answered, so that no thread begins another request before the count is looked at."""
            nonlocal end, failures
            row = self._one(client, stop, store, key, text)
            with counting:
                if "stop" in row:
                    end = end or row["stop"]
                elif "of_text" not in row:
                    failures = failures + 1 if "failed" in row else 0
                most = FEW if row.get("failed", "").startswith(ANOTHER) else FAILED_IN_A_ROW
                if failures >= most and self.billing is None:
                    end = end or f"{failures} answers in a row failed, the last with {row['failed']}"
                if end:
                    stop.set()
            return row

        with self.client() as client, self.opened_store() as store, ThreadPoolExecutor(self.concurrency) as pool:
            try:
                for done in _in_turn(pool, one, work, missing, self.concurrency, lambda: bool(end)):
                    if rows := {key: row for key, row in done.items() if "stop" not in row}:
                        yield rows
            finally:
                stop.set()
        if end:
            raise self._stopped(end)

    def most_tokens(self, texts: Sequence[str]) -> list[tuple[int, int]]:
        """A token for each byte of the request, what a chat template may add, and `max_tokens`."""
        written = self._tokens or (self.extra or {}).get("max_completion_tokens")
        if not isinstance(written, int):
            raise ConfigError(
                f"Expert '{self.name}': max_tokens is null, so that a reply has no longest. Allowed under a spend "
                "limit: auto, or a whole number. Set max_tokens."
            )
        prompt = self.template()
        around = len((prompt.fill("{text}") + (prompt.system or "")).encode()) + TEMPLATE_TOKENS
        return [(len(text.encode()) + around, written) for text in texts]

    def columns(self, rows: Sequence[Row]) -> Mapping[str, Any]:
        """Prediction columns of these rows."""
        words = self.words()
        columns = replied([row.get("text") for row in rows], words, [row.get("finish") != "length" for row in rows])
        for i, row in enumerate(rows):
            reason = row.get("failed") or row.get("reason")
            if reason is not None or row.get("text") is None:
                columns["error"][i] = reason or f"no reply ({row.get('finish')})"
        if words:
            spread = [self._sure(*each, words) for each in zip(rows, columns["label"], strict=True)]
            columns["proba"] = [proba for proba, _ in spread]
            columns["mass"] = [mass for _, mass in spread]
        return {**columns, **{name: [row.get(name) for row in rows] for name in OBSERVED}}

    def _sure(self, row: Row, label: str | None, words: Mapping[str, str]) -> tuple[list[float] | None, float | None]:
        """`proba` and `mass` of a row, None where nothing is known of them."""
        if label is None:
            return None, None
        if VOTES in row:
            return of_votes(row, row["replies"])
        if self.confidence == STATED:
            return of_stated(row.get(STATED), label, list(words)), None
        return confidence(row, label, reader_of(words))

    def meta(self) -> dict[str, Any]:
        """Model, revision, prompt and longest reply; where and under which key it was asked is nobody's business."""
        longest = {schema.MAX_TOKENS: self._tokens} if isinstance(self._tokens, int) else {}
        return {"model": self.model, "revision": self.revision, "prompt_sha": self.prompt_sha(), **longest}

    def request(self, text: str) -> dict[str, Any]:
        """What is asked about a text, for the client; it determines the answer's key."""
        prompt = self.template()
        turns = [{"role": "user", "content": prompt.fill(text)}]
        if prompt.system:
            turns.insert(0, {"role": "system", "content": prompt.system})
        tops = None if self.replies > 1 or prompt.reply == STATED else self.top_logprobs or None
        request: dict[str, Any] = {
            "model": self.model,
            "messages": turns,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self._tokens,
            "seed": self.seed,
            "logprobs": True if tops else None,
            "top_logprobs": tops if prompt.words else None,
            "response_format": _schema(prompt) if prompt.reply != "words" else None,
            "extra_body": dict(self.extra) if self.extra else None,
        }
        return {name: value for name, value in request.items() if value is not None}

    @property
    def _tokens(self) -> int | str | None:
        if self.max_tokens != "auto":
            return self.max_tokens
        if not self.setting.classes:
            return MAX_TOKENS["summary"]
        prompt = self.template()
        # No token is shorter than a byte.
        longest = max((len(prompt.answer(name).encode()) for name in prompt.words), default=0)
        return max(MAX_TOKENS["label"], longest + AFTER_WORD)

    @made_once
    def pace(self) -> Pace:
        """When requests may be made, over all runs."""
        return Pace(self.requests_per_minute, self.tokens_per_minute)

    @made_once
    def wire(self) -> Wire:
        """What happened to requests on their way."""
        return Wire(self.timeout)

    @made_once
    def seen(self) -> SeenReplies:
        """Whose answers the replies were, over all runs."""
        return SeenReplies()

    def call(self, client: Any, stop: threading.Event, key: str, text: str, **more: Any) -> Any:
        """The raw reply to one request about `text`, paid for by the billing, if there is one; raises `Failed`.

        Its key goes along, for servers that bill what they are asked again under one key once.
        """
        if self.billing is not None:
            self.billing.before_call(key, text, stop)
            more["extra_headers"] = {"Idempotency-Key": key}
        if self.trace is not None:
            self.trace.begin(key, text)
        asked = client.chat.completions
        create = (asked if more.get("stream") else asked.with_raw_response).create
        while True:
            request = self._as_taken(self.request(text))
            self.wire.begin()
            try:
                return create(**request, **more)
            except Exception as error:
                refused = getattr(error, "status_code", None) in (400, 422)
                if not refused or not self.learns(problem_of(error, (self.api_key(),)), request):
                    raise Failed(self.fault(error, text)) from None

    def body(self, text: str) -> dict[str, Any]:
        """The request about a text as JSON."""
        request = self._as_taken(self.request(text))
        return {**request, **request.pop("extra_body", {})}

    def fault(self, error: Exception, text: str) -> Fault:
        """What a request about `text` failed of."""
        return fault(error, self.secrets(text), self.wire.sent, self.billed_errors)

    def secrets(self, text: str) -> tuple[str, ...]:
        """What is cut out of the words of a server: the key, and the text, plain or as JSON has it."""
        return (self.api_key(), text, json.dumps(text)[1:-1])

    def read(self, reply: Mapping[str, Any], key: str, seconds: float | None, text: str) -> Row:
        """The row of a reply, checked before it is kept; raises `Failed` for one without an answer, or another's."""
        secrets = self.secrets(text)
        if (problem := stated(reply)) is not None:
            raise Failed(stated_fault(problem, secrets, self.billed_errors))
        try:
            row = {**self._observed(reply, secrets), "seconds": seconds}
            self.check_rows([row])
        except Exception as error:
            why = str(error) if type(error) is ValueError else type(error).__name__
            raise Failed(Fault("retry", f"unreadable reply ({why})", sent=True)) from None
        if self.seen.another(reply.get("id"), key):
            raise Failed(Fault("retry", REPEATED, sent=True))
        if self.private and self._reader is not None:
            row, reply = {**row, "text": _answer_alone(row["text"], self._reader)}, {"id": reply.get("id")}
        return {**row, REPLY: json.dumps(reply), REPLY_ID: reply_id(reply.get("id"))}

    def read_again(self, reply: str, row: Row) -> Row | None:
        """The row of a kept reply, in the place of one that cannot be read; None where that cannot be told."""
        try:
            seen = {**self._observed(json.loads(reply)), "seconds": quantity(row.get("seconds"))}
            return {**seen, **({"batched": True} if row.get("batched") else {})}
        except (ValueError, AttributeError):
            return None

    def _observed(self, reply: Mapping[str, Any], secrets: Sequence[str] = ()) -> Row:
        row = observed(reply, self._reader, secrets)
        return row | ({STATED: stated_probability(row["text"])} if self.template().reply == STATED else {})

    @property
    def _reader(self) -> LabelReader | None:
        words = self.words()
        return reader_of(words) if words else None

    @made_once
    def _untaken(self) -> set[str]:
        """Fields of a request that the server does not take."""
        name, lacks = provider(self.address)
        fields = {field for field in lacks if field in self.request("")}
        if fields:
            unsure = f"; {UNSURE}" if "logprobs" in fields else ""
            note = "Expert '%s': %s does not take %s, which is left out%s."
            logger.warning(note, self.name, name, ", ".join(sorted(fields)), unsure)
        return fields

    def _as_taken(self, request: dict[str, Any]) -> dict[str, Any]:
        """A request without the fields that the server does not take; the longest reply stays what it is."""
        taken = {name: value for name, value in request.items() if name not in self._untaken}
        if "logprobs" in self._untaken:
            taken.pop("top_logprobs", None)
        if "max_tokens" in self._untaken and "max_tokens" in request:
            taken["max_completion_tokens"] = request["max_tokens"]
        return taken

    def learns(self, found: Problem, request: Mapping[str, Any]) -> bool:
        """Whether a request failed of a field that can be asked for otherwise, or left out; from now on it is."""
        field = refused_field(found, request)
        if field is None:
            return False
        if field not in self._untaken:
            self._untaken.add(field)
            instead = "asked for as max_completion_tokens" if field == "max_tokens" else "left out"
            logger.warning("Expert '%s': its server does not take %s, which is %s.", self.name, field, instead)
        return True

    def about(self, text: str) -> int:
        """Tokens to set aside for a request: a quarter of its characters, and the longest reply."""
        written = self._tokens if isinstance(self._tokens, int) else 0
        return len(f"{self.template().system or ''}{self.template().fill(text)}") // 4 + written

    def another(self, reply: Mapping[str, Any]) -> str:
        """What is wrong with the model that a reply names, empty where nothing is.

        `gpt-4o-mini` is served as `gpt-4o-mini-2024-07-18` and the like; `models/m`, `owner/m` and `M` are `m`.
        """
        name, asked = reply.get("model"), self.served_as or self.model
        short, wanted = (said(each).casefold().rpartition("/")[2] for each in (name, asked))
        same = not short or re.match(rf"{re.escape(wanted)}(?![^\W_])", short)
        return "" if same else f"{ANOTHER}, '{said(name)}', not '{asked}'"

    def on_fault(self, key: str, found: Fault) -> Fault:
        """What the billing, if there is one, makes of a failed request."""
        settled = found if self.billing is None else self.billing.on_fault(key, found)
        if self.trace is not None:
            self.trace.end(key, None, settled.why)
        return settled

    def on_wait(self, why: str) -> None:
        """Say what is waited for."""
        logger.info("%s: %s", self.name, why)
        if self.billing is not None:
            self.billing.on_wait(why)

    def on_answer(self, key: str, row: Row) -> Row:
        """The same row, which the billing, if there is one, keeps and pays for; or one that says why it failed."""
        answered = row if self.billing is None else self.billing.on_answer(key, row)
        if self.trace is not None:
            self.trace.end(key, row, answered.get("failed", ""))
        return answered

    def _one(self, client: Any, stop: threading.Event, answers: PaidAnswers, key: str, text: str) -> Row:
        if self.billing is None:
            return answers.once(key, partial(self._asked, client, stop, key, text), stop.is_set)
        with self.billing.turn(key, stop) as kept:
            return self._asked(client, stop, key, text) if kept is None else kept

    def _asked(self, client: Any, stop: threading.Event, key: str, text: str) -> Row:
        def call() -> Row:
            start = time.perf_counter()
            reply = whole_reply(self.call(client, stop, key, text).content)
            row = self.read(reply, key, time.perf_counter() - start, text)
            if (used := row["prompt_tokens"]) is not None:
                self.pace.settle(tokens, used + (row["completion_tokens"] or 0))
            if wrong := self.another(reply):
                why = self.on_fault(key, Fault("give up", wrong, sent=True)).why
                return {"failed": why, **{name: row.get(name) for name in OBSERVED if name != "logprob"}, "replies": 0}
            return self.on_answer(key, row)

        start, tokens = time.perf_counter(), self.about(text)
        row = persist(call, self.pace, stop, self.max_retries + 1, partial(self.on_fault, key), tokens)
        if not isinstance(row, Fault):
            return row
        if row.then == "stop":
            stop.set()
            return {"stop": row.why}
        return {**failed(row.why, time.perf_counter() - start), **({"of_text": True} if row.of_text else {})}

    @contextmanager
    def client(self) -> Iterator[Any]:
        """A client for the length of a run; with a billing, runs of an item or two, one for all of them."""
        if self.billing is not None:
            yield self._lasting
            return
        with self.new_client(self.wire) as client:
            yield client

    @made_once
    def _lasting(self) -> Any:
        return self.new_client(self.wire)

    def new_client(self, wire: Wire) -> Any:
        """A client whose requests `wire` follows."""
        openai = import_openai()
        http = openai.DefaultHttpxClient(
            timeout=self.timeout, follow_redirects=False, headers=HEADERS, event_hooks=wire.hooks
        )
        if self.address != self.base_url:
            note = "Expert '%s' is asked at %s, as %s in the environment says."
            logger.warning(note, self.name, self.address, REDIRECT)
        return openai.OpenAI(
            api_key=self.api_key(), base_url=self.address, timeout=self.timeout, max_retries=0, http_client=http
        )

    def api_key(self) -> str:
        """The key of the API; raises `ExpertError` where one is needed and the environment has none."""
        key = os.environ.get(self.api_key_env, "")
        if not key and self.address is None:
            raise ExpertError(
                f"Expert '{self.name}': the environment variable {self.api_key_env} is not set. Allowed: a "
                "key of the API. Export it, name another by api_key_env, or set base_url to your own server."
            )
        return key or NO_KEY

    def _stopped(self, why: str) -> ExpertError:
        where = self.address or "the OpenAI API"
        unset = "" if os.environ.get(self.api_key_env) else ", which is not set"
        return ExpertError(
            f"Expert '{self.name}': stopped asking '{self.model}' at {where}: {why}. Needed: a server "
            f"that can be reached, the key it wants in {self.api_key_env}{unset}, and a model that it serves. Put it "
            "right and run again: what was answered is kept and not asked again."
        )


def _schema(prompt: Prompt) -> dict[str, Any]:
    """What the reply must be, as `response_format` says it."""
    words = [word.strip() for word in prompt.words.values()]
    fields = {LABEL: {"type": "string", "enum": words}}
    fields |= {PROBABILITY: {"type": "number"}} if prompt.reply == STATED else {}
    shape = {"type": "object", "properties": fields, "required": [*fields], "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": shape}}


def _answer_alone(text: str | None, reader: LabelReader) -> str | None:
    """The word of a reply that was read as its label, and nothing else that it says."""
    named = reader(text or "")
    return text and (text[named.start : named.end] if named is not None else UNREAD)


def whole_reply(content: bytes) -> Mapping[str, Any]:
    """A reply as its JSON has it; raises `Failed` for what is none."""
    try:
        reply = json.loads(content, parse_int=_integer)
    except (ValueError, RecursionError):
        raise Failed(Fault("retry", "unreadable reply (no JSON)", sent=True)) from None
    if not isinstance(reply, Mapping):
        raise Failed(Fault("retry", "unreadable reply (no object)", sent=True))
    return reply


def _integer(digits: str) -> int | float:
    """A whole number of JSON, which may have more digits than Python reads."""
    return int(digits) if len(digits) < 400 else float(digits)


def _in_turn(
    pool: ThreadPoolExecutor,
    ask: Callable[[str, str], Row],
    work: Mapping[str, str],
    keys: Sequence[str],
    most: int,
    ended: Callable[[], bool],
) -> Iterator[dict[str, Row]]:
    """Rows as they come, with `most` keys asked at once.

    What came is yielded, and so kept, before others are asked: a kill loses no more answers than are under way.
    """
    waiting = iter(keys)
    asked: dict[Future[Row], str] = {}
    while True:
        for key in () if ended() else islice(waiting, most - len(asked)):
            asked[pool.submit(ask, key, work[key])] = key
        if not asked:
            return
        yield {asked.pop(future): future.result() for future in wait(asked, None, FIRST_COMPLETED).done}


def import_openai() -> Any:
    """The openai package; raises `MissingExtra` where it is not installed."""
    try:
        import openai
    except ImportError as error:
        raise MissingExtra("openai", "openai") from error
    return openai
