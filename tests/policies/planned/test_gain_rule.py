import numpy as np
import pytest

from askless.policies.planned.gain_rule import GainRule, price_grid, ridge
from askless.policies.planned.walk import STOP, outcomes
from tests.policies.answered import led, made


@pytest.fixture(scope="module")
def rule():
    return GainRule().fit(made(400))


def test_lambdas_run_from_quality_only_to_cost_only():
    grid = price_grid(np.array([1.0, 4.0]))
    assert len(grid) == 141 and grid[0] == 0
    assert grid[[1, -1]] * 4 == pytest.approx([1e-3, 20])
    assert (np.diff(grid) > 0).all()
    assert np.isfinite(price_grid(np.zeros(2))).all()


def test_ridge_is_scikit_learns():
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(1, 90, 3)), np.ones((1, 90, 1))], axis=2)
    y = rng.normal(size=(1, 90, 2))
    theirs = Ridge(alpha=30).fit(x[0, :, :3], y[0])
    np.testing.assert_allclose(ridge(x, y)[0], np.vstack([theirs.coef_.T, theirs.intercept_]), atol=1e-8)


def test_the_costlier_lambda_the_cheaper_the_rows(rule):
    told = made(400)
    cost = outcomes(rule, told)[1][:-3].mean(axis=1)
    assert cost[0] > 12 and cost[-1] == 1.0
    # Whom to ask first may change with lambda, so that costs fall but for small steps.
    assert np.diff(cost).max() < 0.05 * np.ptp(cost)


def test_it_stops_exactly_where_no_gain_exceeds_its_price(rule):
    done = led(rule, made(300, seed=1), 60)
    for _, _, look in done.looks:
        np.testing.assert_array_equal(look.then == STOP, look.score >= look.threshold)
    last = [look for j, _, look in done.looks if j == 2]
    assert all((look.threshold == -np.inf).all() for look in last)


def test_it_beats_the_mix_on_rows_not_learnt_on(rule):
    """On 20,000 rows at half the costliest's price: 2 points over the mix, some five standard errors."""
    told = made(20_000, seed=2)
    right, cost, _ = outcomes(rule, told)
    point = int(np.argmin(np.abs(cost[:-3].mean(axis=1) - 8.0)))
    mix = np.interp(cost[point].mean(), told.cost.mean(axis=0), told.right.mean(axis=0))
    assert right[point].mean() > mix + 0.02


def test_experts_in_between_are_skipped_or_left_out():
    useless = made(500, (0.6, 0.5, 0.95), (1.0, 10.0, 11.0))
    rule = GainRule().fit(useless)
    done = led(rule, made(500, (0.6, 0.5, 0.95), (1.0, 10.0, 11.0), seed=1), 60)
    assert done.asked[:, 1].mean() < 0.05 < done.asked[:, 2].mean()


def test_the_first_asked_need_not_be_the_cheapest():
    rule = GainRule().fit(made(400, (0.5, 0.9), (1.0, 1.1)))
    assert rule.first(np.array([0, 140])).tolist() == [1, 0]


def test_no_more_experts_than_allowed():
    told = made(200, (0.5,) * 6, (1, 1, 1, 1, 1, 1))
    rule = GainRule(tax=-1.0, most=3).fit(told)
    assert led(rule, told, 0).asked.sum(axis=1).max() == 3


def test_nine_experts_in_a_moment():
    told = made(300, np.linspace(0.5, 0.9, 9), 2.0 ** np.arange(9))
    rule = GainRule().fit(told)
    assert len(rule.posteriors_.coef_) == 9 + 36 + 84 + 126
    assert np.isfinite(outcomes(rule, told)[1]).all()


def test_a_log_probability_of_minus_infinity_is_a_p_of_zero():
    told = made(100)
    told.p[:10, 0], told.score[:10, 0] = 0.0, -np.inf
    done = led(GainRule().fit(told), told, 60)
    assert np.isfinite(done.last.sure).all()
