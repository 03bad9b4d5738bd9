"""Which data and code a run was made from; stages brought up to date one by one under a real DVC."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from prefect.logging import disable_run_logger
from prefect.states import Failed

from askless.errors import AsklessError, DataError
from tasks import versioning
from tasks.versioning import CommandInterrupted, data_of, push, reproduce, stages, versions
from tests.pipeline import commit_all

STAGES = "stages:\n  copy:\n    cmd: cp raw data/out\n    deps: [raw]\n    outs: [data/out]\n"
DVC = str(Path(sys.executable).with_name("dvc"))


def dvc(folder, *words):
    subprocess.run([DVC, "-q", *words], cwd=folder, check=True)


def test_commit_lock_and_data_are_named_and_a_change_is_seen(tmp_path):
    (tmp_path / "raw").write_text("hello")
    made = [tmp_path / "data/sources/a/answered", tmp_path / "reports/a/headline.json"]
    for path in made:
        path.parent.mkdir(parents=True)
        path.touch()
    (tmp_path / "dvc.yaml").write_text(STAGES)
    dvc(tmp_path, "init", "--no-scm")
    dvc(tmp_path, "repro")
    commit = commit_all(tmp_path)
    for path in made:
        path.write_text("made anew")
    lock = (tmp_path / "dvc.lock").read_bytes()
    assert versions(tmp_path) == {
        "git_commit": commit,
        "git_dirty": "false",
        "dvc_lock_sha256": hashlib.sha256(lock).hexdigest(),
        "data.data/out": hashlib.md5(b"hello").hexdigest(),
    }
    (tmp_path / "raw").write_text("other")
    assert versions(tmp_path)["git_dirty"] == "true"


def test_what_is_not_to_be_had_is_left_out(tmp_path):
    assert versions(tmp_path) == {}
    (tmp_path / "dvc.lock").write_text("")
    assert versions(tmp_path) == {"dvc_lock_sha256": hashlib.sha256(b"").hexdigest()}


def test_a_report_names_the_data_of_its_own_task_alone(tmp_path):
    paths = ["prepared/a", "vectors/a", "predictions/a/generated/llm.parquet", "prepared/b"]
    outs = [{"path": f"data/{path}", "md5": path} for path in [*paths, "predictions/a/generated/old.parquet"]]
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"stages": {"one": {"outs": outs}}}))
    assert data_of("a", ["llm"], tmp_path) == {f"data/{path}": path for path in paths[:3]}


@pytest.fixture(scope="module")
def under_dvc(tmp_path_factory):
    """An empty folder under DVC, to be copied."""
    folder = tmp_path_factory.mktemp("dvc")
    dvc(folder, "init", "--no-scm")
    return folder


@pytest.fixture
def project(under_dvc, tmp_path, monkeypatch):
    """A folder under DVC, worked in; called with stages as (command, dependencies, outputs), by name."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(under_dvc, tmp_path, dirs_exist_ok=True)

    def write(**about):
        made = {name: {"cmd": c, "deps": deps, "outs": outs} for name, (c, deps, outs) in about.items()}
        (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": made}))
        return tmp_path

    with disable_run_logger():
        yield write


def outcome(stage):
    return reproduce.fn(stage).name


def test_stages_come_in_the_order_of_their_needs(project):
    project(
        end=("true", ["b", "c"], ["e"]),
        right=("true", ["a"], ["c"]),
        left=("true", ["a"], ["b"]),
        start=("true", [], ["a"]),
        other=("true", ["a"], ["o"]),
    )
    order = stages("end")
    assert (order[0], set(order[1:3]), order[3:]) == ("start", {"left", "right"}, ["end"])
    assert stages("left") == ["start", "left"]


def test_a_stage_that_dvc_does_not_know_is_an_error_that_names_it(project):
    project(start=("true", [], ["a"]))
    said = "'evaluate@nope' does not exist as an output or a stage name in 'dvc.yaml': Stage 'evaluate@nope' not found"
    with pytest.raises(AsklessError, match=rf"^evaluate@nope: {said}"):
        stages("evaluate@nope")


def test_a_stage_is_run_left_alone_or_taken_from_the_cache(project):
    folder = project(copy=("cp raw made", ["raw"], ["made"]))
    (folder / "raw").write_text("hello")
    assert outcome("copy") == "Ran"
    assert outcome("copy") == "Unchanged"
    (folder / "made").unlink()
    assert outcome("copy") == "Restored"
    assert (folder / "made").read_text() == "hello"


SAYS = "echo 'train failed: not the last'; echo 'train failed: params.yaml: no. Allowed: yes.' >&2; echo; exit 1"


@pytest.mark.parametrize(
    ("command", "needs", "kind", "said"),
    [
        (SAYS, [], AsklessError, "train: train failed: params.yaml: no. Allowed: yes."),
        (
            "echo hello; kill -9 $$",
            [],
            CommandInterrupted,
            "failed to reproduce 'train': failed to run: echo hello; kill -9 $$, exited with -9. "
            "Its last words: hello. Run again: what is done and paid for is kept.",
        ),
        (
            "true",
            ["nothing"],
            AsklessError,
            "train: failed to reproduce 'train': [Errno 2] No such file or directory: '{folder}/nothing'",
        ),
    ],
    ids=["its own words", "killed", "nothing to work on"],
)
def test_a_failed_stage_says_why(project, command, needs, kind, said):
    folder = project(train=(command, needs, ["made"]))
    with pytest.raises(kind) as failed:
        reproduce.fn("train")
    assert type(failed.value) is kind
    assert str(failed.value) == said.format(folder=folder)


@pytest.mark.parametrize(
    ("error", "again"), [(CommandInterrupted("x"), True), (DataError("a", "b", "c", "d"), False), (OSError(), True)]
)
def test_what_was_stopped_is_tried_again_and_what_is_wrong_is_not(error, again):
    assert reproduce.retry_condition_fn(reproduce, SimpleNamespace(), Failed(data=error)) is again


def test_a_stage_that_another_process_is_at_work_on_is_waited_for(project, monkeypatch):
    folder = project(slow=("touch begun; until [ -e go ]; do sleep 0.1; done; echo hello > made", [], ["made"]))
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        (folder / "go").touch()
        time.sleep(0.5)

    monkeypatch.setattr(versioning, "time", SimpleNamespace(sleep=sleep))
    with subprocess.Popen([DVC, "-q", "repro"], cwd=folder) as other:
        wait_for(folder / "begun")
        assert outcome("slow") == "Unchanged"
        assert other.wait() == 0
    assert set(waits) == {versioning.BUSY_SECONDS}
    assert (folder / "made").read_text() == "hello\n"


def test_nothing_of_a_stage_is_left_when_its_run_is_interrupted(project):
    class Interrupted(BaseException):
        pass

    def interrupt(*_):
        raise Interrupted

    folder = project(slow=("sh -c 'echo $$ > begun; sleep 300; echo' > log", [], ["log"]))
    before = signal.signal(signal.SIGUSR1, interrupt)
    watch = "while [ ! -s begun ]; do sleep 0.1; done; kill -USR1 $1"
    try:
        with pytest.raises(Interrupted), subprocess.Popen(["sh", "-c", watch, "-", str(os.getpid())], cwd=folder):
            reproduce.fn("slow")
    finally:
        signal.signal(signal.SIGUSR1, before)
    stage = int((folder / "begun").read_text())
    deadline = time.monotonic() + 300
    while Path("/proc", str(stage)).exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path("/proc", str(stage)).exists()
    assert not (folder / "dvc.lock").exists()


def wait_for(path):
    deadline = time.monotonic() + 300
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert path.exists()


@pytest.mark.slow
def test_outputs_are_pushed_where_a_remote_is_set(project, tmp_path_factory):
    folder = project(copy=("echo hello > made", [], ["made"]), more=("cp made more", ["made"], ["more"]))
    assert outcome("copy") == "Ran"
    assert push.fn("copy") is False
    store = tmp_path_factory.mktemp("store")
    dvc(folder, "remote", "add", "-d", "store", str(store))
    assert push.fn("copy") is True
    assert [path.read_text() for path in store.rglob("*") if path.is_file()] == ["hello\n"]
    dvc(folder, "remote", "modify", "store", "url", "/proc/nowhere")
    with pytest.raises(CommandInterrupted, match=r"^dvc push: .+ What was made is kept here: run `dvc push` again\.$"):
        push.fn("copy")


def test_a_stage_is_a_run_of_its_own_on_the_same_server(project, monkeypatch):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    folder = project(look=("env > made", [], ["made"]))
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "this one's")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert outcome("look") == "Ran"
    seen = dict(line.split("=", 1) for line in (folder / "made").read_text().splitlines() if "=" in line)
    assert seen["PREFECT_API_URL"] == "http://127.0.0.1:9/api"
    assert "PREFECT__FLOW_RUN_ID" not in seen
    assert seen["PATH"].split(":")[0] == str(Path(sys.executable).parent)
