"""A worker that is told to stop, runs that are lost, and runs that fell due while nobody worked: a real server."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import uuid4

import pytest
import yaml
from prefect.events import Event, emit_event
from prefect.states import Running, Scheduled

import flows.worker
from flows import deploy
from tests.flows.small_project import Production, until
from tests.pipeline import ROOT

pytestmark = pytest.mark.slow
# A run lasts until there is a file `enough`.
ANSWER = '''
import time
from pathlib import Path
from prefect import flow

@flow
def answer(task: str) -> None:
    """Waits to be told that it is enough."""
    with open("answered", "a") as journal:
        journal.write("began\\n")
    while not Path("enough").exists():
        time.sleep(0.2)
'''


@pytest.fixture(scope="module")
def production(tmp_path_factory, empty_server):
    made = Production(tmp_path_factory.mktemp("production"), empty_server)
    made.start()
    made.deploy()
    yield made
    made.stop()


@contextmanager
def worker(production, *words):
    """A worker's process; one that is still there at the end is killed."""
    command = [sys.executable, "-m", "flows.worker", *words]
    folder = production.project.folder
    with open(folder / "worker.log", "w") as log:
        process = subprocess.Popen(command, cwd=folder, env=production.project.environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def at_work(production, stage, what):
    """Submit a run whose stage lasts so long, and wait until it is at it."""
    project = production.project
    project.change(what)
    before = len(project.lines())
    run = production.submit()
    until(lambda: stage in project.lines()[before:] or None, "a stage at work")
    return run


def test_a_worker_that_is_told_to_stop_lets_runs_end_and_after_its_grace_cancels_them(production):
    project = production.project
    project.say("slow", "train", "3600")
    said = "Stopping: no run is begun any more; 1 under way, with 480 s to end."
    with worker(production) as process:
        run = at_work(production, "train", "one")
        process.send_signal(signal.SIGTERM)
        until(lambda: said in project.lines("worker.log"), said)
        later = production.submit()
        project.say("slow", "train", None)
        assert process.wait() == 0
    assert production.client.read_flow_run(run).state.is_completed()
    assert production.client.read_flow_run(later).state.is_scheduled(), "it waits for the next worker"
    production.client.delete_flow_run(later)
    project.say("slow", "train", "3600")
    with worker(production, "--grace", "1") as process:
        run = at_work(production, "train", "two")
        process.send_signal(signal.SIGTERM)
        process.wait()
    assert production.client.read_flow_run(run).state.is_cancelled()
    project.say("slow", "train", None)
    with worker(production):
        assert production.ended(production.submit()).is_completed(), "its turn and its stage are free again"


def test_a_run_that_is_being_begun_when_the_worker_is_told_to_stop_is_not_left(monkeypatch):
    """The server has it as Pending then, and gives it to no other worker."""
    done = []

    class Worker:
        def __init__(self, work_pool_name):
            self._submitting_flow_run_ids = set()

        async def get_and_submit_flow_runs(self):
            self._submitting_flow_run_ids.add(run.id)

        async def run(self, flow_run):
            await asyncio.sleep(0.5)
            done.append(flow_run.id)

        async def start(self, printer):
            await self.get_and_submit_flow_runs()
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.5)
            running = asyncio.create_task(self.run(run))
            await asyncio.sleep(0)
            self._submitting_flow_run_ids.discard(run.id)
            await running
            await asyncio.sleep(60)

    run = SimpleNamespace(id=uuid4())
    monkeypatch.setattr(flows.worker, "ProcessWorker", Worker)
    asyncio.run(flows.worker.work("pool", grace=30))
    assert done == [run.id]


def test_a_run_that_is_not_heard_of_any_more_is_shown_as_crashed(production, monkeypatch):
    server = production.client
    assert deploy.LOST in {each.name for each in server.read_automations()}
    monkeypatch.setattr(deploy, "LOST_AFTER", timedelta(seconds=10))
    deploy._replace(server, deploy.lost_runs())
    deployment = server.read_deployment_by_name("retrain/retrain")
    run = server.create_flow_run_from_deployment(deployment.id, state=Running())

    def crashed():
        # A server loads an automation a moment after it is made, and knows nothing of a beat before that.
        beat: Event | None = emit_event(deploy.HEARTBEAT, {"prefect.resource.id": f"prefect.flow-run.{run.id}"})
        assert beat is not None
        for _ in range(30):
            time.sleep(1)
            state = server.read_flow_run(run.id).state
            if state.is_crashed():
                return state
        return None

    with production.heard():
        assert until(crashed, "the state of a lost run").message.startswith("Not heard of for")


def test_what_fell_due_while_no_worker_was_there_is_one_run(production):
    project, server = production.project, production.client
    (project.folder / "flows" / "answer.py").write_text(ANSWER)
    written = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    (about,) = [each for each in written["deployments"] if each["name"] == "answer"]
    (project.folder / "prefect.yaml").write_text(
        yaml.safe_dump({**written, "deployments": [{**about, "schedules": []}]})
    )
    project.run(sys.executable, "-m", "flows.deploy")
    deployment = server.read_deployment_by_name("answer/answer")
    due = [datetime.now(UTC) - timedelta(minutes=15 * n) for n in range(8)]
    runs = [server.create_flow_run_from_deployment(deployment.id, state=Scheduled(scheduled_time=at)).id for at in due]

    def states():
        return [server.read_flow_run(run).state for run in runs]

    with worker(production):
        until(lambda: sum(state.is_cancelled() for state in states()) == 7 or None, "the end of all but one")
        (project.folder / "enough").touch()
        until(lambda: all(state.is_final() for state in states()) or None, "the end of the one")
    assert project.lines("answered") == ["began"]
    assert sorted({state.name for state in states()}) == ["Cancelled", "Completed"]
