"""Odd replies of servers, one a row, and what must come of each; then any JSON at all.

In every case there is a row for each item, no readable reply is asked for again, and what is kept can be read again.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from askless.config import Price
from askless.costs import CostModel
from askless.errors import ExpertError
from askless.experts.answer_store import AnswerStore
from askless.experts.base import Setting
from askless.experts.remote import retrying
from askless.experts.remote.openai import OpenAiExpert
from askless.prompts import Prompt
from askless.spending.call_price import CallPrice
from tests.experts.chat_server import Answer, ChatServer, chat, problem
from tests.experts.tiny_models import examples, texts

BINARY, LETTERS, YES_NO, SIGNS = ("0", "1"), tuple("ABCD"), ("no", "yes"), ("-1", "0", "1")
NAN, INFINITY = float("nan"), float("inf")
KEPT = (*("prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens", "reasoning_tokens", "cost_usd"),)


@pytest.fixture(autouse=True)
def key_and_short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-nobody")
    monkeypatch.setattr(retrying, "FIRST_WAIT_S", 0.01)


def step(token: str, logprob: Any, **others: Any) -> dict[str, Any]:
    """A token of a reply, itself among its alternatives."""
    top = [{"token": name, "logprob": value, "bytes": None} for name, value in {token: logprob, **others}.items()]
    return {"token": token, "logprob": logprob, "bytes": None, "top_logprobs": top}


def steps(*each: dict[str, Any]) -> dict[str, Any]:
    return {"content": list(each), "refusal": None}


def said(content: Any, logprobs: Any = None, finish: str = "stop", **message: Any) -> dict[str, Any]:
    """A reply of the chat API; what is in `message` stands beside its content."""
    body = chat("")
    body["choices"][0].update(
        message={"role": "assistant", "content": content, **message}, logprobs=logprobs, finish_reason=finish
    )
    return body


def used(**usage: Any) -> dict[str, Any]:
    """A reply "1" with this usage."""
    return {**said("1"), "usage": usage}


def without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}


# The words of the classes, the reply, the class that must be read, then what else: `likeliest` and `unlike` are the
# class that `proba` must and must not favour, `says` words of the reason; any other is what must be kept.
READ: dict[str, tuple[tuple[str, ...], dict[str, Any], str | None, dict[str, Any]]] = {
    "plain": (BINARY, said("1"), "1", {"prompt_tokens": 11, "completion_tokens": 1}),
    "a word that another begins with, as digits": (
        tuple(map(str, range(1, 11))),
        said("1", steps(step("1", -0.05, **{"10": -4.0}))),
        "1",
        {"likeliest": "1"},
    ),
    "a word that another begins with": (
        ("no", "not sure", "yes"),
        said("no", steps(step("no", -0.1, **{"not": -2.6, "yes": -4.0}))),
        "no",
        {"likeliest": "no"},
    ),
    "a token that begins two words": (
        ("agree", "agnostic"),
        said("agree", steps(step("ag", -0.01, dis=-5.0), step("ree", -0.2, nostic=-1.8))),
        "agree",
        {"likeliest": "agree", "unlike": "agnostic"},
    ),
    "log-probabilities null": (BINARY, said("1", steps(step("1", None, **{"0": None}))), "1", {"prompt_tokens": 11}),
    "log-probabilities NaN": (BINARY, said("1", steps(step("1", NAN))), "1", {"prompt_tokens": 11}),
    "an alternative that never happens": (
        BINARY,
        said("1", steps(step("1", -0.0, **{"0": -INFINITY}))),
        "1",
        {"likeliest": "1"},
    ),
    "a log-probability a little above 0": (
        BINARY,
        said("1", steps(step("1", 0.0001, **{"0": -9999.0}))),
        "1",
        {"likeliest": "1", "logprob": 0.0},
    ),
    "content in parts": (BINARY, said([{"type": "text", "text": "1"}]), "1", {}),
    "content with a part that is thought": (
        BINARY,
        said([{"type": "thinking", "thinking": [{"type": "text", "text": "0?"}]}, {"type": "text", "text": "1"}]),
        "1",
        {},
    ),
    "a cost in digits": (BINARY, used(prompt_tokens=11, completion_tokens=1, cost="0.0001"), "1", {"cost_usd": 1e-4}),
    "tokens in digits": (BINARY, used(prompt_tokens="11", completion_tokens="many"), "1", {"prompt_tokens": 11}),
    "no usage": (BINARY, without(said("1"), "usage"), "1", {"prompt_tokens": None}),
    "tokens null": (BINARY, used(prompt_tokens=None, completion_tokens=None), "1", {"prompt_tokens": None}),
    "cached tokens": (
        BINARY,
        used(prompt_tokens=2000, completion_tokens=1, prompt_tokens_details={"cached_tokens": 1900}),
        "1",
        {"prompt_tokens": 2000, "cached_tokens": 1900},
    ),
    "reasoning tokens": (
        BINARY,
        used(prompt_tokens=11, completion_tokens=65, completion_tokens_details={"reasoning_tokens": 64}),
        "1",
        {"completion_tokens": 65, "reasoning_tokens": 64},
    ),
    "paid upstream by the user": (
        BINARY,
        used(prompt_tokens=11, completion_tokens=1, cost=0, cost_details={"upstream_inference_cost": 0.01}),
        "1",
        {"cost_usd": 0.01},
    ),
    "a thought before the answer": (
        BINARY,
        said(
            "<think>\nCould be 0.\n</think>\n\n1",
            steps(step("<think>", -0.0), step("0", -0.5), step("</think>", -0.0), step("1", -0.2, **{"0": -1.8})),
        ),
        "1",
        {"likeliest": "1", "logprob": -0.2},
    ),
    "thought until the limit": (
        BINARY,
        {
            **said("", finish="length", reasoning_content="hm"),
            "usage": {
                "prompt_tokens": 11,
                "completion_tokens": 16,
                "completion_tokens_details": {"reasoning_tokens": 16},
            },
        },
        None,
        {"says": ("limit", "token"), "completion_tokens": 16},
    ),
    "a thought that the limit cut": (
        BINARY,
        said("<think>\nCould it be 1", finish="length"),
        None,
        {"says": ("limit", "token")},
    ),
    "Answer: X": (LETTERS, said("Answer: A"), "A", {}),
    "the answer is (X)": (LETTERS, said("The answer is (B)."), "B", {}),
    "bold, after a thought": (LETTERS, said("Let me see.\n\nFinal answer: **D**"), "D", {}),
    "JSON": (LETTERS, said('{"answer": "A"}'), "A", {}),
    "JSON in a fence": (LETTERS, said('```json\n{"label": "C", "reason": "A is not it"}\n```'), "C", {}),
    "the answer behind another option": (LETTERS, said("B is tempting, but the answer is C"), "C", {}),
    "several options and no answer": (LETTERS, said("A, B and C are all possible."), None, {"says": ("name one of",)}),
    "typographic quotes": (YES_NO, said("“yes”"), "yes", {}),
    "a full-width stop": (YES_NO, said("yes。"), "yes", {}),
    "a true minus": (SIGNS, said("\u22121"), "-1", {}),
    "an en dash as a minus": (SIGNS, said("\u20131"), "-1", {}),
    "a refusal": (BINARY, said(None, refusal="I can't help with that."), None, {"says": ("refus", "I can't help")}),
    "a call of a tool": (
        BINARY,
        said(None, finish="tool_calls", tool_calls=[{"id": "a", "type": "function", "function": {"name": "f"}}]),
        None,
        {"says": ("tool",)},
    ),
    "a model in capitals": (BINARY, {**said("1"), "model": "M"}, "1", {}),
    "a model with its owner": (BINARY, {**said("1"), "model": "owner/m"}, "1", {}),
    "a model as Google calls it": (BINARY, {**said("1"), "model": "models/m"}, "1", {}),
    "the old form of log-probabilities": (
        BINARY,
        said("1", {"tokens": ["1"], "token_logprobs": [-0.1], "top_logprobs": [{"1": -0.1, "0": -2.4}]}),
        "1",
        {"likeliest": "1", "logprob": -0.1},
    ),
    "tokens as a tokenizer spells them": (
        YES_NO,
        said("yes", steps(step("\u2581yes", -0.1, **{"\u2581no": -2.4}))),
        "yes",
        {"likeliest": "yes"},
    ),
    "content that is JSON itself": (BINARY, said({"type": "text", "text": "1"}), "1", {}),
    "content that is a number": (BINARY, said(1), "1", {}),
    "a number that no float can hold": (
        BINARY,
        used(prompt_tokens=10**300, cost=10**399),
        "1",
        {"prompt_tokens": None},
    ),
    "a cost that is true": (
        BINARY,
        used(prompt_tokens=True, cost=True),
        "1",
        {"prompt_tokens": None, "cost_usd": None},
    ),
}


def expert(server: ChatServer, words: tuple[str, ...], answers: Path | None = None, **options: Any) -> OpenAiExpert:
    setting = Setting("llm", "odd", words, answers=answers)
    prompt = Prompt("{text}", {word: word for word in words})
    made = OpenAiExpert(setting, **{"model": "m", "base_url": server.url, "prompt": prompt, "max_retries": 2} | options)
    made.quiet = True
    return made


@pytest.mark.parametrize("name", READ)
def test_a_reply_is_read(name: str, server: ChatServer, tmp_path: Path) -> None:
    words, body, label, wanted = READ[name]
    server.reply = lambda request, before: Answer(body)
    asked = expert(server, words, tmp_path)
    (row,) = asked.answer(examples(["hello"])).to_pylist()
    assert row["label"] == label
    assert (row["error"] is None) == (label is not None)
    for word in wanted.get("says", ()):
        assert word.casefold() in row["error"].casefold()
    if row["proba"] is not None:
        assert words[int(np.argmax(row["proba"]))] == label != wanted.get("unlike")
    assert row["proba"] is not None or "likeliest" not in wanted
    if "logprob" in wanted:
        assert row["logprob"] == pytest.approx(wanted["logprob"])
    with AnswerStore(tmp_path / "llm.sqlite") as store:
        kept = store.get_many([asked.key("hello")])[asked.key("hello")]
        assert json.loads(store.replies([asked.key("hello")])[asked.key("hello")])["choices"], "all of it is kept"
    assert {name: kept.get(name) for name in KEPT if name in wanted} == {n: wanted[n] for n in KEPT if n in wanted}
    assert expert(server, words, tmp_path).answer(examples(["hello"])).to_pylist() == [row]
    assert len(server.requests) == 1


def test_every_token_of_an_answer_counts_and_the_margin_to_the_next_stays(server: ChatServer) -> None:
    said_so = steps(step("not", -0.1, hate=-2.5), step(" hate", -0.2, **{" hateful": -3.0}), step("ful", -0.3, s=-2.0))
    server.reply = lambda request, before: Answer(said("not hateful", said_so))
    (row,) = expert(server, ("hateful", "not hateful")).answer(examples(["hello"])).to_pylist()
    likely = {"not hateful": np.exp(-0.6) + np.exp(-3.1), "hateful": np.exp(-2.5)}
    assert row["logprob"] == pytest.approx(-0.6)
    assert row["proba"] == pytest.approx(
        [likely["hateful"] / sum(likely.values()), 1 - likely["hateful"] / sum(likely.values())]
    )
    assert row["mass"] == pytest.approx(sum(likely.values()))


def test_a_probability_that_contradicts_the_answer_is_none(server: ChatServer) -> None:
    server.reply = lambda request, before: Answer(said("0", steps(step("0", -2.0, **{"1": -0.2}))))
    (row,) = expert(server, BINARY).answer(examples(["hello"])).to_pylist()
    assert (row["label"], row["proba"]) == ("0", None)
    assert row["logprob"] == pytest.approx(-2.0)


def test_what_earlier_versions_kept_is_read_where_its_first_token_was_the_answer(
    server: ChatServer, tmp_path: Path
) -> None:
    top = [["1", -0.1], ["0", -2.5]]
    rows = {"1": "1", "<think>0</think>1": "1", "Answer: 1": "1", "0": "0"}
    asked = expert(server, BINARY, tmp_path)
    with asked.store() as store:
        common = {"finish": "stop", "top": top, "logprob": -0.1, "prompt_tokens": 1, "completion_tokens": 1}
        store.put_many({asked.key(text): {**common, "text": text} for text in rows})
    found = asked.answer(examples(list(rows)))
    assert found["label"].to_pylist() == list(rows.values())
    assert [proba is None for proba in found["proba"].to_pylist()] == [False, True, True, True]
    assert not server.requests, "nothing that was paid is asked again"


ENDS = {
    "a refused key": (401, problem("Incorrect API key"), "HTTP 401: the key was refused"),
    "a key that may not": (
        403,
        problem("Your key has no access to this project."),
        "the key was refused (Your key has",
    ),
    "no credits": (402, {"error": {"code": 402, "message": "Insufficient credits"}}, "no credits are left"),
    "no credits, as Anthropic says it": (400, problem("Your credit balance is too low"), "no credits are left"),
    "no credits, with status 200": (
        200,
        {"error": {"code": 402, "message": "Insufficient credits"}},
        "no credits are left",
    ),
    "a wrong model": (404, problem("no m"), "HTTP 404: no such model or no such path"),
    "a wrong model, as others say it": (400, problem("The model `m` does not exist"), "HTTP 400: no such model"),
    "a redirect, whose secrets are nobody's": (
        308,
        b"",
        "HTTP 308: the server sends on to https://other.example/v1, which base_url may name instead",
    ),
    "a used-up quota": (429, problem("pay", "insufficient_quota"), "HTTP 429: the account's quota is used up"),
}


@pytest.mark.parametrize("name", ENDS)
def test_what_no_other_text_would_get_over_ends_the_run_in_the_right_words(name: str, server: ChatServer) -> None:
    status, body, why = ENDS[name]
    server.reply = lambda request, before: Answer(body, status, {"Location": "https://other.example/v1?signed=x"})
    with pytest.raises(ExpertError) as caught:
        expert(server, BINARY, concurrency=1).answer(examples(texts(9)))
    assert why in str(caught.value)
    assert len(server.requests) == 1


OF_TEXTS = {
    "moderation": (
        403,
        {"error": {"code": 403, "message": 'm requires moderation. Your input was flagged for "hate".'}},
        "flagged",
    ),
    "a content filter": (400, problem("The prompt was filtered", "content_filter"), "filter"),
    "a policy": (400, {"error": {"message": "no", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, "400"),
    "its length": (
        400,
        problem("This model's maximum context length is 8 tokens", "context_length_exceeded"),
        "context",
    ),
    "its size": (413, problem("no"), "413"),
    "a filter, with status 200": (200, problem("The prompt was filtered", "content_filter"), "filter"),
}


@pytest.mark.parametrize("name", OF_TEXTS)
def test_texts_that_are_refused_are_rows_with_a_reason_however_many_they_are(name: str, server: ChatServer) -> None:
    status, body, word = OF_TEXTS[name]
    server.reply = lambda request, before: Answer(said("1")) if request.text == "good" else Answer(body, status)
    asked = [f"post {n}" for n in range(60)]
    table = expert(server, BINARY).answer(examples([*asked, "good"]))
    assert table["label"].to_pylist() == [None] * 60 + ["1"]
    assert all(word in error for error in table["error"].to_pylist()[:60])
    assert len(server.requests) == 61, "none is asked about twice"


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Provider returned error", "code": 502}},
        {"error": "Provider returned error"},
        {"object": "error", "message": "Provider returned error", "code": 500},
        {"choices": [{"error": {"message": "Provider returned error"}, "message": {"content": ""}}]},
    ],
    ids=["code", "text", "object", "choice"],
)
def test_an_error_with_status_200_that_may_pass_is_tried_again_and_is_then_the_reason(
    server: ChatServer, body: dict[str, Any]
) -> None:
    server.reply = lambda request, before: Answer(body if request.text == "bad" or not before else said("1"))
    table = expert(server, BINARY).answer(examples(["good", "bad"]))
    assert table["label"].to_pylist() == ["1", None]
    assert "Provider returned error" in table["error"].to_pylist()[1]
    assert table["error"].to_pylist()[1].endswith("3 tries")


@pytest.mark.parametrize(
    ("message", "code", "field", "instead"),
    [
        (
            "Unsupported parameter: 'max_tokens' is not supported here. Use 'max_completion_tokens' instead.",
            "unsupported_parameter",
            "max_tokens",
            {"max_completion_tokens": 16},
        ),
        (
            "Unsupported value: 'temperature' does not support 0 with this model.",
            "unsupported_value",
            "temperature",
            {},
        ),
        ("logprobs are not supported with reasoning models", None, "logprobs", {}),
        ("Unknown field top_logprobs", None, "top_logprobs", {}),
        ("Extra inputs are not permitted", "extra_forbidden", "top_p", {}),
    ],
)
def test_a_field_that_is_not_taken_is_asked_for_as_the_server_wants(
    server: ChatServer, caplog: pytest.LogCaptureFixture, message: str, code: str | None, field: str, instead: Any
) -> None:
    refused = {"error": {"message": message, "code": code, "param": field if code else None}}
    if code == "extra_forbidden":
        refused = {"detail": [{"type": code, "loc": ["body", field], "msg": message}]}
    server.reply = lambda request, before: (
        Answer(refused, 422 if "detail" in refused else 400) if field in request.body else Answer(said("1"))
    )
    asked = expert(server, BINARY, concurrency=1, max_retries=0)
    before = asked.key("a")
    with caplog.at_level(logging.WARNING):
        assert asked.answer(examples(["a", "b", "c"]))["label"].to_pylist() == ["1"] * 3
    assert len(server.requests) == 4, "once for each, and once to learn it"
    assert instead.items() <= server.requests[-1].body.items()
    assert caplog.text.count("does not take") == 1 and f"does not take {field}," in caplog.text
    assert asked.key("a") == before
    limited = CallPrice(asked, CostModel("usd", {"llm": Price(usd_per_1m_completion_tokens=1e6)}), limited=True)
    assert limited.most(["a"]) == [16.0], "the longest reply is known as before"


def test_a_limit_in_the_servers_own_field_is_a_limit(server: ChatServer) -> None:
    asked = expert(server, BINARY, max_tokens=None, extra={"max_completion_tokens": 9})
    assert asked.most_tokens(["a"])[0][1] == 9


def test_another_model_is_refused_in_whatever_case(server: ChatServer) -> None:
    server.reply = lambda request, before: Answer({**said("1"), "model": "Owner/cheaper-model"})
    (row,) = expert(server, BINARY).answer(examples(["hello"])).to_pylist()
    assert row["error"] == "answered by another model, 'Owner/cheaper-model', not 'm'"
    server.reply = lambda request, before: Answer({**said("1"), "model": "mistral"})
    assert "another model" in expert(server, BINARY).answer(examples(["hello"]))["error"].to_pylist()[0]


def test_milliseconds_are_waited(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_WAIT_S", 30.0)
    server.reply = lambda request, before: (
        Answer(problem("slow down", "rate_limit_exceeded"), 429, {"retry-after-ms": "20"})
        if not before
        else Answer(said("1"))
    )
    start = time.monotonic()
    assert expert(server, BINARY).answer(examples(["hello"]))["label"].to_pylist() == ["1"]
    assert 0.02 <= time.monotonic() - start < 25


def test_a_row_that_broke_is_read_again_of_the_reply_that_was_kept(
    server: ChatServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.reply = lambda request, before: Answer(said("1", steps(step("1", -0.1, **{"0": -2.5}))))
    asked = expert(server, BINARY, tmp_path)
    good = asked.answer(examples(["a", "b"]))
    key = asked.key("a")
    with asked.store() as store:
        store.mend({key: {**store.get_many([key])[key], "own": [["1", "x", 3]], "prompt_tokens": -7}})
    assert asked.answer(examples(["a", "b"])).equals(good)
    assert asked.answer(examples(["a", "b"])).equals(good) and not caplog.text
    assert len(server.requests) == 2


def test_a_reply_that_is_played_again_after_a_restart_is_refused(server: ChatServer, tmp_path: Path) -> None:
    replay = {**said("1"), "id": "chatcmpl-0123456789abcdef"}
    server.reply = lambda request, before: Answer(replay)
    assert expert(server, BINARY, tmp_path).answer(examples(["a"]))["label"].to_pylist() == ["1"]
    (row,) = expert(server, BINARY, tmp_path).answer(examples(["b"])).to_pylist()
    assert (row["label"], row["error"]) == (None, "the reply had come before, to another request")
    server.reply = lambda request, before: Answer({**said("0"), "id": "chatcmpl-fedcba9876543210"})
    assert expert(server, BINARY, tmp_path).answer(examples(["a", "b"]))["label"].to_pylist() == ["1", "0"]


# Numbers, names and shapes as servers send them, where they belong or anywhere else.
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["0", "1", "no", "\ud800", "<think>", "</think>1", '{"label": "1"}', "\\boxed{0}", "Answer: 1", 10**400]
    ),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
LOGPROB = st.floats(-20, 0) | SCALARS


def object_of(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object with any of these fields, now and then anything else."""
    objects = st.fixed_dictionaries({}, optional=fields)
    return st.integers(0, 7).flatmap(lambda draw: objects if draw else JSON)


