from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askless.errors import ConfigError, DataError
from askless.stats.uncertainty import MEASURES, agreement, confidence, probability, resolve, unit

INF = np.inf


def answers(proba=None, logprob=None, label=None, classes=3):
    n = len(proba) if proba is not None else len(logprob)
    nothing = np.full((n, classes), np.nan)
    return SimpleNamespace(
        expert="small",
        label=np.zeros(n, np.int64) if label is None else np.array(label),
        proba=nothing if proba is None else np.array(proba, float),
        logprob=np.full(n, np.nan) if logprob is None else np.array(logprob, float),
    )


def test_margin_is_the_difference_of_the_two_largest_logits():
    logits = np.array([[2.0, -1.0, 0.5], [3.0, 3.0, 0.0], [0.0, -4.0, 9.0]])
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert confidence(answers(proba, label=[0, 0, 2]), "margin") == pytest.approx([1.5, 0.0, 9.0])


@pytest.mark.parametrize("measure", ["auto", "margin", "entropy", "least_confidence", "logprob"])
def test_probabilities_that_speak_against_the_label_make_it_less_sure_than_any_that_speak_for_it(measure):
    """Rows 0 and 1 once were the surest of all by their margin and entropy, row 1 by its log-probability too."""
    proba = [[0.01, 0.98, 0.01], [0.1, 0.8, 0.1], [0.4, 0.3, 0.3], [0.98, 0.01, 0.01]]
    logprob = [np.nan, np.log(0.8), np.log(0.4), np.log(0.98)]
    score = np.nan_to_num(confidence(answers(proba, logprob), measure), nan=-INF)
    assert max(score[:2]) < score[2] < score[3]
    assert probability(answers(proba, logprob)) == pytest.approx([0.01, 0.1, 0.4, 0.98])


def test_the_margin_of_a_label_that_another_class_beats_is_below_zero():
    proba = [[0.2, 0.7, 0.1], [0.5, 0.5, 0.0], [0.0, 0.4, 0.6]]
    assert confidence(answers(proba), "margin") == pytest.approx([np.log(0.2 / 0.7), 0.0, -INF])
    # Of equals either may be the label.
    assert confidence(answers(proba, label=[1, 1, 2]), "margin") == pytest.approx([np.log(3.5), 0.0, np.log(1.5)])


def test_the_other_measures():
    said = answers([[0.5, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3]], label=[0, 2])
    assert confidence(said, "entropy") == pytest.approx([-1.5 * np.log(2), -np.log(3)])
    assert confidence(said, "least_confidence") == pytest.approx([0.5, 1 / 3])
    assert confidence(said, "logprob") == pytest.approx([np.log(0.5), np.log(1 / 3)])
    assert confidence(answers(logprob=[-2.0, -INF]), "least_confidence") == pytest.approx([np.exp(-2), 0])


@pytest.mark.parametrize("measure", MEASURES)
def test_certainty_an_impossible_class_nothing_and_no_label(measure):
    said = answers([[1, 0, 0], [0.5, 0.5, 0], [np.nan] * 3, [0.9, 0.1, 0]], label=[0, 0, 0, -1])
    score = confidence(said, measure)
    assert score[0] > score[1]
    assert np.isnan(score[2:]).all()
    assert not np.isnan(score[:2]).any()
    assert confidence(answers(np.empty((0, 3))), measure).shape == (0,)


def test_impossible_answers_have_infinite_scores():
    assert confidence(answers([[1, 0, 0], [0, 0.5, 0.5]]), "logprob").tolist() == [0.0, -INF]
    assert confidence(answers(logprob=[0.0, -INF]), "auto").tolist() == [0.0, -INF]
    assert confidence(answers([[1, 0, 0]]), "margin").tolist() == [INF]
    assert confidence(answers([[1, 0, 0]]), "entropy").tolist() == [0.0]
    assert probability(answers(logprob=[-INF, 0.0])).tolist() == [0.0, 1 - 1e-6]


