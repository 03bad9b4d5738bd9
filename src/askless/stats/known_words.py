"""Whether texts are about something else than those of before: how many of their words nobody has seen there."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from askless.arrays import Floats
from askless.errors import DataError
from askless.files import replacing
from askless.stats.shift import NEW_WORDS, Shift, compare, summary

FILE = "words.npz"
WORD = re.compile(r"\w+")
MOST = 20_000


@dataclass(frozen=True, eq=False)
class KnownWords:
    """The words of one half of some texts, as sorted checksums, and how new those of the other half are.

    Parameters
    ----------
    sums
        Of each different word, (words,).
    new
        The share of unknown words in texts of the other half, which are to these words what later texts are, (texts,).
    """

    sums: Any
    new: Floats

    @classmethod
    def of(cls, texts: Sequence[str], seed: int = 0) -> KnownWords:
        """Those of half of these texts, drawn by chance."""
        order = np.random.default_rng(seed).permutation(len(texts)).tolist()
        half, others = order[: len(order) // 2], order[len(order) // 2 :][:MOST]
        known = cls(np.array(sorted({each for at in half for each in _sums(texts[at])}), np.uint32), np.zeros(0))
        return replace(known, new=summary(known.unknown([texts[at] for at in others])))

    def unknown(self, texts: Sequence[str]) -> Floats:
        """The share of each text's words that are not among them, (texts,); 0 for a text without a word."""
        found = [_sums(text) for text in texts]
        flat = np.array([each for sums in found for each in sums], np.uint32)
        new = np.isin(flat, self.sums, invert=True)
        size = np.array([len(sums) for sums in found], np.int64)
        total = np.bincount(np.repeat(np.arange(len(found)), size), weights=new, minlength=len(found))
        return np.asarray(total / np.maximum(size, 1))

    def held_against(self, unknown: Floats) -> Shift:
        """Whether later texts have more unknown words: fewer are no reason for an alarm."""
        more = len(unknown) > 0 and unknown.mean() > self.new.mean()
        found = compare({NEW_WORDS: self.new}, {NEW_WORDS: unknown})
        return found if more else replace(found, p_values=dict.fromkeys(found.p_values, 1.0))

    def write(self, folder: Path) -> None:
        """Put them into a bundle's folder."""
        with replacing(folder / FILE) as part, open(part, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **vars(self))

    @classmethod
    def read(cls, folder: Path) -> KnownWords | None:
        """Those in a bundle's folder, None where none are with it; raises `DataError` for a file that is none."""
        path = folder / FILE
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as found:
                return cls(found["sums"], found["new"])
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise DataError(path, f"unreadable ({error})", "the file as it was written", "Annotate again.") from error


def _sums(text: str) -> list[int]:
    return [zlib.crc32(word.encode()) for word in WORD.findall(text.lower())]
