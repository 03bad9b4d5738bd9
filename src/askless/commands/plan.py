"""`askless plan`: which experts to ask, and when, for a goal."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from askless.commands.options import (
    NONE,
    AnswerFiles,
    AsJson,
    ClassNames,
    Columns,
    Examples,
    Intersect,
    ItemColumns,
    Prices,
    Reference,
    Seed,
    note,
    print_json,
    study,
    tell,
)

if TYPE_CHECKING:
    from askless.plans.plan import Goal

Number = float | None


def plan(
    examples: Examples,
    answers: AnswerFiles,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The plan to write.")] = Path(
        "plan.yaml"
    ),
    quality_floor: Annotated[
        Number, typer.Option(help="Goal: 0.99 is not more than 1 point below the reference.", show_default=False)
    ] = None,
    spend_limit: Annotated[
        Number, typer.Option(help="Goal: a cost of 1,000 items that is promised.", show_default=False)
    ] = None,
    budget_usd: Annotated[
        Number, typer.Option(help="Goal: dollars for 1,000 items, in the mean.", show_default=False)
    ] = None,
    per_1000: Annotated[
        Number, typer.Option("--per-1000", help="The same in whatever cost is counted in.", show_default=False)
    ] = None,
    share: Annotated[
        Number, typer.Option(help="Goal: share of the items that go beyond the first expert.", show_default=False)
    ] = None,
    price: Annotated[
        Number, typer.Option(help="Goal: a right answer more is worth 1 / PRICE of cost.", show_default=False)
    ] = None,
    confidence: Annotated[float, typer.Option(help="Of what is promised.")] = 0.95,
    bound: Annotated[
        str, typer.Option(help="Of a quality floor: clopper_pearson, exact or betting; see docs/policies.md.")
    ] = "clopper_pearson",
    reference: Reference = None,
    intersect: Intersect = False,
    seed: Seed = 0,
    column: Columns = NONE,
    item_column: ItemColumns = NONE,
    classes: ClassNames = None,
    prices: Prices = None,
    as_json: AsJson = False,
) -> None:
    """Choose experts, their order and thresholds for a goal, and write them as a plan that can be reviewed.

    Everything is fitted and promised on the train and valid items; the test items, if there are any, show what outcome
    of the promise. Give one goal.

    Example: askless plan --examples items.parquet --answers a.parquet --answers b.parquet --quality-floor 0.97
    """
    from askless.plans import plan_file
    from askless.plans.boards import Boards
    from askless.plans.outcome import outcome_of
    from askless.plans.planner import make_plan

    goal = _goal(quality_floor, spend_limit, budget_usd, per_1000, share, price, confidence)
    given = study(examples, answers, intersect, seed, column, item_column, classes, prices)
    if budget_usd is not None:
        _refuse_unit(given.cost.unit)
    made = make_plan(given, goal, reference, bound=bound, random_state=seed)
    plan_file.write(made, output)
    test = Boards.labelled(given).test
    outcome = outcome_of(made, test) if len(test) else None
    note(given.notes)
    if as_json:
        summary: dict[str, Any] = {
            "path": str(output),
            "goal": {goal.kind: goal.value},
            "kind": made.kind,
            "words": made.words(),
        }
        summary |= {"experts": list(made.policy.experts), "reference": made.reference, "unit": made.unit}
        summary |= {"promise": asdict(made.promise), "certificate": made.certificate and asdict(made.certificate)}
        print_json(summary | {"test": outcome and outcome.as_dict()})
        return
    for line in (
        *made.words(),
        *(outcome.words() if outcome else ("No test items: nothing is said of what came of it.",)),
    ):
        tell(line)
    typer.echo(f"\nPlan: {output}")


def _goal(
    floor: Number, limit: Number, usd: Number, per_1000: Number, share: Number, price: Number, confidence: float
) -> Goal:
    """The one goal that was given, under the name it has in a plan."""
    from askless.errors import ConfigError
    from askless.plans.plan import Goal

    options = {
        "--quality-floor": ("floor", floor),
        "--spend-limit": ("limit", limit),
        "--budget-usd": ("per_1000", usd),
        "--per-1000": ("per_1000", per_1000),
        "--share": ("share", share),
        "--price": ("price", price),
    }
    given = {option: (name, value) for option, (name, value) in options.items() if value is not None}
    if len(given) != 1:
        got = " and ".join(given) or "no goal"
        raise ConfigError(f"Got {got}. Give exactly one of {', '.join(options)}.")
    ((name, value),) = given.values()
    return Goal(**{name: value}, confidence=confidence)


def _refuse_unit(unit: str) -> None:
    from askless.errors import BudgetError

    if unit != "usd":
        raise BudgetError(
            f"Got --budget-usd where cost is counted in {unit}. "
            f"Give --per-1000 in {unit}, or make dollars of them: --prices costs.yaml."
        )
