"""The tasks of a comparison, and what a server of MLflow that dies in the middle leaves behind."""

import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager

import pytest

from askless.errors import DataError
from askless.registry import aliases as moves
from askless.registry import versions as registry
from askless.registry.versions import Unreachable
from flows.server import answers, free_port
from flows.ui import mlflow_command
from tasks.promotion import key_of, may_answer_later, read_weighed, settle_challenger, weigh_challenger
from tests.monitoring.test_shadow_log import logs, row
from tests.registry_data import LLM, kept, project, register, registry_in
from tests.registry_data import MODEL as MODELS

MODEL = MODELS["olhs"]


@pytest.fixture
def client(tmp_path, empty_store):
    """Where a project is with a champion and a cheaper challenger."""
    made = kept(project(tmp_path), "long")
    with registry_in(tmp_path, empty_store) as client:
        for share in (0.6, 0.4):
            register(client, made, budget=share)
        moves.promote(MODEL, 1, expected=None, reason="the first")
        yield client


def weigh(out="reports/olhs/comparison"):
    return weigh_challenger.fn("olhs", "params.yaml", "data", out)


def test_what_is_weighed_is_written_and_settled_from_there(client, tmp_path):
    folder = weigh()
    assert sorted(p.name for p in (tmp_path / folder).iterdir()) == [
        *(f"comparison.{kind}" for kind in ("html", "json", "md")),
        "weighed.json",
    ]
    weighed = read_weighed(folder)
    assert (weighed.champion, weighed.challenger, weighed.verdict.outcome) == (1, 2, "promoted")
    assert registry.champion(MODEL).number == 1
    said = settle_challenger.fn(folder)
    assert said.startswith(f"Version 2 is champion of {MODEL}. As good and cheaper: ")
    assert settle_challenger.fn(folder) == said


def test_live_requests_are_told_and_change_no_verdict(client, tmp_path):
    before = read_weighed(weigh())
    rows = [
        [row(f"i{n}", version, n < sent, expensive=LLM) for n in range(40)] for version, sent in (("1", 4), ("2", 40))
    ]
    logs(tmp_path / "data/log/olhs", *rows)
    folder = weigh()
    after = read_weighed(folder)
    assert before.comparison.live is None and after.verdict == before.verdict
    assert after.comparison.live["deferral_difference"]["value"] == pytest.approx(0.9)
    assert "### On live requests" in (tmp_path / folder / "comparison.md").read_text()


def test_what_an_earlier_comparison_left_is_gone(client, tmp_path):
    folder = weigh()
    settle_challenger.fn(folder)
    weigh()
    assert [p.name for p in (tmp_path / folder).iterdir()] == ["weighed.json"]
    assert json.loads((tmp_path / folder / "weighed.json").read_text())["verdict"] == {
        "outcome": "unchanged",
        "reason": "Version 2 is champion already.",
    }


class State:
    def __init__(self, error):
        self.error = error

    def result(self, raise_on_failure=True):
        if self.error:
            raise self.error


def test_only_what_may_go_well_later_is_tried_again():
    told = {
        Unreachable("x"): True,
        ConnectionError(): True,
        DataError("a", "b", "c", "d"): False,
        None: False,
    }
    assert {error: may_answer_later(None, None, State(error)) for error in told} == told


def test_a_key_of_an_artifact_is_made_of_any_name():
    assert key_of("My_Task 2ä") == "my-task-2-"


@contextmanager
def served(port):
    """MLflow's server over the registry of the working directory, killed with all its workers at the end."""
    command, health, environment = mlflow_command(port)
    server = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while not answers(health):
            assert server.poll() is None
            time.sleep(0.2)
        yield server
    finally:
        kill(server)


def kill(server):
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.mark.slow
def test_a_server_killed_between_two_writes_leaves_a_whole_champion_and_the_next_try_finishes(client, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    port, folder = free_port(), weigh()
    for alias, champion in (("champion", 1), ("previous", 2)):
        with served(port) as server, monkeypatch.context() as patched:
            point = moves._move

            def dies(model, moved, number, alias=alias, server=server, point=point):
                if moved == alias:
                    kill(server)
                point(model, moved, number)

            patched.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
            patched.setattr(moves, "_move", dies)
            with pytest.raises(Unreachable, match="did not do it"):
                settle_challenger.fn(folder)
        assert registry.champion(MODEL).number == champion
        assert registry.champion(MODEL).verdict == "promoted"
    with served(port), monkeypatch.context() as patched:
        patched.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        settle_challenger.fn(folder)
        assert {a: v.number for v in registry.versions(MODEL) for a in v.aliases} == {
            "champion": 2,
            "previous": 1,
            "challenger": 2,
        }
        assert moves.rollback(MODEL).number == 1
