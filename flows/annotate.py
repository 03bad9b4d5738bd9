"""New files of texts: an LLM labels some, a small model that learns from it the others, with a promise."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact

from askless.errors import BudgetError, ConfigError
from flows.each_file import each_file, outcomes, raise_first
from flows.stage import MOST_OF_A_DAY, run_stage, without_tracebacks
from tasks.annotating import Folders, annotate_file


@flow(flow_run_name="annotate {task}", timeout_seconds=MOST_OF_A_DAY)
def annotate(
    task: str,
    llm: str,
    agree: float | None = None,
    max_usd: float | None = None,
    small: str = "linear",
    params: str = "params.yaml",
    data: str = "data",
) -> list[dict[str, Any]]:
    """Label every file of `data/unlabelled/<task>` that is not labelled yet; returns the outcome of each.

    The LLM is an expert of the parameters; of several, with commas, the last is the one that the goal is about, the
    others are cheaper ones before it. At least the share `agree` of each file's labels is what it says or would have
    said; all are paid at most `max_usd` for each file. A file that cannot be read is put aside and the others go on.
    So they do where labelling one fails, and the flow fails at the end.
    """
    if agree is None and max_usd is None:
        raise BudgetError("Got neither agree nor max_usd. Allowed: a goal, a limit, or both. Give agree: 0.97, say.")
    llms = [name.strip() for name in llm.split(",")]
    if len({*llms}) < len(llms):
        raise ConfigError(f"Got llm '{llm}'. Allowed: different ones, the cheapest first.")
    without_tracebacks()
    log = get_run_logger()
    states = each_file(
        Folders(task, data),
        lambda path: annotate_file(task, params, data, str(path), llms, agree, max_usd, small, return_state=True),
    )
    done = outcomes(states)
    for one in done:
        if one["status"] == "put aside":
            log.warning("%s is put aside. %s", one["file"], one["reason"])
        elif one["status"] == "annotated":
            log.info("%s: %s", one["file"], one["words"])
    new = [one for one in done if one["status"] != "done before"]
    create_table_artifact(new, f"annotated-{task.replace('_', '-')}", f"By {llm} and a small model that learns from it")
    raise_first(states)
    return done


if __name__ == "__main__":
    run_stage(
        annotate,
        ["task", "llm"],
        {"agree": "share of labels that are the LLM's, such as 0.97", "max_usd": "dollars for each file"},
    )
