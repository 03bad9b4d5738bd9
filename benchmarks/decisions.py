"""How many texts a second a bundle decides in batch: from raw text, and where their features are there already.

A team over demo posts, as a bundle, decides 100,000 texts by `assign`. "Features there" hands the mean word vectors
over ready-made; all else is the same. One text at a time is what a server without batches would do.

    python -m benchmarks.decisions [--texts 100000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from askless import schema
from askless.bundles.bundle import Bundle
from askless.bundles.decide import decide
from askless.config import Price
from askless.costs import CostModel
from askless.data.demo.posts import posts
from askless.data.demo.vectors import write_vectors
from askless.experts import Setting
from askless.experts.recorded import RecordedExpert
from askless.panel import Panel
from askless.policies.base import Budget
from askless.policies.team.gain import GainTeam
from askless.text import embeddings

CLASSES = ("0", "1")
LLM = "llm"
SHARE = 0.3


def team(folder: Path, look_at: str, rows: int = 4000) -> Path:
    """A bundle in `folder` of a team that learnt on generated posts; its LLM is right with probability .9."""
    write_vectors((p["text"] for p in posts(20_000, 2)), folder / "glove.txt", 100, 2)
    vectors = embeddings.Vectors.open(embeddings.build(folder / "glove.txt", folder / "vectors", 100))
    made, rng = posts(rows, 1), np.random.default_rng(0)
    ids, labels = [f"p{i}" for i in range(rows)], [p["label"] for p in made]
    said = [
        label if right else CLASSES[label == "0"] for label, right in zip(labels, rng.random(rows) < 0.9, strict=True)
    ]
    split = np.where(np.arange(rows) < rows * 3 // 4, "train", "valid").tolist()
    told = {"id": ids, "text": [p["text"] for p in made], "label": labels, "split": split}
    examples = schema.table("examples", told)
    answers = schema.table(
        "predictions", {"id": ids, "expert": [LLM] * rows, "label": said, "cost_usd": [0.001] * rows}
    )
    llm = RecordedExpert(Setting(LLM, "olhs", CLASSES), table=answers)
    costs = CostModel("usd", {"team-network": Price(), "decider": Price()})
    boards = (Panel(schema.rows_in(examples, s), {LLM: llm}, costs, CLASSES) for s in ("train", "valid"))
    one = GainTeam(("team-network", LLM), vectors, epochs=4, allocator_epochs=6, look_at=look_at).fit(*boards)
    return Bundle.of(one, CLASSES, {"task": "olhs", "budget": SHARE}).save(folder / "bundle")


class Known:
    """Word vectors whose means of `texts` are there already."""

    def __init__(self, vectors: Any, texts: list[str]) -> None:
        self._matrix, self.dim = vectors.mean(texts), vectors.dim
        self._texts = pa.array(texts)

    def mean(self, texts: Any) -> Any:
        """Those of these texts."""
        if len(texts) == len(self._texts):
            return self._matrix
        return self._matrix[pc.index_in(pa.array(texts), self._texts).to_numpy()]


def with_features(folder: Path, texts: list[str]) -> Bundle:
    """The bundle with the features of `texts` at hand."""
    loaded: Any = Bundle.load(folder)
    known = Known(loaded.policy.vectors, texts)
    loaded.policy.vectors = known
    object.__setattr__(loaded.small.model_, "vectors", known)
    return loaded


def seconds(run: Callable[[], object], rounds: int) -> list[float]:
    """How long each of some runs took, sorted."""
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return sorted(found)


def compare(folder: Path, texts: list[str], rounds: int) -> None:
    """Time one bundle on both sides, and one text at a time beside a hundred together."""
    budget, loaded, known = Budget(share=SHARE), Bundle.load(folder), with_features(folder, texts)
    ready = decide(known, texts, budget)
    assert ready == decide(loaded, texts, budget), "the same decisions"
    print(f"  {ready.expert.count(LLM) / len(texts):.3f} deferred")
    for what, one in (("from raw text", loaded), ("features there", known)):
        rates = [round(len(texts) / took) for took in seconds(partial(decide, one, texts, budget), rounds)]
        print(f"  {what}: {rates[len(rates) // 2]:,} texts/s (best {rates[0]:,}, worst {rates[-1]:,})")
    alone = seconds(lambda: [decide(loaded, [text], budget) for text in texts[:100]], 3)[1]
    together = seconds(lambda: decide(loaded, texts[:100], budget), 3)[1]
    print(f"  one at a time: {10 * alone:.2f} ms a text; 100 together: {10 * together:.3f} ms")


def main() -> None:
    """Time both kinds of team."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    texts = [p["text"] for p in posts(options.texts, 5)]
    for look_at in ("input", "small"):
        print(f"look_at {look_at}")
        with tempfile.TemporaryDirectory() as name:
            compare(team(Path(name), look_at), texts, options.rounds)
    print(f"load {os.getloadavg()[0]:.1f}, medians of {options.rounds}")


if __name__ == "__main__":
    main()
