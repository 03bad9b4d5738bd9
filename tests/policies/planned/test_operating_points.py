import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askless.errors import BudgetError
from askless.policies.base import Budget
from askless.policies.planned.operating_points import Measured, OperatingPoints, between, rising, upper_hull

POINTS = OperatingPoints(
    price=np.array([np.inf, 3.0, 1.0, 0.0]),
    share=np.array([0.0, 0.5, 0.4, 1.0]),
    cost=np.array([1.0, 2.0, 4.0, 4.0]),
    quality=np.array([0.5, 0.6, 0.7, 0.8]),
    point=np.array([7, 2, 1, 0]),
)


def measured(right, cost, *, experts, bill=None):
    right, cost = np.array(right, bool), np.array(cost, float)
    own = len(right) - experts
    mean = cost.mean(axis=1)
    share = np.linspace(1, 0, own).tolist() + [0.0] + [1.0] * (experts - 1)
    return Measured(right, cost, mean if bill is None else np.array(bill), np.array(share), np.arange(own) / 2, experts)


def rows(share, n=20):
    return np.arange(n) < share * n


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_rising_is_scikit_learns_isotonic_regression(quality):
    from sklearn.isotonic import IsotonicRegression

    mine = rising(np.array(quality))
    assert (np.diff(mine) >= 0).all()
    np.testing.assert_allclose(mine, IsotonicRegression().fit_transform(np.arange(len(quality)), quality), atol=1e-9)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=20), st.floats(0, 120))
def test_a_target_lies_between_its_neighbours(levels, target):
    level = np.sort(levels)
    low, weight = between(level, np.array([target]))
    high = min(low[0] + 1, len(level) - 1)
    met = (1 - weight[0]) * level[low[0]] + weight[0] * level[high]
    assert met == pytest.approx(np.clip(target, level[0], level[-1]), rel=1e-6, abs=1e-9)


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1)), min_size=1, max_size=12))
def test_no_point_is_above_the_hull(points):
    cost, quality = np.array(points).T
    hull = upper_hull(cost, quality)
    assert (np.diff(quality[hull]) > 0).all()
    within = np.interp(cost, cost[hull], quality[hull])
    assert (quality <= within + 1e-9).all()


@pytest.mark.parametrize(
    ("budget", "low", "high", "weight"),
    [
        (Budget(per_1000=1000), 0, 1, 0.0),
        (Budget(per_1000=1250), 0, 1, 0.25),
        (Budget(per_1000=3500), 1, 2, 0.75),
        (Budget(per_1000=9000), 3, 3, 0.0),
        (Budget(share=0.25), 0, 1, 0.5),
        (Budget(share=0.75), 1, 3, 0.5),
        (Budget(share=1.0), 3, 3, 0.0),
        (Budget(price=0.5), 2, 3, 0.0),
        (Budget(price=5.0), 0, 1, 0.0),
        (None, 3, 3, 0.0),
    ],
)
def test_a_budget_lies_between_two_points(budget, low, high, weight):
    mix = POINTS.mix(budget)
    assert (mix.low, mix.weight) == (low, pytest.approx(weight, abs=1e-6))
    assert mix.high == high
    for name in ("cost", "share", "quality"):
        ends = getattr(POINTS, name)[[low, high]]
        assert getattr(mix, name) == pytest.approx(ends @ [1 - weight, weight])


def test_of_points_of_one_quality_the_cheapest_is_worth_its_price():
    flat = OperatingPoints(
        price=np.array([np.inf, 1.0, 0.0]),
        share=np.array([0.0, 0.5, 1.0]),
        cost=np.array([1.0, 2.0, 3.0]),
        quality=np.array([0.5, 0.6, 0.6]),
        point=np.array([2, 1, 0]),
    )
    assert flat.mix(None).low == 1


def test_a_budget_below_the_cheapest_expert_is_refused():
    with pytest.raises(BudgetError) as error:
        POINTS.mix(Budget(per_1000=999))
    assert str(error.value) == (
        "A budget of 999 is under the least cost per 1,000 items, 1000. Allowed: at least that."
    )


def test_the_best_expert_alone_takes_the_place_of_points_no_better():
    own = [rows(0.75), rows(0.7), rows(0.65)]
    found = measured([*own, rows(0.5), rows(0.8)], [[9] * 20, [5] * 20, [2] * 20, [1] * 20, [4] * 20], experts=2)
    points = found.points()
    assert points.point.tolist() == [3, 2, 4]
    assert points.cost.tolist() == [1, 2, 4]
    assert points.quality == pytest.approx([0.5, 0.65, 0.8])


def test_a_point_better_than_every_expert_stays():
    found = measured([rows(0.9), rows(0.5), rows(0.8)], [[3] * 20, [1] * 20, [4] * 20], experts=2)
    assert found.points().point.tolist() == [1, 0]
    assert found.alone().point.tolist() == [1, 2]


def test_a_cheaper_and_better_expert_leaves_itself_alone():
    found = measured([rows(0.8), rows(0.8), rows(0.5)], [[3] * 20, [1] * 20, [4] * 20], experts=2)
    assert found.points().point.tolist() == [1]


def test_promises_never_fall_and_bills_are_those_of_the_rule_that_decides():
    own = [rows(0.8), rows(0.9), rows(0.6), rows(0.7)]
    found = measured(
        [*own, rows(0.5), rows(0.55)],
        [[8] * 20, [6] * 20, [4] * 20, [2] * 20, [1] * 20, [9] * 20],
        experts=2,
        bill=[8.0, 3.0, 5.0, 2.0, 1.0, 9.0],
    )
    points = found.points()
    assert points.point.tolist() == [4, 3, 2, 0]
    assert points.cost.tolist() == [1, 2, 5, 8]
    assert (np.diff(points.quality) >= 0).all()
    # Measured at 4 and 6 are .65 (two rows pooled) and .85: the bill of 5 lies half way.
    assert points.quality == pytest.approx([0.5, 0.65, 0.75, 0.85])


def test_the_area_is_the_mean_quality_over_the_experts_costs():
    found = measured([rows(0.5), rows(0.5), rows(1.0)], [[1] * 20, [1] * 20, [3] * 20], experts=2)
    assert found.mixture().shape == (20,)
    assert found.mixture().mean() == pytest.approx(0.75, abs=1e-9)
    assert found.area().mean() == pytest.approx(0.75, abs=1e-9)


def test_state_round_trip():
    again = OperatingPoints.restored(POINTS.state())
    for name, value in POINTS.state().items():
        assert getattr(again, name).tolist() == value
