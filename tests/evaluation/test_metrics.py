import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, f1_score

from askless.errors import ConfigError
from askless.evaluation.metrics import (
    GRADES,
    QUALITIES,
    Interval,
    Quality,
    accuracy,
    bootstrap_weights,
    f1,
    interval,
    macro_f1,
    seed_weights,
)

CLASSES = 3


@st.composite
def answers(draw):
    """Gold (items,), labels (items, columns) with silent ones, and how often each item is drawn (2, items)."""
    n = draw(st.integers(1, 12))
    gold = draw(st.lists(st.integers(0, CLASSES - 1), min_size=n, max_size=n))
    column = st.lists(st.integers(-1, CLASSES - 1), min_size=n, max_size=n)
    labels = draw(st.lists(column, min_size=1, max_size=3))
    drawn = [draw(st.lists(st.integers(0, n - 1), min_size=n, max_size=n)) for _ in range(2)]
    return np.array(gold), np.array(labels).T, np.array(drawn)


def by_sklearn(name, gold, label):
    if name == "accuracy":
        return accuracy_score(gold, label)
    if name == "macro_f1":
        return f1_score(gold, label, labels=range(CLASSES), average="macro", zero_division=0)
    return f1_score(gold, label, labels=[1], average=None, zero_division=0)[0]


@pytest.mark.parametrize("name", GRADES)
def test_a_grade_is_the_mean_of_marks_and_the_same_by_weights_as_by_resampling(name):
    marks = np.random.default_rng(1).uniform(size=(9, 3)).astype(np.float32)
    rows = np.random.default_rng(2).integers(0, 9, (4, 9))
    weights = np.stack([np.bincount(draw, minlength=9) for draw in rows]).astype(np.uint8)
    np.testing.assert_allclose(Quality(name)(np.zeros(9, int), marks), [marks.mean(axis=0)], rtol=1e-6)
    got = Quality(name)(np.zeros(9, int), marks, weights)
    np.testing.assert_allclose(got, [marks[draw].mean(axis=0) for draw in rows], rtol=1e-6)


@pytest.mark.parametrize("name", QUALITIES)
@given(answers())
def test_every_quality_equals_scikit_learns(name, case):
    gold, labels, _ = case
    expected = [by_sklearn(name, gold, column) for column in labels.T]
    got = Quality(name, CLASSES, 1)(gold, labels)
    assert got.shape == (1, labels.shape[1])
    np.testing.assert_allclose(got[0], expected, atol=1e-12)


@pytest.mark.parametrize("name", QUALITIES)
@given(answers())
def test_weights_are_the_same_as_resampled_rows(name, case):
    gold, labels, drawn = case
    weights = np.stack([np.bincount(d, minlength=len(gold)) for d in drawn]).astype(np.uint8)
    got = Quality(name, CLASSES, 1)(gold, labels, weights)
    expected = [[by_sklearn(name, gold[d], column[d]) for column in labels.T] for d in drawn]
    assert got.shape == (len(drawn), labels.shape[1])
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_known_values():
    gold, labels = np.array([0, 0, 1, 1]), np.array([[0, 0], [0, 1], [1, -1], [0, 1]])
    np.testing.assert_allclose(accuracy(gold, labels), [[0.75, 0.5]])
    np.testing.assert_allclose(f1(gold, labels, 1), [[2 / 3, 0.5]])
    np.testing.assert_allclose(f1(gold, labels, 0), [[0.8, 2 / 3]])
    np.testing.assert_allclose(macro_f1(gold, labels, 2), [[11 / 15, 7 / 12]])


def test_the_majority_class_has_high_accuracy_and_no_f1():
    gold, labels = np.array([0] * 83 + [1] * 17), np.zeros((100, 1), int)
    assert accuracy(gold, labels)[0, 0] == pytest.approx(0.83)
    assert f1(gold, labels, 1)[0, 0] == 0.0
    assert macro_f1(gold, labels, 2)[0, 0] == pytest.approx(0.83 / 1.83)


def test_a_class_that_never_occurs_counts_zero():
    gold, labels = np.array([0, 0]), np.array([[0], [0]])
    assert f1(gold, labels, 1).tolist() == [[0.0]]
    assert macro_f1(gold, labels, 2).tolist() == [[0.5]]


