"""From an evaluation to a registered version in MLflow: the headline's bundle, what travels with it, its tags."""

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
from askless.annotating.run import SUMMARY, words
from askless.bundles.bundle import FILE, Bundle
from askless.bundles.decide import decide
from askless.bundles.terms import FILE as TERMS
from askless.bundles.terms import Terms, of_bundle
from askless.errors import ConfigError
from askless.experts.asked import expert_of
from askless.experts.paid import PaidExpert
from askless.files import read_json, read_yaml
from askless.labelling.foreseen import on_record
from askless.policies.base import Budget
from askless.registry.versions import BUNDLE, find, resolve
from askless.registry.versions import versions as versions_of
from askless.report.annotated import PAGE
from askless.report.model_card import CURVE, card
from askless.report.report import headline, markdown_summary
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

    settings, folder = config.load(params), Path(reports)
    summary = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    team = summary["headline"]["policy"]
    with (
        tracked(name, f"evaluate {team}", {"stage": "evaluate", "team": team}) as run,
        tempfile.TemporaryDirectory() as scratch,
    ):
        mlflow.log_params({"headline": team, "reference": summary["reference"], "quality": summary["quality"]})
        mlflow.log_metrics(flat_metrics(summary))
        for file in ("report.html", "curve.csv", "curve.png", "reliability.png", "metrics.json"):
            mlflow.log_artifact(str(folder / file))
        mlflow.set_tag("mlflow.note.content", markdown_summary(summary))
        if team in settings.train[name].teams:
            bundle = best_seed(Path(models) / "teams" / team)
        else:
            words = Vectors.open(vectors) if settings.task(name).vectors else None
            kept = best_seed(folder / "policies" / team, words)
            bundle = with_small(settings, name, kept, Path(models), vectors, Path(scratch, "bundle"))
        return register(settings, summary, bundle, run.info.run_id, folder)


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


def register(
    settings: config.Params, summary: dict[str, Any], bundle: Bundle, run_id: str, reports: Path, **tags: str
) -> str:
    """Register a bundle as a pyfunc that carries its own code; returns the version.

    `reports` has the picture of the curve, and in `policies/` those that travel along. `tags` are put in the place of
    those of the evaluation.
    """
    model, share = settings.evaluate[summary["task"]].model, chosen_share(summary, bundle)
    terms = terms_of(settings, summary["task"], bundle.experts[1:])
    text = card(summary, bundle, share, versions(), settings.task(summary["task"]).note)
    facts = {
        "run_id": run_id,
        "unit": summary["unit"],
        "headline": headline(summary),
        "cost_per_1k": summary["headline"]["cost_per_1k"]["value"],
        "quality": summary["headline"]["quality"]["value"],
        "budget": "" if share is None else share,
        "threshold": bundle.policy.threshold_words(None if share is None else Budget(share=share)),
        **tags,
    }
    with tempfile.TemporaryDirectory() as scratch:
        packed = pack(settings, bundle, share, reports, Path(scratch, BUNDLE.name))
        return _registered(packed, bundle, terms, model, text, facts)


@task(cache_policy=NO_CACHE)
def register_plan(plan: str, params: str = "params.yaml") -> str:
    """Register the plan on a page, or what a run of `annotate` made, as an evaluation's headline is.

    The model is `askless-<name of the page>`, of the run `labelled.parquet.run` `askless-labelled`. Its experts are
    asked on the terms that it was made with or, where there are none, on those of `params`. Raises `ConfigError` for a
    plan that must see an expensive answer before it decides.
    """
    import mlflow

    bundle = Bundle.load(plan)
    decide(bundle, [])
    assert bundle.folder is not None
    terms = of_bundle(bundle, None if (bundle.folder / TERMS).exists() else Path(params))
    name, text, told, page = _of_page(Path(plan), bundle) if Path(plan).is_file() else _of_run(Path(plan))
    facts = {
        **told,
        "budget": "" if bundle.share() is None else bundle.share(),
        "threshold": bundle.policy.threshold_words(bundle.budget()),
    }
    about = {"stage": "plan", "plan": plan}
    with tracked(bundle.task, f"plan {plan}", about) as run, tempfile.TemporaryDirectory() as scratch:
        mlflow.log_artifact(str(page))
        packed = Path(shutil.copytree(bundle.folder, Path(scratch, BUNDLE.name)))
        facts["run_id"] = run.info.run_id
        return _registered(packed, bundle, terms, f"askless-{name}", text, facts)


def _of_page(page: Path, bundle: Bundle) -> tuple[str, str, dict[str, Any], Path]:
    """Of a plan its name, its words, what the version's tags say of it, and what of it is logged."""
    about = read_yaml(page)
    lines = page.read_text("utf-8").splitlines(True)
    text = "".join(line.removeprefix("# ") for line in lines if line.startswith("#"))
    told = {
        "unit": about["unit"],
        "headline": text.splitlines()[2],
        "cost_per_1k": 1000 * about["promise"]["cost"][0],
        "quality": about["promise"]["quality"][0],
    }
    return bundle.task, text, told, page


def _of_run(folder: Path) -> tuple[str, str, dict[str, Any], Path]:
    """The same of the run of `annotate` in a folder; its quality is the agreement that was promised of its own file."""
    about = read_json(folder / SUMMARY)
    said = words(about)
    told = {
        "unit": "usd",
        "headline": said[1],
        "cost_per_1k": 1000 * about["paid_usd"] / about["answerable"],
        "quality": "" if about["promised"] is None else about["promised"],
    }
    return folder.name.partition(".")[0], "\n\n".join(said) + "\n", told, folder / PAGE


