"""What OpenAI's own client gets: an answer, who gave it, what it cost; and an error where a request is none."""

import json

import httpx
import openai
import pytest

from askless.data.prepare import ids
from tests.production_data import said
from tests.registry_data import LLM, PRICE
from tests.serving.house import LONG, SHORT, ask, house

MODEL = "askless-olhs"
EVERYBODY, NOBODY = {"askless": {"share": 1.0}}, {"askless": {"share": 0.0}}


def about(completion):
    return completion.model_extra["askless"]


def test_the_small_experts_answer_costs_no_tokens(home):
    done = home.say(SHORT)
    assert done.choices[0].message.content == "0" and done.choices[0].finish_reason == "stop"
    assert done.model == MODEL and done.id.startswith("chatcmpl-")
    assert about(done) == {
        "id": ids("olhs", [SHORT])[0],
        "expert": "majority",
        "cost_usd": 0.0,
        "score": -float(len(SHORT)),
        "reason": "kept",
        "version": "1",
        "asked": [],
        "error": None,
    }
    assert (done.usage.prompt_tokens, done.usage.completion_tokens, done.usage.total_tokens) == (0, 0, 0)


def test_a_deferred_text_goes_to_the_llm_once_and_is_paid_once(home, kept_llm):
    text = f"{LONG} once"
    first, again = home.say(text), home.say(text)
    assert first.choices[0].message.content == again.choices[0].message.content == "1"
    told = [about(done) for done in (first, again)]
    assert [each["cost_usd"] for each in told] == [PRICE, 0.0]
    assert all((each["expert"], each["asked"], each["reason"]) == (LLM, [LLM], "deferred") for each in told)
    assert (first.usage.prompt_tokens, first.usage.completion_tokens) == (11, 1)
    assert sum(text in asked for asked in kept_llm.asked()) == 1


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"type": "json_object"}, "answer"),
        (
            {
                "type": "json_schema",
                "json_schema": {
                    "name": "verdict",
                    "schema": {
                        "type": "object",
                        "properties": {"hateful": {"type": "string", "enum": ["0", "1", "2"]}},
                    },
                },
            },
            "hateful",
        ),
    ],
)
def test_an_answer_is_json_where_that_is_wanted(home, form, field):
    for text, label in ((SHORT, "0"), (f"{LONG} in JSON", "1")):
        assert json.loads(home.say(text, response_format=form).choices[0].message.content) == {field: label}
        chunks = home.say(f"{text} streamed", response_format=form, stream=True)
        whole = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert json.loads(whole) == {field: label}
    assert home.say(SHORT, response_format={"type": "text"}).choices[0].message.content == "0"


def test_a_request_has_a_budget_of_its_own(home):
    assert about(home.say(SHORT, extra_body=EVERYBODY))["expert"] == LLM
    assert about(home.say(f"{LONG} own", extra_body=NOBODY))["expert"] == "majority"
    assert about(home.say(f"{LONG} own", extra_body={"askless": {"per_1000": 0.0}}))["expert"] == "majority"
    assert about(home.say(f"{LONG} own"))["expert"] == LLM


def test_the_last_user_message_is_the_text_and_parts_of_it_are_joined(home):
    parts = [{"type": "text", "text": "A long text. "}, {"type": "text", "text": "x" * 180}]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "An earlier one."},
        {"role": "assistant", "content": "So it was."},
        {"role": "user", "content": parts},
        {"role": "developer", "content": [{"type": "image_url", "image_url": {"url": "http://localhost/x"}}]},
    ]
    with home.client() as client:
        done = client.chat.completions.create(
            model=MODEL, messages=messages, temperature=0.7, max_tokens=5, seed=1, user="u", n=1, tools=[]
        )
    assert about(done)["score"] == -193.0 and about(done)["expert"] == LLM


@pytest.mark.parametrize(("text", "expert", "answer"), [(SHORT, "majority", "0"), (f"{LONG} streamed", LLM, "1")])
@pytest.mark.parametrize("usage", [False, True])
def test_a_label_streams_in_one_piece_and_the_last_chunk_tells_who_gave_it(home, text, expert, answer, usage):
    options = {"stream_options": {"include_usage": True}} if usage else {}
    with home.client() as client:
        chunks = list(ask(client, text, stream=True, **options))
    assert {(chunk.id, chunk.object, chunk.model) for chunk in chunks} == {
        (chunks[0].id, "chat.completion.chunk", MODEL)
    }
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].delta.content for c in chunks[1:] if c.choices][:-1] == [answer]
    assert about(chunks[-1])["expert"] == expert
    finish = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert finish == [None, None, "stop"]
    assert (chunks[-1].usage is not None) == usage and (not chunks[-1].choices) == usage


def test_the_model_is_listed(home):
    with home.client() as client:
        assert [model.id for model in client.models.list()] == [MODEL]
        assert client.models.retrieve(MODEL).owned_by == "askless"
        with pytest.raises(openai.NotFoundError, match="No such model. Served: askless-olhs."):
            client.models.retrieve("gpt-4o")


