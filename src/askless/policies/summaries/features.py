"""What documents and summaries look like in numbers; none of them needs a model, a reference or a word's place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from askless.arrays import Bools, Floats, Ints
from askless.text.embeddings import Vectors
from askless.text.vocabulary import Texts, as_strings

Hashes = NDArray[np.uint64]
CHUNK = 20_000
LONG = 4
_ODD, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
DOCUMENT = ("words", "sentences", "numbers", "quotes", "capitals", "signs", "letters", "distinct", "once", "known")
SUMMARY = (
    *("words", "compression", "in_document", "long_in_document", "pairs_in_document", "triples_in_document"),
    *("repeats", "repeated_pairs", "frequency", "numbers", "new_numbers", "letters", "unknown_token", "similarity"),
    *("logprob", "stated"),
)


def document_features(texts: Texts, vectors: Vectors | None) -> Floats:
    """The numbers of `DOCUMENT` and, with `vectors`, the mean word vector, shape (texts, features).

    Numbers, quotes, capitals and signs are counted per word; `distinct` words per square root of all; `known` is the
    share of words that have a vector.
    """
    raw = as_strings(texts)
    bare = bare_words(raw)
    words = Words.of(bare)
    length = np.maximum(words.length, 1)
    marks = [_matches(raw, pattern) / length for pattern in (r"\d+", r"[\"“”]", r"\b\p{Lu}", r"[£$€%]")]
    row, key = words.keys(1)
    _, first, times = np.unique(key, return_index=True, return_counts=True)
    owner = row[first]
    distinct = np.bincount(owner, minlength=len(words))
    once = np.bincount(owner[times == 1], minlength=len(words))
    mean, known = _meaning(bare, vectors)
    own = [
        np.log1p(words.length),
        np.log1p(_matches(raw, r"[.!?](\s|$)")),
        *marks,
        words.letters,
        distinct / np.sqrt(length),
        once / length,
        known / length,
    ]
    return np.column_stack([*own, mean])


def summary_features(summaries: Texts, documents: Texts, logprob: Floats, vectors: Vectors | None) -> Floats:
    """The numbers of `SUMMARY` and, with `vectors`, the mean word vector, shape (texts, features).

    Shares of the summary's words, of its long ones, pairs and triples that are in the document; how often those words
    occur there; numbers that do not; words and pairs said again; the cosine of the mean vectors; mean `logprob` of the
    tokens, NaN where none is stated.
    """
    raw = as_strings(summaries)
    bare, theirs = bare_words(raw), bare_words(as_strings(documents))
    words, document = Words.of(bare), Words.of(theirs)
    length = np.maximum(words.length, 1)
    times = words.found_in(document, 1)
    (mean, _), (about, _) = _meaning(bare, vectors), _meaning(theirs, vectors)
    scale = np.linalg.norm(mean, axis=1) * np.linalg.norm(about, axis=1)
    stated = ~np.isnan(logprob)
    own = [
        np.log1p(words.length),
        words.length / np.maximum(document.length, 1),
        words.share(1, times > 0),
        words.share(1, times > 0, words.long),
        *(words.share(n, words.found_in(document, n) > 0) for n in (2, 3)),
        *(words.repeated(n) for n in (1, 2)),
        words.share(1, np.log1p(times)),
        *(np.bincount(words.row, which, len(words)) for which in (words.number, words.number & (times == 0))),
        words.letters,
        _matches(raw, r"(?i)<?\bunk\b>?") / length,
        (mean * about).sum(axis=1) / np.where(scale > 0, scale, 1),
        np.where(np.isfinite(logprob), logprob, np.nan),
        stated,
    ]
    return np.column_stack([*own, mean])


def vector_sums(texts: Texts, vectors: Vectors) -> Floats:
    """The published feature: the sum of the vectors of each text's whitespace tokens, shape (texts, dim)."""
    array = as_strings(texts)
    array = pc.utf8_lower(array) if vectors.lower else array
    known = np.diff(vectors.vocabulary.tokens(array)[1])
    return np.asarray(vectors.mean(array) * known[:, None], np.float64)


def chunks(rows: int) -> Iterator[slice]:
    """Slices of at most `CHUNK` rows, at least one."""
    return (slice(start, min(start + CHUNK, rows)) for start in range(0, max(rows, 1), CHUNK))


def bare_words(texts: pa.Array) -> pa.Array:
    """Texts in lower case with nothing but letters, digits and single spaces."""
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(pc.utf8_lower(texts), r"[^\p{L}\p{N}]+", " "))


