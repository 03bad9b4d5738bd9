"""The published chain rules on recorded answers of six LLMs, against what their own package gives, to four digits."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from askless import schema
from askless.costs import CostModel
from askless.experts import Setting
from askless.experts.recorded import RecordedExpert
from askless.panel import Panel
from askless.policies.chain.published import ForwardChain, RankChain
from benchmarks.simulation import simulate
from tests.realdata import real_folder

pytestmark = pytest.mark.realdata
CLASSES = ("A", "B", "C", "D")
MODELS = {
    "3b": "llama3.2-3b",
    "8b": "llama3.1-8b",
    "70b": "llama3.1-70b",
    "405b": "llama3.1-405b",
    "4o-mini": "gpt-4o-mini",
    "4o": "gpt-4o",
}
# Accuracy of the forward rule, the rank ensemble and the min-max ensemble; the last as run with the package 0.1.0.
FIGURES = {
    ("medmcqa", "8b 70b 405b"): (0.7260, 0.7170, 0.7240),
    ("medmcqa", "8b 4o-mini 4o"): (0.7200, 0.7090, 0.7070),
    ("medmcqa", "4o-mini 70b 4o"): (0.7560, 0.7640, 0.7280),
    ("medmcqa", "3b 8b 70b"): (0.6240, 0.6150, 0.6190),
    ("medmcqa", "4o-mini 4o"): (0.7610, 0.7520, 0.7400),
    ("mmlu", "8b 70b 405b"): (0.8328, 0.8230, 0.8308),
    ("mmlu", "8b 4o-mini 4o"): (0.8067, 0.7890, 0.7929),
    ("mmlu", "4o-mini 70b 4o"): (0.8576, 0.8485, 0.8099),
    ("mmlu", "3b 8b 70b"): (0.7381, 0.7244, 0.7296),
    ("mmlu", "4o-mini 4o"): (0.8321, 0.8210, 0.8106),
}


@pytest.fixture(scope="module")
def recorded():
    """For each benchmark the test split's examples and one prediction table for each model."""
    folder = real_folder()
    return {name: tables(Path(folder, "recorded"), name) for name in ("medmcqa", "mmlu")}


def tables(folder, name):
    items, said = (pd.read_parquet(folder / f"{name}_{what}.parquet") for what in ("items", "responses"))
    items, said = (table[table["split"] == "test"] for table in (items, said))
    columns = {
        "id": items["item"].astype(str),
        "text": items["prompt"],
        "label": items["gold"],
        "split": items["split"],
    }
    examples = schema.table("examples", {k: v.tolist() for k, v in columns.items()})
    return examples, {short: predictions(said[said["model"] == model], short) for short, model in MODELS.items()}


def predictions(said, expert):
    letters = [str(answer or "").strip()[:1].upper() for answer in said["answer"]]
    columns = {
        "id": said["item"].astype(str).tolist(),
        "expert": [expert] * len(said),
        "label": [letter if letter in CLASSES else None for letter in letters],
        "error": [None if letter in CLASSES else "no letter" for letter in letters],
        "logprob": said["raw_logprob"].tolist(),
        "cost_usd": said["cost_usd"].tolist(),
    }
    return schema.table("predictions", columns, {"classes": list(CLASSES)})


def panel(recorded, benchmark, chain, *, blind=False):
    examples, answers = recorded[benchmark]
    experts = {name: RecordedExpert(Setting(name, "recorded", CLASSES), table=answers[name]) for name in chain}
    return Panel(examples, experts, CostModel(), CLASSES, blind=blind)


@pytest.mark.parametrize(("benchmark", "links"), FIGURES)
def test_policies_give_the_published_figures(recorded, benchmark, links):
    chain = tuple(links.split())
    gold = panel(recorded, benchmark, chain).gold
    policies = (ForwardChain(chain), RankChain(chain), RankChain(chain, rank=False))
    done = [policy.decide(panel(recorded, benchmark, chain, blind=True)) for policy in policies]
    found = [round(float((d.label == gold).mean()), 4) for d in done]
    assert found == list(FIGURES[benchmark, links])


@pytest.mark.parametrize("benchmark", ["medmcqa", "mmlu"])
def test_the_simulation_gives_the_same_figures_among_all_orders(recorded, benchmark):
    board = panel(recorded, benchmark, MODELS)
    answers = [board.ask(name) for name in MODELS]
    label, logprob, cost = (np.stack([getattr(a, of) for a in answers], axis=1) for of in ("label", "logprob", "cost"))
    place = {name: j for j, name in enumerate(MODELS)}
    runs = {length: simulate(logprob, label, board.gold, cost, length) for length in (2, 3)}
    assert {length: len(found) for length, found in runs.items()} == {2: 30 * 4, 3: 120 * 4}
    found = {(run.chain, run.rule): round(run.accuracy, 4) for length in runs for run in runs[length]}
    for (name, links), figures in FIGURES.items():
        if name == benchmark:
            chain = tuple(place[short] for short in links.split())
            assert tuple(found[chain, rule] for rule in ("forward", "rank", "min_max")) == figures


def test_ties_break_the_published_split(recorded):
    chain = ("4o-mini", "70b", "4o")
    done = ForwardChain(chain).decide(panel(recorded, "mmlu", chain, blind=True))
    assert np.bincount(done.expert).tolist() == [700, 415, 416]
