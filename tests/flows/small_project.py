"""A project with this one's flows over stages that take a moment, and a real Prefect server for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.server import api, free_port, prefect_command, running
from tests.pipeline import ROOT
from tests.report.report_data import evaluation

T = TypeVar("T")
PATIENCE = 600
# A stage keeps a journal; it is as slow, or as broken, as the files `slow/<stage>` and `broken/<stage>` say.
STAGE = """
import shutil, sys, time
from pathlib import Path

name, out = sys.argv[1:]
with open("journal", "a") as journal:
    journal.write(name + "\\n")
print("at work on", name)
slow, broken = Path("slow", name), Path("broken", name)
end = time.monotonic() + (float(slow.read_text()) if slow.exists() else 0)
while slow.exists() and time.monotonic() < end:
    time.sleep(0.1)
if broken.exists():
    sys.exit(broken.read_text())
Path(out).parent.mkdir(parents=True, exist_ok=True)
shutil.copy("given.json", out)
"""
COMPARE = '''
import os, time
from prefect import flow

@flow
def compare_models(task: str, params: str = "params.yaml") -> None:
    """Takes a moment, and says when."""
    for word in ("begins", "ends"):
        with open("compared", "a") as journal:
            journal.write(f"{os.getpid()} {word}\\n")
        time.sleep(0.5)
'''
REGISTER = '''
from prefect import task

@task
def register_headline(name: str, params: str, reports: str) -> str:
    """There is no bundle here."""
    return "1"

register_plan = register_proposal = register_headline
'''
RUNS = '''

@contextmanager
def tracked_retraining(task):
    """There is no MLflow here."""
    yield
'''
OUTS = {"prepare": "data/prepared", "train": "data/trained", "evaluate": "reports/olhs/metrics.json"}


class SmallProject:
    """Stages prepare, train and evaluate of task `olhs` in a folder, under a real DVC."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = {**environment, "PYTHONPATH": str(folder), "PREFECT_HOME": str(folder / ".prefect")}
        for code in ("flows", "tasks"):
            shutil.copytree(ROOT / code, folder / code, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "flows" / "compare.py").write_text(COMPARE)
        (folder / "tasks" / "registration.py").write_text(REGISTER)
        with open(folder / "tasks" / "runs.py", "a") as runs:
            runs.write(RUNS)
        (folder / "stage.py").write_text(STAGE)
        summary = {**evaluation("reached")[0], "task": "olhs"}
        (folder / "given.json").write_text(json.dumps(summary))
        outs = list(OUTS.items())
        needs = dict(zip(OUTS, ["given.json", *OUTS.values()], strict=False))
        stages = {
            name: {
                "matrix": {"task": ["olhs"]},
                "cmd": f"python stage.py {name} {out}",
                "deps": [needs[name]],
                "outs": [out],
            }
            for name, out in outs
        }
        (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
        self.run("dvc", "init", "-q", "--no-scm")

    def run(self, *command: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """A command in the folder that ends with this exit code."""
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert done.returncode == code, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    def retrain(self, code: int = 0) -> subprocess.CompletedProcess[str]:
        """The flow from the command line."""
        return self.run(sys.executable, "-m", "flows.pipeline", "olhs", code=code)

    def change(self, what: str = "another") -> None:
        """Let the first stage have something to do again."""
        given = json.loads((self.folder / "given.json").read_text())
        (self.folder / "given.json").write_text(json.dumps({**given, "changed": what}))

    def say(self, about: str, name: str, text: str | None) -> None:
        """How `slow` or `broken` a stage is; None ends it, also of one that is at work."""
        path = self.folder / about / name
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)

    def lines(self, name: str = "journal") -> list[str]:
        """What was written into a journal."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


class Production:
    """A small project, a Prefect server of its own that can be killed and started anew, and workers."""

    def __init__(self, folder: Path, empty: Path) -> None:
        self.port = free_port()
        environment = {"PREFECT_API_URL": api(self.port), "PREFECT_WORKER_QUERY_SECONDS": "1"}
        self.project = SmallProject(folder, bare_environment() | environment)
        home = Path(self.project.environment["PREFECT_HOME"])
        home.mkdir()
        shutil.copy(empty, home / "prefect.db")
        self.client: SyncPrefectClient
        self._stack = ExitStack()

    def start(self) -> None:
        """Start the server, with its data in the project; it looks at schedules and turns every second."""
        command, health, environment = prefect_command(self.port)
        quick = {
            "PREFECT_HOME": self.project.environment["PREFECT_HOME"],
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "1",
            "PREFECT_SERVER_CONCURRENCY_MAXIMUM_CONCURRENCY_SLOT_WAIT_SECONDS": "1",
        }
        self._server = self._stack.enter_context(running(command, health, {**environment, **quick}))
        self.client = self._stack.enter_context(SyncPrefectClient(api(self.port)))

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Have its server hear what this process tells: events go on to the first server that a process knew."""
        with temporary_settings({PREFECT_API_URL: api(self.port)}):
            EventsWorker.drain_all(timeout=60)
            yield
            EventsWorker.drain_all(timeout=60)

    def kill(self) -> None:
        """End the server without a warning."""
        self._server.kill()
        self.stop()

    def stop(self) -> None:
        """End the server."""
        self._stack.close()

    def deploy(self, **schedule: Any) -> str:
        """Put `retrain` of the real prefect.yaml on the server, with another schedule; returns what was said."""
        about = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
        about["deployments"] = [{**about["deployments"][0], "schedules": [schedule] if schedule else []}]
        (self.project.folder / "prefect.yaml").write_text(yaml.safe_dump(about), encoding="utf-8")
        return self.project.run(sys.executable, "-m", "flows.deploy").stdout

    def submit(self) -> UUID:
        """Start a run of the deployment, as a person does in the UI."""
        deployment = self.client.read_deployment_by_name("retrain/retrain")
        return self.client.create_flow_run_from_deployment(deployment.id).id

    def ended(self, run: UUID) -> State[Any]:
        """The last state of a run, once it is there."""

        def state() -> State[Any] | None:
            found = self.client.read_flow_run(run).state
            return found if found and found.is_final() else None

        return until(state, "the end of a run")

    def stages(self, run: UUID) -> tuple[str, ...]:
        """The state's name of each stage of a run, in the order in which they were begun."""
        this = FlowRunFilter(id=FlowRunFilterId(any_=[run]))
        runs = sorted(self.client.read_task_runs(flow_run_filter=this), key=lambda found: str(found.start_time))
        return tuple(str(found.state_name) for found in runs if "@" in found.name)

    @contextmanager
    def worker(self) -> Iterator[None]:
        """A worker, while the block lasts."""
        folder = self.project.folder
        command = [sys.executable, "-m", "flows.worker"]
        with open(folder / "worker.log", "w") as log:
            process = subprocess.Popen(command, cwd=folder, env=self.project.environment, stdout=log, stderr=log)
            try:
                yield
            finally:
                # Where interrupts are ignored, as in a background job of a shell, the worker ends at the second call.
                for _ in range(2):
                    process.terminate()
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(60)
                process.wait(1)


def until(true: Callable[[], T | None], what: str) -> T:
    """Wait for something to be so; returns it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = true()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {PATIENCE} s")


def bare_environment() -> dict[str, str]:
    """This process's, without a server, with this environment's programs first."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    left_out = ("PREFECT_API_URL", "MLFLOW_TRACKING_URI")
    return {**{k: v for k, v in os.environ.items() if k not in left_out}, "PATH": path, "COLUMNS": "200"}
