"""Traces of calls, in a real MLflow: what they tell, what they never tell, and a registry that is not there."""

import json
import logging
import re
import threading
from contextlib import closing

import pytest

from askless.bundles.terms import Terms
from askless.config import Costs
from askless.errors import ConfigError
from askless.experts.answer_store import REPLY
from askless.experts.remote import batches
from askless.experts.remote.streaming import stream
from askless.labelling.answerer import guarded
from askless.registry import traces
from askless.registry.traces import FLAG, trace
from askless.registry.versions import store
from askless.serving.versions import ExpertPool
from askless.spending.ledger import Ledger
from tasks.shards import Shards
from tests.experts.batch_server import BatchServer
from tests.experts.chat_server import Answer, chat, problem
from tests.pipeline import with_store, working_in
from tests.spending.guarded import TOKENS, hosted, items

SECRET = "a wording that nobody else may read"
DELAY_S = 0.2


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-0123456789")
    monkeypatch.delenv(FLAG, raising=False)
    # To import MLflow may take longer on a busy machine.
    monkeypatch.setattr(traces, "STILL_SECONDS", 300.0)
    monkeypatch.setattr(traces, "END_SECONDS", 300.0)


def traced(llm):
    trace(llm.expert, llm.price)
    return llm


def written(folder):
    """The traces of `olhs` in a folder's registry by their outcome, and their attributes."""
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}")
    (one,) = [e.experiment_id for e in client.search_experiments() if e.name == "olhs"]
    return {t.data.spans[0].attributes["outcome"]: t for t in client.search_traces(locations=[one])}


@pytest.mark.parametrize("mode", ["calls", "texts"])
def test_a_trace_for_each_call_and_no_text_unless_allowed(server, tmp_path, empty_store, monkeypatch, mode):
    monkeypatch.setenv(FLAG, mode)
    with_store(tmp_path, empty_store)
    server.reply = lambda request, before: (
        Answer(problem(f"no: {request.text}"), 400)
        if "bad" in request.text
        else Answer(chat(f"yes, {SECRET}", prompt_tokens_details={"cached_tokens": 4}), delay=DELAY_S)
    )
    with working_in(tmp_path):
        llm = traced(hosted(tmp_path, server.url, price=TOKENS))
        table = llm.answer(items(f"good {SECRET}", f"bad {SECRET}"))
        llm.let_go()
        found = written(tmp_path)
    assert table["label"].to_pylist() == ["1", None]
    good = found.pop("answered")
    (bad,) = found.values()
    about = good.data.spans[0].attributes
    assert (about["model"], about["expert"], about["task"]) == ("m", "llm", "olhs")
    assert (about["prompt_tokens"], about["cached_tokens"], about["completion_tokens"]) == (11, 4, 1)
    assert about["usd"] == pytest.approx(table["cost_usd"][0].as_py()) and about["usd"] > 0
    assert DELAY_S <= about["seconds"] < 60 and 1000 * DELAY_S <= good.info.execution_duration < 60_000
    assert good.info.tags["id"] == about["id"] and len(about["id"]) == 16
    assert (good.info.state, bad.info.state) == ("OK", "ERROR")
    assert good.info.token_usage == {"input_tokens": 11, "output_tokens": 1, "total_tokens": 12}
    everything = (tmp_path / "mlruns/mlflow.db").read_bytes()
    assert (SECRET.encode() in everything) == (mode == "texts")
    assert b"sk-very-secret" not in everything
    if mode == "texts":
        assert good.data.spans[0].inputs["prompt"] == f"Say good {SECRET}"
        assert good.data.spans[0].outputs == {"reply": f"yes, {SECRET}"}


@pytest.mark.parametrize("gone", ["from the first", "later"])
def test_a_registry_that_is_not_there_costs_no_answer(server, tmp_path, monkeypatch, caplog, capfd, gone):
    monkeypatch.setenv(FLAG, "calls")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:a-secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    if gone == "later":

        def experiment(name):
            import mlflow

            mlflow.set_tracking_uri(store())
            return "0"

        monkeypatch.setattr(traces, "experiment", experiment)
    server.reply = lambda request, before: Answer(chat("yes"))
    llm = traced(hosted(tmp_path, server.url))
    table = llm.answer(items("one", "two", "three"))
    llm.let_go()
    assert table["label"].to_pylist() == ["1"] * 3
    (line,) = [record.getMessage() for record in caplog.records if record.name == "askless.registry.traces"]
    assert "a-secret" not in line + caplog.text + capfd.readouterr().err
    assert line.startswith("3 calls of expert 'llm' are in no trace of MLflow at http://me:***@127.0.0.1:9: ")


@pytest.mark.parametrize("logs", [True, False])
def test_what_failed_is_told_without_a_password_and_of_one_expert_alone(server, tmp_path, monkeypatch, caplog, logs):
    def write(self, call, experiment_id):
        if logs:
            logging.getLogger("mlflow.tracing.export").warning("%s failed", "http://me:a-secret@127.0.0.1:9")
        raise TimeoutError

    monkeypatch.setenv(FLAG, "calls")
    monkeypatch.setattr(traces, "experiment", lambda name: "0")
    monkeypatch.setattr(traces.Traces, "_write", write)
    monkeypatch.setattr(logging.getLogger("mlflow"), "propagate", True)
    elsewhere = traces._Heard()
    logging.getLogger(traces.MLFLOW).addHandler(elsewhere)
    server.reply = lambda request, before: Answer(chat("yes"))
    llm = traced(hosted(tmp_path, server.url))
    llm.answer(items("one"))
    llm.let_go()
    logging.getLogger(traces.MLFLOW).removeHandler(elsewhere)
    *by_mlflow, told = [record.getMessage() for record in caplog.records if record.name.split(".")[0] != "httpx"]
    assert {*by_mlflow} == ({"http://me:***@127.0.0.1:9 failed"} if logs else set())
    assert told.endswith(f": {by_mlflow[0] if logs else 'TimeoutError'}. Their answers are kept all the same.")
    assert not elsewhere.taken(), "what another expert's traces failed of"


