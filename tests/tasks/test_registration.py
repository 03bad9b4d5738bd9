"""What MLflow keeps: runs, figures, versions, and a model that needs nothing of this project."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from askless import config, schema
from askless.bundles.bundle import Bundle
from askless.bundles.decide import decide
from askless.errors import ConfigError, DataError
from askless.policies.base import Budget
from askless.registry.versions import resolve
from askless.report.model_card import CURVE
from askless.text.embeddings import Vectors
from tasks.evaluate import evaluate_policies
from tasks.packing import best_seed, pack_headline, with_small
from tasks.registration import digest_of, package_code, register_headline
from tasks.runs import flat_metrics, tracked, tracked_retraining
from tests.pipeline import LLM, MODEL, ROOT, TEAM, small_params, with_store, working_in, write_params

SUMMARIES = "askless-xsum"
EVALUATION = ["curve.csv", "curve.png", "metrics.json", "reliability.png", "report.html"]


def client_of(folder):
    import mlflow

    store = f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}"
    return mlflow.MlflowClient(tracking_uri=store, registry_uri=store)


def runs_of(folder, stage):
    client = client_of(folder)
    experiment = client.get_experiment_by_name("olhs")
    return client, client.search_runs([experiment.experiment_id], f"tags.stage = '{stage}'")


def test_artifacts_stay_beside_the_database(built):
    location = client_of(built).get_experiment_by_name("olhs").artifact_location
    assert location == (built / "mlruns" / "artifacts" / "olhs").as_uri()
    assert sorted(p.name for p in (built / "mlruns").iterdir()) == [".registry.lock", "artifacts", "mlflow.db"]


def test_each_seed_of_a_team_has_a_run(built):
    client, runs = runs_of(built, "train")
    assert sorted(run.info.run_name for run in runs) == sorted(
        f"train {team} seed {seed}" for team in (TEAM, "published") for seed in (67, 68)
    )
    run = next(r for r in runs if r.info.run_name == f"train {TEAM} seed 68")
    about = json.loads((built / "models/olhs/teams" / TEAM / "seed-68/bundle.json").read_text())
    assert run.data.params["experts"] == f"{TEAM}-network,{LLM}"
    assert run.data.params["epochs"] == "4"
    assert run.data.metrics["training_cost"] == pytest.approx(about["facts"]["training_cost"])
    curve = client.get_metric_history(run.info.run_id, "valid.quality")
    assert [m.value for m in sorted(curve, key=lambda m: m.step)] == pytest.approx(
        about["learnt"]["thresholds_"]["quality"]
    )
    scores = sorted(client.get_metric_history(run.info.run_id, "valid_score"), key=lambda m: m.step)
    assert [m.step for m in scores] == list(range(1, int(run.data.params["allocator_epochs"]) + 1))
    assert max(scores, key=lambda m: m.value).step == run.data.metrics["epoch"]
    assert {a.path for a in client.list_artifacts(run.info.run_id)} == {"prices.json", "thresholds.json"}


def test_the_evaluation_has_figures_files_and_versions(built):
    client, (run,) = runs_of(built, "evaluate")
    summary = json.loads((built / "reports/olhs/metrics.json").read_text())
    assert (
        run.data.params.items()
        >= {
            **{"headline": TEAM, "reference": "demo-xs", "quality": "accuracy", "small": "mlp", "seeds": "(67, 68)"},
            **{"mlp.epochs": "4", "bootstrap": "50", "budgets": "(0.2, 0.5)"},
        }.items()
    )
    ends = {f"test.{name}" for name in ("share", "cost", "quality")}
    assert {k: v for k, v in run.data.metrics.items() if k not in ends} == pytest.approx(flat_metrics(summary))
    shares = sorted(client.get_metric_history(run.info.run_id, "test.share"), key=lambda m: m.step)
    assert [m.value for m in shares] == [i / 10 for i in range(11)]
    assert ("data/prepared/olhs", "abc.dir") in {(d.dataset.name, d.dataset.digest) for d in run.inputs.dataset_inputs}
    assert run.data.metrics["experts.demo-xs.accuracy"] == summary["experts"]["demo-xs"]["accuracy"]["value"]
    assert [a.path for a in client.list_artifacts(run.info.run_id) if not a.is_dir] == EVALUATION
    assert summary["headline"]["text"] in run.data.tags["mlflow.note.content"]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=built, capture_output=True, text=True, check=True)
    assert run.data.tags["git_commit"] == commit.stdout.strip()
    assert run.data.tags["git_dirty"] == "false"
    assert run.data.tags["data.data/prepared/olhs"] == "abc.dir"
    assert len(run.data.tags["dvc_lock_sha256"]) == 64


def test_an_evaluation_registers_nothing_and_a_version_has_the_evaluation_and_the_lock_in_its_own_run(built):
    client, (run,) = runs_of(built, "evaluate")
    _, (registered,) = runs_of(built, "register")
    assert client.search_model_versions(f"run_id='{run.info.run_id}'") == []
    assert registered.data.metrics == run.data.metrics
    files = {a.path for a in client.list_artifacts(registered.info.run_id)}
    assert {*EVALUATION, "dvc.lock"} <= files


def test_the_best_seed_on_valid_is_registered_with_its_facts(built):
    client, (run,) = runs_of(built, "register")
    version = client.get_model_version_by_alias(MODEL, "challenger")
    chosen = best_seed(built / "models/olhs/teams" / TEAM)
    best = {s: Bundle.load(s).facts["valid_quality"] for s in chosen.folder.parent.iterdir()}
    assert best[chosen.folder] == max(best.values())
    assert int(version.version) == 1
    assert version.tags["seed"] == str(chosen.facts["seed"])
    assert version.tags["run_id"] == version.run_id == run.info.run_id
    assert version.tags["dvc_lock_sha256"] == run.data.tags["dvc_lock_sha256"]
    assert version.tags["headline"].endswith(".")


def test_a_version_carries_its_card_with_the_picture_and_is_described_by_it(built):
    version = client_of(built).get_model_version(MODEL, "1")
    with working_in(built):
        folder = resolve(f"models:/{MODEL}/1")
    text = (folder / "card.md").read_text("utf-8")
    assert (folder / "curve.png").read_bytes() == (built / "reports/olhs/curve.png").read_bytes()
    assert CURVE in text
    assert version.description == text.replace(f"{CURVE}\n", "")
    assert "African American English" in text
    commit = re.search(r"git checkout (\w+)", text).group(1)
    assert commit == version.tags["git_commit"]
    assert f"{100 * float(version.tags['budget']):.1f} % of the items may go beyond the small expert" in text


@pytest.mark.slow
def test_a_bundle_is_one_version_however_often_and_wherever_it_is_registered(tmp_path, built):
    shutil.copytree(built / "reports/olhs", tmp_path / "reports/olhs")
    packed = tmp_path / "reports/olhs/bundle"

    def registered():
        with working_in(tmp_path):
            number = register_headline.fn("olhs", str(built / "params.yaml"), "reports/olhs")
        client = client_of(tmp_path)
        assert str(client.get_model_version_by_alias(MODEL, "challenger").version) == number
        return number

    known = client_of(built).get_model_version(MODEL, "1").tags["digest"]
    assert digest_of(packed) == known
    assert [registered(), registered()] == ["1", "1"]
    picture = (packed / "curve.png").read_bytes()
    (packed / "curve.png").write_bytes(picture + b"another")
    assert registered() == "2"
    # What is restored is judged as itself.
    (packed / "curve.png").write_bytes(picture)
    assert registered() == "1"
    assert {path.name for path in tmp_path.iterdir()} == {"mlruns", "reports"}
    versions = client_of(tmp_path).search_model_versions(f"name='{MODEL}'")
    assert {int(v.version): v.tags["digest"] == known for v in versions} == {1: True, 2: False}
    _, runs = runs_of(tmp_path, "register")
    assert len(runs) == 2
    assert all("git_commit" not in run.data.tags and "dvc_lock_sha256" not in run.data.tags for run in runs)


def test_what_is_packed_again_has_the_same_digest(tmp_path, built):
    for name in ("models", "data"):
        (tmp_path / name).symlink_to(built / name)
    shutil.copytree(built / "reports", tmp_path / "reports")
    with working_in(tmp_path):
        folder = pack_headline.fn(
            "olhs", str(built / "params.yaml"), "reports/olhs", "models/olhs", "data/vectors/olhs"
        )
        assert digest_of(Path(folder)) == digest_of(built / "reports/olhs/bundle")


def test_without_a_bundle_it_is_said_where_one_comes_from(tmp_path, built):
    (tmp_path / "reports/olhs").mkdir(parents=True)
    with working_in(tmp_path), pytest.raises(DataError) as error:
        register_headline.fn("olhs", str(built / "params.yaml"), "reports/olhs")
    assert str(error.value) == (
        "reports/olhs/bundle: no bundle. Allowed: the bundle that the stage evaluate@olhs leaves. "
        "Run: dvc repro evaluate@olhs, or dvc pull evaluate@olhs."
    )


def test_a_version_carries_the_policies_that_plain_values_tell(built):
    with working_in(built):
        folder = resolve(f"models:/{MODEL}@challenger")
    assert sorted(p.name for p in (folder / "policies").iterdir()) == [
        f"{name}.json" for name in ("chain", "length", "planned", "random", "two_tier")
    ]
    kept = json.loads((folder / "policies" / "planned.json").read_text())
    assert kept == json.loads((built / "reports/olhs/policies/planned/seed-67/bundle.json").read_text())


@pytest.mark.slow
def test_a_policy_of_params_may_be_the_headline_and_then_brings_the_small_network(tmp_path, built):
    for name in ("models", "data"):
        (tmp_path / name).symlink_to(built / name)
    shutil.copytree(built / "reports", tmp_path / "reports")
    params = write_params(tmp_path, small_params(evaluate={"headline": "two_tier"}))
    metrics = tmp_path / "reports/olhs/metrics.json"
    summary = json.loads(metrics.read_text())
    summary["headline"]["policy"] = "two_tier"
    metrics.write_text(json.dumps(summary))
    with working_in(tmp_path):
        pack_headline.fn("olhs", params, "reports/olhs", "models/olhs", "data/vectors/olhs")
        register_headline.fn("olhs", params, "reports/olhs")
        loaded = Bundle.load(resolve(f"models:/{MODEL}@challenger"))
    assert loaded.policy.experts == ("mlp", "demo-xs")
    decided = decide(loaded, ["what a day", "nobody asked you"])
    assert set(decided.expert) <= {"mlp", "demo-xs"}


@pytest.mark.slow
def test_the_headline_that_valid_chose_is_what_is_registered(tmp_path, built):
    for name in ("models", "data"):
        (tmp_path / name).symlink_to(built / name)
    params = write_params(tmp_path, small_params(evaluate={"headline": "auto"}))
    with working_in(tmp_path):
        evaluate_policies.fn(
            "olhs",
            params,
            "data/prepared/olhs/examples.parquet",
            "data/predictions/olhs",
            "models/olhs",
            "data/vectors/olhs",
            "reports/olhs",
            str(tmp_path / "decisions.parquet"),
        )
        pack_headline.fn("olhs", params, "reports/olhs", "models/olhs", "data/vectors/olhs")
        register_headline.fn("olhs", params, "reports/olhs")
        loaded = Bundle.load(resolve(f"models:/{MODEL}@challenger"))
    head = json.loads((tmp_path / "reports/olhs/metrics.json").read_text())["headline"]["policy"]
    assert loaded.facts["team"] == head != "auto"
    assert decide(loaded, ["what a day"]).expert[0] in loaded.experts


def with_headline(built, folder, task, **headline):
    """What `with_small` makes of the first seed of a policy that `built` keeps, with other values in its bundle."""
    params = write_params(folder, small_params(task, evaluate={"headline": "chain"}))
    shutil.copytree(built / f"reports/{task}/policies/chain/seed-67", folder / "kept")
    about = json.loads((folder / "kept/bundle.json").read_text())
    (folder / "kept/bundle.json").write_text(json.dumps(about | headline))
    models, vectors = built / "models" / task, str(built / "data/vectors" / task)
    words = Vectors.open(vectors)
    return with_small(config.load(params), task, Bundle.load(folder / "kept", words), models, vectors, folder / "out")


def test_a_headline_that_asks_an_llm_first_cannot_be_served(tmp_path, built):
    with pytest.raises(ConfigError) as error:
        with_headline(built, tmp_path, "olhs", experts=["demo-xs", "mlp"])
    assert str(error.value) == (
        "evaluate.olhs.headline is 'chain', which asks 'demo-xs' first. Allowed: a team, or a policy whose first "
        "expert is 'mlp', the small one."
    )


@pytest.mark.parametrize(("task", "small"), [("olhs", "mlp"), ("xsum", "extractive")])
def test_nor_can_one_that_decides_by_what_an_llm_says(tmp_path, request, task, small):
    folder = request.getfixturevalue({"olhs": "built", "xsum": "summarised"}[task])
    with pytest.raises(ConfigError, match=rf"Chain over {small}, demo-xs has no small expert with it, or decides by"):
        with_headline(folder, tmp_path, task)


def test_nor_one_of_which_nothing_is_kept(summarised):
    folder = summarised / "reports/xsum/policies/published"
    with pytest.raises(ConfigError) as error:
        best_seed(folder)
    assert str(error.value) == (
        f"evaluate.headline is 'published', of which nothing is kept in {folder}. Allowed: a team, or a policy of kind "
        "two_tier, chain, planned or summary_gain."
    )


def test_the_code_a_model_carries_has_no_demo_models(tmp_path):
    files = [p for p in package_code(tmp_path).rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) < 2_500_000
    assert {p.suffix for p in files} == {".py", ".typed", ".yaml"}
    asked = package_code(tmp_path / "asked", ("xs",)) / "data/demo/models"
    assert [path.name for path in asked.iterdir()] == ["xs"]


ELSEWHERE = """
import importlib.util, json, os, sys, warnings
warnings.simplefilter("ignore")
sys.path[:] = [p for p in sys.path if p and ("site-packages" in p or not os.path.exists(f"{p}/askless"))]
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "").lower()]
assert importlib.util.find_spec("askless") is None, "askless can be imported without the model"
import mlflow, pandas as pd
model = mlflow.pyfunc.load_model(f"models:/{sys.argv[2]}@challenger")
texts = pd.DataFrame({"text": json.loads(sys.stdin.read())})
def told(frame=texts, **params):
    try:
        return model.predict(frame, params=params or None).to_dict("list")
    except Exception as error:
        return f"{type(error).__name__}: {error}"
