"""ROUGE of many summaries: rouge-score itself beside `askless.text.rouge`, the same texts, by turns in one process.

    python benchmarks/rouge.py [--pairs 1000] [--turns 3]

With ASKLESS_REALDATA set, the articles and references are the real ones; else those of the demo.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rouge_score.rouge_scorer import RougeScorer

from askless.data.demo.documents import documents
from askless.text.rouge import rouge

Pairs = tuple[list[str], list[str]]
CASES = (("rougeL", False), ("rougeL", True), ("rouge1", False), ("rouge2", False))


def articles(pairs: int) -> tuple[str, Pairs]:
    """Articles with their references, and whose they are."""
    folder = os.environ.get("ASKLESS_REALDATA")
    if folder:
        lines = Path(folder, "xsum", "xsum_test1000.jsonl").read_text("utf-8").splitlines()[:pairs]
        rows = [json.loads(line) for line in lines]
        return "real", ([row["input"] for row in rows], [row["ground_truth"] for row in rows])
    made = documents(pairs, 0)
    return "demo", ([row["text"] for row in made], [row["reference"] for row in made])


def drawn(texts: list[str], pairs: int, words: int) -> Pairs:
    """Pairs of texts of words drawn from the articles, as often as they occur there."""
    every = np.array([word for text in texts for word in text.split()])
    rng = np.random.default_rng(0)
    one, other = ([" ".join(row) for row in rng.choice(every, (pairs, words))] for _ in range(2))
    return one, other


def by_rouge_score(pairs: Pairs, kind: str, stemmer: bool) -> np.ndarray:
    """rouge-score's F-measures, one scorer for all pairs."""
    scorer = RougeScorer([kind], use_stemmer=stemmer)
    return np.array([scorer.score(wanted, said)[kind].fmeasure for said, wanted in zip(*pairs, strict=True)])


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """How long one call takes, and what it gives."""
    start = time.perf_counter()
    value = call()
    return time.perf_counter() - start, value


def main() -> None:
    """Measure and print a table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--pairs", type=int, default=1000)
    options.add_argument("--turns", type=int, default=3)
    chosen = options.parse_args()
    whose, real = articles(chosen.pairs)
    inputs = {f"{whose} articles": real, "200 words each": drawn(real[0], chosen.pairs, 200)}
    rouge(["warm"], ["up"], stemmer=True)
    print(f"{'':34}{'rouge-score':>14}{'here':>12}{'ratio':>12}{'difference':>14}")
    for name, pairs in inputs.items():
        for kind, stemmer in CASES:
            slow, fast = [], []
            for _ in range(chosen.turns):
                seconds, wanted = timed(lambda: by_rouge_score(pairs, kind, stemmer))  # noqa: B023
                slow.append(seconds)
                seconds, got = timed(lambda: rouge(*pairs, kind, stemmer))  # noqa: B023
                fast.append(seconds)
            ratios = sorted(s / f for s, f in zip(slow, fast, strict=True))
            what = f"{name}, {kind}{', stemmed' if stemmer else ''}"
            span, off = f"{ratios[0]:,.0f}-{ratios[-1]:,.0f}", float(np.abs(got - wanted).max())
            print(f"{what:34}{min(slow):>12.3f} s{min(fast):>10.4f} s{span:>12}{off:>14.1e}")
            if off > 1e-9:
                raise SystemExit(f"the values differ by {off}")


if __name__ == "__main__":
    main()
