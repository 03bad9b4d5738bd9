"""Sentence vectors: one text at a time, in batches, in batches by length, in bfloat16 and int8, and kept ones.

    pip install 'askless[encoder]'
    [ASKLESS_REALDATA=...] python -m benchmarks.encoder [--texts 256] [--rounds 5] [--threads 1]

all-MiniLM-L6-v2 on real OLHS tweets, else on the demo's posts. Sides take turns; seconds are those of the processors,
which do not depend on what else runs there, ratios are medians of the rounds (least - most).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: threads that spin on a busy machine skew all sides

import numpy as np

from askless.text.encoder import PACKAGED, SentenceEncoder
from askless.text.vector_store import VectorStore
from benchmarks.embeddings import posts

BATCH = 16


def in_int8() -> SentenceEncoder:
    """The encoder with the weights of its linear layers in 8 bits, by torch."""
    import torch
    from torch.ao.quantization import quantize_dynamic

    warnings.simplefilter("ignore")  # torch means to move it to a package of its own
    made: Any = SentenceEncoder(PACKAGED)
    made.__dict__["_network"] = quantize_dynamic(made._network, {torch.nn.Linear}, dtype=torch.qint8)
    return made


def in_given_order(encoder: Any, texts: list[str]) -> np.ndarray:
    """Batches as the texts come."""
    import torch

    with torch.inference_mode():
        parts = [encoder.pooled(texts[at : at + BATCH]).numpy() for at in range(0, len(texts), BATCH)]
    return np.vstack(parts)


def main() -> None:
    """Print one table."""
    import torch

    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--texts", type=int, default=256)
    given.add_argument("--single-texts", type=int, default=64, help="of the side that reads one at a time")
    given.add_argument("--rounds", type=int, default=5)
    given.add_argument("--threads", type=int, default=1)
    options = given.parse_args()
    torch.set_num_threads(options.threads)
    texts = posts(options.texts)
    plain = SentenceEncoder(PACKAGED)
    others = {"bfloat16": SentenceEncoder(PACKAGED, dtype="bfloat16"), "int8": in_int8()}
    few = texts[:: len(texts) // options.single_texts][: options.single_texts]
    with tempfile.TemporaryDirectory() as folder:
        store = VectorStore(Path(folder), plain)
        store.vectors(texts)
        ways: dict[str, tuple[int, Callable[[], Any]]] = {
            "batches by length, float32": (len(texts), lambda: plain.vectors(texts)),
            "one at a time": (len(few), lambda: [plain.vectors([text]) for text in few]),
            "batches as they come": (len(texts), lambda: in_given_order(plain, texts)),
            **{f"batches by length, {name}": (len(texts), lambda e=e: e.vectors(texts)) for name, e in others.items()},
            "kept before": (100 * len(texts), lambda: [store.vectors(texts) for _ in range(100)]),
        }
        rounds = [{name: spent(*way) for name, way in ways.items()} for _ in range(options.rounds + 1)][1:]
    print(
        f"{len(texts)} texts, {options.threads} thread(s), torch {torch.__version__}, load {os.getloadavg()[0]:.0f}\n"
    )
    print("| way | texts a second of a processor | by the clock | batches by length are faster by |\n|---|---|---|---|")
    for name in ways:
        speeds = [f"{median(1 / taken[name][clock] for taken in rounds):.3g}" for clock in (0, 1)]
        ratios = [taken[name][0] / taken["batches by length, float32"][0] for taken in rounds]
        print(f"| {name} | {' | '.join(speeds)} | {median(ratios):.2g} ({min(ratios):.2g} - {max(ratios):.2g}) |")
    exact = plain.vectors(texts)
    for name, encoder in others.items():
        cosine = (exact * encoder.vectors(texts)).sum(axis=1)
        print(f"{name}: cosine with float32, least {cosine.min():.4f}, median {np.median(cosine):.4f}")


def spent(texts: int, run: Callable[[], Any]) -> tuple[float, float]:
    """Seconds a text of the processors, and by the clock."""
    begun, worked = time.perf_counter(), time.process_time()
    run()
    return (time.process_time() - worked) / texts, (time.perf_counter() - begun) / texts


if __name__ == "__main__":
    main()
