"""Kill -9 at random moments and run again: nothing is asked twice, nothing is lost, the table is the same."""

import json
import os
from collections import Counter

import pyarrow.parquet as pq
import pytest

from askless.experts.answer_store import AnswerStore
from tests.experts.chat_server import Answer, chat
from tests.experts.resume_worker import BATCH, ITEMS, REQUESTS
from tests.experts.tiny_models import texts
from tests.forks import started, until_done


@pytest.fixture(scope="module")
def worker():
    """The process that forks for each run."""
    with started("tests.experts.resume_worker", {**os.environ, "TOKENIZERS_PARALLELISM": "false"}) as process:
        yield process


def journal(log):
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def stable(table):
    """All that a re-run must repeat: everything but what the clock measured."""
    return table.drop_columns(["seconds"])


@pytest.mark.parametrize(
    ("backend", "mode", "kills"),
    [
        ("llm", "label", 3),
        ("vllm", "label", 3),
        *(pytest.param("llm", mode, 25, marks=pytest.mark.slow) for mode in ("label", "text")),
    ],
)
def test_generation_killed_at_random_moments(tiny, tmp_path, worker, backend, mode, kills):
    # The double reads every prompt alone.
    items = ITEMS if backend == "llm" else ITEMS // 4

    def run(name, kills):
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


@pytest.mark.slow
def test_requests_killed_at_random_moments(server, tmp_path, worker):
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
