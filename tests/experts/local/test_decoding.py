"""Replies written row by row of a batch equal those of transformers' own `generate`, one prompt at a time."""

import numpy as np
import pytest
import torch

from askless.experts.local import decoding
from askless.experts.local.decoding import Decoding
from askless.experts.local.prefix import LEAST, SharedPrefix, shared_tokens
from tests.experts.local.networks import KINDS, SIZES, architectures, demo, documents_prompts, in_splits, same


def alone(network, prompt, how):
    """One reply, by transformers' `generate` for one prompt."""
    given = {"input_ids": torch.tensor([prompt]), "attention_mask": torch.ones(1, len(prompt), dtype=torch.long)}
    return decoding.written(network, given, len(prompt), how, 0)[0]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shared", [False, True])
def test_greedy_replies_are_those_of_one_at_a_time(size, shared):
    network, prompts, how = demo(size).network, documents_prompts(24), Decoding(40, 0.0, 1.0)
    prefix = SharedPrefix.read(network, shared_tokens(prompts)) if shared else None
    expected = [alone(network, prompt, how) for prompt in prompts]
    assert len({len(reply.tokens) for reply in expected}) > 3
    same(decoding.generate(network, prompts, how, 1, 0, prefix), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_can_lose_rows(kind):
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    network = AutoModelForCausalLM.from_config(architectures()[kind]).eval()
    rng = np.random.default_rng(0)
    prompts = [rng.integers(2, 90, 9 if kind == "mamba" else 4 + i).tolist() for i in range(6)]
    how = Decoding(12, 0.0, 1.0)
    network.generation_config.update(eos_token_id=None, pad_token_id=1)
    said = [alone(network, prompt, how).tokens for prompt in prompts]
    network.generation_config.update(eos_token_id=[said[0][2], said[1][5], said[2][8]])
    expected = [alone(network, prompt, how) for prompt in prompts]
    assert len({len(reply.tokens) for reply in expected}) > 1
    same(decoding.generate(network, prompts, how, 1, 0), expected)


def test_a_row_that_has_ended_is_not_written_on(monkeypatch):
    network, prompts = demo("xs").network, documents_prompts(12)
    how, rows = Decoding(40, 0.0, 1.0), []
    forward = network.forward

    def spy(**given):
        if given["input_ids"].shape[1] == 1:
            rows.append(len(given["input_ids"]))
        return forward(**given)

    monkeypatch.setattr(network, "forward", spy)
    lengths = [len(reply.tokens) for reply in decoding.generate(network, prompts, how, 1, 0)]
    assert rows == [sum(length > step for length in lengths) for step in range(1, max(lengths))]


@pytest.mark.parametrize("most", [1, 18, 40])
def test_a_reply_says_whether_it_ended(most):
    network, prompts = demo("xs").network, documents_prompts(6)
    whole = [len(reply.tokens) for reply in decoding.generate(network, prompts, Decoding(40, 0.0, 1.0), 1, 0)]
    assert min(whole) < 18 < max(whole) < 40
    replies = decoding.generate(network, prompts, Decoding(most, 0.0, 1.0), 1, 0)
    assert [reply.ended for reply in replies] == [length <= most for length in whole]
    assert [alone(network, prompt, Decoding(most, 0.0, 1.0)).ended for prompt in prompts] == [r.ended for r in replies]


def test_a_reply_does_not_end_before_its_least_length():
    network, prompts = demo("xs").network, documents_prompts(6)
    how = Decoding(40, 0.0, 1.0, min_new_tokens=21)
    expected = [alone(network, prompt, how) for prompt in prompts]
    assert min(len(reply.tokens) for reply in expected) >= 22
    same(decoding.generate(network, prompts, how, 1, 0), expected)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_numbers_that_overflow_stop_nothing_and_are_told(temperature, monkeypatch):
    network, prompts, how = demo("xs").network, documents_prompts(3), Decoding(4, temperature, 1.0)
    forward, calls = network.forward, []

    def overflows(**given):
        found = forward(**given)
        if not calls:
            found.logits[0] = torch.nan
        calls.append(len(found.logits))
        return found

    monkeypatch.setattr(network, "forward", overflows)
    replies = decoding.generate(network, prompts, how, 1, 0)
    assert sum(np.isnan(reply.logprob) for reply in replies) == 1
    assert len(calls) == 4


@pytest.mark.slow
def test_draws_follow_the_models_probabilities_within_the_top_share(monkeypatch):
    network, prompt = demo("xs").network, documents_prompts(1)[0]
    scores = torch.full((2000,), -torch.inf)
    scores[[5, 6, 7]] = torch.tensor([0.5, 0.3, 0.2]).log()
    forward = network.forward

    def fixed(**given):
        found = forward(**given)
        found.logits[:] = scores
        return found

    monkeypatch.setattr(network, "forward", fixed)
    for top_p, expected in ((1.0, [0.5, 0.3, 0.2]), (0.75, [0.625, 0.375, 0.0])):
        replies = decoding.generate(network, [prompt] * 2000, Decoding(1, 1.0, top_p), 1, 3)
        shares = np.bincount([reply.tokens[0] for reply in replies], minlength=8)[5:8] / 2000
        np.testing.assert_allclose(shares, expected, atol=0.04)


def test_sampled_replies_depend_on_the_seed_alone_and_rows_draw_apart():
    network, prompts, how = demo("s").network, documents_prompts(1) * 3, Decoding(32, 1.5, 1.0)
    one, again, other = (decoding.generate(network, prompts, how, 1, seed) for seed in (7, 7, 8))
    same(again, one)
    assert [reply.tokens for reply in other] != [reply.tokens for reply in one]
    assert one[0].tokens != one[1].tokens


@pytest.mark.parametrize("size", SIZES)
def test_replies_are_the_same_with_every_prefix_and_split(size):
    network, prompts, how = demo(size).network, documents_prompts(), Decoding(24, 0.0, 1.0)
    expected = [decoding.generate(network, [prompt], how, 1, 0)[0] for prompt in prompts]
    assert len({len(reply.tokens) for reply in expected}) > 1
    common = shared_tokens(prompts)
    assert len(common) >= LEAST
    for length, rows in ((0, 3), (1, 8), (len(common) // 2, 3), (len(common), 1), (len(common), 3), (len(common), 8)):
        prefix = SharedPrefix.read(network, common[:length]) if length else None
        parts = in_splits(prompts, rows)
        same([r for part in parts for r in decoding.generate(network, part, how, 1, 0, prefix)], expected)


def test_sampled_replies_are_those_of_the_plain_path():
    network, prompts, how = demo("s").network, documents_prompts(), Decoding(16, 1.0, 0.95)
    prefix = SharedPrefix.read(network, shared_tokens(prompts))
    plain = decoding.generate(network, prompts, how, 1, 7)
    same(decoding.generate(network, prompts, how, 1, 7, prefix), plain)
    assert [r.tokens for r in decoding.generate(network, prompts, how, 1, 8, prefix)] != [r.tokens for r in plain]
