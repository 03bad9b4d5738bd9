"""The headline's bundle with all that travels with it: what the stage `evaluate` leaves to be registered, or not."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from askless import config, experts, schema
from askless.bundles.bundle import FILE, Bundle
from askless.bundles.decide import decide
from askless.bundles.terms import Terms
from askless.errors import ConfigError
from askless.experts.asked import expert_of
from askless.experts.paid import PaidExpert
from askless.files import replacing_folder
from askless.labelling.foreseen import on_record
from askless.text.embeddings import Vectors
from tasks.baseline import add_baseline

# Where a report's folder has it.
HEADLINE = "bundle"


@task(cache_policy=NO_CACHE)
def pack_headline(name: str, params: str, reports: str, models: str, vectors: str) -> str:
    """Write the best seed of the evaluation's headline into `reports/bundle`, able to decide; returns that folder."""
    settings, folder = config.load(params), Path(reports)
    summary = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    team = summary["headline"]["policy"]
    with tempfile.TemporaryDirectory() as scratch:
        if team in settings.train[name].teams:
            bundle = best_seed(Path(models) / "teams" / team)
        else:
            words = Vectors.open(vectors) if settings.task(name).vectors else None
            kept = best_seed(folder / "policies" / team, words)
            bundle = with_small(settings, name, kept, Path(models), vectors, Path(scratch, "bundle"))
        with replacing_folder(folder / HEADLINE) as part:
            pack(settings, bundle, chosen_share(summary, bundle), folder, part)
    return str(folder / HEADLINE)


def best_seed(folder: Path, vectors: Vectors | None = None) -> Bundle:
    """The bundle, among the seeds of a team or policy, that did best on valid; the lowest seed on a tie."""
    seeds = [Bundle.load(each, vectors) for each in sorted(folder.glob("seed-*"))]
    if not seeds:
        raise ConfigError(
            f"evaluate.headline is '{folder.name}', of which nothing is kept in {folder}. "
            "Allowed: a team, or a policy of kind two_tier, chain, planned or summary_gain."
        )
    return max(seeds, key=lambda bundle: float(bundle.facts["valid_quality"]))


def with_small(settings: config.Params, name: str, kept: Bundle, models: Path, vectors: str, folder: Path) -> Bundle:
    """A policy of params.yaml in `folder` with the small expert that it asks first, able to decide by itself."""
    small = settings.train[name].small
    if kept.experts[0] != small:
        raise ConfigError(
            f"evaluate.{name}.headline is '{kept.facts['team']}', which asks '{kept.experts[0]}' "
            f"first. Allowed: a team, or a policy whose first expert is '{small}', the small one."
        )
    words = Path(vectors) if settings.task(name).vectors else None
    setting = experts.Setting(name=small, task=name, classes=kept.classes, vectors=words)
    expert = experts.build(setting, settings.expert(small))
    if isinstance(expert, experts.TrainedExpert):
        expert.load(models / small / f"seed-{kept.facts['seed']}")
    whole = Bundle.of(kept.policy, kept.classes, kept.facts, expert).save(folder)
    # What cannot decide by itself says so here, not to whoever asks the registered model.
    decide(whole, [])
    return whole


def chosen_share(summary: dict[str, Any], bundle: Bundle) -> float | None:
    """The share of items deferred that valid chose for the bundle's seed, None for the policy's own rule."""
    seeds = summary["policies"][summary["headline"]["policy"]]["seeds"]
    found: float | None = dict(zip(seeds, summary["headline"]["budgets"], strict=True))[bundle.facts["seed"]]
    return found


def pack(settings: config.Params, bundle: Bundle, share: float | None, reports: Path, folder: Path) -> Path:
    """The bundle in `folder` with what travels along.

    The curve, the first seed of each policy in `reports`, the rows that decisions in production are held against, and
    the terms on which expensive experts are asked.
    """
    assert bundle.folder is not None
    shutil.copytree(bundle.folder, folder, dirs_exist_ok=True)
    shutil.copyfile(reports / "curve.png", folder / "curve.png")
    for policy in sorted(path for path in (reports / "policies").glob("*") if path.is_dir()):
        (folder / "policies").mkdir(exist_ok=True)
        shutil.copyfile(sorted(policy.glob("seed-*"))[0] / FILE, folder / "policies" / f"{policy.name}.json")
    add_baseline(settings, replace(bundle, folder=folder), share)
    terms_of(settings, bundle.task, bundle.experts[1:]).write(folder)
    return folder


def terms_of(settings: config.Params, name: str, expensive: tuple[str, ...]) -> Terms:
    """The terms on which a task's expensive experts are asked, with what answers took where some are on record."""
    terms, data, usage = Terms.of(settings, name, expensive), settings.base.data, {}
    examples = data / "prepared" / name / "examples.parquet"
    for expert in expensive:
        path = data / "predictions" / name / "generated" / f"{expert}.parquet"
        asked = expert_of(settings, name, expert, data / "answers" / name)
        if path.exists() and examples.exists() and isinstance(asked, PaidExpert):
            rows = schema.read(examples, "examples")
            usage[expert] = on_record(asked, rows, schema.read(path, "predictions")).state()
    return replace(terms, usage=usage)
