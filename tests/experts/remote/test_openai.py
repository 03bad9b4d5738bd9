"""The HTTP expert against a real server with faults."""

from __future__ import annotations

import builtins
import logging
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from askless import schema
from askless.errors import ExpertError, MissingExtra
from askless.evaluation.summary_quality import Judge
from askless.experts import build
from askless.experts.answer_store import AnswerStore
from askless.experts.base import Setting
from askless.experts.faults import Fault
from askless.experts.remote import retrying
from askless.experts.remote.openai import OpenAiExpert
from askless.experts.replies import CUT, EMPTY, GARBLED
from askless.prompts import Prompt
from askless.text.summary_faults import LOOP
from tests.experts.chat_server import Answer, ChatServer, Request, chat, problem
from tests.experts.tiny_models import examples, setting, texts

KEY = "sk-very-secret-0123456789"
PROMPT = Prompt("{text}", {"0": "0", "1": "1"}, system="Say 0 or 1.")
SUMMARY = Prompt("Sum up: {text}")


@pytest.fixture(autouse=True)
def key_and_short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(retrying, "FIRST_WAIT_S", 0.01)


def expert(server: ChatServer, answers: Path | None = None, **options: Any) -> OpenAiExpert:
    return OpenAiExpert(setting(answers), **{"model": "m", "base_url": server.url, "prompt": PROMPT} | options)


def one(server: ChatServer, **options: Any) -> dict[str, Any]:
    """The row of one example."""
    return expert(server, **options).answer(examples(["hello"])).to_pylist()[0]


def summaries(server: ChatServer, items: list[str], answers: Path | None = None) -> list[dict[str, Any]]:
    """The rows of these documents in a task of summaries."""
    options = {"backend": "openai", "model": "m", "base_url": server.url, "prompt": SUMMARY}
    return list(build(setting(answers, ()), options).answer(examples(items)).to_pylist())


def test_no_more_is_asked_than_what_came_is_kept(server: ChatServer) -> None:
    asking = expert(server, concurrency=2).ask({str(i): f"text {i}" for i in range(40)}, {})
    first = next(asking)
    for _ in range(20):
        time.sleep(0.01)
        assert len(server.requests) <= 2
    assert len(first) + sum(len(rows) for rows in asking) == 40


def test_a_reply_with_log_probabilities_fills_every_column(server: ChatServer) -> None:
    server.reply = lambda request, before: Answer(chat("1", {"1": 0.6, "0": 0.2, " 1": 0.1}, cost=0.25))
    row = one(server)
    assert row["label"] == "1"
    assert row["proba"] == pytest.approx([0.2 / 0.9, 0.7 / 0.9])
    assert row["mass"] == pytest.approx(0.9)
    assert row["logprob"] == pytest.approx(np.log(0.6))
    assert (row["prompt_tokens"], row["completion_tokens"], row["cost_usd"]) == (11, 1, 0.25)
    assert (row["text"], row["error"]) == ("1", None)
    assert 0 < row["seconds"] < 60


def test_the_request_says_what_was_set(server: ChatServer) -> None:
    one(server, temperature=1.0, top_p=0.9, max_tokens=3, seed=7, top_logprobs=2, extra={"guided_choice": ["0", "1"]})
    (request,) = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body == {
        "model": "m",
        "messages": [{"role": "system", "content": "Say 0 or 1."}, {"role": "user", "content": "hello"}],
        "temperature": 1.0,
        "top_p": 0.9,
        "max_tokens": 3,
        "seed": 7,
        "logprobs": True,
        "top_logprobs": 2,
        "guided_choice": ["0", "1"],
    }


def test_a_field_that_is_null_is_left_out(server: ChatServer) -> None:
    one(server, temperature=None, top_p=None, max_tokens=None, top_logprobs=0, extra={"max_completion_tokens": 9})
    assert set(server.requests[0].body) == {"model", "messages", "max_completion_tokens"}


def test_no_log_probabilities_are_nulls(server: ChatServer) -> None:
    server.reply = lambda request, before: Answer(chat("1"))
    row = one(server, top_logprobs=0)
    assert (row["label"], row["proba"], row["mass"], row["logprob"]) == ("1", None, None, None)
    assert not {"logprobs", "top_logprobs"} & set(server.requests[0].body)


