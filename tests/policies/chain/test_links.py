import numpy as np
import pytest

from askless.errors import DataError
from askless.panel import NO_LABEL
from askless.policies.chain.links import ENOUGH, cross_fitted, evidence, given_of, lines_of, sure_of
from tests.policies.chain_data import board, drawn, names


def fitted(data, measure="auto"):
    panel = board(*data)
    asked = [panel.ask(name) for name in names(data[1].shape[1])]
    return evidence(asked, measure), np.stack([panel.quality(each) for each in asked], axis=1)


def test_evidence_is_log_one_over_one_less_p_and_the_share_that_agrees():
    data = ([0, 0], np.array([[0, 0, 1], [1, NO_LABEL, 1]]), np.log([[0.5, 0.9, 1.0], [0.0001, 0.5, np.nan]]))
    about, _ = fitted(data)
    assert given_of(about).tolist() == [[True, True, True], [True, False, True]]
    assert about[0, :, 0] == pytest.approx(-np.log([0.5, 0.1, 1e-6]), rel=1e-5)
    assert np.isnan(about[1, 1:, 0]).all()
    assert about[:, :, 1] == pytest.approx(np.array([[1, 1, 1 / 3], [1, np.nan, 2 / 3]]), nan_ok=True)


def test_probabilities_are_calibrated():
    about, right = fitted(drawn(4000, seed=1))
    sure = sure_of(about, lines_of(about, right))
    for link in range(3):
        for third in np.array_split(np.argsort(sure[:, link]), 3):
            assert sure[third, link].mean() == pytest.approx(right[third, link].mean(), abs=0.06)


def test_without_a_stated_confidence_agreement_stands_in():
    gold, label, logprob, cost = drawn(3000, seed=2)
    about, right = fitted((gold, label, np.full_like(logprob, np.nan), cost))
    sure = sure_of(about, lines_of(about, right))
    agree = label[:, 1] == label[:, 0]
    assert sure[agree, 1].mean() == pytest.approx(right[agree, 1].mean(), abs=0.02)
    assert sure[~agree, 1].mean() == pytest.approx(right[~agree, 1].mean(), abs=0.02)
    # The first link has nobody to agree with: its rate of being right is all there is.
    assert np.ptp(sure[:, 0]) == 0
    assert sure[0, 0] == pytest.approx(right[:, 0].mean(), abs=0.01)


def test_no_label_is_never_right_and_minus_infinity_is_a_probability_of_zero():
    gold, label, logprob, cost = drawn(500, seed=3, silent=0.2)
    logprob[:50] = -np.inf
    about, right = fitted((gold, label, logprob, cost))
    sure = sure_of(about, lines_of(about, right))
    given = given_of(about)
    assert given.tolist() == (label != NO_LABEL).tolist()
    assert (sure[~given] == 0).all()
    assert ((sure[given] > 0) & (sure[given] < 1)).all()
    assert sure[:50][given[:50]].max() < sure[50:][given[50:]].max()


@pytest.mark.parametrize(("right", "wanted"), [(True, 10.5 / 11), (False, 0.5 / 11)])
def test_an_expert_that_is_always_right_or_wrong_is_taken_for_that(right, wanted):
    label = np.column_stack([np.full(10, 0 if right else 1), np.zeros(10, int)])
    about, hits = fitted(([0] * 10, label, np.log(np.linspace(0.1, 0.9, 10))[:, None]))
    assert sure_of(about, lines_of(about, hits))[:, 0] == pytest.approx(wanted)


def test_an_expert_that_never_answers_teaches_nothing():
    about, right = fitted(([0, 1], np.full((2, 2), NO_LABEL), np.log(0.5)))
    lines = lines_of(about, right)
    assert lines.tolist() == np.zeros((2, 2, 2)).tolist()
    assert sure_of(about, lines).tolist() == [[0, 0], [0, 0]]


def test_a_cross_fitted_probability_does_not_know_its_own_outcome():
    about, right = fitted(drawn(60, seed=4))
    draw = np.random.default_rng(0).random(60)
    before = cross_fitted(about, right, draw)
    flipped = right.copy()
    flipped[7] = 1 - flipped[7]
    after = cross_fitted(about, flipped, draw)
    fold = (draw * 5).astype(int)
    assert (before[fold == fold[7]] == after[fold == fold[7]]).all()
    assert (before[fold != fold[7]] != after[fold != fold[7]]).any()


def test_one_row_can_be_cross_fitted():
    about, right = fitted(drawn(1, seed=5))
    assert cross_fitted(about, right, np.array([0.3])).tolist() == [[0.5, 0.5, 0.5]]


def test_a_million_rows_teach_no_more_than_some_of_them():
    rng = np.random.default_rng(6)
    x = rng.normal(size=(3 * ENOUGH, 1, 2))
    right = (rng.random((3 * ENOUGH, 1)) < 1 / (1 + np.exp(-x[:, :, 0]))).astype(float)
    assert lines_of(x, right)[0, 0] == pytest.approx([1.0, 0.0], abs=0.04)


def test_a_measure_that_is_not_stated_is_refused():
    with pytest.raises(DataError, match="measure 'margin' needs the probability of every class"):
        fitted(drawn(5, seed=7), "margin")
