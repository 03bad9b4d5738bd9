"""What somebody should hear of, as events of Prefect: its automations send them on (`flows.deploy`)."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from askless.files import write_text
from askless.registry.versions import PROMOTED, REFUSED, RESTORED, ROLLED_BACK, history

# Of askless, and of every run on the server.
DECISIONS = {verdict: f"askless-{verdict.replace(' ', '-')}" for verdict in (PROMOTED, REFUSED, RESTORED, ROLLED_BACK)}
EVENTS = ("askless-drift", "askless-spend", *DECISIONS.values())
RUNS = ("prefect.flow-run.Failed", "prefect.flow-run.Crashed", "prefect.flow-run.TimedOut", "prefect.flow-run.Late")


@task(cache_policy=NO_CACHE)
def tell(event: str, name: str, message: str) -> None:
    """Raise one of `EVENTS` about a task of params.yaml, with a message in words."""
    about = {"prefect.resource.id": f"askless.task.{name}", "prefect.resource.name": name}
    emit_event(event, about, payload={"message": message})


@task(cache_policy=NO_CACHE)
def tell_decisions(name: str, model: str, log: str) -> None:
    """Tell of every promotion, refusal and rollback since the last time, whoever decided it, and where.

    How many were told is kept in the folder `log`; the first time it is the last one alone.
    """
    mark, made = Path(log, ".decisions"), history(model)
    told = int(mark.read_text(encoding="ascii")) if mark.exists() else len(made) - 1
    for each in reversed(made[: max(len(made) - told, 0)]):
        by = f"Version {each['version']} of {model} {each['verdict']}, by {each['by']}."
        tell.fn(DECISIONS[each["verdict"]], name, f"{by} {each['reason']}")
    write_text(mark, str(len(made)))
