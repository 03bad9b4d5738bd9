"""The pipeline under a real DVC: what re-runs and what does not, figures, experiments, push and pull.

`prepare` runs for real. The other stages' outputs are those of the flows, committed to DVC as if it had run them.
"""

import contextlib
import filecmp
import hashlib
import json
import re
import shutil
import subprocess
import sys

import mlflow
import pyarrow.parquet as pq
import pytest
import yaml

from askless.data.demo.posts import posts
from flows.server import free_port, running
from flows.ui import mlflow_command
from tasks.registration import digest_of
from tests.experts.chat_server import Answer, ChatServer, chat
from tests.flows.postgres import postgresql
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

    def run(self, *words):
        """A command that succeeds."""
        done = subprocess.run(words, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    def dvc(self, *words):
        """Standard output of a `dvc` command that succeeds."""
        return self.run("dvc", *words).stdout

    def flow(self, name):
        """What a flow says that succeeds."""
        done = self.run(sys.executable, "-m", f"flows.{name}", "olhs")
        return done.stdout + done.stderr

    def push(self):
        """What was made and what was paid for, where others can pull it."""
        self.run("askless", "answers", "push")
        self.dvc("push", "-q")
        commit_all(self.folder)

    def pull(self):
        """What others pushed."""
        self.run("git", "pull", "-q")
        self.dvc("pull", "-q")
        self.run("askless", "answers", "pull")

    def serving(self):
        """The version of each alias, as the registry tells it."""
        found = json.loads(self.run("askless", "models", MODEL, "--json").stdout)["versions"]
        return {alias: version for version in found for alias in version["aliases"]}

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


@pytest.fixture(scope="module")
def tracking(tmp_path_factory):
    """The address of an MLflow server for several clones, over PostgreSQL where it is installed."""
    folder = tmp_path_factory.mktemp("mlflow")
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(postgresql())
        kept = f"postgresql+psycopg2://{place}/mlflow" if place else f"sqlite:///{folder / 'mlflow.db'}"
        command, health, environment = mlflow_command(free_port())
        with contextlib.chdir(folder):
            stack.enter_context(running(command, health, {**environment, "MLFLOW_BACKEND_STORE_URI": kept}))
        yield health.removesuffix("/health")


@pytest.fixture(scope="module")
def llm(ran):
    """A server that counts what it is asked, and answers as the LLM in `ran` did."""
    texts, predictions = EXAMPLES, f"data/predictions/olhs/generated/{LLM}.parquet"
    rows, labels = (pq.read_table(ran / name).to_pandas().set_index("id") for name in (texts, predictions))
    known = dict(zip(rows["text"], labels["label"].reindex(rows.index), strict=True))

    def reply(request, before):
        word = "yes" if known.get(request.text.removesuffix("\nOffensive:")) == "1" else "no"
        return Answer(chat(word, {word: 0.8, "maybe": 0.2}))

    server = ChatServer()
    server.reply = reply
    yield server
    server.close()


def asking(llm, llms):
    """Parameters in which the first LLM is behind that server."""
    params = small_params(llms=llms, monitor={"window": 50})
    params["experts"][LLM] = {"backend": "openai", "model": "m", "base_url": llm.url, "prompt": "demo-olhs"}
    return params


@pytest.fixture(scope="module")
def trained(tmp_path_factory, environment, tracking, llm):
    """The whole pipeline from nothing with two LLMs, registered and in service, then with one."""
    folder, own = tmp_path_factory.mktemp("trained") / "here", {"OPENAI_API_KEY": "k", "MLFLOW_TRACKING_URI": tracking}
    project = copied(folder, {**environment, **own}, asking(llm, LLMS))
    said = project.dvc("repro")
    assert [said.count(f"Running stage '{stage}'") for stage in sorted(STAGES)] == [1] * len(STAGES)
    assert project.dvc("repro").splitlines()[-1] == "Data and pipelines are up to date."
    assert OTHER in (folder / "reports/olhs/report.html").read_text()
    project.flow("register")
    project.flow("compare")
    write_params(folder, asking(llm, [LLM]))
    again = project.dvc("repro")
    assert re.findall(r"Running stage '([^']+)'", again) == ["settings@olhs", "train@olhs", "evaluate@olhs"]
    return project


def test_a_removed_llm_is_in_no_report_and_retraining_elsewhere_makes_the_same_lock_and_a_champion(
    tmp_path, trained, environment, llm
):
    """Elsewhere: with the one LLM alone, as a schedule runs it, and nothing that was made here."""
    assert OTHER not in (trained.folder / "reports/olhs/report.html").read_text()
    assert [p.name for p in (trained.folder / "data/predictions/olhs/generated").iterdir()] == [f"{LLM}.parquet"]
    assert trained.dvc("status").strip() == "Data and pipelines are up to date."
    second = copied(tmp_path / "one", {**environment, "OPENAI_API_KEY": "k"}, asking(llm, [LLM]))
    said = second.flow("pipeline")
    assert len(re.findall(r"Finished in state Ran\('(.+?): ran'", said)) == len(STAGES) - 1
    client = mlflow.MlflowClient(f"sqlite:///{second.folder / 'mlruns' / 'mlflow.db'}")
    assert client.get_registered_model(MODEL).aliases["champion"] == 1
    runs = client.search_runs([client.get_experiment_by_name("olhs").experiment_id])
    (night,) = [run for run in runs if run.info.run_name == "retrain olhs"]
    assert {run.data.tags.get("mlflow.parentRunId") for run in runs if run is not night} == {night.info.run_id}
    assert second.locked() == trained.locked()


def test_what_is_trained_here_is_registered_promoted_answering_watched_and_rolled_back_there_and_paid_for_once(
    trained, llm, tmp_path
):
    """Two clones, one remote of DVC, one MLflow."""
    here, there = trained, Project(tmp_path / "there", trained.environment)
    asked = len(llm.requests)
    here.dvc("remote", "add", "-d", "store", str(tmp_path / "store"))
    here.push()
    subprocess.run(["git", "clone", "-q", here.folder, there.folder], check=True)
    there.pull()
    assert there.dvc("repro").splitlines()[-1] == "Data and pipelines are up to date."
    reports = [each.folder / "reports/olhs" for each in (here, there)]
    digest, same = (digest_of(folder / "bundle") for folder in reports)
    assert digest == same and filecmp.cmp(*(folder / "metrics.json" for folder in reports), shallow=False)
    for each in (there, here):
        each.flow("register")
        version = each.serving()["challenger"]
        assert (version["number"], version["digest"]) == (2, digest), "registered once"
    there.run("askless", "promote", MODEL, "--by-hand", "--reason", "one LLM less")
    assert [here.serving()[alias]["number"] for alias in ("champion", "previous")] == [2, 1]
    assert len(llm.requests) == asked, "nothing was paid for again"
    lines = "".join(json.dumps({"text": post["text"]}) + "\n" for post in posts(60, [9, 4]))
    for each in (here, there):
        (each.folder / "data/incoming/olhs").mkdir(parents=True)
        (each.folder / "data/incoming/olhs/new.jsonl").write_text(lines)
    here.flow("answer")
    asked, before = len(llm.requests), asked
    assert asked > before, "what is new is paid for"
    here.push()
    there.pull()
    there.flow("answer")
    assert "No drift seen in 60 rows of version 2" in there.flow("monitor")
    columns = ["id", "answer", "expert", "asked", "reason", "cost"]
    name = "data/answered/olhs/new.jsonl.parquet"
    answered, again = (pq.read_table(each.folder / name, columns=columns) for each in (here, there))
    assert answered.equals(again) and answered.num_rows == 60
    there.run("askless", "rollback", MODEL, "--reason", "a complaint")
    assert [here.serving()[alias]["number"] for alias in ("champion", "previous")] == [1, 2]
    assert len(llm.requests) == asked, "nothing was paid for again"
