"""What every registered expert must do, with the tiny real model, server or table behind each.

`llm` runs the demo's smallest model through transformers, `vllm` through the double of its module, and `openai` asks a
server that answers with it; `seq2seq` runs a tiny T5, and the small experts learn from the demo's posts and documents.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from askless import policies, schema
from askless.bundles.bundle import Bundle
from askless.config import Price
from askless.costs import CostModel
from askless.data.demo.documents import documents
from askless.data.demo.posts import posts
from askless.data.demo.vectors import write_vectors
from askless.errors import ConfigError
from askless.evaluation.summary_quality import measured, summary_quality
from askless.experts import EXPERTS, Expert, Setting, TrainedExpert, build, known, options_of, resolve
from askless.experts.answer_store import AnswerStore
from askless.experts.local.causal_lm import LlmExpert
from askless.experts.local.checkpoint import Checkpoint
from askless.experts.local.seq2seq import Seq2SeqExpert
from askless.experts.paid import PaidExpert
from askless.experts.recorded import RecordedExpert
from askless.experts.small.auto import AutoExpert
from askless.experts.small.persistence import keep, restored
from askless.panel import Panel
from askless.prompts import PROMPTS, Prompt
from askless.text import embeddings
from tests.experts import vllm_double
from tests.experts.chat_server import Answer, ChatServer, Request, chat
from tests.experts.tiny_models import examples
from tests.experts.tiny_models import texts as tiny_texts

MODEL, CLASSES, BATCH = "demo:xs", ("0", "1"), 4
POSTS = [post["text"] for post in posts(11, 3)]
DOCUMENTS = [document["text"] for document in documents(5, 3)]
ODD_TEXTS = ["\x00\ufffe", "...", "🦄 " * 20, "今天很好。明天更好！"]
ODD = Prompt("{text}\nAnswer:", {"0": "zero", "1": "one"})
ANSWER = ("label", "text", "error")
CASES = [
    (name, task)
    for name in EXPERTS
    for task, able in (("posts", resolve(name).labels), ("documents", resolve(name).summarises))
    if able
]
PAYING = [case for case in CASES if issubclass(resolve(case[0]), PaidExpert)]
KEPT = [case for case in CASES if resolve(case[0]).kept]
LEARNING = [case for case in CASES if issubclass(resolve(case[0]), TrainedExpert)]
LANGUAGE_MODELS = ("llm", "vllm", "openai")


@dataclass
class Case:
    """An expert of one backend for one kind of task, rows to ask it about, and how many prompts it was `asked`."""

    backend: str
    classes: tuple[str, ...]
    vectors: Path
    texts: list[str]
    options: dict[str, Any] = field(default_factory=dict)
    asked: Callable[[], int] = int

    def built(self, answers: Path | None = None, **options: Any) -> Expert:
        """The expert, as it is built."""
        prompt = "demo-olhs" if self.classes else "demo-xsum"
        setting = Setting("one", "demo", self.classes, prompt, self.vectors, answers)
        return build(setting, {"backend": self.backend, **self.options, **options})

    def ready(self, answers: Path | None = None, **options: Any) -> Expert:
        """The expert, having learnt where it learns."""
        expert = self.built(answers, **options)
        return expert.fit(labelled(self.classes, 1), labelled(self.classes, 2)) if is_trained(expert) else expert

    def paid(self, answers: Path | None = None, **options: Any) -> PaidExpert:
        expert = self.built(answers, **options)
        assert isinstance(expert, PaidExpert)
        return expert


def is_trained(expert: Expert) -> bool:
    return isinstance(expert, TrainedExpert)


def labelled(classes: tuple[str, ...], seed: int) -> pa.Table:
    """Posts with labels, or documents with references, to learn from."""
    found = posts(120, seed) if classes else documents(40, seed)
    column = "label" if classes else "reference"
    columns = {name: [row[name] for row in found] for name in ("text", column)}
    columns |= {"id": [str(i) for i in range(len(found))], "split": ["train"] * len(found)}
    return schema.table("examples", columns)


def recorded(classes: tuple[str, ...], texts: list[str]) -> pa.Table:
    """Answers to these texts, to replay: one in three is none, with its reason."""
    said = [(CLASSES[i % 2] if classes else text[:9] or "-") if i % 3 else None for i, text in enumerate(texts)]
    columns = {"id": examples(texts)["id"].to_pylist(), "expert": ["other"] * len(texts)}
    columns["label" if classes else "text"] = said
    columns["error"] = [None if answer else "nothing was said" for answer in said]
    return schema.table("predictions", columns, {"classes": list(classes), "task": "demo", "model": "recorded"})


def counted(monkeypatch: pytest.MonkeyPatch, kind: Any) -> Callable[[], int]:
    """How many prompts the experts of this class really ran."""
    run, rows = kind._run, []
    monkeypatch.setattr(kind, "_run", lambda self, items: rows.extend(items) or run(self, items))
    return lambda: len(rows)


def served(server: ChatServer) -> dict[str, Any]:
    """A server that answers with the model's own replies and first alternatives; the options to ask it."""
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
    return {"model": "served", "base_url": server.url, "concurrency": BATCH}


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Word vectors of the demo's posts and documents."""
    texts = [row["text"] for row in [*posts(200, 9), *documents(200, 9)]]
    folder = tmp_path_factory.mktemp("vectors")
    words = [" ".join(re.findall(r"\w+", text.lower())) for text in texts]
    return embeddings.build(write_vectors(words, folder / "v.txt", dim=12), folder / "v", dim=12)


