import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askless.evaluation import curves

unit = st.floats(0, 1)
points = st.lists(st.tuples(st.floats(0, 10), unit), min_size=1, max_size=12).map(
    lambda rows: tuple(np.array(column) for column in zip(*rows, strict=True))
)


def of(*rows):
    return tuple(np.array(column, float) for column in zip(*rows, strict=True))


def test_points_are_sorted_by_cost_and_the_better_of_equal_cost_comes_last():
    cost, quality = curves.sorted_by_cost(*of((2, 0.5), (1, 0.9), (2, 0.4), (1, 0.1)))
    assert cost.tolist() == [1, 1, 2, 2]
    assert quality.tolist() == [0.1, 0.9, 0.4, 0.5]


def test_the_hull_is_the_best_had_for_no_more():
    cost, quality = curves.hull(*of((1, 0.6), (3, 0.9), (2, 0.8), (4, 0.7)))
    assert cost.tolist() == [1, 2, 3, 4]
    assert quality.tolist() == [0.6, 0.8, 0.9, 0.9]


@pytest.mark.parametrize(
    ("curve", "low", "high", "expected"),
    [
        (of((0, 0.5), (1, 0.7)), 0, 1, 0.6),
        (of((0, 0.5), (0.1, 0.9), (1, 0.9)), 0, 1, 0.88),
        (of((1, 0.9), (0, 0.5), (0.1, 0.9)), 0, 1, 0.88),
        (of((0.5, 0.8)), 0, 1, 0.8),
        (of((0.25, 0.4), (0.75, 0.8)), 0, 1, 0.6),
        (of((0, 0.0), (4, 1.0)), 1, 2, 0.375),
        (of((0, 0.5), (1, 0.5), (1, 0.9), (2, 0.9)), 0, 2, 0.8),
    ],
)
def test_area_is_the_mean_quality_over_the_range(curve, low, high, expected):
    assert curves.area(*curve, low, high) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (math.nan, 1)])
def test_an_empty_range_has_no_area(low, high):
    assert math.isnan(curves.area(*of((0, 0.5), (1, 0.7)), low, high))


def test_the_area_of_the_straight_line():
    assert curves.line_area(0.5, 0.8) == pytest.approx(0.65)
    assert curves.area(*of((2, 0.5), (7, 0.8)), 2, 7) == pytest.approx(0.65)


def test_pgr_is_the_share_of_the_gap():
    np.testing.assert_allclose(curves.pgr(np.array([0.5, 0.65, 0.8, 0.95, 0.2]), 0.5, 0.8), [0, 0.5, 1, 1.5, -1])


@pytest.mark.parametrize(("weak", "strong"), [(0.8, 0.8), (0.9, 0.8), (math.nan, 0.8)])
def test_without_a_gap_nothing_can_be_recovered(weak, strong):
    curve = of((0, 0.9), (1, 0.8))
    assert np.isnan(curves.pgr(curve[1], weak, strong)).all()
    assert math.isnan(curves.apgr(*curve, weak, strong))
    assert math.isnan(curves.cpt(*curve, weak, strong, 0.5))


def test_apgr_of_a_perfect_start():
    # All of the gap at a share of .2, then level: .1 below the line's end, .8 of the range at 1.
    assert curves.apgr(*of((0, 0.5), (0.2, 0.8), (1, 0.8)), 0.5, 0.8) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("recovered", "share"), [(0.0, 0.0), (0.5, 0.1), (0.8, 0.16), (1.0, 0.2), (1.5, 0.9), (1.6, math.nan)]
)
def test_cpt_is_the_first_crossing(recovered, share):
    curve = of((1, 0.5), (0, 0.0), (0.2, 1.0), (0.6, 0.0), (0.8, 1.0), (0.9, 1.5))
    assert curves.cpt(*curve, 0.0, 1.0, recovered) == pytest.approx(share, nan_ok=True)