def test_an_unknown_quality_lists_the_known_ones():
    with pytest.raises(ConfigError) as error:
        Quality("acuracy", 2, 1)(np.array([0]), np.array([[0]]))
    assert str(error.value) == (
        "Unknown quality 'acuracy'. Known: accuracy, embedding, f1_positive, judge, macro_f1, rouge1, rouge1_stemmed, "
        "rouge2, rouge2_stemmed, rougeL, rougeL_stemmed. Did you mean 'accuracy'?"
    )


def test_weights_of_other_items_are_refused():
    with pytest.raises(ValueError, match="weights are for 3 items, got 2"):
        accuracy(np.array([0, 1]), np.array([[0], [1]]), np.ones((5, 3), np.uint8))


def test_bootstrap_weights_resample_with_replacement():
    weights = bootstrap_weights(50, 400, seed=1)
    assert weights.shape == (400, 50)
    assert (weights.sum(axis=1) == 50).all()
    assert (weights == weights.astype(int)).all()
    # Each count is binomial (50, 1/50): mean 1, variance .98.
    assert weights.mean() == 1.0
    assert weights.var() == pytest.approx(0.98, abs=0.05)
    np.testing.assert_array_equal(weights, bootstrap_weights(50, 400, seed=1))
    assert not np.array_equal(weights, bootstrap_weights(50, 400, seed=2))


def test_seed_weights_are_shares_of_a_resample():
    weights = seed_weights(3, 500, seed=1)
    assert weights.shape == (500, 3)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert set(np.round(3 * weights).ravel()) == {0, 1, 2, 3}
    np.testing.assert_allclose(weights.mean(axis=0), 1 / 3, atol=0.05)
    assert seed_weights(1, 4, seed=1).tolist() == [[1.0]] * 4


def test_an_interval_is_the_percentiles_of_the_draws():
    draws = np.arange(101) / 100
    assert interval(0.4, draws, 0.9) == Interval(0.4, pytest.approx(0.05), pytest.approx(0.95))
    assert interval(0.4, draws, 0.9).as_dict() == {"value": 0.4, "ci": [pytest.approx(0.05), pytest.approx(0.95)]}


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_an_undefined_value_has_no_interval(value):
    assert interval(value, np.ones(10), 0.9).as_dict() == {"value": None, "ci": [None, None]}


def test_undefined_draws_are_left_out_while_they_are_fewer_than_a_tail():
    few, many = np.r_[np.full(4, math.nan), np.arange(96)], np.r_[np.full(6, math.nan), np.arange(94)]
    low, high = np.quantile(np.arange(96), [0.05, 0.95])
    assert interval(1.0, few, 0.9) == Interval(1.0, pytest.approx(low), pytest.approx(high))
    assert interval(1.0, many, 0.9) == Interval(1.0, None, None)


@pytest.mark.parametrize(("name", "truth"), [("accuracy", 0.8), ("f1_positive", 2 * 0.8 / (0.8 + 1 + 0.2 * 2))])
def test_the_bootstrap_interval_covers_the_truth_as_often_as_it_says(name, truth):
    """1,500 samples of 300 answers, 80 % right, a third of them positive, and a 90 % interval each.

    Covered: .916 [.901, .930] for accuracy, .906 [.890, .920] for F1 (exact 95 % interval of the estimate).
    """
    rng, samples, items, confidence = np.random.default_rng(5), 1500, 300, 0.9
    weights = bootstrap_weights(items, 500, seed=6)
    covered = 0
    for _ in range(samples):
        gold = (rng.random(items) < 1 / 3).astype(int)
        labels = np.where(rng.random(items) < 0.8, gold, 1 - gold)[:, None]
        found = interval(0.5, Quality(name, 2, 1)(gold, labels, weights)[:, 0], confidence)
        covered += found.low <= truth <= found.high
    estimate = binomtest(covered, samples).proportion_ci(0.95)
    assert estimate.low < confidence + 0.01
    assert estimate.high > confidence - 0.01
    assert estimate.high - estimate.low < 0.04
