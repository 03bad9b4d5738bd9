"""Which predictions reach the stages after `generate`, and what of them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from askless import config, schema


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
