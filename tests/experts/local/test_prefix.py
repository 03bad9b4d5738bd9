"""What all prompts begin with: which tokens that is, and that its use changes neither it nor what follows."""

import torch

from askless.experts.local import decoding
from askless.experts.local.decoding import Decoding
from askless.experts.local.forward import logits, padded
from askless.experts.local.prefix import LEAST, SharedPrefix, new_cache, shared_tokens
from askless.experts.local.scoring import score
from tests.experts.local.networks import demo, olhs_prompts


def test_a_prefix_leaves_each_prompt_a_token_and_is_worth_its_copies():
    long = list(range(20))
    assert shared_tokens([[*long, 1], [*long, 2], [*long, 1, 2]]) == long
    assert shared_tokens([long, [*long, 5]]) == long[:19]
    assert shared_tokens([long, long]) == long[:19]
    assert shared_tokens([long[: LEAST - 1] + [50], long]) == []
    assert shared_tokens([long]) == shared_tokens([]) == []


def test_a_prefix_is_not_changed_by_its_use():
    network, prompts = demo("xs").network, olhs_prompts()
    prefix = SharedPrefix.read(network, shared_tokens(prompts))
    before = [(keys.clone(), values.clone()) for keys, values in prefix.layers]
    score(network, prompts, [[17], [18, 19]], 1, prefix)
    decoding.generate(network, prompts, Decoding(4, 0.0, 1.0), 1, 0, prefix)
    for (keys, values), (keys_before, values_before) in zip(prefix.layers, before, strict=True):
        assert torch.equal(keys, keys_before)
        assert torch.equal(values, values_before)


def test_logits_after_a_cache_are_those_of_the_whole():
    network, prompt = demo("xs").network, olhs_prompts()[0]
    ids, mask = padded([prompt], 1, "cpu")
    with torch.inference_mode():
        whole = logits(network, ids, mask, 3)
        held = SharedPrefix.read(network, prompt[:40]).into(new_cache(), 1)
        after = logits(network, ids[:, 40:], mask, 3, held)
    torch.testing.assert_close(after, whole, atol=1e-4, rtol=1e-5)
    assert held.get_seq_length() == len(prompt)
