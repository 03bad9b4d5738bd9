"""Anybody's recorded answers, evaluated: what is written, what is said, what is refused."""

import dataclasses
import json
import math
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from askless import policies, schema
from askless.costs import CostModel
from askless.data.recorded import Study, load
from askless.errors import ConfigError, DataError
from askless.evaluation.arrivals import Feedback
from askless.labelling.plan_answers import keep
from askless.monitoring import baseline
from askless.plans import evaluate as evaluating
from askless.plans.boards import Boards
from askless.plans.evaluate import applicable, evaluate
from askless.plans.outcome import outcome_of
from askless.plans.plan import Goal
from askless.plans.planner import make_plan
from askless.report import wording as words
from askless.report.report import headline
from askless.report.report import text_summary as table
from askless.report.rows import policy_rows
from tests.report.report_page import Page

QUICK = ["two_tier", "chain", "chain_forward", "planned", "random"]
CLASSES = ("A", "B", "C")


def made(n=240, experts=3, *, splits=("train", "test"), cost=None, skill=None, text=True, seed=0, one_class=False):
    """Experts of rising skill and price on items of graded difficulty; the surer the likelier right."""
    rng = np.random.default_rng(seed)
    gold, hard = rng.integers(0, 1 if one_class else 3, n), rng.random(n)
    ids = [f"i{i}" for i in range(n)]
    split = [splits[i % len(splits)] for i in range(n)]
    answers = {}
    for j in range(experts):
        ability = skill[j] if skill else 0.5 + 0.15 * j
        chance = np.clip(1.4 * ability - hard * 0.6, 0.02, 0.98)
        right = rng.random(n) < chance
        label = np.where(right, gold, (gold + 1) % 3)
        answers[f"e{j}"] = schema.table(
            "predictions",
            {
                "id": ids,
                "expert": [f"e{j}"] * n,
                "label": [CLASSES[c] for c in label],
                "logprob": np.log(chance).astype(np.float32),
                "cost_usd": np.full(n, cost[j] if cost else 0.001 * 3.0**j),
            },
        )
    examples = schema.table(
        "examples",
        {
            "id": ids,
            "text": [f"item {h:.2f}" for h in hard] if text else ids,
            "label": [CLASSES[c] for c in gold],
            "split": split,
            "group": ["easy" if h < 0.5 else "hard" for h in hard],
        },
    )
    return Study(examples, answers, CLASSES, tuple(answers), CostModel("usd"), text, ("a note",))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    said = []
    summary = evaluate(made(), policies=QUICK, bootstrap=100, seeds=(0, 1), out=out, say=said.append)
    return out, summary, said


def no_nan(value):
    if isinstance(value, dict):
        return all(no_nan(v) for v in value.values())
    if isinstance(value, list | tuple):
        return all(no_nan(v) for v in value)
    return not (isinstance(value, float) and not math.isfinite(value))


def test_every_applicable_policy_is_known_to_the_registry():
    assert applicable(made(text=False)) == [
        k for k in policies.able("studied") if not policies.resolve(k, k).reads_text
    ]
    assert applicable(made(experts=1)) == []


def test_the_metrics_have_the_figures_a_reader_looks_for(done):
    out, summary, _ = done
    assert json.loads((out / "metrics.json").read_text()) == summary
    for expert in summary["experts"].values():
        assert {"quality", "cost_usd_per_1k"} <= set(expert)
    for name in ("two_tier", "chain", "planned", "random"):
        found = summary["policies"][name]
        assert {"quality", "cost_usd_per_1k", "quality_ci", "auc", "auc_hull", "apgr"} <= set(found)
        assert set(found["saving_at_equal_quality"]) == {"0.00", "0.005", "0.01"}
        assert set(found["saving_at_equal_quality"]["0.00"]) == {"value", "ci"}
        assert isinstance(found["auc"], float) and found["quality_ci"][0] <= found["quality"] <= found["quality_ci"][1]
    assert no_nan(summary)


