"""LinUCB and LinTS: what they learn is the published ridge, they read the text, and never spend above their budget."""

import json

import numpy as np
import pytest

from askless.errors import BudgetError, ConfigError
from askless.panel import NO_LABEL
from askless.policies.bandit.linear import LinTS, LinUCB
from askless.policies.base import Budget
from tests.policies.chain_data import board, drawn, names, nobody

KINDS = (LinUCB, LinTS)
TOPICS = ("rings fields groups", "kidney liver blood")


def told_by_text(n, seed=0):
    """Items of two topics; the cheap expert is good at the first alone, the expensive one at the second alone."""
    random = np.random.default_rng(seed)
    topic, gold = random.integers(2, size=n), random.integers(3, size=n)
    right = random.random((n, 2)) < np.where(topic[:, None] == np.arange(2), 0.9, 0.5)
    label = np.where(right, gold[:, None], (gold[:, None] + 1) % 3)
    text = [f"{TOPICS[t]} {random.integers(50)}" for t in topic]
    return topic, (gold, label, np.full((n, 2), np.nan), np.tile([1.0, 3.0], (n, 1))), text


def played(data, usd, learner, *, block=40, text=None):
    """The items in their order: who was asked about each (n, experts), its cost and whether it was right (n,)."""
    panel = board(*data, text=[f"t{k}" for k in range(len(data[0]))] if text is None else text)
    parts = []
    for first in range(0, len(panel), block):
        at = np.arange(first, min(first + block, len(panel)))
        done = learner.decide(panel.take(at, blind=True), Budget(per_1000=1000 * usd))
        parts.append((done.asked, done.cost, done.label == data[0][at]))
        learner.count(done.rounds).feed(done.rounds, data[0][at])
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("usd", [2.5, 8.0, 40.0])
@pytest.mark.parametrize("seed", range(4))
def test_after_every_item_what_was_spent_is_within_the_budget(kind, usd, seed):
    data = drawn(300, 3, seed)
    data[3][np.random.default_rng(seed).random(300) < 0.05] *= 8
    most = tuple(data[3].max(axis=0).tolist())
    learner = kind(names(3), ceilings=most, random_state=seed).fit(nobody(3), nobody(3))
    asked, cost, _ = played(data, usd, learner, block=7 + 13 * seed)
    assert (np.cumsum(cost) <= usd * np.arange(1, 301) + 1e-9).all()
    assert learner.spent_ == pytest.approx(cost.sum())
    assert asked.sum(axis=1).max() == 1
    assert asked[100:].any(axis=1).mean() > 0.99


@pytest.mark.parametrize("kind", KINDS)
def test_it_asks_about_each_text_the_expert_who_is_right_there(kind):
    topic, data, text = told_by_text(2_000)
    learner = kind(names(2), ceilings=(1.0, 3.0)).fit(nobody(2), nobody(2))
    asked, cost, right = played(data, 2.1, learner, text=text)
    late = slice(1_000, None)
    assert asked[late, 1][topic[late] == 1].mean() > 0.85 > 0.15 > asked[late, 1][topic[late] == 0].mean()
    assert right[late].mean() > 0.85
    assert cost.mean() <= 2.1
    _, _, blind = played(data, 2.1, kind(names(2), ceilings=(1.0, 3.0)).fit(nobody(2), nobody(2)), text=["."] * 2_000)
    assert right[late].mean() > blind[late].mean() + 0.1


def test_the_price_of_money_falls_until_what_comes_in_is_spent():
    data = drawn(3_000, 3, 1)
    learner = LinUCB(names(3), ceilings=tuple(data[3].max(axis=0).tolist())).fit(nobody(3), nobody(3))
    _, cost, _ = played(data, 12.0, learner)
    assert cost[1_000:].mean() == pytest.approx(12.0, rel=0.06)


def test_far_overspent_nobody_is_asked():
    learner = LinUCB(names(3), ceilings=(1.5, 15.0, 150.0)).fit(nobody(3), nobody(3))
    learner.items_, learner.spent_ = 100, 1e9
    panel = board(*drawn(60, 3, 1), text=["."] * 60, blind=True)
    assert not learner.decide(panel, Budget(per_1000=12_000)).asked.any()


