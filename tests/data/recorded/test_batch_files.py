"""The results of finished batches: a line of a file a row, and what must come of it."""

import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from askless import schema
from askless.cli import app
from askless.data.recorded.answer_files import Layout
from askless.data.recorded.imported import UNNAMED, read
from askless.data.recorded.study import load
from askless.errors import AsklessError, DataError
from tests.experts.remote.test_odd_replies import REPLY


def reply(content, logprobs=None, model="m", finish="stop", usage=None, **message):
    choice = {"message": {"content": content, **message}, "finish_reason": finish, "logprobs": logprobs}
    return {"model": model, "choices": [choice], "usage": usage or {"prompt_tokens": 41, "completion_tokens": 1}}


def answered(name, body, status=200):
    response = {"status_code": status, "request_id": "r", "body": body}
    return {"id": f"b{name}", "custom_id": name, "response": response, "error": None}


def result(name, kind, **more):
    return {"custom_id": name, "result": {"type": kind, **more}}


TOP = [{"token": "yes", "logprob": -0.1}, {"token": "no", "logprob": -2.4}]
SURE = {"content": [{"token": "yes", "logprob": -0.1, "top_logprobs": TOP}]}
CACHED = {"prompt_tokens": 40, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 32}}
READ_BACK = {"input_tokens": 40, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 0, "output_tokens": 1}
MESSAGE = {"type": "message", "model": "m", "stop_reason": "end_turn", "usage": READ_BACK}
FILTERED = {"error": {"message": "The prompt was filtered", "code": "content_filter"}}
EXPIRED = {"code": "batch_expired", "message": "It could not be executed before the completion window expired."}
INVALID = {"type": "error", "error": {"type": "invalid_request_error", "message": "too long"}}

# A line, the label that is read, words of the reason where there is none, and the tokens of its prompt.
LINES = [
    (answered("3", reply("yes", SURE, usage=CACHED)), "yes", "", 40),
    (answered("1", reply("no")), "no", "", 41),
    (answered("7", reply("<think>yes?</think>\nAnswer: no")), "no", "", 41),
    (answered("8", reply('{"label": "yes"}')), "yes", "", 41),
    (answered("9", reply("perhaps")), None, "outside the classes", 41),
    (answered("10", reply(None, refusal="I will not.")), None, "refused by the model: I will not.", 41),
    (answered("11", reply("", finish="length")), None, "the limit of tokens", 41),
    (answered("12", reply(None, finish="content_filter")), None, "no reply (content_filter)", 41),
    (answered("2", FILTERED, 400), None, "HTTP 400: content_filter: The prompt was filtered", 0),
    (answered("5", {"error": {"message": "Provider returned error", "code": 502}}), None, "502: Provider returned", 0),
    (answered("6", None, 500), None, "HTTP 500", 0),
    ({"custom_id": "4", "response": None, "error": EXPIRED}, None, "batch_expired: It could not", 0),
    (result("22", "succeeded", message={**MESSAGE, "content": [{"type": "text", "text": "yes"}]}), "yes", "", 1040),
    (result("21", "errored", error={"type": "invalid_request"}), None, "errored: invalid_request", 0),
    (result("24", "errored", error=INVALID), None, "errored: invalid_request_error: too long", 0),
    (result("23", "expired"), None, "expired", 0),
    (result("25", "canceled"), None, "canceled", 0),
]


def written(path, records):
    path.write_text("\n".join(map(json.dumps, records)) + "\n")
    return path


def test_each_line_is_an_answer_or_a_reason(tmp_path):
    found = read(written(tmp_path / "out.jsonl", [line for line, *_ in LINES]), classes=["no", "yes"])
    rows = found.predictions.to_pylist()
    assert [row["id"] for row in rows] == [line["custom_id"] for line, *_ in LINES], "by its id, in any order"
    for row, (line, label, reason, prompt) in zip(rows, LINES, strict=True):
        assert (row["expert"], row["label"], row["prompt_tokens"]) == ("m", label, prompt), line
        assert (row["error"] is None) is (label is not None) and reason in (row["error"] or ""), line
    assert rows[0]["logprob"] == pytest.approx(-0.1)
    assert rows[0]["proba"] == pytest.approx([math.exp(-2.4) / rows[0]["mass"], math.exp(-0.1) / rows[0]["mass"]])
    assert [row["proba"] is None for row in rows] == [False] + [True] * (len(rows) - 1)


def test_a_reply_that_was_cut_within_a_character_is_one_line_of_many(tmp_path):
    path = written(
        tmp_path / "out.jsonl", [answered("1", reply("I \ud83d", finish="length")), answered("2", reply("no"))]
    )
    path.write_text("\n" + path.read_text())
    table = read(path, classes=["no", "yes"]).predictions
    assert (table["text"].to_pylist(), table["label"].to_pylist()) == (["I \ufffd", "no"], [None, "no"])


