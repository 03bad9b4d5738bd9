"""A learner replayed: what it decides, pays and is told, and when."""

import re

import numpy as np
import pytest

from askless.errors import ConfigError
from askless.evaluation.arrivals import Feedback, arrivals, played
from askless.panel import NO_LABEL
from askless.policies.bandit.bandit import Bandit
from askless.policies.bandit.c2mab_v import C2MABV
from askless.policies.base import Budget
from tests.policies.chain_data import board, drawn, names, nobody

USD = 12.0


def cold(seed=0, kind=Bandit):
    return kind(names(3), random_state=seed).fit(nobody(), nobody())


class Listening:
    """A learner that writes down what it is told after how many items."""

    experts = names(3)

    def __init__(self):
        self.inner, self.items, self.told = cold(), 0, []

    def decide(self, panel, budget):
        self.items += len(panel)
        return self.inner.decide(panel, budget)

    def count(self, rounds):
        self.inner.count(rounds)

    def feed(self, rounds, label):
        self.told += [(item, said, self.items) for item, said in zip(rounds.item, label, strict=True)]
        self.inner.feed(rounds, label)


@pytest.mark.parametrize("kind", [Bandit, C2MABV])
def test_a_replay_is_what_would_have_happened(kind):
    data = drawn(180, 3, 0)
    done = played(cold(kind=kind), board(*data), USD, Feedback(block=40))
    learner, panel = cold(kind=kind), board(*data)
    for first in range(0, 180, 40):
        rows = np.arange(first, min(first + 40, 180))
        decided = learner.decide(panel.take(rows, blind=True), Budget(per_1000=1000 * USD))
        learner.count(decided.rounds).feed(decided.rounds, data[0][rows])
        assert np.array_equal(done.right[rows], decided.label == data[0][rows])
        assert np.array_equal(done.cost[rows], decided.cost)
        assert np.array_equal(done.asked[rows], decided.asked)


def test_each_label_is_told_once_after_its_block_and_so_many_items_later():
    gold = drawn(100, 3, 0)[0]
    learner = Listening()
    played(learner, board(*drawn(100, 3, 0)), USD, Feedback(block=30))
    assert [(item, label) for item, label, _ in learner.told] == list(enumerate(gold))
    assert [when for _, _, when in learner.told] == [30] * 30 + [60] * 30 + [90] * 30 + [100] * 10
    learner = Listening()
    played(learner, board(*drawn(100, 3, 0)), USD, Feedback(late=45, block=30))
    assert [(item, when) for item, _, when in learner.told] == [(item, 90) for item in range(30)]


def test_a_share_of_the_labels_is_drawn_whatever_was_answered():
    shares = []
    for usd in (2.0, 60.0):
        learner = Listening()
        played(learner, board(*drawn(200, 3, 0)), usd, Feedback(share=0.3), seed=4)
        shares.append([label != NO_LABEL for _, label, _ in learner.told])
    assert shares[0] == shares[1]
    assert 0.2 < np.mean(shares[0]) < 0.4


def test_every_order_is_another_one_and_begins_anew():
    panel = board(*drawn(120, 3, 0))
    run = arrivals(cold, panel, USD, orders=3, most=80)
    assert run.rows.shape == run.right.shape == run.cost.shape == (3, 80)
    assert run.asked.shape == (3, 80, 3)
    assert len({tuple(rows) for rows in run.rows}) == 3
    assert all(len(set(rows)) == 80 for rows in run.rows)
    again = played(cold(2), panel.take(run.rows[2]), USD, seed=2)
    assert np.array_equal(run.cost[2], again.cost)
    assert panel.total == 0


@pytest.mark.parametrize("wrong", [{"share": 1.2}, {"share": -0.1}, {"late": -1}, {"block": 0}])
def test_feedback_that_cannot_be_meant(wrong):
    with pytest.raises(ConfigError, match=re.escape("Allowed: a share from 0 to 1, no items late or more")):
        Feedback(**wrong)
