"""`askless decide`: who should answer these texts."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer


def decide(
    bundle: Annotated[
        str, typer.Argument(help="A plan, the folder of a team or policy, or a models:/name@alias address.")
    ],
    share: Annotated[
        float | None,
        typer.Option(help="Largest share of items that may go to an LLM.", show_default="what the model was set to"),
    ] = None,
    per_1000: Annotated[float | None, typer.Option(help="Budget for 1,000 items, in the policy's cost unit.")] = None,
) -> None:
    """Read texts, one a line, and write as JSON lines who should answer each.

    Example: askless decide models/olhs/teams/team/seed-67 --share 0.3 < texts.txt
    """
    from askless.bundles import decide as deciding
    from askless.bundles.bundle import Bundle
    from askless.errors import BudgetError
    from askless.policies.base import Budget
    from askless.registry.versions import at, resolve

    if share is not None and per_1000 is not None:
        raise BudgetError("Got both --share and --per-1000. Give one of them, or none for what the model was set to.")
    model, version = Bundle.load(resolve(bundle)), at(bundle)
    budget = model.budget(version.budget if version else None)
    if share is not None or per_1000 is not None:
        budget = Budget(share=share, per_1000=per_1000)
    texts = [line.rstrip("\n") for line in sys.stdin if line.strip()]
    decided = vars(deciding.decide(model, texts, budget))
    for row in zip(*decided.values(), strict=True):
        typer.echo(json.dumps(dict(zip(decided, row, strict=True))))
