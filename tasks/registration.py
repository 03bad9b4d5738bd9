"""From an evaluation to a registered version in MLflow, which is known by the digest of its bundle."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from askless import config, experts
from askless.annotating.run import SUMMARY, words
from askless.bundles.bundle import FILE, Bundle
from askless.bundles.decide import decide
from askless.bundles.terms import FILE as TERMS
from askless.bundles.terms import Terms, of_bundle
from askless.errors import ConfigError, DataError
from askless.files import read_json, read_yaml, sha256_of
from askless.policies.base import Budget
from askless.registry.aliases import one_at_a_time
from askless.registry.experiments import make_store
from askless.registry.versions import BUNDLE, CHALLENGER, find, resolve, store
from askless.registry.versions import versions as versions_of
from askless.report.annotated import PAGE
from askless.report.model_card import CURVE, card
from askless.report.report import headline
from tasks.packing import HEADLINE, chosen_share, pack
from tasks.runs import log_summary, tracked
from tasks.versioning import LOCK, versions

CARD = "card.md"
NAME = re.compile(r"[\w.-]+")
MONITOR = "monitor"
# Parameters of a request to the served model, and what they are where it has none.
REQUEST = {"share": -1.0, "per_1000": -1.0, "max_usd": 0.0}


@task(cache_policy=NO_CACHE)
def register_headline(name: str, params: str, reports: str) -> str:
    """Register what the stage `evaluate` left in `reports` as the task's challenger; returns its version.

    A bundle that is a version already is not registered again: that version is the challenger then. Raises `DataError`
    where there is none.
    """
    import mlflow

    settings, folder = config.load(params), Path(reports)
    settings.task(name)
    packed, model = folder / HEADLINE, settings.evaluate[name].model
    if not (packed / FILE).exists():
        stage = f"evaluate@{name}"
        allowed = f"the bundle that the stage {stage} leaves"
        raise DataError(packed, "no bundle", allowed, f"Run: dvc repro {stage}, or dvc pull {stage}.")
    with one_at_a_time(model):
        if known := twin(model, packed):
            return known
        summary = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        team = summary["headline"]["policy"]
        with tracked(name, f"register {team}", {"stage": "register", "team": team}) as run:
            log_summary(run.info.run_id, settings, summary, folder)
            if Path(LOCK).exists():
                mlflow.log_artifact(LOCK)
            return register(settings, summary, packed, run.info.run_id)


def twin(model: str, packed: Path) -> str:
    """The version of `model` that is this bundle, by its digest, now its challenger; empty where there is none."""
    make_store()
    try:
        known = versions_of(model)
    except ConfigError:
        return ""
    digest = digest_of(packed)
    for version in known:
        if version.digest == digest:
            _challenge(model, str(version.number))
            return str(version.number)
    return ""


def digest_of(packed: Path) -> str:
    """What a version is known by: SHA-256 over the files of its bundle, but for the card, which tells when it was made.

    Raises `DataError` for a file that cannot be read.
    """
    files = {str(path.relative_to(packed)): sha256_of(path) for path in packed.rglob("*") if path.is_file()}
    listed = "".join(f"{files[name]}  {name}\n" for name in sorted(files) if name != CARD)
    return hashlib.sha256(listed.encode()).hexdigest()


def register(settings: config.Params, summary: dict[str, Any], packed: Path, run_id: str, **tags: str) -> str:
    """Register a bundle and what travels with it as a pyfunc that carries its own code; returns the version.

    `tags` are put in the place of those of the evaluation.
    """
    bundle, about = Bundle.load(packed), settings.task(summary["task"])
    share = chosen_share(summary, bundle)
    text = card(summary, bundle, share, versions(), about.note)
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
    return _registered(packed, bundle, settings.evaluate[summary["task"]].model, text, facts)


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
    model, about = f"askless-{name}", {"stage": "plan", "plan": plan}
    with tempfile.TemporaryDirectory() as scratch, one_at_a_time(model):
        packed = Path(shutil.copytree(bundle.folder, Path(scratch, BUNDLE.name)))
        terms.write(packed)
        if known := twin(model, packed):
            return known
        with tracked(bundle.task, f"plan {plan}", about) as run:
            mlflow.log_artifact(str(page))
            return _registered(packed, bundle, model, text, {**facts, "run_id": run.info.run_id})


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


def _registered(packed: Path, bundle: Bundle, model: str, text: str, facts: dict[str, Any]) -> str:
    """Put a bundle's folder into the registry as the challenger of `model`, with a card and tags."""
    import mlflow
    import pandas as pd

    terms = Terms.read(packed)
    with tempfile.TemporaryDirectory() as scratch:
        carried = Path(shutil.copytree(packed, Path(scratch, BUNDLE.name)))
        (carried / CARD).write_text(text, encoding="utf-8")
        info = mlflow.pyfunc.log_model(
            name="team",
            python_model=str(Path(__file__).with_name("served.py")),
            artifacts={"bundle": str(carried)},
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
        "digest": digest_of(packed),
    }
    code = {name: versions().get(name, "") for name in ("dvc_lock_sha256", "git_commit")}
    for key, value in {**whose, **code, **facts}.items():
        client.set_model_version_tag(model, version, key, str(value))
    client.update_model_version(model, version, description=text.replace(f"{CURVE}\n", ""))
    _challenge(model, version)
    return version


def _challenge(model: str, version: str) -> None:
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=store(), registry_uri=store())
    client.set_registered_model_alias(model, CHALLENGER, version)


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
        with tempfile.TemporaryDirectory() as scratch:
            packed = pack(settings, bundle, share, path / "bundle", Path(scratch, BUNDLE.name))
            return register(settings, summary, packed, run.info.run_id, **tags)


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
    """Packages that a model needs: those of askless itself, of its small expert, and of its expensive ones if light."""
    from importlib.metadata import requires

    # The code that a model carries imports what it imports here: what askless needs without any extra.
    own = [NAME.findall(need)[0] for need in requires("askless") or () if "extra ==" not in need]
    asked = [experts.resolve(options["backend"]) for options in terms.experts.values()]
    small = bundle.small.packages if bundle.small else ()
    return list(dict.fromkeys([*own, *small, *(name for kind in asked if kind.hosted for name in kind.packages)]))


def _pinned(package: str) -> str:
    from importlib.metadata import version

    return f"{package}=={version(package).split('+')[0]}"
