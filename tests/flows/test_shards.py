"""One generation by threads and on Ray, in many shards and in one, undisturbed and killed: the same table."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
from collections import Counter
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pyarrow.parquet as pq
import pytest

from askless.config import Generate
from askless.errors import ExpertError
from askless.experts.answer_store import AnswerStore
from flows.shards import DEATHS, ShardRun
from tasks.progress import Reporter
from tasks.runners import Workers, _cluster, workers
from tasks.shards import Counts, ShardStopped
from tests.experts.chat_server import Answer, chat, problem
from tests.experts.test_resume import stable
from tests.flows.shard_worker import BATCH, ITEMS, generated, project
from tests.forks import started, until_done
from tests.pipeline import LLM, working_in

pytestmark = pytest.mark.usefixtures("prefect_api")

ALONE = {"batch_size": 1, "share_prefix": False}
AT_WORK = "ray::answer_shard"


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tiny models run on one thread, here as in the workers of Ray."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def on_ray(prefect_api):
    """A Ray of two workers on this machine for all of these tests, as the stage starts it."""
    import ray

    with _cluster(ray, Generate(runner="ray", workers=2)):
        yield {"runner": "ray", "workers": 2}
    assert not ray.is_initialized()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of projects, with MLflow's database for all of them."""
    return tmp_path_factory.mktemp("shards")


def made(folder: Path) -> Path:
    with working_in(folder.parent):
        return generated(folder)


@pytest.fixture(scope="module")
def whole(place):
    """The table of a run that nothing disturbs, by threads."""
    return stable(pq.read_table(made(project(place / "undisturbed"))))


@pytest.mark.slow
def test_ray_threads_and_one_shard_make_the_same_table(place, on_ray):
    ways = {
        "ray": {**on_ray, "shard_rows": 30},
        "threads": {"workers": 3, "shard_rows": 64},
        "whole": {"shard_rows": 1000},
    }
    # Each item alone in its batch: there the shard does not matter to the last digit.
    files = {made(project(place / name, 120, ALONE, **how)).read_bytes() for name, how in ways.items()}
    assert len(files) == 1
    assert not list(place.glob("*/shards"))


