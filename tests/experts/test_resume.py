"""Kill -9 at random moments and run again: nothing is asked twice, nothing is lost, the table is the same."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deferral.experts.store import AnswerStore
from tests.experts.chat_server import Answer, ChatServer, chat
from tests.experts.resume_worker import BATCH, ITEMS, REQUESTS
from tests.experts.tiny_models import texts

Worker = subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """The process that forks for each run."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-m", "tests.experts.resume_worker"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, bufsize=0, env=environment, cwd=Path(__file__).parents[2]
    ) as process:
        yield process
        assert process.stdin
        process.stdin.close()


def said(worker: Worker, seconds: float) -> bytes:
    """The worker's next line, or nothing if it says none in time."""
    assert worker.stdout
    return worker.stdout.readline() if select.select([worker.stdout], [], [], seconds)[0] else b""


def until_done(worker: Worker, job: dict[str, Any], progress: Callable[[], int], kills: int = 0, most: int = 0) -> int:
    """Run the job again and again, killing it at random moments up to `kills` times, until it ends by itself.

    A moment is a random number of steps on (0 to `most`) and some milliseconds more, in whatever it is doing.
    Returns how often it was killed.
    """
    assert worker.stdin
    rng, killed = random.Random(f"{job['run']} {kills}"), 0
    while True:
        goal = progress() + rng.randint(0, most) if killed < kills else None
        worker.stdin.write((json.dumps(job) + "\n").encode())
        pid, status = int(said(worker, 120)), b""
        while goal is not None and progress() < goal and not status:
            status = said(worker, 0.001)
        if goal is not None:
            status = status or said(worker, rng.uniform(0, 0.01))
            with suppress(ProcessLookupError):
                os.kill(pid, 0 if status else signal.SIGKILL)
        code = int(status or said(worker, 120))
        if not os.WIFSIGNALED(code):
            assert code == 0
            return killed
        killed += 1


def journal(log: Path) -> list[list[str]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def stable(table: pa.Table) -> pa.Table:
    """All that a re-run must repeat: everything but what the clock measured."""
    return table.drop_columns(["seconds"])


@pytest.mark.parametrize(
    ("backend", "mode", "kills"), [("llm", "label", 20), ("llm", "text", 10), ("vllm", "label", 6)]
)
def test_generation_killed_at_random_moments(
    tiny: Path, tmp_path: Path, worker: Worker, backend: str, mode: str, kills: int
) -> None:
    # The double reads every prompt alone.
    items = ITEMS if backend == "llm" else ITEMS // 4

    def run(name: str, kills: int) -> tuple[int, pa.Table, list[list[str]]]:
        paths = {"answers": tmp_path / name, "log": tmp_path / f"{name}.log", "out": tmp_path / f"{name}.parquet"}
        job = {"run": "local", "backend": backend, "mode": mode, "folder": str(tiny), "items": items}
        job |= {key: str(path) for key, path in paths.items()}
        killed = until_done(worker, job, lambda: len(journal(paths["log"])), kills, most=2)
        return killed, pq.read_table(paths["out"]), journal(paths["log"])

    _, expected, batches = run("whole", 0)
    assert len(batches) == items / BATCH
    killed, got, batches = run("killed", kills)
    times = Counter(key for batch in batches for key in batch)
    assert killed >= kills / 2
    assert len(times) == items
    assert sum(times.values()) - items <= BATCH * killed, "only the batch in flight may be run again"
    with AnswerStore(tmp_path / "killed" / "tiny.sqlite") as kept:
        assert len(kept) == items
    assert stable(got).equals(stable(expected), check_metadata=True)
    _, again, unchanged = run("killed", 0)
    assert unchanged == batches, "everything was kept"
    assert again.equals(got, check_metadata=True), "to the second"


def test_requests_killed_at_random_moments(server: ChatServer, tmp_path: Path, worker: Worker) -> None:
    server.reply = lambda request, before: Answer(chat(str(len(request.text) % 2), {"1": 0.7, "0": 0.3}), delay=0.01)
    out, items = tmp_path / "out.parquet", texts(REQUESTS, seed=7)
    job = {"run": "openai", "url": server.url, "answers": str(tmp_path), "out": str(out)}
    killed = until_done(worker, job, lambda: len(server.requests), kills=6, most=12)
    asked, got = Counter(server.asked()), pq.read_table(out)
    assert killed >= 3
    assert set(asked) == set(items)
    assert sum(asked.values()) - len(items) <= 2 * 4 * killed, "what was in flight, or had just come in"
    assert got["label"].to_pylist() == [str(len(item) % 2) for item in items]
    until_done(worker, job, lambda: len(server.requests))
    assert Counter(server.asked()) == asked
    assert pq.read_table(out).equals(got, check_metadata=True)
