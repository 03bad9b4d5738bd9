"""An expert asked by batches, against a real server with faults, killed at every step."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from askless.config import Price
from askless.costs import CostModel
from askless.errors import ExpertError
from askless.experts.answer_store import AnswerStore
from askless.experts.remote import batches, retrying
from askless.experts.remote.openai import OpenAiExpert
from askless.prompts import Prompt
from askless.spending.guard import GuardedExpert
from askless.spending.ledger import Ledger
from tests.experts.batch_server import PRICE, BatchServer
from tests.experts.chat_server import Answer, chat, problem
from tests.experts.tiny_models import examples, setting

PROMPT = Prompt("{text}", {"0": "0", "1": "1"})
TEXTS = [f"text {n}" for n in range(12)]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-0123456789")
    monkeypatch.setattr(retrying, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(batches, "FIRST_LOOK_S", 0.001)


@pytest.fixture
def server() -> Iterator[BatchServer]:
    running = BatchServer()
    yield running
    running.close()


def expert(server: BatchServer, answers: Path | None = None, **options: Any) -> OpenAiExpert:
    given = {"model": "m", "base_url": server.url, "prompt": PROMPT, "mode": "batch", "max_retries": 1}
    return OpenAiExpert(setting(answers), **given | options)


def test_all_is_asked_in_one_file_and_matched_by_id(server: BatchServer, tmp_path: Path) -> None:
    server.line = lambda request: Answer(chat(request.text[-1], {request.text[-1]: 0.9}))
    texts = ["ends in 0", "ends in 1", "ends in 0", *TEXTS]
    table = expert(server, tmp_path).answer(examples(texts))
    assert table["label"].to_pylist()[:3] == ["0", "1", "0"]
    assert table["batched"].to_pylist() == [True] * len(texts)
    assert len(server.batches) == 1 and server.answered.total() == len(set(texts))
    assert not server.files, "what it had of the texts is deleted"
    again = expert(server, tmp_path, mode="live").answer(examples(texts))
    assert again.equals(table) and not server.requests, "the same answers, kept"


def guarded(server: BatchServer, folder: Path, limit: float | None = None, **options: Any) -> GuardedExpert:
    """The same behind a ledger: an answer costs `PRICE` in a batch, and ten times as much live."""
    price = Price(usd_per_1k_answers=10_000 * PRICE, batch=Price(usd_per_1k_answers=1000 * PRICE))
    made = expert(server, folder, **options)
    return GuardedExpert(made, CostModel("usd", {made.name: price}), Ledger(folder / "ledger.sqlite", limit))


def let_go(made: GuardedExpert) -> None:
    made.let_go()
    made.ledger.close()


@contextmanager
def closing_all() -> Iterator[list[GuardedExpert]]:
    """Closes what was opened, however it ended."""
    opened: list[GuardedExpert] = []
    try:
        yield opened
    finally:
        for made in opened:
            let_go(made)


class Killed(BaseException):
    """The end of a process, at any step."""


STEPS = ((AnswerStore, "put_many"), (AnswerStore, "note_batch"), (Ledger, "_write"), (batches.Batches, "_tried"))


class Steps:
    """Counts these steps of a run, and ends it at one of them: before it is taken, or after."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: Sequence[tuple[type, str]] = STEPS) -> None:
        self.left: float = float("inf")
        self.done = True
        for kind, name in steps:
            monkeypatch.setattr(kind, name, self._counted(getattr(kind, name)))

    def _counted(self, step: Any) -> Any:
        def counted(*arguments: Any) -> Any:
            self.left -= 1
            if not self.left and not self.done:
                raise Killed
            result = step(*arguments)
            if not self.left:
                raise Killed
            return result

        return counted


RUNS = int(os.environ.get("ASKLESS_BATCH_RUNS", "200"))