@dataclass(frozen=True)
class Words:
    """The words of some texts in order.

    Parameters
    ----------
    row, code, size, number
        Each word's text, hash, number of characters, and whether it begins with a digit, each (words,).
    length
        How many words each text has, (rows,).
    """

    row: Ints
    code: Hashes
    size: Ints
    number: Bools
    length: Ints
    _keys: dict[int, tuple[Ints, Hashes]] = field(init=False, default_factory=dict, repr=False)

    @classmethod
    def of(cls, bare: pa.Array) -> Words:
        """Of texts that `bare_words` gave."""
        from pandas.util import hash_array

        lists = pc.split_pattern(bare, " ")
        row = np.repeat(np.arange(len(bare)), pc.list_value_length(lists).to_numpy())
        words = pc.list_flatten(lists).dictionary_encode()
        place, unique = words.indices.to_numpy(), words.dictionary
        size = pc.utf8_length(unique).to_numpy()[place]
        code = hash_array(unique.to_numpy(zero_copy_only=False), categorize=False)[place]
        number = np.asarray(pc.match_substring_regex(unique, r"^\p{N}"), bool)[place]
        said = np.flatnonzero(size > 0)
        length = np.bincount(row[said], minlength=len(bare))
        return cls(row[said], code[said], size[said].astype(np.int64), number[said], length)

    def __len__(self) -> int:
        return len(self.length)

    @property
    def long(self) -> Bools:
        """Which words have `LONG` letters or more: those that mean something, by and large."""
        return self.size >= LONG

    @cached_property
    def letters(self) -> Floats:
        """Mean letters of a word, shape (rows,)."""
        return self.share(1, self.size)

    def keys(self, n: int) -> tuple[Ints, Hashes]:
        """Row and hash of every run of `n` words within a text; equal runs in different rows have different hashes."""
        if n not in self._keys:
            self._keys[n] = self._hashed(n)
        return self._keys[n]

    def found_in(self, other: Words, n: int) -> Ints:
        """How often each run of `n` words occurs in the same row of `other`, shape (runs,)."""
        mine = self.keys(n)[1]
        theirs, times = np.unique(other.keys(n)[1], return_counts=True)
        if not len(theirs):
            return np.zeros(len(mine), np.int64)
        at = np.minimum(np.searchsorted(theirs, mine), len(theirs) - 1)
        return np.asarray(np.where(theirs[at] == mine, times[at], 0), np.int64)

    def share(self, n: int, value: Ints | Floats | Bools, among: Bools | None = None) -> Floats:
        """Mean `value` (runs,) over each row's runs of `n` words, 0 where it has none, shape (rows,)."""
        row = self.keys(n)[0]
        if among is not None:
            row, value = row[among], value[among]
        count = np.bincount(row, minlength=len(self))
        return np.bincount(row, value, len(self)) / np.maximum(count, 1)

    def repeated(self, n: int) -> Floats:
        """Share of each row's runs of `n` words that it has said before, shape (rows,)."""
        row, key = self.keys(n)
        again = np.ones(len(key))
        again[np.unique(key, return_index=True)[1]] = 0
        return np.bincount(row, again, len(self)) / np.maximum(np.bincount(row, minlength=len(self)), 1)

    def _hashed(self, n: int) -> tuple[Ints, Hashes]:
        last = len(self.code) - n + 1
        if last <= 0:
            return np.zeros(0, np.int64), np.zeros(0, np.uint64)
        hashed = (self.row[:last].astype(np.uint64) + np.uint64(1)) * _MIX
        for k in range(n):
            hashed = (hashed ^ (hashed >> np.uint64(31))) * _ODD + self.code[k : last + k]
        whole = np.flatnonzero(self.row[:last] == self.row[n - 1 :])
        return self.row[whole], hashed[whole]


def _matches(texts: pa.Array, pattern: str) -> Floats:
    return np.asarray(pc.count_substring_regex(texts, pattern).to_numpy(), np.float64)


def _meaning(bare: pa.Array, vectors: Vectors | None) -> tuple[Floats, Ints]:
    """Mean vector (rows, dim) and number of words that have one (rows,); no columns without vectors."""
    if vectors is None:
        return np.zeros((len(bare), 0)), np.zeros(len(bare), np.int64)
    return np.asarray(vectors.mean(bare), np.float64), np.diff(vectors.vocabulary.tokens(bare)[1]).astype(np.int64)
