"""The whole pipeline on a setting that takes seconds, run once for all tests that look at what it makes."""

from __future__ import annotations

import contextlib
import copy
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from askless import config
from askless.config.checks import BY_TASK
from tests.once import once

ROOT = Path(__file__).parents[1]
LLM, TEAM, MODEL = "demo-xs", "team", "askless-olhs"
POSTS, DOCUMENTS = 700, 400
TRAIN = {
    "olhs": {
        "seeds": [67, 68],
        "teams": {TEAM: {"kind": "team_gain", "epochs": 4}, "published": {"kind": "team_joint", "epochs": 2}},
    },
    "xsum": {"seeds": [67, 68]},
}
SUMMARISERS = {
    "gain": {"kind": "summary_gain", "trees": 10},
    "gain_after_small": {"kind": "summary_gain", "look_at": "small", "trees": 10},
    "two_tier": {},
    "chain": {},
    "published": {"kind": "summary_published"},
    "random": {},
}


@cache
def committed_params() -> dict[str, Any]:
    """What params.yaml says; nobody changes it."""
    return dict(yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")))


def small_params(task: str = "olhs", llms: Sequence[str] = (LLM,), **sections: Mapping[str, Any]) -> dict[str, Any]:
    """The committed params.yaml cut down to one task, the smallest LLM (or `llms`), two seeds and two teams.

    `sections` change what is said of the task, there or in a section of its own; `source` replaces the source.
    """
    params = copy.deepcopy(committed_params())
    params["base"].update(tasks=[task], llms=list(llms))
    for section in ("tasks", *BY_TASK):
        params[section] = {task: params[section][task]}
    about = params["tasks"][task]
    about["source"].update(rows={"olhs": POSTS, "xsum": DOCUMENTS}[task])
    about["vectors"].update(rows=3000 if task == "olhs" else 1000, dim=50)
    about["checks"].update(rows_min=100)
    params["experts"]["mlp"]["epochs"] = 4
    params["train"][task].update(copy.deepcopy(TRAIN[task]))
    if task == "olhs":
        params["train"][task].update(llms=list(llms[:1]))
    if task == "xsum":
        params["policies"][task] = dict(SUMMARISERS)
    params["evaluate"][task].update(reference=llms[0], budgets=[0.2, 0.5], sweep=11, bootstrap=50, margin=0.05)
    if task == "olhs":
        params["evaluate"][task].update(headline=TEAM, model=MODEL)
    for section, values in sections.items():
        (
            params[section][task] if section in BY_TASK else about[section] if section in about else params[section]
        ).update(values)
    if about["source"]["kind"] in config.TABLES:
        # Texts of one's own have a prompt of one's own: here what the demo's says.
        about["prompt"] = {"template": "{text}\nOffensive:", "words": {"0": " no", "1": " yes"}}
        for entry in params["experts"].values():
            entry.pop("prompt", None)
    return params


def write_params(folder: Path, params: Mapping[str, Any], name: str = "params.yaml") -> str:
    """Write a params file into `folder`; returns its path."""
    path = folder / name
    path.write_text(yaml.safe_dump(dict(params), sort_keys=False), encoding="utf-8")
    return str(path)


def commit_all(folder: Path) -> str:
    """Make `folder` a git repository with everything in one commit; returns the commit."""
    who = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "init", "-q", folder], check=True)
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    subprocess.run(["git", *who, "commit", "-qm", "all"], cwd=folder, check=True)
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """The working directory and MLflow's default store in `folder` while the block lasts."""
    before = os.environ.pop("MLFLOW_TRACKING_URI", None)
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of MLflow with its tables and nothing in them."""

    def make(folder: Path) -> None:
        import mlflow

        address = f"sqlite:///{folder / 'mlflow.db'}"
        mlflow.MlflowClient(tracking_uri=address, registry_uri=address).search_registered_models()

    return once(tmp_path_factory, "store", make) / "mlflow.db"


def with_store(folder: Path, empty: Path) -> Path:
    """The database of MLflow in `folder`, a copy of an empty one unless it is there."""
    path = folder / "mlruns/mlflow.db"
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        shutil.copy(empty, path)
    return path


def run_stages(folder: Path, task: str, params: str) -> None:
    """Every stage of a task in `folder`, each by its tasks' `fn`."""
    from tasks.data import obtain_raw, prepare_examples, publish
    from tasks.evaluate import evaluate_policies
    from tasks.packing import pack_headline
    from tasks.registration import register_headline
    from tasks.runs import log_evaluation, log_training
    from tasks.train import train_expert, train_team
    from tasks.validation import validate_examples, validate_predictions
    from tasks.vectors import build_vectors

    experts = config.load(params).train[task]
    with working_in(folder):
        examples, checks, candidates = (
            f"data/prepared/{task}/examples.parquet",
            f"reports/{task}/checks",
            "data/candidates",
        )
        predictions, vectors, models = f"data/predictions/{task}", f"data/vectors/{task}", f"models/{task}"
        raw = obtain_raw.fn(task, params, f"data/raw/{task}")
        prepare_examples.fn(task, params, raw, f"{candidates}/examples.parquet")
        validate_examples.fn(task, params, f"{candidates}/examples.parquet", examples, checks)
        publish.fn(f"{candidates}/examples.parquet", examples)
        build_vectors.fn(task, params, f"data/raw/vectors/{task}", vectors)
        answer_examples(task, LLM, params, examples, f"data/answers/{task}", f"{candidates}/llm.parquet", vectors)
        validate_predictions.fn(task, LLM, params, f"{candidates}/llm.parquet", checks)
        publish.fn(f"{candidates}/llm.parquet", f"{predictions}/generated/{LLM}.parquet")
        for expert in (experts.small, *experts.baselines):
            train_expert.fn(task, expert, params, examples, vectors, models, f"{predictions}/trained/{expert}")
        for team in experts.teams:
            learnt = train_team.fn(task, team, params, examples, vectors, predictions, models)
            log_training.fn(task, team, params, models, learnt)
        reports = f"reports/{task}"
        decisions = f"data/decisions/{task}.parquet"
        evaluate_policies.fn(task, params, examples, predictions, models, vectors, reports, decisions)
        pack_headline.fn(task, params, reports, models, vectors)
        log_evaluation.fn(task, params, reports)
        register_headline.fn(task, params, reports)


