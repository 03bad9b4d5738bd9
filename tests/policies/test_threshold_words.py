"""What a policy holds items against, in a few words that are true of what it then decides."""

import re

import numpy as np
import pytest

from askless.plans.boards import Boards
from askless.policies.base import Budget
from askless.policies.baselines import Length
from askless.policies.chain.chain import Chain
from askless.policies.summaries.expected_gain import SummaryGain
from askless.policies.two_tier import TwoTier
from askless.text.embeddings import Vectors
from tests import summaries_data
from tests.plans.test_evaluate import made
from tests.summaries_data import EMPTY, news, panel, ranker, vectors_in


@pytest.fixture(scope="module")
def boards():
    return Boards.of(made())


def fitted(kind, boards):
    return kind(("e0", "e2")).fit(boards.train.copy(), boards.valid.copy())


def test_two_tiers_ask_under_a_confidence(boards):
    policy = fitted(TwoTier, boards)
    said = re.fullmatch(r"(\w+) under (\S+)", policy.threshold_words(Budget(share=0.3)))
    cut, _ = policy.rule(Budget(share=0.3))
    assert said[1] == policy.measure_
    assert float(said[2]) == pytest.approx(cut.value, rel=1e-3)
    assert policy.threshold_words(Budget(share=1.0)) == "e2 alone"


def test_a_score_has_its_threshold(boards):
    policy = fitted(Length, boards)
    assert policy.threshold_words(Budget(share=0.3)) == f"score under {policy.threshold(Budget(share=0.3)).value:.4g}"


def test_of_summaries_it_is_one_lambda_or_the_two_between_which_items_are_divided(tmp_path):
    vectors = vectors_in(tmp_path)
    small = ranker(vectors)
    policy = SummaryGain(summaries_data.PAIR, Vectors.open(vectors), trees=5)
    policy.fit(panel(news(60, 2), small), panel(EMPTY, small))
    assert policy.threshold_words(None) == "lambda 0"
    for share in np.linspace(0, 1, 7):
        mix = policy.by_share_.mix(Budget(share=float(share)))
        named = re.findall(r"[-\d.e+]+", policy.threshold_words(Budget(share=float(share))).removeprefix("lambda "))
        prices = {f"{policy.by_share_.price[place]:.4g}" for place in (mix.low, mix.high)}
        assert set(named) <= prices
        assert len(named) == (1 if mix.weight in (0, 1) else len(prices))


def test_of_a_policy_with_several_thresholds_nothing_is_said(boards):
    assert fitted(Chain, boards).threshold_words(Budget(share=0.3)) == ""
