"""Production in a few minutes, in a folder of its own: `python -m flows.demo_ops [folder]`, or `make demo-ops`.

Servers, deployments and a worker; a schedule that fires; a better model promoted, an experiment discarded, a worse
model refused, a rollback; new items answered; a drift seen, and a recalibration proposed. Everything is real but the
data and the LLM, which are the demo's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import LogSort
from prefect.settings import PREFECT_API_URL, temporary_settings

from askless.errors import AsklessError
from askless.registry.versions import PROMOTED, REFUSED
from flows.deploy import POOL
from flows.server import api, free_port, prefect_command, running
from flows.ui import mlflow_command

T = TypeVar("T")
TASK, MODEL, LLM = "olhs", "askless-olhs", "demo-l"
PATIENCE = 3600
WINDOW = 500
TEAMS = {
    "published": {"kind": "team_joint"},
    "ours": {"kind": "team_gain", "epochs": 10, "look_at": "small"},
    "hasty": {"kind": "team_joint", "epochs": 1},
}


@dataclass
class Stage:
    """The folder in which it all happens, and how a command is run there."""

    folder: Path
    environment: dict[str, str]
    began: float = field(default_factory=time.monotonic)

    def run(self, *words: str) -> str:
        """Standard output of a command that succeeds; raises `AsklessError` with its last lines."""
        done = subprocess.run(words, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-5:]
            raise AsklessError(f"`{' '.join(words)}` ended with {done.returncode}: {' '.join(last)}")
        return done.stdout.strip()

    def module(self, *words: str) -> str:
        """`run` of a module of this Python."""
        return self.run(sys.executable, "-m", *words)

    def show(self, text: str) -> None:
        """A line with the time since the beginning."""
        sys.stdout.write(f"[{time.monotonic() - self.began:4.0f} s] {text}\n")
        sys.stdout.flush()

    def headline(self, team: str) -> None:
        """Let another team be the one that is registered."""
        params = yaml.safe_load((self.folder / "params.yaml").read_text(encoding="utf-8"))
        params["evaluate"][TASK]["headline"] = team
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


def main() -> None:
    """Play it all through; exit 1 with one paragraph where something does not work."""
    given = [Path(folder) for folder in sys.argv[1:2]]
    folder = given[0].absolute() if given else Path(tempfile.mkdtemp(prefix="askless-ops-"))
    try:
        if folder.exists() and any(folder.iterdir()):
            raise AsklessError(f"{folder} is not empty. Allowed: a folder that is, or none. Choose another.")
        play(Stage(folder, own_environment(folder)))
    except AsklessError as error:
        sys.stderr.write(f"{error}\nWhat was done until then is in {folder}.\n")
        raise SystemExit(1) from None


def play(stage: Stage) -> None:
    """The whole, act by act; raises `AsklessError` where one does not end as it is meant to."""
    copy_project(stage)
    stage.show(f"A project of its own in {stage.folder}, with {LLM} and generated posts.")
    with servers(stage) as client:
        stage.show("The schedule fires: " + as_meant(fires(stage, client), PROMOTED))
        better = retrained(stage, client, "ours")
        stage.show("A better challenger: " + as_meant(better, PROMOTED))
        discarded(stage)
        worse = retrained(stage, client, "hasty")
        stage.show("A worse challenger: " + as_meant(worse, REFUSED))
        for _ in range(2):
            stage.show(stage.run("askless", "rollback", MODEL))
        calm = looked_at(stage, client, "calm", lambda kind: True)
        stage.show(f"{calm['rows']:,} posts as ever: {calm['logged']}")
        drift = looked_at(stage, client, "slang", lambda kind: kind == "slang")
        stage.show(f"{drift['rows']:,} posts of new slang: {drift['logged']}")
        stage.show(f"The proposal, for review:\n{proposed(stage)}")
        stage.show(f"The registry:\n{stage.run('askless', 'models', MODEL)}")
    gain, cost = (better["comparison"][key]["value"] for key in ("quality_difference", "cost_change"))
    new, old = better["challenger"], worse["challenger"]
    sys.stdout.write(
        f"In {(time.monotonic() - stage.began) / 60:.1f} minutes a schedule fired, version {new} took over "
        f"({100 * gain:+.1f} points of quality, {100 * cost:+.0f} % of the cost), version {old} was refused, two "
        f"rollbacks ended where they began, drift in {drift['rows']:,} posts was met with a proposal: {stage.folder}\n"
    )


def as_meant(weighed: dict[str, Any], expected: str) -> str:
    """What a comparison came to, in words; raises `AsklessError` where it is not what was expected."""
    outcome, reason = weighed["verdict"]["outcome"], weighed["verdict"]["reason"]
    words = f"version {weighed['challenger']} {outcome}. {reason}"
    if outcome != expected:
        raise AsklessError(f"A challenger was to be {expected}, but: {words}")
    return words


def own_environment(folder: Path) -> dict[str, str]:
    """The environment of a project that knows nothing of the caller's servers."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI")}
    here = str(Path(sys.executable).parent)
    path = os.pathsep.join([here, kept.get("PATH", "")])
    home = {"PREFECT_HOME": str(folder / ".prefect"), "PYTHONPATH": str(folder), "PWD": str(folder), "COLUMNS": "160"}
    return {**kept, **home, "PATH": path}


