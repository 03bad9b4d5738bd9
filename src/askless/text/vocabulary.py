"""Words and their row numbers, looked up for a whole corpus at once: each different token once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Rows = npt.NDArray[np.int32]
Texts = Any  # a sequence of str, or an Arrow string array


class Vocabulary:
    """The words of a list by row; where a word is repeated its first row counts.

    Parameters
    ----------
    lines
        UTF-8, one word a line, each line with its end.
    """

    def __init__(self, lines: bytes) -> None:
        self._lines = lines

    @classmethod
    def of(cls, words: Sequence[str]) -> Vocabulary:
        """The vocabulary of these words, in this order."""
        return cls("".join(f"{word}\n" for word in words).encode())

    def __len__(self) -> int:
        return self._lines.count(b"\n")

    def words(self) -> list[str]:
        """All words, by row."""
        return self._lines.decode().split("\n")[:-1]

    def rows(self, words: Texts) -> Rows:
        """The row of each word, -1 for a word that is not in the vocabulary."""
        coded = as_strings(words).dictionary_encode()
        row = self._row
        found: Rows = np.array([row.get(word, -1) for word in coded.dictionary.to_pylist()], np.int32)
        return np.asarray(found[coded.indices.to_numpy()], np.int32)

    def tokens(self, texts: Texts) -> tuple[Rows, Rows]:
        """The rows of all known whitespace tokens, and where each text's begin: text i has rows[at[i]:at[i + 1]]."""
        split = pc.utf8_split_whitespace(as_strings(texts))
        rows = self.rows(split.flatten())
        known = rows >= 0
        at = np.append(0, np.cumsum(known)).astype(np.int32)[split.offsets.to_numpy()]
        return rows[known], at

    @cached_property
    def _row(self) -> dict[str, int]:
        words = self.words()
        return dict(zip(reversed(words), range(len(words) - 1, -1, -1), strict=True))


def as_strings(texts: Texts) -> pa.Array:
    """Texts as one Arrow string array without nulls (a null becomes an empty text)."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    array = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string())
    array = array if array.type == pa.string() else array.cast(pa.string())
    return pc.fill_null(array, "") if array.null_count else array
