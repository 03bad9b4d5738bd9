"""What is asked about before the chunks of a run are answered: by batches, and within a limit by score."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from time import sleep

import pytest
import yaml
from typer.testing import CliRunner

from askless.cli import app
from askless.experts.remote import batches
from askless.spending.ledger import Ledger
from tests.experts.batch_server import BatchServer
from tests.experts.chat_server import Answer, chat
from tests.labelling.label_data import prices, read_rows, shop, write_items
from tests.production_data import texts
from tests.registry_data import LLM, PRICE

ITEMS = 24


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(batches, "FIRST_LOOK_S", 0.001)
    running = BatchServer()
    running.line = running.reply = lambda request, before=0: Answer(chat("yes" if "large" in request.text else "no"))
    yield running
    running.close()


@pytest.fixture
def bundle(tmp_path, monkeypatch, server):
    made = shop(tmp_path, server.url)
    monkeypatch.chdir(tmp_path)
    write_items(tmp_path / "in.jsonl", texts(ITEMS))
    return made


def label(bundle, *words):
    given = ["label", "in.jsonl", "--model", str(bundle), "-o", "out.jsonl", "--chunk-rows", "5", "--json", *words]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout), read_rows(bundle.parents[3] / "out.jsonl")


def test_all_chunks_are_asked_about_in_one_batch_at_its_price(bundle, server):
    price = {"usd_per_1k_answers": 1000 * PRICE, "batch": {"usd_per_1k_answers": 500 * PRICE}}
    prices(bundle.parents[3], server.url, price, mode="batch")
    said, rows = label(bundle)
    deferred = [row for row in rows if row["reason"] == "deferred"]
    assert len(server.batches) == 1 and not server.requests and len(deferred) == server.answered.total() > 0
    assert said["paid_usd"] == pytest.approx(PRICE / 2 * len(deferred)) == pytest.approx(sum(r["cost"] for r in rows))


def test_a_limit_is_spent_where_the_model_is_surest_to_defer(bundle, server, monkeypatch):
    prices(bundle.parents[3], server.url, concurrency=8)
    reserve, calls = Ledger.reserve, count()

    def first_comes_last(self, *given):
        """Whose turn is first is late: the other threads have reserved by then."""
        sleep(0.2 if next(calls) == 0 else 0)
        return reserve(self, *given)

    monkeypatch.setattr(Ledger, "reserve", first_comes_last)
    said, rows = label(bundle, "--max-usd", str(3.5 * PRICE))
    deferred = sorted((row for row in rows if row["reason"] in ("deferred", "limit")), key=lambda row: row["score"])
    assert [row["reason"] for row in deferred] == ["deferred"] * 3 + ["limit"] * (len(deferred) - 3)
    assert len(deferred) > 3 and [row["text"] for row in rows] == texts(ITEMS) and said["paid_usd"] == 3 * PRICE


def test_what_a_model_run_here_answers_ahead_is_paid_for_and_ends_at_the_limit(bundle):
    settings = yaml.safe_load(Path("params.yaml").read_text())
    settings["experts"][LLM] = {"backend": "llm", "model": "demo:xs", "prompt": "demo-olhs"}
    Path("params.yaml").write_text(yaml.safe_dump(settings))
    said, rows = label(bundle, "--max-usd", str(3.5 * PRICE))
    assert said["paid_usd"] == pytest.approx(3 * PRICE) == pytest.approx(sum(row["cost"] for row in rows))
    assert said["reasons"]["deferred"] == 3 and said["reasons"]["limit"] > 0
