"""Summaries that are none: nothing said, one thing said over and over, more than the document says, another script.

The rules, the first that holds counts:

- `empty summary`: no letter and no digit.
- `repeated token loop`: a block of 1 or 2 words four times in a row, of 3 to 7 words three times, of 8 to 64 words
  twice; case and punctuation around words aside. Or, in a word of 32 letters or more (as in scripts without blanks), a
  block of up to 64 letters repeated over at least 24 letters more.
- `longer than its document`: more characters than it, blanks aside; so is any summary of an empty document.
- `in another script than its document`: most letters are Latin in one and not in the other. Another language in the
  same script is not told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from askless.text.rouge import check_texts

EMPTY = "empty summary"
LOOP = "repeated token loop"
LONGER = "longer than its document"
SCRIPT = "in another script than its document"
FAULTS = (EMPTY, LOOP, LONGER, SCRIPT)
PERIOD, LONG_WORD = 64, 32
BLOCK = 1 << 14
_WORD = re.compile(r"[^\W_]")
_EDGES = "".join(c for c in map(chr, range(33, 127)) if not c.isalnum()) + "‘’“”«»…–—、。，！？"
_LETTER, _LATIN = (
    re.compile(r"[^\W\d_]"),
    re.compile(r"[\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff]"),
)
_OUTSIDE_ASCII, _NO_LETTER = re.compile(r"[^\x00-\x7f]+"), bytes(c for c in range(128) if not chr(c).isalpha())


def faults(summaries: Sequence[str | None], documents: Sequence[str]) -> list[str | None]:
    """What is wrong with each summary, one of `FAULTS`, or None; an absent summary is an empty one.

    Raises `DataError` for what is no text, and where there are not as many documents as summaries.
    """
    texts = ["" if text is None else text for text in summaries]
    check_texts(summaries=texts, documents=documents)
    found: list[str | None] = []
    for start in range(0, len(texts), BLOCK):
        some = texts[start : start + BLOCK]
        found += map(_fault, some, documents[start : start + BLOCK], _loops(some).tolist())
    return found


def _fault(summary: str, document: str, loop: bool) -> str | None:
    if not _WORD.search(summary):
        return EMPTY
    if loop:
        return LOOP
    if _visible(summary) > _visible(document):
        return LONGER
    return SCRIPT if {_foreign(summary), _foreign(document)} == {True, False} else None


def _visible(text: str) -> int:
    return len("".join(text.split()))


def _foreign(text: str) -> bool | None:
    """Whether most letters are not Latin; None where there are no letters."""
    if text.isascii():
        return False if _LETTER.search(text) else None
    plain, rest = len(text.encode("ascii", "ignore").translate(None, _NO_LETTER)), "".join(_OUTSIDE_ASCII.findall(text))
    letters = plain + len(_LETTER.findall(rest))
    return 2 * (plain + len(_LATIN.findall(rest))) < letters if letters else None


def _loops(texts: Sequence[str]) -> NDArray[np.bool_]:
    """Which texts repeat words, or the letters of their longest word."""
    words = [text.casefold().split() for text in texts]
    long = [max(some, key=len, default="") for some in words]
    letters = [word if len(word) >= LONG_WORD else "" for word in long]
    return _repeats([[w.strip(_EDGES) or w for w in some] for some in words], _words_more) | _repeats(
        letters, lambda period: max(24, period)
    )


def _words_more(period: int) -> int:
    """How many words must follow a block of `period` words and repeat it."""
    return period * (3 if period < 3 else 2 if period < 8 else 1)


def _repeats(sequences: Sequence[Sequence[Hashable]], more: Callable[[int], int]) -> NDArray[np.bool_]:
    """Which sequences have, for a period of up to `PERIOD`, `more(period)` in a row equal to the one a period before.

    All sequences are looked at together, one period after another: no number occurs in two of them, so that no run
    goes over an end.
    """
    found = np.zeros(len(sequences), bool)
    numbers: list[int] = []
    lengths, used = [], 0
    for sequence in sequences:
        number = {unit: used + place for place, unit in enumerate(dict.fromkeys(sequence))}
        # Without a unit that occurs twice there is no loop.
        lengths.append(len(sequence) if len(number) < len(sequence) else 0)
        if lengths[-1]:
            numbers += [number[unit] for unit in sequence]
            used += len(number)
    keys, row = np.array(numbers, np.int64), np.repeat(np.arange(len(sequences)), lengths)
    for period in range(1, min(PERIOD, max(lengths, default=0) // 2) + 1):
        breaks = np.flatnonzero(np.concatenate([[True], keys[period:] != keys[:-period], [True]]))
        runs = breaks[:-1][np.diff(breaks) > more(period)]
        found[row[runs]] = True
    return found
