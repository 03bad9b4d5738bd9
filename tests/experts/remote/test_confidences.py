"""A confidence without log-probabilities: stated by the model, or by a vote of its replies, each paid for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from askless import schema
from askless.config import Price
from askless.costs import CostModel
from askless.data.recorded import answer_files, answer_tables
from askless.errors import ConfigError
from askless.experts.remote import batches
from askless.experts.remote.confidences import stated_probability
from askless.experts.remote.openai import OpenAiExpert
from askless.prompts import Prompt
from askless.spending.guard import GuardedExpert
from askless.spending.ledger import Ledger
from askless.spending.pending import Pending, sample
from tests.experts.batch_server import BatchServer
from tests.experts.chat_server import Answer, ChatServer, chat, problem
from tests.experts.tiny_models import examples, setting

PROMPT = Prompt("Offensive? {text}", {"0": "no", "1": "yes"})
PRICE = Price(usd_per_1m_prompt_tokens=100.0, usd_per_1m_cached_tokens=10.0, usd_per_1k_answers=1.0)
COSTS = CostModel("usd", {"tiny": PRICE})


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")


def expert(server: ChatServer, answers: Path | None = None, **options: Any) -> OpenAiExpert:
    return OpenAiExpert(setting(answers), **{"model": "m", "base_url": server.url, "prompt": PROMPT} | options)


@pytest.mark.parametrize(
    ("reply", "label", "proba"),
    [
        ('{"label": "yes", "probability": 0.75}', "1", [0.25, 0.75]),
        ('```json\n{"label": "no", "probability": "90%"}\n```', "0", [0.9, 0.1]),
        ("<think>probability 0.2</think>yes\nConfidence: 80", "1", [0.2, 0.8]),
        ('{"label": "yes", "probability": 0.3}', "1", None),
        ('{"label": "yes", "probability": "high"}', "1", None),
        ('{"label": "yes", "probability": 1e-05}', "1", None),
        ("yes", "1", None),
        ('{"probability": 0.9}', None, None),
    ],
)
def test_a_stated_probability_is_that_of_the_label(
    server: ChatServer, tmp_path: Path, reply: str, label: str | None, proba: list[float] | None
) -> None:
    server.reply = lambda request, before: Answer(chat(reply))
    for private in (False, True):
        asked = expert(server, tmp_path / str(private), confidence="stated")
        asked.private = private
        for _ in range(2):
            row = asked.answer(examples(["hello"])).to_pylist()[0]
            assert (row["label"], row["proba"]) == (label, None if proba is None else pytest.approx(proba))
    assert len(server.requests) == 2, "kept with its answer"


def test_it_is_asked_for_behind_the_text_and_by_a_schema(server: ChatServer) -> None:
    expert(server, confidence="stated").answer(examples(["hello"]))
    body = server.requests[0].body
    assert body["messages"][0]["content"].startswith("Offensive? hello\n\nReply with JSON such as")
    shape = body["response_format"]["json_schema"]["schema"]
    assert shape["required"] == ["label", "probability"] and "logprobs" not in body
    assert len(json.dumps({"label": "yes", "probability": 0.95})) < body["max_tokens"]


@pytest.mark.parametrize(("text", "share"), [("probability: 1", 1.0), ("probability 101", None), (None, None)])
def test_a_probability_is_a_share_or_in_per_cent(text: str | None, share: float | None) -> None:
    assert stated_probability(text) == share


def of(replies: list[str]) -> Any:
    return lambda request, before: Answer(chat(replies[before], prompt_tokens=10, **CACHED[before]))


CACHED: list[dict[str, Any]] = [{}, *({"prompt_tokens_details": {"cached_tokens": 4}} for _ in range(4))]


@pytest.mark.parametrize(
    ("replies", "label", "proba", "mass"),
    [
        (["yes", "no", "yes"], "1", [1 / 3, 2 / 3], 1.0),
        (["yes", "no", "no idea"], "0", [0.5, 0.5], 2 / 3),
        (["maybe", "maybe", "yes"], "1", [0.0, 1.0], 1 / 3),
        (["maybe"] * 3, None, None, None),
    ],
)
def test_most_replies_decide_and_each_is_paid_for_once(
    server: ChatServer, tmp_path: Path, replies: list[str], label: str | None, proba: list[float] | None, mass: Any
) -> None:
    server.reply = of(replies)
    asked = expert(server, tmp_path, samples=3, temperature=1.0, concurrency=1)
    with Ledger() as ledger:
        guarded = GuardedExpert(asked, COSTS, ledger)
        rows = [guarded.answer(examples(["hello", "hello"]), part).to_pylist() for part in (1, 2)]
        guarded.let_go()
        bill = 3 * 0.001 + (30 - 8) * 1e-4 + 8 * 1e-5
        assert ledger.spent == pytest.approx(bill)
    row = rows[0][0]
    assert (row["label"], row["mass"], row["replies"]) == (label, mass and pytest.approx(mass), 3)
    assert row["proba"] == (None if proba is None else pytest.approx(proba))
    assert (row["prompt_tokens"], row["cached_tokens"], row["logprob"]) == (30, 8, None)
    assert [[each["cost_usd"] for each in table] for table in rows] == [[pytest.approx(bill), 0.0], [0.0, 0.0]]
    assert len(server.requests) == 3 and "logprobs" not in server.requests[0].body
    assert len({request.headers["idempotency-key"] for request in server.requests}) == 3
    table = asked.answer(examples(["hello"]))
    assert len(server.requests) == 3 and COSTS.price(table, "tiny") == pytest.approx([bill])
    schema.write(table, tmp_path / "table.parquet", "predictions")
    read = answer_files.read(tmp_path / "table.parquet")["tiny"]
    assert COSTS.price(answer_tables.predictions(read, ("0", "1")), "tiny") == pytest.approx([bill])


def test_more_samples_buy_the_new_ones_alone_and_are_forecast(server: ChatServer, tmp_path: Path) -> None:
    server.reply = of(["yes"] * 5)
    for samples, asked in ((1, 1), (3, 3), (5, 5), (3, 5)):
        made = expert(server, tmp_path, samples=samples, temperature=1.0, top_logprobs=0)
        due = Pending.of(made, [["hello", "hello"]]).forecast("tiny", PRICE).calls.value
        before = len(server.requests)
        assert made.answer(examples(["hello"]))["proba"].to_pylist()[0] == (None if samples == 1 else [0.0, 1.0])
        assert len(server.requests) == asked == before + due


def test_of_texts_that_are_drawn_all_replies_are_foreseen_and_asked_for(server: ChatServer, tmp_path: Path) -> None:
    made, texts = expert(server, tmp_path, samples=3, temperature=1.0, top_logprobs=0), [f"text {n}" for n in range(9)]
    schema.write(examples(texts), tmp_path / "examples.parquet", "examples")
    server.reply = lambda request, before: Answer(chat("yes"))
    pending = Pending.of(made, [texts])
    due = pending.draw(2, seed=0).forecast("tiny", PRICE).calls.value
    assert sample(made, pending, tmp_path / "examples.parquet", 2, 0, 60.0) == 2
    assert len(server.requests) == due == 6
    assert len(Pending.of(made, [texts]).texts_left) == 7


def test_the_limit_holds_for_all_replies_and_one_that_fails_is_said(server: ChatServer, tmp_path: Path) -> None:
    server.reply = lambda request, before: Answer(problem("no"), 400) if request.text[-1] == "x" else Answer(chat("no"))
    flat = CostModel("usd", {"tiny": Price(usd_per_1k_answers=1000.0)})
    with Ledger(limit=7.0) as ledger:
        guarded = GuardedExpert(expert(server, samples=3, temperature=0.5, concurrency=1), flat, ledger)
        table = guarded.answer(examples(["a", "b", "x", "c"]))
        guarded.let_go()
        assert ledger.spent == 7.0 == sum(table["cost_usd"].to_pylist())
    assert table["label"].to_pylist() == ["0", "0", None, None]
    assert table["replies"].to_pylist() == [3, 3, 0, 1]
    unbilled = table.set_column(table.schema.get_field_index("cost_usd"), "cost_usd", pa.nulls(4, pa.float64()))
    assert flat.price(unbilled, "tiny").tolist() == [3.0, 3.0, 0.0, 1.0], "a reply that failed has no price"
    errors = table["error"].to_pylist()
    assert errors[2].startswith("HTTP 400: no") and errors[3].startswith("limit: ")


def test_batches_have_a_line_for_each_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "FIRST_LOOK_S", 0.001)
    server = BatchServer()
    try:
        server.line = lambda request: Answer(chat("no"))
        table = expert(server, samples=3, temperature=1.0, mode="batch").answer(examples(["a", "b"]))
        assert server.answered == {"Offensive? a": 3, "Offensive? b": 3} and table["batched"].to_pylist() == [True] * 2
    finally:
        server.close()


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "seed": 1}, {"temperature": 1, "confidence": "stated"}])
def test_replies_that_would_be_alike_are_refused(server: ChatServer, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="samples is 3. Allowed: 1, or more with a temperature above 0, seed: null"):
        expert(server, samples=3, **options).answer(examples(["a"]))
