"""The published two-tier figures, and what our own threshold buys, on recorded answers of nine LLMs."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from askless import schema
from askless.costs import CostModel
from askless.panel import Panel
from askless.policies.base import Budget
from askless.policies.two_tier import TwoTier
from askless.policies.two_tier_online import OnlineTwoTier
from benchmarks.online_areas import online_area, random_area
from tests.realdata import real_folder

pytestmark = pytest.mark.realdata
CLASSES = ("A", "B", "C", "D")
LETTERS = pa.array(CLASSES)
EIGHT, SEVENTY, LARGEST, MINI, FULL = "llama3.1-8b", "llama3.1-70b", "llama3.1-405b", "gpt-4o-mini", "gpt-4o"


@pytest.fixture(scope="module")
def folder():
    found = real_folder()
    return Path(found, "recorded")


class Recorded:
    """One model's recorded answers, by item; the label is the first letter of the answer."""

    def __init__(self, responses, model):
        self.model = model
        self.table = responses.filter(pc.equal(responses["model"], model))
        self.rows = {item: row for row, item in enumerate(self.table["item"].to_pylist())}

    def taken(self, items):
        return self.table.take(pa.array([self.rows[item] for item in items]))

    def answer(self, examples):
        mine = self.taken([int(key) for key in examples["id"].to_pylist()])
        letter = pc.utf8_upper(pc.utf8_slice_codeunits(mine["answer"], 0, 1))
        label = pc.if_else(pc.is_in(letter, LETTERS), letter, pa.scalar(None, pa.string()))
        columns = {
            "id": examples["id"].to_pylist(),
            "expert": [self.model] * len(mine),
            "label": label.to_pylist(),
            "logprob": mine["raw_logprob"].cast(pa.float32()).to_pylist(),
            "cost_usd": mine["cost_usd"].to_pylist(),
            "error": ["no letter" if said is None else None for said in label.to_pylist()],
        }
        return schema.table("predictions", columns)


@pytest.fixture(scope="module")
def recorded(folder):
    def read(benchmark, split):
        items, responses = (pq.read_table(folder / f"{benchmark}_{part}.parquet") for part in ("items", "responses"))
        keep = [pc.equal(t["split"], split) for t in (items, responses)]
        return items.filter(keep[0]), responses.filter(keep[1])

    return read


def stated(recorded, benchmark, pair):
    """Scores of the small one, and which answers of each are right by the records' own mark, in the stored order."""
    items, responses = recorded(benchmark, "test")
    small, large = (Recorded(responses, model).taken(items["item"].to_pylist()) for model in pair)
    right = [np.asarray(t["correct"].to_numpy()) == 1 for t in (small, large)]
    return np.exp(small["raw_logprob"].to_numpy()), *right


@pytest.mark.parametrize(
    ("benchmark", "pair", "large_price", "area", "random"),
    [
        ("medmcqa", (EIGHT, SEVENTY), 5, 0.6355, 0.6177),
        ("medmcqa", (EIGHT, LARGEST), 15, 0.6610, 0.6350),
        ("medmcqa", (MINI, FULL), 17, 0.7367, 0.7131),
        ("medmcqa", (MINI, FULL), 5, 0.7323, 0.7131),
        ("mmlu", (EIGHT, SEVENTY), 5, 0.7464, 0.7221),
        ("mmlu", (EIGHT, LARGEST), 15, 0.7785, 0.7388),
        ("mmlu", (MINI, FULL), 17, 0.8130, 0.7885),
        ("mmlu", (MINI, FULL), 5, 0.8094, 0.7885),
    ],
)
def test_the_published_area(recorded, benchmark, pair, large_price, area, random):
    score, small, large = stated(recorded, benchmark, pair)
    assert round(online_area(score, small, large, (1.0, float(large_price)), 4), 4) == area
    assert round(random_area(small, large, (1.0, float(large_price))), 4) == random


def panel(recorded, benchmark, pair, split, *, rows=None, blind=False):
    """The first `rows` of a split, in dollars."""
    items, responses = recorded(benchmark, split)
    items = items.slice(0, rows)
    text = {"text": items["prompt"].to_pylist(), "split": [split] * len(items), "label": items["gold"].to_pylist()}
    table = schema.table("examples", {"id": [str(item) for item in items["item"].to_pylist()], **text})
    return Panel(table, {model: Recorded(responses, model) for model in pair}, CostModel(), CLASSES, blind=blind)


@pytest.mark.parametrize("benchmark", ["medmcqa", "mmlu"])
@pytest.mark.parametrize("pair", [(EIGHT, SEVENTY), (EIGHT, LARGEST), (MINI, FULL)])
@pytest.mark.parametrize("kind", [TwoTier, OnlineTwoTier])
def test_the_policies_buy_more_than_a_mix_of_the_two(recorded, benchmark, pair, kind):
    train, none = (panel(recorded, benchmark, pair, "train", rows=rows) for rows in (None, 0))
    test, gold = panel(recorded, benchmark, pair, "test", blind=True), panel(recorded, benchmark, pair, "test").gold
    policy = kind(pair).fit(train, none)
    small, large = ((test.copy().ask(model).label == gold).mean() for model in pair)
    base, gains = test.copy(), []
    seen = policy.look(base)
    for share in np.linspace(0.1, 0.7, 7):
        done = policy.decide(base.copy(), Budget(share=share), seen)
        gains.append((done.label == gold).mean() - (small + done.deferral_rate * (large - small)))
    assert np.mean(gains) > 0.01
