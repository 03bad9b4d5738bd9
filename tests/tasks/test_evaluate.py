"""What the evaluation writes, held against each other."""

import html
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from askless import config, schema
from askless.bundles.bundle import Bundle
from askless.errors import DataError
from askless.report import wording as words
from askless.text.embeddings import Vectors
from tasks.evaluate import Inputs, chosen_headline, evaluate_policies, fit_all, headline_figures, of_the_demo
from tests.pipeline import LLM, TEAM, small_params

REPORTS = "reports/olhs"
FILES = ["curve.csv", "curve.png", "headline.json", "metrics.json", "reliability.png", "report.html"]


@pytest.fixture(scope="module")
def summary(built):
    return json.loads((built / REPORTS / "metrics.json").read_text())


def test_every_file_is_there_and_no_half_written_one(built):
    assert sorted(p.name for p in (built / REPORTS).iterdir() if p.is_file()) == FILES


def test_experts_teams_policies_and_bounds_are_compared(summary):
    experts = ["mlp", "linear", "majority", LLM]
    assert list(summary["experts"]) == [*experts, f"{TEAM}-network"]
    fixed = {f"always_{expert}" for expert in experts}
    named = set(small_params()["policies"]["olhs"]) - {"bandit"}
    assert set(summary["policies"]) == fixed | {TEAM, "published", "oracle"} | named
    assert summary["policies"]["oracle"]["auc"] >= summary["policies"][TEAM]["auc"]


def test_what_learns_while_it_answers_is_replayed_beside_them(built, summary):
    found = summary["learning"]
    (learner,) = found["learners"]
    assert (learner["policy"], learner["begun"], found["plan"], found["orders"]) == ("bandit", 0, "planned", 10)
    assert (found["items"], found["trained"]) == (summary["items"], ["mlp"])
    assert list(learner["budgets"][0]["course"]["asked"]) == ["mlp", LLM]
    assert all(b["highest"] <= 1 + 1e-9 for b in learner["budgets"])
    assert 'id="learning-part"' in (built / REPORTS / "report.html").read_text()
    assert not (built / REPORTS / "policies/bandit").exists()


def test_what_is_of_the_demo_is_said_and_how_many_words_are_known(built, summary):
    assert summary["demo"] == ["data", "word vectors", LLM]
    (note,) = (note for note in summary["notes"] if note.startswith("The word vectors know "))
    test = schema.rows_in(schema.read(built / "data/prepared/olhs/examples.parquet", "examples"), "test")
    said = [word for text in test["text"].to_pylist() for word in text.split()]
    known = set(Vectors.open(built / "data/vectors/olhs").vocabulary.words())
    share = 100 * np.mean([word in known for word in said])
    assert note == f"The word vectors know {share:.1f} % of the words of the test texts."


@pytest.mark.parametrize(
    ("source", "vectors", "model", "found"),
    [
        ("csv", "glove", "Qwen/Qwen2", []),
        ("csv", "demo", "Qwen/Qwen2", ["word vectors"]),
        ("csv", "glove", "demo:xs", ["llm"]),
        ("demo", "demo", "demo:xs", ["data", "word vectors", "llm"]),
    ],
)
def test_parts_of_the_demo_on_texts_of_ones_own(source, vectors, model, found):
    """The banner was once raised by the data alone."""
    task = SimpleNamespace(source=SimpleNamespace(kind=source), vectors=SimpleNamespace(kind=vectors))
    settings = SimpleNamespace(llms=lambda _: ("llm",), expert=lambda _: {"model": model})
    assert of_the_demo(SimpleNamespace(name="olhs", task=task, settings=settings)) == found
    said = words.demo({"demo": found})
    assert bool(said) == bool(found)
    if found == ["word vectors"]:
        assert said == "Word vectors of the demo on texts of your own: these figures say nothing of real ones."


