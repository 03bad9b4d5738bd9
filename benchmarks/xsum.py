"""Who writes the summary, on recorded XSum summaries: quality (ROUGE-L F, stemmed) against the seconds paid for it.

Needs a folder with xsum/*.jsonl and glove/*.txt, named by ASKLESS_REALDATA. Every seed deals the documents into five
folds; a fold is decided by policies fitted on the other four, thresholds cross-fitted there, so that every document is
a test document once a seed. Intervals resample documents. Seconds are the published means, and the decider's own work
is billed at what it took. Settings of the features and regressions were fixed on other pairs (ptgen, topic_convs2s).

Published figures stand beside ours. For convs2s and BRIO they are the paper's notebook's, of other systems (T5-small
and an LLM) on 11,301 documents, mean of 3 seeds; it counts the calls of the summaries kept and so states -10 % of the
LLM's seconds, where both calls are +29 %.

    python benchmarks/xsum.py [--seeds 5] [--small nn_generation]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from askless import schema
from askless.arrays import Floats
from askless.costs import CostModel
from askless.evaluation import curves
from askless.evaluation.metrics import bootstrap_weights, weighted_sums
from askless.panel import Panel
from askless.policies.base import Budget, Policy
from askless.policies.baselines import Length
from askless.policies.summaries.expected_gain import SummaryGain
from askless.policies.summaries.published import PublishedSummary
from askless.policies.two_tier import TwoTier
from askless.text.embeddings import Vectors, build
from askless.text.rouge import rouge

SECONDS = (0.42, 1.44)
FOLDS, POINTS, DRAWS = 5, 21, 1000
PRICES = (0.0, 0.12, 0.14, 0.15, 0.16, 0.2)
PAIR = ("small", "large")
ENDS = ("small alone", "large alone", "better of the two", "published, both billed")
# ROUGE-L F of these and, where they are stated, seconds a document.
PUBLISHED = {
    ("xsum_test1000", "generation"): ("13.0 for .42 s", "16.6 for 1.44 s", "18.0 for .94 s", "16.7 for 1.29 s"),
    ("xsum_zeroshot500", "generation"): ("39.5", "20.5"),
}
Make = Callable[[int], Policy]


class Said:
    """The recorded summaries of one system."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.at = {name: row for row, name in enumerate(table["id"].to_pylist())}

    def answer(self, examples: pa.Table) -> pa.Table:
        """The row of each example."""
        return self.table.take(pa.array([self.at[name] for name in examples["id"].to_pylist()]))


def board(path: Path, small: str, large: str) -> Panel:
    """The documents of a file and two of its systems; a document without a word is left out."""
    records = [record for record in map(json.loads, open(path, encoding="utf-8")) if record["input"].strip()]
    references = [record["ground_truth"] for record in records]
    names = [f"d{i}" for i in range(len(records))]
    columns = {"text": [record["input"] for record in records], "reference": references, "split": ["test"] * len(names)}
    experts = {}
    for name, key, seconds in zip(PAIR, (small, large), SECONDS, strict=True):
        summaries = [record[key] for record in records]
        quality = rouge(summaries, references, stemmer=True).astype(np.float32)
        given = {"text": summaries, "quality": quality, "seconds": [seconds] * len(names)}
        experts[name] = Said(schema.table("predictions", {"id": names, "expert": [name] * len(names), **given}))
    return Panel(schema.table("examples", {"id": names, **columns}), experts, CostModel("seconds"), ())


@dataclass(frozen=True)
class Run:
    """Cost, quality and share gone to the large one of each document at each budget, means over seeds: (rows, points).

    `areas` (seeds,) are each seed's own areas over the line.
    """

    cost: Floats
    quality: Floats
    share: Floats
    areas: Floats


