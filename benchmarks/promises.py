"""Are floors kept, and what do they save: plans made on drawn labels of real LLMs, held against all items.

Needs the folder named by ASKLESS_REALDATA: `recorded/<benchmark>_items.parquet` and `_responses.parquet`. Train and
test items are pooled; labels are drawn from the pool with replacement, so that the loss of a plan on the whole pool is
its true loss. For each floor, number of labels and kind of setting (pairs, chains, single experts alone): the share of
plans that held, with its exact 95 % interval; the mean saving; how often anything was certified; by how much the loss
that was printed missed the true one; how often the interval of the cost held the true cost. Nothing is tuned to these
data. Run: python benchmarks/promises.py
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from policies import CHAINS, NAMES, PAIRS, recorded

from askless.panel import Panel
from askless.plans.boards import Boards
from askless.plans.plan import Goal
from askless.plans.planner import plan_on
from askless.stats.bounds import share_interval

SETTINGS: dict[str, tuple[tuple[str, ...], ...]] = {
    "pairs": PAIRS,
    "chains": tuple(experts for experts in CHAINS if len(experts) > 2),
    "singles": (("3b", "8b", "70b", "405b"), ("8b", "4o-mini", "4o")),
}
Row = dict[str, Any]


def pools(folder: Path, benchmarks: Sequence[str], kinds: Sequence[str]) -> Iterator[tuple[str, str, Panel]]:
    """Each benchmark, kind of setting and panel of all its items, every answer at hand."""
    for benchmark in benchmarks:
        for kind in kinds:
            for experts in SETTINGS[kind]:
                study = recorded(folder, benchmark, [NAMES[name] for name in experts])
                examples = study.examples
                at, field = examples.column_names.index("split"), examples.schema.field("split")
                pooled = examples.set_column(at, field, pa.array(["train"] * len(examples), field.type))
                yield benchmark, kind, Boards.of(replace(study, examples=pooled)).train


def outcome(pool: Panel, labels: int, floor: float, seed: int, **search: Any) -> Row:
    """One plan on drawn labels, and what it truly does."""
    rows = np.sort(np.random.default_rng(seed).integers(0, len(pool), labels))
    start = time.perf_counter()
    plan = plan_on(pool.take(rows), tuple(pool.experts), Goal(floor=floor), **search)
    seconds = time.perf_counter() - start
    panel = pool.copy(blind=True)
    done = plan.decide(panel)
    reference = pool.copy().ask(plan.reference)
    loss = float((reference.label == pool.gold).mean() - (done.label == pool.gold).mean())
    cost = float(done.cost.mean())
    return {
        "held": loss <= 1 - floor + 1e-12,
        "saved": 1 - cost / float(reference.cost.mean()),
        "certified": plan.certificate is not None and plan.certificate.index is not None,
        "missed": loss - plan.promise.loss[0],
        "covered": plan.promise.cost[1] - 1e-12 <= cost <= plan.promise.cost[2] + 1e-12,
        "near": abs(cost / plan.promise.cost[0] - 1) <= 0.1,
        "kind": plan.kind,
        "seconds": seconds,
    }


def shown(rows: Sequence[Row]) -> str:
    """The means over plans."""
    held = sum(r["held"] for r in rows)
    low, high = share_interval(held, len(rows))
    cascades = [r for r in rows if r["kind"] != "always"] or [{"covered": np.nan, "near": np.nan, "missed": np.nan}]
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
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("ASKLESS_REALDATA", ".")) / "recorded")
    parser.add_argument("--benchmarks", nargs="*", default=["mmlu", "medmcqa"])
    parser.add_argument("--kinds", nargs="*", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--floors", nargs="*", type=float, default=[0.99, 0.97, 0.95])
    parser.add_argument("--labels", nargs="*", type=int, default=[300, 1000])
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument(
        "--search", type=json.loads, default={}, help='options of the search, such as {"bound": "exact"}'
    )
    parser.add_argument("--out", type=Path, help="also write every plan as a JSON line")
    given = parser.parse_args()
    found: dict[tuple[float, int, str], list[Row]] = {}
    start = time.perf_counter()
    for benchmark, kind, pool in pools(given.folder, given.benchmarks, given.kinds):
        search = given.search | ({"kinds": ()} if kind == "singles" else {})
        for labels in given.labels:
            for floor in given.floors:
                for seed in range(given.draws):
                    row = outcome(pool, labels, floor, seed, **search)
                    found.setdefault((floor, labels, kind), []).append(row)
                    if given.out:
                        about = {"benchmark": benchmark, "setting": kind, "floor": floor, "labels": labels}
                        with given.out.open("a", encoding="utf-8") as file:
                            file.write(json.dumps(about | {"experts": pool.experts} | row, default=str) + "\n")
    for (floor, labels, kind), rows in sorted(found.items()):
        print(f"floor {floor:.2f}  {labels:5,} labels  {kind:8}{shown(rows)}")
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
