"""Files that a person might have: labelled items and two experts' answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

COSTS = {"small": 0.001, "large": 0.01}


def write(folder: Path, n: int = 240, seed: int = 0) -> list[str]:
    """items.parquet, small.parquet and large.parquet; returns the options that name them.

    The small expert is right where its log-prob is high, the large one in nine rows of ten.
    """
    draw = np.random.default_rng(seed)
    classes = np.array(["A", "B", "C"])
    gold = draw.integers(0, 3, n)
    ids = [f"q{k}" for k in range(n)]
    split = ["train" if k % 2 else "test" for k in range(n)]
    text = [f"question {k} about {classes[g]}" for k, g in enumerate(gold)]
    pq.write_table(
        pa.table(
            {"id": ids, "text": text, "label": classes[gold], "split": split, "group": ["odd", "even"] * (n // 2)}
        ),
        folder / "items.parquet",
    )
    chance = {"small": draw.uniform(0.3, 1, n), "large": np.full(n, 0.9)}
    for expert, cost in COSTS.items():
        right = draw.uniform(size=n) < chance[expert]
        said = classes[np.where(right, gold, (gold + 1) % 3)]
        columns = {"id": ids, "expert": [expert] * n, "label": said, "logprob": np.log(chance[expert])}
        pq.write_table(pa.table({**columns, "cost_usd": np.full(n, cost)}), folder / f"{expert}.parquet")
    return named(folder, *COSTS)


def named(folder: Path, *experts: str) -> list[str]:
    """The options that name the items and these experts' files."""
    files = [word for expert in experts for word in ("--answers", str(folder / f"{expert}.parquet"))]
    return ["--examples", str(folder / "items.parquet"), *files]
