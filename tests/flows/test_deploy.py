"""`make ui`, `make deploy` and `make worker` against a real Prefect server; a fault is one paragraph and exit 1."""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import yaml
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate, WorkPoolCreate
from prefect.states import Crashed

from askless.errors import AsklessError, ConfigError
from flows import ui as pages
from flows.deploy import AUTOMATIONS, LIMITS, LOST, POOL, _block, _check_pull, _notify, client, for_tasks, read
from flows.pipeline import retrain
from flows.server import free_port
from tasks.telling import tell
from tests.flows.small_project import PATIENCE, Production, bare_environment, until
from tests.pipeline import ROOT

GONE = "http://127.0.0.1:9/api"


@pytest.fixture(scope="module")
def production(tmp_path_factory, empty_server):
    """A small project and a server on which nothing is deployed yet."""
    made = Production(tmp_path_factory.mktemp("production"), empty_server)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def refused(production):
    """What is said where `flows.<module>` is refused; `about` changes the first deployment."""

    def refused(module, *words, api=None, **about):
        project = production.project
        written = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
        first = {k: v for k, v in (written["deployments"][0] | about).items() if v is not None}
        (project.folder / "prefect.yaml").write_text(yaml.safe_dump(written | {"deployments": [first]}))
        environment = project.environment | ({"PREFECT_API_URL": api} if api else {})
        done = subprocess.run(
            [sys.executable, "-m", f"flows.{module}", *words],
            cwd=project.folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (1, "")
        (said,) = done.stderr.splitlines()
        return said

    return refused


@pytest.mark.slow
def test_nothing_is_put_on_the_server_before_all_of_the_file_is_right(production, refused):
    where = "prefect.yaml: deployment 'retrain'"
    form = 'Allowed: cron: "0 2 * * *", timezone: Europe/Berlin, which is five fields and a name of the IANA list.'
    zone = {"cron": "0 2 * * *", "timezone": "Mars/Olympus"}
    assert refused("deploy", schedules=[zone]) == f"{where}: unknown timezone 'Mars/Olympus'. {form}"
    cron = {"cron": "61 2 * *", "timezone": "UTC"}
    assert refused("deploy", schedules=[cron]) == f"{where}: unknown cron '61 2 * *'. {form}"
    only = {"cron": "0 2 * * *"}
    assert refused("deploy", schedules=[only]) == f"{where}: a schedule lacks timezone: {only}. {form}"
    nowhere = (
        "No Prefect server answers at {}. Start one with `make ui` in another terminal, or set PREFECT_API_URL to "
    )
    nowhere += "the address of yours, with /api at its end."
    assert refused("deploy", api=GONE) == nowhere.format(GONE)
    assert production.client.read_deployments() == []
    assert [limit.name for limit in production.client.read_global_concurrency_limits()] == []


def test_no_scheduled_run_piles_up_on_another_or_hangs_for_ever():
    for about in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]:
        module, name = about["entrypoint"].replace(".py", "").replace("/", ".").split(":")
        assert getattr(importlib.import_module(module), name).timeout_seconds <= 23 * 3600, name
        # `retrain` waits for its turn: what it would do is not done by the run before.
        assert ("concurrency_limit" in about) == (name != "retrain"), name


@pytest.mark.parametrize(
    ("tasks", "more", "kept"),
    [
        ((), (), 4),
        (("olhs",), (), 4),
        (("olhs", "xsum"), ("xsum",), 4),
        (("complaints",), ("complaints",), 0),
    ],
)
def test_each_task_of_params_has_its_schedules(tasks, more, kept):
    given = read(ROOT / "prefect.yaml")
    made = for_tasks(given, tasks)
    assert made[:kept] == given[:kept]
    names = [f"{name}-{task}" for task in more for name in ("retrain", "answer", "monitor")]
    assert [about["name"] for about in made[kept:]] == names
    assert [about["parameters"] for about in made[kept:]] == [{"task": task} for task in more for _ in range(3)]
    assert all(about["schedules"] for about in made)


