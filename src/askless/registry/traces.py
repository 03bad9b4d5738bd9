"""Calls to servers as traces in MLflow, where ASKLESS_TRACE asks for them; whoever asks never waits for MLflow."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from askless.data.prepare import ids
from askless.errors import ConfigError, require
from askless.experts.answer_store import REPLY, Row
from askless.experts.paid import PaidExpert
from askless.hosts import without_passwords
from askless.registry.experiments import experiment
from askless.registry.versions import store
from askless.spending.call_price import CallPrice

FLAG, CALLS, TEXTS = "ASKLESS_TRACE", "calls", "texts"
MOST_WAITING, STILL_SECONDS, END_SECONDS = 50_000, 10.0, 60.0
ANSWERED = "answered"
# Of a reply, beside its tokens of each kind.
TOLD = ("seconds", "replies", "batched")
logger = logging.getLogger(__name__)
# MLflow logs what it could not write, and raises nothing.
MLFLOW = "mlflow.tracing"


def trace(expert: PaidExpert, price: CallPrice | None) -> None:
    """Have each call of an expert to its server become a trace in MLflow, where ASKLESS_TRACE says so.

    Parameters
    ----------
    expert
        Whose calls; one that runs on this machine makes none.
    price
        What they cost, None where that is not known.

    Raises
    ------
    ConfigError
        For another value of ASKLESS_TRACE than `calls` and `texts`, which has prompts and replies in the traces.
    MissingExtra
        Where MLflow is not installed.
    """
    wanted = os.environ.get(FLAG, "")
    if wanted not in ("", CALLS, TEXTS):
        raise ConfigError(
            f"{FLAG} is '{wanted}'. Allowed: {CALLS}, {TEXTS} (prompts and replies too), or unset. Correct it."
        )
    if wanted and expert.hosted:
        require("mlflow")
        expert.trace = Traces(expert, price, texts=wanted == TEXTS)


class Traces:
    """The calls of one expert, written to MLflow by a thread of their own (`experts.paid.CallTrace`).

    Where MLflow does not take them they are dropped, and counted.

    Parameters
    ----------
    expert
        Whose calls.
    price
        What they cost, None where that is not known.
    texts
        Whether prompts and replies are told, but of a `private` expert.
    """

    def __init__(self, expert: PaidExpert, price: CallPrice | None, *, texts: bool) -> None:
        self._expert, self._price, self._texts_wanted = expert, price, texts
        self._begun: dict[str, tuple[int, str]] = {}
        self._waiting: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._failed, self._lost = "", 0

    @property
    def _texts(self) -> bool:
        return self._texts_wanted and not self._expert.private

    def begin(self, key: str, text: str) -> None:
        """Note when the call for the answer of a key begins, and about which text."""
        self._begun[key] = time.time_ns(), text

    def end(self, key: str, row: Row | None, why: str = "") -> None:
        """Note what came of it: the row of its reply, or why there is none of use."""
        now = time.time_ns()
        start, text = self._begun.pop(key, (now, None))
        if self._waiting.qsize() >= MOST_WAITING:
            self._lost += 1
            return
        # Only what is needed is held: a reply may be long.
        kept = {name: value for name, value in (row or {}).items() if name != REPLY or self._texts}
        self._waiting.put({"key": key, "start": start, "end": now, "text": text, "row": kept, "why": why})
        # An answer that is paid for is not lost where a process may have no thread more.
        with self._starting, suppress(RuntimeError):
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._write_all, name=MLFLOW, daemon=True)
                thread.start()
                self._thread = thread

    def close(self) -> None:
        """Wait until all is written, a minute at most and while MLflow takes it; say how many calls are in no trace."""
        if (thread := self._thread) is None:
            return
        self._waiting.put(None)
        left, end = self._waiting.qsize() + 1, time.monotonic() + END_SECONDS
        while thread.is_alive() and self._waiting.qsize() < left and time.monotonic() < end:
            left = self._waiting.qsize()
            thread.join(STILL_SECONDS)
        if thread.is_alive():
            self._drop()
            self._waiting.put(None)
        self._thread = None
        if self._lost:
            why = self._failed or "it was too slow; MLFLOW_TRACE_SAMPLING_RATIO=0.1 traces a tenth"
            what = f"{self._lost:,} calls of expert '{self._expert.name}'"
            said = f"{what} are in no trace of MLflow at {store()}: {why}."
            logger.warning("%s Their answers are kept all the same.", without_passwords(said))
            self._lost = 0

    def _drop(self) -> bool:
        """Count what waits as lost; whether the end was among it."""
        ended = False
        with suppress(Empty):
            while True:
                call = self._waiting.get_nowait()
                ended = ended or call is None
                self._lost += call is not None
        return ended

    def _write_all(self) -> None:
        # Here and not there: MLflow's own threads would wait for their server at the end of a process, for minutes.
        os.environ.setdefault("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        heard, name = _Heard(), ""
        logging.getLogger(MLFLOW).addHandler(heard)
        try:
            while (call := self._waiting.get()) is not None:
                raised = ""
                try:
                    name = name or experiment(self._expert.setting.task)
                    self._write(call, name)
                except Exception as error:
                    raised = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
                if failed := heard.taken() or raised:
                    # What waits would wait as long for the same: it goes, and what comes later is tried anew.
                    self._failed, self._lost = failed, self._lost + 1
                    if self._drop():
                        return
        finally:
            logging.getLogger(MLFLOW).removeHandler(heard)

    def _write(self, call: Mapping[str, Any], experiment_id: str) -> None:
        import mlflow  # noqa: TID251

        expert, row, text = self._expert, call["row"], call["text"]
        known = {"expert": expert.name, "task": expert.setting.task}
        if text is not None:
            known["id"] = ids(expert.setting.task, [text])[0]
        about = {**known, "model": expert.model, "key": call["key"], "outcome": call["why"] or ANSWERED}
        about |= {name: row[name] for name in row if name in TOLD or name.endswith("_tokens") and row[name] is not None}
        span = mlflow.start_span_no_context(
            f"{expert.name}",
            span_type="CHAT_MODEL",
            inputs={"text": text, "prompt": expert.template().fill(text)} if self._texts and text is not None else None,
            attributes={**about, **self._of_mlflow(call["key"], row)},
            tags=known,
            experiment_id=experiment_id,
            start_time_ns=call["start"],
        )
        span.end(
            outputs={"reply": row.get("text")} if self._texts and row else None,
            status="ERROR" if call["why"] else "OK",
            end_time_ns=call["end"],
        )

    def _of_mlflow(self, key: str, row: Row) -> dict[str, Any]:
        """Model, tokens and dollars under the names that MLflow's pages add up."""
        found: dict[str, Any] = {"mlflow.llm.model": self._expert.model}
        used = [row.get(name) or 0 for name in ("prompt_tokens", "completion_tokens")]
        if row:
            names = ("input_tokens", "output_tokens", "total_tokens")
            found["mlflow.chat.tokenUsage"] = dict(zip(names, (*used, sum(used)), strict=True))
        priced = self._price is not None and self._price.in_dollars and row
        dollars = self._price.paid({key: row})[key] if self._price is not None and priced else None
        if dollars is not None:
            found |= {"usd": dollars, "mlflow.llm.cost": {"total_cost": dollars}}
        return found


class _Heard(logging.Handler):
    """The last thing that MLflow said in this thread that it could not do."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said, self._thread = "", threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        # MLflow's own handlers, which are next, would print the password of an address.
        record.msg, record.args = without_passwords(record.getMessage()), ()
        if record.thread == self._thread:
            self._said = record.msg

    def taken(self) -> str:
        """What was said since the last time."""
        said, self._said = self._said, ""
        return said.splitlines()[0].rstrip(".") if said else ""