def test_a_policys_own_figures_are_those_of_the_point_that_was_chosen_without_test(done):
    _, summary, _ = done
    for name in ("two_tier", "planned"):
        found = summary["policies"][name]
        assert found["quality"] == found["operating_point"]["quality"]["value"]
        assert found["cost_usd_per_1k"] == found["operating_point"]["cost_per_1k"]["value"]
    assert summary["chosen_on"] == "train, 5-fold cross-fitted"


def test_the_curve_the_decisions_and_the_page_are_written(done):
    out, summary, said = done
    curve = (out / "curve.csv").read_text().splitlines()
    assert curve[0].split(",")[:3] == ["policy", "budget", "seed"]
    decisions = schema.read(out / "decisions.parquet", "decisions")
    assert set(decisions["policy"].to_pylist()) == {*QUICK, "always_e0", "always_e1", "always_e2"}
    per_policy = decisions.group_by(["policy", "seed"]).aggregate([([], "count_all")])
    assert set(per_policy["count_all"].to_pylist()) == {summary["items"]}
    page = (out / "report.html").read_text()
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(re.findall(r' id="([^"]+)"', page))
    assert "a note" in page and "train, 5-fold cross-fitted" in page
    told = [f"{kind}: fitting and replaying ({place} of 5)" for place, kind in enumerate(QUICK, 1)]
    assert said == ["two_tier: trying 3 pairs of experts", *told]


def test_the_table_is_best_first_and_says_the_same_as_the_metrics(done):
    _, summary, _ = done
    lines = table(summary).splitlines()
    assert lines[0].split()[0] == "policy"
    assert {line.split()[0] for line in lines[1:] if line} >= {"two_tier", "chain", "planned", "random", "oracle", "e0"}
    assert "nan" not in "\n".join(lines).lower()
    row = next(line for line in lines if line.startswith("two_tier"))
    assert f"{100 * summary['policies']['two_tier']['quality']:.1f} [" in row


def test_the_same_study_gives_the_same_figures(done, tmp_path):
    _, summary, _ = done
    assert evaluate(made(), policies=QUICK, bootstrap=100, seeds=(0, 1), out=tmp_path) == summary


def test_with_a_valid_split_it_chooses(tmp_path):
    whole = made(360, splits=("train", "valid", "test"))
    summary = evaluate(whole, policies=["two_tier"], bootstrap=20, out=tmp_path)
    assert summary["chosen_on"] == "the valid split"
    assert summary["splits"]["valid"].keys() == set(CLASSES)


def test_test_labels_choose_nothing(tmp_path):
    """Every gold label of test turned wrong changes what is reported, but not what is decided."""
    plain, other = made(), made()
    label = [
        CLASSES[(CLASSES.index(c) + 1) % 3] if s == "test" else c
        for c, s in zip(plain.examples["label"].to_pylist(), plain.examples["split"].to_pylist(), strict=True)
    ]
    at = plain.examples.schema.get_field_index("label")
    turned = plain.examples.set_column(at, plain.examples.schema.field(at), pa.array(label))
    other = Study(turned, plain.answers, CLASSES, plain.experts, plain.cost, True, ())
    decided = []
    for name, one in (("plain", plain), ("turned", other)):
        summary = evaluate(one, policies=QUICK, bootstrap=20, seeds=(0,), out=tmp_path / name)
        rows = schema.read(tmp_path / name / "decisions.parquet", "decisions")
        decided.append((summary["headline"]["policy"], rows.drop_columns("score").to_pydict()))
    assert decided[0] == decided[1]


def test_a_cheaper_expert_that_is_better_is_said(tmp_path):
    summary = evaluate(made(skill=(0.8, 0.5, 0.4)), policies=["two_tier", "planned"], bootstrap=20, out=tmp_path)
    point, said = summary["policies"]["always_e0"]["operating_point"], words.enough(summary)
    assert point["reached"] and said in headline(summary)
    assert said.startswith("e0 alone would do: it is better than e2 (accuracy ")
    assert said.endswith(" for $1.00 per 1,000 items, 88.9 % less.")
    assert words.verdict(summary)[1] == "Reached, as e0 alone does"


def _always_right(study, rows):
    at, field = rows.schema.get_field_index("label"), rows.schema.field("label")
    return rows.set_column(at, field, study.examples["label"])


