"""Raw rows into examples."""

from __future__ import annotations

import json
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from pyarrow import csv
from pyarrow import parquet as pq

from askless import config, id_key, schema
from askless.data import readers
from askless.data.prepare import prepare
from askless.files import replacing, write_text
from tasks import worth_a_retry


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5, retry_condition_fn=worth_a_retry)
def obtain_raw(name: str, params: str, folder: str) -> str:
    """Bring the task's raw file into `folder`; a generated source is written there as CSV, to be looked at."""
    source = config.load(params).task(name).source
    if source.kind in readers.WITHOUT_FILE:
        path = Path(folder) / f"{source.kind}.csv"
        with replacing(path) as part:
            csv.write_csv(readers.read(source), part)
        return str(path)
    from askless.data import sources

    return str(sources.obtain(source, Path(folder)))


@task(cache_policy=NO_CACHE)
def keep_raw(raw: str, folder: str) -> str:
    """Put a raw file that all checks hold for into `folder`, in the place of the one of its name; returns its path."""
    kept = Path(folder) / Path(raw).name
    kept.parent.mkdir(parents=True, exist_ok=True)
    Path(raw).replace(kept)
    return str(kept)


@task(cache_policy=NO_CACHE)
def prepare_examples(name: str, params: str, raw: str, candidate: str) -> str:
    """Clean, identify, de-duplicate and split the raw rows; write them to `candidate` and a summary beside it."""
    settings = config.load(params).task(name)
    rows = readers.read(settings.source, Path(raw))
    examples, summary = prepare(rows, settings, name)
    source = settings.source
    summary["made_from"] = {"kind": source.kind, "path": str(source.path), "url": source.url, "rows": source.rows}
    schema.write(examples, candidate, "examples")
    write_text(Path(candidate).with_suffix(".json"), json.dumps(summary, indent=1, sort_keys=True) + "\n")
    return candidate


@task(cache_policy=NO_CACHE)
def publish(candidate: str, path: str) -> str:
    """Let a checked candidate, and its summary, take the place of the last good file; one of another key stays."""
    before = _key(path) if Path(path).exists() else 0
    if before and before != _key(candidate):
        raise id_key.another(path, before)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    for suffix in (".json", ".parquet"):
        source = Path(candidate).with_suffix(suffix)
        if source.exists():
            source.replace(Path(path).with_suffix(suffix))
    return path


def _key(path: str) -> int:
    return int(schema.meta_of(pq.read_schema(path).empty_table()).get("id_key", 0))
