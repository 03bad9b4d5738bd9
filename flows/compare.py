"""The challenger against the champion: compared, then promoted or refused by the rule of params.yaml."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, get_run_logger

from flows.stage import MOST_OF_A_DAY, run_stage
from tasks.promotion import keep_comparison, read_weighed, settle_challenger, weigh_challenger
from tasks.telling import tell_decisions


@flow(flow_run_name="compare {task}", timeout_seconds=MOST_OF_A_DAY)
def compare_models(task: str, params: str = "params.yaml", data: str = "data", reports: str = "reports") -> str:
    """Make `reports/<task>/comparison`, keep it with the challenger's run, settle who serves; returns what was done."""
    folder = weigh_challenger(task, params, data, str(Path(reports, task, "comparison")))
    keep_comparison(task, folder)
    done = settle_challenger(folder)
    get_run_logger().info(done)
    tell_decisions(task, read_weighed(folder).model)
    return done


if __name__ == "__main__":
    run_stage(compare_models, ["task"])
