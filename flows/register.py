"""What `evaluate` left, a plan, or what `annotate` made becomes a registered version, served, watched and promoted."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, get_run_logger

from flows.stage import MOST_OF_A_DAY, run_stage
from tasks.registration import register_headline, register_plan


@flow(flow_run_name="register {what}", timeout_seconds=MOST_OF_A_DAY)
def register(what: str, params: str = "params.yaml", reports: str = "reports") -> str:
    """Register a plan, a run of `annotate` or a task's headline as a challenger; returns the version's number.

    `offensive.yaml`, the page of a plan, becomes a version of `askless-offensive`, the folder `labelled.parquet.run`
    one of `askless-labelled`, and the task `olhs` is what `reports/olhs/bundle` holds. A bundle that is a version
    already is not registered again. A plan's experts are asked on the terms that it was made with
    (`askless plan --llm`), else on those of `params`.
    """
    made = Path(what).exists()
    version = register_plan(what, params) if made else register_headline(what, params, str(Path(reports, what)))
    get_run_logger().info("Version %s is the challenger.", version)
    return version


if __name__ == "__main__":
    run_stage(register, ["what"])
