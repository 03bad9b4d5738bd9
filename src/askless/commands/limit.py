"""`askless limit`: what the key of an API may pay, whichever tool asks with it."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from askless.commands.options import AsJson, print_json, tell

Usd = float | None


def limit(
    key: Annotated[
        str | None, typer.Argument(metavar="[KEY]", help="The environment variable that holds it.", show_default=False)
    ] = None,
    usd_per_day: Annotated[Usd, typer.Option(help="Most dollars in a day of UTC.", show_default="no limit")] = None,
    usd_in_all: Annotated[
        Usd, typer.Option(help="Most dollars since it first had a limit.", show_default="no limit")
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Take the key's limit away.")] = False,
    as_json: AsJson = False,
) -> None:
    """Limit what all tools of this user together may pay by the key of an API, and say what they have paid.

    It holds for `label`, `annotate`, `serve`, `generate`, `try`, `forecast --sample`, the flows and registered models,
    each beside its own limit, and however many run at once. A call that could pass it is not made.

    Example: askless limit OPENAI_API_KEY --usd-per-day 20 --usd-in-all 500
    """
    from askless.errors import BudgetError
    from askless.report.forecast_words import dollars
    from askless.spending.key_limits import KeyLimits, kept_in, today

    given = usd_per_day is not None or usd_in_all is not None
    if (given or none) and (key is None or (given and none)):
        got = "--none and a limit" if given and none else "a limit without the name of its key"
        raise BudgetError(
            f"Got {got}. Allowed: KEY with one of them. Give askless limit OPENAI_API_KEY --usd-per-day 20."
        )
    found = []
    if given or kept_in().exists():
        with closing(KeyLimits(kept_in())) as limits:
            if key is not None and (given or none):
                limits.set(key, usd_per_day, usd_in_all)
            found = [each for name in limits.keys() if key in (None, name) and (each := limits.of(name, today()))]
    if as_json:
        print_json({"limits": [{**vars(each), "left": each.left} for each in found]})
        return
    for each in found:
        paid = f"{dollars(each.today)} paid today, {dollars(each.paid)} in all" if each.paid else "nothing paid yet"
        tell(f"{each.key}: {str(each).removesuffix(f' for {each.key}')}; {paid}; {dollars(each.left)} left today.")
    if not found:
        tell(f"No limit{'' if key is None else f' of {key}'}. Example: askless limit OPENAI_API_KEY --usd-per-day 20")