@pytest.fixture(params=CASES, ids="-".join)
def case(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, vectors: Path) -> Case:
    backend, task = request.param
    made = Case(backend, *((CLASSES, vectors, POSTS) if task == "posts" else ((), vectors, DOCUMENTS)))
    if backend == "llm":
        made.options = {"model": MODEL, "device": "cpu", "batch_size": BATCH, "max_new_tokens": 24}
        made.asked = counted(monkeypatch, LlmExpert)
    elif backend == "vllm":
        double = vllm_double.install(monkeypatch)
        made.options = {"model": MODEL, "batch_size": BATCH, "max_new_tokens": 24}
        made.asked = lambda: sum(map(len, double.groups))
    elif backend == "openai":
        server: ChatServer = request.getfixturevalue("server")
        made.options = {**served(server), "max_tokens": 1 if made.classes else 24}
        made.asked = lambda: len(server.requests)
    elif backend == "seq2seq":
        model = str(request.getfixturevalue("t5"))
        made.options = {"model": model, "device": "cpu", "batch_size": BATCH, "max_new_tokens": 6}
        made.texts = tiny_texts(11)
        made.asked = counted(monkeypatch, Seq2SeqExpert)
    elif backend in ("encoder", "stack"):
        made.options = {"model": str(request.getfixturevalue("bert"))}
    elif backend == "finetuned":
        made.options = {"model": str(request.getfixturevalue("bert")), "epochs": 2}
    elif backend == "auto":
        made.options = {"candidates": ["majority", "stack"]}
    elif backend == "mlp":
        made.options = {"epochs": 20, "batch_size": 8, "learning_rate": 0.02, "balance": 1.0}
    elif backend == "recorded":
        made.options = {"table": recorded(made.classes, [*made.texts, *ODD_TEXTS])}
    return made


def paying(*backends: str, task: str = "") -> pytest.MarkDecorator:
    """Of the cases that pay for answers, those of these backends and this task."""
    chosen = [case for case in PAYING if (not backends or case[0] in backends) and task in ("", case[1])]
    return pytest.mark.parametrize("case", chosen, indirect=True, ids="-".join)


def test_answers_come_in_the_order_of_the_examples_and_keep_the_contract(case: Case) -> None:
    expert, rows = case.ready(), examples(case.texts)
    table, turned = expert.answer(rows), expert.answer(rows.take(list(range(len(rows)))[::-1]))
    schema.check(table, "predictions", classes=case.classes)
    meta = schema.meta_of(table)
    assert (meta["task"], meta["classes"], bool(meta["model"])) == ("demo", list(case.classes), True)
    assert table["id"].to_pylist() == turned["id"].to_pylist()[::-1] == rows["id"].to_pylist()
    assert set(table["expert"].to_pylist()) == {"one"}
    for name in ANSWER:
        assert table[name].to_pylist() == turned[name].to_pylist()[::-1], name
    answers = table["label" if case.classes else "text"].to_pylist()
    assert len(set(answers)) > 1 or case.backend == "majority"
    assert expert.answer(rows.slice(0, 0)).num_rows == 0


def test_where_there_is_no_answer_there_is_a_reason_and_never_a_default_class(case: Case) -> None:
    texts = [*case.texts, *ODD_TEXTS]
    rows = case.ready().answer(examples(texts)).to_pylist()
    assert len(rows) == len(texts)
    for row in rows:
        if case.classes:
            assert (row["label"] in case.classes) != bool(row["error"]), row
            assert row["label"] is not None or row["proba"] is None
        else:
            assert row["label"] is None
            assert row["text"] or row["error"], row


