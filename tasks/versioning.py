"""Data, code and stages as DVC and git know them; the only file that calls either."""

from __future__ import annotations

import graphlib
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, State

from askless.errors import AsklessError
from tasks import worth_a_retry

LOCK = "dvc.lock"
OUTCOMES = {"Running stage": "ran", "is cached - skipping run": "restored", "didn't change, skipping": "unchanged"}
BUSY, BUSY_SECONDS, STOP_SECONDS = "is busy, it is being blocked by", 10.0, 20.0


class CommandInterrupted(AsklessError):
    """A command that ended before it was done, for no reason that it named: worth another try."""


def _again(task: Any, run: Any, state: Any) -> bool:
    return isinstance(state.result(raise_on_failure=False), CommandInterrupted) or worth_a_retry(task, run, state)


def versions(root: Path = Path()) -> dict[str, str]:
    """The git commit, whether code or parameters were changed since, the hash of dvc.lock and of the outputs in it.

    A value that is not to be had (no git, no lock file yet) is left out.
    """
    found: dict[str, str] = {}
    commit = _git(root, "rev-parse", "HEAD")
    if commit:
        found["git_commit"] = commit
        but = [f":!{made}" for made in (LOCK, "reports", "data/sources")]
        found["git_dirty"] = str(
            bool(_git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", *but))
        ).lower()
    lock = root / LOCK
    if lock.exists():
        text = lock.read_bytes()
        found["dvc_lock_sha256"] = hashlib.sha256(text).hexdigest()
        for out in _outs(yaml.safe_load(text) or {}):
            found[f"data.{out['path']}"] = out.get("md5", "")
    return found


def data_of(task: str, llms: Sequence[str], root: Path = Path()) -> dict[str, str]:
    """The hashes in dvc.lock of the examples, word vectors and LLMs' answers of a task: what its report is made of."""
    paths = [f"prepared/{task}", f"vectors/{task}", *(f"predictions/{task}/generated/{llm}.parquet" for llm in llms)]
    found = versions(root)
    return {f"data/{path}": found[key] for path in paths if (key := f"data.data/{path}") in found}


def stages(last: str) -> list[str]:
    """The stage `last` and all that it needs, in DVC's order. Raises `AsklessError` where DVC knows no such stage."""
    code, lines = _dvc("dag", "--dot", last)
    if code:
        raise AsklessError(f"{last}: {_error(lines)}")
    drawn = "\n".join(lines)
    graph: dict[str, set[str]] = {name: set() for name in re.findall(r'^"([^"]+)";$', drawn, re.M)}
    for before, after in re.findall(r'^"([^"]+)" -> "([^"]+)";$', drawn, re.M):
        graph[after].add(before)
    return list(graphlib.TopologicalSorter(graph).static_order())


@task(cache_policy=NO_CACHE, task_run_name="{stage}", retries=1, retry_delay_seconds=10, retry_condition_fn=_again)
def reproduce(stage: str) -> State[str]:
    """Bring one stage up to date, its output line by line in the run's log; the state is Ran, Restored or Unchanged.

    A stage that another process is at work on is waited for. Raises `AsklessError` with the reason that a failed
    stage gave, `CommandInterrupted` where it gave none.
    """
    log = get_run_logger().info
    code, lines = _dvc("repro", "--single-item", stage, log=log)
    while any(BUSY in line for line in lines):
        time.sleep(BUSY_SECONDS)
        code, lines = _dvc("repro", "--single-item", stage, log=log)
    if code:
        raise _failure(stage, lines)
    outcome = next((word for sign, word in OUTCOMES.items() if any(sign in line for line in lines)), "unchanged")
    return Completed(name=outcome.capitalize(), message=f"{stage}: {outcome}", data=outcome)


@task(cache_policy=NO_CACHE, retries=1, retry_delay_seconds=10, retry_condition_fn=_again)
def push(last: str) -> bool:
    """Send what `last` and the stages before it made to DVC's default remote; False where none is set."""
    if _dvc("config", "core.remote")[1] == []:
        return False
    code, lines = _dvc("push", "--with-deps", last, log=get_run_logger().info)
    if code:
        raise CommandInterrupted(f"dvc push: {_error(lines)} What was made is kept here: run `dvc push` again.")
    return True


def _failure(stage: str, lines: list[str]) -> AsklessError:
    """The reason that a failed stage gave; else DVC's own, and the last line before."""
    own = [line for line in lines if line.startswith(f"{stage.partition('@')[0]} failed: ")]
    if own:
        return AsklessError(f"{stage}: {own[-1]}")
    if not any(line.startswith("Running stage") for line in lines):
        return AsklessError(f"{stage}: {_error(lines)}")
    words = [line for line in lines if not line.startswith("ERROR: ")]
    return CommandInterrupted(
        f"{_error(lines)}. Its last words: {words[-1].rstrip('.')}. Run again: what is done and paid for is kept."
    )


def _error(lines: list[str]) -> str:
    """DVC's own words: what follows `ERROR:`, or all of it."""
    at = next((i for i, line in enumerate(lines) if line.startswith("ERROR: ")), 0)
    return " ".join(" ".join(lines[at:]).removeprefix("ERROR: ").split())


def _dvc(*words: str, log: Callable[[str], None] | None = None) -> tuple[int, list[str]]:
    """Exit code and lines of a `dvc` command; it and all it started end with this process."""
    command = [str(Path(sys.executable).with_name("dvc")), "--wait-for-lock", *words]
    with subprocess.Popen(
        command,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        process_group=0,
    ) as process:
        try:
            assert process.stdout
            lines = []
            for line in filter(None, map(str.rstrip, process.stdout)):
                lines.append(line)
                if log:
                    log(line)
            return process.wait(), lines
        except BaseException:
            _stop(process)
            raise


def _stop(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _environment() -> dict[str, str]:
    """This process's, for stages that are flow runs of their own on the same server, with this Python's programs."""
    given = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT__")}
    server = PREFECT_API_URL.value()
    programs = os.pathsep.join([str(Path(sys.executable).parent), given.get("PATH", "")])
    return given | {"PYTHONUNBUFFERED": "1", "PATH": programs} | ({"PREFECT_API_URL": server} if server else {})


def _outs(lock: dict[str, object]) -> list[dict[str, str]]:
    stages = lock.get("stages", {})
    assert isinstance(stages, dict)
    return [out for stage in stages.values() for out in stage.get("outs", []) if out["path"].startswith("data/")]


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
