import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askless.errors import BudgetError
from askless.policies.base import Budget
from askless.policies.cuts import ALL, NONE, Cut, cut_at
from askless.policies.sweep import Sweep

SCORE = np.array([0.1, 0.2, 0.2, 0.9])
STAY, GO = np.full(4, 1.0), np.array([3.0, 2.0, 4.0, 1.0])
GAIN = np.array([1.0, 1.0, 0.0, -1.0])


def sweep():
    return Sweep.of(SCORE, STAY, GO, GAIN)


def test_a_sweep_runs_from_nobody_to_everybody_level_by_level():
    found = sweep()
    np.testing.assert_allclose(found.score, [0.1, 0.2, 0.9])
    np.testing.assert_allclose(found.share, [0, 0.25, 0.75, 1])
    np.testing.assert_allclose(found.cost, [1, 1.5, 2.5, 2.5])
    np.testing.assert_allclose(found.gain, [0, 0.25, 0.5, 0.25])


@pytest.mark.parametrize(
    ("budget", "cut"),
    [
        (Budget(share=0), NONE),
        (Budget(share=0.5), Cut(0.2, 0.5)),
        (Budget(share=0.75), Cut(0.9, 0.0)),
        (Budget(share=1), ALL),
        (Budget(per_1000=1000), NONE),
        (Budget(per_1000=1250), Cut(0.1, 0.5)),
        (Budget(per_1000=2000), Cut(0.2, 0.5)),
        # The last row costs nothing more, so that it goes on as soon as the others are paid.
        (Budget(per_1000=2500), ALL),
        (Budget(per_1000=9000), ALL),
        (Budget(price=0), Cut(0.9, 0.0)),
        (Budget(price=0.3), Cut(0.2, 0.0)),
        (Budget(price=9), NONE),
    ],
)
def test_a_budget_finds_its_cut(budget, cut):
    assert sweep().at(budget) == cut


def test_a_budget_under_the_least_cost_is_refused():
    with pytest.raises(BudgetError) as error:
        sweep().at(Budget(per_1000=900))
    assert str(error.value) == "A budget of 900 is under the least cost per 1,000 items, 1000. Allowed: at least that."


rows = st.lists(
    st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 5), st.floats(0, 5), st.sampled_from([-1, 0, 1])),
    min_size=1,
    max_size=12,
).map(lambda case: tuple(np.array(column, float) for column in zip(*case, strict=True)))


def expected(cut, score, each):
    """Mean of `each` over rows that go on, in expectation over the draws of tied rows."""
    goes = np.where(score == cut.threshold, cut.tie, score < cut.threshold)
    return float((goes * each).mean())


@settings(max_examples=100)
@given(rows, st.floats(0, 1))
def test_budgets_are_spent_to_the_full_in_expectation_whatever_rows_cost(case, part):
    score, stay, go, gain = case
    found = Sweep.of(score, stay, go, gain)
    cut = found.at(Budget(share=part))
    assert expected(cut, score, np.ones(len(score))) == pytest.approx(part, abs=1e-9)
    budget = 1000 * (stay.mean() + part * max(0, go.mean() - stay.mean()))
    cut = found.at(Budget(per_1000=budget))
    spent = 1000 * (stay.mean() + expected(cut, score, go - stay))
    if cut == ALL:
        assert spent <= budget + 1e-6
    else:
        assert spent == pytest.approx(budget, abs=1e-6)


@settings(max_examples=60)
@given(rows, st.floats(0, 3))
def test_a_price_buys_the_best_gain_less_price_times_cost(case, price):
    score, stay, go, gain = case
    cut = Sweep.of(score, stay, go, gain).at(Budget(price=price))
    worth = gain - price * (go - stay)
    others = [Cut(float(level), 0.0) for level in np.unique(score)] + [ALL, NONE]
    assert expected(cut, score, worth) == pytest.approx(max(expected(c, score, worth) for c in others), abs=1e-9)


@given(rows, st.floats(0.01, 0.99))
def test_a_share_is_cut_where_cut_at_cuts_it(case, share):
    score, stay, go, gain = case
    ours, theirs = Sweep.of(score, stay, go, gain).at(Budget(share=share)), cut_at(score, share)
    ones = np.ones(len(score))
    assert expected(ours, score, ones) == pytest.approx(expected(theirs, score, ones), abs=1e-9)
