"""Ridge regression that ranks the sentences of documents, cross-fitted by document."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FOLDS = 10


@dataclass(frozen=True)
class Ranking:
    """Sentences to learn from: x (sentences, features), y (sentences,) ROUGE-L F with the reference.

    `document` (sentences,) is the place of each one's own.
    """

    x: Floats
    y: Floats
    document: Ints

    def ridge(self, strength: float, rows: NDArray[np.bool_] | slice = slice(None)) -> Floats:
        """The intercept and then the weight of each feature, by ridge regression on features of equal spread."""
        x, y = self.x[rows], self.y[rows]
        mean, spread = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-9)
        scaled = (x - mean) / spread
        inner = scaled.T @ scaled + strength * np.eye(x.shape[1])
        weights = np.linalg.solve(inner, scaled.T @ (y - y.mean())) / spread
        return np.concatenate([[y.mean() - mean @ weights], weights])

    def crossed(self, strength: float, seed: int) -> Floats:
        """A score of each sentence by weights that were learnt without its document."""
        fold = (np.random.default_rng(seed).permutation(int(self.document[-1]) + 1) % FOLDS)[self.document]
        scores = np.zeros(len(fold))
        for one in np.unique(fold):
            scores[fold == one] = scores_of(self.x[fold == one], self.ridge(strength, fold != one))
        return scores


def scores_of(x: Floats, weights: Floats) -> Floats:
    """Scores of sentences, shape (sentences,), by an intercept and a weight for each feature."""
    return np.asarray(weights[0] + x @ weights[1:], np.float64)


def best_of(scores: Floats, document: Ints) -> Ints:
    """The sentence of the largest score in each document, the earliest of equal ones: (documents,)."""
    order = np.lexsort((-scores, document))
    return order[np.flatnonzero(np.diff(document, prepend=-1))]


def line_through(scores: Floats, y: Floats) -> tuple[float, float]:
    """Level and slope of the line from scores to y, a slope of 0 or more."""
    spread = float(scores.var())
    slope = max(0.0, float(np.cov(scores, y, bias=True)[0, 1]) / spread) if spread > 0 else 0.0
    return float(y.mean()) - slope * float(scores.mean()), slope
