"""Stage `settings`: params.yaml -> what each later stage of a task reads of it."""

from __future__ import annotations

from prefect import flow

from flows.stage import MOST_OF_A_DAY, run_stage
from tasks.settings import write_settings


@flow(flow_run_name="settings {task}", timeout_seconds=MOST_OF_A_DAY)
def settings(task: str, params: str = "params.yaml", data: str = "data") -> str:
    """Make `data/settings/<task>`: what of params.yaml, and of files, concerns no stage of the task re-runs nothing."""
    return write_settings(task, params, data)


if __name__ == "__main__":
    run_stage(settings, ["task"])