def _registered(packed: Path, bundle: Bundle, terms: Terms, model: str, text: str, facts: dict[str, Any]) -> str:
    """Put a bundle's folder into the registry as the challenger of `model`, with a card and tags."""
    import mlflow
    import pandas as pd

    terms.write(packed)
    (packed / "card.md").write_text(text, encoding="utf-8")
    with tempfile.TemporaryDirectory() as scratch:
        info = mlflow.pyfunc.log_model(
            name="team",
            python_model=str(Path(__file__).with_name("served.py")),
            artifacts={"bundle": str(packed)},
            code_paths=[str(package_code(Path(scratch), terms.demo_models()))],
            signature=_signature("label" if bundle.classes else "summary"),
            input_example=pd.DataFrame({"text": ["what a lovely day", "nobody asked you"]}),
            pip_requirements=[_pinned(p) for p in _needed(bundle, terms)],
            registered_model_name=model,
        )
    version = str(info.registered_model_version)
    client = mlflow.MlflowClient()
    whose = {
        "task": bundle.task,
        "kind": bundle.kind,
        "experts": ",".join(bundle.experts),
        "seed": bundle.facts["seed"],
    }
    code = {name: versions().get(name, "") for name in ("dvc_lock_sha256", "git_commit")}
    for key, value in {**whose, **code, **facts}.items():
        client.set_model_version_tag(model, version, key, str(value))
    client.update_model_version(model, version, description=text.replace(f"{CURVE}\n", ""))
    client.set_registered_model_alias(model, "challenger", version)
    return version


def chosen_share(summary: dict[str, Any], bundle: Bundle) -> float | None:
    """The share of items deferred that valid chose for the bundle's seed, None for the policy's own rule."""
    seeds = summary["policies"][summary["headline"]["policy"]]["seeds"]
    found: float | None = dict(zip(seeds, summary["headline"]["budgets"], strict=True))[bundle.facts["seed"]]
    return found


def pack(settings: config.Params, bundle: Bundle, share: float | None, reports: Path, folder: Path) -> Path:
    """The bundle in `folder` with what travels along.

    The curve, the first seed of each policy in `reports`, and the rows that decisions in production are held against.
    """
    assert bundle.folder is not None
    shutil.copytree(bundle.folder, folder)
    shutil.copyfile(reports / "curve.png", folder / "curve.png")
    for policy in sorted(path for path in (reports / "policies").glob("*") if path.is_dir()):
        (folder / "policies").mkdir(exist_ok=True)
        shutil.copyfile(sorted(policy.glob("seed-*"))[0] / FILE, folder / "policies" / f"{policy.name}.json")
    add_baseline(settings, replace(bundle, folder=folder), share)
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


@task(cache_policy=NO_CACHE)
def register_proposal(name: str, params: str, folder: str, number: int) -> str:
    """Register, once, the version proposed in `folder`: version `number` at another share; returns its own number.

    It carries the evaluation of the version it was made from, and is marked as one that a person decides about.
    """
    import mlflow

    settings, path = config.load(params), Path(folder)
    of = find(settings.evaluate[name].model, number)
    for version in versions_of(of.model):
        facts = Bundle.load(resolve(version.address)).facts if version.proposed_by == MONITOR else {}
        if facts.get("recalibrated_on") == path.name:
            return str(version.number)
    bundle, about = Bundle.load(path / "bundle"), {"stage": MONITOR, "proposal": folder}
    with tracked(name, f"propose {path.name}", about) as run:
        summary = mlflow.artifacts.load_dict(f"runs:/{of.run_id}/metrics.json")
        mlflow.log_dict(summary, "metrics.json")
        for file in ("bundle.diff", "reasons.md"):
            mlflow.log_artifact(str(path / file))
        share = bundle.share()
        summary["headline"]["budgets"] = [share] * len(summary["headline"]["budgets"])
        text = f"Not evaluated: version {number} deferring {share:g}, set anew on rows of production."
        tags = {"headline": text, "quality": "", "cost_per_1k": "", "proposed_by": MONITOR, "proposal": folder}
        return register(settings, summary, bundle, run.info.run_id, path / "bundle", **tags)


def _signature(answer: str) -> Any:
    """What the served model takes and gives; `answer` is its first column."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    columns = [("string", answer), ("string", "expert"), ("double", "score"), ("double", "cost")]
    columns += [("string", "reason"), ("string", "small_answer"), ("double", "small_confidence")]
    return ModelSignature(
        inputs=Schema([ColSpec("string", "text")]),
        outputs=Schema([ColSpec(kind, name, required=name in ("expert", "reason")) for kind, name in columns]),
        params=ParamSchema([ParamSpec(name, "double", default) for name, default in REQUEST.items()]),
    )


def package_code(scratch: Path, demos: tuple[str, ...] = ()) -> Path:
    """A copy of the `askless` package, of the demo's models those named alone, for a model to carry."""
    import askless

    source, copy = Path(askless.__file__).parent, scratch / "askless"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__", "models", "templates"))
    for size in demos:
        shutil.copytree(source / "data/demo/models" / size, copy / "data/demo/models" / size)
    return copy


def _needed(bundle: Bundle, terms: Terms) -> list[str]:
    """Packages that a model needs to decide, and to ask its expensive experts where that needs little more."""
    asked = [experts.resolve(options["backend"]) for options in terms.experts.values()]
    small = bundle.small.packages if bundle.small else ()
    return list(dict.fromkeys([*PACKAGES, *small, *(name for kind in asked if kind.hosted for name in kind.packages)]))


def _pinned(package: str) -> str:
    from importlib.metadata import version

    return f"{package}=={version(package).split('+')[0]}"
