"""Word vectors: parsing GloVe text, opening it again, mean features; each beside the way it was first done.

A file of GloVe's size (400,000 lines of 100 numbers) is written first, of seeded numbers in GloVe's own formatting. The
words are the posts' plain lower-case ones, which GloVe would know, then made-up ones. "per token" is the first code: a
Python float for each number, a dictionary of arrays, and for each post a loop over its tokens and `np.mean`. Both sides
run by turns in one process; the best time of each counts.

    python benchmarks/embeddings.py [--rows 24783] [--words 400000] [--turns 5]

With ASKLESS_REALDATA set, the posts are the real OLHS tweets and the first 2,717 lines are the real ones.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from askless.config import Source
from askless.data import readers
from askless.data.prepare import clean
from askless.text.embeddings import Vectors, build

DIM = 100


def posts(rows: int) -> list[str]:
    """Cleaned texts: real OLHS tweets where there are any, else the demo's posts."""
    folder = os.environ.get("ASKLESS_REALDATA")
    if folder:
        raw = readers.read(Source(kind="olhs", rows=rows), Path(folder, "olhs", "labeled_data.csv"))
    else:
        raw = readers.read(Source(kind="demo", rows=rows, seed=5))
    return [clean(text) for text in raw["text"].to_pylist()]


def write_glove(path: Path, texts: list[str], words: int) -> None:
    """A text file like GloVe's."""
    rng = np.random.default_rng(0)
    folder = os.environ.get("ASKLESS_REALDATA")
    real = Path(folder, "glove", "glove.6B.100d.top2717.txt").read_text("utf-8").splitlines() if folder else []
    known = {line.split(" ", 1)[0] for line in real}
    plain = dict.fromkeys(w for text in texts for w in text.split() if w.isalpha() and w.islower() and w not in known)
    rest = [*plain, *(f"w{i}" for i in range(words))][: words - len(real)]
    with path.open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in real)
        for start in range(0, len(rest), 10_000):
            some = rest[start : start + 10_000]
            for word, row in zip(some, rng.normal(0, 0.4, (len(some), DIM)).tolist(), strict=True):
                file.write(word + " " + " ".join(f"{value:.5g}" for value in row) + "\n")


def parsed_per_token(path: Path) -> dict[str, np.ndarray]:
    """The first code's dictionary of word vectors."""
    vectors = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            word, *values = line.split()
            vectors[word] = np.array([float(value) for value in values])
    return vectors


def features_per_token(vectors: dict[str, np.ndarray], texts: list[str]) -> np.ndarray:
    """The first code's features: a list of vectors for each post, and their mean."""
    vocabulary = vectors.keys()
    out = np.zeros((len(texts), DIM), np.float32)
    for row, text in enumerate(texts):
        found = []
        for token in text.split():
            if token in vocabulary:
                found.append(vectors[token])
        if found:
            out[row] = np.mean(found, axis=0)
    return out


def seconds(call: Callable[[], Any]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def by_turns(turns: int, *calls: tuple[int, Callable[[], Any]]) -> list[float]:
    """The best time of each call, made so many times in each turn."""
    best = [float("inf")] * len(calls)
    for _ in range(turns):
        for place, (times, call) in enumerate(calls):
            best[place] = min(best[place], *(seconds(call) for _ in range(times)))
    return best


def measure(folder: Path, rows: int, words: int, turns: int) -> list[tuple[str, float, float]]:
    """What was measured: a name, the seconds of the first way, and ours."""
    text, zipped, out = folder / "glove.txt", folder / "glove.zip", folder / "vectors"
    texts = posts(rows)
    write_glove(text, texts, words)
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.write(text, "glove.6B.100d.txt")
    loop, ours, from_zip = by_turns(
        turns,
        (1, lambda: parsed_per_token(text)),
        (2, lambda: build(text, out, DIM)),
        (1, lambda: build(zipped, out, DIM)),
    )
    opened, looked_up = by_turns(
        turns, (20, lambda: Vectors.open(out)), (1, lambda: Vectors.open(out).rows(["the", "absent"]))
    )
    table, vectors, column = parsed_per_token(text), Vectors.open(out), pa.array(texts)
    wanted = features_per_token(table, texts)
    off = float(np.abs(vectors.mean(column) - wanted).max())
    if off > 1e-5:
        raise SystemExit(f"the features differ by {off}")
    slow, fast = by_turns(turns, (1, lambda: features_per_token(table, texts)), (10, lambda: vectors.mean(column)))
    return [
        (f"parse {words:,} x {DIM}", loop, ours),
        ("parse, straight out of the zip", loop, from_zip),
        ("open again, against parsing per token", loop, opened),
        ("open again, against parsing as here", ours, opened),
        ("open again and look two words up", loop, looked_up),
        (f"features of {len(texts):,} posts", slow, fast),
    ]


def main() -> None:
    """Measure and print a table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", type=int, default=24_783)
    options.add_argument("--words", type=int, default=400_000)
    options.add_argument("--turns", type=int, default=5)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), chosen.rows, chosen.words, chosen.turns)
    print(f"{'':40}{'first way':>12}{'here':>12}{'ratio':>10}")
    for name, slow, fast in found:
        print(f"{name:40}{slow:>10.4f} s{fast:>10.5f} s{slow / fast:>9,.1f}x")


if __name__ == "__main__":
    main()
