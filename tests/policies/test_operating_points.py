import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askless.errors import BudgetError
from askless.policies.base import Budget
from askless.policies.operating_points import (
    EVERYBODY,
    GRID,
    NOBODY,
    Mix,
    PricedPoints,
    Threshold,
    ThresholdPoints,
    beneath_hull,
    between,
    near_hull,
    nested_links,
    threshold_at,
)

scores = st.lists(st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0, np.nan]), min_size=1, max_size=40).map(np.array)
shares = st.floats(0, 1)


def expected(cut, score, weight=None):
    """What goes on if ties are drawn by chance: those below for certain, those at the cut with its odds."""
    certain, tied = cut.below(score, np.ones(len(score))), cut.below(score, np.full(len(score), -1.0))
    odds = certain + (tied & ~certain) * cut.tie
    return np.average(odds, weights=weight)


@given(scores, shares)
def test_a_share_is_hit_exactly_in_expectation_ties_or_not(score, share):
    assert expected(threshold_at(score, share), score) == pytest.approx(share, abs=1e-9)


@given(scores, shares, st.integers(0, 99))
def test_so_is_a_share_of_what_the_rows_weigh(score, share, seed):
    weight = np.random.default_rng(seed).random(len(score)) + 0.01
    assert expected(threshold_at(score, share, weight), score, weight) == pytest.approx(share, abs=1e-9)


@given(scores, shares, shares)
def test_a_larger_share_lets_on_whatever_a_smaller_one_does(score, one, two):
    draw = np.random.default_rng(0).random(len(score))
    less, more = (threshold_at(score, share).below(score, draw) for share in sorted((one, two)))
    assert not (less & ~more).any()


def test_the_least_sure_go_first_and_nan_says_nothing():
    score, draw = np.array([0.3, np.nan, 0.1, 0.2]), np.full(4, 0.5)
    assert threshold_at(score, 0.25).below(score, draw).tolist() == [False, True, False, False]
    assert threshold_at(score, 0.5).below(score, draw).tolist() == [False, True, True, False]


def test_nobody_and_everybody_hold_for_scores_not_seen():
    score, draw = np.array([-np.inf, 0.0, np.inf, np.nan]), np.array([0.0, 0.0, 0.0, 0.999])
    assert (threshold_at(score, 0.0), threshold_at(score, 1.0)) == (NOBODY, EVERYBODY)
    assert not NOBODY.below(score, draw).any()
    assert EVERYBODY.below(score, draw).all()


def test_a_tied_row_is_settled_by_its_draw():
    cut = threshold_at(np.zeros(10), 0.3)
    assert cut == Threshold(0.0, pytest.approx(0.3))
    assert cut.below(np.zeros(3), np.array([0.0, 0.29, 0.31])).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("score", "share", "said"),
    [
        (np.zeros(2), 1.5, "A share of 1.5 of the rows. Allowed: from 0 to 1."),
        (np.zeros(2), float("nan"), "A share of nan of the rows. Allowed: from 0 to 1."),
        (np.zeros(0), 0.5, "No rows to set a threshold on. Give at least one."),
    ],
)
def test_what_cannot_be_meant_is_refused(score, share, said):
    with pytest.raises(BudgetError) as error:
        threshold_at(score, share)
    assert str(error.value) == said


SCORE = np.array([0.1, 0.2, 0.2, 0.9])
STAY, GO = np.full(4, 1.0), np.array([3.0, 2.0, 4.0, 1.0])
GAIN = np.array([1.0, 1.0, 0.0, -1.0])


def sweep():
    return ThresholdPoints.of_levels(SCORE, STAY, GO, GAIN)


def test_a_sweep_runs_from_nobody_to_everybody_level_by_level():
    found = sweep()
    np.testing.assert_allclose(found.value[:-1], [0.1, 0.2, 0.9])
    np.testing.assert_allclose(found.share, [0, 0.25, 0.75, 1])
    np.testing.assert_allclose(found.cost, [1, 1.5, 2.5, 2.5])
    np.testing.assert_allclose(found.quality, [0, 0.25, 0.5, 0.25])


