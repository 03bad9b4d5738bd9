"""What a regression looks at in a text: TF-IDF of its words, TF-IDF of its characters, its sentence vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from askless.arrays import Floats
from askless.errors import DataError
from askless.text.sentence_vectors import SentenceVectors

TFIDF: dict[str, dict[str, Any]] = {
    "words": {"ngram_range": (1, 2), "min_df": 2},
    "characters": {"analyzer": "char_wb", "ngram_range": (2, 5), "min_df": 3},
}
WIDEST = 100_000


class TextFeatures:
    """Blocks of features side by side; in each a text has the length 1, or about that.

    Parameters
    ----------
    tfidf
        Which of `TFIDF`.
    sentences
        Gives a sentence vector; None, there is none.
    """

    mean_: Floats
    scale_: float

    def __init__(self, tfidf: tuple[str, ...], sentences: SentenceVectors | None) -> None:
        self.sentences = sentences
        self._tfidf = {name: _vectorizer(name) for name in tfidf}

    def fit(self, texts: list[str]) -> Any:
        """Learn from `texts` what to count; returns their features, (texts, features)."""
        try:
            blocks = [vectorizer.fit_transform(texts) for vectorizer in self._tfidf.values()]
        except ValueError as error:
            allowed, remedy = "texts that share words", "Add examples, or choose majority."
            raise DataError("examples to learn from", str(error), allowed, remedy) from error
        if self.sentences is not None:
            vectors = self.sentences(texts)[0].astype(np.float64)
            self.mean_ = vectors.mean(axis=0)
            self.scale_ = float(np.sqrt(np.square(vectors - self.mean_).sum(axis=1).mean())) or 1.0
            blocks.append((vectors - self.mean_) / self.scale_)
        return _beside(blocks)

    def __call__(self, texts: list[str]) -> tuple[Any, Floats]:
        """Features of `texts`, (texts, features), and the seconds (texts,) that kept sentence vectors spared."""
        blocks = [vectorizer.transform(texts) for vectorizer in self._tfidf.values()]
        if self.sentences is None:
            return _beside(blocks), np.zeros(len(texts))
        vectors, spared = self.sentences(texts)
        return _beside([*blocks, (vectors - self.mean_) / self.scale_]), spared

    @property
    def width(self) -> int:
        """How many features there are, once they are learnt."""
        return sum(len(each.vocabulary_) for each in self._tfidf.values()) + (
            0 if self.sentences is None else len(self.mean_)
        )

    def state(self) -> tuple[dict[str, Any], dict[str, Floats]]:
        """What was learnt, as plain values and as arrays."""
        words = {name: vectorizer.get_feature_names_out().tolist() for name, vectorizer in self._tfidf.items()}
        arrays = {name: np.asarray(vectorizer.idf_, np.float64) for name, vectorizer in self._tfidf.items()}
        if self.sentences is None:
            return {"tfidf": words}, arrays
        about = {"model": self.sentences.encoder.model, "digest": self.sentences.digest, "scale": self.scale_}
        return {"tfidf": words, "encoder": about}, {**arrays, "mean": self.mean_}

    def restore(self, learnt: Mapping[str, Any], arrays: Mapping[str, Floats]) -> Self:
        """Take over what `state` gave; raises `ValueError` where the parts do not fit each other."""
        for name, vectorizer in self._tfidf.items():
            words = list(learnt["tfidf"][name])
            if arrays[name].shape != (len(words),):
                raise ValueError(f"{len(arrays[name])} weights of {len(words)} {name}")
            vectorizer.set_params(vocabulary={word: at for at, word in enumerate(words)})
            # Its setter makes `vocabulary_` of the vocabulary.
            vectorizer.idf_ = arrays[name]
        if self.sentences is not None:
            about = learnt["encoder"]
            self.mean_, self.scale_ = arrays["mean"], float(about["scale"])
            self.sentences.digest = str(about["digest"])
            if not 0 < self.scale_ < np.inf:
                raise ValueError(f"a scale of {self.scale_}")
        return self


def _vectorizer(name: str) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(sublinear_tf=True, max_features=WIDEST, **TFIDF[name])


def _beside(blocks: list[Any]) -> Any:
    if len(blocks) == 1:
        return blocks[0]
    from scipy import sparse

    return sparse.hstack([sparse.csr_matrix(block) for block in blocks]).tocsr()
