"""Replies of transformers' continuous batching equal those of the plain path, or it says why it cannot write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from askless.data.demo.documents import documents
from askless.errors import ConfigError, ExpertError
from askless.experts.answer_store import AnswerStore
from askless.experts.local import continuous, decoding
from askless.experts.local.causal_lm import LlmExpert
from askless.experts.local.decoding import Decoding
from askless.prompts import Prompt
from tests.experts.test_fast_path import architectures, demo, documents_prompts, same
from tests.experts.tiny_models import PROMPT, examples, setting

pytest.importorskip("transformers.generation.continuous_batching")
SUMMARY = Prompt("Summarise what happened here.\n\n{text}\nSummary:")


@pytest.mark.parametrize(("rows", "tokens"), [(3, 60), pytest.param(64, 4096, marks=pytest.mark.slow)])
def test_replies_are_those_of_the_plain_path(rows: int, tokens: int) -> None:
    network, prompts = demo("xs").network, documents_prompts(9)
    expected = decoding.generate(network, prompts, Decoding(20, 0.0, 1.0), 1, 0)
    assert len({len(reply.tokens) for reply in expected}) > 1
    found = list(continuous.replies(network, prompts, 20, 1, rows, tokens))
    assert [at for at, _ in found] != list(range(9)), "as they end"
    got = dict(found)
    same([got[at] for at in range(9)], expected)
    assert [got[at].ended for at in range(9)] == [reply.ended for reply in expected]
    assert network.config._attn_implementation == "sdpa", "the network is left as it was"


def test_an_expert_writes_the_same_and_a_resumed_run_asks_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [document["text"] for document in documents(6, 2)]
    options: dict[str, Any] = {"model": "demo:xs", "prompt": SUMMARY, "max_new_tokens": 12}
    plain = LlmExpert(setting(classes=()), **options).answer(examples(texts))
    asked = LlmExpert(setting(tmp_path, ()), continuous=True, **options)
    assert asked.key("a") == LlmExpert(setting(classes=()), **options).key("a")
    rows = asked.ask({asked.key(text): text for text in texts}, {})
    first = next(rows)
    rows.close()
    with AnswerStore(tmp_path / "tiny.sqlite") as store:
        store.put_many(first)
    wanted: list[int] = []
    replies = continuous.replies
    monkeypatch.setattr(continuous, "replies", lambda n, p, *rest: wanted.append(len(p)) or replies(n, p, *rest))
    table = asked.answer(examples(texts))
    assert wanted == [5]
    for name in ("text", "error", "prompt_tokens", "completion_tokens"):
        assert table[name].equals(plain[name]), name
    np.testing.assert_allclose(table["logprob"].to_pylist(), plain["logprob"].to_pylist(), atol=1e-4)
    assert all(seconds > 0 for seconds in table["seconds"].to_pylist())


@pytest.mark.parametrize(
    "kind",
    [
        "qwen2",
        "mistral, narrow window",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("gemma2, narrow window", "gpt2")),
    ],
)
def test_every_kind_of_model_writes_the_same(kind: str) -> None:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    network = AutoModelForCausalLM.from_config(architectures()[kind]).eval()
    network.generation_config.update(eos_token_id=0, pad_token_id=1)
    rng = np.random.default_rng(0)
    prompts = [rng.integers(2, 90, 4 + i).tolist() for i in range(6)]
    expected = decoding.generate(network, prompts, Decoding(8, 0.0, 1.0), 1, 0)
    got = dict(continuous.replies(network, prompts, 8, 1, 4, 64))
    same([got[at] for at in range(6)], expected)


@pytest.mark.parametrize("kind", ["bloom", "mamba"])
def test_a_model_whose_attention_cannot_be_paged_is_refused(kind: str) -> None:
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_config(architectures()[kind])
    with pytest.raises(ExpertError, match=r"cannot write with \w+: its attention cannot be paged. .*continuous: false"):
        list(continuous.replies(network, [[5, 6]], 2, 1, 4, 64))


def test_a_fault_while_it_writes_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    network = demo("xs").network

    def broken(**_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(network, "forward", broken)
    with pytest.raises(ExpertError, match="cannot write with LlamaForCausalLM: CUDA out of memory"):
        list(continuous.replies(network, documents_prompts(2), 2, 1, 4, 64))


@pytest.mark.parametrize("more", [{"temperature": 1.0}, {"compile": True}, {"mode": "label"}, {"continuous": 1}])
def test_it_is_for_greedy_text(tiny: Path, more: dict[str, Any]) -> None:
    options = {"model": str(tiny), "prompt": PROMPT, "mode": "text", "continuous": True} | more
    with pytest.raises(ConfigError) as caught:
        LlmExpert(setting(), **options).answer(examples(["a"]))
    assert str(caught.value).endswith("Allowed: false, or true for greedy text without compile.")