@pytest.mark.parametrize(
    ("budget", "cut"),
    [
        (Budget(share=0), NOBODY),
        (Budget(share=0.5), Threshold(0.2, 0.5)),
        (Budget(share=0.75), Threshold(0.9, 0.0)),
        (Budget(share=1), EVERYBODY),
        (Budget(per_1000=1000), NOBODY),
        (Budget(per_1000=1250), Threshold(0.1, 0.5)),
        (Budget(per_1000=2000), Threshold(0.2, 0.5)),
        # The last row would cost nothing more, but it loses by going on.
        (Budget(per_1000=2500), Threshold(0.9, 0.0)),
        (Budget(per_1000=9000), EVERYBODY),
        (Budget(price=0), Threshold(0.9, 0.0)),
        (Budget(price=0.3), Threshold(0.2, 0.0)),
        (Budget(price=9), NOBODY),
    ],
)
def test_a_budget_finds_its_cut(budget, cut):
    assert sweep().at(budget) == cut


def test_a_budget_under_the_least_cost_is_refused():
    with pytest.raises(BudgetError) as error:
        sweep().at(Budget(per_1000=900))
    assert str(error.value) == "A budget of 900 per 1,000 items is under the least cost, 1000. Allowed: at least that."


rows = st.lists(
    st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 5), st.floats(0, 5), st.sampled_from([-1, 0, 1])),
    min_size=1,
    max_size=12,
).map(lambda case: tuple(np.array(column, float) for column in zip(*case, strict=True)))


def spent_by(cut, score, each):
    """Mean of `each` over rows that go on, in expectation over the draws of tied rows."""
    goes = np.where(score == cut.value, cut.tie, score < cut.value)
    return float((goes * each).mean())


@settings(max_examples=100)
@given(rows, st.floats(0, 1))
def test_budgets_are_spent_to_the_full_in_expectation_whatever_rows_cost(case, part):
    score, stay, go, gain = case
    found = ThresholdPoints.of_levels(score, stay, go, gain)
    cut = found.at(Budget(share=part))
    assert spent_by(cut, score, np.ones(len(score))) == pytest.approx(part, abs=1e-9)
    budget = 1000 * (stay.mean() + part * max(0, go.mean() - stay.mean()))
    cut = found.at(Budget(per_1000=budget))
    spent = 1000 * (stay.mean() + spent_by(cut, score, go - stay))
    if cut == EVERYBODY or np.isclose(go.mean(), stay.mean()):
        assert spent <= budget + 1e-6
    else:
        assert spent == pytest.approx(budget, abs=1e-6)


@settings(max_examples=60)
@given(rows, st.floats(0, 3))
def test_a_price_buys_the_best_gain_less_price_times_cost(case, price):
    score, stay, go, gain = case
    cut = ThresholdPoints.of_levels(score, stay, go, gain).at(Budget(price=price))
    worth = gain - price * (go - stay)
    others = [Threshold(float(level), 0.0) for level in np.unique(score)] + [EVERYBODY, NOBODY]
    assert spent_by(cut, score, worth) == pytest.approx(max(spent_by(c, score, worth) for c in others), abs=1e-9)


@given(rows, st.floats(0.01, 0.99))
def test_a_share_has_one_threshold_either_way(case, share):
    score, stay, go, gain = case
    ours, theirs = ThresholdPoints.of_levels(score, stay, go, gain).at(Budget(share=share)), threshold_at(score, share)
    ones = np.ones(len(score))
    assert spent_by(ours, score, ones) == pytest.approx(spent_by(theirs, score, ones), abs=1e-9)


def reached_by(cut, sure, quality, cost):
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
    points = ThresholdPoints.of_links(*world)
    for k, cut in enumerate(zip(points.value, points.tie, strict=True)):
        got = (points.share[k], points.cost[k], points.quality[k])
        assert got == pytest.approx(reached_by(cut, *world))


