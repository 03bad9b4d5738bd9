"""Experts that change: noticed soon and hardly ever by chance, their old answers set aside, nobody paid for silence."""

import numpy as np
import pytest

from askless.panel import NO_LABEL
from askless.policies.bandit.bandit import Bandit
from askless.policies.bandit.changes import change, outage, run_on, runs
from askless.policies.bandit.rounds import Rounds
from askless.policies.base import Budget
from tests.policies.bandit.test_bandit import EXPERTS, ceilings, cold, played
from tests.policies.chain_data import board, drawn, nobody, part

USD, AT, ITEMS = 12.0, 600, 1_000
# Who answers most at that budget: its answers cost 10 in the mean.
MAIN = 1


def world(seed=0, **changed):
    """Items of which the main expert is another from the 600th on: its `label`, or its `cost`."""
    gold, label, logprob, cost = drawn(ITEMS, EXPERTS, seed)
    random = np.random.default_rng(1_000 + seed)
    if changed.get("label") == "wrong":
        label[AT:, MAIN] = (gold[AT:] + (random.random(ITEMS - AT) < 0.9)) % 3
    if changed.get("label") == "none":
        label[AT : changed["until"], MAIN], cost[AT : changed["until"], MAIN] = NO_LABEL, changed["cost"]
    cost[AT:, MAIN] *= changed.get("times", 1.0)
    return gold, label, logprob, cost


def went_on(seed=0, **changed):
    """What comes of such items, and the bandit after them."""
    return played(world(seed, **changed), USD, bandit=cold(ceilings=ceilings(world(seed, **changed))), block=20)


@pytest.mark.parametrize(("before", "after", "most"), [(0.8, 0.4, 120), (0.4, 0.8, 120), (0.9, 0.1, 40)])
def test_a_change_is_found_within_some_rows_and_its_place_too(before, after, most):
    random, delays, places = np.random.default_rng(0), [], []
    for _ in range(20):
        bits = np.concatenate([random.random(400) < before, random.random(most) < after])
        at = next(n for n in range(380, len(bits) + 1) if change(bits[:n]) is not None)
        delays.append(at - 400)
        places.append(change(bits[:at])[0])
    assert 0 < min(delays) and np.mean(delays) < most / 2
    assert np.abs(np.array(places) - 400).mean() < 10


@pytest.mark.parametrize("rate", [0.5, 0.05, 0.99])
def test_bits_of_one_rate_are_hardly_ever_taken_for_a_change_however_often_they_are_looked_at(rate):
    bits = np.random.default_rng(1).random((100, 1_000)) < rate
    assert not any(change(row[:n]) is not None for row in bits for n in range(50, 1_001, 50))


def test_a_change_in_many_groups_is_found_though_each_has_few_bits():
    random = np.random.default_rng(2)
    group = random.integers(24, size=460)
    rate = np.linspace(0.5, 0.95, 24)[group] - 0.45 * (np.arange(460) >= 400)
    found = [change(random.random(460) < rate, group) for _ in range(20)]
    assert sum(each is not None and abs(each[0] - 400) < 25 for each in found) >= 18


def test_groups_that_come_more_often_are_no_change_of_the_bits():
    random = np.random.default_rng(3)
    group = (random.random((100, 800)) < np.where(np.arange(800) < 400, 0.2, 0.8)).astype(int)
    bits = random.random(group.shape) < np.where(group, 0.9, 0.5)
    assert all(change(row, each) is None for row, each in zip(bits, group, strict=True))
    assert sum(change(row) is not None for row in bits) > 50


def test_answers_asked_because_of_others_are_compared_where_these_were_the_same_experts():
    *_, bandit = went_on()
    rows = np.arange(80)
    made, first = Rounds.blank(bandit.experts, rows), rows % 2
    for j in range(3):
        asked = rows if j == 2 else rows[first == j]
        made.label[asked, j], made.p[asked, j], made.cost[asked, j] = asked % 3, 0.6, 1.0
        made.free[asked, j] = j < 2
    bandit.rounds_, bandit.gold_ = made, rows % 3
    told, group = bandit._alike(2)
    assert len(told) == 80 and (group > 0).all()
    assert not set(group[first == 0]) & set(group[first == 1])


def test_what_says_nothing_of_a_change():
    assert change(np.zeros(0, bool)) is None and change(np.ones(500, bool)) is None


