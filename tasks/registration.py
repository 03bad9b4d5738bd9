"""Registered models in MLflow: a bundle, what it needs, and what is said of it, as a version."""

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
from askless.bundles import bundle
from askless.bundles.decide import assign
from askless.bundles.terms import Terms
from askless.experts.paid import PaidExpert
from askless.labelling.foreseen import on_record
from askless.registry.versions import BUNDLE, find, resolve
from askless.registry.versions import versions as versions_of
from askless.report.model_card import CURVE, card
from askless.report.report import headline, markdown_summary
from askless.report.threshold_words import threshold_words
from askless.spending.pending import expert_of
from askless.text.embeddings import Vectors
from tasks.baseline import add_baseline
from tasks.runs import flat_metrics, tracked
from tasks.versioning import versions

PACKAGES = ("numpy", "pyarrow", "scikit-learn", "scipy", "safetensors", "pydantic", "pyyaml", "pandas")
MONITOR = "monitor"
# Parameters of a request to the served model, and what they are where it has none.
REQUEST = {"share": -1.0, "per_1000": -1.0, "max_usd": 0.0}


@task(cache_policy=NO_CACHE)
def log_evaluation(name: str, params: str, reports: str, models: str, vectors: str) -> str:
    """One run with the evaluation's metrics, curve and report; the headline policy registered; returns its version."""
    import mlflow

    settings = config.load(params)
    summary = json.loads((Path(reports) / "metrics.json").read_text(encoding="utf-8"))
    team = settings.evaluate[name].headline
    with tracked(name, f"evaluate {team}", {"stage": "evaluate", "team": team}) as run:
        mlflow.log_params({"headline": team, "reference": summary["reference"], "quality": summary["quality"]})
        mlflow.log_metrics(flat_metrics(summary))
        for file in ("report.html", "curve.csv", "curve.png", "reliability.png", "metrics.json"):
            mlflow.log_artifact(str(Path(reports) / file))
        mlflow.set_tag("mlflow.note.content", markdown_summary(summary))
        kept = Path(reports) / "policies"
        if team in settings.train[name].teams:
            return register(settings, summary, best_seed(Path(models) / "teams" / team), run.info.run_id, kept)
        with tempfile.TemporaryDirectory() as scratch:
            whole = with_small(settings, name, best_seed(kept / team), Path(models), vectors, Path(scratch))
            return register(settings, summary, whole, run.info.run_id, kept)


def with_small(settings: config.Params, name: str, kept: Path, models: Path, vectors: str, scratch: Path) -> Path:
    """The bundle of a policy of params.yaml with the small expert that it asks first, able to decide by itself."""
    about, small = bundle.describe(kept), settings.train[name].small
    if about["experts"][0] != small:
        raise config.ConfigError(
            f"evaluate.{name}.headline is '{settings.evaluate[name].headline}', which asks '{about['experts'][0]}' "
            f"first. Allowed: a team, or a policy whose first expert is '{small}', the small one."
        )
    setting = experts.Setting(name=small, task=name, classes=tuple(about["classes"]), vectors=Path(vectors))
    expert = experts.build(setting, settings.expert(small))
    if isinstance(expert, experts.TrainedExpert):
        expert.load(models / small / f"seed-{about['facts']['seed']}")
    policy = bundle.load(kept, Vectors.open(vectors)).policy
    whole = bundle.save(policy, scratch / "bundle", about["facts"], tuple(about["classes"]), expert)
    # What cannot decide by itself says so here, not to whoever asks the registered model.
    assign(bundle.load(whole), [])
    return whole


def best_seed(folder: Path) -> Path:
    """The bundle, among the seeds of a team or policy, that did best on valid; the lowest seed on a tie."""
    seeds = sorted(folder.glob("seed-*"))
    if not seeds:
        raise config.ConfigError(
            f"evaluate.headline is '{folder.name}', of which nothing is kept in {folder}. "
            "Allowed: a team, or a policy of kind two_tier, chain, planned or summary_gain."
        )
    return max(seeds, key=lambda f: (bundle.describe(f)["facts"]["valid_quality"], -seeds.index(f)))


