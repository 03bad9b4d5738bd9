"""Two LLMs asked by batches, killed amid these: sent, looked at, half fetched, half paid for, half kept."""

import random
from contextlib import ExitStack

import numpy as np
import pytest

from askless.annotating import rounds
from askless.annotating.asked import AskedTexts
from askless.annotating.rounds import Wish, annotate
from askless.config import Price
from askless.costs import CostModel
from askless.data.prepare import ids
from askless.experts.remote import batches
from askless.experts.remote.openai import OpenAiExpert
from askless.prompts import Prompt
from askless.spending.guard import GuardedExpert
from askless.spending.ledger import Ledger
from tests.annotating.test_rounds import file_of
from tests.annotating.texts import CLASSES
from tests.experts.batch_server import BatchServer
from tests.experts.chat_server import Answer, chat
from tests.experts.remote.test_batches import STEPS, Killed, Steps
from tests.experts.tiny_models import setting

TEXTS = [f"text {n}" for n in range(150)]
USD = {"cheap": 0.00005, "last": 0.001}


def by_batches(folder, servers):
    """Both LLMs behind one ledger; what came of it, what was paid and what is in doubt."""
    prompt, asked = Prompt("{text}", {each: each for each in CLASSES}), []
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(folder / "ledger.sqlite", limit=9.0))
        for name, usd in USD.items():
            options = {"model": name, "base_url": servers[name].url, "mode": "batch", "prompt": prompt}
            expert = OpenAiExpert(setting(folder, CLASSES, name), **options)
            price = Price(usd_per_1k_answers=1, batch=Price(usd_per_1k_answers=1000 * usd))
            guarded = GuardedExpert(expert, CostModel("usd", {name: price}), ledger)
            stack.callback(guarded.let_go)
            asked.append(AskedTexts(guarded, ids("annotate", TEXTS), TEXTS))
        found = annotate(asked[-1], np.ones(len(TEXTS), int), Wish(0.9), cheaper=asked[:-1])
        return found, ledger.spent, ledger.doubted


# How many times a step is taken, at most, before a kill.
@pytest.mark.parametrize(("step", "most"), [*zip(STEPS, (60, 8, 60, 8), strict=True)], ids=[name for _, name in STEPS])
def test_killed_amid_batches_nothing_is_lost_or_asked_twice(step, most, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setattr(batches, "FIRST_LOOK_S", 0.001)
    monkeypatch.setattr(batches, "ROWS", 20)
    rng, draws = random.Random(step[1]), np.random.default_rng(3)
    truth, guess = file_of(draws, len(TEXTS), "good")
    monkeypatch.setattr(rounds, "SmallModel", guess)
    said = {"cheap": np.where(draws.random(len(TEXTS)) < 0.08, 1 - truth, truth), "last": truth}
    steps = Steps(monkeypatch, [step])

    def ended(folder, kills):
        """How often it was killed until it ended, what came of it, which texts were asked, the batches of each."""
        folder.mkdir()
        servers, killed = {name: BatchServer() for name in USD}, 0
        for name, server in servers.items():
            server.line = lambda request, name=name: Answer(chat(CLASSES[said[name][TEXTS.index(request.text)]]))
        while True:
            steps.left, steps.done = (rng.randint(1, most), rng.random() < 0.5) if killed < kills else (np.inf, True)
            try:
                found, paid, doubted = by_batches(folder, servers)
                break
            except Killed:
                killed += 1
        for server in servers.values():
            server.close()
        asked = {name: server.answered for name, server in servers.items()}
        assert max(times for each in asked.values() for times in each.values()) == 1, "asked twice"
        assert paid == pytest.approx(sum(usd * len(asked[name]) for name, usd in USD.items())) and not doubted
        return killed, found, asked, [len(each.batches) for each in servers.values()]

    _, whole, *asked_whole = ended(tmp_path / "whole", 0)
    killed, found, *asked = ended(tmp_path / "killed", 8)
    assert killed >= 4 and asked == asked_whole and sum(asked[1]) <= 7, "nothing lost, none sent for nothing"
    assert (found.label == whole.label).all() and found.promised == whole.promised >= 0.9
    assert found.tiers[0].worth and (found.by_tier == whole.by_tier).all() and (found.by_tier == 0).any()
