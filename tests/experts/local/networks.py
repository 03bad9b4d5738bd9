"""The demo's networks, other architectures, and the plain path that every faster one is held against."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from askless.data.demo.documents import documents
from askless.data.demo.posts import posts
from askless.experts.local.checkpoint import Checkpoint
from askless.experts.local.decoding import Generated
from askless.prompts import PROMPTS, Prompt

# Natural log-probabilities in float32: the order of additions differs, nothing else.
TOLERANCE = 1e-4
SIZES = ("xs", "s", pytest.param("l", marks=pytest.mark.slow))


@cache
def demo(size: str) -> Checkpoint:
    return Checkpoint(f"demo:{size}", None, "float32", "cpu", False)


@cache
def olhs_prompts(n: int = 9) -> list[list[int]]:
    """The published prompt around demo posts of quite different lengths; the demo's models share a tokenizer."""
    part = demo("xs")
    found = [" ".join(post["text"] for post in posts(i % 4 + 1, i)) for i in range(n)]
    return part.encode([part.render(PROMPTS["olhs"], text) for text in found])


@cache
def documents_prompts(n: int = 8) -> list[list[int]]:
    """A long instruction before demo documents, which the demo's models go on to summarise."""
    part, prompt = demo("xs"), Prompt("Summarise what happened here.\n\n{text}\nSummary:")
    return part.encode([part.render(prompt, document["text"]) for document in documents(n, 5)])


def one_by_one(network: Any, prompts: Sequence[Sequence[int]], labels: Sequence[Sequence[int]]) -> np.ndarray:
    """log P(label | prompt), one unpadded sequence at a time, without a cache."""
    scores = np.zeros((len(prompts), len(labels)))
    for i, prompt in enumerate(prompts):
        for j, label in enumerate(labels):
            with torch.inference_mode():
                found = network(torch.tensor([[*prompt, *label]]), use_cache=False).logits[0].double()
            steps = found.log_softmax(-1)[len(prompt) - 1 : -1]
            scores[i, j] = steps.gather(1, torch.tensor(label)[:, None]).sum()
    return scores


def in_splits(prompts: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [prompts[at : at + size] for at in range(0, len(prompts), size)]


def same(got: Sequence[Generated], expected: Sequence[Generated]) -> None:
    assert [reply.tokens for reply in got] == [reply.tokens for reply in expected]
    np.testing.assert_allclose([r.logprob for r in got], [r.logprob for r in expected], atol=TOLERANCE)


def architectures() -> dict[str, Any]:
    import transformers as t

    shape = {"vocab_size": 90, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128}
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1, "initializer_range": 0.3}
    llama = shape | heads | ends
    return {
        "qwen2": t.Qwen2Config(**llama),
        "mistral, wide window": t.MistralConfig(**llama, sliding_window=40),
        "mistral, narrow window": t.MistralConfig(**llama, sliding_window=6),
        "gemma2, wide window": t.Gemma2Config(**llama, sliding_window=40, head_dim=8),
        "gemma2, narrow window": t.Gemma2Config(**llama, sliding_window=6, head_dim=8),
        "gpt2": t.GPT2Config(vocab_size=90, n_embd=32, n_layer=2, n_head=2, n_positions=128, **ends),
        "bloom": t.BloomConfig(vocab_size=90, hidden_size=32, n_layer=2, n_head=2, **ends),
        "mamba": t.MambaConfig(vocab_size=90, hidden_size=32, num_hidden_layers=2, state_size=4, **ends),
    }


KINDS = {
    "qwen2": True,
    "mistral, wide window": True,
    "mistral, narrow window": False,
    "gemma2, wide window": True,
    "gemma2, narrow window": False,
    "gpt2": True,
    "bloom": True,
    "mamba": False,
}
