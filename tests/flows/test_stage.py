"""What a stage prints when it is run from the command line."""

import errno
import importlib
import logging
import pkgutil
import re
import shutil
import sqlite3
import subprocess
import sys

import pytest
import requests
from mlflow.exceptions import MlflowException
from prefect import Flow

import flows
from askless.errors import DataError
from flows import stage
from flows.server import PASSING
from tests.flows.small_project import bare_environment
from tests.pipeline import ROOT

FAULT = DataError("a file", "nothing", "something", "Do it.")


@pytest.mark.parametrize(
    ("line", "error", "passing", "kept"),
    [
        ("Beginning flow run 'train olhs' for flow 'train'", None, False, None),
        ("Finished in state Completed()", None, False, None),
        ("View at http://127.0.0.1:4200/runs/flow-run/1", None, True, None),
        ("View at http://127.0.0.1:4200/runs/flow-run/1", None, False, "View at http://127.0.0.1:4200/runs/flow-run/1"),
        ("Finished in state Ran('train@olhs: ran')", None, True, "Finished in state Ran('train@olhs: ran')"),
        ("Finished in state Failed('a file: nothing.')", None, True, "Finished in state Failed"),
        ("Encountered an exception during execution", FAULT, True, None),
        ("Encountered an exception during execution", KeyError(1), True, "Encountered an exception during execution"),
    ],
)
def test_routine_and_dead_links_are_left_out(monkeypatch, line, error, passing, kept):
    monkeypatch.delenv(PASSING, raising=False)
    if passing:
        monkeypatch.setenv(PASSING, "1")
    info = (type(error), error, None) if error else None
    record = logging.LogRecord("prefect.flow_runs", logging.INFO, "", 0, line, (), info)
    assert (record.getMessage() if stage._worth_a_line(record) else None) == kept


def wrapped(kind, error):
    try:
        try:
            raise error
        except type(error):
            raise kind("wrapped")  # noqa: B904
    except kind as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full ([Errno 28] No space left on device)."),
        (wrapped(MlflowException, sqlite3.OperationalError("database is locked")), "A database is locked: another"),
        (wrapped(MlflowException, requests.ConnectionError("refused")), "A server does not answer (refused)."),
        (
            TimeoutError("Flow run exceeded timeout of 82800.0 second(s)"),
            "It took longer than it may (Flow run exceeded timeout of 82800.0 second(s)).",
        ),
        (wrapped(KeyError, requests.ConnectionError("refused")), None),
        (ZeroDivisionError("division by zero"), None),
    ],
)
def test_what_surrounds_a_stage_is_a_paragraph_and_a_bug_its_traceback(monkeypatch, capsys, error, said):
    def prepare(task, params):
        raise error

    monkeypatch.setattr(sys, "argv", ["prepare", "olhs"])
    if said is None:
        with pytest.raises(type(error)):
            stage.run_stage(prepare, ["task"])
        return
    with pytest.raises(SystemExit):
        stage.run_stage(prepare, ["task"])
    told = capsys.readouterr().err.strip()
    assert told.startswith(f"prepare stopped: {said}") and told.endswith("run again.") and "\n" not in told
    record = logging.LogRecord("prefect.flow_runs", logging.ERROR, "", 0, "Failed", (), (type(error), error, None))
    assert stage._briefly(record) and said in record.getMessage() and record.exc_info is None


def test_a_stage_says_when_it_is_done_and_how_long_it_took(monkeypatch, capsys):
    def prepare(task, params):
        """Prepare."""

    monkeypatch.setattr(sys, "argv", ["prepare", "olhs"])
    stage.run_stage(prepare, ["task"])
    assert re.fullmatch(r"prepare olhs: done in \d+ s\n", capsys.readouterr().err)


def test_no_flow_may_hang_for_ever():
    modules = [importlib.import_module(f"flows.{found.name}") for found in pkgutil.iter_modules(flows.__path__)]
    found = [one for module in modules for one in vars(module).values() if isinstance(one, Flow)]
    assert {"prepare", "generate", "train", "retrain", "answer"} < {one.name for one in found}
    assert not [one.name for one in found if not one.timeout_seconds]


def test_a_folder_of_an_experiment_runs_its_own_code(tmp_path):
    (tmp_path / "src/askless").mkdir(parents=True)
    (tmp_path / "src/askless/__init__.py").touch()
    shutil.copy(ROOT / "src/askless/errors.py", tmp_path / "src/askless")
    (tmp_path / "flows").mkdir()
    shutil.copy(ROOT / "flows/__init__.py", tmp_path / "flows")
    which = [sys.executable, "-c", "import flows, askless; print(askless.__file__)"]
    # What is installed, or set by who runs the tests, does not count.
    environment = {**bare_environment(), "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(which, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(tmp_path / "src/askless/__init__.py")
