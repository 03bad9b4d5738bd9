"""Stage `experts`: params.yaml -> the options of the experts that each later stage of a task asks."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.stage import run_stage
from tasks.options import write_options


@flow(flow_run_name="experts {task}")
def experts(task: str, params: str = "params.yaml", data: str = "data") -> str:
    """Make `data/experts/<task>`: a change of an expert that nobody of the task asks re-runs nothing after it."""
    return write_options(task, params, str(Path(data, "experts", task)))


if __name__ == "__main__":
    run_stage(experts, ["task"])
