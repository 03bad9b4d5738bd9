"""Stage `generate`: one LLM's answers to every example, resumable."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.stage import run_stage
from tasks.data import publish
from tasks.generate import answer_examples
from tasks.spending import forecast_spending
from tasks.validation import validate_predictions


@flow(flow_run_name="generate {task} {llm}")
def generate(
    task: str, llm: str, params: str = "params.yaml", data: str = "data", reports: str = "reports", yes: bool = False
) -> str:
    """Make `data/predictions/<task>/<llm>.parquet`; answers already paid for are never asked again.

    A forecast comes first; beyond the limit of `generate.ask_above_usd` a person is asked, unless `yes`.
    """
    examples = str(Path(data, "prepared", task, "examples.parquet"))
    good = str(Path(data, "predictions", task, "generated", f"{llm}.parquet"))
    candidate = str(Path(data, "candidates", task, f"{llm}.parquet"))
    vectors = str(Path(data, "vectors", task))
    forecast_spending(task, llm, params, examples, str(Path(data, "answers", task)), yes)
    answer_examples(task, llm, params, examples, str(Path(data, "answers", task)), candidate, vectors)
    validate_predictions(task, llm, params, candidate, str(Path(reports, task, "checks")))
    return publish(candidate, good)


if __name__ == "__main__":
    run_stage(generate, ["task", "llm"], yes="spend more than generate.ask_above_usd without asking")