@given(st.lists(REPLY, min_size=3, max_size=3))
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_body_is_a_row(tmp_path, bodies):
    lines = [answered(str(n), body, 200 if n else 400) for n, body in enumerate(bodies)]
    lines += [
        {"custom_id": "e", "error": bodies[0]},
        result("r", "succeeded", message=bodies[1]),
        answered("ok", reply("no")),
    ]
    try:
        found = read(
            written(tmp_path / "out.jsonl", [answered("ok0", reply("no")), *lines]), ["m"], classes=["no", "yes"]
        )
    except DataError as error:
        assert "are none of the classes" in str(error) or "with response, error or result" in str(error)
        return
    rows = {row["id"]: row for row in found.predictions.to_pylist()}
    assert set(rows) == {"ok0", "0", "1", "2", "e", "r", "ok"} and rows["ok"]["label"] == "no"


def test_words_that_no_class_has_are_kept_as_labels(tmp_path):
    path = written(tmp_path / "out.jsonl", [answered("1", reply("yes", SURE)), answered("2", reply("no"))])
    found = read(path)
    assert found.predictions["label"].to_pylist() == ["yes", "no"]
    assert found.predictions["proba"].null_count == 2 and f"{path}: {UNNAMED}" in found.notes


def test_by_the_command_line_and_from_there_into_an_evaluation(tmp_path):
    items = tmp_path / "items.jsonl"
    labels = {str(n): "yes" if n % 3 else "no" for n in range(60)}
    written(items, [{"id": name, "label": label} for name, label in labels.items()])
    batch = written(tmp_path / "out.jsonl", [answered(name, reply(labels[name], SURE)) for name in reversed(labels)])
    done = CliRunner().invoke(app, ["import", str(batch), "--classes", "no,yes", "-o", str(tmp_path / "a.parquet")])
    assert done.exit_code == 0 and "taken as those of 'm'" in done.stderr
    assert schema.read(tmp_path / "a.parquet", "predictions", classes=["no", "yes"])["label"].null_count == 0
    study = load(items, [batch])
    assert study.experts == ("m",) and study.classes == ("no", "yes")
    assert dict(zip(study.examples["id"].to_pylist(), study.answers["m"]["label"].to_pylist(), strict=True)) == labels


@pytest.mark.parametrize(
    ("records", "said"),
    [
        (
            [{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {}}],
            "line 1: custom_id, method, url, body. Allowed: the results of a batch: custom_id with response, error or "
            "result. Give the output file of the batch, not its input",
        ),
        ([answered("1", reply("no")), {"response": {}}], "line 2: response. Allowed: the results of a batch"),
        ([answered("1", reply("no")), answered("1", reply("no"))], "'m' answers 1 id more than once"),
        (
            [answered("1", reply("no")), answered("2", reply("no", model="n"))],
            "answers of 2 models (m, n). Allowed: those of one. Name whose answers they are: --expert NAME.",
        ),
    ],
)
def test_what_is_no_batch_is_said_in_one_sentence(tmp_path, records, said):
    with pytest.raises(DataError) as error:
        read(written(tmp_path / "out.jsonl", records))
    assert said in str(error.value)


def test_several_models_are_one_expert_where_that_is_said(tmp_path):
    path = written(tmp_path / "out.jsonl", [answered("1", reply("no")), answered("2", reply("no", model="n"))])
    assert set(read(path, ["large"]).predictions["expert"].to_pylist()) == {"large"}


@pytest.mark.parametrize(
    ("columns", "ids", "labels", "tokens"),
    [
        ({"id": "custom_id"}, ["1", "2"], ["yes", None], [40, 0]),
        ({"id": "item"}, ["7", "8"], ["yes", None], [40, 0]),
        ({"label": "settled"}, ["1", "2"], ["no", None], [40, 0]),
        ({"prompt_tokens": "counted"}, ["1", "2"], ["yes", None], [99, 1]),
    ],
)
def test_what_a_named_column_does_not_say_is_read_of_the_batch(tmp_path, columns, ids, labels, tokens):
    more = [{"item": 7.0, "settled": "no", "counted": 99}, {"item": 8.0, "settled": None, "counted": 1}]
    lines = [answered("1", reply("yes", usage=CACHED)), answered("2", FILTERED, 400)]
    path = written(tmp_path / "out.jsonl", [line | each for line, each in zip(lines, more, strict=True)])
    rows = read(path, classes=["no", "yes"], layout=Layout(columns)).predictions.to_pylist()
    assert [row["id"] for row in rows] == ids and [row["label"] for row in rows] == labels
    assert [row["prompt_tokens"] for row in rows] == tokens and rows[0]["cached_tokens"] == 32
    assert "filtered" in rows[1]["error"] and rows[0]["error"] is None


@pytest.mark.parametrize(
    ("columns", "error"),
    [
        ({"seconds": "s"}, "Unknown column of the results"),
        ({"id": "s"}, "no column 's' in a line"),
        ({"prompt_tokens": "custom_id"}, "custom_id is '.*' in a line. Allowed: null or a finite number >= 0"),
    ],
)
def test_a_column_that_a_batch_cannot_have_is_said(tmp_path, columns, error):
    path = written(tmp_path / "out.jsonl", [answered("1", reply("no"))])
    with pytest.raises(AsklessError, match=error):
        read(path, layout=Layout(columns))


def test_named_columns_win_over_the_format_of_a_batch(tmp_path):
    path = written(tmp_path / "out.jsonl", [{"custom_id": "1", "said": "no", "error": "none"}])
    table = read(path, layout=Layout({"id": "custom_id", "label": "said"})).predictions
    assert (table["id"].to_pylist(), table["label"].to_pylist()) == (["1"], ["no"])
