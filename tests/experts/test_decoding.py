"""Replies that have ended leave the batch: the others are what they would be in one go, and fewer rows are written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from deferral.experts import decoding
from deferral.experts.decoding import Decoding
from deferral.experts.prefix import Prefix, shared_tokens
from tests.experts.test_fast_path import KINDS, architectures, demo, documents_prompts, same


@pytest.mark.parametrize("size", ["xs", "l"])
@pytest.mark.parametrize("steps", [1, 3, 8])
@pytest.mark.parametrize("shared", [False, True])
def test_greedy_replies_are_those_of_one_go(
    size: str, steps: int, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, prompts, how = demo(size).network, documents_prompts(12), Decoding(40, 0.0, 1.0)
    prefix = Prefix.read(network, shared_tokens(prompts)) if shared else None
    monkeypatch.setattr(decoding, "ROUND", 1000)
    expected = decoding.generate(network, prompts, how, 1, 0, prefix)
    assert len({len(reply.tokens) for reply in expected}) > 3
    monkeypatch.setattr(decoding, "ROUND", steps)
    same(decoding.generate(network, prompts, how, 1, 0, prefix), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_can_lose_rows(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    network = AutoModelForCausalLM.from_config(architectures()[kind]).eval()
    rng = np.random.default_rng(0)
    prompts = [rng.integers(2, 90, 9 if kind == "mamba" else 4 + i).tolist() for i in range(6)]
    network.generation_config.update(eos_token_id=list(range(12)), pad_token_id=1)
    how = Decoding(12, 0.0, 1.0)
    expected = [decoding.generate(network, [prompt], how, 1, 0)[0] for prompt in prompts]
    monkeypatch.setattr(decoding, "ROUND", 2)
    same(decoding.generate(network, prompts, how, 1, 0), expected)


def test_a_row_that_has_ended_is_not_written_on(monkeypatch: pytest.MonkeyPatch) -> None:
    network, prompts = demo("xs").network, documents_prompts(12)
    how, rows = Decoding(40, 0.0, 1.0), []
    forward = network.forward

    def spy(**given: Any) -> Any:
        rows.append(len(given["input_ids"]))
        return forward(**given)

    monkeypatch.setattr(network, "forward", spy)
    lengths = [len(reply.tokens) for reply in decoding.generate(network, prompts, how, 1, 0)]
    wanted = [sum(length > step // decoding.ROUND * decoding.ROUND for length in lengths) for step in range(len(rows))]
    assert rows == wanted
    assert sum(rows) < len(prompts) * max(lengths)


def test_a_reply_does_not_end_before_its_least_length_also_over_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    network, prompts = demo("xs").network, documents_prompts(6)
    how = Decoding(40, 0.0, 1.0, min_new_tokens=21)
    monkeypatch.setattr(decoding, "ROUND", 1000)
    expected = decoding.generate(network, prompts, how, 1, 0)
    assert min(len(reply.tokens) for reply in expected) >= 22
    monkeypatch.setattr(decoding, "ROUND", 4)
    same(decoding.generate(network, prompts, how, 1, 0), expected)


def test_sampled_replies_depend_on_the_seed_alone_and_each_round_draws_anew() -> None:
    network, prompts, how = demo("s").network, documents_prompts(1) * 3, Decoding(32, 1.5, 1.0)
    one, again, other = (decoding.generate(network, prompts, how, 1, seed) for seed in (7, 7, 8))
    same(again, one)
    assert [reply.tokens for reply in other] != [reply.tokens for reply in one]
    assert one[0].tokens != one[1].tokens
