"""The shared prefix, the batches and the static cache change what an answer costs, never the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from askless.data.demo.documents import documents
from askless.data.demo.posts import posts
from askless.experts.local import decoding
from askless.experts.local.causal_lm import LlmExpert
from askless.experts.local.checkpoint import Checkpoint
from askless.experts.local.decoding import Decoding, Generated
from askless.experts.local.forward import logits, padded
from askless.experts.local.prefix import LEAST, SharedPrefix, can_share, new_cache, shared_tokens
from askless.experts.local.scoring import score
from askless.experts.local.static import StaticShapes, cache_length
from askless.experts.local.workload import BatchPlan, Workload
from askless.prompts import PROMPTS, Prompt
from tests.experts.tiny_models import PROMPT, examples, setting, texts

# Natural log-probabilities in float32: the order of additions differs, nothing else.
TOLERANCE = 1e-4
SIZES = ("xs", "s", pytest.param("l", marks=pytest.mark.slow))
LABELS = [[17], [18]]


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


@pytest.mark.parametrize("size", SIZES)
def test_scores_are_the_same_after_every_prefix(size: str) -> None:
    network, prompts = demo(size).network, olhs_prompts(4)
    expected, longest = one_by_one(network, prompts, LABELS), len(shared_tokens(prompts))
    assert longest == 89
    for length in range(1, longest + 1):
        prefix = SharedPrefix.read(network, prompts[0][:length])
        got = score(network, prompts, LABELS, 1, prefix)
        np.testing.assert_allclose(got, expected, atol=TOLERANCE)
        assert (got.argmax(1) == expected.argmax(1)).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shared", [False, True])
def test_scores_are_the_same_in_every_split(size: str, shared: bool) -> None:
    network, prompts = demo(size).network, olhs_prompts()
    expected = one_by_one(network, prompts, LABELS)
    prefix = SharedPrefix.read(network, shared_tokens(prompts)) if shared else None
    for rows in range(1, len(prompts) + 1):
        got = np.concatenate([score(network, part, LABELS, 1, prefix) for part in in_splits(prompts, rows)])
        np.testing.assert_allclose(got, expected, atol=TOLERANCE)
        assert (got.argmax(1) == expected.argmax(1)).all()


@pytest.mark.parametrize("size", SIZES)
def test_words_that_share_their_first_tokens_are_told_apart(size: str) -> None:
    network, prompts = demo(size).network, olhs_prompts()
    labels = [[17, 30, 31], [17, 30, 40], [18]]
    expected, prefix = one_by_one(network, prompts, labels), SharedPrefix.read(network, shared_tokens(prompts))
    for used in (None, prefix):
        np.testing.assert_allclose(score(network, prompts, labels, 1, used), expected, atol=3 * TOLERANCE)


def same(got: Sequence[Generated], expected: Sequence[Generated]) -> None:
    assert [reply.tokens for reply in got] == [reply.tokens for reply in expected]
    np.testing.assert_allclose([r.logprob for r in got], [r.logprob for r in expected], atol=TOLERANCE)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("static", [False, True])
def test_replies_are_the_same_with_prefix_split_and_static_cache(size: str, static: bool) -> None:
    network, prompts, how = demo(size).network, documents_prompts(), Decoding(24, 0.0, 1.0)
    expected = [decoding.generate(network, [prompt], how, 1, 0)[0] for prompt in prompts]
    assert len({len(reply.tokens) for reply in expected}) > 1
    common = shared_tokens(prompts)
    assert len(common) >= LEAST
    for length, rows in ((0, 3), (1, 8), (len(common) // 2, 3), (len(common), 1), (len(common), 3), (len(common), 8)):
        prefix = SharedPrefix.read(network, common[:length]) if length else None
        shapes = StaticShapes(4, 4096) if static else None
        parts = in_splits(prompts, rows)
        same([r for part in parts for r in decoding.generate(network, part, how, 1, 0, prefix, shapes)], expected)


def test_sampled_replies_are_those_of_the_plain_path() -> None:
    network, prompts, how = demo("s").network, documents_prompts(), Decoding(16, 1.0, 0.95)
    prefix = SharedPrefix.read(network, shared_tokens(prompts))
    plain = decoding.generate(network, prompts, how, 1, 7)
    same(decoding.generate(network, prompts, how, 1, 7, prefix), plain)
    assert [r.tokens for r in decoding.generate(network, prompts, how, 1, 8, prefix)] != [r.tokens for r in plain]


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


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_gives_the_plain_answers(kind: str) -> None:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    network = AutoModelForCausalLM.from_config(architectures()[kind]).eval()
    rng = np.random.default_rng(0)
    common = rng.integers(2, 90, 20).tolist()
    # Recurrent state reads padding, so that the plain path is asked rows of one length.
    prompts = [[*common, *rng.integers(2, 90, 5 if kind == "mamba" else 3 + i).tolist()] for i in range(5)]
    labels = [[5], [6, 7], [6, 8, 9]]
    load = Workload(network, 1, prompts, BatchPlan(3, 1000, new_tokens=2))
    assert (load.prefix is not None) is can_share(network, 29) is KINDS[kind]
    got = in_order(load, lambda some: load.score(some, labels), prompts)
    np.testing.assert_allclose(got, one_by_one(network, prompts, labels), atol=3e-4)
    network.generation_config.update(eos_token_id=0, pad_token_id=1)
    how = Decoding(5, 0.0, 1.0)
    expected = [decoding.generate(network, [prompt], how, 1, 0)[0] for prompt in prompts]
    for compiled in (False, True):
        load = Workload(network, 1, prompts, BatchPlan(3, 1000, new_tokens=5, compile=compiled))
        same(in_order(load, lambda some, load=load: load.write(some, how, 0), prompts), expected)


def in_order(load: Workload, run: Callable[[list[list[int]]], Sequence[Any]], prompts: list[list[int]]) -> list[Any]:
    """What `run` says of each batch of the prompts, put back into the prompts' order."""
    found = {i: a for batch in load.batches for i, a in zip(batch, run([prompts[i] for i in batch]), strict=True)}
    return [found[i] for i in range(len(prompts))]


