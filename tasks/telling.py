"""What somebody should hear of, as events of Prefect: its automations send them on (`flows.deploy`)."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from askless.registry.versions import PROMOTED, REFUSED, RESTORED, asking, history

# Of askless, and of every run on the server.
DECISIONS = {PROMOTED: "askless-promoted", REFUSED: "askless-refused", RESTORED: "askless-rolled-back"}
EVENTS = ("askless-drift", "askless-spend", *DECISIONS.values())
TOLD = "told"
RUNS = ("prefect.flow-run.Failed", "prefect.flow-run.Crashed", "prefect.flow-run.TimedOut", "prefect.flow-run.Late")


@task(cache_policy=NO_CACHE)
def tell(event: str, name: str, message: str) -> None:
    """Raise one of `EVENTS` about a task of params.yaml, with a message in words."""
    about = {"prefect.resource.id": f"askless.task.{name}", "prefect.resource.name": name}
    emit_event(event, about, payload={"message": message})


@task(cache_policy=NO_CACHE)
def tell_decisions(name: str, model: str) -> None:
    """Tell of every promotion, refusal and rollback since the last time, whoever decided it, and where.

    How many were told is a tag of the model: of several clones one tells. The first time it is the last one alone.
    """
    made = history(model)
    with asking(model) as client:
        told = int(client.get_registered_model(model).tags.get(TOLD, len(made) - 1))
    for each in reversed(made[: max(len(made) - told, 0)]):
        by = f"Version {each['version']} of {model} {each['verdict']}, by {each['by']}."
        tell.fn(DECISIONS[each["verdict"]], name, f"{by} {each['reason']}")
    with asking(model) as client:
        client.set_registered_model_tag(model, TOLD, str(len(made)))
