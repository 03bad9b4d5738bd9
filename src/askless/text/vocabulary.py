"""Words and their row numbers, looked up for a whole corpus at once.

A token's UTF-8 bytes are hashed eight at a time, all tokens together, and found in an open-addressing table of row
numbers. Two words are taken as the same where their 64-bit hashes are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from askless.arrays import Ints

Bytes = npt.NDArray[np.uint8]
Hashes = npt.NDArray[np.uint64]
Texts = Any  # a sequence of str, or an Arrow string array

SPACE, NEWLINE = 32, 10
_ROOM = 8
_ODD, _MIX, _HALF = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(32)
_KEEP = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)


class Vocabulary:
    """The words of a list by row; where a word is repeated its first row counts.

    Parameters
    ----------
    lines
        UTF-8, one word a line, each line with its end.
    """

    def __init__(self, lines: bytes) -> None:
        self._buffer = _padded(lines)
        ends = np.flatnonzero(self._buffer[: len(lines)] == NEWLINE)
        self._starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)[: len(ends)]
        self._lengths = ends - self._starts
        self._longest = int(self._lengths.max(initial=0))
        self._table: npt.NDArray[np.int32] | None = None
        self._hashes: Hashes = np.zeros(0, np.uint64)

    @classmethod
    def of(cls, words: Sequence[str]) -> Vocabulary:
        """The vocabulary of these words, in this order."""
        return cls("".join(f"{word}\n" for word in words).encode())

    def __len__(self) -> int:
        return len(self._starts)

    def words(self) -> list[str]:
        """All words, by row."""
        return bytes(self._buffer[:-8]).decode().split("\n")[:-1]

    def rows(self, words: Texts) -> npt.NDArray[np.int32]:
        """The row of each word, -1 for a word that is not in the vocabulary."""
        array = as_strings(words)
        joined = pc.binary_join_element_wise(array, "", "")
        offsets = np.frombuffer(joined.buffers()[1], np.int32)[: len(array) + 1].astype(np.int64)
        buffer = _padded(joined.buffers()[2])
        return self._find(_hash(buffer, offsets[:-1], np.diff(offsets)))

    def tokens(self, texts: Texts) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """The rows of all known whitespace tokens, and where each text's begin: text i has rows[at[i]:at[i + 1]]."""
        buffer, ends = _pieces(as_strings(texts))
        starts = np.empty_like(ends)
        starts[:1] = 0
        np.add(ends[:-1], 1, out=starts[1:])
        # A longer token is no word; it need not be hashed to its end.
        lengths = np.minimum(ends - starts, self._longest + 1)
        rows = self._find(_hash(buffer, starts, lengths))
        known = rows >= 0
        at = np.zeros(len(texts) + 1, np.int32)
        at[1:] = np.cumsum(known, dtype=np.int32)[np.flatnonzero(buffer[ends] == NEWLINE)]
        return rows[np.flatnonzero(known)], at

    def _find(self, hashes: Hashes) -> npt.NDArray[np.int32]:
        table = self._index()
        last, shift = len(table) - 1, np.uint64(65 - len(table).bit_length())
        slots = (hashes >> shift).view(np.int64)
        rows = table.take(slots)
        wrong = np.flatnonzero((self._hashes[rows] != hashes) & (rows >= 0))
        while len(wrong):
            slots[wrong] = (slots[wrong] + 1) & last
            found = table[slots[wrong]]
            rows[wrong] = found
            wrong = wrong[(found >= 0) & (self._hashes[found] != hashes[wrong])]
        return rows

    def _index(self) -> npt.NDArray[np.int32]:
        if self._table is None:
            hashes = _hash(self._buffer, self._starts, self._lengths)
            self._hashes = np.append(hashes, np.uint64(0))
            self._table = _table(hashes)
        return self._table


def as_strings(texts: Texts) -> pa.Array:
    """Texts as one Arrow string array without nulls (a null becomes an empty text)."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    array = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string())
    array = array if array.type == pa.string() else array.cast(pa.string())
    return pc.fill_null(array, "") if array.null_count else array


def _table(hashes: Hashes) -> npt.NDArray[np.int32]:
    """Row numbers by the top bits of their hash; the next free slot where that is taken."""
    bits = max(4, (len(hashes) * _ROOM).bit_length())
    table = np.full(1 << bits, -1, np.int32)
    left = np.arange(len(hashes))
    slots = (hashes >> np.uint64(64 - bits)).astype(np.int64)
    while len(left):
        free = table[slots] < 0
        table[slots[free][::-1]] = left[free][::-1]
        waits = hashes[table[slots]] != hashes[left]
        left, slots = left[waits], (slots[waits] + 1) & (len(table) - 1)
    return table


def _hash(buffer: Bytes, starts: Ints, lengths: Ints) -> Hashes:
    """64-bit hashes of the byte ranges; `buffer` has eight bytes to spare at its end."""
    eights: npt.NDArray[Any] = np.ndarray((len(buffer) - 7,), "V8", buffer, 0, (1,))
    hashes: Hashes = eights[starts].view("<u8")
    hashes &= _KEEP.take(np.minimum(lengths, 8))
    hashes += lengths.view(np.uint64)
    _stir(hashes)
    more = np.flatnonzero(lengths > 8)
    at, left, so_far = starts[more], lengths[more], hashes[more]
    while len(more):
        at, left = at + 8, left - 8
        part: Hashes = eights[at].view("<u8")
        part &= _KEEP.take(np.minimum(left, 8))
        part ^= so_far
        _stir(part)
        hashes[more] = part
        longer = left > 8
        more, at, left, so_far = more[longer], at[longer], left[longer], part[longer]
    return hashes


def _stir(hashes: Hashes) -> None:
    hashes *= _ODD
    hashes ^= hashes >> _HALF
    hashes *= _MIX


def _padded(data: Any) -> Bytes:
    raw = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    buffer = np.zeros(len(raw) + 8, np.uint8)
    buffer[: len(raw)] = raw
    return buffer


def _pieces(texts: pa.Array) -> tuple[Bytes, Ints]:
    """The texts' bytes and where their tokens end: at a space, or at the newline that closes each text."""
    buffer = _closed(texts)
    if _other_spaces(buffer[:-8], len(texts)):
        buffer = _closed(pa.array([" ".join(text.split()) for text in texts.to_pylist()], pa.string()))
    breaks = buffer == SPACE
    breaks |= buffer == NEWLINE
    return buffer, np.flatnonzero(breaks)


def _closed(texts: pa.Array) -> Bytes:
    return _padded(pc.binary_join_element_wise(texts, "\n", "").buffers()[2])


def _other_spaces(buffer: Bytes, newlines: int) -> bool:
    """Whether there may be white space but the plain space and so many newlines."""
    if np.count_nonzero(buffer < SPACE) > newlines:
        return True
    at = np.flatnonzero((buffer >= 0xC2) & (buffer <= 0xE3))
    lead = buffer[at].astype(np.int64)
    code = (lead << 16) + (buffer[at + 1].astype(np.int64) << 8) + np.where(lead >= 0xE1, buffer[at + 2], 0)
    return bool(np.isin(code, _space_codes()).any())


@cache
def _space_codes() -> Ints:
    """All white space but the plain one, as its first three UTF-8 bytes in one number."""
    spaces = (chr(c) for c in range(0x3001) if chr(c).isspace() and c != SPACE)
    return np.array([int.from_bytes(s.encode().ljust(3, b"\0"), "big") for s in spaces], np.int64)
