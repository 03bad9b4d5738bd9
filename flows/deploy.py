"""The deployments of prefect.yaml, put on the running Prefect server: `python -m flows.deploy`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.schedules import CronSchedule
from prefect.events import AutomationCore, EventTrigger, Posture
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.workers.process import ProcessWorker
from pydantic import ValidationError

from askless import config
from askless.errors import AsklessError, ConfigError
from flows.server import PORT, answers, api
from tasks.telling import EVENTS, RUNS

POOL, NOTIFY = "askless", "ASKLESS_NOTIFY"
# Who hears of what: events, subject and body.
AUTOMATIONS = {
    "askless: decisions": (EVENTS, "{{ event.event }}: {{ event.resource.name }}", "{{ event.payload.message }}"),
    "askless: runs": (
        RUNS,
        "{{ event.event }}: {{ event.resource.name }}",
        "{{ event.resource['prefect.state-message'] }} (run {{ event.resource.name }})",
    ),
}
HEARTBEAT = "prefect.flow-run.heartbeat"
LOST = "askless: lost runs"
LOST_AFTER = timedelta(minutes=5)
# What says where the code is on this machine, and brings it to no other.
HERE = "set_working_directory"
# One retraining at a time on a server, and one LLM at a time on a GPU: a limit on tasks tagged `gpu`.
LIMITS = {"dvc": 1, "tag:gpu": 1}


def deploy(path: Path = Path("prefect.yaml")) -> list[str]:
    """Create the work pool, the concurrency limits and the deployments of `path` for every task; returns a line each.

    What is there already is brought up to date; a limit that was changed since is left so. Where `ASKLESS_NOTIFY` names
    a notification block, what should be heard of is sent there. Nothing is put on the server before all of `path` is
    found to be right. Raises `AsklessError`.
    """
    params = path.with_name("params.yaml")
    deployments = for_tasks(read(path), config.load(params).base.tasks if params.exists() else ())
    pull = yaml.safe_load(path.read_text(encoding="utf-8")).get("pull") or []
    with client() as server:
        block = _block(server, os.environ.get(NOTIFY, ""))
        if not _pool_type(server, POOL):
            template = ProcessWorker.get_default_base_job_template()
            server.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))
        for about in deployments:
            where = f"{path}: deployment '{about['name']}'"
            if (kind := check_pool(server, about["work_pool"]["name"], where)) != "process":
                _check_pull(where, kind, about.get("pull") or pull)
        for name, limit in LIMITS.items():
            _limit(server, name, limit)
        _prefect_deploy(path, deployments, str(server.api_url).rstrip("/"))
        _replace(server, lost_runs())
        if block is not None:
            _notify(server, block)
    return [f"{about['name']:<10} {_when(about)}" for about in deployments]


def for_tasks(deployments: list[dict[str, Any]], tasks: Sequence[str]) -> list[dict[str, Any]]:
    """Deployments for every one of `tasks`, those that none is about as the first task of the file has them.

    What names an LLM of its task is left out there, as are deployments of a task that is none of `tasks`.
    """

    def of(about: Mapping[str, Any]) -> str | None:
        return (about.get("parameters") or {}).get("task")

    named = list(dict.fromkeys(filter(None, map(of, deployments))))
    pattern = [d for d in deployments if named and of(d) == named[0] and "llm" not in d["parameters"]]
    more = [
        {**about, "name": f"{about['name']}-{task}", "parameters": {**about["parameters"], "task": task}}
        for task in tasks
        if task not in named
        for about in pattern
    ]
    return [about for about in deployments if not tasks or of(about) in (None, *tasks)] + more


def read(path: Path) -> list[dict[str, Any]]:
    """The deployments of a prefect.yaml. Raises `ConfigError` for what is missing and for a schedule that is none."""
    try:
        deployments = yaml.safe_load(path.read_text(encoding="utf-8"))["deployments"]
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}. Run this where the project's prefect.yaml is.") from None
    except (yaml.YAMLError, TypeError, KeyError) as error:
        raise ConfigError(f"{path}: got no list of `deployments` ({' '.join(str(error).split())}). Add it.") from None
    for about in deployments:
        where = f"{path}: deployment '{about.get('name')}'"
        missing = [key for key in ("name", "entrypoint", "work_pool") if key not in about]
        if missing:
            raise ConfigError(f"{where} lacks {', '.join(missing)}. Add it.")
        code = path.parent / about["entrypoint"].partition(":")[0]
        if not code.is_file():
            raise ConfigError(f"{where}: entrypoint '{about['entrypoint']}', and no file {code}. Name the flow's file.")
        for schedule in about.get("schedules") or []:
            _check_schedule(where, schedule)
    return list(deployments)


@contextmanager
def client() -> Iterator[SyncPrefectClient]:
    """A client of the server that PREFECT_API_URL names, else of `make ui`; raises `AsklessError` if none answers."""
    url = os.environ.get("PREFECT_API_URL") or api(os.environ.get("PREFECT_SERVER_API_PORT", PORT))
    if not answers(f"{url}/health"):
        raise AsklessError(
            f"No Prefect server answers at {url}. Start one with `make ui` in another terminal, "
            "or set PREFECT_API_URL to the address of yours, with /api at its end."
        )
    with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as server:
        yield server


def check_pool(server: SyncPrefectClient, name: str, where: str) -> str:
    """The type of the work pool of this name; raises `ConfigError` where there is none."""
    if kind := _pool_type(server, name):
        return kind
    pools = ", ".join(sorted(f"{pool.name} ({pool.type})" for pool in server.read_work_pools())) or "none"
    raise ConfigError(
        f"{where}: there is no work pool '{name}'. Allowed: one that is there: {pools}. `make deploy` makes '{POOL}' "
        "of type process, `prefect work-pool create` any other."
    )


def _check_pull(where: str, kind: str, pull: list[dict[str, Any]]) -> None:
    """Raise `ConfigError` where a container would look for the code in a folder of this machine."""
    steps = [name.rpartition(".")[2] for step in pull for name in step]
    if not steps or (set(steps) <= {HERE} and "$PWD" in str(pull)):
        got = f"is in this folder alone ({HERE})" if steps else "is brought by no step"
        raise ConfigError(
            f"{where}: its work pool is of type {kind}, and its code {got}. Allowed: a step "
            "of `pull` that brings it, such as git_clone, or the folder that the image has it in. "
            "examples/containers.prefect.yaml has both."
        )


def lost_runs() -> AutomationCore:
    """Shows a run as crashed that was not heard of for `LOST_AFTER`: its process, or its machine, is gone."""
    ends = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed", "TimedOut")}
    trigger = EventTrigger(
        after={HEARTBEAT},
        expect={HEARTBEAT, *ends},
        match={"prefect.resource.id": "prefect.flow-run.*"},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=LOST_AFTER,
    )
    why = f"Not heard of for {LOST_AFTER.seconds // 60} minutes: its process was killed, or its machine is gone."
    return AutomationCore(
        name=LOST, trigger=trigger, actions=[ChangeFlowRunState(state=StateType.CRASHED, message=why)]
    )


def _pool_type(server: SyncPrefectClient, name: str) -> str:
    try:
        return server.read_work_pool(name).type
    except ObjectNotFound:
        return ""


def _block(server: SyncPrefectClient, named: str) -> UUID | None:
    """The notification block that `ASKLESS_NOTIFY` names; raises `ConfigError` where there is none such."""
    if not named:
        return None
    kind, _, name = named.partition("/")
    try:
        return UUID(str(server.read_block_document_by_name(name, kind).id))
    except (ObjectNotFound, ValueError):
        raise ConfigError(
            f"{NOTIFY} is '{named}', and the server has no such block. Allowed: a notification block as TYPE/NAME, "
            "such as slack-webhook/ops or custom-webhook/ops. Make it in Prefect's UI, under Blocks."
        ) from None


def _notify(server: SyncPrefectClient, block: UUID) -> None:
    """Automations that send what happened to a block."""
    for name, (events, subject, body) in AUTOMATIONS.items():
        trigger = EventTrigger(
            expect=set(events), for_each={"prefect.resource.id"}, posture=Posture.Reactive, threshold=1
        )
        send = SendNotification(block_document_id=block, subject=subject, body=body)
        _replace(server, AutomationCore(name=name, trigger=trigger, actions=[send]))


def _replace(server: SyncPrefectClient, automation: AutomationCore) -> None:
    """Put an automation on the server, in the place of one of its name."""
    for old in server.read_automations_by_name(automation.name):
        server.delete_automation(old.id)
    server.create_automation(automation)


def _limit(server: SyncPrefectClient, name: str, limit: int) -> None:
    try:
        server.read_global_concurrency_limit_by_name(name)
    except ObjectNotFound:
        server.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=limit))


def _check_schedule(where: str, schedule: Mapping[str, Any]) -> None:
    """Cron with a time zone, and nothing else: what is written is what the clock of that place shows."""
    allowed = 'Allowed: cron: "0 2 * * *", timezone: Europe/Berlin, which is five fields and a name of the IANA list.'
    missing = [key for key in ("cron", "timezone") if key not in schedule]
    if missing:
        raise ConfigError(f"{where}: a schedule lacks {', '.join(missing)}: {dict(schedule)}. {allowed}")
    try:
        CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])
    except ValidationError as error:
        wrong = ", ".join(f"{fault['loc'][0]} '{fault['input']}'" for fault in error.errors())
        raise ConfigError(f"{where}: unknown {wrong}. {allowed}") from None


def _when(about: Mapping[str, Any]) -> str:
    return ", ".join(f"{s['cron']} {s['timezone']}" for s in about.get("schedules") or []) or "not scheduled"


def _prefect_deploy(path: Path, deployments: list[dict[str, Any]], url: str) -> None:
    """`prefect deploy --all`, which finds the flows and keeps the folder that they are in."""
    folder = path.absolute().parent
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".prefect-", suffix=".yaml", encoding="utf-8") as file:
        yaml.safe_dump({**yaml.safe_load(path.read_text(encoding="utf-8")), "deployments": deployments}, file)
        file.flush()
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", Path(file.name).name],
            cwd=folder,
            env={**os.environ, "PREFECT_API_URL": url, "PWD": str(folder), "COLUMNS": "500", "NO_COLOR": "1"},
            capture_output=True,
            text=True,
        )
    if done.returncode:
        lines = (done.stdout + done.stderr).split("\n")
        reasons = [line.strip() for line in lines if line.strip() and line.strip()[0] not in "╭│╰"]
        raise AsklessError(f"{path} could not be deployed: {reasons[-1] if reasons else 'no reason was given'}")


def main() -> None:
    """Deploy, and print what runs when; exit 1 with one paragraph where it cannot be."""
    try:
        lines = deploy()
    except AsklessError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from None
    sys.stdout.write("\n".join([*lines, f"Deployed to work pool {POOL}. A worker runs them: make worker", ""]))


if __name__ == "__main__":
    main()
