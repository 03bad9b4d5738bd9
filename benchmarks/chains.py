"""All ordered chains of six experts on recorded answers: the chain-ensembles package and `benchmarks.simulation`.

Both sides get the same answers: labels as whole numbers, confidences, no ties. Each chain is run forward, with the rank
ensemble and with one random split; ours does the min-max ensemble and the costs besides. Accuracies and macro-F1 of the
forward rule and the rank ensemble are held against each other, chain by chain.

    pip install --no-deps chain-ensembles
    python benchmarks/chains.py [--rows 100000] [--experts 6] [--length 3] [--chains 24]

`--chains` is how many of the package's chains are run, drawn by a seed (0: all); the ratio is per chain.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import math
import time
from itertools import permutations
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd

from benchmarks.simulation import Run, simulate

CLASSES = 4


def package() -> ModuleType:
    """The published simulation, without the LLM clients that the package imports beside it."""
    found = importlib.util.find_spec("chain_ensembles")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("The package is not installed. Run: pip install --no-deps chain-ensembles")
    path = Path(found.submodule_search_locations[0], "chain_sim.py")
    spec = importlib.util.spec_from_file_location("chain_sim", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answers(rows: int, experts: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Confidence, label, gold and cost of experts of rising skill and price, surer where they are right (seeded)."""
    rng = np.random.default_rng(0)
    gold, ease = rng.integers(0, CLASSES, rows), rng.normal(size=rows)
    confidence, label = np.empty((rows, experts)), np.empty((rows, experts), np.int64)
    for j in range(experts):
        strength = j / 2 + ease + rng.normal(size=rows)
        right = rng.random(rows) < 1 / (1 + np.exp(-strength))
        label[:, j] = np.where(right, gold, (gold + rng.integers(1, CLASSES, rows)) % CLASSES)
        confidence[:, j] = np.abs(strength + rng.normal(size=rows))
    return confidence, label, gold, np.tile(2.0 ** np.arange(experts), (rows, 1))


def theirs(
    module: ModuleType, chains: list[tuple[int, ...]], confidence: np.ndarray, label: np.ndarray, gold: np.ndarray
) -> dict[tuple[int, ...], tuple[float, ...]]:
    """Accuracy and macro-F1 of each chain, forward then by rank, from the package's own loop over orders."""
    tables = [
        pd.DataFrame({"gold": gold, "pred_label": label[:, j], "conf_score": confidence[:, j]})
        for j in range(label.shape[1])
    ]
    found = {}
    for chain in chains:
        # Its loop runs every order of the experts it is given, so each chain is given alone.
        module.itertools = OneOrder
        with contextlib.redirect_stdout(io.StringIO()):
            out = module.get_permutations(
                [tables[j] for j in chain], [str(j) for j in chain], len(chain), "gold", verbose=False, backward=True
            )
        found[chain] = tuple(out[c][0] for c in ("chain_acc", "chain_f1", "back_rank_acc", "back_rank_f1"))
    return found


class OneOrder:
    """Stands in for `itertools` so that only the given order is run."""

    @staticmethod
    def permutations(links: object, length: int) -> list[tuple[object, ...]]:
        """The links as they are."""
        return [tuple(links)]


def largest_gap(ours: list[Run], published: dict[tuple[int, ...], tuple[float, ...]]) -> float:
    """The largest difference in accuracy or macro-F1 over the chains that both ran."""
    by = {(run.chain, run.rule): (run.accuracy, run.macro_f1) for run in ours}
    gaps = [np.subtract([*by[c, "forward"], *by[c, "rank"]], figures) for c, figures in published.items()]
    return float(np.abs(gaps).max())


def main() -> None:
    """Run both and print the seconds and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("rows", 100_000), ("experts", 6), ("length", 3), ("chains", 24), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    o = parser.parse_args()
    confidence, label, gold, cost = answers(o.rows, o.experts)
    every, total = list(permutations(range(o.experts), o.length)), math.perm(o.experts, o.length)
    count = min(o.chains or total, total)
    chosen = [every[i] for i in np.random.default_rng(0).permutation(total)[:count]]

    seconds = []
    for _ in range(o.repeats):
        start = time.perf_counter()
        ours = simulate(confidence, label, gold, cost, o.length)
        seconds.append(time.perf_counter() - start)
    start = time.perf_counter()
    published = theirs(package(), chosen, confidence, label, gold)
    package_seconds = time.perf_counter() - start

    best, worst = min(seconds) / total, max(seconds) / total
    print(f"{o.rows} rows x {o.experts} experts, {total} ordered chains of {o.length}")
    print(f"package: {package_seconds:.1f} s for {count} chains, {package_seconds / count:.3f} s a chain")
    print(f"here:    {min(seconds):.2f} - {max(seconds):.2f} s for all {total}, {best:.5f} - {worst:.5f} s a chain")
    print(f"ratio:   {package_seconds / count / worst:.0f} - {package_seconds / count / best:.0f}")
    print(f"largest difference in accuracy or macro-F1: {largest_gap(ours, published):.1e}")


if __name__ == "__main__":
    main()