@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(n, marks=pytest.mark.slow) for n in range(6, RUNS))])
def test_killed_at_any_step_nothing_is_lost_asked_twice_or_billed_beyond_the_limit(
    server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng, steps = random.Random(seed), Steps(monkeypatch)
    server.rng, server.share = rng, rng.choice([0.0, 0.5, 0.9])
    faults, api, kills = rng.choice([0.0, 0.2]), rng.choice([0.0, 0.1]), rng.randint(0, 6)
    broke = bool(api)
    server.how = lambda number: rng.choice(["completed", "expired", "cancelled"])

    def line(request: Any) -> Answer:
        if rng.random() < faults:
            return Answer(problem("not now"), rng.choice([429, 500]))
        return Answer(chat(request.text[-1]))

    def broken(method: str, path: str) -> Answer | None:
        return Answer(problem("broken"), 500) if rng.random() < api else None

    server.line, server.before, server.after = line, broken, broken
    texts = [f"{n} is {n % 2}" for n in range(30)]
    limit = rng.choice([None, 12.5 * PRICE])
    rows: dict[str, str | None] = dict.fromkeys(texts)
    while kills > -4:
        kills -= 1
        steps.left, steps.done = (rng.randint(1, 60), rng.random() < 0.5) if kills > 0 else (float("inf"), True)
        if kills < -2:
            # The server is well at last.
            faults = api = 0.0
            server.how = lambda number: "completed"
        with suppress(Killed, *([ExpertError] if kills > -4 else [])), closing_all() as opened:
            opened.append(made := guarded(server, tmp_path, limit, batch_requests=rng.choice([7, 100])))
            rows = dict(zip(texts, made.answer(examples(texts))["label"].to_pylist(), strict=True))
        assert limit is None or server.bill <= limit
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        spent, doubted = ledger.spent, ledger.doubted
    assert max(server.answered.values()) == 1, "asked twice"
    assert spent == pytest.approx(server.bill) and not doubted
    assert {text for text, label in rows.items() if label is not None} == set(server.answered), "lost"
    assert all(label in (None, text[-1]) for text, label in rows.items())
    assert len(server.answered) == (30 if limit is None else 12)
    assert broke or not server.files, "what the server has of the texts"


def test_lines_that_fail_or_come_too_late_are_asked_again_three_times(server: BatchServer, tmp_path: Path) -> None:
    server.share = 0.5
    server.how = lambda number: "expired" if number < 2 else "completed"
    made = guarded(server, tmp_path)
    table = made.answer(examples(TEXTS))
    assert table["label"].null_count == 0 and len(server.batches) == 3 and max(server.answered.values()) == 1
    assert made.ledger.spent == pytest.approx(PRICE * len(TEXTS)), "at the price of a batch"
    let_go(made)


def late(content: bytes) -> bytes:
    """The same lines, then each as another answer, and as an error."""
    told = [json.loads(line) for line in content.splitlines()]
    rows = [*told, *({**row, "response": {"status_code": 200, "body": chat("0")}} for row in told)]
    return b"".join(json.dumps(row).encode() + b"\n" for row in [*rows, *({**row, "response": None} for row in told)])


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"),
        lambda content: content.replace(b'"status_code": 200', b'"status_code": "200"'),
        lambda content: b'\x00no line\n[1]\n"x"\n{"custom_id": 5}\n' + content + b'{"custom_id": "nobody\'s"}\n{"cut',
        late,
    ],
    ids=["as a spreadsheet writes", "statuses in digits", "garbage between", "each line thrice"],
)
def test_results_in_odd_files_are_read(server: BatchServer, tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    def content(method: str, path: str) -> Answer | None:
        name = path.split("/")[-2]
        kept = server.files[name]["content"] if method == "GET" and path.endswith("/content") else None
        assert kept is None or change(kept) != kept
        return None if kept is None else Answer(change(kept), headers={"content-type": "application/jsonl"})

    server.after = content
    assert expert(server, tmp_path).answer(examples(TEXTS))["label"].to_pylist() == ["1"] * len(TEXTS)
    assert server.answered.total() == len(TEXTS)


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (400, problem("Rejected: your request was flagged.", "content_filter"), "HTTP 400: Rejected: your request was"),
        (500, problem("oh"), "HTTP 500"),
        (200, {"choices": []}, "unreadable reply (it has no message)"),
    ],
)
def test_a_line_without_an_answer_has_its_reason(
    server: BatchServer, tmp_path: Path, status: int, body: Any, why: str
) -> None:
    server.line = lambda request: Answer(body, status) if request.text == "odd" else Answer(chat("1"))
    table = expert(server, tmp_path).answer(examples(["odd", "even"]))
    assert table["label"].to_pylist() == [None, "1"]
    assert table["error"].to_pylist()[0].startswith(why) and server.answered["even"] == 1


