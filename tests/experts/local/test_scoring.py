"""Label scores are those of one unpadded sequence at a time, whatever prefix is shared and however rows are split."""

import numpy as np
import pytest

from askless.experts.local.prefix import SharedPrefix, shared_tokens
from askless.experts.local.scoring import score
from tests.experts.local.networks import SIZES, TOLERANCE, demo, in_splits, olhs_prompts, one_by_one

LABELS = [[17], [18]]


@pytest.mark.parametrize("size", SIZES)
def test_scores_are_the_same_after_every_prefix(size):
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
def test_scores_are_the_same_in_every_split(size, shared):
    network, prompts = demo(size).network, olhs_prompts()
    expected = one_by_one(network, prompts, LABELS)
    prefix = SharedPrefix.read(network, shared_tokens(prompts)) if shared else None
    for rows in range(1, len(prompts) + 1):
        got = np.concatenate([score(network, part, LABELS, 1, prefix) for part in in_splits(prompts, rows)])
        np.testing.assert_allclose(got, expected, atol=TOLERANCE)
        assert (got.argmax(1) == expected.argmax(1)).all()


@pytest.mark.parametrize("size", SIZES)
def test_words_that_share_their_first_tokens_are_told_apart(size):
    network, prompts = demo(size).network, olhs_prompts()
    labels = [[17, 30, 31], [17, 30, 40], [18]]
    expected, prefix = one_by_one(network, prompts, labels), SharedPrefix.read(network, shared_tokens(prompts))
    for used in (None, prefix):
        np.testing.assert_allclose(score(network, prompts, labels, 1, used), expected, atol=3 * TOLERANCE)
