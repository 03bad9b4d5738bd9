"""Ours and the published rules on recorded answers of real LLMs: fitted on train, reported on test.

Needs a folder with <benchmark>_items.parquet and <benchmark>_responses.parquet (named by ASKLESS_REALDATA, in
`recorded/`), the answers of several LLMs with their log-probabilities and billed costs. For pairs: the area under the
cost-quality curve over the straight mix of the two, by the plain threshold and by the planner. For chains: the area
over the best mix of the single experts (upper concave envelope), and against the published rules at their own dollars.
For the pool of all LLMs also against the mix that the same train rows choose, as policies are chosen, on the given
split and on splits drawn by chance, where nothing shifts. All costs are billed ones, of every expert asked. Intervals
resample test items. Run: python benchmarks/policies.py
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from askless import schema
from askless.arrays import Floats
from askless.costs import CostModel
from askless.data.recorded import Study
from askless.evaluation import curves
from askless.evaluation.metrics import bootstrap_weights, weighted_sums
from askless.evaluation.replay import Replay, replay
from askless.plans.boards import Boards
from askless.plans.evaluate import build
from askless.plans.outcome import outcome_of
from askless.plans.plan import Goal
from askless.plans.planner import plan_on
from askless.policies.base import Budget
from askless.policies.operating_points import upper_hull

NAMES = {
    "3b": "llama3.2-3b",
    "8b": "llama3.1-8b",
    "70b": "llama3.1-70b",
    "405b": "llama3.1-405b",
    "4o-mini": "gpt-4o-mini",
    "4o": "gpt-4o",
}
PAIRS = (("8b", "70b"), ("8b", "405b"), ("70b", "405b"), ("4o-mini", "4o"))
CHAINS = (
    ("8b", "70b", "405b"),
    ("8b", "4o-mini", "4o"),
    ("4o-mini", "70b", "4o"),
    ("3b", "8b", "70b"),
    ("4o-mini", "4o"),
)
PAIR_KINDS = ("two_tier", "planned", "answer_scorer", "query_allocator", "meta_model")
CHAIN_KINDS = ("planned", "chain")
POOL_KINDS = (*CHAIN_KINDS, "subset")
BUDGETS = 41
DRAWS = 500
SPLITS = 10


def recorded(folder: Path, benchmark: str, models: Sequence[str], given: Sequence[str] = ("train", "test")) -> Study:
    """A study of these models' answers; the label is the answer's first character, in upper case."""
    items = pq.read_table(folder / f"{benchmark}_items.parquet").to_pandas()
    answers = pq.read_table(folder / f"{benchmark}_responses.parquet").to_pandas()
    items = items[items["split"].isin(given)]
    classes = tuple(sorted(items["gold"].unique()))
    for frame in (items, answers):
        frame["id"] = frame["split"] + "-" + frame["item"].astype(str)
    examples = schema.table(
        "examples",
        {
            "id": items["id"].tolist(),
            "text": items["prompt"].tolist(),
            "label": items["gold"].tolist(),
            "split": items["split"].tolist(),
            "group": items["subject"].tolist() if "subject" in items else [None] * len(items),
        },
    )
    tables, price = {}, {}
    for model in models:
        said = answers[answers["model"] == model].set_index("id").loc[items["id"]]
        first = said["answer"].fillna("").str.strip().str[:1].str.upper()
        label = first.where(first.isin(classes), None)
        tables[model] = schema.table(
            "predictions",
            {
                "id": items["id"].tolist(),
                "expert": [model] * len(said),
                "label": [x if isinstance(x, str) else None for x in label],
                "logprob": said["raw_logprob"].to_numpy(np.float32),
                "cost_usd": said["cost_usd"].to_numpy(np.float64),
                "error": [None if isinstance(x, str) else "no letter" for x in label],
            },
            {"classes": list(classes)},
        )
        price[model] = said["cost_usd"].to_numpy()[(items["split"] == "train").to_numpy()].mean()
    return Study(examples, tables, classes, tuple(sorted(models, key=price.__getitem__)), CostModel("usd"), True, ())


@dataclass(frozen=True)
class Curve:
    """One policy on test: cost and quality of each point for the items and for every resample, (1 + draws, points)."""

    cost: Floats
    quality: Floats

    @classmethod
    def of(cls, run: Replay, gold: np.ndarray, weights: np.ndarray) -> Curve:
        """From a replay with one seed."""
        right, cost = (run.label[:, 0] == gold).T, run.cost[:, 0].T
        n = len(gold)
        means = [np.vstack([x.mean(axis=0), weighted_sums(weights, x) / n]) for x in (cost, right)]
        return cls(*means)

    def area(self, low: float, high: float) -> Floats:
        """Area over [low, high], of the items and of each resample."""
        return np.array([curves.area(c, q, low, high) for c, q in zip(self.cost, self.quality, strict=True)])

    def at(self, cost: Floats) -> Floats:
        """Quality at `cost`, linear between points, of the items and of each resample."""
        return np.array(
            [np.interp(x, *curves.sorted_by_cost(c, q)) for x, c, q in zip(cost, self.cost, self.quality, strict=True)]
        )

    def cost_of(self, quality: Floats) -> Floats:
        """Least cost at which the non-decreasing curve has `quality`; NaN where it never has."""
        out = []
        for goal, c, q in zip(quality, self.cost, self.quality, strict=True):
            c, q = curves.hull(c, q)
            out.append(c[np.argmax(q >= goal - 1e-12)] if q[-1] >= goal - 1e-12 else np.nan)
        return np.array(out)


class Trial:
    """One benchmark and one set of experts: every policy fitted on train and replayed on test."""

    def __init__(self, study: Study) -> None:
        self.study, self.boards = study, Boards.of(study)
        self.gold = self.boards.test.gold
        self.weights = bootstrap_weights(len(self.gold), DRAWS, 0)
        prices = self.boards.prices(study.experts)
        self.budgets = [Budget(per_1000=1000 * float(c)) for c in np.linspace(prices[0], 1.15 * prices.max(), BUDGETS)]
        self.alone = {e: self._alone(e) for e in study.experts}
        ends = [self.alone[e].cost[0, 0] for e in study.experts]
        self.low, self.high = min(ends), max(ends)
        cost, quality = (np.hstack([getattr(a, k) for a in self.alone.values()]) for k in ("cost", "quality"))
        self.mix = Curve(
            *map(np.array, zip(*(envelope(c, q) for c, q in zip(cost, quality, strict=True)), strict=True))
        )

    def mix_of_train(self) -> Curve:
        """The mix of the experts that lie on the envelope of train, as it comes out on test."""
        answers = [self.boards.train.copy().ask(e) for e in self.study.experts]
        right = [(each.label == self.boards.train.gold).mean() for each in answers]
        hull = upper_hull(np.array([each.cost.mean() for each in answers]), np.array(right))
        chosen = [self.alone[self.study.experts[j]] for j in hull]
        return Curve(*(np.hstack([getattr(each, k) for each in chosen]) for k in ("cost", "quality")))

    def _alone(self, expert: str) -> Curve:
        answers = self.boards.test.copy().ask(expert)
        cost, right = answers.cost[:, None], (answers.label == self.gold)[:, None]
        n = len(self.gold)
        return Curve(*(np.vstack([x.mean(axis=0), weighted_sums(self.weights, x) / n]) for x in (cost, right)))

    def curve(self, kind: str, *, swept: bool = True) -> Curve:
        """A policy over the budgets, or at its one point."""
        policy = build(kind, self.study.experts, self.study.experts[-1])
        policy.fit(self.boards.train.copy(), self.boards.valid.copy())
        budgets = self.budgets if swept else [None]
        run = replay(kind, {0: policy}, {0: self.boards.test.copy(blind=True)}, budgets)
        return Curve.of(run, self.gold, self.weights)

    def gain(self, curve: Curve, over: Curve | None = None) -> Floats:
        """Points of accuracy over a mix of the single experts, the best, averaged over [cheapest, costliest]."""
        return 100 * (curve.area(self.low, self.high) - (over or self.mix).area(self.low, self.high))


def envelope(cost: Floats, quality: Floats, points: int = 200) -> tuple[Floats, Floats]:
    """The upper concave envelope of single points: what the best random mix of the experts buys."""
    grid = np.linspace(cost.min(), cost.max(), points)
    best = np.interp(grid, cost[[np.argmin(cost)]], quality[[np.argmin(cost)]])
    for i in range(len(cost)):
        for j in range(len(cost)):
            if cost[i] < cost[j]:
                inside = (grid >= cost[i]) & (grid <= cost[j])
                line = np.interp(grid, [cost[i], cost[j]], [quality[i], quality[j]])
                best = np.where(inside, np.maximum(best, line), best)
    return grid, np.maximum.accumulate(best)


def spanned(values: Floats, form: str = "+.2f") -> str:
    """The value and the 95 % interval of its resamples; a dash where it is undefined."""
    if np.isnan(values[0]):
        return "–"
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return f"{values[0]:{form}} [{low:{form}}, {high:{form}}]"


Row = dict[str, Any]


def trial_rows(trial: Trial, benchmark: str, experts: Sequence[str], kinds: Sequence[str]) -> list[Row]:
    """One row for each policy: area, area over the mix, saving at the best single expert's accuracy, peak over it."""
    best = np.vstack([a.quality[:, 0] for a in trial.alone.values()]).max(axis=0)
    found = []
    for kind in kinds:
        curve = trial.curve(kind)
        found.append(
            {
                "benchmark": benchmark,
                "experts": " -> ".join(experts),
                "policy": kind,
                "area %": 100 * curve.area(trial.low, trial.high),
                "over mix": trial.gain(curve),
                "saving %": saving(trial, curve),
                "peak over best": 100 * (curve.quality.max(axis=1) - best),
                "curve": curve,
            }
        )
    return found


