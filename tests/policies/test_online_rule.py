import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from askless.errors import BudgetError, DataError
from askless.policies.online_rule import (
    BOTH,
    LARGE,
    NOBODY,
    SMALL,
    OnlineRule,
    published_order,
    running_rank,
)
from benchmarks.online_areas import online_decisions


def row_by_row(rule, score, budget):
    """The rule as it is told: one row after another, all scores so far in one sorted list."""
    (small, large), n = rule.costs, len(score)
    better = rule.quality[1] > rule.quality[0]
    share = min((1 - rule.quality[0]) / 2, 0.6)
    if better and small < large:
        share = min((budget - small) / large, 1)
    money, seen, out = budget * n, [], []
    for at, s in enumerate(score):
        left = n - at
        if money < small:
            out.append(NOBODY)
        elif money - left * small <= 0:
            money -= small
            seen.append(s)
            out.append(SMALL)
        elif money - left * large >= 0 and better:
            money -= large
            out.append(LARGE)
        else:
            seen = sorted([*seen, s])
            place = int(len(seen) * share)
            bar = -1 if len(seen) <= 20 else seen[place] if place < len(seen) else seen[-1] + 10
            money -= small
            asks = s < bar and money - large >= 0
            money -= large if asks else 0
            out.append(BOTH if asks else SMALL)
    return out


SCORES = st.one_of(
    st.floats(0, 1),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.floats(-9, 9),
    st.sampled_from([-np.inf, np.inf, -2.0, -1.0, 1e17]),
)
COSTS = st.one_of(
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.sampled_from(
        [(1.0, 5.0), (1.0, 15.0), (0.1, 0.3), (0.3, 0.1), (0.1, 0.1), (0.0, 0.0), (0.0, 1.0), (1e-5, 3e-4)]
    ),
)


@settings(deadline=None, max_examples=400)
@given(
    st.lists(SCORES, min_size=1, max_size=90),
    COSTS,
    st.sampled_from([(0.5, 0.7), (0.5, 0.7), (0.7, 0.5), (0.5, 0.5), (0.0, 1.0), (1.0, 0.0)]),
    st.one_of(st.floats(0, 1.2), st.sampled_from([k / 99 for k in range(0, 100, 9)])),
)
@example([0.5] * 60, (1.0, 1.0), (0.5, 0.7), 0.0)
@example([0.1 * k for k in range(60)], (0.1, 0.3), (0.5, 0.7), 0.0)
@example([0.1 * k for k in range(60)], (0.1, 0.3), (0.5, 0.7), 1.0)
def test_every_decision_is_that_of_a_loop_over_rows(score, costs, quality, part):
    rule = OnlineRule(costs, quality)
    score, budget = np.array(score), min(costs) + part * abs(costs[1] - costs[0])
    order = published_order(0, len(score))
    (fates,) = online_decisions(rule, score, [budget], order)
    assert fates[order].tolist() == row_by_row(rule, score[order], budget)


@pytest.mark.parametrize("costs", [(1.0, 5.0), (0.1, 0.7), (0.00018, 0.0029)])
def test_many_budgets_on_many_rows(costs):
    rng = np.random.default_rng(3)
    score = np.round(rng.random(700), 2)
    rule, order = OnlineRule(costs, (0.6, 0.8)), rng.permutation(700)
    budgets = np.linspace(*costs, 25)
    fates = online_decisions(rule, score, budgets, order)
    assert fates.shape == (25, 700)
    for budget, row in zip(budgets, fates, strict=True):
        assert row[order].tolist() == row_by_row(rule, score[order], budget)
    assert set(np.unique(fates)) >= {SMALL, LARGE}


def test_a_large_one_that_goes_on_after_it_was_alone():
    # Money rounded down: the large one is paid for no longer after some rows, and the scores it was spared are not in.
    found = 0
    for n in range(25, 200):
        rule, score = OnlineRule((0.1, 0.3), (0.5, 0.7)), np.random.default_rng(n).random(n)
        (fates,) = online_decisions(rule, score, [0.3], np.arange(n))
        assert fates.tolist() == row_by_row(rule, score, 0.3)
        found += len(set(fates.tolist())) > 1
    assert found


def test_a_score_of_nan_is_the_least():
    rule, score, at = OnlineRule((1.0, 5.0), (0.5, 0.7)), np.random.default_rng(0).random(50), np.arange(50) == 25
    one, two = (online_decisions(rule, np.where(at, s, score), [3.0], np.arange(50)) for s in (-np.inf, np.nan))
    assert (one == two).all()
    assert one[0, 25] == BOTH


def test_one_row():
    rule = OnlineRule((1.0, 5.0), (0.5, 0.7))
    assert online_decisions(rule, np.array([0.3]), [1.0, 4.9, 5.0], np.arange(1)).ravel().tolist() == [
        SMALL,
        SMALL,
        LARGE,
    ]
    assert online_decisions(rule, np.empty(0), [2.0], np.arange(0)).shape == (1, 0)


@given(st.lists(st.one_of(st.floats(allow_nan=False), st.integers(0, 3)), max_size=70))
def test_running_rank_counts_what_came_before(score):
    score = np.array(score, float)
    upto = [score[: i + 1] for i in range(len(score))]
    expected = [int((s <= s[-1]).sum()) for s in upto]
    assert running_rank(score).tolist() == expected


def test_errors_say_what_is_allowed():
    with pytest.raises(DataError, match=r"costs \(-1.0, 2.0\)\. Allowed: two finite numbers >= 0"):
        OnlineRule((-1.0, 2.0), (0.5, 0.6))
    with pytest.raises(BudgetError, match=r"A budget of 0.5 a row\. Allowed: at least the lower price, 1\."):
        online_decisions(OnlineRule((1.0, 2.0), (0.5, 0.6)), np.ones(3), [0.5], np.arange(3))