ALTERNATIVE = object_of(token=SCALARS, logprob=LOGPROB)
STEP = object_of(token=SCALARS, logprob=LOGPROB, top_logprobs=st.lists(ALTERNATIVE, max_size=3) | JSON)
LOGPROBS = object_of(
    content=st.lists(STEP, max_size=3) | JSON,
    tokens=st.lists(SCALARS, max_size=3),
    token_logprobs=st.lists(LOGPROB, max_size=3),
    top_logprobs=st.lists(JSON, max_size=3),
)
PART = object_of(type=st.sampled_from(["text", "thinking", "refusal", "tool_use"]), text=SCALARS, refusal=SCALARS)
MESSAGE = object_of(
    content=SCALARS | st.lists(PART, max_size=2) | JSON, refusal=JSON, tool_calls=JSON, reasoning_content=SCALARS
)
CHOICE = object_of(
    message=MESSAGE,
    text=SCALARS,
    finish_reason=st.sampled_from(["stop", "length"]) | SCALARS,
    logprobs=LOGPROBS,
    error=JSON,
)
DETAILS = object_of(cached_tokens=SCALARS, reasoning_tokens=SCALARS, upstream_inference_cost=SCALARS)
USAGE = object_of(
    prompt_tokens=SCALARS,
    completion_tokens=SCALARS,
    input_tokens=SCALARS,
    cache_read_input_tokens=SCALARS,
    cost=SCALARS,
    cost_details=DETAILS,
    prompt_tokens_details=DETAILS,
    completion_tokens_details=DETAILS,
)
AROUND = {
    "id": SCALARS | st.just("chatcmpl-0123456789abcdef"),
    "usage": USAGE,
    "model": st.just("m") | SCALARS,
    "content": JSON,
    "type": st.just("message"),
    "error": JSON,
}
ANSWERED = st.fixed_dictionaries({"message": MESSAGE}, optional={"logprobs": LOGPROBS, "finish_reason": SCALARS})
REPLY = st.one_of(
    st.fixed_dictionaries({"choices": st.lists(ANSWERED, min_size=1, max_size=1)}, optional=AROUND),
    object_of(choices=st.lists(CHOICE, min_size=1, max_size=2) | JSON, **AROUND),
)


