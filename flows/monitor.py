"""What was decided lately against what the champion was calibrated on; on drift a dial is proposed, nothing changed."""

from __future__ import annotations

import logging
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from deferral import config
from flows.stage import run_stage
from tasks.answering import plain, serving
from tasks.monitoring import TAKEN, look_at_log, propose, remember
from tasks.tracking import register_proposal


@flow(flow_run_name="monitor {task}")
def monitor(
    task: str, params: str = "params.yaml", data: str = "data", reports: str = "reports", again: bool = False
) -> dict[str, Any]:
    """Look at the rows decided since the last look, and on drift propose a recalibration; returns what was found.

    A version in service has one proposal, unless one more is wanted `again`. An alarm is no failure of this flow.
    """
    served = plain(serving(config.load(params), task))
    found, log = look_at_log(task, params, data, reports, served), get_run_logger()
    page = found["page"]
    if found["status"] == "drift":
        proposed = propose(task, params, data, reports, served, found, again)
        if proposed["proposal"]:
            number = register_proposal(task, params, proposed["proposal"], int(served["version"]))
            proposed["said"] += f" It is version {number}."
        page, said = f"{page}\n{proposed['said']}\n", f"{found['said']} {proposed['said']}"
        found |= {**proposed, "said": said}
    log.log(logging.WARNING if found["status"] == "drift" else logging.INFO, found["said"])
    if found["status"] in TAKEN:
        remember(task, data, served, found)
    create_markdown_artifact(page, f"monitor-{task.replace('_', '-')}", description=found["status"])
    return found


if __name__ == "__main__":
    run_stage(monitor, ["task"])