def test_few_items_do_not_show_that_an_expert_is_as_good(tmp_path):
    """Three items on which all agree were once enough to advise against every LLM, in bold."""
    study = made(8, seed=1)
    study = dataclasses.replace(study, answers={e: _always_right(study, rows) for e, rows in study.answers.items()})
    summary = evaluate(study, policies=["two_tier"], bootstrap=20, seeds=(0,), out=tmp_path)
    assert summary["items"] == 4
    for name in ("always_e0", "always_e1"):
        assert summary["policies"][name]["operating_point"]["quality_difference"] == {"value": 0.0, "ci": [0.0, 0.0]}
        assert not summary["policies"][name]["operating_point"]["reached"]
    assert words.enough(summary) == "" and "would do" not in (tmp_path / "report.html").read_text()
    assert "no LLM call is needed" not in (tmp_path / "report.html").read_text()
    assert words.verdict(summary) == ("missed", "Not certain")
    assert words.ranking(summary)[-1] == (
        "e0 is not worse than e2 here, but 4 items do not show it to be as good within 1.0 points."
    )


def test_the_cost_and_the_saving_of_a_row_are_of_one_point(done):
    """The saving was once read off the whole curve of test, beside the cost of another point."""
    _, summary, _ = done
    lines = table(summary).splitlines()
    assert re.split(r" {2,}", lines[0])[2:4] == ["$ per 1,000", "saved %"]
    bill = summary["policies"]["always_e2"]["cost_per_1k"]
    for row in policy_rows(summary):
        assert row["saved"]["value"] == pytest.approx(1 - row["cost"]["value"] / bill)
        line = next(line for line in lines if line.startswith(row["label"]))
        assert f"  {100 * (1 - row['cost']['value'] / bill):.1f}" in line.replace("-0.0", "0.0")
    page = Page((done[0] / "report.html").read_text())
    assert "Saving read off test" in page.said()
    assert "promises nothing" in page.said()


def test_the_bound_over_costs_lies_above_every_policy_at_every_cost(tmp_path):
    """A bound over shares of items lay under policies that ask nobody but the one who answers."""
    rng = np.random.default_rng(3)
    study = made(400, cost=(0.001, 0.004, 0.006), skill=(0.3, 0.8, 0.75), seed=3)
    answers = {}
    for name, rows in study.answers.items():
        at, field = rows.schema.get_field_index("cost_usd"), rows.schema.field("cost_usd")
        cost = rows["cost_usd"].to_numpy() * rng.uniform(0.2, 5, len(rows))
        answers[name] = rows.set_column(at, field, pa.array(cost))
    study = dataclasses.replace(study, answers=answers)
    evaluate(
        study, policies=["two_tier", "chain", "query_allocator", "planned"], bootstrap=20, seeds=(0,), out=tmp_path
    )
    curve = pd.read_csv(tmp_path / "curve.csv")
    bound = curve[curve.policy == "oracle"].sort_values("cost")
    assert (np.diff(bound.quality) >= 0).all()
    for name, points in curve.groupby("policy"):
        most = np.interp(points.cost, bound.cost, bound.quality, left=0)
        assert (points.quality <= most + 1e-9).all(), name
    assert bound.cost.min() < curve[curve.policy == "always_e0"].cost.min(), "the cheapest is not the same everywhere"


def test_two_experts_are_the_best_pair_and_not_the_cheapest_and_the_costliest(tmp_path):
    """The costliest of many is not always good: cheapest and costliest once lost 17 points."""
    study = made(400, experts=4, skill=(0.45, 0.95, 0.9, 0.3))
    summary = evaluate(study, policies=["two_tier", "random"], bootstrap=20, seeds=(0,), out=tmp_path)
    decisions = schema.read(tmp_path / "decisions.parquet", "decisions")
    assert (
        "Policies for two experts decide between e0 and e1, the best pair where points are chosen." in summary["notes"]
    )
    two_tier = decisions.filter(pc.equal(decisions["policy"], "two_tier"))
    assert set(two_tier["expert"].to_pylist()) <= {"e0", "e1"}
    best = summary["policies"]["always_e1"]["quality"]
    assert summary["policies"]["two_tier"]["peak"]["quality"]["value"] > best - 0.02
    assert summary["policies"]["two_tier"]["apgr"] is None
    two = evaluate(made(), policies=["two_tier"], bootstrap=20, seeds=(0,))
    assert two["policies"]["two_tier"]["operating_point"]["quality"]["value"] > 0.6


