import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askless.errors import BudgetError
from askless.policies.base import Budget
from askless.policies.chain.points import GRID, Points


def expected(cut, sure, quality, cost):
    """Share beyond the first link, cost and quality of one threshold, row by row over both outcomes of the tie."""
    threshold, tie = cut
    rows, links = sure.shape
    total = np.zeros(3)
    for part, on_tie in ((tie, True), (1 - tie, False)):
        for r in range(rows):
            link = 0
            while link < links - 1 and (sure[r, link] < threshold or (on_tie and sure[r, link] == threshold)):
                link += 1
            total += part * np.array([link > 0, cost[r, : link + 1].sum(), quality[r, link]])
    return total / rows


@st.composite
def worlds(draw):
    links = draw(st.integers(2, 4))
    rows = draw(st.integers(1, 12))
    levels = draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    sure = rng.integers(0, levels, (rows, links)) / 10
    cost = rng.integers(0, 4, (rows, links)) * 1.5
    return sure, draw(st.sampled_from([np.round, np.asarray]))(rng.random((rows, links))), cost


@given(worlds())
def test_each_point_is_what_its_threshold_costs_and_reaches(world):
    points = Points.measured(*world)
    for k, cut in enumerate(points.cuts):
        got = (points.share[k], points.cost[k], points.quality[k])
        assert got == pytest.approx(expected(cut, *world))


@given(worlds(), st.floats(0, 1))
def test_a_share_and_a_cost_are_met_exactly_in_expectation_ties_or_not(world, part):
    points, (_, _, cost) = Points.measured(*world), world
    least, most = cost[:, 0].mean(), cost.sum(axis=1).mean()
    value = least + part * (most - least)
    for budget, wanted, of in ((Budget(share=part), part, 0), (Budget(per_1000=1000 * value), value, 1)):
        below, above, second = points.at(budget)
        met = [expected(points.cuts[k], *world)[of] for k in (below, above)]
        assert (1 - second) * met[0] + second * met[1] == pytest.approx(wanted, abs=1e-8)


def test_the_ends_ask_nobody_on_and_everybody():
    points = Points.measured(*(np.array(v) for v in ([[0.2, 0], [0.7, 0]], [[1, 1], [0, 1]], [[1.0, 5], [1, 5]])))
    assert points.cuts[0].tolist() == [-np.inf, 0.0]
    assert points.cuts[-1].tolist() == [np.inf, 1.0]
    assert (points.cost[0], points.cost[-1]) == (1.0, 6.0)
    assert (points.quality[0], points.quality[-1]) == (0.5, 1.0)
    assert 2 < len(points.cost) <= 2 * GRID


def test_a_price_buys_the_point_of_the_largest_quality_less_cost():
    rng = np.random.default_rng(0)
    sure = rng.random((8000, 2))
    quality = np.stack([rng.random(8000) < sure[:, 0], np.ones(8000)], axis=1)
    points = Points.measured(sure, quality, np.tile([1.0, 10.0], (8000, 1)))
    chosen = [points.at(Budget(price=price)) for price in (0.0, 0.05, 1.0)]
    assert all(below == above and part == 0 for below, above, part in chosen)
    costs = [points.cost[k] for k, _, _ in chosen]
    assert costs[0] > costs[1] > costs[2] == 1.0
    # Asking on gains 1 - p for 10: worth it at .05 where p < .5.
    assert points.cuts[chosen[1][0], 0] == pytest.approx(0.5, abs=0.06)


def test_of_points_that_meet_a_share_alike_the_best_is_taken():
    sure = np.array([[0.1, 0.2], [0.1, 0.8]])
    links = np.column_stack([sure, [0, 0]])
    quality = np.array([[0.0, 1, 1], [0, 1, 0]])
    points = Points.measured(links, quality, np.tile([1.0, 2, 4], (2, 1)))
    below, above, part = points.at(Budget(share=1.0))
    assert (below, part, points.quality[below]) == (above, 0.0, 1.0)


def test_a_cost_under_the_first_experts_is_refused():
    points = Points.measured(np.full((3, 2), 0.5), np.ones((3, 2)), np.tile([0.002, 1.0], (3, 1)))
    with pytest.raises(BudgetError) as error:
        points.at(Budget(per_1000=1.5))
    assert str(error.value) == (
        "A budget of 1.5 per 1,000 items is under the least cost, 2: every item is asked of the first expert. "
        "Allowed: at least that."
    )
    assert points.at(Budget(per_1000=2.0))[0] == 0
    last = len(points.cost) - 1
    assert points.at(Budget(per_1000=1e9)) == (last, last, 0.0)
