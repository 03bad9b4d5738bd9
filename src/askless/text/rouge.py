"""ROUGE-1, ROUGE-2 and ROUGE-L, to the last bit as rouge-score 0.1.2 defines them, for many summaries at once.

A text's tokens are the runs of a-z and 0-9 of its lower case, so a text in another script has none and scores 0. With
`stemmer`, tokens of more than three letters are stemmed by Porter's rules, as most published figures have it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
from rapidfuzz.distance import LCSseq

from askless.arrays import Floats
from askless.errors import ConfigError, DataError

Tokens = list[bytes]
KINDS = ("rouge1", "rouge2", "rougeL")
_PLAIN = bytes(c if chr(c) in "abcdefghijklmnopqrstuvwxyz0123456789" else 32 for c in range(256))


def rouge(summaries: Sequence[str], references: Sequence[str], kind: str = "rougeL", stemmer: bool = False) -> Floats:
    """F-measure of each summary against its own reference, shape (n,), 0 where either has no token.

    `kind` is one of `rouge1`, `rouge2` (n-grams in common, each as often as in both) and `rougeL` (longest common
    subsequence). C.-Y. Lin, ROUGE (2004), sections 2 and 3. Raises `ConfigError` for another kind, and `DataError`
    for what is no text and for lists of different lengths.
    """
    if kind not in KINDS:
        raise ConfigError.unknown("kind of ROUGE", kind, KINDS)
    check_texts(summaries=summaries, references=references)
    tokens = _stems if stemmer else _tokens
    common = {"rouge1": _common_words, "rouge2": _common_pairs, "rougeL": _common_sequence}[kind]
    counts = [common(tokens(said), tokens(wanted)) for said, wanted in zip(summaries, references, strict=True)]
    return _f(*np.array(counts, float).reshape(-1, 3).T)


def check_texts(**columns: Sequence[str | None]) -> None:
    """Raise `DataError` unless all columns are lists of strings, and as long as the first."""
    (first, length), *_ = [(name, len(texts)) for name, texts in columns.items()]
    for name, texts in columns.items():
        if isinstance(texts, str | bytes):
            raise DataError(name, "one text", "a list of texts", "Put it into a list.")
        if len(texts) != length:
            raise DataError(name, f"{len(texts)} texts for {length} {first}", f"{length}", "Give one for each.")
        wrong = [row for row, text in enumerate(texts) if not isinstance(text, str)]
        if wrong:
            got = f"{type(texts[wrong[0]]).__name__} in row {wrong[0]} ({len(wrong)} rows in all)"
            raise DataError(name, got, "a string", "Leave the row out, or give '' where there is no text.")


def _tokens(text: str) -> Tokens:
    """rouge-score's tokens; lower case comes first, for some letters outside ASCII become plain ones by it."""
    return text.lower().encode("ascii", "replace").translate(_PLAIN).split()


def _stems(text: str) -> Tokens:
    return [stem for stem in map(_stem, _tokens(text)) if stem]


@lru_cache(maxsize=1 << 17)
def _stem(word: bytes) -> bytes:
    """What rouge-score makes of a single word; the same words come again in every text."""
    return b"".join(token.encode() for token in _stemmer().tokenize(word.decode()))


@cache
def _stemmer() -> Any:
    from rouge_score.tokenizers import DefaultTokenizer

    return DefaultTokenizer(use_stemmer=True)


def _common_sequence(said: Tokens, wanted: Tokens) -> tuple[int, int, int]:
    return LCSseq.similarity(*_numbered(said, wanted)), len(said), len(wanted)


def _common_words(said: Sequence[Hashable], wanted: Sequence[Hashable]) -> tuple[int, int, int]:
    """How many two bags have in common: once both are sorted, that is their longest common subsequence."""
    return LCSseq.similarity(*map(sorted, _numbered(said, wanted))), len(said), len(wanted)


def _common_pairs(said: Tokens, wanted: Tokens) -> tuple[int, int, int]:
    return _common_words(list(zip(said, said[1:], strict=False)), list(zip(wanted, wanted[1:], strict=False)))


def _numbered(one: Sequence[Hashable], other: Sequence[Hashable]) -> tuple[list[int], list[int]]:
    """Both as whole numbers, the longer without what the shorter lacks: it can be in no common subsequence."""
    short, long = (one, other) if len(one) <= len(other) else (other, one)
    number = {unit: place for place, unit in enumerate(short)}
    return [number[unit] for unit in short], [number[unit] for unit in long if unit in number]


def _f(hits: Floats, said: Floats, wanted: Floats) -> Floats:
    """F-measures in rouge-score's order of operations, so that they round as its own do."""
    precision, recall = hits / np.maximum(said, 1), hits / np.maximum(wanted, 1)
    total = precision + recall
    return np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
