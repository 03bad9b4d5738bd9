import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askless.policies.planned.measured import MeasuredPoints, rising, upper_hull


def measured(right, cost, *, experts, bill=None):
    right, cost = np.array(right, bool), np.array(cost, float)
    own = len(right) - experts
    mean = cost.mean(axis=1)
    share = np.linspace(1, 0, own).tolist() + [0.0] + [1.0] * (experts - 1)
    return MeasuredPoints(
        right, cost, mean if bill is None else np.array(bill), np.array(share), np.arange(own) / 2, experts
    )


def rows(share, n=20):
    return np.arange(n) < share * n


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_rising_is_scikit_learns_isotonic_regression(quality):
    from sklearn.isotonic import IsotonicRegression

    mine = rising(np.array(quality))
    assert (np.diff(mine) >= 0).all()
    np.testing.assert_allclose(mine, IsotonicRegression().fit_transform(np.arange(len(quality)), quality), atol=1e-9)


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1)), min_size=1, max_size=12))
def test_no_point_is_above_the_hull(points):
    cost, quality = np.array(points).T
    hull = upper_hull(cost, quality)
    assert (np.diff(quality[hull]) > 0).all()
    within = np.interp(cost, cost[hull], quality[hull])
    assert (quality <= within + 1e-9).all()


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
