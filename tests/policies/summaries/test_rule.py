import numpy as np
import pytest

from askless.policies.summaries.rule import SummaryGainRule

PRICES = np.array([1.0, 4.0, 16.0])


def rule(prices=PRICES[:2], news=0.1, look_at="input", straight=True):
    prices = np.asarray(prices, float)
    return SummaryGainRule.of(prices, np.full(len(prices) - 1, news), look_at, straight)


def drawn(n=400, costlier=1, seed=0, news=0.1):
    rng = np.random.default_rng(seed)
    before = rng.normal(0.1, 0.1, (n, costlier))
    after = before + rng.normal(0, news, before.shape)
    quality = 0.3 + np.hstack([np.zeros((n, 1)), after + rng.normal(0, 0.1, after.shape)])
    return before, after, np.tile(PRICES[: costlier + 1], (n, 1)), quality


@pytest.mark.parametrize("costlier", [1, 2])
def test_before_any_call_the_expert_of_the_largest_gain_less_price_is_asked(costlier):
    before, after, _, _ = drawn(costlier=costlier)
    for price in (-0.1, 0.0, 0.02, 0.1):
        first, last = rule(PRICES[: costlier + 1]).decide(before, after, np.full(len(before), price))
        worth = np.hstack([np.zeros((len(before), 1)), before - price * (PRICES[1 : costlier + 1] - 1)])
        assert first.tolist() == last.tolist() == worth.argmax(axis=1).tolist()


def test_after_the_small_one_only_the_next_price_counts():
    before, after, _, _ = drawn()
    first, last = rule(look_at="small", straight=False).decide(before, after, np.full(400, 0.03))
    assert not first.any()
    assert last.tolist() == (after[:, 0] > 0.03 * 4).astype(int).tolist()


def test_reading_is_worth_what_a_draw_of_what_it_tells_is_worth():
    news, price, gain = 0.1, 0.03, 0.2
    one = rule(news=news, look_at="small")
    after = gain + news * np.random.default_rng(0).normal(size=2_000_000)
    worth = np.maximum(after - price * 4, 0).mean()
    assert one._reading(np.array([[gain]]), np.array([price]))[0] == pytest.approx(worth, rel=2e-3)


def test_at_no_price_only_they_go_straight_whom_reading_cannot_turn():
    before = np.array([[-0.2], [0.0], [0.2], [0.6], [0.9]])
    first, last = rule(look_at="small").decide(before, before, np.zeros(5))
    assert first.tolist() == [0, 0, 0, 1, 1]
    assert last.tolist() == [0, 0, 1, 1, 1]


def test_all_is_as_if_unread_where_reading_tells_nothing():
    before, after, _, _ = drawn()
    for price in (0.01, 0.03, 0.06):
        at = np.full(400, price)
        first, last = rule(news=0.0, look_at="small").decide(before, before, at)
        assert last.tolist() == rule().decide(before, before, at)[1].tolist()
        assert first.tolist() == last.tolist()


def test_reading_when_it_is_worth_it_beats_never_and_always_reading():
    before, after, cost, quality = drawn(20_000)
    price = 0.03

    def worth(one):
        first, last = one.decide(before, after, np.full(len(before), price))
        rows = np.arange(len(before))
        paid = cost[rows, last] + cost[:, 0] * (last > 0) * (first == 0) * one.reads
        return (quality[rows, last] - price * paid).mean()

    both = worth(rule(look_at="small"))
    assert both > worth(rule(look_at="small", straight=False)) + 1e-4
    assert both > worth(rule()) + 1e-4


@pytest.mark.parametrize("look_at", ["input", "small"])
@pytest.mark.parametrize("costlier", [1, 2])
def test_points_run_from_nobody_to_everybody_and_cost_rises(look_at, costlier):
    before, after, cost, quality = drawn(costlier=costlier)
    by_cost, by_share = rule(PRICES[: costlier + 1], look_at=look_at).points(before, after, cost, quality)
    assert by_cost.cost[0] == 1
    assert by_cost.share[0] == by_share.share[0] == 0
    assert by_share.share[-1] == 1
    assert (np.diff(by_cost.cost) >= 0).all()
    assert (np.diff(by_share.share) >= 0).all()
    assert (np.diff(by_cost.price) < 0).all()


@pytest.mark.parametrize("prices", [(0.0, 0.0), (2.0, 2.0), (0.0, 1.0), (1.0, 1.0, 3.0)])
@pytest.mark.parametrize("look_at", ["input", "small"])
def test_free_and_equal_prices_still_order_the_rows(prices, look_at):
    before, after, _, quality = drawn(costlier=len(prices) - 1)
    cost = np.tile(np.array(prices), (len(before), 1))
    _, by_share = rule(prices, look_at=look_at).points(before, after, cost, quality)
    assert (by_share.share[0], by_share.share[-1]) == (0, 1)


def test_rows_that_all_look_alike_are_all_or_none():
    same = np.full((10, 1), 0.2)
    _, by_share = rule().points(same, same, np.tile([1.0, 4.0], (10, 1)), np.tile([0.3, 0.5], (10, 1)))
    assert set(by_share.share) == {0, 1}
