"""Small experts and teams, for every seed."""

import json
import shutil

import pytest

from deferral import bundle, config, schema
from deferral.embeddings import Vectors
from deferral.errors import ConfigError
from tasks.train import small_expert, train_expert, train_team
from tests.pipeline import LLM, TEAM, small_params, write_params

EXAMPLES, VECTORS = "data/prepared/olhs/examples.parquet", "data/vectors/olhs"


def test_each_seed_has_its_models_and_the_first_one_answers(built):
    settings = config.load(built / "params.yaml")
    for expert in ("mlp", "linear", "majority"):
        folders = sorted(p.name for p in (built / "models/olhs" / expert).iterdir())
        assert folders == ["seed-67", "seed-68"]
        rows = schema.read(built / EXAMPLES, "examples")
        said = schema.read(built / f"data/predictions/olhs/trained/{expert}.parquet", "predictions", classes=("0", "1"))
        model = small_expert(settings, "olhs", expert, str(built / VECTORS), 67)
        again = model.load(built / "models/olhs" / expert / "seed-67").answer(rows)
        assert said["id"].to_pylist() == rows["id"].to_pylist()
        assert said["label"].to_pylist() == again["label"].to_pylist()


def test_a_bundle_decides_and_carries_only_the_words_of_the_training_texts(built):
    for team in (TEAM, "published"):
        folder = built / "models/olhs/teams" / team / "seed-68"
        loaded, about = bundle.load(folder), bundle.describe(folder)
        assert loaded.policy.experts == ("mlp", LLM)
        assert about["facts"]["seed"] == 68
        assert about["facts"]["training_cost"] > 0
        assert len(Vectors.open(folder / "vectors")) < len(Vectors.open(built / VECTORS))
        assigned = bundle.assign(loaded, ["what a day", "nobody asked you", "!!"])
        assert set(assigned.expert) <= {"mlp", LLM}
        assert len(assigned.score) == 3


def test_the_same_seed_learns_the_same_team(tmp_path, built):
    params = write_params(tmp_path, small_params(train={"seeds": [67]}))
    where = (str(built / EXAMPLES), str(built / VECTORS), str(built / "data/predictions/olhs"))
    learnt = train_team.fn("olhs", TEAM, params, *where, str(tmp_path / "models"))
    again, first = tmp_path / "models/teams" / TEAM / "seed-67", built / "models/olhs/teams" / TEAM / "seed-67"
    (facts,) = json.loads(learnt)
    # The small model's seconds are measured, so its cost is not the same twice.
    assert facts == {**bundle.describe(first)["facts"], "training_cost": facts["training_cost"]}
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


def test_an_llm_cannot_be_trained(tmp_path, built):
    params = write_params(tmp_path, small_params())
    with pytest.raises(ConfigError, match=rf"'{LLM}' cannot be trained"):
        train_expert.fn("olhs", LLM, params, str(built / EXAMPLES), str(built / VECTORS), str(tmp_path), "unused")
