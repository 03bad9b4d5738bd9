"""What every backend that asks a language model must do, with one model behind all of them.

`llm` runs the demo's smallest model through transformers, `vllm` through the double of its module, and `openai` asks a
server that answers with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from askless import schema
from askless.data.demo.documents import documents
from askless.data.demo.posts import posts
from askless.experts import Setting, build
from askless.experts.answer_store import AnswerStore
from askless.experts.local.causal_lm import LlmExpert
from askless.experts.local.checkpoint import Checkpoint
from askless.experts.paid import PaidExpert
from askless.prompts import PROMPTS, Prompt
from tests.experts import vllm_double
from tests.experts.chat_server import Answer, ChatServer, Request, chat
from tests.experts.tiny_models import examples

MODEL, CLASSES, BATCH = "demo:xs", ("0", "1"), 4
POSTS = [post["text"] for post in posts(11, 3)]
DOCUMENTS = [document["text"] for document in documents(5, 3)]
ODD = Prompt("{text}\nAnswer:", {"0": "zero", "1": "one"})


@dataclass
class Backend:
    """One backend: `options` of an expert that asks the model, and the prompts that it was `asked` so far."""

    name: str
    options: dict[str, Any]
    asked: Callable[[], int]

    def expert(self, answers: Path | None = None, classes: tuple[str, ...] = CLASSES, **options: Any) -> PaidExpert:
        """The expert, with the demo's prompt for posts or, without classes, for documents."""
        setting = Setting("one", "demo", classes, "demo-olhs" if classes else "demo-xsum", answers=answers)
        made = build(setting, {"backend": self.name, **self.options, **options})
        assert isinstance(made, PaidExpert)
        return made

    def written(self, most: int, answers: Path | None = None, **options: Any) -> pa.Table:
        """What it writes about the documents, in at most so many tokens."""
        limit = {"max_tokens" if self.name == "openai" else "max_new_tokens": most}
        return self.expert(answers, (), **limit, **options).answer(examples(DOCUMENTS))


def local(monkeypatch: pytest.MonkeyPatch) -> Backend:
    """transformers, here."""
    run, rows = LlmExpert._run, []
    monkeypatch.setattr(LlmExpert, "_run", lambda self, items: rows.extend(items) or run(self, items))
    return Backend("llm", {"model": MODEL, "device": "cpu", "batch_size": BATCH}, lambda: len(rows))


def offline(monkeypatch: pytest.MonkeyPatch) -> Backend:
    """vLLM's double."""
    double = vllm_double.install(monkeypatch)
    return Backend("vllm", {"model": MODEL, "batch_size": BATCH}, lambda: sum(map(len, double.groups)))


def served(server: ChatServer) -> Backend:
    """A server that answers with the model's own replies and first alternatives."""
    part = Checkpoint(MODEL, None, "float32", "cpu", False)
    llm = vllm_double.LLM(str(part.folder))

    def reply(request: Request, before: int) -> Answer:
        (ids,) = part.encode([request.text])
        how = vllm_double.SamplingParams(temperature=0, max_tokens=request.body["max_tokens"], logprobs=5)
        said = llm._answer(ids, how).outputs[0]
        assert said.logprobs is not None
        top = {found.decoded_token: np.exp(found.logprob) for found in said.logprobs[0].values()}
        body = chat(said.text, top, prompt_tokens=len(ids), completion_tokens=len(said.token_ids))
        body["choices"][0]["finish_reason"] = said.finish_reason
        return Answer(body, delay=0.02 * (len(request.text) % 3))

    server.reply = reply
    options = {"model": "served", "base_url": server.url, "max_tokens": 1, "concurrency": BATCH}
    return Backend("openai", options, lambda: len(server.requests))


