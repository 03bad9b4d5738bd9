import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askless.errors import BudgetError
from askless.policies.cuts import ALL, NONE, Cut, cut_at

scores = st.lists(st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0, np.nan]), min_size=1, max_size=40).map(np.array)
shares = st.floats(0, 1)


def expected(cut, score, weight=None):
    """What goes on if ties are drawn by chance: those below for certain, those at the cut with its odds."""
    certain, tied = cut.below(score, np.ones(len(score))), cut.below(score, np.full(len(score), -1.0))
    odds = certain + (tied & ~certain) * cut.tie
    return np.average(odds, weights=weight)


@given(scores, shares)
def test_a_share_is_hit_exactly_in_expectation_ties_or_not(score, share):
    assert expected(cut_at(score, share), score) == pytest.approx(share, abs=1e-9)


@given(scores, shares, st.integers(0, 99))
def test_so_is_a_share_of_what_the_rows_weigh(score, share, seed):
    weight = np.random.default_rng(seed).random(len(score)) + 0.01
    assert expected(cut_at(score, share, weight), score, weight) == pytest.approx(share, abs=1e-9)


@given(scores, shares, shares)
def test_a_larger_share_lets_on_whatever_a_smaller_one_does(score, one, two):
    draw = np.random.default_rng(0).random(len(score))
    less, more = (cut_at(score, share).below(score, draw) for share in sorted((one, two)))
    assert not (less & ~more).any()


def test_the_least_sure_go_first_and_nan_says_nothing():
    score, draw = np.array([0.3, np.nan, 0.1, 0.2]), np.full(4, 0.5)
    assert cut_at(score, 0.25).below(score, draw).tolist() == [False, True, False, False]
    assert cut_at(score, 0.5).below(score, draw).tolist() == [False, True, True, False]


def test_nobody_and_everybody_hold_for_scores_not_seen():
    score, draw = np.array([-np.inf, 0.0, np.inf, np.nan]), np.array([0.0, 0.0, 0.0, 0.999])
    assert (cut_at(score, 0.0), cut_at(score, 1.0)) == (NONE, ALL)
    assert not NONE.below(score, draw).any()
    assert ALL.below(score, draw).all()


def test_a_tied_row_is_settled_by_its_draw():
    cut = cut_at(np.zeros(10), 0.3)
    assert cut == Cut(0.0, pytest.approx(0.3))
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
        cut_at(score, share)
    assert str(error.value) == said
