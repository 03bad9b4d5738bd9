"""A run's prompts in batches: every kind of model gives the answers of the plain path, in the prompts' order."""

import numpy as np
import pytest
import torch

from askless.experts.local import decoding
from askless.experts.local.decoding import Decoding
from askless.experts.local.prefix import can_share
from askless.experts.local.workload import Workload
from tests.experts.local.networks import KINDS, architectures, one_by_one, same


def in_order(load, run, prompts):
    """What `run` says of each batch of the prompts, put back into the prompts' order."""
    found = {i: a for batch in load.batches for i, a in zip(batch, run([prompts[i] for i in batch]), strict=True)}
    return [found[i] for i in range(len(prompts))]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_gives_the_plain_answers(kind):
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    network = AutoModelForCausalLM.from_config(architectures()[kind]).eval()
    rng = np.random.default_rng(0)
    common = rng.integers(2, 90, 20).tolist()
    # Recurrent state reads padding, so that the plain path is asked rows of one length.
    prompts = [[*common, *rng.integers(2, 90, 5 if kind == "mamba" else 3 + i).tolist()] for i in range(5)]
    labels = [[5], [6, 7], [6, 8, 9]]
    load = Workload(network, 1, prompts, 3, 1000, new_tokens=2)
    assert (load.prefix is not None) is can_share(network, 29) is KINDS[kind]
    got = in_order(load, lambda some: load.score(some, labels), prompts)
    np.testing.assert_allclose(got, one_by_one(network, prompts, labels), atol=3e-4)
    network.generation_config.update(eos_token_id=0, pad_token_id=1)
    how = Decoding(5, 0.0, 1.0)
    expected = [decoding.generate(network, [prompt], how, 1, 0)[0] for prompt in prompts]
    load = Workload(network, 1, prompts, 3, 1000, new_tokens=5)
    same(in_order(load, lambda some: load.write(some, how, 0), prompts), expected)
