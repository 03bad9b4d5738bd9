"""New items: the champion decides, its small expert or an LLM answers, the decisions are logged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact

from askless import config
from askless.monitoring import baseline
from flows.each_file import each_file, outcomes, raise_first
from flows.stage import HOUR, run_stage, without_tracebacks
from tasks.answering import Place, answer_file, brought, news_of_spending, plain, serving, settings_of
from tasks.telling import tell


@flow(flow_run_name="answer {task}", timeout_seconds=6 * HOUR)
def answer(
    task: str,
    params: str = "params.yaml",
    data: str = "data",
    max_usd_per_day: float | None = None,
    usd_per_month: float | None = None,
    tell_above_share: float = 0.8,
    model: str | None = None,
) -> list[dict[str, Any]]:
    """Answer every file of `data/incoming/<task>` that is not answered yet; returns the outcome of each.

    The champion answers, or `model`: a plan, the run of `annotate`, a folder or the address of a version, on the
    terms that it brings; then no parameters need to know the task.

    Expensive experts are paid at most `max_usd_per_day` in a day (UTC; None: no limit), then the small one answers.
    Somebody is told, once a month, when they were paid more than `tell_above_share` of `usd_per_month` in it (None:
    never). A file that cannot be read is put aside and the others go on. So they do where answering one fails, and the
    flow fails at the end.
    """
    without_tracebacks()
    log = get_run_logger()
    served = brought(model) if model else serving(config.load(params), task)
    settings, place = settings_of(params, task, served), Place(task, data)
    states = each_file(
        place,
        lambda path: answer_file(task, params, data, str(path), plain(served), max_usd_per_day, return_state=True),
    )
    done = outcomes(states)
    if said := news_of_spending(place, usd_per_month, tell_above_share):
        log.warning(said)
        tell("askless-spend", task, said)
    for one in done:
        if one["status"] == "put aside":
            log.warning("%s is put aside. %s", one["file"], one["reason"])
    price = baseline.audit_price(baseline.read(Path(served.folder)), settings.monitor.audit_share)
    cost = "" if price is None else f", about {price:.3g} {settings.costs.unit} per 1,000 items"
    audits = f"{100 * settings.monitor.audit_share:g} % of the items are put to both experts{cost}"
    new = [one for one in done if one["status"] != "done before"]
    create_table_artifact(new, f"answered-{task.replace('_', '-')}", f"By version {served.version}; {audits}.")
    raise_first(states)
    return done


if __name__ == "__main__":
    run_stage(answer, ["task"], {"model": "a plan, a run of `annotate`, a folder or an address"})
