"""The scheduled flow `retrain`: the pipeline stage by stage, then what it made, registered, against the champion."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.concurrency.sync import concurrency

from askless.report.report import headline, markdown_summary
from flows import server
from flows.compare import compare_models
from flows.stage import MOST_OF_A_DAY, run_stage, without_tracebacks
from tasks.registration import register_headline
from tasks.runs import tracked_retraining
from tasks.versioning import push, reproduce, stages

# A run that died gives its turn back after so long; Prefect grants no less.
LEASE_SECONDS = 60


@flow(flow_run_name="retrain {task}", timeout_seconds=MOST_OF_A_DAY)
def retrain(task: str, params: str = "params.yaml", reports: str = "reports") -> str:
    """Bring every stage up to date, show what came of it, register it, compare with the champion, push; one at a time.

    Stages that are up to date are left as they are, so that a run after a failed one goes on where that stopped.
    Returns the headline and what became of the new model.
    """
    without_tracebacks()
    last = f"evaluate@{task}"
    with concurrency("dvc", occupy=1, lease_duration=LEASE_SECONDS, strict=False):
        with tracked_retraining(task):
            for stage in stages(last):
                reproduce(stage)
            summary = json.loads(Path(reports, task, "metrics.json").read_text(encoding="utf-8"))
            show(summary, Path(reports, task, "report.html"))
            register_headline(task, params, str(Path(reports, task)))
        done = compare_models(task, params)
        push(last)
    return f"{headline(summary)} {done}"


def show(summary: dict[str, Any], report: Path) -> None:
    """Leave the headline, the points of every curve and a link to the report among the run's artifacts."""
    task, quality = summary["task"].lower().replace("_", "-"), summary["quality"]
    create_markdown_artifact(markdown_summary(summary), key=f"headline-{task}", description="What came of it, on test.")
    points = [
        {
            "policy": policy,
            "budget": point["budget"],
            f"cost_{summary['unit']}_per_1k": point["cost_per_1k"]["value"],
            quality: point[quality]["value"],
            "ci": point[quality]["ci"],
            "deferral_rate": point["deferral_rate"],
        }
        for policy, about in summary["policies"].items()
        for point in about["points"]
    ]
    create_table_artifact(points, key=f"curve-{task}", description=f"Cost against {quality}, by policy and budget.")
    create_link_artifact(report.absolute().as_uri(), link_text=str(report), key=f"report-{task}")


if __name__ == "__main__":
    if "PREFECT_API_URL" not in os.environ:
        # The stages are flow runs of processes of their own: one server for all of them.
        raise SystemExit(server.main([sys.executable, "-m", "flows.pipeline", *sys.argv[1:]]))
    run_stage(retrain, ["task"])
