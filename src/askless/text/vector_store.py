"""Sentence vectors that were computed before, by their texts' hashes: one matrix on disk for each encoder."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from askless.arrays import Floats
from askless.files import locked
from askless.text.encoder import Matrix, SentenceEncoder

KEYS, ROWS, LOCK = "texts.hash", "vectors.f32", ".lock"
SIZE = 16
PART = 1024


class VectorStore:
    """The vectors of one encoder in a folder, memory-mapped; one that is missing is computed once and kept.

    Several processes may share it. A kill loses the texts that were being read, 1,024 at most.

    Parameters
    ----------
    folder
        Of all encoders' vectors; each has a folder of its own in it, named by its digest, precision and dimension.
    encoder
        What computes them.
    """

    def __init__(self, folder: Path, encoder: SentenceEncoder) -> None:
        self.folder = folder / f"{encoder.digest[:32]}-{encoder.precision}-{encoder.dim}"
        self.encoder = encoder

    def vectors(self, texts: Sequence[str]) -> tuple[Matrix, Floats]:
        """A vector for each text, (texts, dim), and the seconds (texts,) that were spared by its being kept."""
        keys = [_key(text) for text in texts]
        known = _rows(self.folder)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        # Long texts first: those of a part are of like length.
        todo = sorted(missing, key=lambda key: -len(missing[key]))
        for start in range(0, len(todo), PART):
            part = todo[start : start + PART]
            begun = time.perf_counter()
            vectors = self.encoder.vectors([missing[key] for key in part])
            seconds = np.full((len(part), 1), (time.perf_counter() - begun) / len(part), np.float32)
            self._keep(part, np.hstack([vectors, seconds]))
        known = _rows(self.folder) if todo else known
        width = self.encoder.dim + 1
        if not texts:
            return np.zeros((0, width - 1), np.float32), np.zeros(0)
        kept = np.memmap(self.folder / ROWS, np.float32, "r", shape=(len(known), width))
        found = kept[[known[key] for key in keys]]
        return found[:, :-1], np.where([key in missing for key in keys], 0.0, found[:, -1])

    def _keep(self, keys: Sequence[bytes], rows: Matrix) -> None:
        with locked(self.folder / LOCK):
            known = _rows(self.folder)
            new = [at for at, key in enumerate(keys) if key not in known]
            with open(self.folder / ROWS, "ab") as matrix, open(self.folder / KEYS, "ab") as hashes:
                # A kill may have left vectors without a hash, and half of either.
                matrix.truncate(len(known) * rows[0].nbytes)
                hashes.truncate(len(known) * SIZE)
                matrix.write(rows[new].tobytes())
                matrix.flush()
                hashes.write(b"".join(keys[at] for at in new))


def forget(places: Iterable[Path], texts: Iterable[str], dry_run: bool = False) -> dict[Path, int]:
    """Take the vectors of `texts` out of every store under `places`; returns how many went, or would go, by folder."""
    keys, gone = {_key(text) for text in texts}, {}
    for folder in sorted({path.parent for place in places for path in place.rglob(KEYS)}):
        with locked(folder / LOCK):
            found = [row for key, row in _rows(folder).items() if key in keys]
            width = 4 * (int(folder.name.rpartition("-")[2]) + 1)
            for name, size, other in ((ROWS, width, bytes), (KEYS, SIZE, os.urandom)):
                with open(folder / name, "rb" if dry_run else "r+b") as file:
                    for row in [] if dry_run else found:
                        file.seek(row * size)
                        file.write(other(size))
        if found:
            gone[folder] = len(found)
    return gone


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=SIZE).digest()


def _rows(folder: Path) -> dict[bytes, int]:
    """The row of each text's hash."""
    path = folder / KEYS
    held = path.read_bytes() if path.is_file() else b""
    return {held[at : at + SIZE]: at // SIZE for at in range(0, len(held) - SIZE + 1, SIZE)}
