"""Made-up documents and summaries of known quality: panels of them in one line."""

import numpy as np
import pyarrow as pa

from askless import schema
from askless.costs import CostModel
from askless.panel import Panel
from askless.text.embeddings import Vectors
from askless.text.vocabulary import Vocabulary
from tests.helpers import ids

PRICES = {"small": 1.0, "large": 4.0, "huge": 16.0}
WORDS = ("calm", "storm", "the", "report", "of", "was", "told", "river", "garden", "music")


def vectors():
    """A vector for each of `WORDS`."""
    return Vectors(np.eye(len(WORDS), dtype=np.float32), Vocabulary.of(WORDS), lower=True)


class Writes:
    """An expert that gives recorded summaries and remembers which rows it was asked."""

    def __init__(self, name, texts, quality, *, cost=1.0, logprob=None):
        self.name, self.texts, self.quality, self.cost, self.logprob = name, texts, quality, cost, logprob
        self.asked = []

    def answer(self, examples):
        rows = [int(key[1:]) for key in examples["id"].to_pylist()]
        self.asked += rows
        texts = [self.texts[row] for row in rows]
        columns = {
            "id": examples["id"].to_pylist(),
            "expert": [self.name] * len(rows),
            "text": texts,
            "quality": np.array([self.quality[row] for row in rows], np.float32),
            "cost_usd": np.full(len(rows), self.cost),
            "error": [None if text is not None else "no summary" for text in texts],
        }
        if self.logprob is not None:
            columns["logprob"] = np.array([self.logprob[row] for row in rows], np.float32)
        return schema.table("predictions", columns)


def board(documents, experts, *, blind=False):
    """A panel of these documents, with a reference and no label each."""
    n = len(documents)
    table = schema.table(
        "examples",
        {"id": ids(n), "text": list(documents), "reference": ["a reference"] * n, "split": ["train"] * n},
    )
    return Panel(table, {expert.name: expert for expert in experts}, CostModel(), (), blind=blind)


def world(
    n, seed=0, *, names=("small", "large"), blind=False, silent=0.0, lift=0.3, off=0.0, stated=False, prices=PRICES
):
    """Documents calm or stormy, half and half; in storms a costlier expert is better by `lift`, else no better; `off`
    is taken off the quality of all costlier ones.

    Every third summary of the small one speaks of what is not in the document: it is worse by another `lift`. A
    costlier expert than the large one is better still by a tenth. `silent` is the small one's share of rows without a
    summary.
    """
    rng = np.random.default_rng([seed, n])
    storm, astray = rng.random(n) < 0.5, rng.random(n) < 1 / 3
    filler = rng.choice(WORDS[2:], (n, 12))
    documents = [f"The {'storm' if s else 'calm'} " + " ".join(words) for s, words in zip(storm, filler, strict=True)]
    noise = rng.normal(0, 0.03, (n, 3))
    base = 0.65 + noise - lift * np.array([1.0, 0.0, 0.0]) * (storm + astray)[:, None]
    quality = np.clip(base + np.array([0, -off, 0.1 - off]), 0, 1)
    mute = rng.random(n) < silent
    quality[mute, 0] = 0.0
    own = ["elsewhere entirely others spoke" if a else " ".join(w[:4]) for a, w in zip(astray, filler, strict=True)]
    texts = {
        "small": [None if m else text for m, text in zip(mute, own, strict=True)],
        "large": [" ".join(w[:6]) for w in filler],
        "huge": [" ".join(w[:8]) for w in filler],
    }
    logprob = np.log(np.clip(quality[:, 0], 0.01, 0.99)) if stated else None
    experts = [
        Writes(k, texts[k], quality[:, j], cost=prices[k], logprob=logprob if k == "small" else None)
        for j, k in enumerate(PRICES)
        if k in names
    ]
    panel = board(documents, experts, blind=blind)
    panel.quality_of = quality[:, [list(PRICES).index(k) for k in names]]
    panel.storm, panel.astray, panel.mute = storm, astray, mute
    return panel


def empty(names=("small", "large")):
    """A panel without documents."""
    return board([], [Writes(name, [], [], cost=PRICES[name]) for name in names])


def column(values):
    """An Arrow column of texts."""
    return pa.chunked_array([pa.array(values, pa.string())])