def test_an_order_that_is_given_is_replayed_as_it_is():
    """Sorted by price and pruned, a published chain came out 3 points lower."""
    study = made(400, experts=3, skill=(0.6, 0.62, 0.9))
    given = dataclasses.replace(study, experts=("e1", "e0", "e2"), ordered=True)
    summary = evaluate(given, policies=["chain", "chain_forward"], bootstrap=20, seeds=(0,))
    assert (summary["small"], summary["reference"]) == ("e1", "e2")
    board = Boards.of(given)
    chain = evaluating.build("chain", given.experts, "e2", prune=False).fit(board.train.copy(), board.valid.copy())
    asked = [step.expert for step in chain.decide(board.test.copy(blind=True)).steps]
    assert asked == ["e1", "e0", "e2"]


@pytest.mark.slow
def test_thirteen_experts_are_evaluated(tmp_path):
    rng = np.random.default_rng(1)
    study = made(400, experts=13, skill=list(0.4 + 0.5 * rng.random(13)), cost=list(0.0002 * 1.5 ** np.arange(13)))
    summary = evaluate(study, policies=["two_tier", "chain", "planned"], bootstrap=20, seeds=(0,), out=tmp_path)
    assert not any("left out" in note for note in summary["notes"])


def test_a_share_deferred_is_of_two_experts_calls(done):
    _, summary, _ = done
    policies = summary["policies"]
    two = evaluate(made(experts=2), policies=["two_tier"], bootstrap=20, seeds=(0,))
    assert two["policies"]["two_tier"]["apgr"] is not None
    for name in ("chain", "planned", "oracle"):
        assert policies[name]["apgr"] is None and set(policies[name]["cpt"].values()) == {None}
        assert policies[name]["auc"] is not None
    why = {row["name"]: row["why"]["apgr"] for row in policy_rows(summary)}
    assert why["chain"] == "a share deferred is no share of e2's calls: it asks others than e0 and e2"


def test_an_expert_of_one_class_is_named_as_such(tmp_path):
    study = made()
    rows = study.answers["e0"]
    at, field = rows.schema.get_field_index("label"), rows.schema.field("label")
    same = rows.set_column(at, field, pa.array(["B"] * len(rows)))
    study = dataclasses.replace(study, answers=study.answers | {"e0": same})
    summary = evaluate(study, policies=["two_tier"], bootstrap=20, seeds=(0,), out=tmp_path)
    assert {name: expert["only"] for name, expert in summary["experts"].items()} == {"e0": "B", "e1": None, "e2": None}
    assert table(summary).splitlines()[-1] == "e0 (“B”) gives the same answer to every item of test."
    assert "“B” to every item" in Page((tmp_path / "report.html").read_text()).said()


@pytest.mark.parametrize(
    "odd",
    [
        {"n": 24},
        *(
            pytest.param(odd, marks=pytest.mark.slow)
            for odd in (
                {"cost": (0.0,) * 3},
                {"one_class": True},
                {"cost": (0.01,) * 3},
                {"skill": (0.0, 1.4, 1.4)},
                {"experts": 2},
                {"text": False},
            )
        ),
    ],
)
def test_odd_data_give_an_answer_without_a_nan(odd, tmp_path):
    summary = evaluate(made(**odd), bootstrap=20, seeds=(0,), out=tmp_path)
    assert no_nan(summary)
    assert "nan" not in table(summary).lower()
    assert (tmp_path / "report.html").exists()
    assert len(summary["policies"]) > len(summary["experts"])


def test_equal_prices_are_said(tmp_path):
    summary = evaluate(made(cost=(0.01,) * 3), policies=["two_tier"], bootstrap=20, out=tmp_path)
    assert any("cost the same" in note for note in summary["notes"])


