"""Raw rows into examples, word-vector text into a matrix."""

from __future__ import annotations

import json
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from deferral import config, schema


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5)
def obtain_raw(name: str, params: str, folder: str) -> str | None:
    """Bring the task's raw file into `folder`; None for a source that is generated."""
    from deferral import sources

    source = config.load(params).task(name).source
    path = sources.obtain(source, Path(folder))
    return None if path is None else str(path)


@task(cache_policy=NO_CACHE)
def prepare_examples(name: str, params: str, raw: str | None, candidate: str) -> str:
    """Clean, identify, de-duplicate and split the raw rows; write them to `candidate` and a summary beside it."""
    from deferral import datasets

    settings = config.load(params).task(name)
    rows = datasets.read(settings.source, None if raw is None else Path(raw))
    examples, summary = datasets.prepare(rows, settings, name)
    schema.write(examples, candidate, "examples")
    schema.write_text(Path(candidate).with_suffix(".json"), json.dumps(summary, indent=1, sort_keys=True) + "\n")
    return candidate


@task(cache_policy=NO_CACHE)
def publish(candidate: str, path: str) -> str:
    """Let a checked candidate, and its summary, take the place of the last good file."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    for suffix in (".json", ".parquet"):
        source = Path(candidate).with_suffix(suffix)
        if source.exists():
            source.replace(Path(path).with_suffix(suffix))
    return path


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5)
def build_vectors(name: str, params: str, raw_folder: str, folder: str) -> str:
    """Parse the task's word-vector text once into a memory-mapped matrix in `folder`."""
    from deferral import embeddings, sources
    from deferral.demo import posts, vectors

    settings = config.load(params).task(name).vectors
    if settings.kind == "demo":
        text = Path(raw_folder) / "vectors.txt"
        rows = posts.posts(settings.rows or 20_000, settings.seed)
        vectors.write_vectors([row["text"] for row in rows], text, dim=settings.dim, seed=settings.seed)
    else:
        text = sources.obtain(settings, Path(raw_folder))
    embeddings.build(text, Path(folder), dim=settings.dim, member=settings.member)
    return folder
