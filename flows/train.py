"""Stage `train`: the small expert, the baselines and the teams, for every seed."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from deferral import config
from flows.stage import run_stage
from tasks.tracking import log_training
from tasks.train import train_expert, train_team


@flow
def train(task: str, params: str = "params.yaml", data: str = "data", models: str = "models") -> str:
    """Make `models/<task>` and the small experts' own predictions."""
    settings = config.load(params)
    examples = str(Path(data, "prepared", task, "examples.parquet"))
    vectors, predictions = str(Path(data, "vectors", task)), str(Path(data, "predictions", task))
    folder = str(Path(models, task))
    for expert in (settings.train.small, *settings.train.baselines):
        out = str(Path(predictions, "trained", f"{expert}.parquet"))
        train_expert(task, expert, params, examples, vectors, folder, out)
    for team in settings.train.teams:
        learnt = train_team(task, team, params, examples, vectors, predictions, folder)
        log_training(task, team, params, folder, learnt)
    return folder


if __name__ == "__main__":
    run_stage(train, ["task"])
