import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askless.errors import ConfigError
from askless.stats.calibration import (
    SUREST,
    PlattCalibrator,
    laplace,
    platt,
    platt_apply,
    stratified_folds,
    transform,
)
from askless.stats.reliability import brier, reliability


def sample(slope, intercept, n=40_000, seed=0):
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 2, n)
    return logit, rng.random(n) < 1 / (1 + np.exp(-(slope * logit + intercept)))


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.5, 1.0), (2.0, -0.7)])
def test_platt_recovers_the_line_that_made_the_data(slope, intercept):
    logit, right = sample(slope, intercept)
    np.testing.assert_allclose(platt(logit, right), [slope, intercept], atol=0.06)


def test_platt_calibrates_what_was_over_confident():
    logit, right = sample(0.5, 0.0)
    stated = 1 / (1 + np.exp(-logit))
    calibrated = platt_apply(logit, platt(logit, right))
    assert reliability(stated, right).ece > 0.08
    assert reliability(calibrated, right).ece < 0.01
    assert brier(calibrated, right) < brier(stated, right)


def test_weights_count_rows_as_often_as_they_say():
    logit, right = sample(1.0, 0.5, n=500)
    weight = np.random.default_rng(1).integers(0, 4, len(logit)).astype(float)
    repeated = np.repeat(np.arange(len(logit)), weight.astype(int))
    np.testing.assert_allclose(platt(logit, right, weight), platt(logit[repeated], right[repeated]), atol=1e-3)


@pytest.mark.parametrize("all_are", [True, False])
def test_where_all_rows_agree_nothing_is_learnt(all_are):
    assert platt(np.array([0.1, 0.2]), np.full(2, all_are)).tolist() == [1.0, 0.0]


def test_a_score_that_points_the_wrong_way_is_not_used():
    logit, right = sample(-1.0, 0.4)
    slope, intercept = platt(logit, right)
    assert slope == 0.0
    np.testing.assert_allclose(platt_apply(logit, np.array([slope, intercept])), right.mean())


def test_the_sigmoid_does_not_overflow():
    fitted = np.array([1e6, 0.0])
    np.testing.assert_allclose(platt_apply(np.array([-1.0, 0.0, 1.0]), fitted), [0, 0.5, 1], atol=1e-12)


stated = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60).map(
    lambda rows: (np.array([r[0] for r in rows]), np.array([r[1] for r in rows]))
)


def crowded(n=20_000, seed=0, slope=0.5, intercept=-1.0):
    """Confidence crowded under 1 and outcomes by the line in `transform` that Platt's calibrator assumes."""
    rng = np.random.default_rng(seed)
    p = -np.expm1(-rng.exponential(3, n))
    return p, rng.random(n) < 1 / (1 + np.exp(-(slope * transform(p) + intercept)))


def test_the_transform_spreads_what_is_near_one():
    np.testing.assert_allclose(transform(np.array([0.0, 0.5, 0.9, 0.99])), np.log([1.0, 2, 10, 100]), atol=1e-12)
    assert transform(np.array([1.0])) == transform(np.array([SUREST])) == pytest.approx(6 * math.log(10))
    assert math.isnan(transform(np.array([math.nan]))[0])


def test_platt_finds_the_line_in_the_transform():
    fitted = PlattCalibrator().fit(*crowded())
    assert (fitted.slope_, fitted.intercept_) == (pytest.approx(0.5, abs=0.05), pytest.approx(-1, abs=0.05))


rows_stated = st.lists(
    st.tuples(st.one_of(st.sampled_from([0.0, 0.5, 1.0, math.nan]), st.floats(0, 1)), st.booleans()), max_size=25
).map(lambda rows: (np.array([r[0] for r in rows], float), np.array([r[1] for r in rows], bool)))


@settings(max_examples=60, deadline=None)
@given(rows_stated)
def test_whatever_was_learnt_from_the_result_is_a_rising_probability(case):
    p, right = case
    grid = np.linspace(0, 1, 21)
    found = PlattCalibrator().fit(p, right)(grid)
    assert np.isfinite(found).all()
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.diff(found) >= 0).all()


def test_what_states_nothing_is_neither_learnt_from_nor_given_a_probability():
    p, right = crowded(400)
    gaps = np.append(p, [math.nan] * 100)
    fitted = PlattCalibrator().fit(gaps, np.append(right, [True] * 100))
    assert vars(fitted) == vars(PlattCalibrator().fit(p, right))
    assert np.isnan(fitted(gaps)).tolist() == [False] * 400 + [True] * 100


@pytest.mark.parametrize(("outcome", "rate"), [(True, 11 / 12), (False, 1 / 12)])
def test_where_all_rows_agree_the_rule_of_succession_speaks(outcome, rate):
    p, right = np.linspace(0, 1, 10), np.full(10, outcome)
    assert laplace(right) == pytest.approx(rate)
    np.testing.assert_allclose(PlattCalibrator().fit(p, right)(p), rate)


def test_without_rows_nothing_is_claimed():
    fitted = PlattCalibrator().fit(np.empty(0), np.empty(0, bool))
    assert fitted(np.array([0.5])).tolist() == [0.5]


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(2, 6), st.integers(0, 3))
def test_folds_share_every_stratum_evenly(strata, folds, seed):
    strata = np.array(strata, np.int64)
    fold = stratified_folds(strata, folds, seed)
    assert fold.tolist() == stratified_folds(strata, folds, seed).tolist()
    for value in np.unique(strata):
        count = np.bincount(fold[strata == value], minlength=folds)
        assert count.max() - count.min() <= 1
    count = np.bincount(fold, minlength=folds)
    assert count.max() - count.min() <= 1


def test_stated_confidence_comes_nearer_the_truth_on_rows_not_learnt_on():
    p, right = crowded()
    after = PlattCalibrator().fit(p[::2], right[::2])(p[1::2])
    assert reliability(after, right[1::2]).ece < 0.015 < reliability(p[1::2], right[1::2]).ece
    assert brier(after, right[1::2]) < brier(p[1::2], right[1::2])


def test_one_fold_is_refused():
    with pytest.raises(ConfigError) as error:
        stratified_folds(np.zeros(3), folds=1)
    assert str(error.value) == "Got folds 1. Allowed: 2 or more."