def test_one_expert_is_only_measured(tmp_path):
    summary = evaluate(made(experts=1), bootstrap=20, out=tmp_path)
    assert list(summary["policies"]) == ["always_e0"]
    (told,) = (note for note in summary["notes"] if "e0 is the only expert, and there is nothing to decide" in note)
    assert "--small linear trains another" in told and "Left out: two_tier, " in told
    assert no_nan(summary) and table(summary)


def test_a_policy_that_cannot_be_fitted_is_left_out_with_its_reason(tmp_path, monkeypatch):
    def refuse(*_):
        raise ConfigError("It cannot be done.")

    monkeypatch.setattr(evaluating._Sweeps, "of", refuse)
    summary = evaluate(made(), policies=["chain"], bootstrap=20, out=tmp_path)
    assert "chain is left out: It cannot be done." in summary["notes"]


@pytest.mark.parametrize(
    ("options", "splits", "error", "said"),
    [
        ({"reference": "e9"}, ("train", "test"), ConfigError, "Unknown expert 'e9'. Known: e0, e1, e2."),
        ({"policies": ["two_teir"]}, ("train", "test"), ConfigError, "Did you mean 'two_tier'?"),
        ({}, ("test",), DataError, "items: no row in split 'train'."),
        ({}, ("train",), DataError, "items: no row in split 'test'."),
    ],
)
def test_what_cannot_be_meant_is_refused(options, splits, error, said, tmp_path):
    with pytest.raises(error) as raised:
        evaluate(made(splits=splits), out=tmp_path, **options)
    assert said in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_prices_are_those_of_train():
    boards = Boards.of(made())
    assert boards.prices(("e0", "e2")) == pytest.approx([0.001, 0.009])
    assert (len(boards.train), len(boards.valid), len(boards.test)) == (120, 0, 120)
    assert boards.train.total == 0.0