def test_who_asks_goes_on_where_no_thread_can_begin_and_of_a_private_expert_no_text_is_told(
    server, tmp_path, monkeypatch
):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setenv(FLAG, "texts")
    llm = traced(hosted(tmp_path, server.url))
    llm.expert.private = True
    monkeypatch.setattr(traces.threading.Thread, "start", start)
    llm.expert.trace.end("k", {"text": SECRET, REPLY: SECRET})
    assert REPLY not in llm.expert.trace._waiting.get()["row"] and not llm.expert.trace._texts


def test_what_a_slow_registry_has_not_taken_is_dropped_and_told(server, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv(FLAG, "calls")
    monkeypatch.setattr(traces, "END_SECONDS", 0.0)
    go_on, taken = threading.Event(), []

    def write(self, call, experiment_id):
        taken.append(go_on.wait())

    monkeypatch.setattr(traces, "experiment", lambda name: "0")
    monkeypatch.setattr(traces.Traces, "_write", write)
    server.reply = lambda request, before: Answer(chat("yes"))
    llm = traced(hosted(tmp_path, server.url))
    table = llm.answer(items("one", "two", "three"))
    thread = llm.expert.trace._thread
    llm.let_go()
    assert table["label"].to_pylist() == ["1"] * 3
    (line,) = [record.getMessage() for record in caplog.records if record.name == "askless.registry.traces"]
    assert re.match(
        r"[23] calls .* it was too slow; MLFLOW_TRACE_SAMPLING_RATIO=0\.1 traces a tenth\. Their answers", line
    )
    go_on.set()
    thread.join()
    assert len(taken) <= 1


class Told:
    """What a trace is told, in its order."""

    def __init__(self):
        self.calls = []

    def begin(self, key, text):
        self.calls.append(("begin", text))

    def end(self, key, row, why=""):
        self.calls.append((row and row["prompt_tokens"], why))

    def close(self):
        pass


def test_each_try_is_a_call(server, tmp_path):
    server.reply = lambda request, before: Answer(chat("yes")) if before else Answer(problem("wait"), 429)
    llm = hosted(tmp_path, server.url)
    llm.expert.trace = told = Told()
    llm.answer(items("one"))
    (first, (_, why), again, last) = told.calls
    assert first == again == ("begin", "one") and "429" in why and last == (11, "")
    llm.answer(items("one"))
    llm.let_go()
    assert len(told.calls) == 4, "what is kept is no call"


def test_a_streamed_summary_is_a_call(server, tmp_path):
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    said = {**chunk, "choices": [{"index": 0, "delta": {"content": "Short."}, "finish_reason": "stop"}]}
    used = {**chunk, "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}
    body = "".join(f"data: {json.dumps(each)}\n\n" for each in (said, used)) + "data: [DONE]\n\n"
    server.reply = lambda request, before: Answer(body.encode(), headers={"content-type": "text/event-stream"})
    llm = hosted(tmp_path, server.url, classes=())
    llm.expert.trace = told = Told()
    assert list(stream(llm.expert, "one")) == ["Short."]
    llm.let_go()
    assert told.calls == [("begin", "one"), (7, "")]


def test_each_line_of_a_batch_is_a_call(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "FIRST_LOOK_S", 0.001)
    server = BatchServer()
    server.line = lambda request: Answer(chat("yes"))
    llm = hosted(tmp_path, server.url, mode="batch")
    llm.expert.trace = told = Told()
    llm.expert.answer(items("one", "two"))
    llm.let_go()
    server.close()
    assert sorted(told.calls, key=str) == [("begin", "one"), ("begin", "two"), (11, ""), (11, "")]


@pytest.mark.parametrize(("given", "what"), [("", None), ("calls", "Traces")])
def test_nothing_is_traced_unless_asked_for(server, tmp_path, monkeypatch, given, what):
    monkeypatch.setenv(FLAG, given)
    llm = traced(hosted(tmp_path, server.url))
    llm.let_go()
    assert (llm.expert.trace and type(llm.expert.trace).__name__) == what


def test_whoever_asks_for_money_is_traced(tmp_path, monkeypatch):
    monkeypatch.setenv(FLAG, "calls")
    options = {"backend": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1"}
    terms = Terms("olhs", ("0", "1"), "olhs", {"llm": options}, Costs("usd", {"llm": TOKENS}))
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        with guarded(terms, ["llm"], ledger, tmp_path) as label:
            asked = [label["llm"].expert]
        pool = ExpertPool(ledger, tmp_path)
        serve = pool.take(terms, ("llm",))
        asked.append(serve["llm"].expert)
        pool.give_back(serve)
    for limit in (None, 1.0):
        generate = terms.expert("llm", tmp_path)
        with closing(Shards(str(tmp_path), str(tmp_path / "llm.sqlite"), "llm", {"llm": TOKENS}, limit)) as shards:
            shards.bill(generate)
        asked.append(generate)
    assert [type(each.trace) for each in asked] == [traces.Traces] * 4


def test_another_word_is_refused(server, tmp_path, monkeypatch):
    monkeypatch.setenv(FLAG, "all")
    with pytest.raises(ConfigError, match=r"^ASKLESS_TRACE is 'all'\. Allowed: calls, texts"):
        traced(hosted(tmp_path, server.url))
