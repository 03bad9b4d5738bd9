"""Generations in shards, to be killed."""

from __future__ import annotations

import json
import os
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from askless import config, schema
from askless.experts.answer_store import AnswerStore
from askless.experts.local.causal_lm import LlmExpert
from tests import forks
from tests.experts.tiny_models import examples, texts
from tests.pipeline import LLM, small_params, write_params

ITEMS, BATCH, SHARD = 240, 8, 50
PACE_S = 0.02
# What a run imports when it comes to it, which may take longer than all else that it does.
LATE = (
    *("alembic.config", "flows.generate", "git", "graphviz", "mlflow.store.tracking.sqlalchemy_store"),
    *("mlflow.system_metrics.system_metrics_monitor", "prefect.concurrency._sync", "prefect.flow_engine"),
    *("prefect.task_engine", "prefect.telemetry.run_telemetry", "pyarrow.dataset", "safetensors.torch", "sympy"),
    *("transformers.models.auto", "transformers.models.llama.modeling_llama", "torch._dynamo"),
)


def project(
    folder: Path, items: int = ITEMS, expert: dict[str, Any] | None = None, only: bool = False, **how: Any
) -> Path:
    """A folder with prepared examples, the demo's smallest LLM in batches of 8, and `how` it is run.

    `expert` are options more, or all of them where it is they `only`.
    """
    settings = small_params()
    known = {} if only else {**settings["experts"][LLM], "batch_size": BATCH}
    settings["experts"][LLM] = known | (expert or {})
    settings["generate"] = {"shard_rows": SHARD, "report_seconds": 0.5, **how}
    folder.mkdir(parents=True, exist_ok=True)
    write_params(folder, settings)
    schema.write(examples(texts(items, seed=7, longest=12)), folder / "examples.parquet", "examples")
    return folder


def generated(folder: Path) -> Path:
    """Everything of the stage but its checks, as a flow in `folder`; returns the table's file."""
    from prefect import flow

    from flows.generate import answer_shards
    from tasks.generate import cut_examples, merge_parts

    out = folder / "out.parquet"

    @flow(name="shards")
    def shards() -> None:
        params, where = str(folder / "params.yaml"), str(folder / "shards")
        rows = cut_examples("olhs", LLM, params, str(folder / "examples.parquet"), where)
        answer_shards("olhs", LLM, config.load(params), where, str(folder / "answers"), rows)
        merge_parts("olhs", LLM, params, where, len(rows), str(folder / "answers"), str(out))

    shards()
    return out


def noted(folder: Path) -> None:
    """Run in `folder`, noting the keys of each batch that is really run, and which of them were kept before."""
    run, journal = LlmExpert._run, os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self: LlmExpert, batch: Any) -> Any:
        keys = [key for key, _, _ in batch]
        with AnswerStore(folder / "answers" / f"{LLM}.sqlite") as kept:
            again = list(kept.get_many(keys))
        os.write(journal, (json.dumps({"keys": keys, "again": again}) + "\n").encode())
        time.sleep(PACE_S)
        return run(self, batch)

    LlmExpert._run = note  # type: ignore[method-assign]
    os.chdir(folder.parent)
    generated(folder)


def main() -> None:
    """Import everything once, then fork for each job."""
    import torch

    for name in LATE:
        import_module(name)
    torch.set_num_threads(1)
    forks.serve(lambda job: noted(Path(job["folder"])))


if __name__ == "__main__":
    main()
