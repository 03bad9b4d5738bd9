"""Random runs of `label` beside a server with its own bill: rows lost, texts asked twice, dollars and the limit."""

from __future__ import annotations

import os
import random
from collections import Counter
from contextlib import ExitStack, suppress
from functools import partial

import openai
import pytest
import yaml

from askless.data.stream import ItemSource
from askless.experts.remote import retrying
from askless.labelling.ahead import ask_ahead
from askless.labelling.answerer import PASSING, Answerer, DeployedBundle
from askless.labelling.run import Run, answer_chunk
from askless.spending.billing import FaultHandling
from askless.spending.breaker import Breaker
from tests.labelling.billing_stub import PRICE, BillingStub, Killed, Steps
from tests.labelling.label_data import read_rows, shop, write_items
from tests.production_data import texts
from tests.registry_data import LLM

ITEMS, CHUNK, CONCURRENCY = 30, 10, 3
# The slow set runs a hundred of them.
RUNS = int(os.environ.get("ASKLESS_SIMULATED_RUNS", "100"))
DEFAULT = 8


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    bundle = shop(folder, "http://127.0.0.1:1/v1", max_tokens=16, max_retries=2, concurrency=CONCURRENCY)
    settings = yaml.safe_load((folder / "params.yaml").read_text())
    settings["costs"]["prices"][LLM] = PRICE
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))
    return DeployedBundle.at(str(bundle), folder / "params.yaml")


def label(version, folder, limit):
    """What `askless label` does, in this process."""
    source, facts = ItemSource.of(str(folder / "in.jsonl"), None, {}), {"limit": limit}
    with ExitStack() as stack:
        run = stack.enter_context(Run.opened(folder / "out.jsonl", facts))
        ledger = stack.enter_context(run.ledger(limit))
        answers, breaker = run.folder / "answers", Breaker(after=100)
        guarded = stack.enter_context(version.guarded(ledger, answers, FaultHandling(), breaker=breaker))
        answerer = Answerer(version, guarded, version.budget)
        ask_ahead(answerer, run.due(source, CHUNK, PASSING))
        run.label(source, CHUNK, partial(answer_chunk, answerer), again=PASSING)
        run.finish(True, {})
        return ledger.spent, ledger.doubted


@pytest.mark.parametrize(
    "seed", [*range(DEFAULT), *(pytest.param(n, marks=pytest.mark.slow) for n in range(DEFAULT, RUNS))]
)
def test_no_row_is_lost_none_asked_twice_and_the_bill_is_the_servers(version, tmp_path, monkeypatch, seed):
    monkeypatch.setattr(retrying, "FIRST_WAIT_S", 0.0)
    rng, steps = random.Random(seed), Steps(monkeypatch)
    stub = BillingStub(rng, steps)
    monkeypatch.setattr(openai, "DefaultHttpxClient", partial(openai.DefaultHttpxClient, transport=stub))
    items = texts(ITEMS)
    rng.shuffle(items)
    write_items(tmp_path / "in.jsonl", items)
    limit, kills, killed = rng.choice([None, rng.uniform(0.02, 0.6)]), rng.randint(0, 6), 0
    while True:
        steps.begin(*((rng.randint(1, 40), rng.random() < 0.5) if killed < kills else (float("inf"), True)))
        with suppress(Killed):
            paid, doubted = label(version, tmp_path, limit)
            if not stub.faults:
                break
            # The server is well at last, and what failed in passing is asked again.
            stub.faults, kills = 0.0, killed
            continue
        killed += 1
        assert limit is None or stub.bill <= limit
    rows = read_rows(tmp_path / "out.jsonl")
    reasons = Counter(row["reason"] for row in rows)
    assert [row["text"] for row in rows] == items, "lost"
    assert set(reasons) <= {"kept", "deferred", "in doubt", *(() if limit is None else ("limit",))}
    assert max(stub.billed.values(), default=0) <= 1, "asked twice"
    deferred = {row["text"] for row in rows if row["reason"] == "deferred"}
    assert all(row["answer"] == str(int("A long text" in row["text"])) for row in rows if row["reason"] == "deferred")
    assert deferred <= {text for text in items if any(text in asked for asked in stub.answered)}, "paid, and not asked"
    assert reasons["in doubt"] <= len(stub.unanswered) + CONCURRENCY * killed, "lost to a kill: what was under way"
    known = sum(cost for asked, cost in stub.answered.items() if any(text in asked for text in deferred))
    if stub.lie:
        assert known - 1e-9 <= paid
    else:
        assert paid == pytest.approx(known, abs=1e-6)
    assert sum(row["cost"] for row in rows) == pytest.approx(paid) and stub.bill <= paid + doubted + 1e-9
    assert limit is None or paid + doubted <= limit
    print(f"{seed}: {killed} kills, bill {stub.bill:.4f}, paid {paid:.4f}, in doubt {doubted:.4f}, {dict(reasons)}")
