"""Word vectors: a memory-mapped matrix, the words of its rows, and the mean feature of a corpus."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from askless.errors import DataError
from askless.files import replacing, write_text
from askless.text.glove import LOWER, MATRIX, WORDS, Matrix, build
from askless.text.vocabulary import Texts, Vocabulary, as_strings

__all__ = ["Vectors", "build"]
BUNDLED = "vectors.safetensors"
PART = 8_192


class Vectors:
    """Word vectors: a matrix and the words of its rows.

    Parameters
    ----------
    matrix
        The vectors, shape (words, dim), float32.
    words
        The words by row, or what reads them when they are first needed.
    lower
        Whether texts are put in lower case before they are looked up.
    """

    def __init__(self, matrix: Matrix, words: Vocabulary | Callable[[], Vocabulary], *, lower: bool = False) -> None:
        self.matrix = matrix
        self.lower = lower
        self._words = words

    @classmethod
    def open(cls, folder: Path | str, dim: int | None = None) -> Vectors:
        """Open what `build` or `save` wrote, without reading it; `DataError` where it is missing or not of `dim`."""
        folder = Path(folder)
        matrix = _read_matrix(folder)
        if dim is not None and matrix.shape[1] != dim:
            raise DataError(
                folder, f"vectors of dimension {matrix.shape[1]}", str(dim), f"Set dim to {matrix.shape[1]} or rebuild."
            )
        return cls(matrix, partial(_read_words, folder, len(matrix)), lower=(folder / LOWER).exists())

    load = open

    def __len__(self) -> int:
        return len(self.matrix)

    @property
    def dim(self) -> int:
        """Numbers in each vector."""
        return int(self.matrix.shape[1])

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The words, read on first use."""
        return self._words if isinstance(self._words, Vocabulary) else self._words()

    def rows(self, words: Sequence[str]) -> npt.NDArray[np.int32]:
        """The row of each word in `matrix`, -1 for an unknown word."""
        return self.vocabulary.rows(words)

    def mean(self, texts: Texts) -> Matrix:
        """The published feature: the mean vector of each text's whitespace tokens in the vocabulary, zeros if none.

        Texts are taken as they are, or in lower case where `lower` was asked for. Returns shape (texts, dim).
        """
        array = self._lowered(texts)
        out = np.zeros((len(array), self.dim), np.float32)
        threads = min(8, os.cpu_count() or 1)
        parts = _parts(len(array), threads if len(array) >= PART else 1)
        # The table of words is made here once, and not by each thread.
        self.vocabulary.rows([])
        if len(parts) == 1:
            self._mean_into(array, out)
            return out
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda part: self._mean_into(array[part], out[part]), parts))
        return out

    def known(self, texts: Texts) -> list[str]:
        """The words of the vocabulary that occur in `texts`, by row."""
        used = np.unique(self.vocabulary.tokens(self._lowered(texts))[0])
        words = self.vocabulary.words()
        return [words[row] for row in used]

    def share_known(self, texts: Texts) -> float:
        """The share of the words of `texts`, each as often as it comes, that are in the vocabulary; 1 of no words."""
        array = self._lowered(texts)
        words = pc.sum(pc.list_value_length(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(array)))).as_py() or 0
        return len(self.vocabulary.tokens(array)[0]) / words if words else 1.0

    def subset(self, words: Sequence[str]) -> Vectors:
        """Only the rows of those `words` that are known, in row order: what a bundle carries."""
        rows = np.unique(self.rows(words))
        rows = rows[rows >= 0]
        every = self.vocabulary.words()
        kept = Vocabulary.of([every[row] for row in rows])
        return Vectors(np.ascontiguousarray(self.matrix[rows]), kept, lower=self.lower)

    def save(self, folder: Path | str) -> Path:
        """Write the vectors into `folder` as safetensors and a word list."""
        from safetensors.numpy import save_file

        folder = Path(folder)
        with replacing(folder / BUNDLED) as part:
            save_file({"vectors": np.ascontiguousarray(self.matrix)}, part)
        write_text(folder / WORDS, "".join(f"{word}\n" for word in self.vocabulary.words()))
        if self.lower:
            (folder / LOWER).touch()
        return folder

    def _lowered(self, texts: Texts) -> pa.Array:
        array = as_strings(texts)
        return pc.utf8_lower(array) if self.lower else array

    def _mean_into(self, texts: pa.Array, out: Matrix) -> None:
        from scipy.sparse import csr_matrix

        rows, at = self.vocabulary.tokens(texts)
        counts = csr_matrix((np.ones(len(rows), np.float32), rows, at), shape=(len(texts), len(self)))
        np.divide(counts @ self.matrix, np.maximum(np.diff(at), 1).astype(np.float32)[:, None], out=out)


def _read_matrix(folder: Path) -> Matrix:
    try:
        if (folder / BUNDLED).is_file():
            from safetensors.numpy import load_file

            matrix = np.asarray(load_file(folder / BUNDLED)["vectors"], np.float32)
            if not np.isfinite(matrix).all():
                raise ValueError("numbers that are not finite")
            return matrix
        return np.asarray(np.load(folder / MATRIX, mmap_mode="r"))
    except FileNotFoundError:
        raise DataError(folder, f"no {MATRIX}", "a folder of word vectors", "Run the stage that makes it.") from None
    except Exception as error:
        raise DataError(folder, f"unreadable vectors ({error})", "whole files", "Build them again.") from error


def _read_words(folder: Path, rows: int) -> Vocabulary:
    path = folder / WORDS
    words = Vocabulary(path.read_bytes() if path.is_file() else b"")
    if len(words) != rows:
        raise DataError(path, f"{len(words)} words for {rows} vectors", "one word a vector", "Build them again.")
    return words


def _parts(count: int, threads: int) -> list[slice]:
    """Even parts of at most `PART` texts, as many for each thread."""
    pieces = threads * -(-count // (threads * PART)) if count > threads else 1
    edges = np.linspace(0, count, pieces + 1).astype(int).tolist()
    return [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