@given(worlds(), st.floats(0, 1))
def test_a_share_and_a_cost_are_met_exactly_in_expectation_ties_or_not(world, part):
    points, (_, _, cost) = ThresholdPoints.of_links(*world), world
    least, most = cost[:, 0].mean(), cost.sum(axis=1).mean()
    value = least + part * (most - least)
    for budget, wanted, of in ((Budget(share=part), part, 0), (Budget(per_1000=1000 * value), value, 1)):
        mix = points.mix(budget)
        met = [reached_by((points.value[k], points.tie[k]), *world)[of] for k in (mix.low, mix.high)]
        assert (1 - mix.weight) * met[0] + mix.weight * met[1] == pytest.approx(wanted, abs=1e-8)


def test_the_ends_ask_nobody_on_and_everybody():
    points = ThresholdPoints.of_links(
        *(np.array(v) for v in ([[0.2, 0], [0.7, 0]], [[1, 1], [0, 1]], [[1.0, 5], [1, 5]]))
    )
    assert (points.threshold(0), points.threshold(-1)) == (NOBODY, EVERYBODY)
    assert (points.cost[0], points.cost[-1]) == (1.0, 6.0)
    assert (points.quality[0], points.quality[-1]) == (0.5, 1.0)
    assert 2 < len(points.cost) <= 2 * GRID


def test_a_price_buys_the_point_of_the_largest_quality_less_cost():
    rng = np.random.default_rng(0)
    sure = rng.random((8000, 2))
    quality = np.stack([rng.random(8000) < sure[:, 0], np.ones(8000)], axis=1)
    points = ThresholdPoints.of_links(sure, quality, np.tile([1.0, 10.0], (8000, 1)))
    chosen = [points.mix(Budget(price=price)) for price in (0.0, 0.05, 1.0)]
    assert all(mix.low == mix.high and mix.weight == 0 for mix in chosen)
    costs = [points.cost[mix.low] for mix in chosen]
    assert costs[0] > costs[1] > costs[2] == 1.0
    # Asking on gains 1 - p for 10: worth it at .05 where p < .5.
    assert points.value[chosen[1].low] == pytest.approx(0.5, abs=0.06)


def test_of_points_that_meet_a_share_alike_the_best_is_taken():
    sure = np.array([[0.1, 0.2], [0.1, 0.8]])
    links = np.column_stack([sure, [0, 0]])
    quality = np.array([[0.0, 1, 1], [0, 1, 0]])
    points = ThresholdPoints.of_links(links, quality, np.tile([1.0, 2, 4], (2, 1)))
    mix = points.mix(Budget(share=1.0))
    assert (mix.low, mix.weight, points.quality[mix.low]) == (mix.high, 0.0, 1.0)


def test_a_cost_under_the_first_experts_is_refused():
    points = ThresholdPoints.of_links(np.full((3, 2), 0.5), np.ones((3, 2)), np.tile([0.002, 1.0], (3, 1)))
    with pytest.raises(BudgetError) as error:
        points.mix(Budget(per_1000=1.5))
    assert str(error.value) == "A budget of 1.5 per 1,000 items is under the least cost, 2. Allowed: at least that."
    assert points.mix(Budget(per_1000=2.0)).low == 0
    last = len(points.cost) - 1
    assert points.mix(Budget(per_1000=1e9)) == Mix(last, last, 0.0)