def test_one_class_is_certain():
    said = answers([[1.0], [np.nan]], classes=1)
    assert confidence(said, "margin").tolist()[0] == INF
    assert np.isnan(confidence(said, "margin")[1])


@pytest.mark.parametrize("measure", ["margin", "entropy"])
@pytest.mark.parametrize("logprob", [-0.5, np.nan])
def test_texts_have_no_probability_of_classes(measure, logprob):
    with pytest.raises(DataError) as error:
        confidence(answers(logprob=[logprob], classes=0), measure)
    assert str(error.value) == (
        f"answers of 'small': measure '{measure}' needs the probability of every class and the answers are texts, "
        "which have none. Allowed: logprob, least_confidence or auto. Choose one of these."
    )
    assert np.array_equal(confidence(answers(logprob=[logprob], classes=0)), [logprob], equal_nan=True)


def test_auto_is_the_margin_where_there_is_one():
    assert resolve(answers([[0.6, 0.3, 0.1]], logprob=[-0.5]), "auto") == "margin"
    assert resolve(answers(logprob=[-0.5]), "auto") == "logprob"
    assert resolve(answers(logprob=[np.nan]), "auto") == "logprob"
    assert np.isnan(confidence(answers(logprob=[np.nan]), "margin")).all()


def test_a_stated_logprob_wins_over_that_of_the_distribution():
    assert confidence(answers([[0.5, 0.5, 0]], logprob=[-3.0]), "logprob").tolist() == [-3.0]


def test_the_probability_is_that_of_the_label_given():
    said = answers(
        [[0.2, 0.7, 0.1], [1, 0, 0], [np.nan] * 3, [0.2, 0.7, 0.1]], [np.nan, -9.0, np.log(0.3), 0], [0, 0, 1, -1]
    )
    assert probability(said)[:3] == pytest.approx([0.2, 1 - 1e-6, 0.3])
    assert np.isnan(probability(said)[3])


@pytest.mark.parametrize("measure", ["margin", "entropy"])
def test_what_cannot_be_had_from_the_answer_alone(measure):
    with pytest.raises(DataError) as error:
        confidence(answers(logprob=[-1.0, np.nan]), measure)
    assert str(error.value) == (
        f"answers of 'small': measure '{measure}' needs the probability of every class and only that of the answer is "
        "stated (logprob). Allowed: logprob, least_confidence or auto. Choose one of these, or record proba."
    )


def test_an_unknown_measure():
    with pytest.raises(
        ConfigError, match=r"Unknown measure of uncertainty 'margn'\. Known: .* Did you mean 'margin'\?"
    ):
        confidence(answers(logprob=[-1.0]), "margn")


def test_agreement_is_with_the_last():
    labels = np.array([[0, 0, 0], [0, 1, 1], [0, 1, 2], [0, -1, 0], [1, 1, -1]])
    assert agreement(labels) == pytest.approx([1, 2 / 3, 1 / 3, 2 / 3, np.nan], nan_ok=True)


@settings(deadline=None)
@given(
    st.lists(st.floats(0.01, 1), min_size=2, max_size=6),
    st.sampled_from(["margin", "entropy", "least_confidence", "logprob"]),
)
def test_a_unit_score_keeps_the_order(weights, measure):
    proba = np.sort(np.array([weights, np.eye(len(weights))[0], np.ones(len(weights))]), axis=1)[:, ::-1]
    proba = proba / proba.sum(axis=1, keepdims=True)
    score = confidence(answers(proba, classes=proba.shape[1]), measure)
    scaled = unit(score, measure)
    assert ((scaled >= 0) & (scaled <= 1)).all()
    assert (np.diff(scaled[np.argsort(score)]) >= 0).all()
    assert np.argmin(score) == 2 or score[2] == pytest.approx(score.min())
    assert scaled[1] == 1.0


def test_unit_of_the_ends():
    for measure in ("margin", "logprob"):
        assert unit(np.array([-INF]), measure).tolist() == [0.0]
        assert np.isnan(unit(np.array([np.nan]), measure)).all()
    assert unit(np.array([INF, 1e300, 0.0]), "margin").tolist() == [1.0, 1.0, 0.5]