def workers_at_work() -> list[int]:
    """The process ids of this Ray's workers that are at a shard."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            found += [process.pid] * " ".join(process.cmdline()).startswith(AT_WORK)
    return found


def killed_on_ray(folder: Path, items: int, kills: int) -> tuple[int, int]:
    """Run on Ray, killing a worker at `kills` random moments; returns the kills and the answers that were computed."""
    from prefect import flow

    from askless import config
    from tasks.generate import answer_shard, asked, cut_examples, merge_parts

    params, where, rng = str(folder / "params.yaml"), str(folder / "shards"), random.Random(kills)
    settings, killed = config.load(params), 0

    class Killer(Reporter):
        """Kills a worker instead of reporting progress; none where another death would give a shard up."""

        goal = rng.randint(1, 40)

        def due(self) -> bool:
            nonlocal killed
            at_work, done = workers_at_work(), at_hand.shards.done
            last = any(times == DEATHS and done(n) == before for n, (before, times) in shift._deaths.items())
            if killed < kills and at_work and not last and at_hand.shards.counts().done >= self.goal:
                os.kill(rng.choice(at_work), signal.SIGKILL)
                killed += 1
                self.goal = at_hand.shards.counts().done + rng.randint(0, items // (kills + 1))
            return False

    @flow(name="killed")
    def run() -> int:
        nonlocal at_hand, shift
        rows = cut_examples("olhs", LLM, params, str(folder / "examples.parquet"), where)
        with workers(settings.generate, False, where, str(folder / f"answers/{LLM}.sqlite"), LLM, {}) as at_hand:
            setting = asked(settings, "olhs", LLM).setting
            parameters = {"setting": setting, "options": settings.expert(LLM), "shards": at_hand.shards}
            reporter = Killer("killed", len(rows), 0.1, len, len)
            shift = ShardRun(at_hand, answer_shard, parameters, len(rows))
            shift.work(reporter)
            computed = at_hand.shards.counts().asked
        merge_parts("olhs", LLM, params, where, len(rows), "", str(folder / "out.parquet"))
        return int(computed)

    at_hand: Any = None
    shift: Any = None
    with working_in(folder.parent):
        computed = run()
    return killed, computed


@pytest.mark.slow
def test_workers_of_ray_killed_at_random_moments(place, on_ray, kills=10, items=2000):
    # A worker answers hundreds of these in the time between two looks at it.
    folder = project(place / f"ray {kills}", items, **on_ray)
    killed, computed = killed_on_ray(folder, items, kills)
    assert killed == kills
    assert computed == items, "what was kept is not computed again"
    with AnswerStore(folder / f"answers/{LLM}.sqlite") as kept:
        assert len(kept) == items
    whole = stable(pq.read_table(made(project(place / f"whole {kills}", items))))
    assert stable(pq.read_table(folder / "out.parquet")).equals(whole, check_metadata=True)


@pytest.fixture(scope="module")
def worker(environment):
    with started("tests.flows.shard_worker", environment) as process:
        yield process


def lines(folder: Path) -> list[dict[str, list[str]]]:
    log = folder / "log"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.mark.slow
def test_runs_by_threads_killed_at_random_moments(place, worker, whole, kills=10):
    folder = project(place / f"threads {kills}", workers=2)
    job = {"folder": str(folder)}
    killed = until_done(worker, job, lambda: len(lines(folder)), kills, most=ITEMS // BATCH // (kills + 1))
    times = Counter(key for batch in lines(folder) for key in batch["keys"])
    assert killed >= 0.8 * kills
    assert len(times) == ITEMS, "nothing is lost"
    assert [batch["again"] for batch in lines(folder) if batch["again"]] == [], "what was kept is not computed again"
    assert sum(times.values()) - ITEMS <= BATCH * killed
    assert stable(pq.read_table(folder / "out.parquet")).equals(whole, check_metadata=True)


class Lost(Exception):
    """A worker died."""


class Future:
    """A shard at work that ends as it is told: with a result, an error, or the death of its worker."""

    def __init__(self, end: Any) -> None:
        self.end, self.task_run_id = end, uuid4()

    def result(self, timeout: float, raise_on_failure: bool) -> Any:
        if isinstance(self.end, Lost):
            raise self.end
        return self.end


class Counted:
    """The calls of `Shards` that `ShardRun` makes."""

    def __init__(self, done: list[int]) -> None:
        self._done, self.stopped = iter(done), False

    def done(self, number: int) -> int:
        return next(self._done)

    def stop(self) -> None:
        self.stopped = True

    def counts(self) -> Counts:
        return Counts(0, 0, 0, 0.0)


class Unread(Reporter):
    """Reports to nobody."""

    def __init__(self) -> None:
        self.reports = 0

    def due(self) -> bool:
        return False

    def report(self, counts: Counts) -> None:
        self.reports += 1


def shift(ends: list[Any], done: list[int], shards: int) -> tuple[ShardRun, Counted, list[int]]:
    """A shift of two workers whose shards end, in the order in which they are given out, as `ends` say."""
    given, counted, ends_left = [], Counted(done), iter(ends)

    def submit(task: Any, parameters: dict[str, Any]) -> Any:
        given.append(parameters["number"])
        return Future(next(ends_left))

    return ShardRun(Workers(submit, 2, counted, (Lost,)), None, {}, shards), counted, given


@pytest.fixture
def in_a_run(monkeypatch):
    """A log, and nobody to tell of a death: there is no run."""
    monkeypatch.setattr("flows.shards.get_run_logger", lambda: logging.getLogger("told"))
    monkeypatch.setattr("flows.shards.get_client", lambda **_: nullcontext())
    monkeypatch.setattr("flows.shards.LOOK_SECONDS", 0)


def test_a_shard_whose_workers_die_without_an_answer_more_is_given_up(in_a_run):
    ends = [Lost("out of memory\nmore"), *[Lost("out of memory\nmore")] * 5]
    at_work, told, given = shift(ends, [7, 7, 8, 8, 8, 8], 1)
    with pytest.raises(ExpertError) as error:
        at_work.work(Unread())
    assert str(error.value) == (
        "Shard 0: 4 workers in a row died over it without an answer (out of memory). Allowed: a model and a batch that "
        "fit a worker's memory. Set a smaller batch_tokens, dtype or generate.workers and run again: what was answered "
        "is kept and not asked again."
    )
    assert given == [0] * 6, "an answer more, and it counts from one again"
    assert told.stopped


def test_a_shard_that_fails_for_good_lets_no_other_begin(in_a_run):
    refused = ExpertError("refused")
    at_work, told, given = shift([1, refused, ShardStopped("too"), 1, 1], [], 5)
    with pytest.raises(ExpertError, match="refused"):
        at_work.work(Unread())
    assert given == [0, 1]
    assert told.stopped


def test_shards_are_given_out_in_order_and_the_end_is_told(in_a_run):
    at_work, told, given = shift([1] * 5, [], 5)
    reporter = Unread()
    at_work.work(reporter)
    assert given == [0, 1, 2, 3, 4]
    assert reporter.reports == 1
    assert not told.stopped


def test_a_server_that_refuses_is_asked_by_no_further_shard_and_pays_on_where_it_was(place, server):
    def refuse(request, before):
        return answer if request.number <= 20 else Answer(problem("wrong key", "invalid_api_key"), status=401)

    answer, server.reply = Answer(chat("1", {"1": 0.8, "0": 0.2})), refuse
    told = {"backend": "openai", "model": "m", "base_url": server.url, "prompt": "olhs", "concurrency": 2}
    folder = project(place / "served", 60, told, only=True, shard_rows=10, workers=2, runner="ray")
    with pytest.raises(ExpertError, match="the key was refused"):
        made(folder)
    assert len(server.requests) <= 20 + 2 * 2
    server.reply = lambda request, before: answer
    said = pq.read_table(made(folder))
    assert said["label"].to_pylist() == ["1"] * 60
    assert max(Counter(server.asked()).values()) <= 2
    assert Counter(server.asked()).total() <= 60 + 2 * 2


def test_progress_is_among_the_runs_artifacts_and_in_mlflow(place):
    import mlflow
    from prefect.client.orchestration import get_client

    folder = project(place / "watched", 60, report_seconds=0.05, workers=2)
    made(folder)
    with get_client(sync_client=True) as client:
        shown = [artifact for artifact in client.read_artifacts() if artifact.key == f"generate-olhs-{LLM}"]
    last = max(shown, key=lambda artifact: artifact.created)
    assert (last.type, last.data) == ("progress", 100.0)
    assert last.description.startswith(f"olhs {LLM}: 60 of 60 items (100 %), ")
    store = mlflow.MlflowClient(f"sqlite:///{place}/mlruns/mlflow.db")
    experiment = store.get_experiment_by_name("olhs")
    run = store.search_runs([experiment.experiment_id], f"tags.llm = '{LLM}'", max_results=1)[0]
    assert run.info.run_name == f"generate {LLM}"
    assert run.info.status == "FINISHED"
    assert run.data.params["runner"] == "threads"
    assert run.data.metrics["items"] == 60
    assert run.data.metrics["usd"] > 0
    history = [metric.value for metric in store.get_metric_history(run.info.run_id, "items")]
    assert history == sorted(history)
    assert len(history) > 1
    assert "system/cpu_utilization_percentage" in run.data.metrics
