import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesRegressor

from askless.policies.summaries.regression import DEPTH, LEAF, ROWS_A_TREE, Ridge, Stacked, Trees


def data(n=300, seed=0, noise=0.1):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6))
    line, step = x[:, 0], np.where(np.abs(x[:, 1]) > 0.7, 1.0, -1.0)
    return x, np.stack([line, step], axis=1) + noise * rng.normal(size=(n, 2))


def r2(predicted, y):
    return 1 - ((predicted - y) ** 2).sum(axis=0) / ((y - y.mean(axis=0)) ** 2).sum(axis=0)


@pytest.mark.parametrize("n", [300, ROWS_A_TREE + 500])
def test_the_trees_predict_what_those_they_were_taken_from_do(n):
    x, y = data(n)
    ours = Trees.fit(x, y[:, 1], 30, 7)
    theirs = ExtraTreesRegressor(
        n_estimators=30,
        max_depth=DEPTH,
        min_samples_leaf=LEAF,
        bootstrap=n > ROWS_A_TREE,
        max_samples=ROWS_A_TREE if n > ROWS_A_TREE else None,
        random_state=7,
    ).fit(x.astype(np.float32), y[:, 1])
    new = data(50, 1)[0]
    assert ours.predict(new) == pytest.approx(theirs.predict(new.astype(np.float32)))


def test_a_missing_value_counts_as_the_mean():
    x, y = data()
    x[::3, 0] = np.nan
    hole = np.zeros((1, 6))
    hole[0, 0] = np.nan
    filled = np.where(np.isnan(hole), np.nanmean(x, axis=0), hole)
    for fitted in (Ridge.fit(x, y), Trees.fit(x, y[:, 0], 10, 0)):
        assert fitted.predict(hole) == pytest.approx(fitted.predict(filled))
    x[:, 0] = np.nan
    assert np.isfinite(Ridge.fit(x, y).predict(x)).all()


def test_what_foretells_weighs_and_what_does_not_weighs_nothing():
    x, y = data()
    model = Stacked(trees=200).fit(x, y)
    ridge, trees = model.weights_
    assert ridge[0] > 0.9 > 0.2 > trees[0]
    assert trees[1] > 0.9 > 0.2 > ridge[1]
    new, truth = data(1000, 1)
    assert r2(model.predict(new), truth).min() > 0.6
    # Rows that were not learnt from are foretold as well as new ones.
    assert r2(model.out_of_fold_, y) == pytest.approx(r2(model.predict(new), truth), abs=0.1)


def test_noise_teaches_little_but_the_mean():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 20)), rng.normal(0.3, 1, (400, 1))
    model = Stacked().fit(x, y)
    assert model.out_of_fold_.mean() == pytest.approx(y.mean())
    assert r2(model.predict(rng.normal(size=(2000, 20))), rng.normal(0.3, 1, (2000, 1))).item() > -0.03


def test_an_earlier_estimate_that_says_all_is_taken_as_it_is():
    rng = np.random.default_rng(0)
    x, given = rng.normal(size=(300, 5)), rng.normal(size=(300, 1))
    model = Stacked().fit(x, given, given)
    assert model.weights_[:, 0] == pytest.approx([0, 0, 1], abs=1e-9)
    assert model.predict(x[:9], given[:9] + 2) == pytest.approx(given[:9] + 2)


@pytest.mark.parametrize("n", [1, 2, 19])
def test_few_rows_teach_the_mean(n):
    x, y = data(n)
    model = Stacked().fit(x, y)
    assert model.predict(data(5, 1)[0]).tolist() == [y.mean(axis=0).tolist()] * 5
    assert model.out_of_fold_.shape == y.shape
    later = Stacked().fit(x, y, y)
    assert later.predict(x, y) == pytest.approx(np.tile(y.mean(axis=0), (n, 1)))


def test_a_constant_is_learnt_as_one():
    x = data(50)[0]
    assert Stacked().fit(x, np.full((50, 1), 0.2)).predict(x) == pytest.approx(0.2)
