"""Promises made on the train split of recorded answers of real LLMs, and what came of them on the test split."""

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from askless import schema
from askless.costs import CostModel
from askless.experts import Setting
from askless.experts.recorded import RecordedExpert
from askless.panel import Panel
from askless.plans.outcome import outcome_of
from askless.plans.plan import Goal
from askless.plans.planner import plan_on
from tests.realdata import real_folder

pytestmark = pytest.mark.realdata
CLASSES = ("A", "B", "C", "D")
EIGHT, SEVENTY, LARGEST, MINI, FULL = "llama3.1-8b", "llama3.1-70b", "llama3.1-405b", "gpt-4o-mini", "gpt-4o"
PAIRS = [(EIGHT, SEVENTY), (EIGHT, LARGEST), (SEVENTY, LARGEST), (MINI, FULL)]
CHAINS = [
    (EIGHT, SEVENTY, LARGEST),
    (EIGHT, MINI, FULL),
    (MINI, SEVENTY, FULL),
    ("llama3.2-3b", EIGHT, SEVENTY),
    (EIGHT, SEVENTY, MINI, FULL, LARGEST),
]
BENCHMARKS = ("mmlu", "medmcqa")


@pytest.fixture(scope="module")
def boards():
    """For each benchmark and split a panel of all nine models, every answer at hand."""
    folder = real_folder()
    return {
        (benchmark, split): board(Path(folder, "recorded"), benchmark, split)
        for benchmark in BENCHMARKS
        for split in ("train", "test")
    }


def board(folder, benchmark, split):
    items, responses = (pq.read_table(folder / f"{benchmark}_{part}.parquet") for part in ("items", "responses"))
    items, responses = (t.filter(pc.equal(t["split"], split)) for t in (items, responses))
    rows = {"id": named(items), "text": items["prompt"], "label": items["gold"], "split": items["split"]}
    experts = {}
    for model in pc.unique(responses["model"]).to_pylist():
        said = responses.filter(pc.equal(responses["model"], model))
        letter = [str(answer or "")[:1].upper() for answer in said["answer"].to_pylist()]
        columns = {
            "id": named(said),
            "expert": [model] * len(said),
            "label": [x if x in CLASSES else None for x in letter],
            "error": [None if x in CLASSES else "no letter" for x in letter],
            "logprob": said["raw_logprob"].to_pylist(),
            "cost_usd": said["cost_usd"].to_pylist(),
        }
        table = schema.table("predictions", columns, {"classes": list(CLASSES)})
        experts[model] = RecordedExpert(Setting(model, benchmark, CLASSES), table=table)
    plain = {k: v if isinstance(v, list) else v.to_pylist() for k, v in rows.items()}
    whole = Panel(schema.table("examples", plain), experts, CostModel(), CLASSES)
    for model in experts:
        whole.ask(model)
    return whole.take(np.arange(len(whole)))


def named(table):
    return [f"q{item}" for item in table["item"].to_pylist()]


@pytest.fixture(scope="module")
def came(boards):
    """What came of a plan for a floor, by benchmark and experts; planned once, each on train."""
    known = {}

    def of(benchmark, experts, floor, bound="exact"):
        key = (benchmark, experts, floor, bound)
        if key not in known:
            plan = plan_on(boards[benchmark, "train"], experts, Goal(floor=floor), bound=bound)
            known[key] = outcome_of(plan, boards[benchmark, "test"])
        return known[key]

    return of


def settings(came, teams, floor, bound="exact"):
    """Who kept the floor or was withdrawn for a shift, how many kept it, and the mean saving."""
    found = [came(b, experts, floor, bound) for b in BENCHMARKS for experts in teams]
    saved = [1 - f.measured.cost[0] / f.measured.reference_cost for f in found]
    return [f.kept or f.shift.alarm for f in found], sum(f.kept for f in found), float(np.mean(saved))


def test_three_points_are_kept_in_every_pair_and_save(came):
    """Measured: 8 of 8 kept, 30 % saved."""
    held, kept, saved = settings(came, PAIRS, 0.97)
    assert all(held)
    assert kept == 8
    assert saved >= 0.27


@pytest.mark.slow
@pytest.mark.parametrize(
    ("floor", "bound", "kept", "least", "most"),
    [
        (0.95, "exact", 18, 0.44, 0.55),
        (0.97, "exact", 17, 0.33, 0.45),
        (0.97, "clopper_pearson", 17, 0.25, 0.33),
        (0.99, "exact", 15, 0.0, 0.15),
    ],
)
def test_floors_are_kept_or_withdrawn_in_every_setting_and_save(came, floor, bound, kept, least, most):
    """Measured: 47, 36, 28 and 10 % saved; all that were broken are MedMCQA's, and withdrawn, by either bound."""
    held, number, saved = settings(came, PAIRS + CHAINS, floor, bound)
    assert all(held)
    assert number >= kept
    assert least <= saved <= most


@pytest.mark.parametrize("experts", PAIRS, ids="-".join)
def test_the_shift_of_medmcqa_withdraws_the_promise_and_mmlu_lets_it_stand(came, experts):
    moved, still = came("medmcqa", experts, 0.97), came("mmlu", experts, 0.97)
    assert moved.shift.alarm
    assert moved.words()[-1].startswith("The promise is withdrawn: ")
    assert not still.shift.alarm
    assert still.words()[-1].startswith("No shift seen, the promise stands (")
