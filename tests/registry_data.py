"""A task whose answers are known, policies of known quality and cost as bundles, and a real registry to put them in.

Of 200 test items the 80 longest are of class 1. The small expert always says 0 and is free; the LLM is always right and
costs a tenth of a cent. So whoever defers the longest 40 % is always right at 40 cents for 1,000 items.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from askless import config, schema
from askless.bundles.bundle import Bundle
from askless.costs import CostModel
from askless.experts import Setting
from askless.experts.small.lead import LeadExpert
from askless.experts.small.majority import MajorityExpert
from askless.panel import Panel
from askless.policies.base import Policy
from askless.policies.baselines import Length, Random
from tests.pipeline import small_params, with_store, working_in

CLASSES = ("0", "1")
ROWS, LONG, PRICE, LLM = 200, 80, 0.001, "demo-xs"
MODEL = {"olhs": "askless-olhs", "xsum": "askless-xsum"}
POLICIES = {"long": Length, "random": Random}
SMALL = {"olhs": "majority", "xsum": "lead"}


def items(task: str, rows: int = ROWS) -> Any:
    """`rows` items of each split, the longer the later; the groups `first` and `second` take turns."""
    columns: dict[str, list[Any]] = {name: [] for name in ("id", "text", "split", "group", "label", "reference")}
    for split in schema.SPLITS:
        for i in range(rows):
            word = "large" if i >= rows - LONG * rows // ROWS else "short"
            columns["id"].append(f"{split}-{i}")
            columns["text"].append(f"A {word} text. " + "x" * (i + 1))
            columns["split"].append(split)
            columns["group"].append("first" if i % 2 else "second")
            columns["label"].append("1" if word == "large" else "0")
            columns["reference"].append("What it says" if word == "large" else f"A {word} text")
    columns["reference" if task == "olhs" else "label"] = [None] * len(columns["id"])
    return schema.table("examples", columns, {"classes": list(CLASSES) if task == "olhs" else []})


def project(folder: Path, task: str = "olhs", *, rows: int = ROWS, **sections: Mapping[str, Any]) -> Path:
    """Parameters, items and the LLM's answers in `folder`."""
    settings = small_params(task, **sections)
    settings["train"][task]["small"] = SMALL[task]
    settings["evaluate"][task].update(bootstrap=400)
    (folder / "params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    examples = items(task, rows)
    said = {"id": examples["id"].to_pylist(), "expert": [LLM] * len(examples), "cost_usd": [PRICE] * len(examples)}
    if task == "olhs":
        said["label"] = examples["label"].to_pylist()
    else:
        said |= {"text": examples["reference"].to_pylist(), "quality": [1.0] * len(examples)}
    schema.write(examples, folder / f"data/prepared/{task}/examples.parquet", "examples")
    path = folder / f"data/predictions/{task}/generated/{LLM}.parquet"
    schema.write(schema.table("predictions", said), path, "predictions")
    return folder


def settings_of(folder: Path) -> config.Params:
    """The parameters that `project` wrote."""
    return config.load(folder / "params.yaml")


def kept(folder: Path, name: str, task: str = "olhs", policy: str = "long", **facts: Any) -> Path:
    """The bundle of a policy fitted on the train and valid items of `folder`."""
    from askless.registry.held_out import HeldOut

    held_out = HeldOut.of(task, settings_of(folder), folder / "data")
    examples = schema.read(folder / f"data/prepared/{task}/examples.parquet", "examples")
    setting = Setting(SMALL[task], task, held_out.classes)
    train = schema.rows_in(examples, "train")
    small = MajorityExpert(setting).fit(train, train) if task == "olhs" else LeadExpert(setting)
    pool = {small.name: _Graded(small, held_out), LLM: held_out.answers(LLM)}
    boards = (
        Panel(schema.rows_in(examples, s), pool, CostModel.of(held_out.settings.costs), held_out.classes)
        for s in ("train", "valid")
    )
    fitted: Policy = POLICIES[policy]((small.name, LLM)).fit(*boards)
    path = folder / "models" / name / bundle_path()
    Bundle.of(fitted, held_out.classes, {"task": task, "team": policy, "seed": 67, **facts}, small).save(path)
    return path


def bundle_path() -> str:
    """Where a registered model has its bundle."""
    from askless.registry.versions import BUNDLE

    return str(BUNDLE)


class _Graded:
    """A small expert whose answers to any items are free and, where they are summaries, as good as half right."""

    def __init__(self, small: Any, held_out: Any) -> None:
        self.small, self.held_out = small, held_out

    def answer(self, examples: Any) -> Any:
        said = self.small.answer(examples)
        if self.held_out.classes:
            return said
        at, half = said.schema.get_field_index("quality"), np.full(len(said), 0.5, np.float32)
        return said.set_column(at, said.schema.field(at), pa.array(half))


@contextmanager
def registry_in(folder: Path, empty: Path) -> Iterator[Any]:
    """The working directory in `folder`, with a registry of its own; yields a client of it."""
    import mlflow

    path = with_store(folder, empty)
    with working_in(folder):
        yield mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}", registry_uri=f"sqlite:///{path}")


def register(client: Any, folder: Path | str = "nowhere", task: str = "olhs", **tags: Any) -> int:
    """A version of the task's model with the bundle under `folder`, and alias `challenger`; returns its number."""
    model = MODEL[task]
    if model not in [known.name for known in client.search_registered_models()]:
        client.create_registered_model(model)
    source = Path(str(folder).removesuffix(f"/{bundle_path()}"))
    made = client.create_model_version(model, source.absolute().as_uri())
    for key, value in {"task": task, **tags}.items():
        client.set_model_version_tag(model, made.version, key, str(value))
    client.set_registered_model_alias(model, "challenger", made.version)
    return int(made.version)
