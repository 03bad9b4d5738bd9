"""Word-vector text into a matrix."""

from __future__ import annotations

import shutil
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from askless import config
from askless.data import sources
from askless.data.demo import documents, posts, vectors
from askless.files import replacing_folder, write_text
from askless.text import embeddings
from tasks import worth_a_retry


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5, retry_condition_fn=worth_a_retry)
def build_vectors(name: str, params: str, raw_folder: str, folder: str) -> str:
    """Parse the task's word-vector text once into a memory-mapped matrix in `folder`; empty where it has none.

    Only a text that could be read takes the place of the last one in `raw_folder`.
    """
    task_settings = config.load(params).task(name)
    settings = task_settings.vectors
    if settings is None:
        for made in (raw_folder, folder):
            with replacing_folder(Path(made)) as part:
                write_text(part / "none", f"tasks.{name}.vectors names none.\n")
        return folder
    bare = settings.kind == "demo" and task_settings.kind == "summarisation"
    raw = Path(raw_folder)
    candidate = raw.with_name(f".{raw.name}")
    candidate.mkdir(parents=True, exist_ok=True)
    if settings.kind == "demo":
        text = candidate / "vectors.txt"
        generate = documents.documents if bare else posts.posts
        rows = generate(settings.rows or 20_000, settings.seed)
        vectors.write_vectors([row["text"] for row in rows], text, dim=settings.dim, seed=settings.seed, bare=bare)
    else:
        text = sources.obtain(settings, candidate)
    embeddings.build(text, Path(folder), dim=settings.dim, member=settings.member, lower=settings.lower or bare)
    raw.mkdir(exist_ok=True)
    text.replace(raw / text.name)
    # Of an earlier run that failed there may be another file in it.
    shutil.rmtree(candidate)
    return folder
