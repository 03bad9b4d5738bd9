"""Production in a few minutes, in a folder of its own: `python -m flows.demo_ops [folder]`, or `make demo-ops`.

Servers, deployments and a worker; a schedule that fires; an experiment discarded; a better model trained here,
promoted from a colleague's clone; a worse one refused; new items answered, in the clone for nothing; rollbacks; a drift
seen and told, and a recalibration proposed. Everything is real but the data and the LLM, which are the demo's.
MLFLOW_BACKEND_STORE_URI and PREFECT_API_DATABASE_CONNECTION_URL say where MLflow and Prefect keep their tables, if not
in SQLite.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.parquet as pq
import yaml
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import LogSort
from prefect.settings import PREFECT_API_URL, temporary_settings

from askless.errors import AsklessError
from askless.experts.answer_store import AnswerStore
from askless.registry.versions import CHALLENGER, PROMOTED, REFUSED
from flows.deploy import NOTIFY, POOL
from flows.server import api, free_port, prefect_command, running
from flows.ui import mlflow_command
from tasks.registration import digest_of

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
    heard: list[str] = field(default_factory=list)
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

    def commit(self) -> None:
        """What is there now, in git."""
        self.run("git", "add", "-A")
        who = ["-c", "user.name=demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgsign=false"]
        self.run("git", *who, "commit", "-qm", "The demo of operations")

    @property
    def bundle(self) -> Path:
        """What the stage `evaluate` left to be registered."""
        return self.folder / "reports" / TASK / "bundle"

    @property
    def figures(self) -> str:
        """What the headline comes to."""
        return (self.folder / "reports" / TASK / "headline.json").read_text(encoding="utf-8")

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
        play(Stage(folder / "project", own_environment(folder / "project")))
    except AsklessError as error:
        sys.stderr.write(f"{error}\nWhat was done until then is in {folder}.\n")
        raise SystemExit(1) from None


def play(stage: Stage) -> None:
    """The whole, act by act; raises `AsklessError` where one does not end as it is meant to."""
    copy_project(stage)
    stage.show(f"A project of its own in {stage.folder}, with {LLM} and generated posts.")
    with servers(stage) as client:
        stage.show("The schedule fires: " + as_meant(fires(stage, client), PROMOTED))
        discarded(stage)
        clone = cloned(stage)
        better = verdict(clone)
        worse = retrained(stage, client, "hasty")
        stage.show("A worse challenger: " + as_meant(worse, REFUSED))
        calm = looked_at(stage, client, "calm", lambda kind: True)
        stage.show(f"{calm['rows']:,} posts as ever: {calm['logged']}")
        answered_again(stage, clone)
        stage.show("Rolled back in the clone: " + clone.run("askless", "rollback", MODEL, "--reason", "complaints"))
        stage.show("And here, which undoes it: " + stage.run("askless", "rollback", MODEL))
        drift = looked_at(stage, client, "slang", lambda kind: kind == "slang")
        stage.show(f"{drift['rows']:,} posts of new slang: {drift['logged']}")
        stage.show(f"The proposal, for review:\n{proposed(stage)}")
        stage.show(f"Told to the webhook that {NOTIFY} names: {told(stage)}.")
        stage.show(f"Who decided what, the last first:\n{stage.run('askless', 'models', MODEL, '--history')}")
        stage.show(f"The registry:\n{stage.run('askless', 'models', MODEL)}")
    gain, cost = (better["comparison"][key]["value"] for key in ("quality_difference", "cost_change"))
    new, old = better["challenger"], worse["challenger"]
    sys.stdout.write(
        f"In {(time.monotonic() - stage.began) / 60:.1f} minutes a schedule fired, version {new} took over "
        f"({100 * gain:+.1f} points of quality, {100 * cost:+.0f} % of the cost), version {old} was refused, two "
        f"rollbacks ended where they began, nothing was paid for twice, drift in {drift['rows']:,} posts was told and "
        f"met with a proposal: {stage.folder.parent}\n"
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
    kept = {k: v for k, v in os.environ.items() if k not in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", NOTIFY)}
    here = str(Path(sys.executable).parent)
    path = os.pathsep.join([here, kept.get("PATH", "")])
    return {**kept, **place(folder), "PREFECT_HOME": str(folder / ".prefect"), "COLUMNS": "160", "PATH": path}


def place(folder: Path) -> dict[str, str]:
    """What lets a command run the code of this folder."""
    return {"PWD": str(folder), "PYTHONPATH": os.pathsep.join([str(folder), str(folder / "src")])}


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
    stage.run("git", "init", "-q")
    stage.run("dvc", "remote", "add", "-q", "-d", "team", str(stage.folder.with_name("remote")))
    stage.commit()


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
        stage.environment["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{ports[1]}"
        stage.show(f"Prefect: http://127.0.0.1:{ports[0]}  MLflow: http://127.0.0.1:{ports[1]}  (until this ends)")
        stack.enter_context(temporary_settings({PREFECT_API_URL: api(ports[0])}))
        client = stack.enter_context(get_client(sync_client=True))
        stage.environment[NOTIFY] = stack.enter_context(webhook(stage.heard))
        stage.show("Deployed, and a worker started:\n" + stage.module("flows.deploy").rpartition("\n")[0])
        stack.callback(stopped, worker(stage))
        yield client


@contextmanager
def webhook(heard: list[str]) -> Iterator[str]:
    """A notification block that adds what it is sent to `heard`, until the block ends."""

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802
            heard.append(json.loads(self.rfile.read(int(self.headers["content-length"])))["said"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Hook) as hook:
        threading.Thread(target=hook.serve_forever, daemon=True).start()
        url, said = f"http://127.0.0.1:{hook.server_port}", {"said": "{{subject}}: {{body}}"}
        CustomWebhookNotificationBlock(name="ops", url=url, json_data=said).save("ops", overwrite=True)
        yield "custom-webhook/ops"
        hook.shutdown()


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
    with stage.folder.with_name("worker.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.worker", POOL],
            cwd=stage.folder,
            env={**stage.environment, "PREFECT_WORKER_QUERY_SECONDS": "1"},
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


def cloned(stage: Stage) -> Stage:
    """A better team, trained here, promoted from a colleague's clone; returns the clone.

    Raises `AsklessError` where the two differ, or the clone has something to run or to pay for.
    """
    stage.headline("ours")
    stage.run("dvc", "repro", "-q", f"evaluate@{TASK}")
    pushed(stage)
    stage.show("A better team is trained by `dvc repro` and pushed: the registry has not heard of it.")
    folder = stage.folder.with_name("clone")
    stage.run("git", "clone", "-q", ".", str(folder))
    clone = replace(stage, folder=folder, environment={**stage.environment, **place(folder)})
    pulled(clone)
    agree(
        ("what `dvc status` says", clone.run("dvc", "status", "--json"), "{}"),
        ("the figures", stage.figures, clone.figures),
        ("the digest of the bundle", digest_of(stage.bundle), digest := digest_of(clone.bundle)),
        ("the answers that are kept", *map(paid, (stage, clone))),
    )
    stage.show(f"A clone pulls: the same figures, the same bundle ({digest[:8]}), and nothing to run.")
    clone.module("flows.register", TASK)
    version = challenger(clone)
    stage.module("flows.register", TASK)
    agree(("the version", challenger(stage), version), ("the version's digest", version["digest"], digest))
    stage.show(f"Registered there, and once more here: both name version {version['number']}.")
    clone.module("flows.compare", TASK)
    stage.show("Compared there: " + as_meant(verdict(clone), PROMOTED))
    return clone


def pushed(stage: Stage) -> None:
    """All that was made and paid for, where others can pull it."""
    stage.run("askless", "answers", "push")
    stage.run("dvc", "push", "-q")
    stage.commit()


def pulled(clone: Stage) -> None:
    """All that was pushed."""
    clone.run("git", "pull", "-q")
    clone.run("dvc", "pull", "-q")
    clone.run("askless", "answers", "pull")


def answered_again(stage: Stage, clone: Stage) -> None:
    """The posts as ever, answered in the clone too; raises `AsklessError` where it answers otherwise, or pays."""
    pushed(stage)
    pulled(clone)
    before, name = paid(clone), f"data/incoming/{TASK}/calm.jsonl"
    (clone.folder / name).parent.mkdir(parents=True)
    shutil.copy(stage.folder / name, clone.folder / name)
    clone.module("flows.answer", TASK)
    clone.module("flows.monitor", TASK)
    agree(
        ("the answers to the posts as ever", answers(stage), answers(clone)), ("what is paid for", before, paid(clone))
    )
    stage.show(f"The same posts in the clone, answered and monitored: the same answers, 0 of {before:,} paid again.")


def agree(*facts: tuple[str, Any, Any]) -> None:
    """Raise `AsklessError` where one of the facts, each with a name, is not the same on both sides."""
    wrong = [f"{name}: {one!s:.200} here, {other!s:.200} there" for name, one, other in facts if one != other]
    if wrong:
        raise AsklessError(f"A clone differs in {'; '.join(wrong)}.")


def paid(stage: Stage) -> int:
    """How many answers of the LLM are kept."""
    with AnswerStore(stage.folder / "data" / "answers" / TASK / f"{LLM}.sqlite") as store:
        return len(store)


def answers(stage: Stage) -> list[dict[str, Any]]:
    """What became of the posts as ever."""
    path = stage.folder / "data" / "answered" / TASK / "calm.jsonl.parquet"
    rows: list[dict[str, Any]] = pq.read_table(path, columns=["answer", "expert", "reason", "cost"]).to_pylist()
    return rows


def challenger(stage: Stage) -> dict[str, Any]:
    """What the registry says of the challenger."""
    found = json.loads(stage.run("askless", "models", MODEL, "--json"))["versions"]
    return next(version for version in found if CHALLENGER in version["aliases"])


def told(stage: Stage) -> str:
    """What the webhook was told, once it was told of the drift."""

    def subjects() -> list[str] | None:
        names = [each.partition(":")[0] for each in stage.heard]
        return names if "askless-drift" in names else None

    counts = Counter(awaited(subjects, "word of the drift"))
    return ", ".join(f"{count} x {name}" for name, count in sorted(counts.items()))


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
    only = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))

    def lines() -> list[str] | None:
        logs = client.read_logs(only, sort=LogSort.TIMESTAMP_DESC)
        found = [log.message for log in logs if log.name == "prefect.flow_runs"]
        # Lines come a while after the state: this is the last of them.
        return found[1:] if found and "Finished in state" in found[0] else None

    return next(iter(awaited(lines, f"the log of run '{run.name}'")), "")


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