def answer_examples(
    task: str, llm: str, params: str, examples: str, answers: str, candidate: str, vectors: str = ""
) -> list[int]:
    """Stage `generate` up to its candidate, without a flow: returns the rows of each shard."""
    from askless.experts.asked import options_of
    from tasks.generate import answer_shard, asked, cut_examples, merge_parts
    from tasks.shards import Shards

    settings, folder = config.load(params), f"{candidate}.shards"
    rows = cut_examples.fn(task, llm, params, examples, folder)
    shards = Shards(folder, f"{answers}/{llm}.sqlite", llm, settings.costs.prices)
    with contextlib.closing(shards):
        for number in range(len(rows)):
            answer_shard.fn(number, asked(settings, task, llm).setting, options_of(settings, task, llm), shards)
    merge_parts.fn(task, llm, params, folder, len(rows), answers, candidate, vectors)
    return rows


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """A folder in which every stage of `olhs` ran once, with git and a dvc.lock; tests only read it."""
    out = {"path": "data/prepared/olhs", "md5": "abc.dir"}
    lock = {"schema": "2.0", "stages": {"prepare@olhs": {"outs": [out]}}}

    def make(folder: Path) -> None:
        params = write_params(folder, small_params())
        (folder / "dvc.lock").write_text(yaml.safe_dump(lock), encoding="utf-8")
        (folder / ".gitignore").write_text("/data/\n/models/\n/reports/\n/mlruns/\n", encoding="utf-8")
        commit_all(folder)
        with_store(folder, empty_store)
        run_stages(folder, "olhs", params)

    return once(tmp_path_factory, "built", make)


@pytest.fixture(scope="session")
def summarised(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """A folder in which every stage of `xsum` ran once; tests only read it."""

    def make(folder: Path) -> None:
        with_store(folder, empty_store)
        run_stages(folder, "xsum", write_params(folder, small_params("xsum")))

    return once(tmp_path_factory, "summarised", make)
