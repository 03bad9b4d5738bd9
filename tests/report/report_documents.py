"""Synthetic documents and summaries whose ROUGE is what the share of kept words makes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from askless import schema
from askless.text.rouge import rouge
from askless.text.summary_faults import LOOP

Floats = np.ndarray[Any, np.dtype[np.float64]]
WORDS = np.array([a + b for a in "b d f g k l m n p r s t v z".split() for b in "am el ino or uta".split()])

NASTY = {
    "markup": "\"'></div></details><script>alert(1)</script><!-- {{ 7 * 7 }} &amp;",
    "words": "word " * 100_000,
    "one word": "x" * 50_000,
    "right to left": "זהו משפט ארוך בעברית (עם סוגריים) 123 \u202eabc. " * 20,
    "combining": "Z" + "\u0301\u0489" * 400,
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈" * 50,
    "control": "one\x00two\x1b[31m\ud800\r\nthree",
    "nothing": "",
}


def documents(split: str, rows: int, seed: int) -> tuple[pa.Table, Floats]:
    """Documents with a reference of twelve words each, and how hard they are, from 0 to 1."""
    rng = np.random.default_rng(seed)
    hard = rng.random(rows)
    said = rng.choice(WORDS, (rows, 12))
    told = [rng.permutation([*own, *rng.choice(WORDS, int(40 + 80 * h))]) for own, h in zip(said, hard, strict=True)]
    columns = {
        "id": [f"{split}{i}" for i in range(rows)],
        "text": [f"article {h:.3f} " + " ".join(words) for h, words in zip(hard, told, strict=True)],
        "reference": [" ".join(words) for words in said],
        "split": [split] * rows,
        "group": [("sport", "politics")[int(h * 7) % 2] for h in hard],
    }
    return schema.table("examples", columns), hard


def summaries(name: str, examples: pa.Table, error: Floats, seconds: float, seed: int) -> pa.Table:
    """The references with each word replaced at this rate (rows,); of an LLM 2 % loop and 1 % are missing."""
    rng = np.random.default_rng(seed)
    references = examples["reference"].to_pylist()
    texts: list[str | None] = []
    for reference, rate in zip(references, error, strict=True):
        words = np.array(reference.split())
        texts.append(" ".join(np.where(rng.random(len(words)) < rate, rng.choice(WORDS, len(words)), words)))
    draw = rng.random(len(texts)) if name.startswith("llm") else np.ones(len(texts))
    for row in np.flatnonzero(draw < 0.03):
        texts[row] = None if draw[row] < 0.01 else "over and " * 8
    mute = [text is None for text in texts]
    columns = {
        "id": examples["id"].combine_chunks(),
        "expert": [name] * len(texts),
        "text": texts,
        "quality": np.where(mute, 0, rouge([text or "" for text in texts], references, "rougeL")).astype(np.float32),
        "prompt_tokens": np.array([len(text.split()) for text in examples["text"].to_pylist()], np.int32),
        "completion_tokens": np.full(len(texts), 12, np.int32),
        "seconds": np.full(len(texts), seconds, np.float32),
        "error": ["no summary" if d < 0.01 else LOOP if d < 0.03 else None for d in draw],
    }
    return schema.table("predictions", columns)
