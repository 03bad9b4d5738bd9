"""What somebody should hear of, as events of Prefect: its automations send them on (`flows.deploy`)."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

# Of askless, and of every run on the server.
EVENTS = ("askless-drift", "askless-promoted", "askless-refused", "askless-spend")
RUNS = ("prefect.flow-run.Failed", "prefect.flow-run.Crashed", "prefect.flow-run.TimedOut", "prefect.flow-run.Late")


@task(cache_policy=NO_CACHE)
def tell(event: str, name: str, message: str) -> None:
    """Raise one of `EVENTS` about a task of params.yaml, with a message in words."""
    about = {"prefect.resource.id": f"askless.task.{name}", "prefect.resource.name": name}
    emit_event(event, about, payload={"message": message})