POINTS = PricedPoints(
    price=np.array([np.inf, 3.0, 1.0, 0.0]),
    share=np.array([0.0, 0.5, 0.4, 1.0]),
    cost=np.array([1.0, 2.0, 4.0, 4.0]),
    quality=np.array([0.5, 0.6, 0.7, 0.8]),
    point=np.array([7, 2, 1, 0]),
)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=20), st.floats(0, 120))
def test_a_target_lies_between_its_neighbours(levels, target):
    level = np.sort(levels)
    low, weight = between(level, np.array([target]))
    high = min(low[0] + 1, len(level) - 1)
    met = (1 - weight[0]) * level[low[0]] + weight[0] * level[high]
    assert met == pytest.approx(np.clip(target, level[0], level[-1]), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("budget", "low", "high", "weight"),
    [
        (Budget(per_1000=1000), 0, 1, 0.0),
        (Budget(per_1000=1250), 0, 1, 0.25),
        (Budget(per_1000=3500), 1, 3, 0.75),
        (Budget(per_1000=9000), 3, 3, 0.0),
        (Budget(share=0.25), 0, 1, 0.5),
        (Budget(share=0.75), 1, 3, 0.5),
        (Budget(share=1.0), 3, 3, 0.0),
        (Budget(price=0.5), 2, 2, 0.0),
        (Budget(price=5.0), 0, 0, 0.0),
        (Budget(price=0.0), 3, 3, 0.0),
    ],
)
def test_a_budget_lies_between_two_points(budget, low, high, weight):
    mix = POINTS.mix(budget)
    assert (mix.low, mix.weight) == (low, pytest.approx(weight, abs=1e-6))
    assert mix.high == high
    for name in ("cost", "share", "quality"):
        ends = getattr(POINTS, name)[[low, high]]
        assert mix.of(getattr(POINTS, name)) == pytest.approx(ends @ [1 - weight, weight])


def test_of_points_of_one_quality_the_cheapest_is_worth_its_price():
    flat = PricedPoints(
        price=np.array([np.inf, 1.0, 0.0]),
        share=np.array([0.0, 0.5, 1.0]),
        cost=np.array([1.0, 2.0, 3.0]),
        quality=np.array([0.5, 0.6, 0.6]),
        point=np.array([2, 1, 0]),
    )
    assert flat.mix(Budget(price=0.0)).low == 1


def test_a_budget_below_the_cheapest_expert_is_refused():
    with pytest.raises(BudgetError) as error:
        POINTS.mix(Budget(per_1000=999))
    assert str(error.value) == (
        "A budget of 999 per 1,000 items is under the least cost, 1000. Allowed: at least that."
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=8))
def test_nobody_lies_above_the_hull_and_its_corners_are_of_those_on_it(points):
    cost, quality = (np.array(each, float) for each in zip(*points, strict=True))
    beneath = beneath_hull(cost, quality)
    assert (beneath >= 0).all()
    on = np.flatnonzero(beneath <= 1e-9)
    assert quality.argmax() in on
    for j in range(len(cost)):
        # The best that a mix of two buys for no more than the cost of this one.
        mixes = [quality[a] for a in on if cost[a] <= cost[j]]
        for a in on:
            for b in on:
                if cost[a] < cost[j] < cost[b]:
                    mixes.append(quality[a] + (quality[b] - quality[a]) * (cost[j] - cost[a]) / (cost[b] - cost[a]))
        assert beneath[j] == pytest.approx(max(0.0, max(mixes, default=quality[j]) - quality[j]), abs=1e-9)


def test_a_chain_asks_who_is_near_the_hull():
    cost = np.tile([1.0, 2.0, 3.0, 4.0, 5.0], (400, 1))
    right = np.array([0.5, 0.4, 0.8, 0.79, 0.7])
    quality = (np.arange(400)[:, None] < 400 * right).astype(float)
    assert near_hull(cost, quality).tolist() == [0, 2, 3], "the fourth is within an error of the third"
    assert near_hull(cost[:, [4, 2]], quality[:, [4, 2]]).tolist() == [0, 1], "the first stays"
    assert near_hull(cost[:, [0, 1]], np.ones((400, 2)) * [1.0, 0.0]).tolist() == [0, 1], "at least two stay"
    tried = [links.tolist() for links in nested_links(cost, quality)]
    assert tried == [[0, 1, 2, 3, 4], [0, 2, 3, 4], [0, 2, 3], [0, 2]], "furthest beneath the hull goes first"