def test_without_an_address_the_server_of_make_ui_is_meant(monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_SERVER_API_PORT", "9")
    with pytest.raises(AsklessError, match=f"^No Prefect server answers at {GONE}"), client():
        raise AssertionError("entered without a server")


@pytest.mark.slow
def test_a_work_pool_that_is_not_there_or_to_which_no_step_brings_the_code_is_named(production, refused):
    there = "Allowed: one that is there: {}. `make deploy` makes 'askless' of type process, "
    assert refused("worker").startswith(f"worker: there is no work pool 'askless'. {there.format('none')}")
    said = refused("deploy", work_pool={"name": "elsewhere"})
    where = "prefect.yaml: deployment 'retrain':"
    assert said.startswith(f"{where} there is no work pool 'elsewhere'. {there.format('askless (process)')}")
    production.client.create_work_pool(WorkPoolCreate(name="containers", type="docker"))
    said = refused("deploy", work_pool={"name": "containers"})
    assert said.startswith(f"{where} its work pool is of type docker, and its code is in this folder alone")
    assert production.client.read_deployments() == []
    project = production.project
    example = (ROOT / "examples/containers.prefect.yaml").read_text(encoding="utf-8")
    (project.folder / "prefect.yaml").write_text(example)
    project.environment["ASKLESS_REPOSITORY"] = "https://example.org/askless.git"
    project.run(sys.executable, "-m", "flows.deploy")
    (made,) = production.client.read_deployments()
    assert made.job_variables["image"] == "askless-pipeline"
    clone = made.pull_steps[0]["prefect.deployments.steps.git_clone"]
    assert clone["repository"] == "https://example.org/askless.git"
    production.client.delete_deployment(made.id)


@pytest.mark.slow
def test_a_flow_that_is_not_there_is_named(refused):
    said = refused("deploy", entrypoint="flows/pipeline.py:nothing")
    assert said.startswith("prefect.yaml could not be deployed: ")
    assert "nothing" in said


@pytest.mark.slow
def test_all_deployments_are_put_on_the_server_twice_and_are_there_once(production):
    project, server = production.project, production.client
    (project.folder / "prefect.yaml").write_text((ROOT / "prefect.yaml").read_text())
    for again in (False, True):
        said = project.run(sys.executable, "-m", "flows.deploy").stdout.splitlines()
        assert said[-1] == "Deployed to work pool askless. A worker runs them: make worker"
        found = {
            f"{d.name:<10} {d.schedules[0].schedule.cron} {d.schedules[0].schedule.timezone}": d
            for d in server.read_deployments()
        }
        assert set(found) == set(said[:-1])
        assert {d.work_pool_name for d in found.values()} == {POOL}
        assert {d.parameters["task"] for d in found.values()} == {"olhs"}
        limits = {limit.name: limit.limit for limit in server.read_global_concurrency_limits()}
        own = {limits.pop(name) for name in list(limits) if name.startswith("deployment:")}
        assert own == {1}, "of answer, annotate and monitor"
        assert limits == LIMITS | ({"tag:gpu": 2} if again else {})
        server.update_global_concurrency_limit("tag:gpu", GlobalConcurrencyLimitUpdate(limit=2))
    assert server.read_work_pool(POOL).type == "process"
    assert server.read_work_pool(POOL).base_job_template


@pytest.mark.slow
def test_what_should_be_heard_of_is_sent_to_the_block_that_is_named(production):
    heard = set()
    said = {
        ("askless-drift: olhs", "The scores differ."),
        ("prefect.flow-run.Crashed: lame-duck", "The worker died. (run lame-duck)"),
    }

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            told = json.loads(self.rfile.read(int(self.headers["content-length"])))
            heard.add((told["subject"], told["body"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = production.client
    with HTTPServer(("127.0.0.1", 0), Hook) as hook, production.heard():
        threading.Thread(target=hook.serve_forever, daemon=True).start()
        body = {"subject": "{{subject}}", "body": "{{body}}"}
        url = f"http://127.0.0.1:{hook.server_port}"
        CustomWebhookNotificationBlock(name="ops", url=url, json_data=body).save("ops")
        with pytest.raises(ConfigError, match="has no such block. Allowed: a notification block as TYPE/NAME, such as"):
            _block(server, "custom-webhook/nobody")
        for _ in range(2):
            _notify(server, _block(server, "custom-webhook/ops"))
        assert {each.name for each in server.read_automations()} - {LOST} == set(AUTOMATIONS)

        def raised():
            tell.fn("askless-drift", "olhs", "The scores differ.")
            run = server.create_flow_run(retrain, name="lame-duck", parameters={"task": "olhs"})
            server.set_flow_run_state(run.id, Crashed(message="The worker died."), force=True)
            time.sleep(1)
            return said <= heard

        # A server loads an automation a moment after it is made: what is raised before that is not sent on.
        until(raised, "both messages")
        hook.shutdown()


def test_the_committed_file_names_flows_that_are_there_and_no_place_of_this_machine():
    assert [about["name"] for about in read(ROOT / "prefect.yaml")] == ["retrain", "answer", "annotate", "monitor"]
    for about in read(ROOT / "prefect.yaml"):
        path, _, name = about["entrypoint"].partition(":")
        assert f"\ndef {name}(" in (ROOT / path).read_text(encoding="utf-8")
    assert yaml.safe_load((ROOT / "prefect.yaml").read_text())["pull"] == [
        {"prefect.deployments.steps.set_working_directory": {"directory": "{{ $PWD }}"}}
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("deployments: [{name: a}]", "prefect.yaml: deployment 'a' lacks entrypoint, work_pool. Add it."),
        ("a: [", "prefect.yaml: got no list of `deployments` (while parsing"),
        ("{}", "prefect.yaml: got no list of `deployments` ('deployments'). Add it."),
        (
            "deployments: [{name: a, entrypoint: 'flows/none.py:f', work_pool: {name: p}}]",
            "prefect.yaml: deployment 'a': entrypoint 'flows/none.py:f', and no file",
        ),
        (None, "prefect.yaml: No such file or directory. Run this where the project's prefect.yaml is."),
    ],
)
def test_a_file_that_is_none_is_said(tmp_path, text, said):
    if text is not None:
        (tmp_path / "prefect.yaml").write_text(text)
    with pytest.raises(ConfigError) as wrong:
        read(tmp_path / "prefect.yaml")
    assert str(wrong.value).startswith(f"{tmp_path}/{said}")


class Ui:
    """`python -m flows.ui` in a folder, on ports of its own."""

    def __init__(self, folder):
        self.ports = {"PREFECT_SERVER_API_PORT": str(free_port()), "MLFLOW_PORT": str(free_port())}
        environment = (
            bare_environment() | self.ports | {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(folder / ".prefect")}
        )
        command = [sys.executable, "-m", "flows.ui"]
        (folder / "mlruns").mkdir()
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


@pytest.fixture
def ui(tmp_path):
    made = Ui(tmp_path)
    yield made
    made.process.terminate()
    made.process.communicate()


@pytest.mark.slow
def test_both_pages_are_served_where_it_says_until_interrupted_and_one_that_dies_is_told(ui, tmp_path):
    said = [ui.process.stdout.readline() for _ in range(4)]
    prefect, mlflow = (f"http://127.0.0.1:{port}" for port in ui.ports.values())
    assert said[:2] == [f"Prefect: {prefect}\n", f"MLflow:  {mlflow}\n"]
    assert said[2].startswith("No password is asked: ") and said[3] == "Ctrl-C stops both.\n"
    for page in (prefect, mlflow):
        with urllib.request.urlopen(page) as reply:
            assert "<title>" in reply.read().decode()
    assert (tmp_path / ".prefect" / "prefect.db").exists()
    taken = subprocess.run(
        [sys.executable, "-m", "flows.ui"],
        env=bare_environment() | ui.ports | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    port = ui.ports["PREFECT_SERVER_API_PORT"]
    why = "Address already in use. Stop what listens there, or choose another by PREFECT_SERVER_API_PORT.\n"
    assert (taken.returncode, taken.stderr) == (1, f"Port {port} cannot be listened on: {why}")
    children = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(ui.process.pid)], capture_output=True, text=True)
    (killed,) = [int(line.split()[0]) for line in children.stdout.splitlines() if "prefect server" in line]
    os.kill(killed, signal.SIGKILL)
    assert ui.process.wait(PATIENCE) == 1
    assert ui.process.stderr.read() == (
        "The Prefect server ended by itself, so both are stopped. Nothing is lost: start them again.\n"
    )
    until(lambda: not listens(ui.ports["MLFLOW_PORT"]), "MLflow's end")


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) == 0


@pytest.mark.parametrize("port", ["abc", "0", "70000"])
def test_a_port_that_is_none_is_said(monkeypatch, port):
    monkeypatch.setenv("MLFLOW_PORT", port)
    monkeypatch.setenv("PREFECT_SERVER_API_PORT", str(free_port()))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit, match=f"^MLFLOW_PORT is '{port}'. Allowed: a port, 1 to 65535.$"):
        pages.main()


@pytest.mark.parametrize(
    ("pull", "got"),
    [
        ([], "its code is brought by no step"),
        ([{"prefect.deployments.steps.set_working_directory": {"directory": "{{ $PWD }}"}}], "in this folder alone"),
        ([{"prefect.deployments.steps.set_working_directory": {"directory": "/project"}}], None),
        ([{"prefect.deployments.steps.git_clone": {"repository": "https://example.org/it.git"}}], None),
    ],
)
def test_a_container_is_told_where_its_code_is(pull, got):
    if got is None:
        _check_pull("here", "docker", pull)
        return
    with pytest.raises(ConfigError, match=got):
        _check_pull("here", "docker", pull)
