"""Chains of recorded summarisers that state no log-probability: the published rules refuse, ours goes by means."""

from pathlib import Path

import numpy as np
import pytest

from askless.errors import DataError
from askless.policies.base import Budget
from askless.policies.chain.chain import Chain
from askless.policies.chain.published import ForwardChain, RankChain
from tests.realdata import real_folder
from tests.realdata.test_xsum_realdata import PAIR, SECONDS, board, decided, folds, qualities

pytestmark = pytest.mark.realdata


@pytest.fixture
def folder():
    return Path(real_folder())


@pytest.mark.parametrize("kind", [ForwardChain, RankChain])
def test_the_published_rules_say_that_nothing_is_stated(folder, kind):
    panel = board(folder, "xsum_zeroshot500", "nn_generation", "generation")
    with pytest.raises(DataError, match=r"^answers of 'small': \w+ goes by their log-probability and none states one"):
        kind(PAIR).fit(panel, panel.take(np.arange(0)))


def test_an_expensive_summariser_that_loses_is_never_kept_and_at_a_price_never_asked(folder):
    panel = board(folder, "xsum_zeroshot500", "nn_generation", "generation")
    for train, test, _ in folds(panel, 0):
        policy = Chain(PAIR).fit(train, train.take(np.arange(0)))
        for budget in (None, Budget(share=0.5), Budget(price=0.0), Budget(price=0.1)):
            done = policy.decide(test.copy(), budget)
            assert not done.expert.any()
        assert not done.asked[:, 1].any()


@pytest.mark.parametrize("seed", range(3))
def test_of_means_alone_a_chain_makes_the_straight_line_with_both_paid(folder, seed):
    panel = board(folder, "xsum_test1000", "nn_generation", "generation")
    weak, strong = qualities(panel).mean(axis=0)
    cost, had = decided(panel, lambda seed: Chain(PAIR), [Budget(share=s) for s in (0.25, 0.5, 0.75)], seed)
    share = (cost.mean(axis=0) - SECONDS[0]) / SECONDS[1]
    assert share == pytest.approx([0.25, 0.5, 0.75], abs=0.05)
    assert had.mean(axis=0) == pytest.approx(weak + share * (strong - weak), abs=0.012)
