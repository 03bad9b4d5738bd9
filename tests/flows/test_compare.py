"""The flow `compare` under a real Prefect server: promoted, kept with the run, tried again, refused, said once."""

import subprocess
import sys

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from askless.registry import aliases as moves
from askless.registry import versions as registry
from flows.compare import compare_models
from tests.registry_data import MODEL as MODELS
from tests.registry_data import kept, project, register, registry_in

pytestmark = pytest.mark.usefixtures("prefect_api")

MODEL = MODELS["olhs"]


@pytest.fixture
def put(tmp_path, empty_store):
    """Register a version that may defer a share of the items, with a run of its own."""
    made = kept(project(tmp_path), "long")
    with registry_in(tmp_path, empty_store) as client:
        experiment = client.create_experiment("olhs", artifact_location=(tmp_path / "mlruns/artifacts").as_uri())

        def put(share):
            run = client.create_run(experiment)
            register(client, made, budget=share, run_id=run.info.run_id)
            return run.info.run_id

        put.client = client
        yield put


def artifact():
    only = ArtifactFilter(key=ArtifactFilterKey(any_=["comparison-olhs"]))
    with get_client(sync_client=True) as client:
        return max(client.read_artifacts(artifact_filter=only), key=lambda found: found.created)


def test_the_first_is_promoted_a_better_one_too_and_a_worse_one_refused(put, tmp_path):
    put(0.6)
    assert compare_models("olhs").endswith("No champion yet: version 1 is the first.")
    assert artifact().data == "No champion yet: version 1 is the first."
    run = put(0.4)
    assert compare_models("olhs").startswith(f"Version 2 is champion of {MODEL}. As good and cheaper: ")
    kept_there = [a.path for a in put.client.list_artifacts(run, "comparison")]
    assert kept_there == [f"comparison/{name}" for name in sorted(p.name for p in comparison(tmp_path).iterdir())]
    assert artifact().data.startswith("**As good and cheaper: ")
    assert "| accuracy % | 100.0 [100.0, 100.0] |" in artifact().data
    assert artifact().description == f"Version 2 of {MODEL}: promoted"
    put(0.1)
    assert compare_models("olhs").startswith(f"Version 2 stays champion of {MODEL}. Version 3: ")
    assert registry.find(MODEL, 3).verdict == "refused"
    assert {a: v.number for v in registry.versions(MODEL) for a in v.aliases} == {
        "champion": 2,
        "previous": 1,
        "challenger": 3,
    }


def comparison(folder):
    return folder / "reports/olhs/comparison"


@pytest.mark.slow
def test_a_registry_that_does_not_answer_once_is_asked_again(put, monkeypatch):
    put(0.6)
    point, failed = moves._move, []

    def tired(*words):
        if not failed:
            failed.append(words)
            raise registry.Unreachable("The registry did not do it.")
        point(*words)

    monkeypatch.setattr(moves, "_move", tired)
    state = compare_models("olhs", return_state=True)
    assert state.is_completed()
    assert len(failed) == 1
    assert registry.champion(MODEL).number == 1


@pytest.mark.slow
def test_as_a_program_what_cannot_be_compared_is_one_paragraph_and_exit_code_1(put, tmp_path, environment):
    put(0.6)
    put.client.delete_registered_model_alias(MODEL, "challenger")
    command = [sys.executable, "-m", "flows.compare", "olhs"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("compare_models failed: ")]
    assert f"models:/{MODEL}@challenger: no such alias." in said
    assert registry.champion(MODEL) is None
