"""What an LLM's answers will cost is said before they are asked for, and beyond a limit a person is asked."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from askless import config
from askless.experts.asked import expert_of
from askless.experts.paid import PaidExpert
from askless.report import forecast_words
from askless.spending.consent import require_consent
from askless.spending.pending import Pending, texts_of


@task(cache_policy=NO_CACHE)
def forecast_spending(
    name: str, expert: str, params: str, examples: str, answers: str, yes: bool = False, again: Collection[str] = ()
) -> None:
    """Print what asking `expert` about every example will take; answers kept in `answers` are free, but those `again`.

    Where it may cost more than `generate.ask_above_usd`, or a server that has no price is to be asked, a person at a
    terminal is asked, unless `yes` or the environment's ASKLESS_YES=1. Raises `BudgetError` where the answer is no, or
    nobody is there. An expert whose answers are not paid for has no forecast.
    """
    settings = config.load(params)
    asked = expert_of(settings, name, expert, Path(answers))
    if not isinstance(asked, PaidExpert):
        return
    price = settings.costs.prices.get(expert)
    pending = Pending.of(asked, texts_of(Path(examples)), set(again))
    found = pending.forecast(expert, price)
    for line in (forecast_words.block(found, name), *forecast_words.limit_words(asked, found.usd)):
        sys.stderr.write(f"{line}\n")
    if pending.others and len(pending.rows):
        again = min(pending.others, len(pending.rows))
        sys.stderr.write(
            f"{pending.others:,} kept answers are to another prompt, other options or other texts: where that "
            f"changed, up to {again:,} are bought again.\n"
        )
    why = forecast_words.reason(found, name, asked.hosted, settings.generate.ask_above_usd)
    if why:
        allow = f"`python -m flows.generate {name} {expert} --yes`, by a higher limit in {params}"
        require_consent(why, yes, allow)
