"""A project with this one's flows over stages that take a moment, and a real Prefect server for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.server import prefect_command, running
from tests.pipeline import ROOT
from tests.report_data import evaluation

PATIENCE = 120
# A stage keeps a journal; it is as slow, or as broken, as the files `slow/<stage>` and `broken/<stage>` say.
STAGE = """
import shutil, sys, time
from pathlib import Path

name, out = sys.argv[1:]
with open("journal", "a") as journal:
    journal.write(name + "\\n")
print("at work on", name)
slow, broken = Path("slow", name), Path("broken", name)
time.sleep(float(slow.read_text()) if slow.exists() else 0)
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
        time.sleep(1)
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
        """How `slow` or `broken` a stage is; None ends it."""
        path = self.folder / about / name
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)

    def lines(self, name: str = "journal") -> list[str]:
        """What was written into a journal."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


@contextmanager
def server_of(home: Path, port: int, **settings: str) -> Iterator[tuple[SyncPrefectClient, subprocess.Popen[bytes]]]:
    """A Prefect server with its data in `home`, that looks at its schedules every second."""
    command, health, environment = prefect_command(port)
    quick = {"PREFECT_HOME": str(home), "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "1", **settings}
    with (
        running(command, health, {**environment, **quick}) as process,
        temporary_settings({PREFECT_API_URL: environment["PREFECT_API_URL"]}),
        get_client(sync_client=True) as client,
    ):
        yield client, process


def until(true: Callable[[], Any], what: str) -> Any:
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
