"""What tells a sentence that could stand for its document: numbers about each sentence of many documents at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from askless.arrays import Floats, Ints

if TYPE_CHECKING:
    from askless.text.embeddings import Vectors

Values = NDArray[np.float64] | NDArray[np.bool_]
RARE = 0.6
LONG = 60.0

_WORD = re.compile(r"\w+")
# English; in another language they say the same of all sentences and weigh nothing.
_LEANS = frozenset("he she it they but and this that these i we his her their however".split())
_PERSONAL = frozenset("i we you my our".split())


class Sentences:
    """The sentences of some documents, one after another; `document` (sentences,) is the place of each one's own.

    A word is a run of letters and digits in lower case. Its rarity is the logarithm of its row in the word vectors,
    which stand by frequency, from 0 to 1 for an unknown word. `shared` is, for each different word of each
    sentence, the share of the document's other sentences that have it too.

    Parameters
    ----------
    documents, vectors
        The sentences of each document, in order, and the word vectors.
    """

    def __init__(self, documents: Sequence[Sequence[str]], vectors: Vectors) -> None:
        self.vectors = vectors
        self.lengths = np.array([len(sentences) for sentences in documents], np.int64)
        self.document = np.repeat(np.arange(len(documents)), self.lengths)
        self.place = np.arange(len(self.document)) - np.repeat(np.cumsum(self.lengths) - self.lengths, self.lengths)
        self.texts = list(chain.from_iterable(documents))
        self.words = [_WORD.findall(text.lower()) for text in self.texts]
        self.count = np.array([len(words) for words in self.words], np.int64)
        self._tokens()

    def features(self) -> Floats:
        """All numbers about each sentence, as `FEATURES` names them: (sentences, features)."""
        columns = [feature(self) for feature in FEATURES.values()]
        return np.column_stack(columns).astype(np.float64).reshape(-1, len(FEATURES))

    def mean(self, values: Values, at: Ints) -> Floats:
        """The mean of `values` in each sentence, 0 for none; `at` is the sentence of each value."""
        total = np.bincount(at, values, len(self.texts))
        return np.asarray(total / np.maximum(np.bincount(at, minlength=len(self.texts)), 1), np.float64)

    def opening(self, words: frozenset[str]) -> Floats:
        """Whether each sentence begins with one of `words`."""
        return np.array([bool(said) and said[0] in words for said in self.words], np.float64)

    def said(self, words: frozenset[str]) -> Floats:
        """The share of each sentence's words that are among `words`."""
        return np.array([sum(word in words for word in said) / max(len(said), 1) for said in self.words])

    @cached_property
    def vector(self) -> Floats:
        """The mean word vector of each sentence, of length 1: (sentences, dim)."""
        return _unit(self.vectors.mean([" ".join(words) for words in self.words]))

    @cached_property
    def like_document(self) -> Floats:
        """The cosine of each sentence's mean vector with its document's."""
        ends = np.cumsum(self.lengths).tolist()
        whole = (chain.from_iterable(self.words[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True))
        return _cosines(self.vector, _unit(self.vectors.mean([" ".join(words) for words in whole]))[self.document])

    @cached_property
    def like_lead(self) -> Floats:
        """The cosine of each sentence's mean vector with that of its document's first sentence."""
        return _cosines(self.vector, self.vector[np.arange(len(self.place)) - self.place])

    def _tokens(self) -> None:
        known: dict[str, int] = {}
        word = np.array([known.setdefault(w, len(known)) for w in chain.from_iterable(self.words)], np.int64)
        rows = self.vectors.rows(list(known))
        rank = np.where(rows < 0, len(self.vectors), rows)
        rarity = np.log1p(rank) / np.log1p(len(self.vectors))
        self.token_at = np.repeat(np.arange(len(self.texts)), self.count)
        self.rarity, self.unknown = rarity[word], (rows < 0)[word]
        size = max(len(known), 1)
        distinct = np.unique(self.token_at * size + word)
        self.distinct_at, word = distinct // size, distinct % size
        document = self.document[self.distinct_at]
        _, which, sentences = np.unique(document * size + word, return_inverse=True, return_counts=True)
        self.shared = (sentences[which] - 1) / np.maximum(self.lengths[document] - 1, 1)
        self.distinct_rarity = rarity[word]


def _shared_rare(s: Sentences) -> Floats:
    """The rarity-weighted mean of `shared` over a sentence's rare words."""
    weight = np.where(s.distinct_rarity > RARE, s.distinct_rarity, 0.0)
    total = np.bincount(s.distinct_at, weight, len(s.texts))
    return np.bincount(s.distinct_at, weight * s.shared, len(s.texts)) / np.maximum(total, 1e-9)


FEATURES: Mapping[str, Callable[[Sentences], Floats]] = MappingProxyType(
    {
        "like the document": lambda s: s.like_document,
        "like the first sentence": lambda s: s.like_lead,
        "first": lambda s: s.place == 0,
        "early": lambda s: 1 / (1 + s.place),
        "depth": lambda s: s.place / np.maximum(s.lengths[s.document] - 1, 1),
        "log length": lambda s: np.log1p(s.count),
        "length squared": lambda s: (np.minimum(s.count, LONG) / LONG) ** 2,
        "rarity": lambda s: s.mean(s.rarity, s.token_at),
        "rare words": lambda s: s.mean(s.rarity > RARE, s.token_at),
        "unknown words": lambda s: s.mean(s.unknown, s.token_at),
        "shared words": lambda s: s.mean(s.shared, s.distinct_at),
        "shared rare words": _shared_rare,
        "leans on the one before": lambda s: s.opening(_LEANS),
        "personal": lambda s: s.said(_PERSONAL),
        "question": lambda s: np.array([text.rstrip("\"'”’)").endswith("?") for text in s.texts], np.float64),
    }
)


def _unit(vectors: NDArray[np.float32]) -> Floats:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9), np.float64)


def _cosines(one: Floats, other: Floats) -> Floats:
    return np.asarray(np.einsum("ij,ij->i", one, other), np.float64)