def copy_project(stage: Stage) -> None:
    """This project's files in the folder with small params, a clock that fires each minute, and a git of its own."""
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=False)
    if listed.returncode:
        raise AsklessError("This is no clone of the project: git knows no files here. Run it from the project's root.")
    for name in listed.stdout.splitlines():
        if Path(name).is_file() and not name.startswith(("tests/", "benchmarks/", "docs/", "dvc.lock")):
            (stage.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, stage.folder / name)
    write_yaml(stage.folder / "params.yaml", small)
    write_yaml(stage.folder / "prefect.yaml", each_minute)
    who = ["-c", "user.name=demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "The demo of operations"]):
        stage.run("git", *words)


def write_yaml(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the content of a YAML file."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def small(params: dict[str, Any]) -> None:
    """One task, one LLM, one seed, three teams of which the published one is registered first."""
    params["base"].update(tasks=[TASK], llms=[LLM])
    for section in ("tasks", "train", "policies", "evaluate"):
        params[section] = {TASK: params[section][TASK]}
    params["tasks"][TASK]["source"]["rows"], params["tasks"][TASK]["vectors"]["rows"] = 6000, 8000
    params["train"][TASK].update(seeds=[67], llms=[LLM], baselines=[], teams=TEAMS)
    params["policies"][TASK] = {"two_tier": {"kind": "two_tier"}, "random": {"kind": "random"}}
    params["evaluate"][TASK].update(headline="published", reference=LLM, sweep=26, bootstrap=300)
    params["monitor"].update(window=WINDOW)
    # So few test items cannot tell half a point, and another team is right in other groups.
    params["promote"].update(quality_margin=0.03, part_margin=None)


def each_minute(content: dict[str, Any]) -> None:
    """The retraining fires each minute, the others when they are asked to."""
    for deployment in content["deployments"]:
        cron = {"cron": "* * * * *", "timezone": "UTC"}
        deployment["schedules"] = [cron] if deployment["name"] == "retrain" else []
        # What fell due behind a run would retrain on its own what the next act is to find.
        deployment["concurrency_limit"] = {"limit": 1, "collision_strategy": "CANCEL_NEW"}


@contextmanager
def servers(stage: Stage) -> Iterator[SyncPrefectClient]:
    """A Prefect server and worker, and an MLflow server over the folder's store, until the block ends."""
    ports = free_port(), free_port()
    stage.environment["PREFECT_API_URL"] = api(ports[0])
    with ExitStack() as stack:
        stack.enter_context(within(stage))
        stack.enter_context(running(*prefect_command(ports[0])))
        stack.enter_context(running(*mlflow_command(ports[1])))
        stage.show(f"Prefect: http://127.0.0.1:{ports[0]}  MLflow: http://127.0.0.1:{ports[1]}  (until this ends)")
        stack.enter_context(temporary_settings({PREFECT_API_URL: api(ports[0])}))
        client = stack.enter_context(get_client(sync_client=True))
        stage.show(stage.module("flows.deploy").replace("\n", "; "))
        stack.callback(stopped, worker(stage))
        yield client


@contextmanager
def within(stage: Stage) -> Iterator[None]:
    """The folder as working directory and its environment as ours: the servers take both over."""
    before, environment = Path.cwd(), dict(os.environ)
    os.chdir(stage.folder)
    os.environ.clear()
    os.environ.update(stage.environment)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(environment)


def worker(stage: Stage) -> subprocess.Popen[bytes]:
    """A worker of the pool, which takes up what comes."""
    with (stage.folder / "worker.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.worker", POOL],
            cwd=stage.folder,
            env=stage.environment,
            stdout=log,
            stderr=log,
        )


def stopped(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started here."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def fires(stage: Stage, client: SyncPrefectClient) -> dict[str, Any]:
    """Wait for the first run that the clock started, stop the clock; returns what the run's comparison came to."""
    deployment = client.read_deployment_by_name("retrain/retrain")

    def begun() -> FlowRun | None:
        runs = client.read_flow_runs(deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])))
        return next(
            (run for run in runs if run.state and run.state.type.name in ("RUNNING", "COMPLETED", "FAILED")), None
        )

    run = awaited(begun, "the schedule to fire")
    for schedule in deployment.schedules:
        client.update_deployment_schedule(deployment.id, schedule.id, active=False)
    outcome(client, run)
    return verdict(stage)


