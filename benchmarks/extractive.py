"""The sentence ranker against the first sentence: trained on 300 real XSum articles, measured on others.

    ASKLESS_REALDATA=... python benchmarks/extractive.py [--seeds 5]

Word vectors are the first 2,717 lines of GloVe 6B. Penalty and expectation are cross-fitted on the 300, with folds
drawn by each seed; features were chosen by cross-validation there. ROUGE-L F without and with Porter stems; 95 %
intervals resample documents (of the means over seeds). `+ generated` trains on as many of the demo's documents too.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from askless import schema
from askless.data.demo.documents import documents
from askless.data.prepare import clean
from askless.evaluation.metrics import bootstrap_weights, interval, weighted_sums
from askless.experts import Setting
from askless.experts.small.extractive import ExtractiveExpert
from askless.experts.small.lead import LeadExpert
from askless.experts.small.sentences import sentences
from askless.text import embeddings
from askless.text.rouge import rouge

DRAWS = 2000
NONE = schema.table("examples", {})


def examples(pairs: list[tuple[str, str]]) -> pa.Table:
    """Articles and references as examples, cleaned as `prepare` does; empty articles are left out."""
    kept = [(clean(text), clean(reference)) for text, reference in pairs if text.strip()]
    texts, references = zip(*kept, strict=True)
    ids = [f"d{i}" for i in range(len(kept))]
    columns = {"id": ids, "text": list(texts), "reference": list(references), "split": ["train"] * len(kept)}
    return schema.table("examples", columns)


def real(folder: Path, name: str) -> list[tuple[str, str]]:
    """Articles and references of one of the real files."""
    lines = (folder / "xsum" / f"xsum_{name}.jsonl").read_text("utf-8").splitlines()
    return [(row["input"], row["ground_truth"]) for row in map(json.loads, lines)]


def said(values: np.ndarray) -> str:
    """A mean over documents and its interval."""
    draws = weighted_sums(bootstrap_weights(len(values), DRAWS, 0), values[:, None])[:, 0] / len(values)
    found = interval(float(values.mean()), draws, 0.95)
    return f"{found.value:.4f} [{found.low:.4f}, {found.high:.4f}]"


def marks(summaries: pa.Table, test: pa.Table, stemmer: bool) -> np.ndarray:
    """ROUGE-L F of each summary."""
    return rouge(summaries["text"].to_pylist(), test["reference"].to_pylist(), stemmer=stemmer)


def nearest(test: pa.Table, stemmer: bool) -> np.ndarray:
    """ROUGE-L F of the sentence that is nearest to the reference: no choice of one can do better."""
    pairs = zip(test["text"].to_pylist(), test["reference"].to_pylist(), strict=True)
    found = ((sentences(text), reference) for text, reference in pairs)
    return np.array(
        [max(rouge(some, [reference] * len(some), stemmer=stemmer), default=0) for some, reference in found]
    )


def compare(test: pa.Table, rankers: list[ExtractiveExpert], stemmer: bool) -> list[str]:
    """The cells of one row: lead, ranker, gain, best sentence, correlation of expectation and mark."""
    lead = marks(LeadExpert(Setting("lead", "xsum", ())).answer(test), test, stemmer)
    answers = [ranker.answer(test) for ranker in rankers]
    got = [marks(answer, test, stemmer) for answer in answers]
    sure = [np.corrcoef(a["logprob"].to_numpy(), mark)[0, 1] for a, mark in zip(answers, got, strict=True)]
    ours = np.mean(got, axis=0)
    last = [f"{nearest(test, stemmer).mean():.4f}", f"{np.mean(sure):.3f}"]
    return [said(lead), said(ours), f"+{said(ours - lead)}", *last]


def main() -> None:
    """Train with each seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    found = os.environ.get("ASKLESS_REALDATA")
    if not found:
        print("Skipped: ASKLESS_REALDATA is not set; it names the folder of the real articles.")
        return
    folder = Path(found)
    train = real(folder, "train300")
    made = [(document["text"], document["reference"]) for document in documents(len(train), 0)]
    with tempfile.TemporaryDirectory() as scratch:
        vectors = embeddings.build(folder / "glove" / "glove.6B.100d.top2717.txt", Path(scratch, "v"), dim=100)
        setting = Setting("extractive", "xsum", (), vectors=vectors)
        for name, pairs in (("300 articles", train), ("300 articles + 300 generated", train + made)):
            rows, start = examples(pairs), time.perf_counter()
            rankers = [ExtractiveExpert(setting, random_state=seed).fit(rows, NONE) for seed in range(67, 67 + seeds)]
            print(f"\n{name}: {(time.perf_counter() - start) / seeds:.2f} s a training, {seeds} seeds")
            print("| documents | ROUGE-L | lead | ranker | gain | best sentence | correlation |")
            for file in ("test1000", "zeroshot500"):
                for stemmer in (False, True):
                    cells = compare(examples(real(folder, file)), rankers, stemmer)
                    print(f"| {file} | {'stems' if stemmer else 'plain'} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
