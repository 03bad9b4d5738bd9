"""Demo documents, a ranker that learnt from some, and an expensive summariser that is better on every other one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa

from askless import schema
from askless.config import Price
from askless.costs import CostModel
from askless.data.demo.documents import documents
from askless.data.demo.vectors import write_vectors
from askless.evaluation.summary_quality import measured, summary_quality
from askless.experts import Expert, Setting
from askless.experts.recorded import RecordedExpert
from askless.experts.small.extractive import ExtractiveExpert
from askless.panel import Panel
from askless.text import embeddings

SMALL, EXPENSIVE = "extractive", "expensive"
PAIR = (SMALL, EXPENSIVE)
COST = CostModel("usd", {SMALL: Price(usd_per_1k_answers=1), EXPENSIVE: Price(usd_per_1k_answers=10)})
EMPTY = schema.table("examples", {})
ODD = ("...", "word " * 40, "Ends here.", "今天很好。明天更好！")


def news(n: int, seed: int, *, odd: tuple[str, ...] = ()) -> pa.Table:
    """`n` documents with references, then the `odd` ones; the id is the row's number."""
    found = documents(n, seed) + [{"text": text, "reference": "Nothing much."} for text in odd]
    columns = {name: [each[name] for each in found] for name in ("text", "reference")}
    ids, split = [str(i) for i in range(len(found))], ["test"] * len(found)
    return schema.table("examples", {"id": ids, "split": split, **columns})


def vectors_in(folder: Path) -> Path:
    """A folder of word vectors of the documents' words."""
    texts = [" ".join(re.findall(r"\w+", each["text"].lower())) for each in documents(300, 9)]
    return embeddings.build(write_vectors(texts, folder / "v.txt", dim=12), folder / "v", dim=12)


def ranker(vectors: Path) -> ExtractiveExpert:
    """The small expert, trained."""
    return ExtractiveExpert(Setting(SMALL, "demo", (), vectors=vectors)).fit(news(60, 1), EMPTY)


def panel(rows: pa.Table, small: Expert, names: tuple[str, ...] = (EXPENSIVE,), *, blind: bool = False) -> Panel:
    """A panel on which all experts have said everything: expensive ones the reference, in odd rows next to nothing."""
    said = {small.name: small.answer(rows)}
    references = rows["reference"].to_pylist()
    for name in names:
        columns = {
            "id": rows["id"].combine_chunks(),
            "expert": [name] * len(references),
            "text": [text if i % 2 else "Nothing is said." for i, text in enumerate(references)],
            "logprob": np.full(len(references), -0.5, np.float32),
        }
        said[name] = schema.table("predictions", columns)
    marked = {name: measured(rows, table, summary_quality("rougeL")) for name, table in said.items()}
    for name in names:
        # An expensive one's faults are not known before it is asked, so that here it has none.
        marked[name] = marked[name].drop_columns("error").append_column("error", pa.nulls(rows.num_rows, pa.string()))
    recorded = {name: RecordedExpert(Setting(name, "demo", ()), table=table) for name, table in marked.items()}
    prices = {name: COST.prices[SMALL if name == small.name else EXPENSIVE] for name in recorded}
    return Panel(rows, recorded, CostModel("usd", prices), (), blind=blind)