@pytest.mark.parametrize("backend", EXPERTS)
def test_arguments_are_stored_untouched_and_nothing_is_loaded(backend: str) -> None:
    given = {name: object() for name in options_of(backend)}
    setting = Setting("one", "demo", CLASSES)
    expert = resolve(backend)(setting, **given)
    assert {name: value for name, value in vars(expert).items() if value is not None} == {"setting": setting, **given}
    assert expert.options() == given


@pytest.mark.parametrize("backend", EXPERTS)
def test_every_option_is_explained_in_the_docstring(backend: str) -> None:
    explained = re.findall(r"^    (\w+(?:, \w+)*)\n        \S", resolve(backend).__doc__ or "", flags=re.M)
    assert sorted(", ".join(explained).split(", ")) == sorted(["setting", *options_of(backend)])


@pytest.mark.parametrize("backend", EXPERTS)
def test_an_option_or_a_task_that_it_does_not_know_is_named(backend: str) -> None:
    kind = resolve(backend)
    task: tuple[str, ...] = CLASSES if kind.labels else ()
    with pytest.raises(ConfigError, match="Unknown option of expert 'one' 'nonsense'"):
        build(Setting("one", "demo", task), {"backend": backend, "nonsense": 1})
    for classes, able in ((CLASSES, "labels"), ((), "summarises")):
        if not getattr(kind, able):
            allowed = [name for name in EXPERTS if getattr(resolve(name), able)]
            what = f"classes {list(classes)}" if classes else "summaries"
            with pytest.raises(ConfigError) as error:
                build(Setting("one", "demo", classes), {"backend": backend})
            assert str(error.value) == (
                f"Expert 'one': backend {backend} cannot answer with {what}. Allowed there: {', '.join(allowed)}."
            )


def test_unknown_names_list_the_known_ones_and_missing_ones_are_named() -> None:
    setting = Setting("one", "demo", CLASSES)
    with pytest.raises(ConfigError, match=r"Unknown backend of expert 'one' 'lmm'. .*Did you mean 'llm'\?"):
        build(setting, {"backend": "lmm"})
    with pytest.raises(ConfigError, match=r"Unknown option of expert 'one' 'batchsize'. .*Did you mean 'batch_size'\?"):
        build(setting, {"backend": "llm", "model": "m", "batchsize": 3})
    with pytest.raises(ConfigError, match="Expert 'one': .*model"):
        build(setting, {"backend": "llm"})
    assert list(known()) == list(EXPERTS)


def test_what_can_be_kept_answers_the_same_from_its_options_and_files(case: Case, tmp_path: Path) -> None:
    expert, rows = case.ready(), examples(case.texts)
    if not expert.kept:
        with pytest.raises(ConfigError) as error:
            keep(expert, tmp_path)
        assert str(error.value) == (
            f"Expert 'one' of class {type(expert).__name__} cannot be kept in a bundle. "
            "Allowed backends: auto, encoder, extractive, finetuned, lead, linear, majority, mlp, seq2seq, stack."
        )
        return
    options = json.loads(json.dumps(keep(expert, tmp_path)))
    # What was chosen among candidates is kept in the place of the choice.
    assert options["backend"] == (expert.chosen_ if isinstance(expert, AutoExpert) else case.backend)
    if expert.vectors is not None:
        expert.vectors.save(tmp_path / "vectors")
    moved = tmp_path.rename(f"{tmp_path}-elsewhere")
    again = restored(moved, "one", case.classes, options)
    assert (type(again), again.name) == (resolve(options["backend"]), "one")
    after, before = again.answer(rows), expert.answer(rows)
    for name in (*ANSWER, "proba", "logprob"):
        assert after[name].equals(before[name]), name


@pytest.mark.parametrize("case", KEPT, indirect=True, ids="-".join)
def test_what_can_be_kept_goes_through_a_bundle(case: Case, tmp_path: Path) -> None:
    expert, rows = case.ready(), examples(case.texts)
    prices = {"one": Price(usd_per_1k_answers=1), "large": Price(usd_per_1k_answers=2)}
    policy, learn = policies.build("length", {}, experts=tuple(prices)), labelled(case.classes, 5)
    said = expert.answer(learn)
    said = said if case.classes else measured(learn, said, summary_quality("rougeL"))
    both = {name: RecordedExpert(Setting(name, "demo", case.classes), table=said) for name in prices}
    board = Panel(learn, both, CostModel("usd", prices), case.classes)
    Bundle.of(policy.fit(board, board), case.classes, small=expert).save(tmp_path / "b")
    small = Bundle.load(tmp_path / "b").small
    assert isinstance(small, Expert)
    again, before = small.answer(rows), expert.answer(rows)
    assert all(again[name].equals(before[name]) for name in ANSWER)


