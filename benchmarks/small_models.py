"""Small models alone and with an LLM on a part, on real posts with a real LLM's recorded answers.

    ASKLESS_REALDATA=... python -m benchmarks.small_models hate olhs offensive \\
        [--vectors FOLDER] [--small stack] [--splits 1]

Three splits by hash (60 / 15 / 25 %; OLHS 70 / 10 / 20 %; TweetEval has 860 tests of its own, valid is drawn three
times). Nothing is chosen on test: `auto` chooses out of fold on train, the policy and its share on valid. Intervals:
95 %, of 1,000 resamples of each split's test items. Sentence vectors are kept in FOLDER.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from askless import experts, policies, schema
from askless.config import Price, Source, Split, Task
from askless.costs import CostModel
from askless.data import readers
from askless.data.prepare import prepare
from askless.data.recorded.paper_files import recorded_predictions
from askless.evaluation.metrics import Quality, bootstrap_weights, interval
from askless.experts.recorded import RecordedExpert
from askless.experts.small.auto import in_words
from askless.experts.small.out_of_fold import out_of_fold
from askless.panel import Panel, class_indices
from askless.policies.base import Budget
from askless.stats.reliability import reliability
from askless.text import embeddings
from askless.text.encoder import at_hand

CLASSES, DRAWS = ("0", "1"), 1000
MEASURES = ("accuracy", "macro_f1", "f1_positive")
SHARES = (0.05, 0.1, 0.15, 0.2, 0.25)
KINDS = ("two_tier", "answer_scorer", "query_allocator", "meta_model")
SPLITS = ("deferral", "second", "third")
GPT_4 = {"prompt_tokens": 30e-6, "completion_tokens": 60e-6}  # its list price, dollars


@dataclass(frozen=True)
class Data:
    """Where posts and an LLM's answers are, and by what they are judged."""

    kind: str
    file: str
    quality: str
    split: Split
    llm: str | None = None
    test: str | None = None


SETS = {
    "hate": Data("offline", "hate/stormfront_gpt-3.5-turbo.json", "macro_f1", Split(0.6, 0.15, 0.25), "gpt-3.5-turbo"),
    "olhs": Data("olhs", "olhs/labeled_data.csv", "macro_f1", Split(0.7, 0.1, 0.2)),
    "offensive": Data(
        "parquet",
        "offensive/tweeteval_offensive_train.parquet",
        "accuracy",
        Split(0.85, 0.15, 0.0),
        "gpt-4",
        "offensive/tweeteval_offensive_gpt-4.jsonl",
    ),
}


def read(name: str, kind: str, path: Path, split: Split, quality: str) -> pa.Table:
    """The posts of a file, prepared and split."""
    source = Source(kind=kind, path=path)
    task = Task(kind="classification", source=source, split=split, quality=quality, classes=CLASSES, positive="1")
    return prepare(readers.read(source, path), task, name)[0]


def parts(name: str, folder: Path, salt: str) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Train, valid and test; a text of a test of its own is in neither of the others."""
    about = SETS[name]
    rows = read(name, about.kind, folder / about.file, replace(about.split, salt=salt), about.quality)
    train, valid, test = (schema.rows_in(rows, split) for split in schema.SPLITS)
    if about.test:
        test = read(name, "online", folder / about.test, Split(0.0, 0.0, 1.0), about.quality)
        known = set(test["text"].to_pylist())
        train, valid = (
            each.filter(pa.array([t not in known for t in each["text"].to_pylist()])) for each in (train, valid)
        )
    return train, valid, test


class Figures:
    """Labels on the test rows of each split, by name, and their qualities with intervals."""

    def __init__(self) -> None:
        self.gold: list[np.ndarray] = []
        self.labels: dict[str, list[np.ndarray]] = {}

    def add(self, name: str, labels: np.ndarray) -> None:
        """Labels of the next split."""
        self.labels.setdefault(name, []).append(labels)

    def line(self, name: str, against: str | None = None) -> str:
        """A row of the table, of qualities or of how far they are beyond another's (`against`)."""
        cells = []
        for measure in MEASURES:
            quality, values, draws = Quality(measure, 2, 1), [], []
            for split, (gold, labels) in enumerate(zip(self.gold, self.labels[name], strict=True)):
                columns = [labels] if against is None else [labels, self.labels[against][split]]
                weights = bootstrap_weights(len(gold), DRAWS, split)
                for found, w in ((values, None), (draws, weights)):
                    each = quality(gold, np.stack(columns, axis=1), w)
                    found.append(each[:, 0] - (each[:, 1] if against else 0))
            got = interval(float(np.mean(values)), np.mean(draws, axis=0), 0.95)
            cells.append(f"{got.value:.3f} [{got.low:.3f}, {got.high:.3f}]")
        return f"| {name}{f' less {against}' if against else ''} | " + " | ".join(cells) + " |"