def test_auto_is_what_valid_chose_among_what_can_be_registered():
    def policy(kept=True, alone=True, first="small", brings=False):
        return {0: (SimpleNamespace(kept=kept, decides_alone=alone, experts=(first, "llm"), brings=brings), {})}

    fitted = {
        "a": policy(first="a-network", brings=True),
        "b": policy(),
        "chain": policy(alone=False),
        "learned": policy(kept=False),
    }
    areas = {"a": 0.7, "b": 0.8, "chain": 0.9, "learned": 0.95, "always_llm": 1.0}
    found = SimpleNamespace(best=lambda names: max(names, key=areas.__getitem__, default=None))

    def chosen(headline, names, teams=()):
        inputs = SimpleNamespace(
            name="task",
            evaluate=SimpleNamespace(headline=headline, reference="llm"),
            train=SimpleNamespace(teams=dict.fromkeys(teams), small="small"),
            settings=SimpleNamespace(policies={"task": dict.fromkeys(names)}),
        )
        return chosen_headline(inputs, fitted, found)

    assert chosen("auto", ["b", "chain", "learned"], teams=["a"]) == "b"
    assert chosen("auto", ["chain", "learned"], teams=["a"]) == "a"
    assert chosen("auto", ["chain", "learned"]) == "learned"
    assert chosen("auto", []) == "always_llm"
    assert chosen("a", ["b"]) == "a"


def test_a_team_answers_under_a_name_of_its_own_and_is_judged_by_what_its_own_network_says(built, summary):
    network = f"{TEAM}-network"
    assert (summary["small"], summary["first"]) == ("mlp", network)
    rows = schema.rows_in(schema.read(built / "data/prepared/olhs/examples.parquet", "examples"), "test")
    gold = np.array(rows["label"].to_pylist())
    bundles = [Bundle.load(built / f"models/olhs/teams/{TEAM}/seed-{seed}") for seed in (67, 68)]
    right = np.stack([np.array(bundle.small.answer(rows)["label"].to_pylist()) == gold for bundle in bundles])
    assert {bundle.small.name for bundle in bundles} == {network}
    assert summary["experts"][network]["quality"] == pytest.approx(right.mean())
    decisions = schema.read(built / "data/decisions/olhs.parquet", "decisions").to_pandas()
    of_team = decisions[decisions["policy"] == TEAM]
    assert set(of_team["expert"]) == {network, LLM}
    assert {name for asked in of_team["asked"] for name in asked} == {network, LLM}
    assert summary["policies"][TEAM]["apgr"] is not None
    outcomes = {row["outcome"]: row["share"] for row in summary["misrouted"]}
    network_right = ("kept, small right", "asked for nothing", "asked and misled")
    assert sum(outcomes[name] for name in network_right) == pytest.approx(right.mean())
    assert list(summary["groups"][0]["quality"]) == [network, LLM, TEAM]
    page = (built / REPORTS / "report.html").read_text()
    assert f"(the rest stay with {network})" in page and f"beside what {network} and {LLM} would have" in page


def test_the_compact_figures_are_those_of_the_headline(built, summary):
    figures = json.loads((built / REPORTS / "headline.json").read_text())
    assert figures == headline_figures(summary)
    assert figures["quality_reference"] == pytest.approx(summary["experts"][LLM]["accuracy"]["value"])
    assert figures["quality_small"] == pytest.approx(summary["experts"]["mlp"]["accuracy"]["value"])
    assert len(figures) <= 10
    assert all(value is None or isinstance(value, int | float) for value in figures.values())


def test_decisions_agree_with_the_curve_and_keep_within_their_budget(built, summary):
    decisions = schema.read(built / "data/decisions/olhs.parquet", "decisions").to_pandas()
    curve = pd.read_csv(built / REPORTS / "curve.csv")
    points = {"chain_forward", "chain_rank", "chain_random"}
    swept = {TEAM, "published", *small_params()["policies"]["olhs"]} - points - {"bandit"}
    assert set(decisions["policy"]) == swept
    assert sorted(set(decisions["budget"])) == [0.2, 0.5]
    assert len(decisions) == len(swept) * 2 * 2 * summary["items"]
    asked = decisions.assign(deferral_rate=[float(LLM in names) for names in decisions["asked"]])
    keys = ["policy", "budget", "seed"]
    rates = asked.groupby(keys)[["deferral_rate", "cost"]].mean()
    points = curve.set_index(keys).loc[rates.index]
    pd.testing.assert_frame_equal(
        rates, points[["deferral_rate", "cost"]], check_names=False, check_index_type=False, rtol=1e-6
    )
    random = rates.loc["random"]["deferral_rate"]
    assert random.to_numpy() == pytest.approx(random.index.get_level_values("budget"), abs=0.12)


