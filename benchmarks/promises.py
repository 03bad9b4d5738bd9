"""Are floors kept, and what do they save: plans made on drawn labels of real LLMs, held against all items.

The settings are those of benchmarks/pools.py. Labels are drawn from a setting's items with replacement, so that the
loss of a plan on all of them is its true loss. For each floor, number of labels and kind of setting: the share of plans
that held, with its exact 95 % interval; the mean saving; how often anything was certified; by how much the loss that
was printed missed the true one; how often the interval of the cost held the true cost; last the means over all
settings, each counted once. Nothing is tuned to these data. Run: python benchmarks/promises.py

`--limits` prints beside that what these data allow: what the best threshold saves that knows the truth, and what one
exact test at the whole chance saves, of the one cascade that is best in truth, where plans share it among all they try.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pools import KINDS, pools

from askless import policies as registry
from askless.arrays import Floats
from askless.evaluation.replay import crossfit, quality_of, replay
from askless.panel import Panel
from askless.plans.plan import Goal
from askless.plans.planner import plan_on
from askless.plans.search import STEPS
from askless.policies.base import Budget, Policy
from askless.stats.bounds import exact, share_interval
from askless.stats.guarantees import fixed_sequences

Row = dict[str, Any]


def outcome(pool: Panel, labels: int, floor: float, seed: int, **search: Any) -> Row:
    """One plan on drawn labels, and what it truly does."""
    rows = np.sort(np.random.default_rng(seed).integers(0, len(pool), labels))
    start = time.perf_counter()
    plan = plan_on(pool.take(rows), tuple(pool.experts), Goal(floor=floor), **search)
    seconds = time.perf_counter() - start
    panel = pool.copy(blind=True)
    done = plan.decide(panel)
    reference = pool.copy().ask(plan.reference)
    loss = float(pool.quality(reference).mean() - quality_of(pool, done).mean())
    cost = float(done.cost.mean())
    return {
        "held": loss <= 1 - floor + 1e-12,
        "saved": 1 - cost / float(reference.cost.mean()),
        "certified": plan.certificate is not None and plan.certificate.index is not None,
        "missed": loss - plan.promise.loss[0],
        "covered": plan.promise.cost[1] - 1e-12 <= cost <= plan.promise.cost[2] + 1e-12,
        "near": abs(cost / plan.promise.cost[0] - 1) <= 0.1,
        "policy": plan.kind,
        "seconds": seconds,
    }


def limits(pool: Panel, labels: int, floor: float, draws: int) -> tuple[float, list[float]]:
    """What `two_tier` saves at the best threshold in truth, and of each draw by one test of that pair alone."""
    alone = {name: pool.copy().ask(name) for name in pool.experts}
    mean = {name: float(answers.cost.mean()) for name, answers in alone.items()}
    last, eps = max(mean, key=mean.__getitem__), 1 - floor
    right, none = alone[last].label == pool.gold, np.arange(0)

    def make(first: str) -> Callable[[int], Policy]:
        return lambda seed: registry.build("two_tier", {}, experts=(first, last), random_state=seed)

    def dial(first: str, steps: int) -> list[Budget]:
        return [Budget(per_1000=1000 * cost) for cost in np.linspace(mean[last], mean[first], steps).tolist()]

    def came(first: str, rows: Panel, budgets: list[Budget]) -> tuple[Floats, Floats]:
        policy = make(first)(0).fit(rows.copy(), rows.take(none))
        run = replay("two_tier", {0: policy}, {0: pool.copy(blind=True)}, budgets)
        return right.mean() - run.right(pool.gold)[:, 0].mean(axis=1), 1 - run.cost[:, 0].mean(axis=1) / mean[last]

    best = (0.0, last)
    for first in sorted(mean, key=mean.__getitem__)[:-1]:
        loss, saved = came(first, pool, dial(first, 400))
        best = max(best, (float(saved[loss <= eps + 1e-12].max(initial=0.0)), first))
    found = []
    for seed in range(draws):
        rows = np.sort(np.random.default_rng(seed).integers(0, len(pool), labels))
        drawn, budgets = pool.take(rows), dial(best[1], STEPS)
        run = crossfit("two_tier", make(best[1]), drawn, budgets, (0,), 5)
        loss = right[rows].astype(float) - run.right(pool.gold[rows])[:, 0]
        ((passed, _),) = fixed_sequences([[partial(exact, each, eps, 0.05) for each in loss]], 0.05)
        found.append(float(came(best[1], drawn, budgets[passed - 1 : passed])[1][0]) if passed else 0.0)
    return best[0], found


def shown(rows: Sequence[Row]) -> str:
    """The means over plans."""
    held = sum(r["held"] for r in rows)
    low, high = share_interval(held, len(rows))
    cascades = [r for r in rows if r["policy"] != "always"] or [{"covered": np.nan, "near": np.nan, "missed": np.nan}]
    return (
        f"held {100 * held / len(rows):5.1f} % [{100 * low:.0f}, {100 * high:.0f}]  "
        f"saved {100 * np.mean([r['saved'] for r in rows]):5.1f} %  "
        f"certified {100 * np.mean([r['certified'] for r in rows]):3.0f} %  "
        f"loss missed by {100 * np.mean([r['missed'] for r in cascades]):+.2f} points  "
        f"cost in its interval {100 * np.mean([r['covered'] for r in cascades]):3.0f} %, "
        f"within a tenth {100 * np.mean([r['near'] for r in cascades]):3.0f} %  ({len(rows)} plans)"
    )


def main() -> None:
    """Print one line for each floor, number of labels and kind of setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("ASKLESS_REALDATA", ".")))
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--floors", nargs="*", type=float, default=[0.99, 0.97, 0.95])
    parser.add_argument("--labels", nargs="*", type=int, default=[300, 1000])
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument(
        "--search", type=json.loads, default={}, help='options of the search, such as {"bound": "exact"}'
    )
    parser.add_argument("--limits", action="store_true", help="also what these data allow")
    parser.add_argument("--out", type=Path, help="also write every plan as a JSON line")
    given = parser.parse_args()
    found: dict[tuple[float, int, str], list[Row]] = {}
    allowed: dict[tuple[float, int, str], list[tuple[float, float]]] = {}
    start = time.perf_counter()
    for name, kind, pool in pools(given.folder, given.kinds):
        search = given.search | ({"kinds": ()} if kind == "singles" else {})
        for labels in given.labels:
            for floor in given.floors:
                rows = [outcome(pool, labels, floor, seed, **search) for seed in range(given.draws)]
                for key in (kind, "all"):
                    found.setdefault((floor, labels, key), []).extend(rows)
                if given.limits and pool.classes and kind != "singles":
                    most, tested = limits(pool, labels, floor, given.draws)
                    allowed.setdefault((floor, labels, kind), []).append((most, float(np.mean(tested))))
                if given.out:
                    about = {"setting": name, "kind": kind, "floor": floor, "labels": labels}
                    with given.out.open("a", encoding="utf-8") as file:
                        file.writelines(json.dumps(row | about, default=str) + "\n" for row in rows)
    for (floor, labels, kind), rows in sorted(found.items()):
        print(f"floor {floor:.2f}  {labels:5,} labels  {kind:10}{shown(rows)}")
    for (floor, labels, kind), savings in sorted(allowed.items()):
        most, tested = 100 * np.mean(savings, axis=0)
        print(
            f"floor {floor:.2f}  {labels:5,} labels  {kind:10}knowing the truth {most:.1f} %, one test {tested:.1f} %"
        )
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