def judged(tmp_path, by="correct", n=300, experts=(0.6, 0.75), seed=0):
    """A study of recordings that say only who was right, by chance alone: nothing tells on which items."""
    rng = np.random.default_rng(seed)
    ids = [f"i{i}" for i in range(n)]
    marks = (rng.random((len(experts), n)) < np.array(experts)[:, None]).astype(float)
    if by == "quality":
        marks = 0.25 + marks / 2
    names = [name for j in range(len(experts)) for name in [f"e{j}"] * n]
    said = {"id": ids * len(experts), "expert": names, by: marks.ravel() if by == "quality" else marks.ravel() == 1}
    cost = [0.001 * 10.0**j for j in range(len(experts)) for _ in ids]
    pq.write_table(pa.table(said | {"cost_usd": cost}), tmp_path / "answers.parquet")
    texts = [f"question {rng.integers(100)}" for _ in ids]
    pq.write_table(pa.table({"id": ids, "text": texts, "split": ["train", "test"] * (n // 2)}), tmp_path / "i.parquet")
    return load(tmp_path / "i.parquet", [tmp_path / "answers.parquet"])


@pytest.mark.parametrize("by", ["correct", "quality"])
def test_no_policy_sees_how_an_answer_was_judged(tmp_path, by):
    """Given as labels, the same judgements made every policy the oracle."""
    study = judged(tmp_path, by)
    done = evaluate(study, bootstrap=50, seeds=(0,), out=tmp_path / "out")
    (told,) = (note for note in done["notes"] if note.startswith("Answers were judged already, and these policies"))
    assert "Left out: " in told and "planned" in told
    tried = {"two_tier", "query_allocator", "chain", "random", "length"}
    assert tried <= set(done["policies"]) <= {"always_e0", "always_e1", "oracle", *applicable(study)}
    best = max(done["policies"][f"always_{e}"]["quality"] for e in ("e0", "e1"))
    assert done["policies"]["oracle"]["quality"] > best + 0.08 * (1 if by == "correct" else 0.5)
    for name in tried:
        reached = [
            point["quality"] for point in (done["policies"][name]["operating_point"], done["policies"][name]["peak"])
        ]
        assert max(each["value"] for each in reached) < best + 0.04, name
    assert (done["kind"], done["quality"], done["classes"]) == ("judged", {"quality": "mean_quality"}.get(by, by), [])
    page = (tmp_path / "out" / "report.html").read_text()
    assert "nan" not in json.dumps(done).lower()
    assert ("Share of answers that were judged right" in page) == (by == "correct")
    assert "F1 of class" not in page
    assert "summary" not in re.sub(r"<[^>]*>", "", page.partition("<main>")[2].partition("</main>")[0].lower())
    assert ("accuracy %" in table(done)) == (by == "correct")


def test_a_plan_on_judged_answers_is_kept(tmp_path):
    """What experts answered is not on record, so nobody knows whether they agree: `plan` once ended here."""
    study = judged(tmp_path, experts=(0.5, 0.9))
    for kind, split in (("two_tier", "train"), ("query_allocator", "test")):
        bundle = keep(make_plan(study, Goal(share=0.5), kinds=(kind,)), study, tmp_path / "plan.yaml")
        known = baseline.read(bundle.folder)
        assert (type(bundle.policy), bundle.experts) == (policies.resolve(kind, kind), ("e0", "e1"))
        assert set(known["agree"].to_pylist()) == {None}
        assert len(known) == study.examples["split"].to_pylist().count(split), "texts that taught are like no others"


def test_a_judged_study_has_no_other_measure(tmp_path):
    with pytest.raises(ConfigError) as caught:
        evaluate(judged(tmp_path), quality="macro_f1")
    assert str(caught.value) == (
        "Quality 'macro_f1' of answers that were judged already. Allowed: correct. Leave it out, or give labels and "
        "gold labels."
    )


def test_a_plan_on_judged_answers(tmp_path):
    plan = make_plan(judged(tmp_path, experts=(0.75, 0.75)), Goal(floor=0.8))
    assert plan.certificate.index is not None
    assert plan.promise.quality[0] < 0.85
    study = judged(tmp_path, experts=(0.75, 0.75), seed=1)
    outcome = outcome_of(plan, Boards.labelled(study).test)
    assert 0.65 < outcome.measured.quality[0] < 0.85
    three = make_plan(judged(tmp_path, experts=(0.5, 0.6, 0.9)), Goal(per_1000=8.0))
    assert set(three.policy.experts) <= {"e0", "e1", "e2"}
    with pytest.raises(DataError, match="a quality of 0.25. Allowed: 0 or 1: a plan counts right answers."):
        make_plan(judged(tmp_path, "quality"), Goal(floor=0.8))


def test_what_learns_while_it_answers_is_beside_the_others_and_changes_no_figure(tmp_path):
    study = made(360)
    alone = evaluate(study, policies=["planned"], bootstrap=20, seeds=(0,))
    summary = evaluate(study, policies=["planned", "bandit"], bootstrap=20, seeds=(0,), orders=2, out=tmp_path)
    found = summary.pop("learning")
    assert summary == alone
    assert "bandit" not in (tmp_path / "curve.csv").read_text()
    assert (found["items"], found["orders"], found["plan"]) == (180, 2, "planned")
    assert [(each["policy"], each["begun"]) for each in found["learners"]] == [("bandit", 0), ("bandit", 180)]
    assert all(b["highest"] <= 1 + 1e-9 for each in found["learners"] for b in each["budgets"])
    assert no_nan(found)
    assert 'id="learning-part"' in (tmp_path / "report.html").read_text()


def test_without_a_plan_it_is_held_against_the_experts_alone():
    found = evaluate(made(), policies=["bandit"], bootstrap=20, orders=2, feedback=Feedback(0.5, 30))["learning"]
    assert (found["plan"], found["share"], found["late"]) == (None, 0.5, 30)
    assert set(found["learners"][0]["budgets"][0]["beside"]) == {"single", "mix"}


def test_what_learns_needs_labels_several_experts_and_prices():
    equal = evaluate(made(cost=[1.0, 1.0, 1.0]), policies=["bandit", "random"], bootstrap=20, seeds=(0,))
    assert "learning" not in equal
    assert "All experts cost the same, and these decide by cost. Left out: bandit." in equal["notes"]
    with pytest.raises(ConfigError, match="Unknown policy|is not replayed"):
        evaluate(made(experts=1), policies=["bandit"], bootstrap=20)
    assert "bandit" not in applicable(made())