def chosen(small: pa.Table, llm: pa.Table, rows: list[pa.Table]) -> tuple[str, float, np.ndarray, np.ndarray]:
    """The policy and the share, at most a quarter, that are best on valid: kind, share, test labels, who was asked."""
    names = {"small": small, "llm": llm}
    recorded = {name: RecordedExpert(experts.Setting(name, "t", CLASSES), table=table) for name, table in names.items()}
    cost = CostModel("usd", {"small": Price(), "llm": Price(usd_per_1k_answers=1)})
    train, valid, test = (lambda part=part: Panel(part, recorded, cost, CLASSES) for part in rows)
    best = (-1.0, "", 0.0, None)
    quality = Quality("macro_f1", 2, 1)
    for kind in KINDS:
        policy = policies.build(kind, {}, experts=("small", "llm"), random_state=0).fit(train(), valid())
        for share in SHARES:
            panel = valid()
            done = policy.decide(panel, Budget(share=share))
            best = max(
                best, (float(quality(panel.gold, done.label[:, None])[0, 0]), kind, share, policy), key=lambda b: b[0]
            )
    _, kind, share, policy = best
    done = policy.decide(test(), Budget(share=share))
    return kind, share, done.label, done.asked[:, 1]


def combined(small: pa.Table, llm: pa.Table, rows: list[pa.Table]) -> np.ndarray:
    """Labels of test by one regression over how sure `small` is and what the LLM answered, learnt on train."""
    from sklearn.linear_model import LogisticRegression

    said = np.array(small["proba"].to_pylist())
    answers = class_indices(llm["label"], CLASSES)[:, None] == np.arange(len(CLASSES))
    x, train = np.hstack([np.log(said[:, 1:] / said[:, :1]), answers]), len(rows[0])
    y, quality = class_indices(rows[0]["label"], CLASSES), Quality("macro_f1", 2, 1)
    log_odds = LogisticRegression().fit(x[:train], y).decision_function(x)
    thresholds = np.quantile(log_odds[:train], np.linspace(0.01, 0.99, 99))
    best = quality(y, (log_odds[:train, None] > thresholds).astype(int))[0].argmax()
    return (log_odds[-len(rows[2]) :] > thresholds[best]).astype(int)


def main() -> None:
    """Print a table for each set."""
    given = argparse.ArgumentParser()
    given.add_argument("sets", nargs="+", choices=SETS)
    given.add_argument("--vectors", type=Path)
    given.add_argument("--small", default="auto", help="a backend; another than auto stands alone, which is faster")
    given.add_argument("--splits", type=int, default=len(SPLITS))
    options = given.parse_args()
    folder = Path(os.environ["ASKLESS_REALDATA"])
    print(f"sentence encoder: {at_hand()}")
    with tempfile.TemporaryDirectory() as scratch:
        words = embeddings.build(folder / "glove/glove.6B.100d.top2717.txt", scratch + "/v", dim=100, lower=True)
        encoded = options.vectors or Path(scratch, "encoded")
        for name in options.sets:
            report(name, folder, words, encoded, options.small, options.splits)


