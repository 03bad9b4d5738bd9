"""Word vectors from a corpus, in GloVe's own text format: PPMI of near words, then a truncated SVD."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


_WORD = re.compile(r"\w+")


def write_vectors(
    texts: Iterable[str],
    path: Path,
    dim: int = 100,
    seed: int = 0,
    *,
    window: int = 5,
    min_count: int = 2,
    bare: bool = False,
) -> Path:
    """Learn a vector for every word that occurs `min_count` times; write a line `word v1 ... v_dim` for each.

    Words are what stands between spaces or, with `bare`, runs of letters and digits in lower case, as GloVe's words are
    and those of every feature of a summary; the most frequent come first. A corpus of fewer than `dim` words gets zeros
    in the last places. The same texts and seed give the same bytes. Raises `ValueError` when no word is left.
    """
    import numpy as np
    from sklearn.utils.extmath import randomized_svd

    lines = [_WORD.findall(text.lower()) if bare else text.split() for text in texts]
    counts = Counter(word for line in lines for word in line)
    vocabulary = sorted((w for w, c in counts.items() if c >= min_count), key=lambda w: (-counts[w], w))
    if not vocabulary:
        raise ValueError(f"No word occurs {min_count} times in {len(lines)} texts. Give more texts.")
    pmi = _positive_pmi(lines, {word: i for i, word in enumerate(vocabulary)}, window)
    u, s, _ = randomized_svd(pmi, min(dim, len(vocabulary)), n_iter=4, random_state=seed)
    vectors = np.zeros((len(vocabulary), dim))
    vectors[:, : u.shape[1]] = u * np.sqrt(s)
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf-8", newline="\n") as file:
        for word, row in zip(vocabulary, vectors, strict=True):
            file.write(f"{word} {' '.join(f'{x:.5f}' for x in row)}\n")
    os.replace(part, path)
    return path


def _positive_pmi(lines: list[list[str]], index: dict[str, int], window: int) -> csr_matrix:
    """log(p(a, b) / p(a) p(b)) where positive, over the pairs of words at most `window` places apart."""
    import numpy as np
    from scipy.sparse import coo_matrix

    # One long line with gaps of `window` unknown words, so that no pair spans two texts.
    gap = [-1] * window
    ids = np.array([i for line in lines for i in [*(index.get(w, -1) for w in line), *gap]])
    pairs = [(ids[:-k], ids[k:]) for k in range(1, window + 1)]
    left, right = (np.concatenate(side) for side in zip(*pairs, strict=True))
    known = (left >= 0) & (right >= 0)
    left, right = left[known], right[known]
    rows, columns = np.concatenate([left, right]), np.concatenate([right, left])
    together = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(index),) * 2).tocsr()
    alone = np.asarray(together.sum(axis=1)).ravel()
    pmi = together.tocoo()
    pmi.data = np.maximum(0.0, np.log(pmi.data * alone.sum() / (alone[pmi.row] * alone[pmi.col])))
    return pmi.tocsr()