import askless
print(json.dumps({
    "code": askless.__file__,
    "inputs": model.metadata.signature.inputs.to_dict(),
    "outputs": model.metadata.signature.outputs.to_dict(),
    "params": [p["name"] for p in model.metadata.signature.params.to_dict()],
    "own": told(), "none": told(share=0.0), "all": told(share=1.0), "some": told(share=0.3),
    "poor": told(per_1000=1e-5), "rich": told(per_1000=1e9),
    "renamed": told(texts.rename(columns={"text": "tweet"})),
    "too much": told(share=1.5), "impossible": told(per_1000=0.0),
    "modules": sorted({name.split(".")[0] for name in sys.modules}),
    "little": told(max_usd=1e-5), "asked": told(max_usd=-1.0),
}))
"""


def elsewhere(folder, task, model, where, python=sys.executable):
    """Test texts, and what a registered model says to them in a fresh process that cannot import this project."""
    rows = schema.rows_in(schema.read(folder / f"data/prepared/{task}/examples.parquet", "examples"), "test")
    texts = rows["text"].to_pylist()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}"
    done = subprocess.run(
        [python, "-c", ELSEWHERE, str(ROOT), model],
        input=json.dumps(texts),
        cwd=where,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert list(where.iterdir()) == []
    return texts, json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def served(built, tmp_path_factory):
    return elsewhere(built, "olhs", MODEL, tmp_path_factory.mktemp("elsewhere"))


@pytest.fixture(scope="module")
def served_summaries(summarised, tmp_path_factory):
    return elsewhere(summarised, "xsum", SUMMARIES, tmp_path_factory.mktemp("elsewhere"))


def test_the_model_brings_its_own_code(served):
    path = Path(served[1]["code"])
    assert ROOT not in path.parents
    assert path.parts[-3:] == ("code", "askless", "__init__.py")


def test_the_model_decides_as_the_bundle_does(built, served):
    texts, said = served
    decided = decide(best_seed(built / "models/olhs/teams" / TEAM), texts)
    assert said["own"]["expert"] == decided.expert
    assert said["own"]["small_answer"] == decided.small_answer
    assert said["own"]["score"] == pytest.approx(decided.score, abs=1e-5)


def test_budgets_are_kept(served):
    texts, said = served
    large = {
        name: sum(e != f"{TEAM}-network" for e in said[name]["expert"]) / len(texts) for name in ("none", "some", "all")
    }
    assert large["none"] == 0
    assert 0 < large["some"] <= large["all"]
    assert large["some"] == pytest.approx(0.3, abs=0.15)
    assert said["poor"]["expert"].count(f"{TEAM}-network") > 0.95 * len(texts)
    assert said["rich"]["expert"] == said["all"]["expert"]


def test_nobody_expensive_is_asked_unless_a_request_says_what_may_be_spent(served):
    texts, said = served
    own, asked, little = said["own"], said["asked"], said["little"]
    deferred = [row for row, who in enumerate(own["expert"]) if who == "demo-xs"]
    assert [row for row, label in enumerate(own["label"]) if label not in ("0", "1")] == deferred != []
    assert {own["reason"][row] for row in deferred} == {"deferred"} and sum(own["cost"]) == 0
    assert asked["expert"] == own["expert"] and asked["reason"] == own["reason"]
    assert set(asked["label"]) == {"0", "1"} and sum(asked["cost"]) > 1e-6 * len(deferred)
    assert {r for r in little["reason"] if r != "kept"} == {"deferred", "limit"} and set(little["label"]) == {"0", "1"}
    paid = [cost for cost, reason in zip(little["cost"], little["reason"], strict=True) if reason == "deferred"]
    assert 0 < sum(paid) < 2e-5, "a hundred-thousandth of a dollar, and the small expert's seconds"
    assert sum(asked["cost"]) > 0 and len(paid) < len(deferred), "the rest is paid for when it is asked"


def test_the_signature_holds(served):
    _, said = served
    assert said["inputs"] == [{"type": "string", "name": "text", "required": True}]
    assert [c["name"] for c in said["outputs"]] == list(said["own"])
    assert said["params"] == ["share", "per_1000", "max_usd"]
    assert "text" in said["renamed"]
    assert "Budget share is 1.5" in said["too much"]
    assert "budget of 0 is under the least cost" in said["impossible"]


@pytest.mark.slow
def test_a_model_runs_in_the_environment_that_it_states(summarised, served_summaries, tmp_path):
    """Of the packages that it names and of no others: what `mlflow models serve` and `build-docker` install."""
    with working_in(summarised):
        stated = resolve(f"models:/{SUMMARIES}@challenger").parents[1] / "requirements.txt"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    python = str(tmp_path / "env/bin/python")
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(stated)]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode and "Could not find a version" in done.stderr and "from versions: none" in done.stderr:
        pytest.skip(f"no package index answers: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr[-2000:]
    (tmp_path / "empty").mkdir()
    _, said = elsewhere(summarised, "xsum", SUMMARIES, tmp_path / "empty", python)
    assert said["own"]["expert"] == served_summaries[1]["own"]["expert"]


def test_the_model_of_summaries_is_registered_with_its_facts(summarised):
    version = client_of(summarised).get_model_version_by_alias(SUMMARIES, "challenger")
    chosen = best_seed(summarised / "reports/xsum/policies/gain_after_small")
    told = {"kind": "summary_gain", "experts": "extractive,demo-xs", "seed": str(chosen.facts["seed"])}
    assert {key: version.tags[key] for key in told} == told
    assert version.tags["headline"].endswith(".")


def test_the_model_of_summaries_carries_ranker_and_word_vectors(summarised):
    with working_in(summarised):
        folder = resolve(f"models:/{SUMMARIES}@challenger")
    about = json.loads((folder / "bundle.json").read_text())
    assert about["files"] == ["bundle.json", "extractive.json", "vectors"]
    assert (about["classes"], about["small"]["backend"]) == ([], "extractive")
    assert str(summarised) not in (folder / "bundle.json").read_text()
    needs = (folder.parents[1] / "requirements.txt").read_text()
    assert "numpy==" in needs and "rapidfuzz==" in needs


@pytest.mark.slow
def test_the_model_of_summaries_decides_as_the_policy_that_was_evaluated(summarised, served_summaries):
    texts, said = served_summaries
    with working_in(summarised):
        folder = resolve(f"models:/{SUMMARIES}@challenger")
    loaded = Bundle.load(folder)
    seed = loaded.facts["seed"]
    for name, budget in (("own", None), ("none", Budget(share=0)), ("some", Budget(share=0.3))):
        decided = decide(loaded, texts, budget)
        assert said[name]["expert"] == decided.expert
        # JSON by way of pandas has NaN where there is no answer.
        assert [None if a != a else a for a in said[name]["small_answer"]] == decided.small_answer
    trained = schema.read(summarised / f"data/predictions/xsum/trained/extractive/seed-{seed}.parquet", "predictions")
    rows = schema.read(summarised / "data/prepared/xsum/examples.parquet", "examples")
    test = np.asarray(rows["split"].to_pylist()) == "test"
    assert said["none"]["small_answer"] == trained.filter(pa.array(test))["text"].to_pylist()


@pytest.mark.slow
def test_the_model_of_summaries_keeps_budgets_and_needs_no_network(served_summaries):
    texts, said = served_summaries
    assert set(said["none"]["expert"]) == {"extractive"}
    assert set(said["all"]["expert"]) == {"demo-xs"}
    share = said["some"]["expert"].count("demo-xs") / len(texts)
    assert share == pytest.approx(0.3, abs=0.15)
    assert all(np.isnan(value) for name in ("none", "some") for value in said[name]["small_confidence"])
    assert "budget of 0 per 1,000 items is under the least cost" in said["impossible"]
    assert "askless" in said["modules"]
    assert not {"torch", "transformers"} & set(said["modules"])


def test_runs_of_stages_are_children_of_the_retraining_in_this_process_and_in_others(tmp_path, empty_store, built):
    with_store(tmp_path, empty_store)
    another = "from tasks.runs import tracked\nwith tracked('olhs', 'there', {'stage': 'there'}): pass"
    with working_in(tmp_path):
        shutil.copy(built / "dvc.lock", "dvc.lock")
        with tracked_retraining("olhs"):
            with tracked("olhs", "here", {"stage": "here"}):
                pass
            subprocess.run([sys.executable, "-c", another], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
        with tracked("olhs", "later", {"stage": "later"}):
            pass
        client, (parent,) = runs_of(tmp_path, "retrain")
        assert [a.path for a in client.list_artifacts(parent.info.run_id)] == ["dvc.lock"]
    of = {
        stage: runs_of(tmp_path, stage)[1][0].data.tags.get("mlflow.parentRunId")
        for stage in ("here", "there", "later")
    }
    assert of == {"here": parent.info.run_id, "there": parent.info.run_id, "later": None}
