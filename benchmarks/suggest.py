"""Which rows to label by hand: by chance, as `askless estimate --suggest` draws them, or more where labels err more?

A share is estimated from so many human labels of the hate posts of ASKLESS_REALDATA, and of made files with rarer
classes, where GPT-3.5's label (or one that errs as stated) is there for each row. Three ways: by chance with PPI++
(`askless.stats.prediction_powered`); a third by chance, then each row with a chance of its own, half even and half by
how often its label erred, and a normal interval; a third by chance, then Neyman's allocation to the strata of the
label, and the exact interval of each stratum, all together at 95 %.

    python benchmarks/suggest.py --draws 1000
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from askless.arrays import Floats, Ints
from askless.stats.bounds import share_interval
from askless.stats.prediction_powered import powered_mean

HATE = "hate/stormfront_gpt-3.5-turbo.json"
# Share of the class, and how often it and the others are labelled so.
MADE = ((0.12, 0.9, 0.15), (0.3, 0.97, 0.01), (0.02, 0.8, 0.15), (0.005, 0.9, 0.1))


def rates(truth: Floats, said: Floats, pilot: Ints) -> Floats:
    """How often a row is of the class, by its label, as the pilot shows it, (rows,)."""
    found = np.zeros(len(truth))
    for label in (0.0, 1.0):
        mine = truth[pilot[said[pilot] == label]]
        found[said == label] = (mine.sum() + truth[pilot].mean()) / (len(mine) + 1)
    return found


def by_chance(truth: Floats, said: Floats, order: Ints, labels: int) -> tuple[float, float]:
    """PPI++."""
    drawn, others = order[:labels], order[labels:]
    found = powered_mean(truth[drawn], said[drawn], said[others])
    return found.low, found.high


def unequal(truth: Floats, said: Floats, order: Ints, labels: int) -> tuple[float, float]:
    """Each row with a chance of its own, and a normal interval."""
    pilot, rest = order[: labels // 3], order[labels // 3 :]
    rate, n = rates(truth, said, pilot), labels - len(pilot)
    spread = np.sqrt(rate * (1 - rate))[rest] + 1e-9
    chance = np.minimum(1, n * (0.5 / len(rest) + 0.5 * spread / spread.sum()))
    drawn = np.random.default_rng(int(order[0])).random(len(rest)) < chance
    apart, weight = (truth - rate)[rest][drawn], 1 / chance[drawn]
    middle = rate[rest].sum() + (apart * weight).sum()
    half = 1.96 * np.sqrt(((1 - chance[drawn]) * (weight * apart) ** 2).sum())
    known = truth[pilot].sum()
    return (known + middle - half) / len(truth), (known + middle + half) / len(truth)


def stratified(truth: Floats, said: Floats, order: Ints, labels: int) -> tuple[float, float]:
    """Neyman's allocation with a floor, and the exact interval of each stratum."""
    pilot, rest = order[: labels // 3], order[labels // 3 :]
    rate, n = rates(truth, said, pilot), labels - len(pilot)
    strata = [rest[said[rest] == label] for label in (0.0, 1.0)]
    weight = np.array([np.sqrt(rate[rows] * (1 - rate[rows])).sum() + 1e-9 for rows in strata])
    ends = np.zeros(2)
    for rows, share in zip(strata, weight / weight.sum(), strict=True):
        drawn = rows[: min(len(rows), max(n // 5, int(share * n)))]
        ends += len(rows) * np.array(share_interval(int(truth[drawn].sum()), len(drawn), 0.975))
    low, high = (truth[pilot].sum() + ends) / len(truth)
    return float(low), float(high)


WAYS = {"by chance, PPI++": by_chance, "unequal, normal": unequal, "stratified, exact": stratified}


def show(name: str, truth: Floats, said: Floats, labels: int, draws: int) -> None:
    """How often each way covers the share of the file, and how wide it is."""
    found: dict[str, list[tuple[bool, float]]] = {way: [] for way in WAYS}
    for seed in range(draws):
        order = np.random.default_rng(seed).permutation(len(truth))
        for way, interval in WAYS.items():
            low, high = interval(truth, said, order, labels)
            found[way].append((low <= truth.mean() <= high, high - low))
    for way, each in found.items():
        covered, width = np.array(each, float).mean(axis=0)
        print(f"{name:28} {labels:5} labels  {way:18} covered {covered:.3f}, {100 * width:.2f} points wide", flush=True)


def main() -> None:
    """All ways on all files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    options = parser.parse_args()
    path = Path(os.environ.get("ASKLESS_REALDATA", ""), HATE)
    if not path.is_file():
        raise SystemExit(f"{path}: no such file. Set ASKLESS_REALDATA to the folder that has it.")
    rows: list[dict[str, Any]] = json.loads(path.read_text())
    truth, said = (np.array([float(row[name] == 1) for row in rows]) for name in ("Label", "Preds"))
    for labels in (300, 1000):
        show("hate posts, 11 %", truth, said, labels, options.draws)
    rng = np.random.default_rng(5)
    for share, right, wrong in MADE:
        truth = (rng.random(4000) < share).astype(float)
        said = (rng.random(4000) < np.where(truth == 1, right, wrong)).astype(float)
        show(f"made, {100 * share:g} %", truth, said, 300, options.draws)


if __name__ == "__main__":
    main()
