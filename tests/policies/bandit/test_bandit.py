"""Learning whom to ask while answering, and never above the budget."""

import json

import numpy as np
import pytest

from askless.errors import BudgetError, ConfigError
from askless.panel import NO_LABEL
from askless.policies.bandit.bandit import Bandit
from askless.policies.bandit.rounds import Rounds
from askless.policies.base import Budget
from tests.policies.chain_data import board, drawn, names, nobody, part

EXPERTS = 3


def cold(experts=EXPERTS, **options):
    """A bandit that knows nothing."""
    return Bandit(names(experts), **options).fit(nobody(experts), nobody(experts))


def ceilings(data):
    """The most that each expert's answer costs."""
    return tuple(data[3].max(axis=0).tolist())


def played(data, usd, *, bandit=None, block=40, told=True, start=0):
    """The items in their order, in blocks: quality and cost of each, who was asked, and the bandit after them."""
    panel, rows = board(*data), len(data[0])
    bandit = bandit or cold(ceilings=ceilings(data))
    right, cost, asked = np.zeros(rows), np.zeros(rows), np.zeros((rows, len(bandit.experts)), bool)
    for first in range(start, rows, block):
        at = np.arange(first, min(first + block, rows))
        done = bandit.decide(panel.take(at, blind=True), Budget(per_1000=1000 * usd))
        right[at], cost[at], asked[at] = done.label == data[0][at], done.cost, done.asked
        bandit.count(done.rounds).feed(done.rounds, data[0][at] if told else np.full(len(at), NO_LABEL))
    return right, cost, asked, bandit


@pytest.mark.parametrize("usd", [2.5, 8.0, 40.0])
@pytest.mark.parametrize("seed", range(8))
def test_after_every_item_what_was_spent_is_within_the_budget(usd, seed):
    data = drawn(300, EXPERTS, seed)
    # Of some answers the price is many times what it was before.
    data[3][np.random.default_rng(seed).random(300) < 0.05] *= 8
    _, cost, _, bandit = played(data, usd, bandit=cold(ceilings=ceilings(data), random_state=seed), block=7 + 13 * seed)
    first = np.maximum(20, np.arange(1, 301)) if usd < data[3][:, 0].max() else np.arange(1, 301)
    assert (np.cumsum(cost) <= usd * first + 1e-9).all()
    assert bandit.spent_ == pytest.approx(cost.sum())
    assert bandit.items_ == 300


def test_it_learns_to_beat_the_expert_of_its_price():
    data = drawn(1_800, EXPERTS, 0)
    right, cost, _, _ = played(data, 12.0)
    # The second expert costs 10 in the mean.
    assert right[900:].mean() > (data[1][900:, 1] == data[0][900:]).mean() + 0.01
    assert cost[900:].mean() > 8


def test_without_labels_it_learns_nothing_and_the_cheapest_answers_most():
    _, _, asked, bandit = played(drawn(200, EXPERTS, 0), 12.0, told=False)
    assert bandit.rule_ is None
    assert bandit.items_ == 200
    assert asked[:, 0].all()


@pytest.mark.parametrize("rows", [0, 400])
def test_it_goes_on_as_it_was_after_a_round_through_json(rows):
    data = drawn(500, EXPERTS, 0)
    _, _, _, bandit = played(part(data, slice(0, rows)), 12.0, bandit=cold(ceilings=ceilings(data)))
    twin = Bandit(**bandit.get_params()).restore(json.loads(json.dumps(bandit.state())))
    rest = board(*part(data, slice(400, 500)), blind=True)
    one, other = (b.decide(rest.copy(), Budget(per_1000=12_000)) for b in (bandit, twin))
    assert np.array_equal(one.asked, other.asked)
    assert np.array_equal(one.label, other.label)


def test_deciding_changes_nothing_and_labels_may_come_late_and_be_put_right():
    data = drawn(120, EXPERTS, 0)
    bandit = cold(ceilings=ceilings(data))
    before = json.dumps(bandit.state())
    done = bandit.decide(board(*data, blind=True), Budget(per_1000=12_000))
    assert json.dumps(bandit.state()) == before
    bandit.count(done.rounds)
    for rows, label in ((slice(60, 120), 0), (slice(0, 60), 1), (slice(60, 120), 2)):
        bandit.feed(done.rounds[rows], np.full(60, label))
    assert bandit.rounds_.item.tolist() == list(range(120))
    assert bandit.gold_.tolist() == [1] * 60 + [2] * 60


