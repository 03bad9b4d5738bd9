"""What a task's stages read of the sections `experts` and `costs`, so that the other entries there re-run nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from askless import config, schema
from askless.files import replacing_folder, write_text


@task(cache_policy=NO_CACHE)
def write_options(name: str, params: str, folder: str) -> str:
    """Write a file into `folder` for each stage that asks experts, with the options of those that it asks alone.

    Parameters
    ----------
    name
        Of the task.
    params
        Path of params.yaml.
    folder
        To be replaced: `generate/<llm>.json` has the LLM, the judge of summaries and whether seconds are kept,
        `train.json` the small expert, the baselines and the judge, `evaluate.json` every expert of the report.

    Returns
    -------
    str
        The folder.
    """
    settings = config.load(params)
    train, judge = settings.train[name], settings.task(name).judge
    own = (train.small, *train.baselines)
    judges = {judge: settings.expert(judge)} if judge else {}
    kept: dict[str, Any] = {
        f"generate/{llm}": {
            "expert": settings.expert(llm),
            "judge": judges,
            "seconds": counts_seconds(settings, llm),
        }
        for llm in settings.base.llms
    }
    kept["train"] = {"experts": {expert: settings.expert(expert) for expert in own}, "judge": judges}
    kept["evaluate"] = {expert: settings.expert(expert) for expert in (*own, *settings.base.llms)}
    with replacing_folder(Path(folder)) as part:
        for about, options in kept.items():
            write_text(part / f"{about}.json", json.dumps(options, indent=1, sort_keys=True) + "\n")
    return folder


def counts_seconds(settings: config.Params, expert: str) -> bool:
    """Whether the cost of an expert's answers is counted by the seconds that they took."""
    price = settings.costs.prices.get(expert, config.Price())
    return settings.costs.unit == "seconds" or price.usd_per_hour > 0


def reproducible(settings: config.Params, expert: str, predictions: pa.Table) -> pa.Table:
    """The predictions without the seconds that were measured, which differ from run to run, unless cost needs them.

    Those of a recording stay: they were recorded once.
    """
    if counts_seconds(settings, expert) or settings.expert(expert)["backend"] == "recorded":
        return predictions
    at = predictions.schema.get_field_index("seconds")
    return predictions.set_column(at, schema.PREDICTIONS.field(at), pa.nulls(predictions.num_rows, pa.float32()))


@task(cache_policy=NO_CACHE)
def drop_unlisted(params: str, generated: str) -> list[str]:
    """Remove the answers of LLMs that `base.llms` no longer lists, which no stage would read; returns their names.

    What was paid for stays in the folder of kept answers, and in DVC's cache.
    """
    listed = config.load(params).base.llms
    dropped = [path for path in sorted(Path(generated).glob("*.parquet")) if path.stem not in listed]
    for path in dropped:
        path.unlink()
    return [path.stem for path in dropped]
