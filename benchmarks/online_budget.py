"""The online budget rule: a loop over rows, as it was first published, and as it is here, on the same stream.

100 budgets x 3 orders on 20,000 rows, scores and answers made (seeded). The loop is timed on a few budgets of the
first order and compared by the time of one run (one budget, one order); every accuracy that both worked out must agree.
With `--published`, a checkout of github.com/guillemram97/margin_llms, the loop is that code itself, and reads these
arrays instead of its files, so that reading costs it nothing; else it is the same loop, written out below.

    python -m benchmarks.online_budget [--rows 20000] [--budgets 100] [--orders 3] [--loops 5] [--published FOLDER]
"""

from __future__ import annotations

import argparse
import sys
import time
import types
from collections.abc import Callable

import numpy as np

from askless.policies.online_rule import OnlineRule, published_order
from benchmarks.online_areas import online_accuracy, online_decisions

COSTS = (1.0, 15.0)
CLASSES = 4


def stream(rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, and whether the small and the large one are right."""
    rng = np.random.default_rng(0)
    score = rng.beta(4, 1.5, rows)
    return score, (rng.random(rows) < score).astype(float), (rng.random(rows) < 0.85).astype(float)


def loop(score: np.ndarray, small: np.ndarray, large: np.ndarray, budget: float, quality: tuple[float, float]) -> float:
    """Accuracy of one budget, row after row, all scores so far in a list that is sorted after each."""
    rows, money, seen, credit = len(score), budget * len(score), [], []
    share = min((budget - COSTS[0]) / COSTS[1], 1)
    for at in range(rows):
        if money < COSTS[0]:
            credit.append(1 / CLASSES)
        elif money - (rows - at) * COSTS[0] <= 0:
            money -= COSTS[0]
            seen.append(score[at])
            seen.sort()
            credit.append(small[at])
        elif money - (rows - at) * COSTS[1] >= 0 and quality[1] > quality[0]:
            money -= COSTS[1]
            credit.append(large[at])
        else:
            money -= COSTS[0]
            seen.append(score[at])
            seen.sort()
            place = int(len(seen) * share)
            bar = -1 if len(seen) <= 20 else seen[place] if place < len(seen) else max(seen) + 10
            asks = score[at] < bar and money - COSTS[1] >= 0
            money -= COSTS[1] if asks else 0
            credit.append(large[at] if asks else small[at])
    return sum(credit) / rows


def published(folder: str) -> Callable[..., float]:
    """The published function, fed from memory."""
    stub = types.ModuleType("utils")
    sys.modules["utils"] = stub
    sys.path.insert(0, folder)
    import utils_method

    def run(
        score: np.ndarray, small: np.ndarray, large: np.ndarray, budget: float, quality: tuple[float, float]
    ) -> float:
        none = np.zeros(len(score))
        right = {"small": small, "large": large}
        stub.load_outputs = lambda task, model, *_, **__: (right[model], score, CLASSES, True, none, none)
        stub.return_cost = lambda model: 0.0
        names = ("small", "large")
        costs, performance = dict(zip(names, COSTS, strict=True)), dict(zip(names, quality, strict=True))
        given = ("fix", *names, "", budget, 0, 0, "standard", costs, performance)
        return float(utils_method.make_cascade(*given)[0])

    return run


def main() -> None:
    """Both sides, the ratio, and whether they agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("rows", 20_000), ("budgets", 100), ("orders", 3), ("loops", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--published", metavar="FOLDER")
    given = parser.parse_args()
    score, small, large = stream(given.rows)
    quality = float(small.mean()), float(large.mean())
    rule, budgets = OnlineRule(COSTS, quality), np.linspace(*COSTS, given.budgets)
    start = time.perf_counter()
    ours = []
    for seed in range(given.orders):
        fates = online_decisions(rule, score, budgets, published_order(seed, given.rows))
        ours.append(online_accuracy(fates, small == 1, large == 1, CLASSES))
    seconds = time.perf_counter() - start
    runs = given.budgets * given.orders
    print(f"here:  {runs} runs on {given.rows} rows in {seconds:.3f} s, {1e3 * seconds / runs:.3f} ms a run")

    one, order = published(given.published) if given.published else loop, published_order(0, given.rows)
    picked = np.linspace(0, given.budgets - 2, given.loops).astype(int)
    start = time.perf_counter()
    theirs = [one(score[order], small[order], large[order], float(budgets[i]), quality) for i in picked]
    each = (time.perf_counter() - start) / len(picked)
    apart = float(np.abs(np.array(theirs) - ours[0][picked]).max())
    print(f"{'published' if given.published else 'loop'}: {len(picked)} runs, {1e3 * each:.1f} ms a run")
    print(f"ratio of a run: {each / (seconds / runs):.0f}; largest difference of an accuracy: {apart:.1e}")


if __name__ == "__main__":
    main()
