"""Stage `train`: the small expert, the baselines and the teams, for every seed."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from askless import config
from flows.stage import MOST_OF_A_DAY, run_stage
from tasks.options import drop_unlisted
from tasks.runs import log_training
from tasks.train import Kept, train_expert, train_team


@flow(flow_run_name="train {task}", timeout_seconds=MOST_OF_A_DAY)
def train(task: str, params: str = "params.yaml", data: str = "data", models: str = "models") -> str:
    """Make `models/<task>` and the small experts' own predictions."""
    settings = config.load(params)
    settings.task(task)
    experts = settings.train[task]
    examples = str(Path(data, "prepared", task, "examples.parquet"))
    vectors, predictions = str(Path(data, "vectors", task)), str(Path(data, "predictions", task))
    drop_unlisted(params, str(Path(predictions, "generated")))
    folder = str(Path(models, task))
    kept = Kept(str(Path(data, "answers", task)), str(Path(data, "answered", task)), str(Path(data, "encoded")))
    for expert in (experts.small, *experts.baselines):
        if expert not in settings.llms(task):
            out = str(Path(predictions, "trained", expert))
            train_expert(task, expert, params, examples, vectors, folder, out, kept)
    for team in experts.teams:
        learnt = train_team(task, team, params, examples, vectors, predictions, folder, kept.encoded)
        log_training(task, team, params, folder, learnt)
    return folder


if __name__ == "__main__":
    run_stage(train, ["task"])