def test_experts_come_and_go_and_what_is_known_of_the_others_stays():
    data = drawn(900, EXPERTS, 0)
    _, _, _, bandit = played(part(data, slice(0, 600)), 12.0, bandit=cold(ceilings=ceilings(data)))
    twin = bandit.hiring(("e0", "new", "e2"), ceilings=(1.5, 15.0, 150.0))
    assert (twin.items_, twin.spent_) == (bandit.items_, bandit.spent_)
    assert twin.prices_[[0, 2]].tolist() == bandit.prices_[[0, 2]].tolist()
    assert np.array_equal(twin.rounds_.label[:, [0, 2]], bandit.rounds_.label[:, [0, 2]])
    assert not twin.rounds_.asked[:, 1].any()
    assert twin.told("e2", 0.5).prices_[2] == bandit.prices_[2] / 2
    assert twin.told("e2", 0.0).prices_[2] == 0.0
    # What cost nothing says nothing of what it costs now: as far below its ceiling as the others are.
    assert np.isnan(twin.told("e2", np.inf).prices_[2]) and 10.0 < twin._expected()[2] < 150.0
    for wrong in (-1.0, np.nan):
        with pytest.raises(ConfigError, match="e2 got a price of .* times what it was. Allowed: 0 or more."):
            twin.told("e2", wrong)
    assert bandit.hiring(("e1", "other")).rule_ is not None


def test_it_begins_with_what_is_labelled_already():
    data = drawn(400, EXPERTS, 0)
    warm = Bandit(names(EXPERTS)).fit(board(*data), nobody())
    assert (warm.learnt_, warm.items_, len(warm.gold_)) == (400, 0, 400)
    assert warm.rule_ is not None
    # It knows what it would explore for.
    cheap = [each.decide(board(*data, blind=True), Budget(per_1000=12_000)).rounds.explored for each in (warm, cold())]
    assert 2 * cheap[0] < cheap[1]


@pytest.mark.parametrize(
    ("options", "budget", "error", "message"),
    [
        ({}, Budget(share=0.5), BudgetError, "Allowed: per_1000"),
        ({}, Budget(per_1000=1e-6), BudgetError, "under the least cost"),
        ({"explore": 2.0}, None, ConfigError, "a share from 0 to 1"),
        ({"ceilings": (1.0,)}, None, ConfigError, "3 numbers, one for each expert"),
    ],
)
def test_what_it_cannot_do_is_refused(options, budget, error, message):
    panel = board(*drawn(120, EXPERTS, 0))
    with pytest.raises(error, match=message):
        Bandit(names(EXPERTS), **options).fit(panel, nobody()).decide(panel, budget)


def test_a_price_that_moves_is_reckoned_with_before_the_next_label_comes():
    data = drawn(600, EXPERTS, 0)
    _, _, _, bandit = played(part(data, slice(0, 300)), 12.0, bandit=cold(ceilings=ceilings(data)))
    before = bandit.rule_.prices_.copy()
    data[3][300:, 1] /= 4
    done = bandit.decide(board(*part(data, slice(300, 600)), blind=True), Budget(per_1000=12_000))
    assert bandit.count(done.rounds).rule_.prices_[1] < 0.8 * before[1]


def test_a_price_of_nothing_that_stays_is_no_price_that_moved(monkeypatch):
    data = drawn(200, EXPERTS, 0)
    data[3][:, 0] = 0.0
    _, _, _, bandit = played(data, 12.0)
    done = bandit.decide(board(*part(data, slice(0, 40)), blind=True), Budget(per_1000=12_000))
    monkeypatch.setattr(bandit, "learn", lambda: pytest.fail("it learnt anew though nothing is new"))
    assert bandit.prices_[0] == 0 and bandit.count(done.rounds).items_ == 240
    bandit.prices_[0] = 0.01
    with pytest.raises(pytest.fail.Exception):
        bandit.count(done.rounds[np.arange(0)])


def test_of_many_experts_the_cheapest_and_those_next_to_the_hull_are_weighed():
    data = drawn(300, 12, 0)
    bandit = Bandit(names(12)).fit(board(*data), nobody(12))
    assert len(bandit.order_) == 9
    assert 0 in bandit.order_
    done = bandit.decide(board(*data, blind=True), Budget(per_1000=1000 * data[3][:, 3].mean()))
    assert (done.label != NO_LABEL).all()


def test_of_rounds_the_newest_are_kept_half_of_them_explored():
    made = Rounds.blank(names(2), np.arange(20))
    made.free[:, 0], made.free[:8, 1] = True, True
    assert made.newest(10).tolist() == [3, 4, 5, 6, 7, 15, 16, 17, 18, 19]
    assert made.newest(18).tolist() == [*range(8), *range(10, 20)]
    assert made[np.arange(8)].newest(10).tolist() == list(range(8))