def pool_rows(study: Study, benchmark: str) -> list[Row]:
    """All experts together, on the given split and on splits drawn by chance, whose spread is shown as an interval."""
    found: list[Row] = []
    for name, studies in (("as given", [study]), (f"{SPLITS} by chance", [redrawn(study, k) for k in range(SPLITS)])):
        trials = [Trial(each) for each in studies]
        for kind in POOL_KINDS:
            curves = [trial.curve(kind) for trial in trials]
            gains = [(t.gain(c), t.gain(c, t.mix_of_train())) for t, c in zip(trials, curves, strict=True)]
            # (splits, 2 mixes, 1 + resamples): of one split the resamples are the spread, else the splits are.
            seen = np.array(gains)
            spread = seen[0] if len(seen) == 1 else np.column_stack([seen[:, :, 0].mean(axis=0), seen[:, :, 0].T])
            about = {"benchmark": benchmark, "experts": f"all {len(study.experts)}, split {name}", "policy": kind}
            found.append(about | {"over the mix best on test": spread[0], "over train's mix": spread[1]})
    return found


def redrawn(study: Study, seed: int) -> Study:
    """The same items, as many of them train, by chance."""
    at, split = study.examples.column_names.index("split"), study.examples["split"]
    order = np.random.default_rng(seed).permutation(len(split))
    return replace(study, examples=study.examples.set_column(at, study.examples.schema.field(at), split.take(order)))


