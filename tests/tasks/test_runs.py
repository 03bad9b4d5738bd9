"""Runs in MLflow whose process was killed."""

import os
import platform
import subprocess
import sys
import time

import mlflow
import psutil
import pytest

from tasks.runs import PROCESS, TWO_DAYS, _machine, look_for_lost_runs, tracked
from tests.pipeline import with_store, working_in

HERE, MINE = _machine(), psutil.Process().create_time()


@pytest.fixture(scope="module")
def ended():
    """The number of a process that is gone."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_the_next_run_marks_those_as_killed_whose_process_is_gone(tmp_path, empty_store, ended):
    now = int(1000 * time.time())
    long_ago = now - 1000 * (TWO_DAYS + 60)
    expected = {
        (f"{HERE} {ended} {MINE:.0f}", now): "KILLED",
        (f"{HERE} {os.getpid()} {MINE - 3600:.0f}", now): "KILLED",
        (f"{HERE} {os.getpid()} {MINE + 2:.0f}", long_ago): "RUNNING",
        ("elsewhere 1 5", now): "RUNNING",
        (f"{platform.node()} pid:[1] {ended} 5", now): "RUNNING",
        ("elsewhere 1 5", long_ago): "KILLED",
        ("", now): "RUNNING",
        ("", long_ago): "KILLED",
    }
    with working_in(tmp_path):
        with_store(tmp_path, empty_store)
        with tracked("olhs", "first", {"stage": "first"}) as first:
            client, number = mlflow.MlflowClient(), first.info.experiment_id
            runs = [
                client.create_run(number, start_time=start, tags={PROCESS: process} if process else {}).info.run_id
                for process, start in expected
            ]
            with tracked("olhs", "next", {"stage": "next"}):
                assert client.get_run(first.info.run_id).info.status == "RUNNING", "its process is this one"
        assert [client.get_run(run).info.status for run in runs] == [*expected.values()]
        left = client.create_run(number, tags={PROCESS: f"{HERE} {ended} {MINE:.0f}"}).info.run_id
        look_for_lost_runs.fn("olhs")
        assert client.get_run(left).info.status == "KILLED"
        assert client.get_run(first.info.run_id).info.status == "FINISHED"
        assert client.get_run(runs[0]).info.end_time is not None


def test_a_run_that_ended_while_lost_ones_were_looked_for_stays_as_it_ended(tmp_path, empty_store, ended, monkeypatch):
    with working_in(tmp_path):
        with_store(tmp_path, empty_store)
        with tracked("olhs", "first", {"stage": "first"}) as first:
            client = mlflow.MlflowClient()
            tags = {PROCESS: f"{HERE} {ended} {MINE:.0f}"}
            left = client.create_run(first.info.experiment_id, tags=tags).info.run_id
            seen = client.search_runs([first.info.experiment_id], f"attributes.run_id = '{left}'")
            client.set_terminated(left)
            monkeypatch.setattr(mlflow.MlflowClient, "search_runs", lambda *_: seen)
            look_for_lost_runs.fn("olhs")
        assert client.get_run(left).info.status == "FINISHED"