def test_the_decision_is_timed(home):
    reply = home.post({"model": MODEL, "messages": [{"role": "user", "content": SHORT}]})
    assert 0 < float(reply.headers["x-askless-decision-ms"]) < 20_000
    before = home.metric("askless_decision_seconds_count")
    home.say(SHORT)
    assert home.metric("askless_decision_seconds_count") == before + 1


def error(reply, status):
    """What an error says, which has the form that OpenAI's have."""
    assert reply.status_code == status, reply.text
    assert set(reply.json()) == {"error"} and set(reply.json()["error"]) >= {"message", "type", "code", "param"}
    assert "Traceback" not in reply.text
    return reply.json()["error"]


def test_another_model_and_a_wrong_key(home):
    with pytest.raises(openai.NotFoundError) as wrong:
        home.say(SHORT, model="gpt-4o")
    assert wrong.value.body["code"] == "model_not_found" and wrong.value.body["param"] == "model"
    home.key = "secret-guess"
    with pytest.raises(openai.AuthenticationError) as refused:
        home.say(SHORT)
    assert refused.value.body == {
        "message": "Wrong or missing API key. Send it as 'Authorization: Bearer KEY'.",
        "type": "authentication_error",
        "code": "invalid_api_key",
        "param": None,
    }
    home.key = "second"
    assert home.say(SHORT).choices[0].message.content == "0", "any of the keys will do"
    for given in ("", "first", "Basic first", "Bearer firs", "Bearer f\u00ef"):
        headers = {"authorization": given.encode("utf-8")}
        assert error(home.post({}, headers=headers), 401)["code"] == "invalid_api_key"
    home.key = "first"


def test_who_may_see_what_without_a_key(home):
    assert httpx.get(f"{home.root}/healthz").json() == {"status": "ok", "model": MODEL, "version": "1"}
    for path in ("/metrics", "/v1/models", "/v1/models/x"):
        assert error(httpx.get(f"{home.root}{path}"), 401)["code"] == "invalid_api_key"
    assert error(httpx.get(f"{home.root}/docs"), 404)["message"] == "Not Found."
    assert error(httpx.get(f"{home.url}/chat/completions"), 405)["message"] == "Method Not Allowed."


