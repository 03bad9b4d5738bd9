"""How often the check of new labels refuses rows that are right, and how often it sees labels that were flipped.

A small model of accuracy `known` was right on that share of 1,000 test rows. It is asked about new rows, of whose
labels a share was flipped, or on which it is truly worse by some points.

Run: python -m benchmarks.agreement [--draws 20000]
"""

from __future__ import annotations

import argparse
from functools import cache

import numpy as np

from askless.stats.bounds import share_interval
from tasks.agreement import fell

BEFORE, MOST = 1000, 0.2


def refused(rng: np.random.Generator, draws: int, rows: int, known: float, now: float) -> int:
    """In how many of so many draws the check refuses, where the model agrees with new labels at a rate `now`."""
    said = cache(lambda right, was: fell(right, rows, was, BEFORE, MOST))
    pairs = zip(rng.binomial(rows, now, draws).tolist(), rng.binomial(BEFORE, known, draws).tolist(), strict=True)
    return sum(said(*pair) for pair in pairs)


def main() -> None:
    """Print a line for each accuracy and number of new rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=20_000)
    draws = parser.parse_args().draws
    rng = np.random.default_rng(0)
    print("known, rows: refused [95 % interval], as good | worse by 10 points | labels flipped: 5 10 20 30 100 %")
    for known in (0.7, 0.8, 0.9):
        for rows in (20, 50, 100, 500, 2000):
            shares = []
            for now in (known, known - 0.1, *(known * (1 - f) + (1 - known) * f for f in (0.05, 0.1, 0.2, 0.3, 1.0))):
                found = refused(rng, draws, rows, known, now)
                low, high = share_interval(found, draws, 0.95)
                shares.append(f"{found / draws:.4f} [{low:.4f}, {high:.4f}]")
            print(f"{known} {rows:5}: {' | '.join(shares)}", flush=True)


if __name__ == "__main__":
    main()
