"""What a text says of who will answer it rightly, beside how sure each of nine LLMs is.

For each LLM the chance that it is right is learnt on 300 or 900 labelled items and held against the others: its rate
alone, the text (TF-IDF), its stated confidence, or both. Needs ASKLESS_REALDATA. Run: python benchmarks/text_signal.py
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from policies import recorded
from pools import pooled
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from askless.arrays import Floats
from askless.panel import NO_LABEL, Panel
from askless.policies.text_chances import TextChances
from askless.stats.calibration import transform
from askless.stats.uncertainty import probability


def losses(panel: Panel, labels: int) -> Floats:
    """Mean log loss over the LLMs by rate, text, confidence and both, (4,)."""
    order = np.random.default_rng(0).permutation(len(panel))
    train, test = panel.take(order[:labels]), panel.take(order[labels:])
    right = [np.stack([part.quality(part.ask(e)) == 1 for e in panel.experts], axis=1) for part in (train, test)]
    none = [np.full(len(part), NO_LABEL) for part in (train, test)]
    words = TextChances()
    text = [words.cross_fit(train.text, none[0], right[0]), words.predict(test.text, none[1])]
    found = []
    for j, expert in enumerate(panel.experts):
        sure = [transform(np.nan_to_num(probability(part.ask(expert)))) for part in (train, test)]
        odds = [np.log(each[:, j] / (1 - each[:, j])) for each in text]
        rate = np.full(len(test), right[0][:, j].mean())
        line = [log_loss(right[1][:, j], rate)]
        for seen in ((odds,), (sure,), (sure, odds)):
            x, new = (np.column_stack([each[k] for each in seen]) for k in (0, 1))
            chance = LogisticRegression(C=10).fit(x, right[0][:, j]).predict_proba(new)[:, 1]
            line.append(log_loss(right[1][:, j], chance))
        found.append(line)
    return np.mean(found, axis=0)


def main() -> None:
    """Print a line for each benchmark and number of labels."""
    folder = Path(os.environ["ASKLESS_REALDATA"]) / "recorded"
    print("benchmark labels   rate   text  confidence  both")
    for benchmark in ("mmlu", "medmcqa"):
        models = pq.read_table(folder / f"{benchmark}_responses.parquet", columns=["model"])["model"].unique()
        panel = pooled(recorded(folder, benchmark, sorted(models.to_pylist())))
        for labels in (300, 900):
            print(benchmark, labels, *(f"{loss:.4f}" for loss in losses(panel, labels)), sep="\t")


if __name__ == "__main__":
    main()
