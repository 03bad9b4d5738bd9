"""The small expert, the baselines and the teams, for several seeds."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from askless import config, experts, schema
from askless.errors import ConfigError
from askless.evaluation import summary_quality
from askless.evaluation.distillation import lessons
from askless.experts.paid import PaidExpert
from askless.experts.small.auto import CHOSEN_FROM, AutoExpert, in_words
from askless.experts.small.out_of_fold import out_of_fold, replaced
from askless.files import write_text
from askless.spending.judging import quality_of
from tasks.options import reproducible
from tasks.progress import steps

UNTAUGHT = "untaught"


@dataclass(frozen=True)
class Kept:
    """Folders of what outlives a stage.

    Parameters
    ----------
    answers
        The kept answers of each LLM.
    answered
        New items with the answers that they got.
    encoded
        Sentence vectors.
    """

    answers: str | None = None
    answered: str | None = None
    encoded: str | None = None


@task(cache_policy=NO_CACHE)
def train_expert(
    name: str,
    expert: str,
    params: str,
    examples: str,
    vectors: str,
    models: str,
    out: str,
    kept: Kept = Kept(),
) -> str:
    """Train one small expert with every seed into `models/<expert>/seed-<n>`; each answers into `out/seed-<n>.parquet`.

    What it learnt from, the train split, is answered out of fold, so that policies can be fitted on these answers. A
    baseline is wanted with the first seed only, and an expert that does not learn answers once, as the first. Where
    the small one learns from an LLM too, it is trained without as well, into the folders `untaught` beside the seeds:
    these answer test alone.
    """
    settings = config.load(params)
    train, task_settings = settings.train[name], settings.task(name)
    rows = schema.read(examples, "examples", classes=task_settings.classes)
    summarises = task_settings.kind == "summarisation"
    quality = quality_of(name, settings, vectors, kept.answers) if summarises else None
    own, valid, test = (schema.rows_in(rows, split) for split in schema.SPLITS)
    more = None
    if expert == train.small and train.distil:
        more = lessons(kept.answered or "", train.distil, rows, task_settings.classes)
    seeds = train.seeds if expert == train.small else train.seeds[:1]
    # What the first seed has chosen among candidates is what the others train too.
    chosen: dict[str, Any] = {}
    for seed in steps(seeds, f"{name}: training {expert}", "seeds"):
        for way in ("",) if more is None else ("", UNTAUGHT):
            model, asked, taught = small_expert(settings, name, expert, vectors, seed, kept.encoded, chosen), rows, more
            if way == UNTAUGHT:
                asked, taught = test, None
            if isinstance(model, experts.TrainedExpert):
                model.fit(own if taught is None else pa.concat_tables([own, taught]), valid)
                model.save(Path(models) / expert / way / f"seed-{seed}")
                chosen = chosen or _choice(model)
            elif seed != train.seeds[0]:
                break
            predictions = model.answer(asked)
            if isinstance(model, experts.TrainedExpert) and asked is rows:
                held = out_of_fold(model, own, valid, folds=train.folds, random_state=seed, lessons=taught)
                predictions = replaced(predictions, held)
            if quality is not None:
                predictions = summary_quality.measured(asked, predictions, quality)
            predictions = reproducible(settings, expert, predictions)
            schema.write(predictions, Path(out) / way / f"seed-{seed}.parquet", "predictions")
    if more is not None:
        about = {"llm": train.distil, "rows": more.num_rows}
        write_text(Path(out) / UNTAUGHT / "lessons.json", json.dumps(about) + "\n")
    return out


def _choice(model: experts.TrainedExpert) -> dict[str, Any]:
    """Options that keep to what a model chose among candidates, which is printed; none where it had no choice."""
    if not isinstance(model, AutoExpert):
        return {}
    sys.stderr.write(f"{model.setting.task}: {in_words(model.name, model.meta()[CHOSEN_FROM])}\n")
    return {"candidates": [model.chosen_]}


def small_expert(
    settings: config.Params,
    name: str,
    expert: str,
    vectors: str,
    seed: int,
    encoded: str | None = None,
    chosen: Mapping[str, Any] = {},
) -> experts.Expert:
    """An expert of params.yaml with this seed, untrained; `chosen` options stand in the place of its own."""
    about = settings.task(name)
    setting = experts.Setting(
        name=expert,
        task=name,
        classes=about.classes,
        vectors=Path(vectors) if about.vectors else None,
        quality=about.quality,
        positive=about.positive,
        encoded=None if encoded is None else Path(encoded),
    )
    options = {**settings.expert(expert), **chosen}
    if "random_state" in experts.options_of(options["backend"]):
        options["random_state"] = seed
    built = experts.build(setting, options)
    if isinstance(built, PaidExpert):
        raise ConfigError(
            f"Expert '{expert}' costs something to ask: put it into base.llms, so that the stage generate keeps what "
            f"it answers. Allowed elsewhere in train.{name}: experts that learn, recorded, majority, lead."
        )
    return built


@task(cache_policy=NO_CACHE)
def train_team(
    name: str,
    team: str,
    params: str,
    examples: str,
    vectors: str,
    predictions: str,
    models: str,
    encoded: str | None = None,
) -> str:
    """Train one team with every seed into `models/teams/<team>/seed-<n>`; returns what each learnt, as JSON."""
    from askless import policies
    from askless.bundles.bundle import Bundle
    from askless.costs import CostModel
    from askless.experts.recorded import RecordedExpert
    from askless.panel import Panel
    from askless.text.embeddings import Vectors

    settings = config.load(params)
    task_settings = settings.task(name)
    rows = schema.read(examples, "examples", classes=task_settings.classes)
    train_settings = settings.train[name]
    options = dict(train_settings.teams[team])
    llms = tuple(options.pop("llms", train_settings.llms))
    needed = None
    if task_settings.vectors is not None:
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
    for seed in steps(train_settings.seeds, f"{name}: training {team}", "seeds"):
        cost = CostModel.of(settings.costs)
        train, valid = (
            Panel(schema.rows_in(rows, split), asked, cost, task_settings.classes) for split in ("train", "valid")
        )
        policy: Any = policies.build(
            team,
            options,
            experts=(config.network_of(team), *llms),
            vectors=needed,
            random_state=seed,
            encoded=None if encoded is None else Path(encoded),
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
        Bundle.of(policy, task_settings.classes, facts).save(Path(models) / "teams" / team / f"seed-{seed}")
        learnt.append({**facts, "scores": policy.scores_})
    return json.dumps(learnt)
