"""An expert as options and files: what answers again elsewhere, and what cannot be kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from askless import schema
from askless.errors import ConfigError
from askless.experts import EXPERTS, Expert, Setting, build
from askless.experts.local.seq2seq import Seq2SeqExpert
from askless.experts.small.lead import LeadExpert
from askless.experts.small.linear import LinearExpert
from askless.experts.small.majority import MajorityExpert
from askless.experts.small.mlp import MlpExpert
from askless.experts.small.persistence import KEPT, as_expert, keep, restored, vectors_of
from askless.text.embeddings import Vectors
from tests.experts.local.test_seq2seq import make_model
from tests.helpers import examples
from tests.summaries_data import SMALL, news, ranker, vectors_in

CLASSES = ("0", "1")
SAID = ("label", "proba", "text", "logprob", "error")


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vectors_in(tmp_path_factory.mktemp("vectors"))


def posts(n: int) -> pa.Table:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["storm", "river", "music", "garden", "was", "the"], 6)) for _ in range(n)]
    return examples([CLASSES["storm" in text] for text in texts], text=texts)


def trained(backend: str, vectors: Path) -> tuple[Expert, pa.Table]:
    """An expert of this backend that has learnt, and rows to ask it about."""
    if backend in ("lead", "extractive"):
        small = ranker(vectors) if backend == "extractive" else LeadExpert(Setting(SMALL, "demo", ()))
        return small, news(20, 3)
    kinds = {"mlp": MlpExpert, "linear": LinearExpert, "majority": MajorityExpert}
    expert = kinds[backend](Setting(SMALL, "t", CLASSES, vectors=vectors))
    return expert.fit(posts(60), posts(30)), posts(20)


def same(one: pa.Table, other: pa.Table) -> bool:
    return all(one[name].equals(other[name]) for name in SAID)


@pytest.mark.parametrize(
    ("backend", "files"),
    [
        ("extractive", ["extractive.json"]),
        ("lead", []),
        ("mlp", ["small.safetensors"]),
        ("linear", ["linear.safetensors"]),
        ("majority", ["majority.json"]),
    ],
)
def test_it_answers_the_same_from_options_files_and_vectors(
    backend: str, files: list[str], vectors: Path, tmp_path: Path
) -> None:
    expert, rows = trained(backend, vectors)
    (tmp_path / "k").mkdir()
    options = json.loads(json.dumps(keep(expert, tmp_path / "k")))
    assert options["backend"] == backend
    assert [path.name for path in (tmp_path / "k").iterdir()] == files
    words = vectors_of(expert)
    assert (words is not None) == (backend in ("extractive", "mlp"))
    if words is not None:
        words.save(tmp_path / "k" / "vectors")
    again = restored(tmp_path / "k", SMALL, expert.setting.classes, options)
    assert (type(again), again.name) == (type(expert), SMALL)
    assert same(expert.answer(rows), again.answer(rows))


def test_options_come_back(vectors: Path, tmp_path: Path) -> None:
    expert = build(Setting("linear", "t", CLASSES), {"backend": "linear", "ngrams": 1, "strengths": [1.0]})
    assert isinstance(expert, LinearExpert)
    options = keep(expert.fit(posts(60), posts(30)), tmp_path)
    again = restored(tmp_path, "linear", CLASSES, options)
    assert isinstance(again, LinearExpert)
    assert (again.ngrams, again.strengths, again.min_df) == (1, [1.0], 2)


def test_an_encoder_decoder_in_a_folder_travels_whole(tmp_path: Path) -> None:
    home = make_model(tmp_path / "home", "t5")
    setting = Setting(SMALL, "demo", ())
    expert = Seq2SeqExpert(setting, model=str(home), prefix="Say: ", max_new_tokens=4, device="cpu")
    rows = news(3, 3)
    before = expert.answer(rows)
    (tmp_path / "k").mkdir()
    options = json.loads(json.dumps(keep(expert, tmp_path / "k")))
    assert str(tmp_path) not in json.dumps(options)
    shutil.rmtree(home)
    (tmp_path / "k").rename(tmp_path / "elsewhere")
    after = restored(tmp_path / "elsewhere", SMALL, (), options).answer(rows)
    assert after["text"].equals(before["text"])
    assert after["logprob"].equals(before["logprob"])


def test_of_an_encoder_decoder_on_the_hub_name_and_commit_are_kept(tmp_path: Path) -> None:
    expert = Seq2SeqExpert(Setting(SMALL, "demo", ()), model="some/summariser", max_new_tokens=9)
    expert.__dict__["checkpoint"] = SimpleNamespace(folder=None, revision="b" * 40)
    options = keep(expert, tmp_path)
    assert (options["model"], options["revision"], options["max_new_tokens"]) == ("some/summariser", "b" * 40, 9)
    assert list(tmp_path.iterdir()) == []
    again = restored(tmp_path, SMALL, (), options)
    assert isinstance(again, Seq2SeqExpert)
    assert (again.model, again.revision) == ("some/summariser", "b" * 40)


def test_a_network_of_its_own_is_an_expert(vectors: Path) -> None:
    expert, rows = trained("mlp", vectors)
    assert isinstance(expert, MlpExpert)
    made = as_expert(expert.model_)
    assert isinstance(made, MlpExpert)
    assert (made.name, made.setting.classes) == (SMALL, CLASSES)
    assert same(made.answer(rows), expert.answer(rows))
    assert as_expert(expert) is expert
    assert isinstance(vectors_of(made), Vectors)


def test_what_answers_from_elsewhere_is_not_kept(tmp_path: Path) -> None:
    kept = "Allowed backends: extractive, lead, linear, majority, mlp, seq2seq."
    for options in (
        {"backend": "llm", "model": "demo:xs"},
        {"backend": "recorded", "table": schema.table("predictions", {})},
    ):
        expert = build(Setting("them", "t", ()), options)
        with pytest.raises(ConfigError) as error:
            keep(expert, tmp_path)
        assert str(error.value) == f"Expert 'them' of class {type(expert).__name__} cannot be kept in a bundle. {kept}"
    assert set(KEPT) < set(EXPERTS)
