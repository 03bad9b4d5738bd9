"""Regression of a gain in quality: ridge and random trees, weighed against each other by what they foretell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from askless.arrays import Floats, Ints
from askless.stats.calibration import stratified_folds

PENALTIES = np.logspace(0, 5, 11)
FEWEST = 20
DEPTH, LEAF, ROWS_A_TREE = 5, 10, 2_500


@dataclass
class Ridge:
    """Linear regression on standardised features, its penalty chosen by leave-one-out; a missing value is the mean's.

    Parameters
    ----------
    centre, slope, offset
        What is learnt: the features' means (features,), weights (features, targets), and constants (targets,).
    """

    centre: Floats
    slope: Floats
    offset: Floats

    @classmethod
    def fit(cls, x: Floats, y: Floats) -> Ridge:
        """Learn from `x` (rows, features) and `y` (rows, targets)."""
        from sklearn.linear_model import RidgeCV

        centre = _means(x)
        z = np.where(np.isnan(x), centre, x) - centre
        scale = z.std(axis=0)
        scale = np.where(scale > 1e-12, scale, 1.0)
        model = RidgeCV(PENALTIES, alpha_per_target=True).fit(z / scale, y - y.mean(axis=0))
        slope = np.atleast_2d(model.coef_).T / scale[:, None]
        return cls(centre, slope, y.mean(axis=0) + model.intercept_)

    def predict(self, x: Floats) -> Floats:
        """Shape (rows, targets)."""
        return np.asarray((np.where(np.isnan(x), self.centre, x) - self.centre) @ self.slope + self.offset)


@dataclass
class Trees:
    """Extremely randomised trees of one target, which predict their mean. Source: Geurts, Ernst and Wehenkel 2006.

    Parameters
    ----------
    centre
        The features' means (features,), which stand for missing values.
    left, right, feature, threshold, value
        Arrays (trees, nodes), padded with leaves: the left child, taken where `feature` <= `threshold`, the right child
        (a leaf's are itself), and the mean target there.
    """

    centre: Floats
    left: Ints
    right: Ints
    feature: Ints
    threshold: Floats
    value: Floats

    @classmethod
    def fit(cls, x: Floats, y: Floats, trees: int, random_state: int) -> Trees:
        """Learn from `x` (rows, features) and `y` (rows,); each tree sees `ROWS_A_TREE` rows at most."""
        from sklearn.ensemble import ExtraTreesRegressor

        centre = _means(x)
        model = ExtraTreesRegressor(
            n_estimators=trees,
            max_depth=DEPTH,
            min_samples_leaf=LEAF,
            bootstrap=len(x) > ROWS_A_TREE,
            max_samples=ROWS_A_TREE if len(x) > ROWS_A_TREE else None,
            random_state=random_state,
        ).fit(np.where(np.isnan(x), centre, x).astype(np.float32), y)
        grown = [each.tree_ for each in model.estimators_]
        own = np.tile(np.arange(max(tree.node_count for tree in grown)), (trees, 1))
        left, right = own.copy(), own.copy()
        feature, threshold, value = np.zeros(own.shape, np.int64), np.zeros(own.shape), np.zeros(own.shape)
        for t, tree in enumerate(grown):
            inner, n = tree.children_left >= 0, tree.node_count
            left[t, :n] = np.where(inner, tree.children_left, own[t, :n])
            right[t, :n] = np.where(inner, tree.children_right, own[t, :n])
            feature[t, :n] = np.where(inner, tree.feature, 0)
            threshold[t, :n] = tree.threshold
            value[t, :n] = tree.value[:, 0, 0]
        return cls(centre, left, right, feature, threshold, value)

    def predict(self, x: Floats) -> Floats:
        """Shape (rows,)."""
        x = np.where(np.isnan(x), self.centre, x).astype(np.float32)
        total, rows = np.zeros(len(x)), np.arange(len(x))
        for t in range(len(self.value)):
            node = np.zeros(len(x), np.int64)
            for _ in range(DEPTH):
                low = x[rows, self.feature[t, node]] <= self.threshold[t, node]
                node = np.where(low, self.left[t, node], self.right[t, node])
            total += self.value[t, node]
        return np.asarray(total / len(self.value))


class Stacked:
    """A mean and what ridge, random trees and earlier estimates add to it, by weights that are not negative.

    The weights are found on predictions for rows that were not learnt from, so that what foretells nothing weighs
    nothing and the sum is no surer than it may be. Fewer than `FEWEST` rows teach the mean alone.
    Source: Breiman 1996, Stacked regressions.

    Attributes learnt: `weights_` (parts, targets), the parts being ridge, trees and what is `given`; `offset_`
    (targets,); `ridge_`; `trees_`, one for each target; `out_of_fold_` (rows, targets).

    Parameters
    ----------
    trees, folds
        How many trees a target has, 1 or more, and how many folds the weights come from, 2 or more.
    random_state
        Seed of both.
    """

    weights_: Floats
    offset_: Floats
    ridge_: Ridge | None
    trees_: list[Trees]

    def __init__(self, trees: int = 50, folds: int = 5, random_state: int = 0) -> None:
        self.trees = trees
        self.folds = folds
        self.random_state = random_state

    def fit(self, x: Floats, y: Floats, given: Floats | None = None) -> Self:
        """Learn from `x` (rows, features) and `y` (rows, targets); `given` (rows, targets) must be out of fold too."""
        given = np.zeros((0, *y.shape)) if given is None else given[None]
        if len(y) < FEWEST:
            self.ridge_, self.trees_ = None, []
            self.weights_, self.offset_ = np.zeros((len(given), y.shape[1])), y.mean(axis=0)
            self.out_of_fold_ = np.broadcast_to(self.offset_, y.shape)
            return self
        fold = stratified_folds(np.zeros(len(y)), self.folds, self.random_state)
        parts = np.empty((2, *y.shape))
        for held in range(self.folds):
            self._learn(x[fold != held], y[fold != held])
            parts[:, fold == held] = self._parts(x[fold == held])
        self._learn(x, y)
        self._weigh(np.concatenate([parts, given]), y)
        self.out_of_fold_ = self._sum(np.concatenate([parts, given]))
        return self

    def predict(self, x: Floats, given: Floats | None = None) -> Floats:
        """Expected `y`, shape (rows, targets)."""
        parts = self._parts(x) if self.ridge_ else np.zeros((0, len(x), len(self.offset_)))
        return self._sum(parts if given is None else np.concatenate([parts, given[None]]))

    def _learn(self, x: Floats, y: Floats) -> None:
        self.ridge_ = Ridge.fit(x, y)
        self.trees_ = [Trees.fit(x, target, self.trees, self.random_state) for target in y.T]

    def _parts(self, x: Floats) -> Floats:
        assert self.ridge_ is not None
        return np.stack([self.ridge_.predict(x), np.stack([trees.predict(x) for trees in self.trees_], axis=1)])

    def _weigh(self, parts: Floats, y: Floats) -> None:
        from scipy.optimize import nnls

        middle = parts.mean(axis=1)
        apart = parts - middle[:, None]
        self.weights_ = np.stack([nnls(apart[:, :, t].T, y[:, t] - y[:, t].mean())[0] for t in range(y.shape[1])], 1)
        self.offset_ = y.mean(axis=0) - (self.weights_ * middle).sum(axis=0)

    def _sum(self, parts: Floats) -> Floats:
        return np.asarray(
            np.einsum("pnt,pt->nt", parts, self.weights_.reshape(-1, len(self.offset_))) + self.offset_, np.float64
        )


def _means(x: Floats) -> Floats:
    """The mean of each feature where it is known, 0 where it never is."""
    known = ~np.isnan(x)
    return np.asarray(np.where(known, x, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1), np.float64)
