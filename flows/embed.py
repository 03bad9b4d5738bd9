"""Stage `embed`: word-vector text -> memory-mapped matrix and vocabulary."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.stage import MOST_OF_A_DAY, run_stage
from tasks.vectors import build_vectors


@flow(flow_run_name="embed {task}", timeout_seconds=MOST_OF_A_DAY)
def embed(task: str, params: str = "params.yaml", data: str = "data") -> str:
    """Make `data/vectors/<task>`."""
    return build_vectors(task, params, str(Path(data, "raw", "vectors", task)), str(Path(data, "vectors", task)))


if __name__ == "__main__":
    run_stage(embed, ["task"])