class Trial:
    """One pair of systems: quality of both on every document, and resamples of the documents."""

    def __init__(self, path: Path, small: str, large: str, vectors: Vectors, seeds: int) -> None:
        self.name, self.vectors, self.seeds = f"{path.stem}: {small} (small) and {large} (large)", vectors, seeds
        self.published = dict(zip(ENDS, PUBLISHED.get((path.stem, large), ()), strict=False))
        self.panel = board(path, small, large)
        answers = [self.panel.copy().ask(name) for name in PAIR]
        self.quality = np.stack([self.panel.quality(each) for each in answers], axis=1)
        self.weights = bootstrap_weights(len(self.panel), DRAWS, 0)
        self.mean = self.resampled(self.quality)

    def resampled(self, columns: Floats) -> Floats:
        """Column means of the documents and of every resample, shape (1 + draws, columns)."""
        return np.vstack([columns.mean(axis=0), weighted_sums(self.weights, columns) / len(columns)])

    def run(self, make: Make, budgets: list[Budget | None], skip: int = 0) -> Run:
        """Every seed's folds decided at every budget; areas leave out the first `skip`."""
        n, rows = len(self.panel), np.arange(len(self.panel))
        cost, quality, share = (np.empty((self.seeds, n, len(budgets))) for _ in range(3))
        for seed in range(self.seeds):
            fold = np.random.default_rng(seed).permutation(n) % FOLDS
            for held in range(FOLDS):
                mine = rows[fold == held]
                policy = make(seed).fit(self.panel.take(fold != held), self.panel.take(rows[:0]))
                test = self.panel.take(mine, blind=True)
                seen = policy.look(test)
                for b, budget in enumerate(budgets):
                    done = policy.decide(test.copy(), budget, seen)
                    cost[seed, mine, b], share[seed, mine, b] = done.cost, done.expert
                    quality[seed, mine, b] = self.quality[mine, done.expert]
        areas = [
            self.over_line(self.resampled(c)[:1], self.resampled(q)[:1])[0] for c, q in zip(cost, quality, strict=True)
        ]
        return Run(cost.mean(0), quality.mean(0), share.mean(0), np.array(areas))

    def over_line(self, cost: Floats, quality: Floats) -> Floats:
        """Mean height of curves (curves, points) over the straight line between the two, in points."""
        heights = []
        for c, q, (weak, strong) in zip(cost, quality, self.mean[: len(cost)], strict=True):
            c, q = np.append(c, SECONDS[0]), np.append(q, weak)
            heights.append(100 * (curves.area(c, q, *SECONDS) - curves.line_area(weak, strong)))
        return np.array(heights)

    def oracle(self, *, reads: bool = False) -> tuple[Floats, Floats]:
        """Cost and quality where the documents that gain most go to the large one, share by share.

        With `reads` the small one is asked, and paid, for every document before.
        """
        gain = self.quality[:, 1] - self.quality[:, 0]
        place = np.argsort(np.argsort(-gain))
        goes = place[:, None] < np.linspace(0, 1, POINTS) * np.sum(gain > 0)
        cost = np.where(goes, SECONDS[1] + SECONDS[0] * reads, SECONDS[0])
        return cost, np.where(goes, self.quality[:, 1:], self.quality[:, :1])


