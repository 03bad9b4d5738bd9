"""Chances read off a text: TF-IDF of its words and word pairs, or its sentence vector, into logistic regression."""

from __future__ import annotations

from itertools import chain
from string import punctuation
from typing import Any, Self

import numpy as np

from askless.arrays import Bools, Floats, Floats32, Ints
from askless.stats.calibration import laplace, platt_apply, stratified_folds

BITS = 20
BUCKETS = 2**BITS
WIDEST = 500_000
CHUNK = 20_000


def counts(texts: list[str]) -> Any:
    """How often each hashed word and pair of neighbours occurs in each text, sparse (rows, BUCKETS).

    Words are parted by spaces, in lower case and without the signs around them.
    """
    from pandas import factorize
    from pandas.util import hash_array
    from scipy import sparse

    words = [text.lower().split() for text in texts]
    row = np.repeat(np.arange(len(texts)), [len(found) for found in words])
    code, unique = factorize(np.array(list(chain.from_iterable(words)), dtype=object))
    bare = np.array([word.strip(punctuation) or word for word in unique], dtype=object)
    word = hash_array(bare, categorize=False)[code]
    near = row[1:] == row[:-1]
    pair = (word[:-1] * np.uint64(0x9E3779B97F4A7C15) + word[1:])[near]
    # The upper bits: in a product these depend on all bits of its factors.
    column = (np.concatenate([word, pair]) >> np.uint64(64 - BITS)).astype(np.int64)
    where = (np.concatenate([row, row[1:][near]]), column)
    return sparse.coo_matrix((np.ones(len(column)), where), shape=(len(texts), BUCKETS)).tocsr()


class TextChances:
    """P(event) for each of several events, given a text and perhaps which of several answers it got.

    Words and word pairs are hashed, so that no vocabulary grows with the rows, kept where two texts or more have them,
    and weighed by TF-IDF. Each answer has a weight of its own, and one for each word: what speaks for one answer speaks
    against another. An event that always or never happened has Laplace's rate.

    Parameters
    ----------
    strength
        Logistic regression's C, > 0: the larger, the less its weights are shrunk.
    answers
        How many answers there are to tell apart; with 0 chances are of the text alone.
    words
        Whether words and word pairs are counted; vectors of the texts, where they are given, stand beside these.
    """

    kept_: Ints
    idf_: Floats
    weights_: Floats
    offsets_: Floats

    def __init__(self, strength: float = 1.0, answers: int = 0, words: bool = True) -> None:
        self.strength = strength
        self.answers = answers
        self.words = words

    def fit(self, texts: list[str], given: Ints, events: Bools, vectors: Floats32 | None = None) -> Self:
        """Learn from `texts` (rows,), the answer `given` to each (rows,) and `events` (rows, events).

        `vectors` (rows, dim) of the texts are read too, where there are any.
        """
        self._learn(self._learn_words(texts, given, vectors), events)
        return self

    def cross_fit(
        self,
        texts: list[str],
        given: Ints,
        events: Bools,
        vectors: Floats32 | None = None,
        *,
        folds: int = 5,
        random_state: int = 0,
    ) -> Floats:
        """Fit on all rows; returns each row's chances (rows, events) by regressions that have not seen its events."""
        x = self._learn_words(texts, given, vectors)
        fold = stratified_folds(events @ (1 << np.arange(events.shape[1])), folds, random_state)
        out = np.empty(events.shape)
        for held in range(folds):
            self._learn(x[fold != held], events[fold != held])
            out[fold == held] = self._chances(x[fold == held])
        self._learn(x, events)
        return out

    def predict(self, texts: list[str], given: Ints, vectors: Floats32 | None = None) -> Floats:
        """The chance of each event, shape (rows, events)."""
        parts = [slice(start, start + CHUNK) for start in range(0, max(len(texts), 1), CHUNK)]
        beside = [None if vectors is None else vectors[part] for part in parts]
        return np.vstack(
            [
                self._chances(self._features(self._counts(texts[part]), given[part], near))
                for part, near in zip(parts, beside, strict=True)
            ]
        )

    def _counts(self, texts: list[str]) -> Any:
        return counts(texts if self.words else [""] * len(texts))

    def _learn_words(self, texts: list[str], given: Ints, vectors: Floats32 | None) -> Any:
        found = self._counts(texts)
        have = np.bincount(found.indices, minlength=BUCKETS)
        common = np.argsort(-have, kind="stable")[: WIDEST // (self.answers + 1)]
        self.kept_ = np.sort(common[have[common] > 1])
        self.idf_ = np.log((1 + len(texts)) / (1 + have[self.kept_])) + 1
        return self._features(found, given, vectors)

    def _learn(self, x: Any, events: Bools) -> None:
        self.weights_ = np.zeros((x.shape[1], events.shape[1]))
        self.offsets_ = np.zeros(events.shape[1])
        for j, event in enumerate(events.T):
            if event.all() or not event.any() or not x.shape[1]:
                rate = laplace(event)
                self.offsets_[j] = np.log(rate / (1 - rate))
            else:
                self.weights_[:, j], self.offsets_[j] = self._regress(x, event)

    def _regress(self, x: Any, event: Bools) -> tuple[Floats, float]:
        from sklearn.linear_model import LogisticRegression

        # This solver is the fastest here, but shrinks the intercept too: the scaling makes that negligible.
        model = LogisticRegression(C=self.strength, solver="liblinear", intercept_scaling=10, max_iter=1000)
        model.fit(x, event)
        return model.coef_[0], float(model.intercept_[0])

    def _chances(self, x: Any) -> Floats:
        return platt_apply(x @ self.weights_ + self.offsets_, np.array([1.0, 0.0]))

    def _features(self, found: Any, given: Ints, vectors: Floats32 | None) -> Any:
        from scipy import sparse

        x = found[:, self.kept_]
        x.data = 1 + np.log(x.data)
        x = x @ sparse.diags(self.idf_)
        length = np.sqrt(np.asarray(x.multiply(x).sum(axis=1)).ravel())
        x = sparse.diags(1 / np.where(length > 0, length, 1)) @ x
        if vectors is not None:
            x = sparse.hstack([x, sparse.csr_matrix(vectors, dtype=float)])
        if not self.answers:
            return x.tocsr()
        answer = given[:, None] == np.arange(self.answers)
        blocks = [sparse.diags(mine.astype(float)) @ x for mine in answer.T]
        return sparse.hstack([x, sparse.csr_matrix(answer.astype(float)), *blocks]).tocsr()