def test_a_prefix_leaves_each_prompt_a_token_and_is_worth_its_copies() -> None:
    long = list(range(20))
    assert shared_tokens([[*long, 1], [*long, 2], [*long, 1, 2]]) == long
    assert shared_tokens([long, [*long, 5]]) == long[:19]
    assert shared_tokens([long, long]) == long[:19]
    assert shared_tokens([long[: LEAST - 1] + [50], long]) == []
    assert shared_tokens([long]) == shared_tokens([]) == []


def test_a_prefix_is_not_changed_by_its_use() -> None:
    network, prompts = demo("xs").network, olhs_prompts()
    prefix = SharedPrefix.read(network, shared_tokens(prompts))
    before = [(keys.clone(), values.clone()) for keys, values in prefix.layers]
    score(network, prompts, [[17], [18, 19]], 1, prefix)
    decoding.generate(network, prompts, Decoding(4, 0.0, 1.0), 1, 0, prefix)
    for (keys, values), (keys_before, values_before) in zip(prefix.layers, before, strict=True):
        assert torch.equal(keys, keys_before)
        assert torch.equal(values, values_before)


def test_logits_after_a_cache_are_those_of_the_whole() -> None:
    network, prompt = demo("xs").network, olhs_prompts()[0]
    ids, mask = padded([prompt], 1, "cpu")
    with torch.inference_mode():
        whole = logits(network, ids, mask, 3)
        held = SharedPrefix.read(network, prompt[:40]).into(new_cache(), 1)
        after = logits(network, ids[:, 40:], mask, 3, held)
    torch.testing.assert_close(after, whole, atol=1e-4, rtol=1e-5)
    assert held.get_seq_length() == len(prompt)


