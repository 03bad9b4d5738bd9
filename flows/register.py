"""A plan, or what `annotate` made, becomes a registered version, served, watched and promoted like the pipeline's."""

from __future__ import annotations

from prefect import flow, get_run_logger

from flows.stage import run_stage
from tasks.registration import register_plan


@flow(flow_run_name="register {plan}")
def register(plan: str, params: str = "params.yaml") -> str:
    """Register the plan on a page, `offensive.yaml` as the challenger of `askless-offensive`; returns its number.

    `plan` may be the folder of a run of `annotate`: `labelled.parquet.run` becomes `askless-labelled`. Its experts are
    asked on the terms that it was made with (`askless plan --llm`), else on those of `params`.
    """
    version = register_plan(plan, params)
    get_run_logger().info("Registered as version %s.", version)
    return version


if __name__ == "__main__":
    run_stage(register, ["plan"])
