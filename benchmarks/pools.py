"""Recorded answers of real experts as panels of all their items, from which benchmarks draw labels.

Needs the folder named by ASKLESS_REALDATA, of which docs/data.md has the layout. Kinds of setting: `pairs`, `chains`
and `singles` (experts alone, no cascade) of the LLMs of `recorded`; `posts`, where a model of word counts stands before
GPT-3.5 (hate) and GPT-4 (offensive); `agreement`, the same where the LLM's answers are the gold labels, so that no win
hides a loss; `judged`, of which only is known who was right (routellm). The posts from which the model of word counts
has learnt are in no pool.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from policies import CHAINS, NAMES, PAIRS, recorded
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from askless import read_study
from askless.data.recorded import Study
from askless.panel import Panel
from askless.plans.boards import Boards

SETTINGS: dict[str, tuple[tuple[str, ...], ...]] = {
    "pairs": PAIRS,
    "chains": tuple(experts for experts in CHAINS if len(experts) > 2),
    "singles": (("3b", "8b", "70b", "405b"), ("8b", "4o-mini", "4o")),
}
KINDS = (*SETTINGS, "posts", "agreement", "judged")
TAUGHT = 3000
ROUTELLM = {"mixtral": ("mistralai/Mixtral-8x7B-Instruct-v0.1", 6e-4), "gpt-4": ("gpt-4-1106-preview", 2.47e-2)}


def pools(folder: Path, kinds: Sequence[str] = KINDS) -> Iterator[tuple[str, str, Panel]]:
    """Name, kind and panel of each setting, every answer at hand."""
    for kind in kinds:
        if kind in SETTINGS:
            for benchmark in ("mmlu", "medmcqa"):
                for experts in SETTINGS[kind]:
                    study = recorded(folder / "recorded", benchmark, [NAMES[name] for name in experts])
                    yield f"{benchmark} {' '.join(experts)}", kind, pooled(study)
        elif kind == "judged":
            rows = pq.read_table(folder / "routellm/mmlu_mixtral_gpt4.parquet").to_pydict()
            answers = {e: {"correct": rows[c], "cost_usd": [usd] * len(rows[c])} for e, (c, usd) in ROUTELLM.items()}
            yield "routellm", kind, pooled(_study({"text": rows["prompt"]}, answers))
        else:
            for name, read in (("hate", _hate), ("offensive", _offensive)):
                yield name, kind, pooled(_posts(*read(folder), agreement=kind == "agreement"))


def _hate(folder: Path) -> tuple[list[Any], list[Any]]:
    """Posts to learn from and posts to decide, as rows of Text, Label, Preds."""
    rows = json.loads((folder / "hate/stormfront_gpt-3.5-turbo.json").read_text("utf-8"))
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    return rows[:TAUGHT], rows[TAUGHT:]


def _offensive(folder: Path) -> tuple[list[Any], list[Any]]:
    rows = pq.read_table(folder / "offensive/tweeteval_offensive_train.parquet").to_pylist()
    lines = (folder / "offensive/tweeteval_offensive_gpt-4.jsonl").read_text("utf-8").splitlines()
    return [{"Text": r["text"], "Label": r["label"]} for r in rows], [json.loads(line) for line in lines]


def _posts(taught: Sequence[Any], rows: Sequence[Any], *, agreement: bool) -> Study:
    """An answer of the LLM that is no class is wrong; where its answers are gold, the post is left out."""
    if agreement:
        taught, rows = ([r for r in part if r.get("Preds", r["Label"]) in (0, 1)] for part in (taught, rows))
    gold = "Preds" if agreement else "Label"
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True), LogisticRegression(C=10))
    model.fit([r["Text"] for r in taught], [r.get(gold, r["Label"]) for r in taught])
    p = model.predict_proba([r["Text"] for r in rows])
    small = {"label": [str(k) for k in p.argmax(axis=1)], "proba_0": p[:, 0], "proba_1": p[:, 1]}
    large = {"label": [str(r["Preds"]) if r["Preds"] in (0, 1) else None for r in rows]}
    items = {"text": [r["Text"] for r in rows], "label": [str(r[gold]) for r in rows]}
    priced = zip(("small", "large"), (small, large), (1e-6, 1e-4), strict=True)
    return _study(items, {e: {**columns, "cost_usd": [usd] * len(rows)} for e, columns, usd in priced})


def _study(items: Mapping[str, Any], answers: Mapping[str, Mapping[str, Any]]) -> Study:
    ids = [f"r{k}" for k in range(len(items["text"]))]
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{name}.parquet" for name in ("items", *answers)]
        pq.write_table(pa.table({"id": ids, **items}), paths[0])
        for path, (name, columns) in zip(paths[1:], answers.items(), strict=True):
            pq.write_table(pa.table({"id": ids, "expert": [name] * len(ids), **columns}), path)
        return read_study(paths[0], paths[1:])


def pooled(study: Study) -> Panel:
    """All items as labelled rows."""
    at, field = study.examples.column_names.index("split"), study.examples.schema.field("split")
    train = pa.array(["train"] * len(study.examples), field.type)
    return Boards.of(replace(study, examples=study.examples.set_column(at, field, train))).train