def published(trial: Trial, benchmark: str, experts: Sequence[str], rows: Sequence[Row]) -> list[Row]:
    """Ours held against the published chain rules at their own dollars, and at the forward rule's accuracy."""
    forward, rank = (trial.curve(kind, swept=False) for kind in ("chain_forward", "chain_rank"))
    return [
        {
            "benchmark": benchmark,
            "experts": " -> ".join(experts),
            "policy": row["policy"],
            "over forward": 100 * (row["curve"].at(forward.cost[:, 0]) - forward.quality[:, 0]),
            "over rank": 100 * (row["curve"].at(rank.cost[:, 0]) - rank.quality[:, 0]),
            "cheaper %": 100 * (1 - row["curve"].cost_of(forward.quality[:, 0]) / forward.cost[:, 0]),
        }
        for row in rows
    ]


def saving(trial: Trial, curve: Curve) -> Floats:
    """Saving at the quality of the best single expert, in percent of its cost; 0 where nothing is saved."""
    best = max(trial.alone.values(), key=lambda a: a.quality[0, 0])
    cheaper = 1 - curve.cost_of(best.quality[:, 0]) / best.cost[:, 0]
    return 100 * np.maximum(np.nan_to_num(cheaper, nan=0.0), 0)


def promised(trial: Trial, benchmark: str, experts: Sequence[str], floor: float) -> Row:
    """A plan with a quality floor, made on train: what came of it on test, and whether it is withdrawn."""
    plan = plan_on(trial.boards.train, trial.study.experts, Goal(floor=floor))
    came = outcome_of(plan, trial.boards.test)
    spared = 1 - came.measured.cost[0] / came.measured.reference_cost
    return {
        "benchmark": benchmark,
        "experts": " -> ".join(experts),
        "held": "yes" if came.kept else "NO",
        "points lost": f"{100 * came.measured.loss[0]:+.1f}",
        "saved %": f"{100 * spared:.0f}",
        "shift": "alarm" if came.shift.alarm else "none seen",
    }


