"""The small experts alone on OLHS's tweets: accuracy, macro-F1 and F1 of the offensive class on test.

    ASKLESS_REALDATA=... python benchmarks/olhs_small.py

Word vectors are the first 2,717 lines of GloVe 6B. Train 70 %, valid 10 % (chooses epoch and strength), test 20 %.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from askless import experts, schema
from askless.config import Source, Split, Task, VectorSource
from askless.data import readers
from askless.data.prepare import prepare
from askless.evaluation.metrics import QUALITIES, Quality, bootstrap_weights, interval, seed_weights
from askless.panel import class_indices
from askless.text import embeddings

SEEDS = (67, 68, 69)
CLASSES = ("0", "1")
EXPERTS = {
    "majority": {"backend": "majority"},
    "mlp, as published": {"backend": "mlp", "epochs": 5},
    "mlp, balance .5": {"backend": "mlp", "epochs": 10, "balance": 0.5},
    "linear": {"backend": "linear"},
}


def main() -> None:
    """Train each expert with each seed and print the table."""
    folder = Path(os.environ["ASKLESS_REALDATA"])
    source = Source(kind="olhs", path=folder / "olhs" / "labeled_data.csv")
    task = Task("classification", source, VectorSource(kind="glove"), Split(0.7, 0.1, 0.2), "olhs", CLASSES, "1")
    examples, summary = prepare(readers.read(source, source.path), task, "olhs")
    train, valid, test = (schema.rows_in(examples, s) for s in schema.SPLITS)
    gold = class_indices(test["label"], CLASSES)
    weights = bootstrap_weights(len(gold), 1000, 0)
    print(summary["splits"])
    with tempfile.TemporaryDirectory() as scratch:
        vectors = embeddings.build(folder / "glove" / "glove.6B.100d.top2717.txt", scratch + "/v", dim=100, lower=True)
        for name, options in EXPERTS.items():
            labels = []
            for seed in SEEDS if options["backend"] == "mlp" else SEEDS[:1]:
                setting = experts.Setting(name, "olhs", CLASSES, vectors=vectors)
                seeded = {"random_state": seed} if options["backend"] == "mlp" else {}
                expert = experts.build(setting, {**options, **seeded}).fit(train, valid)
                labels.append(class_indices(expert.answer(test)["label"], CLASSES))
            columns = np.stack(labels, axis=1)
            mix = seed_weights(len(labels), len(weights), 0)
            cells = []
            for measure in QUALITIES:
                quality = Quality(measure, 2, 1)
                drawn = (quality(gold, columns, weights) * mix).sum(axis=1)
                found = interval(float(quality(gold, columns).mean()), drawn, 0.95)
                cells.append(f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]")
            print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