def report(name: str, folder: Path, words: Path, encoded: Path, small_backend: str, splits: int) -> None:
    """The table of one set."""
    about, figures, asked = SETS[name], Figures(), []
    for seed, salt in enumerate(SPLITS[:splits]):
        rows = train, valid, test = parts(name, folder, salt)
        figures.gold.append(class_indices(test["label"], CLASSES))
        setting = experts.Setting(small_backend, name, CLASSES, "", words, None, about.quality, "1", encoded)
        begun = time.process_time()
        auto = experts.build(setting, {"backend": small_backend, "random_state": seed}).fit(train, valid)
        print(f"{name} {salt}: {[len(each) for each in rows]}, {time.process_time() - begun:.0f} s of processor time")
        if small_backend == "auto":
            print(in_words("auto", auto.meta()["chosen_from"]))
        small = auto.answer(test)
        figures.add(small_backend, class_indices(small["label"], CLASSES))
        right = figures.labels[small_backend][-1] == figures.gold[-1]
        sure = np.array(small["proba"].to_pylist()).max(axis=1)
        error = reliability(sure, right).ece
        print(f"  calibration error {error:.3f}, mean confidence {sure.mean():.3f}, right {right.mean():.3f}")
        for other in ("mlp", "linear", "encoder") if small_backend == "auto" else ():
            expert = experts.build(setting, {"backend": other, "random_state": seed}).fit(train, valid)
            figures.add(other, class_indices(expert.answer(test)["label"], CLASSES))
        if about.llm and not about.test:
            llm = recorded_predictions(str(folder / about.file), pa.concat_tables(rows), "llm", CLASSES)
            held = out_of_fold(auto, train, valid, random_state=seed)
            answers = [each.replace_schema_metadata(None) for each in (held, auto.answer(valid), small)]
            said = schema.with_meta(pa.concat_tables(answers), "predictions", {"classes": list(CLASSES)})
            kind, share, labels, who = chosen(said, llm, list(rows))
            figures.add(f"{small_backend} and the LLM", labels)
            both = combined(said, llm, list(rows))
            figures.add("both answers to all, combined", both)
            own = figures.labels[small_backend][-1]
            figures.add("combined where it is asked", np.where(who, both, own))
            figures.add(about.llm, class_indices(llm.slice(len(train) + len(valid))["label"], CLASSES))
            asked.append(who.mean())
            print(f"  {kind} at a share of {share}, chosen on valid; asks {who.mean():.3f} of test")
        elif about.llm:
            llm = recorded_predictions(str(folder / about.test), test, "llm", CLASSES)
            figures.add(about.llm, class_indices(llm["label"], CLASSES))
            bill = sum(price * llm[tokens].to_numpy() for tokens, price in GPT_4.items())
            surely = np.sort(np.array(auto.answer(valid)["proba"].to_pylist()).max(axis=1))
            for share in (*SHARES, 0.3, 0.4, 0.5, 0.6):
                asks = sure < surely[int(share * len(surely))]
                paid = bill[asks].sum() / bill.sum()
                print(f"  at a share of {share}: asks {asks.mean():.3f} of test, for {paid:.3f} of the LLM's bill")
                figures.add(
                    f"asks {share:g}", np.where(asks, figures.labels[about.llm][-1], figures.labels[small_backend][-1])
                )
    print(f"\n| {name} | " + " | ".join(MEASURES) + " |\n|---|---|---|---|")
    for one in figures.labels:
        print(figures.line(one))
    for one in [each for each in figures.labels if each.startswith((small_backend, "asks"))] if about.llm else []:
        print(figures.line(one, about.llm))
    print(f"share of the LLM's calls: {np.mean(asked):.3f}\n" if asked else "", flush=True)


if __name__ == "__main__":
    main()
