"""Runs in MLflow: what each stage is tracked as."""

from __future__ import annotations

import itertools
import json
import logging
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from askless import config
from askless.bundles.bundle import Bundle
from askless.registry.experiments import experiment
from askless.registry.versions import store
from askless.report.report import markdown_summary
from tasks.versioning import LOCK, data_of, versions

# Names the run of `retrain` to the stages, which are processes of their own.
PARENT = "ASKLESS_MLFLOW_PARENT"
# No flow may take two days.
PROCESS, A_MINUTE, TWO_DAYS = "process", 60, 2 * 24 * 3600


@contextmanager
def tracked(name: str, run_name: str, tags: dict[str, str], **options: Any) -> Iterator[Any]:
    """An MLflow run in `mlruns/` (or where MLFLOW_TRACKING_URI says), tagged with data and code versions.

    It is a child of the run that `retrain` started, in this process or the one before. `options` are those of
    `mlflow.start_run`.
    """
    import mlflow

    number = experiment(name)
    mlflow.set_experiment(experiment_id=number)
    end_lost_runs(number)
    parent = {"mlflow.parentRunId": os.environ[PARENT]} if PARENT in os.environ else {}
    tags = {**tags, **parent, **versions(), PROCESS: _process()}
    with mlflow.start_run(run_name=run_name, nested=True, tags=tags, **options) as run:
        yield run


def end_lost_runs(number: str) -> None:
    """Mark the runs of an experiment as killed whose process is gone, or which have no end after two days elsewhere."""
    import mlflow

    client = mlflow.MlflowClient()
    for run in client.search_runs([number], "attributes.status = 'RUNNING'"):
        # It may have ended well since it was looked for.
        if _gone(run) and client.get_run(run.info.run_id).info.status == "RUNNING":
            client.set_terminated(run.info.run_id, "KILLED")


@task(cache_policy=NO_CACHE)
def look_for_lost_runs(name: str) -> None:
    """Mark a task's runs as killed whose process is gone."""
    end_lost_runs(experiment(name))


def _process() -> str:
    """This machine, and number and start of this process: another one may have its number later."""
    import psutil

    return f"{_machine()} {os.getpid()} {psutil.Process().create_time():.0f}"


def _machine() -> str:
    """Its name, and which numbers its processes have: a container may have its host's name, and has its own numbers."""
    numbers = "/proc/self/ns/pid"
    return f"{platform.node()} {os.readlink(numbers) if os.path.exists(numbers) else ''}".rstrip()


def _gone(run: Any) -> bool:
    import psutil

    machine, number, start = run.data.tags.get(PROCESS, "- 0 0").rsplit(" ", 2)
    if machine != _machine():
        return bool(time.time() - run.info.start_time / 1000 > TWO_DAYS)
    try:
        # The clock that starts are told by may have been set since.
        return abs(psutil.Process(int(number)).create_time() - float(start)) > A_MINUTE
    except psutil.NoSuchProcess:
        return True


@contextmanager
def tracked_retraining(task: str) -> Iterator[None]:
    """A run `retrain <task>`, of which those of all stages are children; dvc.lock is logged with it at the end."""
    import mlflow

    with tracked(task, f"retrain {task}", {"stage": "retrain"}) as run:
        os.environ[PARENT] = run.info.run_id
        try:
            yield
        finally:
            del os.environ[PARENT]
        mlflow.set_tags(versions())
        if Path(LOCK).exists():
            mlflow.log_artifact(LOCK)


@contextmanager
def tracked_generation(task: str, llm: str, settings: dict[str, Any], seconds: float) -> Iterator[Callable[..., None]]:
    """A run `generate <llm>`; yields what logs its progress, beside which MLflow watches this machine itself.

    MLflow's system metrics (CPU, memory, disk, and GPU where nvidia-ml-py is installed) are taken every `seconds`.
    """
    import mlflow

    logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)
    mlflow.set_system_metrics_sampling_interval(seconds)
    mlflow.set_system_metrics_samples_before_logging(1)
    with tracked(task, f"generate {llm}", {"stage": "generate", "llm": llm}, log_system_metrics=True):
        mlflow.log_params(settings)
        step = itertools.count()
        yield lambda metrics: mlflow.log_metrics(metrics, step=next(step))


