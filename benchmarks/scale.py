"""How replaying every policy grows with the rows: 10^4, 10^5 and 10^6 rows of nine experts' answers.

Each size runs in a process of its own. A tenth of the rows is train, the rest test. Timed: putting the answers on
panels, fitting every policy that needs no text, replaying it on test at eleven budgets, and the mean quality and cost
of each point. Not timed: drawing the synthetic answers. Run: python benchmarks/scale.py [rows ...]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa

from askless import policies, schema
from askless.costs import CostModel
from askless.data.recorded import Study
from askless.evaluation.replay import replay
from askless.panel import class_indices
from askless.plans.boards import Boards
from askless.plans.evaluate import applicable, build
from askless.policies.base import Budget

CLASSES = ("A", "B", "C", "D")
EXPERTS = 9
BUDGETS = 11


def synthetic(rows: int, seed: int = 0) -> Study:
    """Items of graded difficulty, and nine experts of rising skill and price that know roughly how sure to be."""
    rng = np.random.default_rng(seed)
    ids = pa.array([f"item-{i}" for i in range(rows)])
    gold, hard = rng.integers(0, len(CLASSES), rows), rng.random(rows)
    names = np.asarray(CLASSES, object)
    split = np.where(np.arange(rows) % 10 == 0, "train", "test")
    rng.shuffle(split)
    columns = {"id": ids, "text": ids, "label": pa.array(names[gold]), "split": pa.array(split)}
    answers = {}
    for j in range(EXPERTS):
        skill = 0.45 + 0.06 * j
        chance = np.clip(1 - hard * (1.6 - 1.3 * skill), 0.05, 0.99)
        right = rng.random(rows) < chance
        label = np.where(right, gold, (gold + rng.integers(1, len(CLASSES), rows)) % len(CLASSES))
        stated = np.clip(chance + rng.normal(0, 0.1, rows), 0.05, 0.999)
        answers[f"expert-{j}"] = schema.table(
            "predictions",
            {
                "id": ids,
                "expert": pa.repeat(f"expert-{j}", rows),
                "label": pa.array(names[label]),
                "logprob": np.log(stated).astype(np.float32),
                "cost_usd": 1e-5 * 2.0**j * (0.5 + rng.random(rows)),
            },
            {"classes": list(CLASSES)},
        )
    examples = schema.table("examples", columns)
    return Study(examples, answers, CLASSES, tuple(answers), CostModel("usd"), False, ())


def run(rows: int) -> None:
    """Replay every applicable policy and print seconds for each, in all, and the peak of resident memory."""
    study = synthetic(rows)
    drawn = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    start = time.perf_counter()
    boards = Boards.of(study)
    prices = boards.prices(study.experts)
    budgets = [Budget(per_1000=float(1000 * c)) for c in np.linspace(prices[0], prices.max(), BUDGETS)]
    print(f"{rows:>9,} rows  {'panels':16} {time.perf_counter() - start:7.2f} s", flush=True)
    gold = class_indices(study.examples.filter(pa.compute.equal(study.examples["split"], "test"))["label"], CLASSES)
    for kind in applicable(study):
        at = time.perf_counter()
        policy = build(kind, study.experts, study.experts[-1]).fit(boards.train.copy(), boards.valid.copy())
        fitted = time.perf_counter() - at
        swept = budgets if policies.resolve(kind, kind).budgets else [None]
        played = replay(kind, {0: policy}, {0: boards.test.copy(blind=True)}, swept)
        best = max((played.label[:, 0] == gold).mean(axis=1))
        cost = 1000 * played.cost[:, 0].mean(axis=1).max()
        spent = time.perf_counter() - at
        print(f"{'':14}  {kind:16} {spent:7.2f} s (fit {fitted:.2f}), best {best:.4f}, at most ${cost:.3f}", flush=True)
    total = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    memory, each = f"peak {peak:.2f} GiB ({drawn:.2f} before)", 1e6 * total / rows
    print(f"{rows:>9,} rows  {'in all':16} {total:7.2f} s, {memory}, {each:.1f} s a million")


def main() -> None:
    """Each size in a fresh process, so that memory is measured apart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        run(given.rows[0])
        return
    for rows in given.rows:
        subprocess.run([sys.executable, __file__, str(rows), "--one"], check=True)


if __name__ == "__main__":
    main()