def test_a_field_that_the_model_does_not_take_is_asked_for_otherwise(server: BatchServer, tmp_path: Path) -> None:
    def line(request: Any) -> Answer:
        if "max_tokens" in request.body:
            return Answer(problem("Unsupported parameter: 'max_tokens' is not supported with this model."), 400)
        return Answer(chat("1"))

    server.line = line
    assert expert(server, tmp_path).answer(examples(TEXTS))["label"].null_count == 0
    assert len(server.batches) == 2


def test_answers_of_another_model_are_kept_at_the_server_until_that_is_put_right(
    server: BatchServer, tmp_path: Path
) -> None:
    server.line = lambda request: Answer({**chat("1"), "model": "other"})
    with pytest.raises(ExpertError, match="answered by another model, 'other', not 'm'; say served_as"):
        expert(server, tmp_path).answer(examples(TEXTS))
    assert expert(server, tmp_path, served_as="other").answer(examples(TEXTS))["label"].null_count == 0
    assert len(server.batches) == 1


def test_a_batch_that_is_refused_ends_the_run_and_costs_nothing(server: BatchServer, tmp_path: Path) -> None:
    server.how = lambda number: "failed"
    made = guarded(server, tmp_path, 1.0)
    table = made.answer(examples(["a"]))
    assert table["error"].to_pylist() == ["the batch was refused (The model m does not exist.)"]
    assert made.ledger.left == 1.0
    let_go(made)
    with pytest.raises(
        ExpertError, match=r"the batch was refused \(The model m does not exist\.\)\. Allowed: a server"
    ):
        expert(server).answer(examples(["a"]))


def test_a_server_without_batches_says_so(server: BatchServer) -> None:
    server.before = lambda method, path: Answer(problem("Not Found"), 404)
    with pytest.raises(ExpertError, match=r"it took no batch \(HTTP 404: .*mode: live for others"):
        expert(server).answer(examples(["a"]))


def test_what_a_batch_is_answering_is_not_asked_live_as_well(server: BatchServer, tmp_path: Path) -> None:
    server.how = lambda number: "in_progress"
    made = guarded(server, tmp_path)
    made.expert.on_wait = lambda why: made.halt("interrupted")  # type: ignore[method-assign]
    with pytest.raises(ExpertError, match="interrupted; the server goes on with what it has"):
        made.answer(examples(TEXTS))
    let_go(made)
    with pytest.raises(ExpertError, match="batches that are under way answer 12 of these items"):
        expert(server, tmp_path, mode="live").answer(examples(TEXTS))
    server.how = lambda number: "completed"
    assert guarded(server, tmp_path).answer(examples(TEXTS))["label"].null_count == 0
    assert len(server.batches) == 1


def test_texts_that_one_file_cannot_hold_are_cut_and_wait_for_room(server: BatchServer, tmp_path: Path) -> None:
    full = iter([False, True, False, False, False])
    server.how = lambda number: "full" if next(full) else "completed"
    table = expert(server, tmp_path, batch_requests=5).answer(examples(TEXTS))
    assert table["label"].null_count == 0 and len(server.batches) == 4
