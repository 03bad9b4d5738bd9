"""Small experts and teams, for every seed."""

import json
import shutil

import numpy as np
import pytest

from askless import config, schema
from askless.bundles.bundle import Bundle
from askless.bundles.decide import decide
from askless.errors import ConfigError
from askless.text.embeddings import Vectors
from askless.text.rouge import rouge
from tasks.evaluate import Inputs, choices
from tasks.train import Kept, small_expert, train_expert, train_team
from tests.evaluation.test_distillation import answered
from tests.pipeline import LLM, TEAM, small_params, write_params

EXAMPLES, VECTORS = "data/prepared/olhs/examples.parquet", "data/vectors/olhs"


@pytest.mark.parametrize(
    ("expert", "seeds"), [("mlp", [67, 68]), ("linear", [67]), ("majority", [67])], ids=["small", "linear", "majority"]
)
def test_the_small_expert_learns_and_answers_with_every_seed_and_a_baseline_with_the_first(built, expert, seeds):
    settings = config.load(built / "params.yaml")
    models, trained = built / "models/olhs" / expert, built / "data/predictions/olhs/trained" / expert
    assert sorted(p.name for p in models.iterdir()) == [f"seed-{seed}" for seed in seeds]
    assert sorted(p.name for p in trained.iterdir()) == [f"seed-{seed}.parquet" for seed in seeds]
    rows = schema.read(built / EXAMPLES, "examples")
    for seed in seeds:
        said = schema.read(trained / f"seed-{seed}.parquet", "predictions", classes=("0", "1"))
        model = small_expert(settings, "olhs", expert, str(built / VECTORS), seed)
        again = model.load(models / f"seed-{seed}").answer(rows)
        assert said["id"].to_pylist() == rows["id"].to_pylist()
        assert schema.meta_of(said)["out_of_fold"] == {"folds": 5, "random_state": seed}
        same = np.array(said["proba"].to_pylist()) == np.array(again["proba"].to_pylist())
        learnt = np.array(rows["split"].to_pylist()) == "train"
        assert same[~learnt].all() and same[learnt].mean() < 0.1


def test_summaries_of_train_are_out_of_fold_too(summarised):
    settings = config.load(summarised / "params.yaml")
    rows = schema.read(summarised / "data/prepared/xsum/examples.parquet", "examples")
    said = schema.read(summarised / "data/predictions/xsum/trained/extractive/seed-67.parquet", "predictions")
    model = small_expert(settings, "xsum", "extractive", str(summarised / "data/vectors/xsum"), 67)
    again = model.load(summarised / "models/xsum/extractive/seed-67").answer(rows)
    same = said["logprob"].to_numpy() == again["logprob"].to_numpy()
    learnt = np.array(rows["split"].to_pylist()) == "train"
    assert same[~learnt].all() and same[learnt].mean() < 0.1
    assert "out_of_fold" not in schema.meta_of(
        schema.read(summarised / "data/predictions/xsum/trained/lead/seed-67.parquet", "predictions")
    )


def test_summaries_of_small_experts_have_their_quality_and_one_that_does_not_learn_answers_once(summarised):
    trained = summarised / "data/predictions/xsum/trained"
    written = sorted(str(p.relative_to(trained)) for p in trained.rglob("*.parquet"))
    assert written == ["extractive/seed-67.parquet", "extractive/seed-68.parquet", "lead/seed-67.parquet"]
    references = schema.read(summarised / "data/prepared/xsum/examples.parquet", "examples")["reference"].to_pylist()
    for file in written:
        said = schema.read(trained / file, "predictions")
        expected = rouge(said["text"].to_pylist(), references)
        np.testing.assert_allclose(said["quality"].to_numpy(), expected, atol=1e-7)
    assert not (summarised / "models/xsum/lead").exists()


def test_a_bundle_decides_and_carries_only_the_words_of_the_training_texts(built):
    for team in (TEAM, "published"):
        folder = built / "models/olhs/teams" / team / "seed-68"
        loaded = Bundle.load(folder)
        assert loaded.policy.experts == (f"{team}-network", LLM) and loaded.small.name == f"{team}-network"
        assert loaded.facts["seed"] == 68
        assert loaded.facts["training_cost"] > 0
        assert len(Vectors.open(folder / "vectors")) < len(Vectors.open(built / VECTORS))
        decided = decide(loaded, ["what a day", "nobody asked you", "!!"])
        assert set(decided.expert) <= {f"{team}-network", LLM}
        assert len(decided.score) == 3


def test_the_same_seed_learns_the_same_team(tmp_path, built):
    params = write_params(tmp_path, small_params(train={"seeds": [67]}))
    where = (str(built / EXAMPLES), str(built / VECTORS), str(built / "data/predictions/olhs"))
    learnt = train_team.fn("olhs", TEAM, params, *where, str(tmp_path / "models"))
    again, first = tmp_path / "models/teams" / TEAM / "seed-67", built / "models/olhs/teams" / TEAM / "seed-67"
    (facts,) = json.loads(learnt)
    assert len(facts.pop("scores")) >= facts["epoch"]
    assert facts == Bundle.load(first).facts
    for file in ("small.safetensors", "allocator.safetensors"):
        assert (again / file).read_bytes() == (first / file).read_bytes(), file


