"""What a sentence encoder adds to summaries: to the ranker of sentences, and to who writes the summary.

    pip install 'askless[encoder]'
    ASKLESS_REALDATA=... python -m benchmarks.summaries_encoder ranker [--seeds 5] [--vectors FOLDER]
    ASKLESS_REALDATA=... python -m benchmarks.summaries_encoder writer [--seeds 3] [--files zeroshot500 test1000]

`ranker`: as benchmarks/extractive.py, trained on 300 real articles, of each the first twelve sentences; beside its own
features the cosines of a sentence's vector with its document's mean, the first sentence's and the first three's.
`writer`: as benchmarks/xsum.py; beside the own features of `summary_gain` the vectors of document and small summary,
and their cosine. Vectors are all-MiniLM-L6-v2's and kept in FOLDER; intervals are 95 %, of the documents.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from askless.arrays import Floats
from askless.experts import Setting
from askless.experts.small import extractive, sentence_features
from askless.experts.small.extractive import ExtractiveExpert
from askless.experts.small.sentence_features import Sentences
from askless.policies.base import Budget
from askless.policies.summaries.expected_gain import SummaryGain
from askless.text.embeddings import Vectors, build
from askless.text.encoder import PACKAGED, SentenceEncoder
from askless.text.vector_store import VectorStore
from benchmarks import xsum
from benchmarks.extractive import NONE, examples, marks, real, said

FIRST = 12
PAIRS = {"zeroshot500": ("t0", "nn_generation"), "test1000": ("nn_generation", "generation")}


class Known:
    """Vectors of texts, looked up once."""

    def __init__(self, folder: Path) -> None:
        self.store = VectorStore(folder, SentenceEncoder(PACKAGED))
        self.held: dict[str, Floats] = {}

    def __call__(self, texts: list[str]) -> Floats:
        """Shape (texts, dim)."""
        if new := [text for text in dict.fromkeys(texts) if text not in self.held]:
            self.held |= dict(zip(new, self.store.vectors(new)[0].astype(np.float64), strict=True))
        return np.stack([self.held[text] for text in texts])


def cosines(known: Known, s: Sentences, upto: int | None) -> Floats:
    """Of each sentence with the mean of its document's first ones, (sentences,)."""
    vectors, rows = known(s.texts), np.ones(len(s.texts), bool) if upto is None else s.place < upto
    sums = np.zeros((len(s.lengths), vectors.shape[1]))
    np.add.at(sums, s.document[rows], vectors[rows])
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
    return np.einsum("ij,ij->i", vectors, sums[s.document])


def ranker(folder: Path, words: Path, known: Known, options: argparse.Namespace) -> None:
    """Print ROUGE-L F by each set of features, and what the encoder's add."""
    setting, own = Setting("extractive", "xsum", (), vectors=words), dict(sentence_features.FEATURES)
    added = {f"encoder {upto}": lambda s, upto=upto: cosines(known, s, upto) for upto in (None, 1, 3)}
    train = examples(real(folder, "train300"))
    for file in options.files:
        test, found = examples(real(folder, file)), {}
        for name, features in (("words", own), ("words and encoder", {**own, **added})):
            for module in (sentence_features, extractive):
                module.FEATURES = features  # type: ignore[misc]
            extractive.NAMES = ("intercept", *features)  # type: ignore[misc]
            ranked = [
                ExtractiveExpert(setting, random_state=67 + seed, max_sentences=FIRST).fit(train, NONE).answer(test)
                for seed in range(options.seeds)
            ]
            found[name] = np.mean([marks(each, test, False) for each in ranked], axis=0)
            print(f"{file}: {name} {said(found[name])}", flush=True)
        print(f"{file}: the encoder adds {said(found['words and encoder'] - found['words'])}")


class WithEncoder(SummaryGain):
    """`summary_gain` that also sees the vectors."""

    known: Known

    def _documents(self, panel: Any, rows: Any) -> Floats:
        return np.hstack([super()._documents(panel, rows), self.known([panel.text[row] for row in rows])])

    def _summaries(self, panel: Any, small: Any, part: slice = slice(None), texts: Any = None) -> Floats:
        own, rows = super()._summaries(panel, small, part, texts), small.rows[part]
        summaries = (small.table["text"] if texts is None else texts).slice(part.start or 0, len(rows)).to_pylist()
        summary, document = self.known(summaries), self.known([panel.text[row] for row in rows])
        return np.hstack([own, summary, np.einsum("ij,ij->i", summary, document)[:, None]])


def writer(folder: Path, words: Path, known: Known, options: argparse.Namespace) -> None:
    """Print what is found of the headroom without a budget, and the area over the line, by each set of features."""
    vectors = Vectors.open(words)
    WithEncoder.known = known
    sweep = [Budget(per_1000=1000 * c) for c in np.linspace(xsum.SECONDS[0] * 1.01, sum(xsum.SECONDS), xsum.POINTS)]
    for file in options.files:
        trial = xsum.Trial(folder / "xsum" / f"xsum_{file}.jsonl", *PAIRS[file], vectors, options.seeds)
        best, top = trial.mean.max(axis=1), trial.resampled(trial.quality.max(axis=1, keepdims=True))[:, 0]
        print(f"{trial.name}: headroom {xsum.spanned(top - best, 100)} points", flush=True)
        for look in options.looks:
            areas = []
            for kind in (SummaryGain, WithEncoder):
                run = trial.run(
                    lambda seed, kind=kind, look=look: kind(xsum.PAIR, vectors, look_at=look, random_state=seed),
                    [Budget(price=0.0), *sweep],
                    skip=1,
                )
                quality, cost = trial.resampled(run.quality), trial.resampled(run.cost)
                share = (quality[:, 0] - best) / (top - best)
                areas.append(trial.over_line(cost[:, 1:], quality[:, 1:]))
                print(
                    f"  {kind.__name__}, look_at {look}: to the large one {run.share[:, 0].mean():.1%}, of the "
                    f"headroom {xsum.spanned(share, 100, '+.1f')} %, area {xsum.spanned(areas[-1], 1, '+.2f')}",
                    flush=True,
                )
            print(f"  the encoder adds {xsum.spanned(areas[1] - areas[0], 1, '+.2f')} to the area", flush=True)


def main() -> None:
    """Print one report."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("what", choices=("ranker", "writer"))
    given.add_argument("--seeds", type=int, default=3)
    given.add_argument("--files", nargs="+", choices=PAIRS, default=list(PAIRS))
    given.add_argument("--looks", nargs="+", choices=("input", "small"), default=["input", "small"])
    given.add_argument("--vectors", type=Path)
    options = given.parse_args()
    folder = Path(os.environ["ASKLESS_REALDATA"])
    with tempfile.TemporaryDirectory() as scratch:
        words = build(folder / "glove/glove.6B.100d.top2717.txt", Path(scratch, "words"), 100, lower=True)
        run = ranker if options.what == "ranker" else writer
        run(folder, Path(words), Known(options.vectors or Path(scratch, "vectors")), options)


if __name__ == "__main__":
    main()
