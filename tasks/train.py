"""The small expert, the baselines and the teams, for several seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from tqdm import tqdm

from deferral import config, experts, schema
from tasks import require_classes


@task(cache_policy=NO_CACHE)
def train_expert(name: str, expert: str, params: str, examples: str, vectors: str, models: str, out: str) -> str:
    """Train one small expert with every seed into `models/<expert>/seed-<n>`; the first seed answers into `out`."""
    settings = config.load(params)
    require_classes(name, settings.task(name), "train")
    rows = schema.read(examples, "examples", classes=settings.task(name).classes)
    first = None
    for seed in tqdm(settings.train.seeds, desc=expert, unit="seed", disable=None):
        model = small_expert(settings, name, expert, vectors, seed)
        model.fit(schema.rows_in(rows, "train"), schema.rows_in(rows, "valid"))
        model.save(Path(models) / expert / f"seed-{seed}")
        first = first or model
    assert first is not None
    schema.write(first.answer(rows), out, "predictions")
    return out


def small_expert(settings: config.Params, name: str, expert: str, vectors: str, seed: int) -> experts.TrainedExpert:
    """A trainable expert of params.yaml with this seed, untrained."""
    task_settings = settings.task(name)
    setting = experts.Setting(name=expert, task=name, classes=task_settings.classes, vectors=Path(vectors))
    options = settings.expert(expert)
    if "random_state" in experts.options_of(options["backend"]):
        options["random_state"] = seed
    built = experts.build(setting, options)
    if not isinstance(built, experts.TrainedExpert):
        raise config.ConfigError(f"Expert '{expert}' cannot be trained. Allowed in train: mlp, linear, majority.")
    return built


@task(cache_policy=NO_CACHE)
def train_team(name: str, team: str, params: str, examples: str, vectors: str, predictions: str, models: str) -> str:
    """Train one team with every seed into `models/teams/<team>/seed-<n>`; returns what each learnt, as JSON."""
    from deferral import bundle, policies
    from deferral.cost import CostModel
    from deferral.embeddings import Vectors
    from deferral.experts.recorded import RecordedExpert
    from deferral.panel import Panel

    settings = config.load(params)
    task_settings = settings.task(name)
    require_classes(name, task_settings, "train")
    rows = schema.read(examples, "examples", classes=task_settings.classes)
    options = dict(settings.train.teams[team])
    llms = tuple(options.pop("llms", settings.train.llms))
    words = Vectors.open(Path(vectors))
    needed = words.subset(words.known(schema.rows_in(rows, "train")["text"]))
    asked = {
        llm: RecordedExpert(
            experts.Setting(name=llm, task=name, classes=task_settings.classes),
            path=str(Path(predictions) / "generated" / f"{llm}.parquet"),
        )
        for llm in llms
    }
    learnt: list[dict[str, Any]] = []
    for seed in tqdm(settings.train.seeds, desc=team, unit="seed", disable=None):
        cost = CostModel.of(settings.costs)
        train, valid = (
            Panel(schema.rows_in(rows, split), asked, cost, task_settings.classes) for split in ("train", "valid")
        )
        policy: Any = policies.build(
            team, options, experts=(settings.train.small, *llms), vectors=needed, random_state=seed
        )
        policy.fit(train, valid)
        facts = {
            "task": name,
            "team": team,
            "seed": seed,
            "unit": cost.unit,
            "training_cost": train.total + valid.total,
            "epoch": policy.epoch_,
            "valid_quality": float(policy.thresholds_.quality.max()),
        }
        bundle.save(policy, Path(models) / "teams" / team / f"seed-{seed}", facts, task_settings.classes)
        learnt.append(facts)
    return json.dumps(learnt)