def test_a_column_that_is_none_is_one_of_nulls(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    own = OpenAiExpert.columns
    monkeypatch.setattr(OpenAiExpert, "columns", lambda self, rows: {**own(self, rows), "proba": None})
    server.reply = lambda request, before: Answer(chat("1"))
    row = one(server, max_retries=0)
    assert (row["label"], row["proba"], row["error"]) == ("1", None, None)


def test_a_label_that_is_not_listed_gets_what_the_list_leaves(server: ChatServer) -> None:
    server.reply = lambda request, before: Answer(chat("1", {"1": 0.9, "maybe": 0.06}))
    row = one(server)
    assert row["proba"] == pytest.approx([0.04 / 0.94, 0.9 / 0.94])
    assert row["mass"] == pytest.approx(0.9)


def test_unparsable_and_withheld_replies_are_null_with_their_error(server: ChatServer, tmp_path: Path) -> None:
    said = {"a": "I cannot say", "b": None, "c": "", "d": "1\n"}
    server.reply = lambda request, before: Answer(chat(said[request.text], {"1": 0.9, "I": 0.1}))
    table = expert(server, tmp_path).answer(examples(list(said)))
    assert table["label"].to_pylist() == [None, None, None, "1"]
    assert [p is None for p in table["proba"].to_pylist()] == [True, True, True, False]
    errors = table["error"].to_pylist()
    assert errors[0].startswith("unparsable reply")
    assert errors[1:] == ["no reply (content_filter)", "empty reply", None]
    expert(server, tmp_path).answer(examples(list(said)))
    assert len(server.requests) == 4, "what was paid is kept, whatever it said"


def test_a_summary_is_the_reply(server: ChatServer) -> None:
    server.reply = lambda request, before: Answer(chat("A cat sat.", {"A": 0.5}))
    row = summaries(server, ["hello"])[0]
    assert (row["text"], row["label"], row["error"]) == ("A cat sat.", None, None)
    assert row["logprob"] == pytest.approx(np.log(0.5))
    body = server.requests[0].body
    assert "top_logprobs" not in body
    assert body["max_tokens"] == 128


def test_what_is_wrong_with_a_summary_is_said_and_its_text_stays(server: ChatServer, tmp_path: Path) -> None:
    cut = chat("A cat sat on")
    cut["choices"][0]["finish_reason"] = "length"
    said = {
        "a": chat("A cat."),
        "b": chat(None),
        "c": chat(" "),
        "d": chat("cat " * 8),
        "e": chat("\ud83d cat"),
        "f": cut,
    }
    server.reply = lambda request, before: Answer(said[request.text.removeprefix("Sum up: ")])
    for _ in range(2):
        rows = summaries(server, list(said), tmp_path)
        assert [row["text"] for row in rows] == ["A cat.", None, " ", "cat " * 8, "\ufffd cat", "A cat sat on"]
        errors = [None, "no reply (content_filter)", EMPTY, LOOP, GARBLED, CUT]
        assert [row["error"] for row in rows] == errors
    assert len(server.requests) == 6, "what was paid is kept, whatever it said"


def test_most_tokens_follow_from_the_task_unless_said(server: ChatServer) -> None:
    said = {"auto": 16, 7: 7, None: None}
    for most in said:
        one(server, max_tokens=most)
    assert [request.body.get("max_tokens") for request in server.requests] == list(said.values())


def test_a_judge_marks_summaries_through_the_server(server: ChatServer) -> None:
    marks = {"bad": "1", "fair": " 3.", "good": "5", "odd": "great"}
    server.reply = lambda request, before: Answer(
        chat(next(m for s, m in marks.items() if f"Summary: {s}" in request.text))
    )
    asked = Setting("marker", "news", ("1", "2", "3", "4", "5"), "judge")
    judge = Judge(build(asked, {"backend": "openai", "model": "m", "base_url": server.url, "concurrency": 1}))
    found = judge(["bad", "fair", "good", "odd", ""], ["r"] * 5, ["d"] * 5)
    np.testing.assert_array_equal(found, [0, 0.5, 1, np.nan, 0])
    assert [request.text.count("Answer with one digit only.") for request in server.requests] == [1] * 4
    assert server.requests[0].body["messages"][0]["content"].startswith("You are a strict editor")


def test_too_many_requests_are_waited_for_as_the_server_says(server: ChatServer) -> None:
    server.reply = lambda request, before: (
        Answer(problem("slow down"), 429, {"retry-after": "2"}) if not before else Answer(chat("1"))
    )
    row = one(server)
    first, second = server.requests
    assert row["label"] == "1"
    assert 2 <= second.at - first.at < 60
    assert row["seconds"] < 2, "waiting is not answering"


def test_retry_after_holds_every_thread(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, both, held = expert(server, concurrency=2), threading.Event(), threading.Event()
    hold, since = asked.pace.hold, []

    def holds(seconds: float) -> None:
        since.append(time.monotonic())
        hold(seconds)
        held.set()

    def reply(request: Request, before: int) -> Answer:
        """Two are under way when the first is told to wait, and the second ends once that is known."""
        if request.number == 1:
            assert both.wait(60)
            return Answer(problem("slow"), 429, {"retry-after": "0.5"})
        both.set()
        assert held.wait(60)
        return Answer(chat("1"))

    monkeypatch.setattr(asked.pace, "hold", holds)
    server.reply = reply
    asked.answer(examples(texts(8)))
    assert min(request.at for request in server.requests[2:]) >= since[0] + 0.5


@pytest.mark.parametrize("value", ["2", "junk", "Wed, 21 Oct 2015 07:28:00 GMT", ""])
def test_retry_after_forms(value: str) -> None:
    expected = {"2": 2.0, "junk": None, "": None}.get(value, 0.0)
    assert retrying.retry_after({"retry-after": value}) == expected
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30))
    assert 25 < (retrying.retry_after({"retry-after": soon}) or 0) <= 30


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Answer(problem("oops"), 500), "HTTP 500, 3 tries"),
        (Answer(b"bad gateway", 502, {"content-type": "text/html"}), "HTTP 502, 3 tries"),
        (Answer(chat("1"), delay=2.0), "timed out, 3 tries"),
        (Answer(b'{"choices": [{'), "unreadable reply (no JSON), 3 tries"),
        (Answer(b"<html>", headers={"content-type": "text/html"}), "unreadable reply (no JSON), 3 tries"),
        (Answer({"choices": []}), "unreadable reply (it has no message), 3 tries"),
    ],
    ids=["500", "502", "time-out", "broken-json", "html", "no-choices"],
)
def test_passing_faults_are_tried_again_and_then_given_up(
    server: ChatServer, tmp_path: Path, fault: Answer, error: str
) -> None:
    # No good reply takes as long, however busy the machine is.
    options = {"max_retries": 2, "timeout": 1.0 if fault.delay else 60.0, "answers": tmp_path}
    server.reply = lambda request, before: fault if before < 2 else Answer(chat("1"))
    assert one(server, **options)["label"] == "1"
    server.reply = lambda request, before: fault if request.text == "bad" else Answer(chat("0"))
    table = expert(server, **options).answer(examples(["bad", "good"]))
    assert table["label"].to_pylist() == [None, "0"]
    assert table["error"].to_pylist() == [error, None]
    assert table["prompt_tokens"].to_pylist() == [0, 11], "what failed is not billed"
    server.reply = lambda request, before: Answer(chat("1"))
    assert expert(server, **options).answer(examples(["bad", "good"]))["label"].to_pylist() == ["1", "0"]
    assert server.asked().count("good") == 1
    assert server.asked().count("bad") == 4


