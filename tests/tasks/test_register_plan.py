"""A plan as a registered version: decided, asked and watched as it was planned."""

import json

import pytest
from typer.testing import CliRunner

from askless.bundles.terms import Terms
from askless.cli import app
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
from askless.stats.known_words import KnownWords
from tasks.registration import register_headline, register_plan
from tests.annotating.texts import texts
from tests.commands import answer_files
from tests.experts.chat_server import Answer, ChatServer, chat
from tests.pipeline import ROOT
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


def test_the_run_of_annotate_is_registered_and_answers_by_its_address(tmp_path, empty_store, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    posts, labels = texts(200)
    said = dict(zip(posts, labels, strict=True))
    server = ChatServer()
    server.reply = lambda request, before: Answer(
        chat(said.get(request.text.split("Text: ", 1)[1].removesuffix("\nAnswer:"), "no"), prompt_tokens=10)
    )
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"post": text}) + "\n" for text in posts))
    words = "annotate in.jsonl --text post --classes yes,no --llm m --price 100,0 --agree 0.8 --yes -o mine.jsonl"
    with registry_in(tmp_path, empty_store):
        done = CliRunner().invoke(app, [*words.split(), "--small", "linear", "--base-url", server.url])
        assert not done.exit_code, done.output
        number = register_plan.fn("mine.jsonl.run")
        asked = len(server.requests)
        version = find("askless-mine", "challenger")
        assert (str(version.number), version.task, version.kind, version.budget) == (
            number,
            "annotate",
            "two_tier",
            None,
        )
        assert version.headline.startswith("Promised with 95 % confidence: at least 80 %") and version.quality >= 0.8
        model = DeployedBundle.at(f"models:/askless-mine/{number}", None)
        assert list(model.terms.experts) == ["m"] and len(server.requests) == asked
        assert len(KnownWords.read(model.bundle.folder).new) == 100
    server.close()


def test_what_is_no_page_no_run_and_no_task_is_named():
    with pytest.raises(ConfigError, match="Unknown task 'mine.yaml'"):
        register_headline.fn("mine.yaml", str(ROOT / "params.yaml"), "reports/mine.yaml")
