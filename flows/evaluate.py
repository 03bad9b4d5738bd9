"""Stage `evaluate`: policies replayed on test -> metrics, curve, decisions, report, the headline's bundle."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.stage import MOST_OF_A_DAY, run_stage
from tasks.evaluate import evaluate_policies
from tasks.packing import pack_headline
from tasks.runs import log_evaluation


@flow(flow_run_name="evaluate {task}", timeout_seconds=MOST_OF_A_DAY)
def evaluate(
    task: str, params: str = "params.yaml", data: str = "data", models: str = "models", reports: str = "reports"
) -> str:
    """Make `reports/<task>`, with the bundle of the headline, which nobody registers here; prints the headline."""
    out = str(Path(reports, task))
    report = evaluate_policies(
        task,
        params,
        str(Path(data, "prepared", task, "examples.parquet")),
        str(Path(data, "predictions", task)),
        str(Path(models, task)),
        str(Path(data, "vectors", task)),
        out,
        str(Path(data, "decisions", f"{task}.parquet")),
        str(Path(data, "encoded")),
    )
    pack_headline(task, params, out, str(Path(models, task)), str(Path(data, "vectors", task)))
    log_evaluation(task, params, out)
    return report


if __name__ == "__main__":
    run_stage(evaluate, ["task"])
