"""What deciders gain by sentence vectors: teams, and routers over `stack`, on real posts with GPT-3.5's answers.

    ASKLESS_REALDATA=... python -m benchmarks.deciders [--kinds team_gain] [--vectors FOLDER] [--splits 1]

The posts and splits of `benchmarks.small_models hate`; a quarter of the posts may go to the LLM, and the threshold for
that is valid's. Rows are macro-F1 and the like on test with 95 % intervals, then what each is beyond `words`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import pyarrow as pa

from askless import experts, policies, schema
from askless.config import Price
from askless.costs import CostModel
from askless.data.recorded.paper_files import recorded_predictions
from askless.experts.recorded import RecordedExpert
from askless.experts.small.out_of_fold import out_of_fold
from askless.panel import Panel, class_indices
from askless.policies.base import Budget
from askless.text import embeddings
from askless.text.embeddings import Vectors
from askless.text.sentence_vectors import FEATURES
from benchmarks.small_models import CLASSES, MEASURES, SETS, SPLITS, Figures, parts

SHARE = 0.25
TEAMS = {
    "team_gain": {"look_at": "small", "balance": 0.5},
    "team_alternating": {},
    "team_joint": {},
}
ROUTERS = ("answer_scorer", "query_allocator", "meta_model")


def stack(rows: tuple[pa.Table, pa.Table, pa.Table], encoded: Path, seed: int) -> pa.Table:
    """What `stack` says of train, out of fold, valid and test."""
    train, valid, test = rows
    setting = experts.Setting("small", "hate", CLASSES, "", None, None, SETS["hate"].quality, "1", encoded)
    small = experts.build(setting, {"backend": "stack", "random_state": seed}).fit(train, valid)
    answers = [out_of_fold(small, train, valid, random_state=seed), small.answer(valid), small.answer(test)]
    whole = pa.concat_tables([each.replace_schema_metadata(None) for each in answers])
    return schema.with_meta(whole, "predictions", {"classes": list(CLASSES)})


def main() -> None:
    """Print the table."""
    given = argparse.ArgumentParser()
    given.add_argument("--vectors", type=Path)
    given.add_argument("--kinds", nargs="+", default=[*TEAMS, *ROUTERS], choices=[*TEAMS, *ROUTERS])
    given.add_argument("--splits", type=int, default=len(SPLITS))
    options = given.parse_args()
    folder, about = Path(os.environ["ASKLESS_REALDATA"]), SETS["hate"]
    figures = Figures()
    with tempfile.TemporaryDirectory() as scratch:
        encoded = options.vectors or Path(scratch, "encoded")
        glove = embeddings.build(folder / "glove/glove.6B.100d.top2717.txt", scratch + "/v", dim=100, lower=True)
        words = Vectors.open(glove)
        for seed, salt in enumerate(SPLITS[: options.splits]):
            rows = train, valid, test = parts("hate", folder, salt)
            figures.gold.append(class_indices(test["label"], CLASSES))
            llm = recorded_predictions(str(folder / about.file), pa.concat_tables(rows), "llm", CLASSES)
            figures.add(about.llm, class_indices(llm.slice(len(train) + len(valid))["label"], CLASSES))
            tables = {"llm": llm}
            if not set(options.kinds) <= set(TEAMS):
                tables["small"] = said = stack(rows, encoded, seed)
                figures.add("stack", class_indices(said.slice(len(train) + len(valid))["label"], CLASSES))
            asked = {n: RecordedExpert(experts.Setting(n, "t", CLASSES), table=t) for n, t in tables.items()}
            prices = {"small": Price(), "network": Price(), "llm": Price(usd_per_1k_answers=1)}
            cost = CostModel("usd", prices)
            for kind in options.kinds:
                pair = ("network", "llm") if kind in TEAMS else ("small", "llm")
                for features in FEATURES:
                    told = {"kind": kind, "features": features, **TEAMS.get(kind, {})}
                    policy = policies.build(
                        kind, told, experts=pair, vectors=words, encoded=encoded, random_state=seed
                    ).fit(*(Panel(part, asked, cost, CLASSES) for part in rows[:2]))
                    done = policy.decide(Panel(test, asked, cost, CLASSES), Budget(share=SHARE))
                    figures.add(f"{kind}, {features}", done.label)
                    print(f"{salt} {kind} {features}: asks {done.asked[:, 1].mean():.3f}", flush=True)
    print("| hate | " + " | ".join(MEASURES) + " |\n|---|---|---|---|")
    for one in figures.labels:
        print(figures.line(one))
    for kind in options.kinds:
        for features in FEATURES[1:]:
            print(figures.line(f"{kind}, {features}", f"{kind}, words"))


if __name__ == "__main__":
    main()