@pytest.fixture(params=["llm", "vllm", "openai"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Backend:
    if request.param == "openai":
        return served(request.getfixturevalue("server"))
    return {"llm": local, "vllm": offline}[request.param](monkeypatch)


@pytest.fixture(scope="module")
def expected() -> tuple[pa.Table, pa.Table]:
    """Labels of the posts and summaries of the documents by the local model, before anything is replaced."""
    asked = Setting("one", "demo", CLASSES, "demo-olhs")
    labels = LlmExpert(asked, model=MODEL).answer(examples(POSTS))
    writes = LlmExpert(Setting("one", "demo", (), "demo-xsum"), model=MODEL, max_new_tokens=24)
    return labels, writes.answer(examples(DOCUMENTS))


def test_the_same_prompts_have_the_same_labels_in_the_order_of_the_items(
    backend: Backend, expected: tuple[pa.Table, pa.Table]
) -> None:
    table = backend.expert().answer(examples(POSTS))
    for name in ("id", "label", "error", "prompt_tokens", "completion_tokens"):
        assert table[name].equals(expected[0][name]), name
    assert len(set(table["label"].to_pylist())) == 2
    np.testing.assert_allclose(table["proba"].to_pylist(), expected[0]["proba"].to_pylist(), atol=0.02)
    np.testing.assert_allclose(table["logprob"].to_pylist(), expected[0]["logprob"].to_pylist(), atol=1e-4)


def test_the_same_documents_have_the_same_summaries(backend: Backend, expected: tuple[pa.Table, pa.Table]) -> None:
    table = backend.written(24)
    for name in ("id", "label", "text", "error", "prompt_tokens", "completion_tokens"):
        assert table[name].equals(expected[1][name]), name


def test_equal_texts_are_asked_once(backend: Backend) -> None:
    table = backend.expert().answer(examples([POSTS[0], POSTS[1], POSTS[0]]))
    assert backend.asked() == 2
    first, _, third = table.drop_columns(["id"]).to_pylist()
    assert first == third


def test_a_run_that_ends_early_goes_on_where_it_was_and_asks_nothing_twice(backend: Backend, tmp_path: Path) -> None:
    whole = backend.expert().answer(examples(POSTS))
    before = backend.asked()
    expert = backend.expert(tmp_path)
    batches = expert.ask({expert.key(text): text for text in POSTS}, {})
    with AnswerStore(tmp_path / "one.sqlite") as store:
        store.put_many(next(batches))
        batches.close()
        kept = len(store)
    under_way = backend.asked() - before
    assert 0 < kept <= under_way < len(POSTS)
    table = backend.expert(tmp_path).answer(examples(POSTS))
    assert backend.asked() - before == under_way + len(POSTS) - kept
    stable = ("id", "expert", "label", "proba", "logprob", "mass", "text", "prompt_tokens", "error")
    assert table.select(stable).equals(whole.select(stable), check_metadata=True)
    again = backend.expert(tmp_path).answer(examples(POSTS))
    assert again.equals(table, check_metadata=True)
    assert backend.asked() - before == under_way + len(POSTS) - kept


def test_a_reply_that_is_no_label_is_null_with_its_error_and_is_kept(backend: Backend, tmp_path: Path) -> None:
    options = {"prompt": ODD} | ({} if backend.name == "openai" else {"mode": "text", "max_new_tokens": 3})
    for _ in range(2):
        rows = backend.expert(tmp_path, **options).answer(examples(POSTS[:3])).to_pylist()
        assert {row["label"] for row in rows} == {None}
        assert {row["error"] for row in rows} == {
            "unparsable reply: the reply must be one of ['zero', 'one'] and nothing else"
        }
        assert all(row["text"] and row["proba"] is None for row in rows)
        assert backend.asked() == 3


def test_a_summary_that_is_cut_off_says_so(backend: Backend) -> None:
    table = backend.written(3)
    assert {str(error).split(":")[0] for error in table["error"].to_pylist()} == {"cut off"}
    assert all(table["text"].to_pylist())


def test_metadata_say_what_answered(backend: Backend) -> None:
    expert = backend.expert()
    meta = schema.meta_of(expert.answer(examples(POSTS[:1])))
    assert meta["task"] == "demo"
    assert meta["classes"] == list(CLASSES)
    assert meta["model"] == backend.options["model"]
    assert meta["prompt_sha"] == expert.prompt_sha() != backend.expert(prompt=ODD).prompt_sha()
    assert "revision" in meta
    assert PROMPTS["demo-olhs"] is expert.template()


def test_no_examples_are_no_work(backend: Backend) -> None:
    assert backend.expert().answer(examples([])).num_rows == 0
    assert backend.asked() == 0