class Raw:
    """A client whose every reply is this JSON."""

    def __init__(self, content: bytes) -> None:
        self.content, self.asked = content, 0
        self.chat = self.completions = self.with_raw_response = self

    def create(self, **_: Any) -> Raw:
        self.asked += 1
        return self

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def came_of(reply: Any, words: tuple[str, ...]) -> str:
    """What came of a reply: whatever was sent, a row that can be kept, and read again, as it was; or the run's end."""
    client = Raw(json.dumps(reply).encode())
    store = AnswerStore()
    made = OpenAiExpert(
        Setting("llm", "odd", words, answers=store),
        model="m",
        base_url="http://127.0.0.1:9/v1",
        prompt=Prompt("{text}", {word: word for word in words}),
        concurrency=1,
        max_retries=1,
    )
    made.new_client = lambda wire: client  # type: ignore[method-assign]
    with store:
        try:
            table = made.answer(examples(["hello"]))
        except ExpertError as stopped:
            assert "stopped asking" in str(stopped) and client.asked
            return "the end"
        (row,) = table.to_pylist()
        assert row["label"] in (None, *words)
        assert row["label"] is not None or row["error"] or (not words and row["text"])
        assert (
            row["proba"] is None or words[int(np.argmax(row["proba"]))] == row["label"] or np.ptp(row["proba"]) < 1e-6
        )
        kept = store.get_many([made.key("hello")])
        choices = reply.get("choices") if isinstance(reply, Mapping) else None
        answered = isinstance(choices, list) and choices and isinstance(choices[0], Mapping)
        if answered and isinstance(choices[0].get("message"), Mapping) and not choices[0].get("error"):
            assert client.asked == 1, "a readable reply is not asked for again"
        if kept:
            assert client.asked == 1
            assert made.answer(examples(["hello"])).equals(table) and client.asked == 1
        return "an answer" if row["error"] is None else "an answer that is none" if kept else "a fault"


@pytest.mark.parametrize(
    "count", [200, pytest.param(int(os.environ.get("ASKLESS_REPLIES", 1000)), marks=pytest.mark.slow)]
)
def test_any_json_is_a_row(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(retrying, "FIRST_WAIT_S", 0.0)
    outcomes: Counter[str] = Counter()

    @given(REPLY, st.sampled_from([BINARY, SIGNS, ("no", "not sure", "yes"), ()]))
    @settings(max_examples=count, suppress_health_check=list(HealthCheck))
    def check(reply: Any, words: tuple[str, ...]) -> None:
        outcomes[came_of(reply, words)] += 1

    check()
    print(dict(outcomes))
    assert {"an answer", "an answer that is none", "a fault"} <= outcomes.keys() and outcomes.total() >= count