def test_a_failed_training_leaves_the_earlier_team_in_place(tmp_path, built):
    models = tmp_path / "models"
    shutil.copytree(built / "models/olhs/teams" / TEAM, models / "teams" / TEAM)
    before = (models / "teams" / TEAM / "seed-67" / "bundle.json").read_bytes()
    params = write_params(tmp_path, small_params(train={"teams": {TEAM: {"kind": "team_gain", "epoch": 3}}}))
    where = (str(built / EXAMPLES), str(built / VECTORS), str(built / "data/predictions/olhs"))
    with pytest.raises(ConfigError, match=r"'epoch'.*'epochs'"):
        train_team.fn("olhs", TEAM, params, *where, str(models))
    assert (models / "teams" / TEAM / "seed-67" / "bundle.json").read_bytes() == before


def test_an_expert_that_costs_something_is_not_asked_here(tmp_path, built):
    params = write_params(tmp_path, small_params())
    with pytest.raises(ConfigError) as error:
        train_expert.fn("olhs", LLM, params, str(built / EXAMPLES), str(built / VECTORS), str(tmp_path), "unused")
    assert str(error.value) == (
        f"Expert '{LLM}' costs something to ask: put it into base.llms, so that the stage generate keeps what it "
        "answers. Allowed elsewhere in train.olhs: experts that learn, recorded, majority, lead."
    )


def test_the_small_expert_learns_what_an_llm_was_paid_to_say_and_without_it_too(tmp_path, built):
    params = write_params(tmp_path, small_params(train={"distil": LLM, "seeds": [67]}))
    rows, answered_ = schema.read(built / EXAMPLES, "examples"), tmp_path / "answered"
    answered_.mkdir()
    texts = [f"{text} again" for text in schema.rows_in(rows, "train")["text"].to_pylist()]
    answered(answered_, [(f"n{i}", text, {LLM: "1"}) for i, text in enumerate(texts)])
    models, out = tmp_path / "models", tmp_path / "mlp"
    where = (str(built / EXAMPLES), str(built / VECTORS), str(models), str(out))
    train_expert.fn("olhs", "mlp", params, *where, Kept(answered=str(answered_)))
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.*")) == [
        "seed-67.parquet",
        "untaught/lessons.json",
        "untaught/seed-67.parquet",
    ]
    assert json.loads((out / "untaught/lessons.json").read_text()) == {"llm": LLM, "rows": len(texts)}
    taught, untaught = (schema.read(out / way / "seed-67.parquet", "predictions") for way in ("", "untaught"))
    before = schema.read(built / "data/predictions/olhs/trained/mlp/seed-67.parquet", "predictions")
    # It is held against the other on test alone.
    test = np.array(rows["split"].to_pylist()) == "test"
    taught, before = taught.filter(test), before.filter(test)
    assert untaught["proba"].to_pylist() == before["proba"].to_pylist()
    # All lessons say 1, and so it says 1 more often.
    ones = [table["label"].to_pylist().count("1") for table in (untaught, taught)]
    assert ones[1] > ones[0]


def test_without_anything_answered_nothing_is_taught(tmp_path, built):
    params = write_params(tmp_path, small_params(train={"distil": LLM, "seeds": [67]}))
    where = (str(built / EXAMPLES), str(built / VECTORS), str(tmp_path / "models"), str(tmp_path / "mlp"))
    train_expert.fn("olhs", "mlp", params, *where, Kept(answered=str(tmp_path / "none")))
    assert json.loads((tmp_path / "mlp/untaught/lessons.json").read_text())["rows"] == 0
    files = [tmp_path / "mlp" / way / "seed-67.parquet" for way in ("", "untaught")]
    taught, untaught = (schema.read(file, "predictions").to_pandas().set_index("id")["proba"] for file in files)
    assert taught[untaught.index].map(list).tolist() == untaught.map(list).tolist()


def test_auto_is_chosen_by_the_first_seed_and_says_so_in_the_run_and_in_the_report(tmp_path, built, capsys):
    params = small_params(train={"small": "auto", "baselines": []})
    params["experts"]["auto"] = {"backend": "auto", "candidates": ["majority", "linear"]}
    path = write_params(tmp_path, params)
    trained = tmp_path / "data/predictions/olhs/trained/auto"
    where = (str(built / EXAMPLES), str(built / VECTORS), str(tmp_path / "models"), str(trained))
    train_expert.fn("olhs", "auto", path, *where)
    said = [schema.meta_of(schema.read(trained / f"seed-{seed}.parquet", "predictions")) for seed in (67, 68)]
    tables = [[row["candidate"] for row in meta["chosen_from"]["candidates"]] for meta in said]
    assert tables == [["majority", "linear"], ["linear"]]
    assert [meta["out_of_fold"]["random_state"] for meta in said] == [67, 68]
    rows = schema.read(built / EXAMPLES, "examples")
    inputs = Inputs("olhs", config.load(path), rows, trained.parent.parent, tmp_path, tmp_path)
    (told,) = choices(inputs)
    assert told.startswith("Small expert 'auto' is linear 0.") and "of majority 0." in told
    assert f"olhs: {told}\n" in capsys.readouterr().err
