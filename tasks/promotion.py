"""A registered version held against the champion, and the verdict carried out in the registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from askless import config
from askless.files import replacing_folder, write_text
from askless.registry import comparison_page, promotion
from askless.registry.versions import CHALLENGER, Unreachable
from tasks import worth_a_retry
from tasks.runs import log_comparison

WEIGHED = "weighed.json"


def may_answer_later(task: Any, run: Any, state: Any) -> bool:
    """Whether a failed task run may do better again: also where the registry did not answer."""
    try:
        state.result(raise_on_failure=True)
    except Unreachable:
        return True
    except Exception:
        return worth_a_retry(task, run, state)
    return False


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5, retry_condition_fn=may_answer_later)
def weigh_challenger(name: str, params: str, data: str, out: str) -> str:
    """Compare the task's challenger with its champion; write what was found into `out`, and return that folder."""
    settings = config.load(params)
    settings.task(name)
    model = settings.evaluate[name].model
    weighed = promotion.weigh(model, CHALLENGER, settings, data=data, asked=False)
    folder, verdict = Path(out), weighed.verdict
    with replacing_folder(folder) as part:
        write_text(part / WEIGHED, json.dumps(weighed.as_dict(), indent=1, allow_nan=False) + "\n")
        if weighed.comparison is not None:
            comparison_page.write(part, weighed.comparison, verdict.outcome, verdict.reason)
    return out


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5, retry_condition_fn=may_answer_later)
def keep_comparison(name: str, folder: str) -> None:
    """Leave the verdict among the flow's artifacts, and the comparison, if one was made, with the challenger's run."""
    weighed = read_weighed(folder)
    text = weighed.verdict.reason
    if weighed.comparison is not None:
        text = comparison_page.markdown(weighed.comparison, text)
        log_comparison(weighed.run_id, folder)
    title = f"Version {weighed.challenger} of {weighed.model}: {weighed.verdict.outcome}"
    create_markdown_artifact(text, key=f"comparison-{key_of(name)}", description=title)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5, retry_condition_fn=may_answer_later)
def settle_challenger(folder: str) -> str:
    """Promote or refuse it, as was found; returns what was done, in one sentence. Done again, nothing more happens."""
    return promotion.settle(read_weighed(folder))


def read_weighed(folder: str) -> promotion.Weighed:
    """What `weigh_challenger` wrote."""
    return promotion.Weighed.of(json.loads((Path(folder) / WEIGHED).read_text(encoding="utf-8")))


def key_of(name: str) -> str:
    """A task's name as a part of an artifact's key: lower case, digits and dashes."""
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower())
