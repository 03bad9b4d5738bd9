import numpy as np
import pytest

from askless.panel import NO_LABEL
from askless.policies.planned.posteriors import (
    Posteriors,
    SomeAsked,
    Surety,
    known_ranks,
    logistic,
)
from askless.policies.planned.walk import STOP, AnswerMatrix, Observations
from tests.policies.answered import made


def heard(told, members):
    members = np.array(members)
    return Observations(members, told.label[:, members], told.p[:, members], told.score[:, members])


def test_logistic_regression_is_scikit_learns():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(2, 4000, 3)), np.ones((2, 4000, 1))], axis=2)
    right = rng.random((2, 4000)) < 1 / (1 + np.exp(-(x @ np.array([1.0, -0.5, 0.0, 0.3]))))
    for mine, features, y in zip(logistic(x, right), x, right, strict=True):
        theirs = LogisticRegression(C=0.5, tol=1e-10).fit(features[:, :3], y)
        # The row that keeps the constant finite moves it by less than one part in so many rows.
        np.testing.assert_allclose(mine, [*theirs.coef_[0], theirs.intercept_[0]], atol=1e-3)


@pytest.mark.parametrize("all_right", [True, False])
def test_one_class_gives_a_posterior_short_of_certain(all_right):
    x = np.concatenate([np.random.default_rng(0).normal(size=(1, 50, 2)), np.ones((1, 50, 1))], axis=2)
    coef = logistic(x, np.full((1, 50), all_right))
    p = 1 / (1 + np.exp(-(x[0] @ coef[0])))
    assert np.isfinite(coef).all()
    np.testing.assert_allclose(p, (50 + 0.5) / 51 if all_right else 0.5 / 51, atol=2e-3)


def test_classes_that_are_parted_perfectly_stay_finite():
    x = np.stack([np.linspace(-1, 1, 40), np.ones(40)], axis=1)[None]
    coef = logistic(x, x[:, :, 0] > 0)
    assert np.isfinite(coef).all() and coef[0, 0] > 1


