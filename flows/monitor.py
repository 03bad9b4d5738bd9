"""What was decided lately against what the champion was calibrated on; on drift an operating point is proposed."""

from __future__ import annotations

import logging

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from askless import config
from askless.files import locked
from flows.stage import HOUR, run_stage, without_tracebacks
from tasks.answering import Facts, Place, plain, serving
from tasks.monitoring import TAKEN, look_at_log, propose, remember
from tasks.registration import register_proposal
from tasks.runs import look_for_lost_runs
from tasks.telling import tell, tell_decisions

BUSY = dict.fromkeys(("message", "page"), "Another run of the monitor is at work on this task.") | {"status": "busy"}


@flow(flow_run_name="monitor {task}", timeout_seconds=HOUR)
def monitor(
    task: str, params: str = "params.yaml", data: str = "data", reports: str = "reports", again: bool = False
) -> Facts:
    """Look at the rows decided since the last look, and on drift propose a recalibration; returns what was found.

    A version in service has one proposal, unless one more is wanted `again`. An alarm is no failure of this flow.
    """
    without_tracebacks()
    settings = config.load(params)
    served, model = plain(serving(settings, task)), settings.evaluate[task].model
    with locked(Place(task, data).logged / ".monitor.lock", wait=0) as mine:
        found = _looked(task, params, data, reports, served, again) if mine else BUSY
    get_run_logger().log(logging.WARNING if found["status"] == "drift" else logging.INFO, found["message"])
    if found["status"] == "drift":
        tell("askless-drift", task, found["message"])
    tell_decisions(task, model)
    look_for_lost_runs(task)
    create_markdown_artifact(found["page"], f"monitor-{task.replace('_', '-')}", description=found["status"])
    return found


def _looked(task: str, params: str, data: str, reports: str, served: Facts, again: bool) -> Facts:
    """A look, and what is made of it."""
    found = look_at_log(task, params, data, reports, served)
    if found["status"] == "drift":
        proposed = propose(task, params, data, reports, served, found, again)
        message = proposed["message"]
        if proposed["proposal"]:
            message += (
                f" It is version {register_proposal(task, params, proposed['proposal'], int(served['version']))}."
            )
        page, message = f"{found['page']}\n{message}\n", f"{found['message']} {message}"
        found = {**found, **proposed, "message": message, "page": page}
    if found["status"] in TAKEN:
        remember(task, params, data, served, found)
    return found


if __name__ == "__main__":
    run_stage(monitor, ["task"])