def retrained(stage: Stage, client: SyncPrefectClient, team: str) -> dict[str, Any]:
    """Let another team be the headline, by way of the deployment; returns what its comparison came to."""
    stage.headline(team)
    deployed(client, "retrain/retrain")
    return verdict(stage)


def discarded(stage: Stage) -> None:
    """An experiment that nobody keeps; raises `AsklessError` where the registry heard of it."""
    before = stage.run("askless", "models", MODEL)
    command = ["dvc", "exp", "run", "--temp", "--name", "discarded", "-S", f"evaluate.{TASK}.headline=hasty"]
    stage.run(*command, f"evaluate@{TASK}")
    stage.run("dvc", "exp", "remove", "discarded")
    if stage.run("askless", "models", MODEL) != before:
        raise AsklessError("A discarded experiment came into the registry.")
    stage.show("An experiment was run and discarded: the registry did not hear of it.")


def verdict(stage: Stage) -> dict[str, Any]:
    """What the last comparison came to."""
    path = stage.folder / "reports" / TASK / "comparison" / "weighed.json"
    weighed: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return weighed


def looked_at(stage: Stage, client: SyncPrefectClient, name: str, wanted: Callable[[str], bool]) -> dict[str, Any]:
    """New posts of the wanted kinds, answered by the champion, and then looked at by the monitor."""
    from askless.data.demo.posts import posts

    found = [post for post in posts(40 * WINDOW, [9, len(name)]) if wanted(str(post["kind"]))][: 2 * WINDOW]
    folder = stage.folder / "data" / "incoming" / TASK
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps({"text": post["text"]}) + "\n" for post in found)
    (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    deployed(client, "answer/answer")
    return {"logged": deployed(client, "monitor/monitor"), "rows": len(found)}


def deployed(client: SyncPrefectClient, name: str) -> str:
    """Run a deployment through the worker; returns the last line that its flow logged."""
    deployment = client.read_deployment_by_name(name)
    return outcome(client, client.create_flow_run_from_deployment(deployment.id, parameters={"task": TASK}))


def outcome(client: SyncPrefectClient, run: FlowRun) -> str:
    """The last line that a run's flow logged, once it is Completed; raises `AsklessError` where it is not."""

    def ended() -> FlowRun | None:
        now = client.read_flow_run(run.id)
        return now if now.state and now.state.is_final() else None

    done = awaited(ended, f"run '{run.name}'")
    assert done.state is not None
    if not done.state.is_completed():
        raise AsklessError(f"Run '{done.name}' ended as {done.state.name}: {done.state.message}")
    logs = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])), sort=LogSort.TIMESTAMP_DESC)
    lines = [log.message for log in logs if log.name == "prefect.flow_runs" and "state Completed" not in log.message]
    return lines[0] if lines else ""


def proposed(stage: Stage) -> str:
    """The diffs that the monitor has written for review."""
    found = sorted((stage.folder / "reports" / TASK / "proposals").rglob("*.diff"))
    if not found:
        raise AsklessError("The monitor proposed nothing.")
    return "\n".join(path.read_text(encoding="utf-8").rstrip() for path in found)


def awaited(found: Callable[[], T | None], what: str) -> T:
    """What `found` gives as soon as it gives anything; raises `AsklessError` after `PATIENCE` seconds."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if (result := found()) is not None:
            return result
        time.sleep(1)
    raise AsklessError(f"Waited {PATIENCE} s for {what}, in vain.")


if __name__ == "__main__":
    main()