def test_features_are_those_of_the_rows_alone_or_together():
    told = made(80)
    surety = Surety().fit(told.label, told.p)
    every = np.arange(3)
    together = surety.features(told.label, told.p, every)
    alone = np.concatenate([surety.features(told.label[[i]], told.p[[i]], every) for i in range(80)])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_allclose(together.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(together.std(axis=0), 1, atol=1e-12)


def test_equal_confidences_and_unstated_ones_say_nothing_and_no_label_is_p_zero():
    told = made(60, telling=False, quiet=(1,), mute=(2, [0]))
    surety = Surety().fit(told.label, told.p)
    z = surety.features(told.label, told.p, np.arange(3))
    np.testing.assert_allclose(z[:, :2], 0, atol=1e-12)
    assert (z[0, 2] < z[1:, 2].min(axis=0)).all()
    assert surety.unstated_


def test_many_ranks_are_kept_as_quantiles():
    t = np.random.default_rng(0).random(10_000)
    kept = known_ranks(t)
    assert len(kept) == 500 and (np.diff(kept) >= 0).all()
    rank = np.searchsorted(kept, t, side="right") / 500
    assert np.abs(rank - np.searchsorted(np.sort(t), t, side="right") / 10_000).max() <= 1 / 500 + 1e-12


@pytest.mark.parametrize("votes", [False, True])
def test_posteriors_are_calibrated_on_rows_not_learnt_on(votes):
    posteriors = Posteriors(votes=votes).fit(made(3000, (0.6, 0.7, 0.75, 0.9), (1, 2, 3, 9)))
    fresh = made(6000, (0.6, 0.7, 0.75, 0.9), (1, 2, 3, 9), seed=1)
    for members in ([0], [1, 3], [0, 1, 2, 3]):
        answer, sure, _ = posteriors.look(heard(fresh, members))
        right = fresh.right[np.arange(6000), answer]
        for low, high in ((0, 0.5), (0.5, 0.8), (0.8, 1)):
            rows = (sure >= low) & (sure < high)
            if rows.sum() > 200:
                assert abs(sure[rows].mean() - right[rows].mean()) < 4 * 0.5 / np.sqrt(rows.sum()) + 0.02


def test_the_answer_is_that_of_the_costliest_with_a_label():
    told = made(40, mute=(2, [0, 1]))
    told.label[0, 1] = NO_LABEL
    told.label[3] = NO_LABEL
    answer, sure, _ = Posteriors().fit(told).look(heard(told, [0, 1, 2]))
    assert answer[[0, 1, 2, 3]].tolist() == [0, 1, 2, STOP]
    assert sure[3] == 0 and (sure[:3] > 0).all()


def test_with_votes_the_surest_answers():
    told = made(400, (0.6, 0.9), (1, 2))
    posteriors = Posteriors(votes=True).fit(told)
    answer, _, _ = posteriors.look(heard(told, [0, 1]))
    each = np.stack([posteriors.look(heard(told, [j]))[1] for j in (0, 1)], axis=1)
    np.testing.assert_array_equal(answer, each.argmax(axis=1))
    assert set(answer) == {0, 1}


def test_where_nothing_is_stated_agreement_tells():
    told = made(2000, (0.6, 0.8), (1, 2), quiet=(0, 1))
    _, sure, _ = Posteriors().fit(told).look(heard(told, [0, 1]))
    agree = told.label[:, 0] == told.label[:, 1]
    assert sure[agree].min() > sure[~agree].max()
    assert abs(sure[agree].mean() - told.right[agree, 1].mean()) < 0.01


def test_who_was_asked_because_of_another_answer_tells_only_beside_it():
    free = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 1], [1, 1, 0]], bool)
    asked = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 1, 1]], bool)
    some = SomeAsked(asked, free)
    assert some.tell(np.array([[0], [1], [2]])).tolist() == [[1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [0, 0, 0, 1, 0]]
    assert some.tell(np.array([[0, 1], [1, 2]])).tolist() == [[1, 1, 0, 1, 1], [0, 0, 0, 0, 0]]
    assert some.tell(np.array([[0, 1, 2]])).tolist() == [[0, 0, 0, 1, 1]]


def test_rows_chosen_by_the_first_answer_teach_what_the_second_means_beside_it_and_alone():
    rng, n = np.random.default_rng(0), 20_000
    hard, gold = rng.random(n) < 0.5, np.zeros(n, np.int64)
    right = rng.random((n, 2)) < np.where(hard[:, None], 0.5, [0.9, 0.95])
    p = np.where(hard, 0.4, 0.8)[:, None] + rng.uniform(-0.15, 0.15, (n, 2))
    label = np.where(right, gold[:, None], 1)
    # The second is asked where the first is unsure, and of a tenth of the rows whatever it says.
    blindly = rng.random(n) < 0.1
    asked = np.stack([np.ones(n, bool), blindly | (p[:, 0] < 0.5)], axis=1)
    free = np.stack([np.ones(n, bool), blindly], axis=1)
    seen = AnswerMatrix(np.where(asked, label, NO_LABEL), np.where(asked, p, np.nan), p, np.ones((n, 2)), right & asked)
    fitted = Posteriors().fit(seen, SomeAsked(asked, free))
    whole = AnswerMatrix(label, p, p, np.ones((n, 2)), right)
    truth = Posteriors().fit(whole)
    for members in ([1], [0, 1]):
        chances = [each.look(heard(whole, members))[1] for each in (fitted, truth)]
        assert np.abs(chances[0] - chances[1]).mean() < 0.02
    # All answers of the second, as if they had been asked for blindly, make it out to be worse than it is.
    naive = Posteriors().fit(seen, SomeAsked(asked, np.ones_like(asked)))
    rate = [each.look(heard(whole, [1]))[1].mean() for each in (fitted, naive)]
    assert abs(rate[0] - right[:, 1].mean()) < 0.01
    assert rate[1] < rate[0]
