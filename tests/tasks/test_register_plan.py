"""A plan as a registered version: decided, asked and watched as it was planned."""

import pytest

from askless.bundles.terms import Terms
from askless.config import Price
from askless.data.recorded import load
from askless.errors import ConfigError
from askless.labelling.answerer import DeployedBundle
from askless.labelling.plan_answers import keep
from askless.monitoring import baseline
from askless.plans.plan import Goal
from askless.plans.planner import make_plan
from askless.plans.small import with_small
from askless.policies.base import Budget
from askless.prompts import PromptSpec
from askless.registry.versions import find
from tasks.registration import register_plan
from tests.commands import answer_files
from tests.registry_data import registry_in


def test_a_plan_is_registered_and_answers_by_its_address(tmp_path, empty_store, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    answer_files.write(tmp_path)
    study, small, certify = with_small(
        load(tmp_path / "items.parquet", [tmp_path / "large.parquet"]), "majority", goal := Goal(share=0.3)
    )
    plan = make_plan(study, goal, certify=certify, learnt=(small.name,))
    models = {"large": "m@http://127.0.0.1:9/v1"}
    terms = Terms.of_models("mine", study.classes, models, PromptSpec(), {"large": Price(usd_per_1k_answers=10.0)})
    keep(plan, study, tmp_path / "mine.yaml", small, terms)
    with registry_in(tmp_path, empty_store):
        number = register_plan.fn("mine.yaml")
        version = find("askless-mine", "challenger")
        assert (str(version.number), version.task, version.kind, version.budget) == (number, "mine", "two_tier", 0.3)
        assert version.headline == plan.words()[1] and version.quality == plan.promise.quality[0]
        model = DeployedBundle.at(f"models:/askless-mine/{number}", None)
        assert model.budget == Budget(share=0.3) and dict(model.terms.experts) == dict(terms.experts)
        before = baseline.read(model.bundle.folder)
        assert before.num_rows == 120
        # Between two LLMs nobody can decide before one of them has answered.
        two = load(tmp_path / "items.parquet", [tmp_path / "small.parquet", tmp_path / "large.parquet"])
        keep(make_plan(two, goal), two, tmp_path / "two.yaml")
        with pytest.raises(ConfigError, match="has no small expert with it, or decides by what expensive ones answer"):
            register_plan.fn("two.yaml")