def test_cpt_where_the_first_point_is_enough_or_two_share_a_place():
    assert curves.cpt(*of((0.3, 0.9), (1, 1)), 0.0, 1.0, 0.5) == pytest.approx(0.3)
    assert curves.cpt(*of((0.3, 0.2), (0.3, 0.9), (1, 1)), 0.0, 1.0, 0.5) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("slack", "expected"),
    [(0.0, 0.5), (0.005, 0.5), (0.01, 0.75), (0.3, 0.9)],
)
def test_saving_is_that_of_the_cheapest_point_that_is_good_enough(slack, expected):
    curve = of((1, 0.6), (2.5, 0.79), (5, 0.8), (8, 0.85), (10, 0.8))
    assert curves.saving(*curve, 10, 0.8, slack) == pytest.approx(expected)


def test_no_saving_where_nothing_cheaper_is_as_good():
    assert curves.saving(*of((1, 0.6), (5, 0.7)), 10, 0.8, 0.0) == 0.0
    assert curves.saving(*of((12, 0.9)), 10, 0.8, 0.0) == 0.0
    assert math.isnan(curves.saving(*of((1, 0.9)), 0, 0.8, 0.0))


def test_ibc_lift():
    small, large = (1.0, 0.5), (11.0, 0.7)
    assert curves.ibc_lift(6.0, 0.6, small, large) == pytest.approx(0.0)
    assert curves.ibc_lift(3.5, 0.6, small, large) == pytest.approx(1.0)
    assert curves.ibc_lift(6.0, 0.5, small, large) == pytest.approx(-1.0)
    for undefined in (
        curves.ibc_lift(1.0, 0.6, small, large),
        curves.ibc_lift(6.0, 0.6, small, (11.0, 0.5)),
        curves.ibc_lift(6.0, 0.6, large, small),
    ):
        assert math.isnan(undefined)


@given(weak=unit, gap=st.floats(0.01, 1), shares=st.lists(unit, max_size=20))
def test_the_random_line_has_an_apgr_of_one_half(weak, gap, shares):
    share = np.array([0.0, *shares, 1.0])
    assert curves.apgr(share, weak + gap * share, weak, weak + gap) == pytest.approx(0.5, abs=1e-9)
    assert curves.cpt(share, weak + gap * share, weak, weak + gap, 0.8) == pytest.approx(0.8, abs=1e-9)


@given(points, st.floats(0, 5), st.floats(0.1, 10))
def test_area_lies_within_the_qualities_and_the_hulls_is_no_smaller(curve, low, width):
    area = curves.area(*curve, low, low + width)
    assert curve[1].min() - 1e-9 <= area <= curve[1].max() + 1e-9
    assert curves.area(*curves.hull(*curve), low, low + width) >= area - 1e-9


@given(points, st.floats(0, 5), st.floats(0.1, 10), st.randoms())
def test_the_order_of_the_points_does_not_matter(curve, low, width, random):
    order = list(range(len(curve[0])))
    random.shuffle(order)
    shuffled = curve[0][order], curve[1][order]
    for function, more in (
        (curves.area, (low, low + width)),
        (curves.apgr, (0.2, 0.7)),
        (curves.cpt, (0.2, 0.7, 0.5)),
        (curves.saving, (8.0, 0.6, 0.01)),
    ):
        assert function(*shuffled, *more) == pytest.approx(function(*curve, *more), nan_ok=True, abs=1e-12)


@given(points)
def test_the_hull_never_falls_and_lies_on_or_above_its_points(curve):
    cost, quality = curves.hull(*curve)
    assert (np.diff(cost) >= 0).all()
    assert (np.diff(quality) >= 0).all()
    for c, q in zip(*curve, strict=True):
        assert quality[cost <= c].max() >= q
    assert set(quality) <= set(curve[1])


@given(points, st.floats(0.01, 10), unit, st.floats(0, 0.5), st.floats(0, 0.5))
def test_saving_is_a_share_and_grows_with_the_slack(curve, cost, quality, slack, more):
    tight, loose = (curves.saving(*curve, cost, quality, s) for s in (slack, slack + more))
    assert 0 <= tight <= loose <= 1


@given(points, unit, st.floats(0.01, 1), unit, unit)
def test_more_of_the_gap_never_takes_a_smaller_share(curve, weak, gap, recovered, more):
    share = curve[0] / 10
    first, second = (curves.cpt(share, curve[1], weak, weak + gap, x) for x in (recovered, recovered + more))
    if not math.isnan(second):
        assert first <= second + 1e-12
        assert share.min() <= first <= share.max()