def spanned(values: Floats, scale: float = 1.0, form: str = ".2f") -> str:
    """The value and the 95 % interval of its resamples."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return f"{scale * values[0]:{form}} [{scale * low:{form}}, {scale * high:{form}}]"


def ours(trial: Trial) -> dict[str, Make]:
    """The policies that take budgets."""

    def gain(**options: object) -> Make:
        return lambda seed: SummaryGain(PAIR, trial.vectors, random_state=seed, **options)  # type: ignore[arg-type]

    return {
        "summary_gain, document only": gain(),
        "summary_gain, small one first": gain(look_at="small", straight=False),
        "summary_gain, small first or straight": gain(look_at="small"),
        "two_tier (no log-prob is recorded)": lambda seed: TwoTier(PAIR, random_state=seed),
        "length of the document": lambda seed: Length(PAIR),
    }


def ends(trial: Trial) -> None:
    """Print either expert alone, the better of the two for every document, and the published variant."""
    best = trial.quality.max(axis=1, keepdims=True)
    wins = float((trial.quality[:, 1] > trial.quality[:, 0]).mean())
    run = trial.run(lambda seed: PublishedSummary(PAIR, trial.vectors, random_state=67 + seed), [None])
    chose = (run.share[:, 0] > 0.5) == (trial.quality[:, 1] > trial.quality[:, 0])
    found = (
        (SECONDS[0], trial.quality[:, :1]),
        (SECONDS[1], trial.quality[:, 1:]),
        (SECONDS[0] + (SECONDS[1] - SECONDS[0]) * wins, best),
        (run.cost.mean(), run.quality),
    )
    print(f"\n{trial.name}, {len(trial.panel)} documents\n{'':24}{'seconds':>8}  {'ROUGE-L F [95 %]':22}  published")
    for name, (cost, quality) in zip(ENDS, found, strict=True):
        ours = spanned(trial.resampled(quality)[:, 0], 100)
        print(f"{name:24}{cost:8.2f}  {ours:22}  {trial.published.get(name, '')}")
    print(
        f"the large one is better for {wins:.1%} of documents; published takes it for {run.share.mean():.1%}, picks the"
        f" better one for {chose.mean():.1%} (always the same one: {max(wins, 1 - wins):.1%}) and pays "
        f"{run.cost.mean() / SECONDS[1] - 1:+.0%} of the large one's seconds"
    )


def show(trial: Trial, name: str, make: Make, *, wins: bool) -> None:
    """Print one policy at several prices and, where the large one is the better, its height over the line."""
    sweep = [Budget(per_1000=1000 * c) for c in np.linspace(SECONDS[0] * 1.01, sum(SECONDS), POINTS)]
    run = trial.run(make, [*(Budget(price=price) for price in PRICES), *sweep], skip=len(PRICES))
    quality, cost = trial.resampled(run.quality), trial.resampled(run.cost)
    print(name)
    for p, price in enumerate(PRICES if wins else PRICES[:1]):
        at = f"  price {price:4.2f} a second: large for {run.share[:, p].mean():6.1%}, {cost[0, p]:5.2f} s, "
        print(at + spanned(quality[:, p], 100), end="")
        line = trial.mean[:, 0] + (cost[:, p] - SECONDS[0]) / (SECONDS[1] - SECONDS[0]) * np.diff(trial.mean)[:, 0]
        best, top = trial.mean.max(axis=1), trial.resampled(trial.quality.max(axis=1, keepdims=True))[:, 0]
        if wins:
            print(f", over the line {spanned(quality[:, p] - line, 100, '+.2f')}")
        else:
            print(f", of the headroom {spanned((quality[:, p] - best) / (top - best), 100, '+.1f')} %", end="")
            print(f", of the large one's bill saved {1 - run.share[:, p].mean():.0%}")
    if wins:
        area = trial.over_line(cost[:, len(PRICES) :], quality[:, len(PRICES) :])
        seeds = f"seeds {run.areas.min():+.2f} to {run.areas.max():+.2f}"
        print(f"  area over the line {spanned(area, 1, '+.2f')}, {seeds}, above it in {(area[1:] > 0).mean():.1%}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("ASKLESS_REALDATA", ".")))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--small", default="nn_generation", help="the small one of xsum_test1000")
    given = parser.parse_args()
    found = sorted(given.folder.glob("glove/*.txt"))
    if not found:
        parser.error(f"{given.folder} holds no glove/*.txt: name a folder, or set ASKLESS_REALDATA")
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        vectors = Vectors.open(build(found[0], Path(scratch, "glove"), 100, lower=True))
        for file, small, large in (
            ("xsum_test1000", given.small, "generation"),
            ("xsum_zeroshot500", "nn_generation", "generation"),
            ("xsum_zeroshot500", "nn_generation", "t0"),
        ):
            trial = Trial(given.folder / "xsum" / f"{file}.jsonl", small, large, vectors, given.seeds)
            ends(trial)
            whole = SummaryGain(PAIR, vectors).fit(trial.panel, trial.panel.take(np.arange(0)))
            print(f"finding, on all documents: {whole.finding()}")
            wins = bool(trial.mean[0, 1] > trial.mean[0, 0])
            for reads in (False, True) if wins else ():
                area = trial.over_line(*map(trial.resampled, trial.oracle(reads=reads)))
                print(f"oracle{', small one first' * reads}: area over the line {spanned(area, 1, '+.2f')}")
            for name, make in ours(trial).items():
                show(trial, name, make, wins=wins)
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