@pytest.mark.parametrize("case", LEARNING, indirect=True, ids="-".join)
def test_what_was_learnt_is_saved_to_the_byte(case: Case, tmp_path: Path) -> None:
    expert, fresh = case.ready(), case.built()
    assert isinstance(expert, TrainedExpert)
    assert isinstance(fresh, TrainedExpert)
    fresh.load(expert.save(tmp_path / "a")).save(tmp_path / "b")
    one, other = (
        {
            str(path.relative_to(tmp_path / name)): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in "ab"
    )
    assert one == other


@paying()
def test_equal_texts_are_asked_once(case: Case) -> None:
    one, two, *_ = case.texts
    table = case.built().answer(examples([one, two, one]))
    assert case.asked() == 2
    first, _, third = table.drop_columns(["id"]).to_pylist()
    assert first == third


@paying()
def test_a_run_that_ends_early_goes_on_where_it_was_and_asks_nothing_twice(case: Case, tmp_path: Path) -> None:
    whole = case.built().answer(examples(case.texts))
    before, number = case.asked(), len(case.texts)
    expert = case.paid(tmp_path)
    batches = expert.ask({expert.key(text): text for text in case.texts}, {})
    with AnswerStore(tmp_path / "one.sqlite") as store:
        store.put_many(next(batches))
        batches.close()
        kept = len(store)
    under_way = case.asked() - before
    assert 0 < kept <= under_way <= number
    assert kept < number
    table = case.built(tmp_path).answer(examples(case.texts))
    assert case.asked() - before == under_way + number - kept
    stable = ("id", "expert", "label", "proba", "logprob", "mass", "text", "prompt_tokens", "error")
    assert table.select(stable).equals(whole.select(stable), check_metadata=True)
    again = case.built(tmp_path).answer(examples(case.texts))
    assert again.equals(table, check_metadata=True), "to the second"
    assert case.asked() - before == under_way + number - kept


@paying(*LANGUAGE_MODELS, task="posts")
def test_a_reply_that_is_no_label_is_null_with_its_error_and_is_kept(case: Case, tmp_path: Path) -> None:
    options = {"prompt": ODD} | ({} if case.backend == "openai" else {"mode": "text", "max_new_tokens": 3})
    for _ in range(2):
        rows = case.built(tmp_path, **options).answer(examples(POSTS[:3])).to_pylist()
        assert {row["label"] for row in rows} == {None}
        assert {row["error"].partition(";")[0] for row in rows} == {
            "unparsable reply: the reply must name one of ['zero', 'one'], and no other"
        }
        assert all(row["text"] and row["proba"] is None for row in rows)
        assert case.asked() == 3


@paying(task="documents")
def test_a_summary_that_is_cut_off_says_so(case: Case) -> None:
    limit = {"max_tokens" if case.backend == "openai" else "max_new_tokens": 3}
    table = case.built(**limit).answer(examples(case.texts))
    assert "cut off" in {str(error).split(":")[0] for error in table["error"].to_pylist()}
    if case.backend != "seq2seq":
        assert table["error"].null_count == 0
        assert all(table["text"].to_pylist())


@pytest.fixture(scope="module")
def expected() -> dict[bool, pa.Table]:
    """Labels of the posts and summaries of the documents by the local model, before anything is replaced."""
    asked = Setting("one", "demo", CLASSES, "demo-olhs")
    writes = LlmExpert(Setting("one", "demo", (), "demo-xsum"), model=MODEL, max_new_tokens=24)
    labels = LlmExpert(asked, model=MODEL).answer(examples(POSTS))
    return {True: labels, False: writes.answer(examples(DOCUMENTS))}


@paying(*LANGUAGE_MODELS)
def test_one_model_says_the_same_through_every_backend(expected: dict[bool, pa.Table], case: Case) -> None:
    table, same = case.built().answer(examples(case.texts)), expected[bool(case.classes)]
    for name in ("id", "label", "error", "prompt_tokens", "completion_tokens"):
        assert table[name].equals(same[name]), name
    if case.classes:
        np.testing.assert_allclose(table["proba"].to_pylist(), same["proba"].to_pylist(), atol=0.02)
        np.testing.assert_allclose(table["logprob"].to_pylist(), same["logprob"].to_pylist(), atol=1e-4)
    else:
        assert table["text"].equals(same["text"])


@paying(*LANGUAGE_MODELS, task="posts")
def test_metadata_say_what_answered(case: Case) -> None:
    expert = case.paid()
    meta = schema.meta_of(expert.answer(examples(POSTS[:1])))
    assert meta["model"] == case.options["model"]
    assert meta["prompt_sha"] == expert.prompt_sha() != case.paid(prompt=ODD).prompt_sha()
    assert "revision" in meta
    assert PROMPTS["demo-olhs"] is expert.template()
