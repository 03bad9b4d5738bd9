"""The whole pipeline on a setting that takes seconds, run once for all tests that look at what it makes."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
LLM, TEAM, MODEL = "demo-xs", "team", "deferral-olhs"
POSTS = 700


def small_params(**sections: Mapping[str, Any]) -> dict[str, Any]:
    """The committed params.yaml cut down to the smallest LLM, two seeds and two teams; `source` replaces the source."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["base"]["llms"] = [LLM]
    task = params["tasks"]["olhs"]
    task["source"] = {"kind": "demo", "rows": POSTS, "seed": 1}
    task["vectors"].update(rows=3000, dim=50)
    task["checks"].update(rows_min=100)
    params["experts"]["mlp"]["epochs"] = 4
    params["train"].update(
        seeds=[67, 68],
        llms=[LLM],
        teams={TEAM: {"kind": "team_gain", "epochs": 4}, "published": {"kind": "team_joint", "epochs": 2}},
    )
    params["evaluate"].update(
        headline=TEAM, reference=LLM, budgets=[0.2, 0.5], sweep=11, bootstrap=50, margin=0.05, model=MODEL
    )
    for section, values in sections.items():
        (task if section in task else params)[section].update(values)
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
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every task ran once, by `task.fn`, with git and a dvc.lock; tests only read it."""
    from tasks.data import build_vectors, obtain_raw, prepare_examples, publish
    from tasks.evaluate import evaluate_policies
    from tasks.generate import answer_examples
    from tasks.tracking import log_evaluation, log_training
    from tasks.train import train_expert, train_team
    from tasks.validation import validate_examples, validate_predictions

    folder = tmp_path_factory.mktemp("built")
    params = write_params(folder, small_params())
    lock = {"schema": "2.0", "stages": {"prepare@olhs": {"outs": [{"path": "data/prepared/olhs", "md5": "abc.dir"}]}}}
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock), encoding="utf-8")
    (folder / ".gitignore").write_text("/data/\n/models/\n/reports/\n/mlruns/\n", encoding="utf-8")
    commit_all(folder)
    with working_in(folder):
        examples, checks = "data/prepared/olhs/examples.parquet", "reports/olhs/checks"
        answers = f"data/predictions/olhs/generated/{LLM}.parquet"
        raw = obtain_raw.fn("olhs", params, "data/raw/olhs")
        prepare_examples.fn("olhs", params, raw, "data/candidates/olhs/examples.parquet")
        validate_examples.fn("olhs", params, "data/candidates/olhs/examples.parquet", examples, checks)
        publish.fn("data/candidates/olhs/examples.parquet", examples)
        build_vectors.fn("olhs", params, "data/raw/vectors/olhs", "data/vectors/olhs")
        answer_examples.fn("olhs", LLM, params, examples, "data/answers/olhs", "data/candidates/olhs/llm.parquet")
        validate_predictions.fn("olhs", LLM, params, "data/candidates/olhs/llm.parquet", checks)
        publish.fn("data/candidates/olhs/llm.parquet", answers)
        where = ("data/vectors/olhs", "models/olhs")
        for expert in ("mlp", "linear", "majority"):
            out = f"data/predictions/olhs/trained/{expert}.parquet"
            train_expert.fn("olhs", expert, params, examples, *where, out)
        for team in (TEAM, "published"):
            learnt = train_team.fn("olhs", team, params, examples, where[0], "data/predictions/olhs", where[1])
            log_training.fn("olhs", team, params, where[1], learnt)
        evaluate_policies.fn(
            "olhs",
            params,
            examples,
            "data/predictions/olhs",
            "models/olhs",
            "data/vectors/olhs",
            "reports/olhs",
            "data/decisions/olhs.parquet",
        )
        log_evaluation.fn("olhs", params, "reports/olhs", "models/olhs", "data/vectors/olhs")
    return folder