USER = [{"role": "user", "content": "A text."}]
WRONG = {
    "no messages": ({"model": MODEL}, "missing", "messages", "Field required."),
    "empty messages": ({"model": MODEL, "messages": []}, "too_short", "messages", None),
    "a number as text": (
        {"model": MODEL, "messages": [{"role": "user", "content": 5}]},
        None,
        "messages",
        "The content of the last user message must be text.",
    ),
    "an image": (
        {"model": MODEL, "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        "unsupported_content",
        "messages",
        "A part of the last user message is no text. Allowed: {type: text, text: ...}; no images, no sound.",
    ),
    "nobody asks": (
        {"model": MODEL, "messages": [{"role": "system", "content": "x"}]},
        None,
        "messages",
        "No message of role 'user'. Its content is the text to answer.",
    ),
    "blanks": (
        {"model": MODEL, "messages": [{"role": "user", "content": " \n "}]},
        "unanswerable",
        "messages",
        "Unanswerable: empty text.",
    ),
    "two answers": ({"model": MODEL, "messages": USER, "n": 2}, "unsupported", "n", None),
    "tools": ({"model": MODEL, "messages": USER, "tools": [{"type": "function"}]}, "unsupported", "tools", None),
    "a form of its own": (
        {"model": MODEL, "messages": USER, "response_format": {"type": "grammar"}},
        "unsupported",
        "response_format",
        "No such 'response_format' here. Allowed: text, json_object, or json_schema of an object with one string, "
        "which may be any class.",
    ),
    "a form of a number": (
        {"model": MODEL, "messages": USER, "response_format": {"type": 5}},
        "unsupported",
        "response_format",
        None,
    ),
    **{
        f"a schema that no answer meets: {why}": (
            {
                "model": MODEL,
                "messages": USER,
                "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
            },
            "unsupported",
            "response_format",
            None,
        )
        for why, schema in {
            "two fields": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
            "a number": {"type": "object", "properties": {"a": {"type": "number"}}},
            "one class alone": {"type": "object", "properties": {"a": {"enum": ["1"]}}},
            "no object": {"type": "string"},
            "odd": {"type": "object", "properties": {"a": {"enum": [["1"], {}]}}},
            "nothing": None,
        }.items()
    },
    "stream as text": ({"model": MODEL, "messages": USER, "stream": "yes"}, "bool_type", "stream", None),
    "an unknown budget": (
        {"model": MODEL, "messages": USER, "askless": {"shere": 0.1}},
        "unknown_field",
        "askless",
        "Unknown field. Allowed in 'askless': share, per_1000.",
    ),
    "two budgets": (
        {"model": MODEL, "messages": USER, "askless": {"share": 0.1, "per_1000": 1}},
        "invalid_budget",
        "askless",
        None,
    ),
    "a share of 2": (
        {"model": MODEL, "messages": USER, "askless": {"share": 2}},
        "less_than_equal",
        "askless.share",
        None,
    ),
    "a true share": ({"model": MODEL, "messages": USER, "askless": {"share": True}}, "float_type", None, None),
    "a list": ([1, 2], "model_type", None, None),
    "bytes": (b'{"model": "\xff"}', "invalid_utf8", None, "The body is not UTF-8 (byte 11)."),
    "half a body": (b'{"model": "askless-olhs", "mess', "invalid_json", None, "The body is not JSON."),
    "half a character": (b'{"model": "\\ud800", "messages": []}', "invalid_json", None, "The body is not JSON."),
    "nothing": (b"", "invalid_json", None, "The body is not JSON."),
    "a deep one": (b"[" * 20_000, "invalid_json", None, "The body is not JSON."),
    "no number": (b'{"model": "m", "messages": [{"role": "user"}], "askless": {"per_1000": NaN}}', None, None, None),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_request_that_is_none_is_told_what_is_wrong_with_it(home, case):
    body, code, param, message = WRONG[case]
    told = error(home.post(body), 400)
    assert told["type"] == "invalid_request_error"
    assert code is None or told["code"] == code
    assert param is None or told["param"] == param
    assert message is None or told["message"] == message


def test_a_budget_under_the_least_cost_is_refused_and_the_server_goes_on(home):
    before = home.metric("askless_in_flight")
    for _ in range(3):
        home.post(WRONG["two budgets"][0])
    assert home.metric("askless_in_flight") == before == 0
    assert home.say(SHORT).choices[0].message.content == "0"


def test_a_body_that_is_too_large_is_refused_however_it_comes(home):
    large = {"model": MODEL, "messages": [{"role": "user", "content": "x" * 1_000_000}]}
    with pytest.raises(openai.APIStatusError) as refused:
        home.say("x" * 1_000_000)
    assert refused.value.status_code == 413 and refused.value.body["message"] == "The body has more than 256 KB."
    assert error(home.post(large), 413)["code"] == "too_large"

    def chunks():
        for _ in range(300):
            yield b"x" * 1024

    headers = {"content-type": "application/json", "authorization": "Bearer first"}
    reply = httpx.post(f"{home.url}/chat/completions", content=chunks(), headers=headers)
    assert error(reply, 413)["code"] == "too_large"
    assert home.say("x" * 200_000).choices[0].message.content == "0"


def test_a_page_of_another_site_cannot_spend(home):
    told = error(home.post({"model": MODEL, "messages": USER}, headers={"content-type": "text/plain"}), 415)
    assert told["message"] == "The Content-Type must be application/json."


def test_no_text_of_a_request_is_said_or_logged(home, caplog, capfd):
    secret = "a-very-secret-word"
    for body in (
        {"model": secret, "messages": USER},
        {"model": MODEL, "messages": [{"role": secret, "content": secret}]},
        {"model": MODEL, "messages": [{"role": "user", "content": [{"type": secret}]}]},
        {"model": MODEL, "messages": USER, "stream": secret},
        {"model": MODEL, "messages": USER, "askless": {secret: secret}},
        f'{{"{secret}'.encode(),
    ):
        assert secret not in home.post(body).text
    home.say(f"{secret} {LONG}")
    out, err = capfd.readouterr()
    assert secret not in caplog.text + out + err


def test_an_ordinary_server_asks_for_no_key_but_only_of_this_machine(tmp_path, empty_store, llm):
    with house(tmp_path, empty_store, llm.url) as made:
        assert made.say(SHORT).choices[0].message.content == "0"
        told = error(made.post({"model": MODEL, "messages": USER}, headers={"host": "evil.example:80"}), 403)
        assert told["code"] == "wrong_host"
        assert httpx.get(f"{made.root}/metrics").headers["content-type"].startswith("text/plain")


def test_what_is_logged_is_what_flows_answer_logs(tmp_path, empty_store, llm):
    llm.reply = said
    with house(tmp_path, empty_store, llm.url) as made:
        made.say(SHORT)
        made.say(LONG)
        assert made.rows() == []
    rows = made.rows()
    assert [row["expert"] for row in rows] == ["majority", LLM]
    assert [row["asked"] for row in rows] == [[], [LLM]]
    assert [(row["cost"], row["paid"], row["small_answer"], row["answer"]) for row in rows] == [
        (0.0, None, "0", "0"),
        (PRICE, PRICE, None, "1"),
    ]
    assert {(r["task"], r["version"], r["audit"], r["agree"], r["audit_cost"], r["text"]) for r in rows} == {
        ("olhs", "1", False, None, 0.0, None)
    }
    from askless.data.prepare import ids

    assert [row["id"] for row in rows] == made.service.log.log.names(ids("olhs", [SHORT, LONG]))