def test_an_outage_is_a_run_that_is_no_chance():
    silent = np.array([1, 1, 0, 1, 1, 1, 0, 1], bool)
    assert runs(silent, 3).nonzero()[0].tolist() == [3, 4, 5] and runs(silent, 1).tolist() == silent.tolist()
    assert (run_on(4, silent), run_on(4, np.ones(3, bool)), run_on(4, silent[:0])) == (1, 7, 4)
    assert (outage(0, 0), outage(0, 1_000), outage(500, 1_000)) == (6, 5, 22)


@pytest.mark.parametrize("seed", range(2))
def test_an_expert_that_was_replaced_is_noticed_and_hardly_asked_any_more(seed):
    _, _, asked, bandit = went_on(seed, label="wrong")
    assert AT - 60 <= bandit.since_[MAIN] <= AT + 60 and (np.delete(bandit.since_, MAIN) < 0).all()
    assert asked[AT - 200 : AT, MAIN].mean() > 0.3
    assert asked[AT + 200 :, MAIN].mean() < 0.2
    old = bandit.rounds_.item < bandit.since_[MAIN]
    assert not bandit.rounds_.asked[old, MAIN].any() and bandit.rounds_.asked[old, 0].any()


def test_where_nothing_changes_nothing_is_set_aside():
    _, _, _, bandit = went_on()
    assert (bandit.since_ < 0).all()


@pytest.mark.parametrize("cost", [0.0, 10.0])
def test_an_expert_that_gives_no_answers_is_hardly_asked_until_it_is_back_and_is_known_then(cost):
    data = world(label="none", until=700, cost=cost)
    panel, bandit, label = board(*data), cold(ceilings=ceilings(data)), np.full(ITEMS, NO_LABEL)
    asked = np.zeros((ITEMS, EXPERTS), bool)
    for first in range(0, ITEMS, 20):
        at = np.arange(first, first + 20)
        done = bandit.decide(panel.take(at, blind=True), Budget(per_1000=1000 * USD))
        label[at], asked[at] = done.label, done.asked
        bandit.count(done.rounds).feed(done.rounds, data[0][at])
    assert asked[AT + 40 : 700, MAIN].mean() < 0.1
    assert (label[20:] != NO_LABEL).all()
    assert asked[900:, MAIN].mean() > 0.3
    assert (bandit.since_ < 0).all() and bandit.prices_[MAIN] > 8


def test_of_an_item_of_which_the_asked_expert_says_nothing_another_is_asked():
    gold, label, logprob, cost = drawn(400, EXPERTS, 3)
    label[300:, MAIN] = NO_LABEL
    _, _, _, bandit = played(
        part((gold, label, logprob, cost), slice(0, 300)), USD, bandit=cold(ceilings=(1.5, 15, 150))
    )
    done = bandit.decide(
        board(*part((gold, label, logprob, cost), slice(300, 400)), blind=True), Budget(per_1000=12_000)
    )
    assert (done.label != NO_LABEL).all()


@pytest.mark.parametrize("times", [0.25, 4.0])
def test_a_price_that_changed_is_known_after_some_answers(times):
    _, cost, asked, bandit = went_on(times=times)
    assert bandit.prices_[MAIN] == pytest.approx(10 * times, rel=0.15)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "changed",
    [
        {"label": "wrong"},
        {"times": 4.0},
        {"times": 0.25},
        {"label": "none", "until": 700, "cost": 0.0},
        {"label": "none", "until": 700, "cost": 10.0},
    ],
)
def test_whatever_changes_the_budget_holds_after_every_item(seed, changed):
    _, cost, _, bandit = went_on(seed, **changed)
    assert (np.cumsum(cost) <= USD * np.arange(1, ITEMS + 1) + 1e-9).all()
    assert bandit.spent_ == pytest.approx(cost.sum())


def test_a_new_expert_is_explored_soon():
    data = drawn(1_000, EXPERTS, 0)
    first = part(data, slice(0, 600))
    _, _, _, old = played(
        (first[0], *(each[:, :2] for each in first[1:])),
        USD,
        bandit=Bandit(("e0", "e1"), ceilings=(1.5, 15.0)).fit(nobody(2), nobody(2)),
    )
    bandit = old.hiring(("e0", "e1", "e2"), ceilings=(1.5, 15.0, 150.0))
    _, _, asked, _ = played(data, USD, bandit=bandit, start=600)
    assert asked[600:, 2].sum() > 10
