import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askless.errors import ConfigError
from askless.stats.calibration import (
    CALIBRATORS,
    SUREST,
    IsotonicCalibrator,
    PlattCalibrator,
    TemperatureCalibrator,
    best_calibrator,
    calibrator,
    cross_fitted,
    laplace,
    nll,
    platt,
    platt_apply,
    stratified_folds,
    transform,
)
from askless.stats.reliability import before_after, brier, reliability
from askless.stats.uncertainty import agreement

KINDS = list(CALIBRATORS)


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


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_temperature_finds_what_the_log_odds_were_multiplied_by(true):
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 1.5, 40_000)
    right = rng.random(len(odds)) < 1 / (1 + np.exp(-odds))
    stated = 1 / (1 + np.exp(-true * odds))
    fitted = TemperatureCalibrator().fit(stated, right)
    assert fitted.temperature_ == pytest.approx(true, rel=0.03)
    losses = [nll(_tempered(stated, t), right) for t in fitted.temperature_ * np.array([0.98, 1, 1.02])]
    assert losses[1] == min(losses)


def _tempered(p, temperature):
    return TemperatureCalibrator().restore({"temperature": temperature})(p)


def test_isotonic_pools_neighbours_that_are_out_of_order():
    p = np.array([0.2, 0.4, 0.6, 0.8, 0.9])
    fitted = IsotonicCalibrator().fit(p, np.array([False, True, False, True, True]))
    # The outer steps are no surer than one in seven and six in seven.
    np.testing.assert_allclose(fitted(p), [1 / 7, 0.5, 0.5, 6 / 7, 6 / 7])
    np.testing.assert_allclose(fitted(np.array([0.0, 0.3, 1.0])), [1 / 7, (1 / 7 + 0.5) / 2, 6 / 7])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_brings_stated_confidence_nearer_the_truth(kind):
    p, right = crowded()
    for part in (before_after(p, right, kind), before_after(p[:300], right[:300], kind)):
        assert part["after"]["nll"] < part["before"]["nll"]
        assert part["after"]["brier"] < part["before"]["brier"]
        assert part["after"]["ece"] < part["before"]["ece"]


def test_calibration_of_log_probabilities_leaves_little_to_correct():
    p, right = crowded()
    for kind in ("platt", "isotonic", "best"):
        assert reliability(cross_fitted(kind, p, right), right).ece < 0.015


def test_shares_of_agreeing_answers_are_calibrated_like_stated_probabilities():
    rng = np.random.default_rng(1)
    chance = rng.beta(2, 1.2, 8000)
    votes = (rng.random((8000, 5)) < chance[:, None]).astype(np.int64)
    labels = np.where(votes == 1, 1, 2)
    stated, right = agreement(labels), labels[:, -1] == 1
    found = before_after(stated, right, "best")
    assert found["before"]["ece"] > 0.08
    assert found["after"]["ece"] < 0.02
    assert found["after"]["rows"] == 8000
    shares = best_calibrator(stated, right)(np.array([0.2, 0.4, 0.6, 0.8, 1.0]))
    assert (np.diff(shares) > 0).all()


rows_stated = st.lists(
    st.tuples(st.one_of(st.sampled_from([0.0, 0.5, 1.0, math.nan]), st.floats(0, 1)), st.booleans()), max_size=25
).map(lambda rows: (np.array([r[0] for r in rows], float), np.array([r[1] for r in rows], bool)))


@settings(max_examples=60, deadline=None)
@given(rows_stated, st.sampled_from([*KINDS, "best"]))
def test_whatever_was_learnt_from_the_result_is_a_rising_probability(case, kind):
    p, right = case
    grid = np.linspace(0, 1, 21)
    found = calibrator(kind, p, right)(grid)
    assert np.isfinite(found).all()
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.diff(found) >= 0).all()
    outer = cross_fitted(kind, p, right)
    assert np.isnan(outer).tolist() == np.isnan(p).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_learnt_survives_a_round_through_json(kind):
    p, right = crowded(500)
    fitted = CALIBRATORS[kind]().fit(p, right)
    state = json.loads(json.dumps(fitted.state()))
    again = CALIBRATORS[kind]().restore(state)
    assert again.state() == fitted.state()
    assert again(p).tolist() == fitted.predict(p).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_what_states_nothing_is_neither_learnt_from_nor_given_a_probability(kind):
    p, right = crowded(400)
    gaps = np.append(p, [math.nan] * 100)
    fitted = CALIBRATORS[kind]().fit(gaps, np.append(right, [True] * 100))
    assert fitted.state() == CALIBRATORS[kind]().fit(p, right).state()
    assert np.isnan(fitted(gaps)).tolist() == [False] * 400 + [True] * 100


@pytest.mark.parametrize(("outcome", "rate"), [(True, 11 / 12), (False, 1 / 12)])
def test_where_all_rows_agree_the_rule_of_succession_speaks(outcome, rate):
    p, right = np.linspace(0, 1, 10), np.full(10, outcome)
    assert laplace(right) == pytest.approx(rate)
    for kind in (PlattCalibrator, IsotonicCalibrator):
        np.testing.assert_allclose(kind().fit(p, right)(p), rate)


@pytest.mark.parametrize("kind", KINDS)
def test_without_rows_nothing_is_claimed(kind):
    fitted = CALIBRATORS[kind]().fit(np.empty(0), np.empty(0, bool))
    assert fitted(np.array([0.5])).tolist() == [0.5]
    assert cross_fitted(kind, np.empty(0), np.empty(0, bool)).tolist() == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_never_sees_its_own_outcome(kind):
    p, right = crowded(60)
    fold = stratified_folds(right)
    assert cross_fitted(kind, p, right)[fold == 2].tolist() == (
        CALIBRATORS[kind]().fit(p[fold != 2], right[fold != 2])(p[fold == 2]).tolist()
    )
    single = cross_fitted(kind, np.array([0.9]), np.array([False]))
    assert single.tolist() == CALIBRATORS[kind]().fit(np.empty(0), np.empty(0, bool))(np.array([0.9])).tolist()


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


def test_one_fold_and_an_unknown_kind_are_refused():
    with pytest.raises(ConfigError) as error:
        cross_fitted("platt", np.array([0.5]), np.array([True]), folds=1)
    assert str(error.value) == "Got folds 1. Allowed: 2 or more."
    with pytest.raises(ConfigError) as error:
        calibrator("plat", np.array([0.5]), np.array([True]))
    assert str(error.value) == (
        "Unknown calibrator 'plat'. Known: best, isotonic, platt, temperature. Did you mean 'platt'?"
    )


def test_the_best_calibrator_is_that_of_the_least_cross_fitted_loss_and_platt_of_equals():
    p, right = crowded()
    assert isinstance(best_calibrator(p, right), PlattCalibrator)
    bent = np.random.default_rng(0).random(len(p)) < np.where(p < 0.9, 0.2, 0.7)
    assert isinstance(best_calibrator(p, bent), IsotonicCalibrator)
    blank = np.full(3, math.nan)
    assert isinstance(best_calibrator(blank, np.array([True, False, True])), PlattCalibrator)