def test_a_refused_item_is_not_tried_again_and_its_error_is_clean(server: ChatServer) -> None:
    server.reply = lambda request, before: Answer(problem(f"bad input '{request.text}' for key {KEY}"), 400)
    row = one(server)
    assert (row["label"], row["error"]) == (None, "HTTP 400: bad input '...' for key ...")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Answer(problem(f"Incorrect API key provided: {KEY}"), 401), "HTTP 401: the key was refused"),
        (Answer(problem("no"), 403), "HTTP 403: the key was refused (no)"),
        (Answer(problem("no model m"), 404), "HTTP 404: no such model or no such path"),
        (Answer(problem("pay", "insufficient_quota"), 429), "HTTP 429: the account's quota is used up"),
    ],
    ids=["401", "403", "404", "quota"],
)
def test_what_no_retry_can_mend_stops_at_once_and_keeps_the_rest(
    server: ChatServer, tmp_path: Path, fault: Answer, why: str
) -> None:
    items = texts(60)
    server.reply = lambda request, before: fault if request.number > 10 else Answer(chat("1"))
    with pytest.raises(ExpertError) as caught:
        expert(server, tmp_path, concurrency=4).answer(examples(items))
    message = str(caught.value)
    assert f"stopped asking 'm' at {server.url}: {why}." in message
    assert "run again: what was answered is kept and not asked again" in message
    assert len(server.requests) <= 14
    with AnswerStore(tmp_path / "tiny.sqlite") as store:
        assert len(store) == 10
    server.reply = lambda request, before: Answer(chat("1"))
    server.requests.clear()
    assert expert(server, tmp_path).answer(examples(items)).num_rows == 60
    assert len(server.requests) == 50