@pytest.mark.slow
def test_the_same_inputs_give_the_same_figures(tmp_path, built):
    data = built / "data"
    evaluate_policies.fn(
        "olhs",
        str(built / "params.yaml"),
        str(data / "prepared/olhs/examples.parquet"),
        str(data / "predictions/olhs"),
        str(built / "models/olhs"),
        str(data / "vectors/olhs"),
        str(tmp_path),
        str(tmp_path / "decisions.parquet"),
    )

    def steady(path):
        """Without the small model's own seconds, which are measured as it answers."""
        summary = json.loads(path.read_text())
        return {expert: values["macro_f1"] for expert, values in summary["experts"].items()} | {
            policy: (values["quality"], values["points"][-1]["deferral_rate"])
            for policy, values in summary["policies"].items()
        }

    assert steady(tmp_path / "metrics.json") == steady(built / REPORTS / "metrics.json")


@pytest.mark.parametrize("expert", ["mlp", "linear", "majority"])
def test_no_policy_is_fitted_on_what_an_expert_says_of_rows_it_learnt_from(expert, tmp_path, built):
    predictions = shutil.copytree(built / "data/predictions/olhs", tmp_path / "predictions")
    path = predictions / "trained" / expert / "seed-67.parquet"
    said = schema.read(path, "predictions")
    schema.write(schema.with_meta(said, "predictions", {"task": "olhs", "classes": ["0", "1"]}), path, "predictions")
    rows = schema.read(built / "data/prepared/olhs/examples.parquet", "examples")
    settings = config.load(built / "params.yaml")
    inputs = Inputs("olhs", settings, rows, predictions, built / "models/olhs", built / "data/vectors/olhs")
    with pytest.raises(DataError) as error:
        fit_all(inputs)
    assert str(error.value) == (
        f"{path}: the train split as a model of '{expert}' answers it that has learnt from it. Allowed: answers out of "
        "fold, for policies are fitted on them. Run dvc repro train@olhs."
    )


@pytest.fixture(scope="module")
def of_summaries(summarised):
    return json.loads((summarised / "reports/xsum/metrics.json").read_text())


def test_summaries_go_through_the_same_stage_into_the_same_files(summarised, of_summaries):
    assert sorted(p.name for p in (summarised / "reports/xsum").iterdir() if p.is_file()) == FILES
    assert list(of_summaries["experts"]) == ["extractive", "lead", LLM]
    assert of_summaries["experts"][LLM]["rougeL"]["value"] > of_summaries["experts"]["extractive"]["rougeL"]["value"]
    assert of_summaries["experts"]["extractive"]["rouge1"]["value"] > 0
    fixed = {f"always_{expert}" for expert in of_summaries["experts"]}
    assert set(of_summaries["policies"]) == fixed | {"oracle", *small_params("xsum")["policies"]["xsum"]}
    best = max(values["auc"] or 0 for values in of_summaries["policies"].values())
    assert of_summaries["policies"]["oracle"]["auc"] == best
    assert any(note.startswith(f"{LLM} costs") for note in of_summaries["notes"])


def test_the_published_variant_pays_for_both_and_ours_does_not(of_summaries):
    experts, policies = of_summaries["experts"], of_summaries["policies"]
    both = sum(experts[e]["cost_per_1k"]["value"] for e in ("extractive", LLM))
    paid = policies["published"]["points"][0]["cost_per_1k"]["value"]
    assert paid >= both or paid == pytest.approx(both)
    asked = policies["gain"]["points"][0]
    assert asked["deferral_rate"] == pytest.approx(0.2, abs=0.1)
    assert asked["cost_per_1k"]["value"] < 0.5 * both


def test_decisions_about_summaries_name_the_expert_and_no_label(summarised, of_summaries):
    decisions = schema.read(summarised / "data/decisions/xsum.parquet", "decisions")
    assert decisions["label"].null_count == decisions.num_rows
    assert set(decisions["expert"].to_pylist()) == {"extractive", LLM}
    assert decisions.num_rows % of_summaries["items"] == 0


def test_the_report_shows_documents_side_by_side_and_no_post(summarised, built):
    documents = schema.read(summarised / "data/prepared/xsum/examples.parquet", "examples")
    page = (summarised / "reports/xsum/report.html").read_text()
    test = schema.rows_in(documents, "test")["reference"].to_pylist()
    assert sum(html.escape(reference) in page for reference in test) >= 3
    posts = schema.read(built / "data/prepared/olhs/examples.parquet", "examples")["text"].to_pylist()
    classified = (built / REPORTS / "report.html").read_text()
    assert not any(html.escape(post) in classified for post in posts if len(post) > 20)
