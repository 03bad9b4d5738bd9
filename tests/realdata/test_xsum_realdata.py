"""Who writes the summary, on the recorded summaries of XSum: what the published rule costs, what ours finds."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from askless import schema
from askless.costs import CostModel
from askless.evaluation import curves
from askless.panel import Panel
from askless.policies.base import Budget
from askless.policies.summaries.expected_gain import SummaryGain
from askless.policies.summaries.published import PublishedSummary
from askless.policies.summaries.regression import Stacked
from askless.text.embeddings import Vectors, build
from askless.text.rouge import rouge
from tests.realdata import real_folder

pytestmark = pytest.mark.realdata
PAIR, SECONDS = ("small", "large"), (0.42, 1.44)
WAYS = (
    {"look_at": "input"},
    pytest.param({"look_at": "small"}, marks=pytest.mark.slow),
    pytest.param({"look_at": "small", "straight": False}, marks=pytest.mark.slow),
)


@pytest.fixture(scope="module")
def folder():
    found = real_folder()
    return Path(found)


@pytest.fixture(scope="module")
def vectors(folder, tmp_path_factory):
    scratch = tmp_path_factory.mktemp("vectors") / "glove"
    return Vectors.open(build(folder / "glove" / "glove.6B.100d.top2717.txt", scratch, 100, lower=True))


@pytest.fixture(scope="module", autouse=True)
def learnt_once():
    """A regression of the same rows is learnt once: the ways to decide share what they learn, not their rules."""
    fit, known = Stacked.fit, {}

    def once(self, x, y, given=None):
        arrays = [hashlib.sha256(np.ascontiguousarray(a)).digest() for a in (x, y, given) if a is not None]
        key = (self.trees, self.folds, self.random_state, *arrays)
        if key not in known:
            known[key] = vars(fit(self, x, y, given)).copy()
        vars(self).update(known[key])
        return self

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stacked, "fit", once)
        yield


class Said:
    def __init__(self, table):
        self.table = table
        self.at = {name: row for row, name in enumerate(table["id"].to_pylist())}

    def answer(self, examples):
        return self.table.take(pa.array([self.at[name] for name in examples["id"].to_pylist()]))


def board(folder, file, small, large):
    """The documents that are not empty, two systems' summaries, the published mean seconds."""
    with open(folder / "xsum" / f"{file}.jsonl", encoding="utf-8") as lines:
        records = [record for record in map(json.loads, lines) if record["input"].strip()]
    names, references = [f"d{i}" for i in range(len(records))], [record["ground_truth"] for record in records]
    experts = {}
    for name, key, seconds in zip(PAIR, (small, large), SECONDS, strict=True):
        texts = [record[key] for record in records]
        quality = rouge(texts, references, stemmer=True).astype(np.float32)
        columns = {"text": texts, "quality": quality, "seconds": [seconds] * len(names)}
        experts[name] = Said(schema.table("predictions", {"id": names, "expert": [name] * len(names), **columns}))
    rows = {"text": [record["input"] for record in records], "reference": references, "split": ["test"] * len(names)}
    return Panel(schema.table("examples", {"id": names, **rows}), experts, CostModel("seconds"), ())


def qualities(panel):
    twin = panel.copy()
    return np.stack([twin.quality(twin.ask(name)) for name in PAIR], axis=1)


def folds(panel, seed):
    """Train and blind test panels of five folds, with the test rows."""
    fold = np.random.default_rng(seed).permutation(len(panel)) % 5
    for held in range(5):
        yield panel.take(fold != held), panel.take(fold == held, blind=True), np.flatnonzero(fold == held)


def decided(panel, make, budgets, seed=0):
    """Cost and quality of every document at every budget, each decided by a policy that has not seen it."""
    quality, cost, had = qualities(panel), *np.empty((2, len(panel), len(budgets)))
    for train, test, rows in folds(panel, seed):
        policy = make(seed).fit(train, train.take(np.arange(0)))
        seen = policy.look(test)
        for b, budget in enumerate(budgets):
            done = policy.decide(test.copy(), budget, seen)
            cost[rows, b], had[rows, b] = done.cost, quality[rows, done.expert]
    return cost, had


def test_the_published_rule_costs_more_than_the_large_one_and_is_no_better(folder, vectors):
    panel = board(folder, "xsum_test1000", "nn_generation", "generation")
    cost, had = decided(panel, lambda seed: PublishedSummary(PAIR, vectors), [None])
    # Both summaries, and some tenths of a millisecond that the decider itself takes.
    assert (cost > sum(SECONDS)).all()
    assert cost.mean() == pytest.approx(sum(SECONDS), rel=0.1)
    assert sum(SECONDS) / SECONDS[1] - 1 == pytest.approx(0.29, abs=0.005)
    assert had.mean() <= qualities(panel)[:, 1].mean() + 1e-9


@pytest.mark.slow
def test_the_document_alone_tells_a_little_of_who_gains(folder, vectors):
    panel = board(folder, "xsum_test1000", "nn_generation", "generation")
    weak, strong = qualities(panel).mean(axis=0)
    assert (round(100 * weak, 1), round(100 * strong, 1)) == (25.2, 40.0)
    budgets = [Budget(per_1000=1000 * c) for c in np.linspace(0.43, 1.45, 12)]
    areas = []
    for seed in range(3):
        cost, had = decided(panel, lambda seed: SummaryGain(PAIR, vectors, random_state=seed), budgets, seed)
        assert 1000 * cost.mean(axis=0) == pytest.approx([b.value for b in budgets], abs=60)
        area = curves.area(cost.mean(axis=0), had.mean(axis=0), *SECONDS)
        areas.append(100 * (area - curves.line_area(weak, strong)))
    assert 0 < np.mean(areas) < 1


@pytest.mark.parametrize("options", WAYS)
def test_an_expensive_expert_that_loses_is_not_asked_and_its_whole_bill_is_saved(folder, vectors, options):
    panel = board(folder, "xsum_zeroshot500", "nn_generation", "generation")
    assert len(panel) == 499
    assert qualities(panel).mean(axis=0) == pytest.approx([0.395, 0.205], abs=0.001)
    for train, test, _ in folds(panel, 0):
        policy = SummaryGain(PAIR, vectors, **options).fit(train, train.take(np.arange(0)))
        assert policy.single_ == "small"
        assert "and is worse: -0." in policy.finding()
        assert policy.finding().endswith("small answers all.")
        for budget in (None, Budget(price=0.0), Budget(price=0.1)):
            done = policy.decide(test.copy(), budget)
            assert not done.asked[:, 1].any()
            assert done.cost.mean() == pytest.approx(SECONDS[0], abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("options", WAYS)
def test_where_the_inputs_tell_nothing_nothing_is_lost(folder, vectors, options):
    panel = board(folder, "xsum_zeroshot500", "nn_generation", "t0")
    quality = qualities(panel)
    assert (quality[:, 1] > quality[:, 0]).mean() == pytest.approx(0.386, abs=0.002)
    assert quality.max(axis=1).mean() == pytest.approx(0.438, abs=0.001)
    _, had = decided(panel, lambda seed: SummaryGain(PAIR, vectors, **options), [None])
    assert had.mean() > quality[:, 0].mean() - 0.002
