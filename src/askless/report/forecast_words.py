"""A forecast as a person reads it."""

from __future__ import annotations

import math
from collections.abc import Callable

from askless.experts.paid import PaidExpert
from askless.report.wording import DASH, aligned, cost
from askless.spending.forecast import Forecast, Range
from askless.spending.key_limits import key_limit

NOT_KNOWN = "not known"


def block(found: Forecast, task: str) -> str:
    """What one expert will take: a line for each quantity, and what the figures rest on."""
    kept = f"{found.kept:,} answers are kept already and free" if found.kept else "no answers are kept yet"
    if found.calls.high == 0:
        return f"{found.expert} on {task}: nothing to ask, {kept}."
    figures: list[tuple[str, Range, Callable[[float], str]]] = [
        ("calls", found.calls, count),
        ("prompt tokens", found.prompt_tokens, count),
        ("completion tokens", found.completion_tokens, count),
        ("time", found.seconds, duration),
        ("dollars", found.usd, dollars),
        *([] if found.batch_usd is None else [("dollars by batches", found.batch_usd, dollars)]),
    ]
    head = (f"{found.expert} on {task}", "estimate", f"{100 * found.confidence:g} % interval")
    table = aligned([head, *((name, *_cells(range_, say)) for name, range_, say in figures)], right=("estimate",))
    return f"{table}\n{found.basis} {kept[0].upper()}{kept[1:]}."


def reason(found: Forecast, task: str, hosted: bool, limit: float) -> str:
    """Why a person is to be asked before this is spent, nothing where none need be.

    The upper end of the interval counts. What a model that runs here costs may be unknown before it was timed; then
    nobody is asked.
    """
    if found.usd.high > limit:
        at_most = f"{money(found.usd)} for {found.calls.value:,.0f} answers of {found.expert}"
        return f"The forecast is {at_most}, and the limit (generate.ask_above_usd) {dollars(limit)}."
    if hosted and found.calls.high and found.usd.high != found.usd.high:
        return (
            f"What {found.calls.value:,.0f} answers of {found.expert} will cost is not known: "
            f"its price is missing (tasks.{task}.llms.{found.expert}.price, or costs.prices.{found.expert}), or "
            "max_tokens is null and nothing is on record."
        )
    return ""


def limit_words(expert: PaidExpert, usd: Range) -> list[str]:
    """What to say where an expert's key may pay less today than this may cost."""
    limit = key_limit(expert.payer)
    if limit is None or usd.high <= limit.left:
        return []
    enough = "not enough" if usd.low > limit.left else "perhaps not enough"
    return [f"What is left today of {limit}, {dollars(limit.left)}, is {enough} (askless limit)."]


def count(value: float) -> str:
    """A whole number."""
    return f"{value:,.0f}"


def dollars(value: float) -> str:
    """An amount of money in as many digits as matter."""
    return cost(value, "usd")


def duration(seconds: float) -> str:
    """Seconds as two units that matter.

    >>> duration(7325), duration(75), duration(4.2)
    ('2 h 2 min', '1 min 15 s', '4.2 s')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, below, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part} {below}"
    return f"{whole} s"


def _cells(range_: Range, say: Callable[[float], str]) -> tuple[str, str]:
    if not math.isfinite(range_.value):
        return NOT_KNOWN, ""
    if range_.low == range_.high:
        return say(range_.value), "exact"
    return say(range_.value), f"{say(range_.low)} {DASH} {say(range_.high)}"


def money(usd: Range) -> str:
    """Dollars with their interval in a sentence."""
    if not math.isfinite(usd.value):
        return "dollars not known"
    estimate, interval = _cells(usd, dollars)
    return estimate if interval == "exact" else f"{estimate} ({interval})"
