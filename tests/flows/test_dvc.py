"""The pipeline under a real DVC: what re-runs and what does not, figures, experiments, push and pull.

`prepare` runs for real. The other stages' outputs are those of the flows, committed to DVC as if it had run them.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys

import mlflow
import pytest
import yaml

from tests.pipeline import LLM, MODEL, ROOT, commit_all, small_params, write_params

pytestmark = pytest.mark.slow
OTHER = "demo-s"
LLMS = (LLM, OTHER)
OUTS = (
    "data/settings",
    "data/prepared",
    "data/vectors",
    "data/raw",
    "data/predictions",
    "data/decisions",
    "models",
    "reports",
)
FIRST = {"prepare@olhs", "embed@olhs", "settings@olhs"}
STAGES = {*FIRST, f"generate@olhs-{LLM}", f"generate@olhs-{OTHER}", "train@olhs", "evaluate@olhs"}
EXAMPLES = "data/prepared/olhs/examples.parquet"


class Project:
    """A copy of this project's files with its own git repository, and the `dvc` of this environment."""

    def __init__(self, folder, environment):
        self.folder = folder
        self.environment = {**environment, "PYTHONPATH": str(folder / "src")}

    def dvc(self, *words):
        """Standard output of a `dvc` command that succeeds."""
        done = subprocess.run(
            ["dvc", *words], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"dvc {' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    def locked(self):
        """What dvc.lock says of the stages that there are."""
        stages = yaml.safe_load((self.folder / "dvc.lock").read_text())["stages"]
        return {name: about for name, about in stages.items() if not name.endswith(OTHER)}

    def hashes(self):
        """The SHA-256 of every file under the outputs' folders that DVC keeps."""
        files = [p for out in OUTS for p in (self.folder / out).rglob("*") if p.is_file() and "checks" not in p.parts]
        return {str(p.relative_to(self.folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def copied(folder, environment, params):
    """This project's files in `folder`, committed, without a lock file."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and not name.startswith(("tests/", "benchmarks/", "docs/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / "dvc.lock").unlink(missing_ok=True)
    write_params(folder, params)
    commit_all(folder)
    return Project(folder, environment)


@pytest.fixture(scope="module")
def project(tmp_path_factory, environment, ran):
    project = copied(tmp_path_factory.mktemp("work") / "project", environment, small_params(llms=LLMS))
    folder = project.folder
    said = project.dvc("repro", "prepare@olhs", "settings@olhs")
    assert "Running stage 'prepare@olhs'" in said
    for out in OUTS:
        if out not in ("data/settings", "data/prepared"):
            shutil.copytree(ran / out, folder / out, dirs_exist_ok=True)
    generated = folder / "data/predictions/olhs/generated"
    shutil.copy(generated / f"{LLM}.parquet", generated / f"{OTHER}.parquet")
    project.dvc("commit", "-f")
    commit_all(folder)
    return project


def test_dvc_made_the_examples_that_the_flow_makes(project, ran):
    assert (project.folder / EXAMPLES).read_bytes() == (ran / EXAMPLES).read_bytes()
    lock = yaml.safe_load((project.folder / "dvc.lock").read_text())
    assert set(lock["stages"]) == STAGES


def test_the_graph_goes_from_prepare_to_evaluate(project):
    drawn = project.dvc("dag", "--mermaid")
    names = dict(re.findall(r'(node\d+)\["([^"]+)"\]', drawn))
    edges = {(names[a], names[b]) for a, b in re.findall(r"(node\d+)-->(node\d+)", drawn)}
    assert set(names.values()) == STAGES
    assert edges == {
        ("settings@olhs", "prepare@olhs"),
        ("settings@olhs", "embed@olhs"),
        *((first, stage) for first in FIRST for stage in STAGES - FIRST),
        *((f"generate@olhs-{llm}", stage) for llm in (LLM, OTHER) for stage in ("train@olhs", "evaluate@olhs")),
        ("train@olhs", "evaluate@olhs"),
    }


def test_a_second_repro_changes_nothing(project):
    before = project.hashes()
    assert project.dvc("repro").splitlines()[-1] == "Data and pipelines are up to date."
    assert project.hashes() == before
    assert project.dvc("status").strip() == "Data and pipelines are up to date."


def test_one_llms_parameter_concerns_its_own_answers_and_a_price_asks_nobody_again(project):
    params = small_params(llms=LLMS)
    params["experts"][OTHER]["batch_size"] = 7
    params["generate"]["ask_above_usd"] = 0.1
    write_params(project.folder, params)
    try:
        assert set(json.loads(project.dvc("status", "--json"))) == {"settings@olhs"}
        project.dvc("repro", "settings@olhs")
        assert set(json.loads(project.dvc("status", "--json"))) == {"evaluate@olhs", f"generate@olhs-{OTHER}"}
    finally:
        write_params(project.folder, small_params(llms=LLMS))
        project.dvc("repro", "settings@olhs")


def test_metrics_are_few_enough_to_read(project):
    shown = project.dvc("metrics", "show")
    assert max(map(len, shown.splitlines())) <= 200
    (row,) = json.loads(project.dvc("metrics", "show", "--json"))[""]["data"].items()
    figures = json.loads((project.folder / "reports/olhs/headline.json").read_text())
    assert row == ("reports/olhs/headline.json", {"data": figures})
    path = project.folder / "reports/olhs/headline.json"
    path.write_text(json.dumps({**figures, "quality": figures["quality"] + 0.5}))
    try:
        (changed,) = json.loads(project.dvc("metrics", "diff", "--json")).values()
        assert changed["quality"]["diff"] == pytest.approx(0.5)
        assert changed["quality"]["old"] == figures["quality"]
    finally:
        path.write_text(json.dumps(figures, indent=1) + "\n")


def test_plots_are_drawn(project, tmp_path):
    said = project.dvc("plots", "show", "-o", str(tmp_path / "plots"))
    assert str(tmp_path / "plots" / "index.html") in said
    page = (tmp_path / "plots" / "index.html").read_text()
    assert "cost-quality curve" in page
    assert "random" in page
    assert '"groupby": ["rev", "policy", "budget"]' in page


def test_push_and_pull_bring_back_the_same_bytes(project):
    before = project.hashes()
    assert len(before) > 20
    project.dvc("remote", "add", "-d", "--local", "store", "../../store")
    project.dvc("push", "-q")
    for out in (*OUTS, ".dvc/cache"):
        shutil.rmtree(project.folder / out)
    assert project.hashes() == {}
    project.dvc("pull", "-q")
    subprocess.run(["git", "checkout", "-q", "reports"], cwd=project.folder, check=True)
    assert project.hashes() == before
    assert project.dvc("status").strip() == "Data and pipelines are up to date."


def test_an_experiment_sets_a_parameter_and_is_kept(project):
    before = project.hashes()
    project.dvc("exp", "run", "-n", "reseeded", "-S", "tasks.olhs.source.seed=5", "prepare@olhs")
    try:
        assert project.dvc("exp", "list", "--name-only").split() == ["reseeded"]
        assert yaml.safe_load((project.folder / "params.yaml").read_text())["tasks"]["olhs"]["source"]["seed"] == 5
        changed = {path for path, digest in project.hashes().items() if before.get(path) != digest}
        settings = {f"data/settings/olhs/{stage}.json" for stage in ("prepare", "evaluate")}
        assert changed == {EXAMPLES, EXAMPLES.replace(".parquet", ".json"), "data/raw/olhs/demo.csv", *settings}
    finally:
        subprocess.run(["git", "checkout", "-q", "."], cwd=project.folder, check=True)
        project.dvc("checkout", "-q")
    assert project.hashes() == before


def test_new_rows_of_a_file_of_ones_own_are_seen_by_dvc_alone_and_a_clone_without_it_goes_on(tmp_path, environment):
    def rows(count):
        lines = ["id,text,label", *(f"{i},this is post number {i},{i % 2}" for i in range(count))]
        (mine.parent / "posts.csv").write_text("\n".join(lines) + "\n")

    def ran(folder):
        return re.findall(r"Running stage '([^']+)'", Project(folder, environment).dvc("repro", "prepare@olhs"))

    mine, theirs = tmp_path / "mine", tmp_path / "elsewhere/theirs"
    project = copied(mine, environment, small_params(source={"kind": "csv", "path": "../posts.csv", "rows": None}))
    for count, stages in (
        (200, ["settings@olhs", "prepare@olhs"]),
        (200, []),
        (210, ["settings@olhs", "prepare@olhs"]),
    ):
        rows(count)
        assert ran(mine) == stages
        assert project.dvc("status", "prepare@olhs", "settings@olhs").strip() == "Data and pipelines are up to date."
    assert json.loads((mine / EXAMPLES).with_suffix(".json").read_text())["raw_rows"] == 210
    commit_all(mine)
    project.dvc("remote", "add", "-d", "--local", "store", str(tmp_path / "store"))
    project.dvc("push", "-q", "prepare@olhs", "settings@olhs")
    subprocess.run(["git", "clone", "-q", mine, theirs], check=True)
    clone = Project(theirs, environment)
    clone.dvc("remote", "add", "-d", "--local", "store", str(tmp_path / "store"))
    clone.dvc("pull", "-q", "prepare@olhs", "settings@olhs")
    assert ran(theirs) == ["settings@olhs"]
    assert ran(theirs) == []
    assert (theirs / EXAMPLES).read_bytes() == (mine / EXAMPLES).read_bytes()


def test_a_removed_llm_is_in_no_report_and_retraining_elsewhere_makes_the_same_lock_and_a_champion(
    tmp_path, environment
):
    """The whole pipeline from nothing with two LLMs, then with one; elsewhere with it alone, as a schedule runs it."""
    folders = [tmp_path / "two", tmp_path / "one"]
    first = copied(folders[0], environment, small_params(llms=LLMS))
    said = first.dvc("repro")
    assert [said.count(f"Running stage '{stage}'") for stage in sorted(STAGES)] == [1] * len(STAGES)
    assert first.dvc("repro").splitlines()[-1] == "Data and pipelines are up to date."
    page = folders[0] / "reports/olhs/report.html"
    assert OTHER in page.read_text()
    write_params(folders[0], small_params())
    again = first.dvc("repro")
    assert re.findall(r"Running stage '([^']+)'", again) == ["settings@olhs", "train@olhs", "evaluate@olhs"]
    assert OTHER not in page.read_text()
    assert [p.name for p in (folders[0] / "data/predictions/olhs/generated").iterdir()] == [f"{LLM}.parquet"]
    assert first.dvc("status").strip() == "Data and pipelines are up to date."
    second = copied(folders[1], environment, small_params())
    command = [sys.executable, "-m", "flows.pipeline", "olhs"]
    done = subprocess.run(command, cwd=folders[1], env=second.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert len(re.findall(r"Finished in state Ran\('(.+?): ran'", done.stdout + done.stderr)) == len(STAGES) - 1
    client = mlflow.MlflowClient(f"sqlite:///{folders[1] / 'mlruns' / 'mlflow.db'}")
    assert client.get_registered_model(MODEL).aliases["champion"] == 1
    runs = client.search_runs([client.get_experiment_by_name("olhs").experiment_id])
    (night,) = [run for run in runs if run.info.run_name == "retrain olhs"]
    assert {run.data.tags.get("mlflow.parentRunId") for run in runs if run is not night} == {night.info.run_id}
    assert second.locked() == first.locked()
