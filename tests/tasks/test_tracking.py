"""What MLflow keeps: runs, figures, versions, and a model that needs nothing of this project."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deferral import bundle, config, schema
from deferral.errors import ConfigError
from deferral.registry import resolve
from tasks.tracking import best_seed, flat_metrics, log_evaluation, package_code, with_network
from tests.pipeline import MODEL, ROOT, TEAM, small_params, working_in, write_params

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
    assert sorted(p.name for p in (built / "mlruns").iterdir()) == ["artifacts", "mlflow.db"]


def test_each_seed_of_a_team_has_a_run(built):
    client, runs = runs_of(built, "train")
    assert sorted(run.info.run_name for run in runs) == sorted(
        f"train {team} seed {seed}" for team in (TEAM, "published") for seed in (67, 68)
    )
    run = next(r for r in runs if r.info.run_name == f"train {TEAM} seed 68")
    about = bundle.describe(built / "models/olhs/teams" / TEAM / "seed-68")
    assert run.data.params["experts"] == "mlp,demo-xs"
    assert run.data.params["epochs"] == "4"
    assert run.data.metrics["training_cost"] == pytest.approx(about["facts"]["training_cost"])
    curve = client.get_metric_history(run.info.run_id, "valid.quality")
    assert [m.value for m in sorted(curve, key=lambda m: m.step)] == pytest.approx(
        about["learnt"]["thresholds"]["quality"]
    )
    assert {a.path for a in client.list_artifacts(run.info.run_id)} == {"prices.json", "thresholds.json"}


def test_the_evaluation_has_figures_files_and_versions(built):
    client, (run,) = runs_of(built, "evaluate")
    summary = json.loads((built / "reports/olhs/metrics.json").read_text())
    assert run.data.params == {"headline": TEAM, "reference": "demo-xs", "quality": "accuracy"}
    assert run.data.metrics == pytest.approx(flat_metrics(summary))
    assert run.data.metrics["experts.demo-xs.accuracy"] == summary["experts"]["demo-xs"]["accuracy"]["value"]
    assert [a.path for a in client.list_artifacts(run.info.run_id) if not a.is_dir] == EVALUATION
    assert summary["headline"]["text"] in run.data.tags["mlflow.note.content"]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=built, capture_output=True, text=True, check=True)
    assert run.data.tags["git_commit"] == commit.stdout.strip()
    assert run.data.tags["git_dirty"] == "false"
    assert run.data.tags["data.data/prepared/olhs"] == "abc.dir"
    assert len(run.data.tags["dvc_lock_sha256"]) == 64


def test_the_best_seed_on_valid_is_registered_with_its_facts(built):
    client, (run,) = runs_of(built, "evaluate")
    version = client.get_model_version_by_alias(MODEL, "challenger")
    chosen = best_seed(built / "models/olhs/teams" / TEAM)
    best = {s: bundle.describe(s)["facts"]["valid_quality"] for s in chosen.parent.iterdir()}
    assert best[chosen] == max(best.values())
    assert int(version.version) == 1
    assert version.tags["seed"] == chosen.name.removeprefix("seed-")
    assert version.tags["run_id"] == version.run_id == run.info.run_id
    assert version.tags["dvc_lock_sha256"] == run.data.tags["dvc_lock_sha256"]
    assert version.tags["headline"].endswith(".")


def test_a_second_registration_is_version_2_and_the_alias_moves(tmp_path, built):
    for name in ("models", "reports"):
        (tmp_path / name).symlink_to(built / name)
    with working_in(tmp_path):
        where = ("reports/olhs", "models/olhs", "data/vectors/olhs")
        said = [log_evaluation.fn("olhs", str(built / "params.yaml"), *where) for _ in range(2)]
    assert said == ["1", "2"]
    client = client_of(tmp_path)
    assert int(client.get_model_version_by_alias(MODEL, "challenger").version) == 2
    assert {int(v.version) for v in client.search_model_versions(f"name='{MODEL}'")} == {1, 2}
    _, runs = runs_of(tmp_path, "evaluate")
    assert all("git_commit" not in run.data.tags and "dvc_lock_sha256" not in run.data.tags for run in runs)


def test_a_version_carries_the_policies_that_plain_values_tell(built):
    with working_in(built):
        folder = resolve(f"models:/{MODEL}@challenger")
    assert sorted(p.name for p in (folder / "policies").iterdir()) == ["chain.json", "planned.json", "two_tier.json"]
    kept = json.loads((folder / "policies" / "planned.json").read_text())
    assert kept == bundle.describe(built / "reports/olhs/policies/planned/seed-67")


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
        log_evaluation.fn("olhs", params, "reports/olhs", "models/olhs", "data/vectors/olhs")
        loaded = bundle.load(resolve(f"models:/{MODEL}@challenger"))
    assert loaded.policy.experts == ("mlp", "demo-xs")
    assigned = bundle.assign(loaded, ["what a day", "nobody asked you"])
    assert set(assigned.expert) <= {"mlp", "demo-xs"}


def test_a_headline_that_asks_llms_first_cannot_be_served(tmp_path, built):
    options = {"chain": {"kind": "chain", "experts": ["demo-xs", "mlp"]}}
    params = write_params(tmp_path, small_params(policies=options, evaluate={"headline": "chain"}))
    kept = built / "reports/olhs/policies/chain/seed-67"
    moved = tmp_path / "seed-67"
    shutil.copytree(kept, moved)
    about = json.loads((moved / "bundle.json").read_text())
    (moved / "bundle.json").write_text(json.dumps(about | {"experts": about["experts"][::-1]}))
    with pytest.raises(ConfigError, match="which asks no small network first. Allowed: a team"):
        with_network(
            config.load(params), "olhs", moved, built / "models/olhs", str(built / "data/vectors/olhs"), tmp_path
        )


def test_the_code_a_model_carries_has_no_demo_models(tmp_path):
    files = [p for p in package_code(tmp_path).rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) < 1_000_000
    assert {p.suffix for p in files} == {".py", ".typed"}


ELSEWHERE = """
import importlib.util, json, sys, warnings
warnings.simplefilter("ignore")
project = sys.argv[1]
sys.path[:] = [p for p in sys.path if p and ("site-packages" in p or not p.startswith(project))]
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "").lower()]
assert importlib.util.find_spec("deferral") is None, "deferral can be imported without the model"
import mlflow, pandas as pd
model = mlflow.pyfunc.load_model(f"models:/{sys.argv[2]}@challenger")
texts = pd.DataFrame({"text": json.loads(sys.stdin.read())})
def told(**params):
    return model.predict(texts, params=params or None).to_dict("list")
