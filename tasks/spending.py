"""What an LLM's answers will cost is said before they are asked for, and beyond a limit a person is asked."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from askless import config
from askless.errors import BudgetError
from askless.experts.asked import expert_of
from askless.experts.paid import PaidExpert
from askless.report import forecast_words
from askless.spending.forecast import Forecast
from askless.spending.pending import Pending, texts_of

YES = "ASKLESS_YES"


@task(cache_policy=NO_CACHE)
def forecast_spending(name: str, expert: str, params: str, examples: str, answers: str, yes: bool = False) -> None:
    """Print what asking `expert` about every example will take; answers kept in `answers` are free.

    Where it may cost more than `generate.ask_above_usd`, or a server that has no price is to be asked, a person at a
    terminal is asked, unless `yes` or the environment's ASKLESS_YES=1. Raises `BudgetError` where the answer is no, or
    nobody is there. An expert whose answers are not paid for has no forecast.
    """
    settings = config.load(params)
    asked = expert_of(settings, name, expert, Path(answers))
    if not isinstance(asked, PaidExpert):
        return
    price = settings.costs.prices.get(expert)
    found = Pending.of(asked, texts_of(Path(examples))).forecast(expert, price)
    sys.stderr.write(f"{forecast_words.block(found, name)}\n")
    why = reason(found, asked.hosted, settings.generate.ask_above_usd)
    if why and not (yes or os.environ.get(YES) == "1" or _agreed(why)):
        raise BudgetError(
            f"{why} Nothing was asked. Allow it by `python -m flows.generate {name} {expert} --yes`, by {YES}=1 in the "
            f"environment of `dvc repro` or of a worker, or by a higher limit in {params}."
        )


def reason(found: Forecast, hosted: bool, limit: float) -> str:
    """Why a person is to be asked before this is spent, nothing where none need be.

    The upper end of the interval counts. What a model that runs here costs may be unknown before it was timed; then
    nobody is asked.
    """
    if found.usd.high > limit:
        at_most = f"{forecast_words.money(found.usd)} for {found.calls.value:,.0f} answers of {found.expert}"
        return f"The forecast is {at_most}, and the limit (generate.ask_above_usd) {forecast_words.dollars(limit)}."
    if hosted and found.calls.high and found.usd.high != found.usd.high:
        return (
            f"What {found.calls.value:,.0f} answers of {found.expert} will cost is not known: "
            f"costs.prices.{found.expert} is missing, or max_tokens is null and nothing is on record."
        )
    return ""


def _agreed(why: str) -> bool:
    """Whether a person at the terminal says yes; no where there is no terminal."""
    if not sys.stdin.isatty():
        return False
    sys.stderr.write(f"{why} Go on? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