def widths(expert: LlmExpert, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Shapes of the ids that the expert's network is really given."""
    network, seen = expert.checkpoint.network, []
    forward = network.forward

    def spy(**given: Any) -> Any:
        seen.append(tuple(given["input_ids"].shape))
        return forward(**given)

    monkeypatch.setattr(network, "forward", spy)
    return seen


def test_an_expert_reads_the_instruction_once_and_answers_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    items = examples([post["text"] for post in posts(40, 1)])
    options = {"model": "demo:xs", "prompt": "olhs"}
    plain = LlmExpert(setting(), share_prefix=False, **options).answer(items)
    expert = LlmExpert(setting(), batch_tokens=300, **options)
    seen = widths(expert, monkeypatch)
    table = expert.answer(items)
    assert seen[1] == (1, 89), "after the warm-up, the prefix alone"
    assert all(width < 40 and rows * width <= 300 for rows, width in seen[2:])
    assert sum(rows for rows, _ in seen[2:]) == 40
    for name in ("id", "label", "error", "prompt_tokens", "completion_tokens"):
        assert table[name].equals(plain[name]), name
    for name in ("mass", "logprob", "proba"):
        np.testing.assert_allclose(table[name].to_pylist(), plain[name].to_pylist(), atol=TOLERANCE)


@pytest.mark.parametrize("compiled", [False, True])
def test_an_expert_that_writes_does_so_too(monkeypatch: pytest.MonkeyPatch, compiled: bool) -> None:
    items = examples([document["text"] for document in documents(7, 2)])
    prompt = Prompt("Summarise what happened here.\n\n{text}\nSummary:")
    options = {"model": "demo:xs", "prompt": prompt, "mode": "text", "max_new_tokens": 12}
    plain = LlmExpert(setting(classes=()), share_prefix=False, **options).answer(items)
    table = LlmExpert(setting(classes=()), batch_tokens=600, compile=compiled, **options).answer(items)
    assert table["text"].equals(plain["text"])
    assert table["completion_tokens"].equals(plain["completion_tokens"])
    np.testing.assert_allclose(table["logprob"].to_pylist(), plain["logprob"].to_pylist(), atol=TOLERANCE)


def test_attention_is_pytorchs_own_and_bfloat16_answers_in_halves_where_memory_runs_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    items = examples([post["text"] for post in posts(20, 1)])
    options: dict[str, Any] = {"model": "demo:xs", "prompt": "olhs", "dtype": "bfloat16", "device": "cpu"}
    whole = LlmExpert(setting(), **options).answer(items)
    expert = LlmExpert(setting(), batch_size=16, **options)
    network, sizes = expert.checkpoint.network, []
    forward = network.forward
    assert network.config._attn_implementation == "sdpa"
    assert network.dtype == torch.bfloat16

    def limited(**given: Any) -> Any:
        if len(given["input_ids"]) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        sizes.append(len(given["input_ids"]))
        return forward(**given)

    monkeypatch.setattr(network, "forward", limited)
    table = expert.answer(items)
    assert sizes[2:] == [4] * 5, "after the warm-up and the prefix"
    assert [row["label"] is not None for row in table.to_pylist()] == [True] * 20
    np.testing.assert_allclose(table["mass"].to_pylist(), whole["mass"].to_pylist(), atol=0.05)


def test_a_single_item_has_nothing_to_share(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expert = LlmExpert(setting(), model=str(tiny), prompt=PROMPT)
    seen = widths(expert, monkeypatch)
    assert expert.answer(examples(texts(1))).num_rows == 1
    assert len(seen) == 2


def test_a_static_cache_is_filled_up_by_the_batch_alone() -> None:
    network, shapes = demo("xs").network, StaticShapes(8, 64 * 6)
    filled = []
    for rows in (6, 6, 5, 3, 2, 1, 7):
        with shapes.holding(network, [[5, 6]] * rows, 10, None) as (batch, cache):
            filled.append((len(batch), cache.get_max_length()))
    assert [rows for rows, _ in filled] == [6, 6, 6, 3, 2, 1, 7]
    assert {length for _, length in filled} == {64}
    assert [cache_length(n) for n in (1, 64, 65, 128, 129)] == [64, 64, 128, 128, 256]


def test_a_static_cache_is_kept_for_its_shape_and_let_go_where_memory_runs_out() -> None:
    network, shapes = demo("xs").network, StaticShapes(4, 4096)
    with shapes.holding(network, [[5]] * 4, 10, None) as (_, first):
        pass
    with shapes.holding(network, [[6]] * 4, 10, None) as (_, second):
        assert second is first
    with pytest.raises(MemoryError), shapes.holding(network, [[6]] * 4, 10, None):
        raise MemoryError
    assert shapes._cache is None
