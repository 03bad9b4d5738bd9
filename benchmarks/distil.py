"""What an LLM's answers teach a small model, with few gold labels and with none, on real posts.

    ASKLESS_REALDATA=... python -m benchmarks.distil [--small encoder] [--vectors FOLDER] [--splits 1]

The posts and splits of `benchmarks.small_models hate`. Of train, so many posts have their gold label; of the others
GPT-3.5's answer is known, as `distil` of params.yaml takes it from what was paid for. All are learnt by one backend and
judged on test by gold labels, with 95 % intervals: alone, and with GPT-3.5 asked about the posts of which they are
least sure, a quarter of valid.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from askless import experts
from askless.data.recorded.paper_files import recorded_predictions
from askless.panel import class_indices
from benchmarks.small_models import CLASSES, MEASURES, SETS, SPLITS, Figures, parts

LABELLED, SHARE = (300, 600, 1200), 0.25


def main() -> None:
    """Print the table."""
    given = argparse.ArgumentParser()
    given.add_argument("--vectors", type=Path)
    given.add_argument("--small", default="stack")
    given.add_argument("--splits", type=int, default=len(SPLITS))
    options = given.parse_args()
    folder, about, figures = Path(os.environ["ASKLESS_REALDATA"]), SETS["hate"], Figures()
    with tempfile.TemporaryDirectory() as scratch:
        encoded = options.vectors or Path(scratch, "encoded")
        for seed, salt in enumerate(SPLITS[: options.splits]):
            train, valid, test = parts("hate", folder, salt)
            llm = recorded_predictions(str(folder / about.file), pa.concat_tables([train, test]), "llm", CLASSES)
            figures.gold.append(class_indices(test["label"], CLASSES))
            figures.add(about.llm, class_indices(llm.slice(len(train))["label"], CLASSES))
            answered = pa.array(np.array(llm.slice(0, len(train))["label"].is_valid()))
            at = train.column_names.index("label")
            column = llm.slice(0, len(train))["label"].cast(train.schema.field(at).type)
            lessons = train.set_column(at, train.schema.field(at), column)
            order = np.random.default_rng(seed).permutation(len(train))
            taught = {"gold of all": train, "GPT-3.5 of all, no gold": lessons.filter(answered)}
            for labelled in LABELLED:
                own, other = (pa.array(np.isin(np.arange(len(train)), rows)) for rows in np.split(order, [labelled]))
                more = pa.concat_tables([train.filter(own), lessons.filter(pc.and_(other, answered))])
                taught |= {f"gold of {labelled}": train.filter(own), f"gold of {labelled}, GPT-3.5 of the rest": more}
            for name, rows in taught.items():
                setting = experts.Setting("small", "hate", CLASSES, "", None, None, about.quality, "1", encoded)
                small = experts.build(setting, {"backend": options.small, "random_state": seed}).fit(rows, valid)
                answers, least = small.answer(test), np.quantile(sure(small.answer(valid)), SHARE)
                figures.add(name, own := class_indices(answers["label"], CLASSES))
                pair = np.where(sure(answers) < least, figures.labels[about.llm][-1], own)
                figures.add(f"{name}, and asks a quarter", pair)
                print(f"{salt}: {name}, {len(rows)} posts", flush=True)
    print(f"| {options.small} learns from | " + " | ".join(MEASURES) + " |\n|---|---|---|---|")
    for one in figures.labels:
        print(figures.line(one))
    for labelled in LABELLED:
        for way in ("", ", and asks a quarter"):
            print(figures.line(f"gold of {labelled}, GPT-3.5 of the rest{way}", f"gold of {labelled}{way}"))


def sure(answers: pa.Table) -> np.ndarray:
    """How likely each answer is, (rows,)."""
    return np.array(answers["proba"].to_pylist()).max(axis=1)


if __name__ == "__main__":
    main()