def test_a_server_that_is_not_there_stops_at_once() -> None:
    gone = OpenAiExpert(setting(), model="m", base_url="http://127.0.0.1:9/v1", prompt=PROMPT, max_retries=1)
    with pytest.raises(ExpertError, match="no connection, 2 tries"):
        gone.answer(examples(texts(50)))


def test_a_row_of_failures_stops(server: ChatServer) -> None:
    server.reply = lambda request, before: Answer(problem("unknown role system"), 400)
    with pytest.raises(ExpertError, match="24 answers in a row failed, the last with HTTP 400: unknown role"):
        expert(server).answer(examples(texts(200)))
    assert len(server.requests) < 24 + 3 * 8


def test_the_rate_limit_spreads_requests(server: ChatServer) -> None:
    start = time.monotonic()
    expert(server, requests_per_minute=600, concurrency=8).answer(examples(texts(9)))
    assert max(request.at for request in server.requests) - start >= 0.8


class Clock(threading.Event):
    """Time that passes only while somebody waits."""

    now = 100.0

    def wait(self, timeout: float | None = None) -> bool:
        self.now += max(0.0, timeout or 0.0)
        return False


def test_tokens_are_set_aside_before_a_request_and_settled_after(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(retrying.time, "monotonic", lambda: clock.now)
    pace = retrying.Pace(600.0, 6000.0)
    starts = []
    for used in (None, 10, 50, 20):
        pace.wait(clock, 30)
        starts.append(clock.now - 100)
        pace.settle(30, 30 if used is None else used)
    assert starts == pytest.approx([0, 0.3, 0.4, 0.9]), "30 tokens, then the 10 and 50 that it really took"
    for _ in range(2):
        pace.wait(clock)
        starts.append(clock.now - 100)
    assert starts[4:] == pytest.approx([1.1, 1.2]), "no tokens, but still ten requests a second"


def test_tokens_of_a_try_that_failed_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(retrying.time, "monotonic", lambda: clock.now)
    pace = retrying.Pace(None, 60.0)

    def failing() -> None:
        raise retrying.Failed(Fault("retry", "no"))

    retrying.persist(failing, pace, clock, 1, tokens=600)
    pace.wait(clock, 1)
    assert clock.now == 100


def test_a_request_reserves_its_characters_and_its_longest_reply(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.reply = lambda request, before: Answer(chat("0", prompt_tokens=90, completion_tokens=2))
    noted: list[tuple[int, ...]] = []
    asked = expert(server, tokens_per_minute=1e9)
    monkeypatch.setattr(asked.pace, "wait", lambda stop, tokens: noted.append((tokens,)))
    monkeypatch.setattr(asked.pace, "settle", lambda *tokens: noted.append(tokens))
    asked.answer(examples(["x" * 389]))
    assert noted == [(400 // 4 + 16,), (400 // 4 + 16, 92)]
    assert expert(server, max_tokens=None).about("x" * 389) == 100, "a reply without a longest"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s"}, 1.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "120ms"}, 0.12),
        ({"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "6m0s"}, None),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "soon"}, None),
        ({"retry-after": "2", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, 2.0),
    ],
)
def test_a_limit_that_is_used_up_says_when_it_is_reset(headers: dict[str, str], seconds: float | None) -> None:
    assert retrying.retry_after(headers) == seconds


@pytest.mark.parametrize("served", ["m", "m-2024-07-18", None, ""])
def test_a_dated_name_and_no_name_are_the_model_that_was_asked_for(server: ChatServer, served: str | None) -> None:
    server.reply = lambda request, before: Answer({**chat("1"), "model": served})
    assert one(server)["label"] == "1"


def test_an_answer_of_another_model_is_refused_counted_and_asked_again(server: ChatServer, tmp_path: Path) -> None:
    server.reply = lambda request, before: Answer(
        {**chat("1", cost=0.25), "model": "n" if request.text == "b" and not before else "m"}
    )
    rows = expert(server, tmp_path).answer(examples(["a", "b", "c"])).to_pylist()
    assert [row["error"] for row in rows] == [None, "answered by another model, 'n', not 'm'", None]
    assert (rows[1]["label"], rows[1]["proba"], rows[1]["cost_usd"]) == (None, None, 0.25), "it was billed"
    assert expert(server, tmp_path).answer(examples(["a", "b", "c"]))["label"].to_pylist() == ["1"] * 3
    assert len(server.requests) == 4


def test_a_server_of_another_model_stops_the_run_at_once(server: ChatServer) -> None:
    server.reply = lambda request, before: Answer({**chat("1"), "model": "n"})
    message = "3 answers in a row failed, the last with answered by another model, 'n', not 'm'"
    with pytest.raises(ExpertError, match=message):
        expert(server, concurrency=2).answer(examples(texts(50)))
    assert len(server.requests) <= 3 + 2
    assert one(server, served_as="n")["label"] == "1"


def test_requests_run_in_parallel(server: ChatServer) -> None:
    eight = threading.Barrier(8, timeout=60)

    def reply(request: Any, before: int) -> Answer:
        eight.wait()
        return Answer(chat("1"))

    server.reply = reply
    assert expert(server, concurrency=8).answer(examples(texts(16)))["label"].to_pylist() == ["1"] * 16


def test_the_key_is_in_no_log_no_repr_no_error_and_no_file(
    server: ChatServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.reply = lambda request, before: (
        Answer(problem(f"bad key {KEY}"), 401) if request.text == "last" else Answer(chat("1"))
    )
    asked = expert(server, tmp_path)
    with caplog.at_level(logging.DEBUG):
        asked.answer(examples(texts(3)))
        with pytest.raises(ExpertError) as caught:
            asked.answer(examples(["last"]))
    seen = [caplog.text, repr(asked), repr(vars(asked)), repr(caught.value), repr(caught.value.__context__)]
    assert not any(KEY in text for text in seen)
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.iterdir())
    assert any(request.headers["authorization"].endswith(KEY) for request in server.requests)


def test_the_key_is_needed_by_the_api_and_not_by_a_server_of_ones_own(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    assert one(server)["label"] == "0"
    assert server.requests[0].headers["authorization"] == "Bearer none"
    with pytest.raises(ExpertError, match="the environment variable MY_KEY is not set"):
        OpenAiExpert(setting(), model="m", prompt=PROMPT, api_key_env="MY_KEY").answer(examples(["a"]))


def test_a_missing_client_names_the_extra(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name == "openai":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(MissingExtra, match=r"pip install 'askless\[openai\]'"):
        one(server)


def test_metadata_say_model_and_revision(server: ChatServer) -> None:
    meta = schema.meta_of(expert(server, revision="2026-01").answer(examples(["a"])))
    assert (meta["model"], meta["revision"]) == ("m", "2026-01")


def test_an_address_in_the_environment_is_told_and_its_answers_are_kept_apart(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expert = OpenAiExpert(Setting("gpt", "olhs", ("0", "1"), "olhs"), model="m")
    own = expert.key("a")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert expert.key("a") != own and expert.server == "127.0.0.1:9"
    here, port, there, other = (
        OpenAiExpert(Setting("gpt", "olhs", ("0", "1"), "olhs"), model="m", base_url=url).key("a")
        for url in ("http://localhost:1/v1", "http://127.0.0.1:2/v1", "https://a.example/v1", "https://b.example/v1")
    )
    assert here == port == expert.key("a") and len({own, here, there, other}) == 4
    expert.new_client(expert.wire).close()
    assert "Expert 'gpt' is asked at http://127.0.0.1:9/v1, as OPENAI_BASE_URL in the environment says." in caplog.text
    named = OpenAiExpert(Setting("gpt", "olhs", ("0", "1"), "olhs"), model="m", base_url="http://127.0.0.1:8/v1")
    assert named.key("a") == here and named.server == "127.0.0.1:8"
