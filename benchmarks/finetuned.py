"""A fine-tuned encoder against `stack`, by how many posts are labelled, and the seconds that either takes.

    ASKLESS_REALDATA=... python -m benchmarks.finetuned [--labels 300 1000] [--vectors FOLDER] [--splits 1]

The posts and splits of `benchmarks.small_models hate`. Of the labelled posts a fifth choose for the fine-tuned one
(its epoch, how far hate is lifted) and teach `stack`, which chooses out of fold. Figures are of test, with 95 %
intervals; seconds are those of the processors.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from askless import experts
from askless.experts.small.auto import taught
from askless.panel import class_indices
from benchmarks.small_models import CLASSES, MEASURES, SETS, SPLITS, Figures, parts

BACKENDS = ("stack", "finetuned")


def main() -> None:
    """Print a row for each, and one of their difference, as soon as it is known."""
    given = argparse.ArgumentParser()
    given.add_argument("--labels", nargs="+", type=int, default=[300, 1000])
    given.add_argument("--vectors", type=Path)
    given.add_argument("--splits", type=int, default=len(SPLITS))
    options = given.parse_args()
    print(
        "| learns from | " + " | ".join(MEASURES) + " | seconds of learning | of 1,000 answers |\n" + "|---" * 6 + "|"
    )
    with tempfile.TemporaryDirectory() as scratch:
        encoded = options.vectors or Path(scratch, "encoded")
        for labels in options.labels:
            figures, seconds = Figures(), {name: np.zeros(2) for name in BACKENDS}
            for seed, salt in enumerate(SPLITS[: options.splits]):
                train, _, test = parts("hate", Path(os.environ["ASKLESS_REALDATA"]), salt)
                figures.gold.append(class_indices(test["label"], CLASSES))
                rows = train.take(np.sort(np.random.default_rng(seed).permutation(len(train))[:labels]))
                for name in BACKENDS:
                    setting = experts.Setting(name, "hate", CLASSES, "", None, None, SETS["hate"].quality, "1", encoded)
                    small = experts.build(setting, {"backend": name, "random_state": seed})
                    begun = time.process_time()
                    taught(small, rows, seed)
                    learnt = time.process_time()
                    figures.add(name, class_indices(small.answer(test)["label"], CLASSES))
                    spent = time.process_time() - learnt
                    seconds[name] += np.array([learnt - begun, 1000 * spent / len(test)]) / options.splits
            for name in BACKENDS:
                learning, answering = seconds[name]
                print(f"{figures.line(name).replace(name, f'{name}, {labels}')} {learning:.0f} | {answering:.1f} |")
            print(figures.line(*reversed(BACKENDS)), flush=True)


if __name__ == "__main__":
    main()
