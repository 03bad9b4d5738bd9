"""A model that learns, killed at random moments and run again: it counts the bill, and stays within its budget."""

from __future__ import annotations

import json
import os
import random
import threading

import pytest
import yaml
from typer.testing import CliRunner

from askless.cli import app
from askless.labelling.learning import Learning
from askless.spending.ledger import Ledger
from tests import forks
from tests.experts.chat_server import Answer, chat
from tests.labelling.label_data import read_rows, write_items
from tests.pipeline import working_in

RUNS = int(os.environ.get("ASKLESS_KILLED_RUNS", "10"))
MODELS = {"tiny": 1.0, "large": 20.0, "judge": 20.0}
ROWS, OPENING, BUDGET, JUDGED = 160, 20, 1.0, 0.2
# Calls to a server at once.
CONCURRENT = 8


@pytest.fixture(scope="module")
def worker():
    with forks.started("tests.labelling.label_worker") as process:
        yield process


class Till:
    """A server that bills tokens as they come, fewer than a call may have at most, also where its client is gone."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.lock, self.billed = rng, threading.Lock(), 0.0

    def __call__(self, request, before):
        """An answer, and what it takes."""
        with self.lock:
            tokens = self.rng.randint(20, 60)
            self.billed += tokens * MODELS[request.body["model"]] / 1e6
        return Answer(chat("yes", prompt_tokens=tokens, completion_tokens=0), delay=0.003)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, RUNS))])
def test_killed_at_random_moments_it_counts_the_bill_and_each_row_once(worker, server, tmp_path, monkeypatch, seed):
    rng = random.Random(seed)
    server.reply = till = Till(rng)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    prices = {name: {"usd_per_1m_prompt_tokens": usd} for name, usd in MODELS.items()}
    (tmp_path / "costs.yaml").write_text(yaml.safe_dump({"prices": prices}))
    write_items(tmp_path / "in.jsonl", [f"number {n}" for n in range(ROWS)])
    roles = dict(zip(MODELS, ("--llm", "--llm", "--judge"), strict=True))
    judged = bool(seed % 2)
    llms = [word for name in [*MODELS][: 2 + judged] for word in (roles[name], f"{name}={name}@{server.url}")]
    llms += ["--judge-share", str(JUDGED)] if judged else []
    about = ["--classes", "yes,no", "--budget-usd", str(BUDGET), "--prices", "costs.yaml"]
    with working_in(tmp_path):
        assert not CliRunner().invoke(app, ["learn", "-o", "live", *llms, *about]).exit_code
    words = ["label", "in.jsonl", "--model", "live", "-o", "out.jsonl", "--max-usd", "5", "--chunk-rows", "80"]
    job = {"folder": str(tmp_path), "words": [*words, "--json"]}
    killed = forks.until_done(worker, job, lambda: len(server.requests), rng.randint(1, 5), most=60)
    with Learning(tmp_path / "live" / "learning.sqlite") as learning:
        facts = learning.facts()
    with Ledger(tmp_path / "out.jsonl.run" / "ledger.sqlite") as ledger:
        paid, doubted = ledger.spent, ledger.doubted
    rows = read_rows(tmp_path / "out.jsonl")
    said = json.loads((tmp_path / "label.log").read_text().splitlines()[-1])
    print(f"{seed}: {killed} kills, billed ${till.billed:.6f}, paid ${paid:.6f}, in doubt ${doubted:.6f}")
    assert len(rows) == facts["items"] == ROWS and said["paid_usd"] == pytest.approx(paid)
    assert till.billed <= facts["spent_usd"] + 1e-9 and facts["spent_usd"] == pytest.approx(paid + doubted, abs=1e-8)
    assert facts["reserved_usd"] == 0
    texts = [each.text for each in server.requests if each.body["model"] == "judge"]
    items = {text.split("Text: ")[1].split("\n")[0] for text in texts}
    # One under way when the process was killed is in doubt, and not asked again.
    assert len(texts) == len(items) >= facts["labels"] >= len(items) - killed * CONCURRENT
    assert bool(facts["labels"]) == judged
    assert facts["spent_usd"] <= facts["allowed_usd"] + BUDGET * OPENING / 1000
