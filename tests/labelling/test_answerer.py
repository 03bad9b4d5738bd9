"""Together or one by one, with money or without: a text gets the same row in every way to answer it."""

import json
import shutil
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from askless.errors import ConfigError, DataError
from askless.labelling.answerer import ANSWERED, Answerer, DeployedBundle, TextBatch
from askless.monitoring.decide_and_log import Audit
from askless.monitoring.decision_log import ROWS
from askless.policies.base import Budget
from askless.spending.ledger import Ledger
from tests.experts.chat_server import Answer, problem
from tests.labelling.label_data import shop
from tests.pipeline import working_in
from tests.production_data import chat_server, said, texts
from tests.registry_data import LLM, PRICE

SHORT, LONG = "A short text.", "A long text. " + "x" * 190


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    with chat_server() as server:
        bundle = shop(folder, server.url, max_retries=0)
        with working_in(folder):
            yield DeployedBundle.at(str(bundle), Path("params.yaml")), server


@pytest.fixture
def version(place):
    place[1].reply = said
    place[1].requests.clear()
    return place[0]


@contextmanager
def answering(version, folder, limit=None, budget=None, audit=None, **options):
    with Ledger(limit=limit) as ledger, version.guarded(ledger, folder, **options) as expensive:
        yield Answerer(version, expensive, budget or version.budget, audit)


def by_itself(answerer, text):
    """The row of one text as a server makes it: decided, and asked about if it is deferred."""
    items = TextBatch.of(answerer.version.terms, [text])
    (decided,) = answerer.decide(items.ids, items.texts, answerer.budget)
    return answerer.ask(decided).row if decided.asked else decided


@pytest.mark.parametrize(
    ("where", "new"),
    [(("learnt", "points_", "tie"), []), (("learnt", "points_", "share"), [[]]), (("arguments", "random_state"), "")],
)
def test_a_bundle_whose_numbers_make_no_sense_is_refused_when_it_is_loaded(place, tmp_path, where, new):
    folder = shutil.copytree(place[0].address, tmp_path / "theirs")
    about = json.loads((folder / "bundle.json").read_text())
    part = about
    for name in where[:-1]:
        part = part[name]
    part[where[-1]] = new
    (folder / "bundle.json").write_text(json.dumps(about))
    with pytest.raises(DataError, match=r"what cannot decide a text \(\w+: .*Allowed: a bundle as it was saved"):
        DeployedBundle.at(str(folder), Path("params.yaml"))


@pytest.mark.parametrize("reply", [said, lambda request, before: Answer(problem("no"), status=400)])
def test_a_text_by_itself_has_the_row_that_it_has_in_a_batch(version, place, tmp_path, reply):
    place[1].reply, some = reply, texts(12)
    with answering(version, tmp_path / "a") as answerer:
        batch = answerer.answer(some).distinct.to_pylist()
    with answering(version, tmp_path / "b") as answerer:
        alone = [by_itself(answerer, text) for text in some]
    assert {row["expert"] for row in batch} == ({"majority", LLM} if reply is said else {"majority"})
    for row, one in zip(batch, alone, strict=True):
        assert {name: getattr(one, name) for name in ROWS.names if name != "time"} == {
            name: value for name, value in row.items() if name != "time"
        }


def test_texts_are_cleaned_named_and_found_answerable_or_not(version, tmp_path):
    with answering(version, tmp_path) as answerer:
        answered = answerer.answer([LONG, None, f" {LONG}\n", "", SHORT])
    rows = answered.rows.to_pylist()
    assert answered.rows.schema.equals(ANSWERED)
    assert [row["reason"] for row in rows] == ["deferred", "unanswerable", "deferred", "unanswerable", "kept"]
    assert [row["cost"] for row in rows] == [PRICE, 0, 0, 0, 0] and rows[0]["id"] == rows[2]["id"]
    assert [row["paid"] for row in rows] == [PRICE, None, None, None, None]
    assert (rows[1]["expert"], rows[1]["answer"], rows[1]["error"]) == (None, None, "empty text")
    assert answered.distinct["text"].to_pylist() == [LONG, SHORT]
    assert rows[0]["answers"] == [{"expert": LLM, "answer": "1"}] and rows[4]["answers"] == []


def test_nothing_answerable_is_answered_by_nobody(version, tmp_path):
    with answering(version, tmp_path) as answerer:
        answered = answerer.answer([None, " "])
    assert answered.distinct.num_rows == 0 and answered.rows["reason"].to_pylist() == ["unanswerable"] * 2


def test_beyond_the_limit_the_small_expert_answers_and_an_audit_asks_nobody(version, place, tmp_path):
    with answering(version, tmp_path, limit=1.5 * PRICE, audit=Audit(LLM, 1.0)) as answerer:
        rows = answerer.answer([LONG, f"{LONG}x", SHORT]).rows.to_pylist()
    assert len(place[1].requests) == 1 and sum(row["cost"] + row["audit_cost"] for row in rows) == PRICE
    assert sorted(row["reason"] for row in rows) == ["deferred", "kept", "limit"]
    assert all(row["audit"] for row in rows)
    assert [row["error"] for row in rows if row["reason"] == "limit"] == [
        f"{LLM}: limit: the spend limit of $0.0015 is reached"
    ]


def test_a_kept_answer_costs_nothing_or_its_price(version, place, tmp_path):
    costs = []
    for options in ({}, {}, {"kept_cost": True}):
        with answering(version, tmp_path, **options) as answerer:
            costs += answerer.answer([LONG]).rows["cost"].to_pylist()
    assert costs == [PRICE, 0.0, PRICE] and len(place[1].requests) == 1


def test_who_should_answer_is_known_without_asking_anybody(version, place):
    answerer = Answerer(version, budget=Budget(share=1.0))
    for budget, who in ((answerer.budget, LLM), (Budget(share=0.0), "majority")):
        (row,) = answerer.decide(["a"], [LONG], budget)
        assert (row.expert, row.asked, row.answer) == (who, [LLM] if who == LLM else [], None if who == LLM else "0")
    assert not place[1].requests


def test_a_text_without_an_answer_says_why_and_has_the_small_experts(version):
    answerer = Answerer(version, budget=Budget(share=1.0))
    (decided,) = answerer.decide(["a"], [LONG], answerer.budget)
    row = answerer.without(decided, "slow: no answer within 3 s")
    assert (row.expert, row.asked, row.answer, row.paid) == ("majority", [LLM], "0", 0.0)
    assert row.error == f"{LLM}: slow: no answer within 3 s"
    assert answerer.reason(row.expert, row.error, row.answer) == "slow"


def test_an_expert_that_nobody_knows_how_to_ask_is_refused(version):
    with pytest.raises(ConfigError, match="its expert 'majority' is neither with it nor in its terms. Allowed"):
        replace(version, bundle=replace(version.bundle, small_options=None))
