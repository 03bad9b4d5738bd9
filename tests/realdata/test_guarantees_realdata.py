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

    def of(benchmark, experts, floor, bound="clopper_pearson"):
        key = (benchmark, experts, floor, bound)
        if key not in known:
            plan = plan_on(boards[benchmark, "train"], experts, Goal(floor=floor), bound=bound)
            known[key] = outcome_of(plan, boards[benchmark, "test"])
        return known[key]

    return of


def settings(came, teams, floor, bound="clopper_pearson"):
    """Who kept the floor or was withdrawn for a shift, how many kept it, and the mean saving."""
    found = [came(b, experts, floor, bound) for b in BENCHMARKS for experts in teams]
    saved = [1 - f.measured.cost[0] / f.measured.reference_cost for f in found]
    return [f.kept or f.shift.alarm for f in found], sum(f.kept for f in found), float(np.mean(saved))


@pytest.mark.parametrize(
    ("teams", "kept", "saving"),
    [
        (PAIRS, 8, 0.22),
        *(pytest.param(*more, marks=pytest.mark.slow) for more in ((CHAINS, 9, 0.28), (PAIRS + CHAINS, 17, 0.25))),
    ],
)
def test_three_points_are_kept_or_withdrawn_in_every_setting_and_save(came, teams, kept, saving):
    """Measured: pairs 8 of 8 kept and 24 % saved, chains 9 of 10 and 31 %; the one is MedMCQA's, and withdrawn."""
    held, number, saved = settings(came, teams, 0.97)
    assert all(held)
    assert number >= kept
    assert saved >= saving


@pytest.mark.slow
def test_five_points_save_more(came):
    """Measured: 18 of 18 kept, 38 % saved."""
    _, kept, saved = settings(came, PAIRS + CHAINS, 0.95)
    assert kept == 18
    assert saved >= 0.33


@pytest.mark.slow
def test_the_exact_bound_saves_more_and_breaks_where_the_alarm_was_raised(came):
    """Measured: 17 of 18 kept, 31 % saved; the one is MedMCQA's, whose promise was withdrawn."""
    held, kept, saved = settings(came, PAIRS + CHAINS, 0.97, "exact")
    assert all(held)
    assert kept >= 16
    assert saved >= 0.28


@pytest.mark.slow
def test_three_hundred_labels_are_mostly_too_few_for_a_point(came):
    """Measured: 16 of 18 kept, 5 % saved; the two are MedMCQA's, and withdrawn."""
    held, kept, saved = settings(came, PAIRS + CHAINS, 0.99)
    assert all(held)
    assert kept >= 16
    assert saved <= 0.1


@pytest.mark.parametrize("experts", PAIRS, ids="-".join)
def test_the_shift_of_medmcqa_withdraws_the_promise_and_mmlu_lets_it_stand(came, experts):
    moved, still = came("medmcqa", experts, 0.97), came("mmlu", experts, 0.97)
    assert moved.shift.alarm
    assert moved.words()[-1].startswith("The promise is withdrawn: ")
    assert not still.shift.alarm
    assert still.words()[-1].startswith("No shift seen, the promise stands (")
