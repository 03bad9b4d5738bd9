"""What `askless annotate` saves on real posts, and in how many draws its promise holds; BARGAIN and a sample beside it.

GPT-3.5's answers to the hate posts of ASKLESS_REALDATA stand for the LLM; gold labels are not used. The small model is
logistic regression on TF-IDF (1-2 words) and, with `--vectors FILE.npy`, sentence vectors times 2. Everybody pays for
all that is asked: rows that teach, rows that certify, rows that are not kept.

    python benchmarks/annotate.py --draws 200 --vectors minilm.npy --bargain
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

from askless import schema
from askless.annotating import rounds
from askless.annotating.asked import AskedTexts
from askless.annotating.rounds import Wish, annotate
from askless.annotating.small_model import Scores
from askless.data.prepare import ids
from askless.panel import of_label
from askless.stats.bounds import mean_interval, share_interval
from askless.stats.calibration import PlattCalibrator, laplace, stratified_folds
from askless.stats.finite_population import keepable

FILE = "hate/stormfront_gpt-3.5-turbo.json"
CLASSES = ("0", "1")
TAUGHT, SAMPLE, FOLDS = (700, 1000), 300, 3


class Recorded:
    """An LLM whose answers are on record, behind no ledger."""

    def __init__(self, said: dict[str, str]) -> None:
        self.name = "llm"
        self.said = said
        self.expert = SimpleNamespace(setting=SimpleNamespace(classes=CLASSES), key=str)
        self.kept = SimpleNamespace(get_many=lambda keys: {})
        self.ledger = SimpleNamespace(spent=0.0, left=math.inf, limit=None)

    def answer(self, examples: pa.Table, part: int) -> pa.Table:
        """The label of each text."""
        n, none = examples.num_rows, np.zeros(examples.num_rows, np.int32)
        columns: dict[str, Any] = {"id": examples["id"].combine_chunks(), "expert": [self.name] * n}
        columns |= {"label": [self.said[text] for text in examples["text"].to_pylist()], "prompt_tokens": none}
        columns |= {"completion_tokens": none, "cost_usd": np.zeros(n), "seconds": np.zeros(n, np.float32)}
        return schema.table("predictions", columns)


class Small:
    """The small model on features that were worked out once; takes the place of `SmallModel`."""

    def __init__(self, features: Any) -> None:
        self.features = features
        self.agreement = 0.0

    def of(self, options: Any, asked: AskedTexts, chance: Any, task: str, seed: int) -> Small:
        """Fit on all labels so far, and out of fold."""
        places = asked.labelled
        label = asked.label[places]
        self.model, self.taught = self.fit(places, label), places
        fold, proba = stratified_folds(label, FOLDS, seed), np.zeros((len(places), 2))
        for k in range(FOLDS):
            proba[fold == k] = self.fit(places[fold != k], label[fold != k]).predict_proba(
                self.features[places[fold == k]]
            )
        right = proba.argmax(axis=1) == label
        self.calibrator = PlattCalibrator().fit(proba.max(axis=1), right)
        self.agreement, self.held = laplace(right[chance[places]]), self.said(proba)
        return self

    def fit(self, places: Any, label: Any) -> Any:
        """Logistic regression."""
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=5, max_iter=100, tol=1e-3).fit(self.features[places], label)

    def scores(self, asked: Any, places: Any) -> Scores:
        """Labels, margins and calibrated chances."""
        return self.said(self.model.predict_proba(self.features[places]))

    def said(self, proba: Any) -> Scores:
        """Probabilities as scores."""
        label = proba.argmax(axis=1)
        stated = of_label(label, proba)
        return Scores(label, np.log(stated) - np.log1p(-np.minimum(stated, 1 - 1e-12)), self.calibrator(stated))


def features(texts: list[str], vectors: Path | None) -> Any:
    """TF-IDF, and sentence vectors times 2 where there are some."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True).fit_transform(texts)
    return words.tocsr() if vectors is None else hstack([words, csr_matrix(2 * np.load(vectors))]).tocsr()


def ours(texts: list[str], label: Any, x: Any, goal: float, seed: int) -> tuple[float, float]:
    """Share of the rows not asked, and agreement, by the product's own rounds."""
    rounds.SmallModel = Small(x)  # type: ignore[misc, assignment]
    asked = AskedTexts(Recorded(dict(zip(texts, map(str, label), strict=True))), ids("annotate", texts), texts)  # type: ignore[arg-type]
    found = annotate(asked, np.ones(len(texts), np.int64), Wish(goal, seed=seed))
    return 1 - float(asked.answered.mean()), float((found.label == label).mean())


