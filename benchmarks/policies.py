"""Ours and the published rules on recorded answers of real LLMs: fitted on train, reported on test.

Needs a folder with <benchmark>_items.parquet and <benchmark>_responses.parquet (named by DEFERRAL_REALDATA, in
`recorded/`), the answers of several LLMs with their log-probabilities and billed costs. For pairs: the area under the
cost-quality curve over the straight mix of the two, by the plain threshold and by the planner. For chains: the area
over the best mix of the single experts (upper concave envelope), and against the published rules at their own dollars.
All costs are billed ones, of every expert asked. Intervals resample test items. Run: python benchmarks/policies.py
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from deferral import curves, schema
from deferral.cost import CostModel
from deferral.datasets.answers import Study
from deferral.metrics import bootstrap_weights, weighted_sums
from deferral.panel import Floats
from deferral.policies.base import Budget
from deferral.replay import Replay, replay
from deferral.study import Boards, build

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
BUDGETS = 41
DRAWS = 500


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

    def gain(self, curve: Curve) -> Floats:
        """Points of accuracy over the mix of the single experts, averaged over [cheapest, dearest]."""
        return 100 * (curve.area(self.low, self.high) - self.mix.area(self.low, self.high))


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
    """The value and the 95 % interval of its resamples."""
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return f"{values[0]:{form}} [{low:{form}}, {high:{form}}]"


def pairs(folder: Path, benchmarks: Sequence[str], kinds: Sequence[str]) -> dict[str, list[Floats]]:
    """Print the gain of every policy on every pair; returns the gains."""
    found: dict[str, list[Floats]] = {kind: [] for kind in kinds}
    print(f"\n{'pair':24}" + "".join(f"{kind:>24}" for kind in kinds))
    for benchmark in benchmarks:
        for pair in PAIRS:
            trial = Trial(recorded(folder, benchmark, [NAMES[name] for name in pair]))
            row = ""
            for kind in kinds:
                found[kind].append(trial.gain(trial.curve(kind)))
                row += f"{spanned(found[kind][-1]):>24}"
            print(f"{benchmark:8} {' -> '.join(pair):15}{row}", flush=True)
    return found


def chains(folder: Path, benchmarks: Sequence[str]) -> dict[str, list[Floats]]:
    """Print what chains gain over the mix and over the published rules; returns the figures."""
    found: dict[str, list[Floats]] = {k: [] for k in ("planned", "chain", "forward", "rank", "cheaper", "best", "save")}
    names = (
        "planned over mix",
        "chain over mix",
        "over forward at its $",
        "over rank at its $",
        "cheaper at its acc. %",
    )
    print(f"\n{'chain':32}" + "".join(f"{name:>24}" for name in names))
    for benchmark in benchmarks:
        for chain in CHAINS:
            trial = Trial(recorded(folder, benchmark, [NAMES[name] for name in chain]))
            planned, ours = trial.curve("planned"), trial.curve("chain")
            forward, rank = (trial.curve(kind, swept=False) for kind in ("chain_forward", "chain_rank"))
            dollars, reached = forward.cost[:, 0], forward.quality[:, 0]
            row = {
                "planned": trial.gain(planned),
                "chain": trial.gain(ours),
                "forward": 100 * (planned.at(dollars) - reached),
                "rank": 100 * (planned.at(rank.cost[:, 0]) - rank.quality[:, 0]),
                "cheaper": 100 * (1 - planned.cost_of(reached) / dollars),
                "best": 100
                * (
                    planned.quality.max(axis=1) - np.vstack([a.quality[:, 0] for a in trial.alone.values()]).max(axis=0)
                ),
                "save": saving(trial, planned),
            }
            for key, value in row.items():
                found[key].append(value)
            cells = "".join(f"{spanned(row[k]):>24}" for k in ("planned", "chain", "forward", "rank", "cheaper"))
            print(f"{benchmark:8} {' -> '.join(chain):23}{cells}", flush=True)
    return found


def saving(trial: Trial, curve: Curve) -> Floats:
    """Saving at the quality of the best single expert, in percent of its cost; 0 where nothing is saved."""
    best = max(trial.alone.values(), key=lambda a: a.quality[0, 0])
    cheaper = 1 - curve.cost_of(best.quality[:, 0]) / best.cost[:, 0]
    return 100 * np.maximum(np.nan_to_num(cheaper, nan=0.0), 0)


def means(title: str, found: Mapping[str, list[Floats]]) -> None:
    """Print the mean over settings of every figure; resamples of one benchmark's items are shared by its settings."""
    print(f"\n{title}, means over settings [95 % over test items]:")
    for name, values in found.items():
        print(f"  {name:18} {spanned(np.nanmean(np.stack(values), axis=0))}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("DEFERRAL_REALDATA", ".")) / "recorded")
    parser.add_argument("--benchmarks", nargs="*", help="by default every <benchmark>_items.parquet of the folder")
    given = parser.parse_args()
    found = given.benchmarks or sorted(
        p.name.removesuffix("_items.parquet") for p in given.folder.glob("*_items.parquet")
    )
    if not found:
        parser.error(f"{given.folder} holds no *_items.parquet: name a folder, or set DEFERRAL_REALDATA")
    start = time.perf_counter()
    means(
        "Pairs, points over the mix",
        pairs(given.folder, found, ("two_tier", "planned", "answer_scorer", "meta_model", "query_allocator")),
    )
    means(
        "Chains (best: peak over the best single expert; save: % of its cost at its accuracy)",
        chains(given.folder, found),
    )
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