def test_what_it_learns_is_the_published_ridge():
    library = pytest.importorskip("mabwiser.mab", reason="mabwiser is not installed")
    _, data, text = told_by_text(400)
    panel = board(*data, text=text)
    learner = LinUCB(names(2), width=16, optimism=0.7).fit(panel, nobody(2))
    x = learner.look(panel)
    theirs = library.MAB(list(names(2)), library.LearningPolicy.LinUCB(alpha=0.7, l2_lambda=1.0))
    right = data[1] == data[0][:, None]
    theirs.fit(np.repeat(names(2), 400), right.T.ravel() - 0.5, np.tile(x, (2, 1)))
    expected = [[each[name] for name in names(2)] for each in theirs.predict_expectations(x[:50])]
    np.testing.assert_allclose(learner.chances(x[:50]) - 0.5, expected, atol=1e-9)


def test_draws_are_of_the_ridge():
    _, data, text = told_by_text(200)
    panel = board(*data, text=text)
    sure, drawn_ = (kind(names(2), width=4).fit(panel, nobody(2)) for kind in KINDS)
    x = np.repeat(sure.look(panel)[:1], 20_000, axis=0)
    many, mean = drawn_.chances(x), LinUCB(names(2), width=4, optimism=0).fit(panel, nobody(2)).chances(x)
    assert many.mean(axis=0) == pytest.approx(mean[0], abs=0.002)
    assert many.std(axis=0) == pytest.approx((sure.chances(x) - mean)[0], rel=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_on_as_it_was_after_a_round_through_json_and_deciding_changes_nothing(kind):
    data = drawn(200, 3, 0)
    learner = kind(names(3)).fit(nobody(3), nobody(3))
    played(data, 12.0, learner)
    before = json.dumps(learner.state())
    twin = kind(**learner.get_params()).restore(json.loads(before))
    one, other = (each.decide(board(*data, blind=True), Budget(per_1000=12_000)) for each in (learner, twin))
    assert np.array_equal(one.asked, other.asked)
    assert json.dumps(learner.state()) == before == json.dumps(twin.state())


def test_labels_may_come_late_and_of_some_items():
    data = drawn(120, 3, 0)
    one, other = (LinUCB(names(3)).fit(nobody(3), nobody(3)) for _ in range(2))
    done = one.decide(board(*data, blind=True), Budget(per_1000=12_000))
    some = np.where(np.arange(120) < 60, data[0], NO_LABEL)
    one.count(done.rounds).feed(done.rounds, some)
    other.count(done.rounds).feed(done.rounds[40:60], data[0][40:60]).feed(done.rounds[:40], data[0][:40])
    assert one.squares_ == pytest.approx(other.squares_)
    assert one.products_ == pytest.approx(other.products_)


def test_a_budget_under_the_price_of_those_asked_often_is_no_error_while_a_cheaper_one_is_there():
    learner = LinUCB(names(2), ceilings=(1.0, 10.0)).fit(nobody(2), nobody(2))
    learner.answered_, learner.cost_ = np.array([10, 80]), np.array([10.0, 800.0])
    assert learner.decide(board(*drawn(30, 2, 0), blind=True), Budget(per_1000=3_000)).asked.any()


@pytest.mark.parametrize(
    ("options", "budget", "error", "message"),
    [
        ({}, Budget(share=0.5), BudgetError, "LinUCB got a budget of share. Allowed: per_1000"),
        ({}, Budget(per_1000=1e-6), BudgetError, "under the least cost"),
        ({"width": 0}, None, ConfigError, "width 0"),
        ({"shrink": 0.0}, None, ConfigError, "a number > 0"),
        ({"ceilings": (1.0,)}, None, ConfigError, "3 numbers, one for each expert"),
    ],
)
def test_what_it_cannot_do_is_refused(options, budget, error, message):
    panel = board(*drawn(60, 3, 0))
    with pytest.raises(error, match=message):
        LinUCB(names(3), **options).fit(panel, nobody()).decide(panel, budget)