def show(title: str, rows: Sequence[Row], means: bool = True) -> None:
    """Print rows as one table, then the means over settings of what was measured, for each policy."""
    columns = [k for k in rows[0] if k != "curve"]
    cells = [[str(r[k]) if isinstance(r[k], str) else spanned(r[k], ".2f") for k in columns] for r in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    print(f"\n{title}")
    for line in [columns, *cells]:
        print("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())
    measured = [k for k in columns if means and isinstance(rows[0][k], np.ndarray)]
    for kind in dict.fromkeys(r["policy"] for r in rows) if measured else ():
        mine = [r for r in rows if r["policy"] == kind]
        undefined = {k: sum(bool(np.isnan(r[k][0])) for r in mine) for k in measured}
        said = [
            f"{k} {spanned(np.nanmean([r[k] for r in mine], axis=0))}"
            + (f" ({undefined[k]} undefined)" if undefined[k] else "")
            for k in measured
        ]
        print(f"mean of {len(mine)}, {kind}: " + "; ".join(said))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("ASKLESS_REALDATA", ".")) / "recorded")
    parser.add_argument("--benchmarks", nargs="*", help="by default every <benchmark>_items.parquet of the folder")
    parser.add_argument(
        "--floor", type=float, default=0.97, help="of the promise: 0.97 is 3 points below the reference"
    )
    given = parser.parse_args()
    known = sorted(p.name.removesuffix("_items.parquet") for p in given.folder.glob("*_items.parquet"))
    if not known:
        parser.error(f"{given.folder} holds no *_items.parquet: name a folder, or set ASKLESS_REALDATA")
    start = time.perf_counter()
    pairs, chains, against, pools, plans = [], [], [], [], []
    for benchmark in given.benchmarks or known:
        for experts in PAIRS:
            trial = Trial(recorded(given.folder, benchmark, [NAMES[name] for name in experts]))
            pairs += trial_rows(trial, benchmark, experts, PAIR_KINDS)
            plans.append(promised(trial, benchmark, experts, given.floor))
        for experts in CHAINS:
            trial = Trial(recorded(given.folder, benchmark, [NAMES[name] for name in experts]))
            chains += trial_rows(trial, benchmark, experts, CHAIN_KINDS)
            against += published(trial, benchmark, experts, chains[-len(CHAIN_KINDS) :])
            if len(experts) > 2:
                plans.append(promised(trial, benchmark, experts, given.floor))
        names = pq.read_table(given.folder / f"{benchmark}_responses.parquet", columns=["model"])["model"].unique()
        pools += pool_rows(recorded(given.folder, benchmark, sorted(names.to_pylist())), benchmark)
    show("Pairs", pairs)
    show("Chains", chains)
    show("Chains against the published rules", against)
    show("All experts together", pools, means=False)
    show(f"Plans with a quality floor of {given.floor:g}, 95 % confidence", plans)
    held, spared = [p["held"] == "yes" for p in plans], [float(p["saved %"]) for p in plans]
    print(f"held in {sum(held)} of {len(held)}, saved {np.mean(spared):.0f} % in the mean")
    print(f"\n{time.perf_counter() - start:.0f} s; 95 % intervals, {DRAWS} resamples of test items")


if __name__ == "__main__":
    main()