def fixed_sample(label: Any, x: Any, goal: float, seed: int, taught: int) -> tuple[float, float]:
    """One draw teaches, one of `SAMPLE` certifies, no rounds."""
    rows, rng = len(label), np.random.default_rng(seed)
    order = rng.permutation(rows)
    small = Small(x)
    model, rest = small.fit(order[:taught], label[order[:taught]]), order[taught:]
    proba = model.predict_proba(x[rest])
    rest = rest[np.argsort(-proba.max(axis=1), kind="stable")]
    wrong = model.predict(x[rest]) != label[rest]
    drawn = np.zeros(len(rest), bool)
    drawn[rng.choice(len(rest), SAMPLE, replace=False)] = True
    kept = keepable(drawn, wrong, int((1 - goal) * rows + 1e-9))
    calls = rows - int((~drawn[:kept]).sum())
    return 1 - calls / rows, 1 - float((wrong & ~drawn)[:kept].sum()) / rows


def bargain(label: Any, x: Any, goal: float, seed: int, taught: int) -> tuple[float, float]:
    """BARGAIN_A (Zeighami et al. 2025) on the same small model, the rows that taught it billed."""
    from BARGAIN import BARGAIN_A
    from BARGAIN.models.AbstractModels import Oracle, Proxy

    rows, order = len(label), np.random.default_rng(seed).permutation(len(label))
    model, rest = Small(x).fit(order[:taught], label[order[:taught]]), order[taught:]
    proba, truth = model.predict_proba(x[rest]), label[rest]

    class Ours(Proxy):  # type: ignore[misc]
        def get_preds_and_scores(self, indxs: Any, data_records: Any) -> Any:
            at = np.asarray(indxs, np.int64)
            return proba.argmax(axis=1)[at], proba.max(axis=1)[at]

    class Llm(Oracle):  # type: ignore[misc]
        def get_pred(self, data_records: Any, indxs: Any = None) -> Any:
            return truth[np.asarray(data_records, np.int64)]

        def is_answer_correct(self, data_indxs: Any, data_records: Any, proxy_output_at_indxs: Any) -> Any:
            return truth[np.asarray(data_records, np.int64)] == np.asarray(proxy_output_at_indxs)

    target = 1 - (1 - goal) * rows / len(rest)
    process = BARGAIN_A(
        Ours(verbose=False), Llm(verbose=False), target=target, delta=0.05, M=20, seed=seed, verbose=False
    )
    said, used = process.process(list(range(len(rest))), return_oracle_usage=True)
    wrong = int((np.asarray(said).astype(int) != truth).sum())
    return 1 - (taught + int(np.sum(used))) / rows, 1 - wrong / rows


def main() -> None:
    """Draw after draw, each way at each goal; figures with 95 % intervals over draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--goals", type=float, nargs="+", default=[0.95, 0.97])
    parser.add_argument("--rows", type=int, help="so many rows of the file, drawn for each seed")
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--bargain", action="store_true")
    options = parser.parse_args()
    path = Path(os.environ.get("ASKLESS_REALDATA", "")) / FILE
    if not path.is_file():
        raise SystemExit(f"{path}: no such file. Set ASKLESS_REALDATA to the folder that has it.")
    records = json.loads(path.read_text())
    every, of_all = [row["Text"] for row in records], np.array([int(row["Preds"] == 1) for row in records])
    x_all, found = features(every, options.vectors), defaultdict(list)
    for seed in range(options.draws):
        rng = np.random.default_rng(seed + 10_000)
        pick = np.arange(len(every)) if options.rows is None else rng.choice(len(every), options.rows, replace=False)
        label, x = of_all[pick], x_all[pick]
        # Equal texts got answers of their own: each row is asked for itself here.
        texts = [f"{every[at]} #{at}" for at in pick]
        for goal in options.goals:
            found["annotate", goal].append(ours(texts, label, x, goal, seed))
            for taught in TAUGHT if options.rows is None else (options.rows // 10,):
                found[f"sample of {SAMPLE}, {taught} taught", goal].append(fixed_sample(label, x, goal, seed, taught))
                if options.bargain:
                    found[f"BARGAIN_A, {taught} taught", goal].append(bargain(label, x, goal, seed, taught))
        if (seed + 1) % 5 == 0 or seed + 1 == options.draws:
            show(found)


def show(found: dict[Any, list[tuple[float, float]]]) -> None:
    """A line for each way and goal."""
    for (way, goal), pairs in found.items():
        saved, agree = np.array(pairs).T
        low, high = mean_interval(saved)
        held = int((agree >= goal - 1e-9).sum())
        ends = share_interval(held, len(agree))
        print(
            f"{way:<26} {goal}: saved {100 * saved.mean():.1f} % ({100 * low:.1f} to {100 * high:.1f}), held in "
            f"{held} of {len(agree)} ({100 * ends[0]:.1f} to {100 * ends[1]:.1f} %), agreement {agree.mean():.4f}",
            flush=True,
        )
    print(flush=True)


if __name__ == "__main__":
    main()
