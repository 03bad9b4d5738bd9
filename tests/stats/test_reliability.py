import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss

from askless.stats.reliability import brier, reliability

stated = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60).map(
    lambda rows: (np.array([r[0] for r in rows]), np.array([r[1] for r in rows]))
)


def test_ece_of_known_bins():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    right = np.array([True, True, True, False, True, False])
    bins = reliability(confidence, right, 10)
    np.testing.assert_allclose(bins.confidence, [0.55, 0.95])
    np.testing.assert_allclose(bins.accuracy, [0.5, 0.75])
    assert bins.count.tolist() == [2, 4]
    assert bins.ece == pytest.approx((2 * 0.05 + 4 * 0.2) / 6)


def test_the_ends_of_the_scale_have_bins():
    bins = reliability(np.array([0.0, 1.0]), np.array([False, True]), 15)
    assert bins.confidence.tolist() == [0.0, 1.0]
    assert bins.ece == 0.0


def test_bins_of_equal_mass_hold_equally_many():
    confidence = np.linspace(0.9, 1, 30) ** 3
    bins = reliability(confidence, np.ones(30, bool), 5, mass=True)
    assert bins.count.tolist() == [6] * 5
    np.testing.assert_allclose(bins.confidence, confidence.reshape(5, 6).mean(axis=1))
    assert len(reliability(confidence, np.ones(30, bool), 5).count) < 5


def test_ties_are_split_to_keep_the_mass_equal():
    assert reliability(np.full(10, 0.7), np.ones(10, bool), 5, mass=True).count.tolist() == [2] * 5


def test_rows_that_state_nothing_are_left_out():
    confidence, right = np.array([0.75, math.nan, 0.75]), np.array([True, False, False])
    for mass in (False, True):
        bins = reliability(confidence, right, 2, mass=mass)
        assert bins.count.sum() == 2
    assert reliability(confidence, right, 1).ece == pytest.approx(0.25)
    assert brier(confidence, right) == pytest.approx((0.25**2 + 0.75**2) / 2)


@pytest.mark.parametrize("mass", [False, True])
def test_nothing_stated_is_undefined(mass):
    empty = np.array([math.nan])
    assert math.isnan(reliability(empty, np.array([True]), mass=mass).ece)
    assert math.isnan(brier(empty, np.array([True])))


@given(stated, st.integers(1, 20), st.booleans())
def test_bins_keep_every_row_and_the_gap_of_the_means_is_the_least_error(case, count, mass):
    confidence, right = case
    bins = reliability(confidence, right, count, mass=mass)
    assert bins.count.sum() == len(confidence)
    assert (bins.count > 0).all()
    assert len(bins.count) <= count
    np.testing.assert_allclose(bins.count @ bins.confidence / len(confidence), confidence.mean())
    np.testing.assert_allclose(bins.count @ bins.accuracy / len(confidence), right.mean())
    assert abs(confidence.mean() - right.mean()) - 1e-9 <= bins.ece <= 1 + 1e-9


@given(stated)
def test_brier_equals_scikit_learns(case):
    confidence, right = case
    assert brier(confidence, right) == pytest.approx(brier_score_loss(right, confidence, pos_label=True))
