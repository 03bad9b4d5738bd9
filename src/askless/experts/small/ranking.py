"""Ridge regression that ranks the sentences of documents, cross-fitted by document."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from askless.arrays import Floats, Ints

Rows = NDArray[np.bool_] | slice
FOLDS = 10
LEAST = 0.01


@dataclass(frozen=True)
class Ranking:
    """Sentences to learn from.

    Parameters
    ----------
    x, y, document
        Features (sentences, features), ROUGE-L F with the reference and the place of its document, each (sentences,).
    within
        Hold sentences against those of their own document alone: all is taken from the document's mean, and y in units
        of its spread there. Then documents of which every sentence is near to the reference teach no more than others.
    """

    x: Floats
    y: Floats
    document: Ints
    within: bool = False

    def inside(self) -> Ranking:
        """The same sentences, each held against those of its own document."""
        return replace(self, within=True)

    def ridge(self, strength: float, rows: Rows = slice(None)) -> Floats:
        """The intercept and then the weight of each feature, by ridge regression on features of equal spread."""
        x, y = self.x[rows], self.y[rows]
        if self.within:
            x, y = centred(x, self.document[rows]), self._standard(rows)
        mean, spread = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-9)
        scaled = (x - mean) / spread
        inner = scaled.T @ scaled + strength * np.eye(x.shape[1])
        weights = np.linalg.solve(inner, scaled.T @ (y - y.mean())) / spread
        return np.concatenate([[y.mean() - mean @ weights], weights])

    def error(self, scores: Floats) -> float:
        """The mean squared error of scores of these sentences."""
        off = centred(scores, self.document) - self._standard() if self.within else scores - self.y
        return float(np.square(off).mean())

    def best(self, scores: Floats) -> float:
        """The mean y of the sentences that scores would choose."""
        return float(self.y[best_of(scores, self.document)].mean())

    def crossed(self, strength: float, seed: int) -> Floats:
        """A score of each sentence by weights that were learnt without its document."""
        fold = (np.random.default_rng(seed).permutation(int(self.document[-1]) + 1) % FOLDS)[self.document]
        scores = np.zeros(len(fold))
        for one in np.unique(fold):
            scores[fold == one] = scores_of(self.x[fold == one], self.ridge(strength, fold != one))
        return scores

    def _standard(self, rows: Rows = slice(None)) -> Floats:
        """How far each y is over its document's mean, in units of the spread there."""
        document = self.document[rows]
        y = centred(self.y[rows], document)
        spread = np.sqrt(np.bincount(document, y * y) / np.maximum(np.bincount(document), 1))
        return np.asarray(y / np.maximum(spread, LEAST)[document], np.float64)


def scores_of(x: Floats, weights: Floats) -> Floats:
    """Scores of sentences, shape (sentences,), by an intercept and a weight for each feature."""
    return np.asarray(weights[0] + x @ weights[1:], np.float64)


def centred(values: Floats, document: Ints) -> Floats:
    """Values (sentences,) or (sentences, features) less their document's mean."""
    count = np.maximum(np.bincount(document), 1)
    columns = (np.bincount(document, column) / count for column in values.reshape(len(values), -1).T)
    return np.asarray(values - np.stack(list(columns), axis=1)[document].reshape(values.shape), np.float64)


def best_of(scores: Floats, document: Ints) -> Ints:
    """The sentence of the largest score in each document, the earliest of equal ones: (documents,)."""
    order = np.lexsort((-scores, document))
    return order[np.flatnonzero(np.diff(document, prepend=-1))]


def line_through(scores: Floats, y: Floats) -> tuple[float, float]:
    """Level and slope of the line from scores to y, a slope of 0 or more."""
    spread = float(scores.var())
    slope = max(0.0, float(np.cov(scores, y, bias=True)[0, 1]) / spread) if spread > 0 else 0.0
    return float(y.mean()) - slope * float(scores.mean()), slope