@task(cache_policy=NO_CACHE)
def log_training(name: str, team: str, params: str, models: str, learnt: str) -> None:
    """One run for each seed of a team: arguments, what it learnt, its thresholds, what its training answers cost."""
    import mlflow

    settings = config.load(params)
    for facts in json.loads(learnt):
        folder = Path(models) / "teams" / team / f"seed-{facts['seed']}"
        bundle = Bundle.load(folder)
        with tracked(name, f"train {team} seed {facts['seed']}", {"stage": "train", "team": team}) as run:
            mlflow.log_params({**bundle.arguments, "experts": ",".join(bundle.experts), "kind": bundle.kind})
            _log_data(name, settings, "training")
            mlflow.log_metrics({k: float(facts[k]) for k in ("training_cost", "epoch", "valid_quality")})
            for epoch, score in enumerate(facts["scores"], start=1):
                mlflow.log_metric("valid_score", score, step=epoch)
            points = {key: values.tolist() for key, values in vars(bundle.policy.thresholds_).items()}
            _log_curve(run.info.run_id, points, "valid")
            mlflow.log_dict(points, "thresholds.json")
            mlflow.log_dict({name: asdict(price) for name, price in settings.costs.prices.items()}, "prices.json")


def _log_curve(run_id: str, points: dict[str, list[float]], split: str) -> None:
    """The operating points measured on a split, as metrics over steps, in one write."""
    import mlflow
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    metrics = [
        Metric(f"{split}.{name}", value, now, step)
        for name in ("share", "cost", "quality")
        for step, value in enumerate(points[name])
    ]
    mlflow.MlflowClient().log_batch(run_id, metrics=metrics)


def _log_data(name: str, settings: config.Params, context: str) -> None:
    """Examples, vectors and answers of a task as the run's data sets, each by its hash in dvc.lock."""
    import mlflow
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.data.sources import LocalArtifactDatasetSource

    found = data_of(name, settings.llms(name))
    sets = [MetaDataset(LocalArtifactDatasetSource(path), path, digest) for path, digest in found.items()]
    mlflow.log_inputs(sets, [context] * len(sets), [{}] * len(sets))


@task(cache_policy=NO_CACHE)
def log_evaluation(name: str, params: str, reports: str) -> None:
    """One run with the parameters, data, metrics, curve and report of the evaluation in `reports`."""
    summary = json.loads(Path(reports, "metrics.json").read_text(encoding="utf-8"))
    team = summary["headline"]["policy"]
    with tracked(name, f"evaluate {team}", {"stage": "evaluate", "team": team}) as run:
        log_summary(run.info.run_id, config.load(params), summary, Path(reports))


def log_summary(run_id: str, settings: config.Params, summary: dict[str, Any], folder: Path) -> None:
    """Put an evaluation, its files in `folder`, into the run of MLflow that is under way."""
    import mlflow
    import pandas as pd

    name, head = summary["task"], summary["headline"]["policy"]
    train, how = settings.train[name], asdict(settings.evaluate[name])
    mlflow.log_params({"headline": head, "reference": summary["reference"], "quality": summary["quality"]})
    mlflow.log_params({key: how[key] for key in ("budgets", "sweep", "bootstrap", "confidence", "margin")})
    mlflow.log_params({"small": train.small, "seeds": train.seeds, "folds": train.folds, "distil": train.distil})
    mlflow.log_params({f"{train.small}.{key}": value for key, value in settings.expert(train.small).items()})
    _log_data(name, settings, "testing")
    mlflow.log_metrics(flat_metrics(summary))
    rows = pd.read_csv(folder / "curve.csv")
    curve = rows[rows.policy == head].groupby("budget", as_index=False)[["cost", "quality"]].mean()
    _log_curve(run_id, curve.rename(columns={"budget": "share"}).to_dict("list"), "test")
    for file in ("report.html", "curve.csv", "curve.png", "reliability.png", "metrics.json"):
        mlflow.log_artifact(str(folder / file))
    mlflow.set_tag("mlflow.note.content", markdown_summary(summary))


def flat_metrics(summary: dict[str, Any]) -> dict[str, float]:
    """The numbers of an evaluation under `policy.measure` names, intervals and undefined ones left out."""
    flat: dict[str, float | None] = {}
    for kind in ("experts", "policies"):
        for name, measured in summary[kind].items():
            for key, value in measured.items():
                number = value.get("value") if isinstance(value, dict) else value
                if isinstance(number, int | float) and not isinstance(number, bool):
                    flat[f"{kind}.{name}.{key}"] = number
    for key in ("cost_share", "quality_difference", "quality", "cost_per_1k"):
        flat[f"headline.{key}"] = summary["headline"][key]["value"]
    for slack, value in summary["policies"][summary["headline"]["policy"]]["saving_at_equal_quality"].items():
        flat[f"headline.saving_at_equal_quality.{slack}"] = value["value"]
    return {key: float(value) for key, value in flat.items() if value is not None}


def log_comparison(run_id: str, folder: str) -> None:
    """The files of a comparison, as artifacts of the challenger's run."""
    import mlflow

    mlflow.MlflowClient(tracking_uri=store()).log_artifacts(run_id, folder, "comparison")