def register(
    settings: config.Params, summary: dict[str, Any], folder: Path, run_id: str, beside: Path, **tags: str
) -> str:
    """Register the bundle in `folder` as a pyfunc that carries its own code; returns the version.

    The policies kept in `beside` travel along, the first seed of each, in `policies/<name>` of the bundle, and so do
    the rows that decisions in production are held against, the terms on which its expensive experts are asked, and the
    model card, which is the version's description too. `tags` are put in the place of those of the evaluation.
    """
    import mlflow
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    about, model = bundle.describe(folder), settings.evaluate[summary["task"]].model
    terms = terms_of(settings, summary["task"], tuple(about["experts"][1:]))
    columns = [("string", "label" if terms.classes else "summary"), ("string", "expert"), ("double", "score")]
    columns += [("double", "cost"), ("string", "reason"), ("string", "small_answer"), ("double", "small_confidence")]
    signature = ModelSignature(
        inputs=Schema([ColSpec("string", "text")]),
        outputs=Schema([ColSpec(kind, name, required=name in ("expert", "reason")) for kind, name in columns]),
        params=ParamSchema([ParamSpec(name, "double", default) for name, default in REQUEST.items()]),
    )
    with tempfile.TemporaryDirectory() as scratch:
        packed = shutil.copytree(folder, Path(scratch, BUNDLE.name))
        for policy in sorted(beside.glob("*")):
            first = sorted(policy.glob("seed-*"))[0]
            (packed / "policies").mkdir(exist_ok=True)
            shutil.copyfile(first / "bundle.json", packed / "policies" / f"{policy.name}.json")
        share = operating_point(summary, folder)["budget"]
        add_baseline(settings, summary["task"], packed, None if share == "" else share)
        terms.write(packed)
        text = described(settings, summary, folder)
        (packed / "card.md").write_text(text, encoding="utf-8")
        shutil.copyfile(beside.parent / "curve.png", packed / "curve.png")
        info = mlflow.pyfunc.log_model(
            name="team",
            python_model=str(Path(__file__).with_name("served.py")),
            artifacts={"bundle": str(packed)},
            code_paths=[str(package_code(Path(scratch), terms.demo_models()))],
            signature=signature,
            input_example=pd.DataFrame({"text": ["what a lovely day", "nobody asked you"]}),
            pip_requirements=[_pinned(p) for p in _needed(about["small"]["backend"], terms)],
            registered_model_name=model,
        )
    version = str(info.registered_model_version)
    client = mlflow.MlflowClient()
    facts = {
        "run_id": run_id,
        "task": summary["task"],
        "kind": about["kind"],
        "experts": ",".join(about["experts"]),
        "seed": about["facts"]["seed"],
        "unit": summary["unit"],
        "headline": headline(summary),
        "cost_per_1k": summary["headline"]["cost_per_1k"]["value"],
        "quality": summary["headline"]["quality"]["value"],
        **operating_point(summary, folder),
        **{name: versions().get(name, "") for name in ("dvc_lock_sha256", "git_commit")},
        **tags,
    }
    for key, value in facts.items():
        client.set_model_version_tag(model, version, key, str(value))
    client.update_model_version(model, version, description=text.replace(f"{CURVE}\n", ""))
    client.set_registered_model_alias(model, "challenger", version)
    return version


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


def described(settings: config.Params, summary: dict[str, Any], folder: Path) -> str:
    """The model card of the bundle in `folder`."""
    about, share = bundle.describe(folder), operating_point(summary, folder)["budget"]
    about["facts"] = {**about["facts"], "budget": None if share == "" else share}
    return card(summary, about, versions(), settings.task(summary["task"]).note)


def operating_point(summary: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The share of items that valid chose for the seed in `folder`, and the threshold there; both are tags."""
    seeds = summary["policies"][summary["headline"]["policy"]]["seeds"]
    shares = dict(zip(seeds, summary["headline"]["budgets"], strict=True))
    share = shares[bundle.describe(folder)["facts"]["seed"]]
    words = threshold_words(bundle.load(folder).policy, share)
    return {"budget": "" if share is None else share, "threshold": words}


@task(cache_policy=NO_CACHE)
def register_proposal(name: str, params: str, folder: str, number: int) -> str:
    """Register, once, the version proposed in `folder`: version `number` with another dial; returns its own number.

    It carries the evaluation of the version it was made from, and is marked as one that a person decides about.
    """
    import mlflow

    settings, path = config.load(params), Path(folder)
    of = find(settings.evaluate[name].model, number)
    for known in versions_of(of.model):
        facts = bundle.describe(resolve(known.address))["facts"] if known.proposed_by == MONITOR else {}
        if facts.get("recalibrated_on") == path.name:
            return str(known.number)
    new, about = path / "bundle", {"stage": MONITOR, "proposal": folder}
    with tracked(name, f"propose {path.name}", about) as run:
        summary = mlflow.artifacts.load_dict(f"runs:/{of.run_id}/metrics.json")
        mlflow.log_dict(summary, "metrics.json")
        for file in ("bundle.diff", "reasons.md"):
            mlflow.log_artifact(str(path / file))
        share = bundle.describe(new)["facts"]["budget"]
        summary["headline"]["budgets"] = [share] * len(summary["headline"]["budgets"])
        said = f"Not evaluated: version {number} with its dial at {share:g}, set anew on rows of production."
        tags = {"headline": said, "quality": "", "cost_per_1k": "", "proposed_by": MONITOR, "proposal": folder}
        return register(settings, summary, new, run.info.run_id, new / "none", **tags)


def package_code(scratch: Path, demos: tuple[str, ...] = ()) -> Path:
    """A copy of the `askless` package, of the demo's models those named alone, for a model to carry."""
    import askless

    source, copy = Path(askless.__file__).parent, scratch / "askless"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__", "models", "templates"))
    for size in demos:
        shutil.copytree(source / "data/demo/models" / size, copy / "data/demo/models" / size)
    return copy


def _needed(small: str, terms: Terms) -> list[str]:
    """Packages that a model needs to decide, and to ask its expensive experts where that needs little more."""
    asked = [experts.resolve(options["backend"]) for options in terms.experts.values()]
    needed = [experts.resolve(small), *(kind for kind in asked if kind.hosted)]
    return list(dict.fromkeys([*PACKAGES, *(package for kind in needed for package in kind.packages)]))


def _pinned(package: str) -> str:
    from importlib.metadata import version

    return f"{package}=={version(package).split('+')[0]}"