def refused(frame, **params):
    try:
        model.predict(frame, params=params or None)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
import deferral
print(json.dumps({
    "code": deferral.__file__,
    "inputs": model.metadata.signature.inputs.to_dict(),
    "outputs": model.metadata.signature.outputs.to_dict(),
    "params": [p["name"] for p in model.metadata.signature.params.to_dict()],
    "own": told(), "none": told(share=0.0), "all": told(share=1.0), "some": told(share=0.3),
    "poor": told(per_1000=1e-5), "rich": told(per_1000=1e9),
    "renamed": refused(texts.rename(columns={"text": "tweet"})),
    "too much": refused(texts, share=1.5), "impossible": refused(texts, per_1000=0.0),
}))
"""


@pytest.fixture(scope="module")
def served(built, tmp_path_factory):
    """What the registered model says in a fresh process, elsewhere, that cannot import this project."""
    where = tmp_path_factory.mktemp("elsewhere")
    rows = schema.rows_in(schema.read(built / "data/prepared/olhs/examples.parquet", "examples"), "test")
    texts = rows["text"].to_pylist()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{built / 'mlruns' / 'mlflow.db'}"
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(ROOT), MODEL],
        input=json.dumps(texts),
        cwd=where,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert list(where.iterdir()) == []
    return texts, json.loads(done.stdout.splitlines()[-1])


def test_the_model_brings_its_own_code(served):
    path = Path(served[1]["code"])
    assert ROOT not in path.parents
    assert path.parts[-3:] == ("code", "deferral", "__init__.py")


def test_the_model_decides_as_the_bundle_does(built, served):
    texts, said = served
    team = bundle.load(best_seed(built / "models/olhs/teams" / TEAM))
    assigned = bundle.assign(team, texts)
    assert said["own"]["expert"] == assigned.expert
    assert said["own"]["small_label"] == assigned.small_label
    assert said["own"]["score"] == pytest.approx(assigned.score, abs=1e-5)


def test_budgets_are_kept(served):
    texts, said = served
    large = {name: sum(e != "mlp" for e in said[name]["expert"]) / len(texts) for name in ("none", "some", "all")}
    assert large["none"] == 0
    assert 0 < large["some"] <= large["all"]
    assert large["some"] == pytest.approx(0.3, abs=0.15)
    assert said["poor"]["expert"].count("mlp") > 0.95 * len(texts)
    assert said["rich"]["expert"] == said["all"]["expert"]


def test_the_signature_holds(served):
    _, said = served
    assert said["inputs"] == [{"type": "string", "name": "text", "required": True}]
    assert [c["name"] for c in said["outputs"]] == list(said["own"])
    assert said["params"] == ["share", "per_1000"]
    assert "text" in said["renamed"]
    assert "Budget share is 1.5" in said["too much"]
    assert "budget of 0 is under the least cost" in said["impossible"]
