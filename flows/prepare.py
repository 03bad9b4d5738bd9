"""Stage `prepare`: raw file -> checked examples."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.stage import MOST_OF_A_DAY, run_stage
from tasks.agreement import check_labels
from tasks.data import keep_raw, obtain_raw, prepare_examples, publish
from tasks.validation import validate_examples


@flow(flow_run_name="prepare {task}", timeout_seconds=MOST_OF_A_DAY)
def prepare(
    task: str, params: str = "params.yaml", data: str = "data", models: str = "models", reports: str = "reports"
) -> str:
    """Make `data/prepared/<task>/examples.parquet`; a failed check leaves the last good ones, raw too, in place."""
    good = str(Path(data, "prepared", task, "examples.parquet"))
    candidate = str(Path(data, "candidates", task, "examples.parquet"))
    raw = obtain_raw(task, params, str(Path(data, "candidates", task, "raw")))
    prepare_examples(task, params, raw, candidate)
    validate_examples(task, params, candidate, good, str(Path(reports, task, "checks")))
    check_labels(task, params, candidate, good, models, str(Path(data, "vectors", task)))
    keep_raw(raw, str(Path(data, "raw", task)))
    return publish(candidate, good)


if __name__ == "__main__":
    run_stage(prepare, ["task"])
