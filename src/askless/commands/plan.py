"""`askless plan`: which experts to ask, and when, for a goal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    Order,
    Pattern,
    Prices,
    Reference,
    Seed,
    Small,
    Spelt,
    Wide,
    layout,
    names,
    note,
    pairs,
    print_json,
    say,
    shares,
    study,
    tell,
)

if TYPE_CHECKING:
    from askless.bundles.terms import Terms
    from askless.experts import Expert
    from askless.plans.plan import Goal, Plan

Number = float | None


def plan(
    examples: Examples,
    answers: AnswerFiles,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The plan to write: a page, and beside it a folder.")
    ] = Path("plan.yaml"),
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
    recall: Annotated[
        list[str],
        typer.Option(
            metavar="CLASS=SHARE", help="Goal, also beside --quality-floor: recall of a class; may be repeated."
        ),
    ] = NONE,
    precision: Annotated[
        list[str],
        typer.Option(metavar="CLASS=SHARE", help="The same of answers of a class: how many of them are right."),
    ] = NONE,
    macro_f1: Annotated[
        Number, typer.Option("--macro-f1", help="The same of the mean of the classes' F1.", show_default=False)
    ] = None,
    per_group: Annotated[
        bool, typer.Option("--per-group", help="Floors hold in each group of items, not just over all.")
    ] = False,
    confidence: Annotated[float, typer.Option(help="Of what is promised.")] = 0.95,
    policy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[,NAME]",
            help="Policies to try beside each expert alone; 'always' for nothing else.",
            show_default="by experts and labels; see docs/policies.md",
        ),
    ] = None,
    bound: Annotated[
        str, typer.Option(help="Of a quality floor: exact, clopper_pearson or betting; see docs/policies.md.")
    ] = "exact",
    certify: Annotated[
        str | None,
        typer.Option(
            help="cross: fit on all labels, test cross-fitted; split: fit on some, test the same policy on others.",
            show_default="cross; split beside --small",
        ),
    ] = None,
    most_per_item: Annotated[
        Number,
        typer.Option(
            help="What no item can cost more than, for --spend-limit: such as max_tokens at their price.",
            show_default="assumed, from the answers seen",
        ),
    ] = None,
    reference: Reference = None,
    small: Small = None,
    order: Order = None,
    llm: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=MODEL",
            help="Who answers new items as an expert on record: --llm gpt-4=gpt-4o-mini, or with its server behind it, "
            "--llm mini=qwen2.5:7b@http://localhost:11434/v1.",
        ),
    ] = NONE,
    prompt: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What they are asked, as the answers on record were: YAML as in docs/tasks.md, or a text with {text} "
            "where the item stands.",
            show_default=False,
        ),
    ] = None,
    intersect: Intersect = False,
    seed: Seed = 0,
    column: Columns = NONE,
    wide: Wide = NONE,
    pattern: Pattern = None,
    spelt: Spelt = NONE,
    item_column: ItemColumns = NONE,
    classes: ClassNames = None,
    prices: Prices = None,
    as_json: AsJson = False,
) -> None:
    """Choose experts, their order and thresholds for a goal, and write them as a plan that can be reviewed.

    Everything is fitted and promised on the train and valid items; the test items, if there are any, show whether the
    promise was kept. Give one goal.

    Example: askless plan --examples items.parquet --answers a.parquet --answers b.parquet --quality-floor 0.97
    """
    from askless.bundles.terms import Terms
    from askless.errors import ConfigError
    from askless.labelling.plan_answers import keep
    from askless.plans.boards import Boards
    from askless.plans.outcome import outcome_of
    from askless.plans.planner import make_plan
    from askless.plans.small import with_small
    from askless.prompts import PromptSpec

    classwise: dict[str, Any] = {"recall": shares("--recall", recall), "precision": shares("--precision", precision)}
    classwise["macro_f1"] = macro_f1
    asked = _models(llm, prompt)
    goal = _goal(quality_floor, spend_limit, budget_usd, per_1000, share, price, confidence, classwise, per_group)
    read_as = layout(column, wide, pattern, spelt)
    given = study(examples, answers, intersect, seed, read_as, item_column, classes, prices, order=order)
    if budget_usd is not None:
        _refuse_unit(given.cost.unit)
    for name in asked:
        if name not in given.experts:
            raise ConfigError.unknown("expert", name, given.experts)
    terms = None
    if prompt is not None and asked:
        spec = PromptSpec.read(prompt)
        terms = Terms.of_models(output.stem, given.classes, asked, spec, given.cost.prices)
    expert = None
    if small is not None:
        given, expert, certify = with_small(given, small, goal, certify, seed)
    made = make_plan(
        given,
        goal,
        reference,
        kinds=names(policy),
        bound=bound,
        certify=certify or "cross",
        learnt=() if expert is None else (expert.name,),
        most_per_item=most_per_item,
        random_state=seed,
        say=say,
    )
    keep(made, given, output, expert, terms, seed)
    test = Boards.labelled(given).test
    outcome = outcome_of(made, test) if len(test) else None
    note([*given.notes, *_unasked(made, terms, expert), *_left(made, terms)])
    if as_json:
        summary: dict[str, Any] = {
            "path": str(output),
            "goal": {k: v for k, v in goal.as_dict().items() if k != "confidence"},
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


def _models(llm: Sequence[str], prompt: Path | None) -> dict[str, str]:
    """Who answers as which expert; raises `ConfigError` where nobody says what they are asked."""
    from askless.errors import ConfigError

    if llm and prompt is None:
        raise ConfigError(
            "Got --llm without --prompt. A plan promises of answers to the prompt on record. Give that: "
            "--prompt prompt.txt with {text} where the item stands."
        )
    return pairs("--llm", llm)


def _unasked(made: Plan, terms: Terms | None, small: Expert | None) -> list[str]:
    """What is still to be said before new items can be answered."""
    known = {*(terms.experts if terms else ()), *([small.name] if small else ())}
    unknown = [name for name in made.policy.experts if name not in known]
    how = " ".join(f"--llm {name}=MODEL" for name in unknown)
    return [f"To answer new items by this plan, say who answers: {how} --prompt FILE."] if unknown else []


def _left(made: Plan, terms: Terms | None) -> list[str]:
    """For how many items is enough what the keys of a plan's experts may still pay."""
    from askless import experts
    from askless.report.forecast_words import dollars
    from askless.spending.key_limits import key_limit

    cost, asked = made.promise.cost[0], terms.experts if terms and made.unit == "usd" else {}
    known = [name for name in made.policy.experts if name in asked]
    built = [experts.build(experts.Setting(name, "plan", made.classes), asked[name]) for name in known]
    payers = sorted({payer for each in built if (payer := getattr(each, "payer", None))})
    return [
        f"What is left today of {limit}, {dollars(limit.left)}, is enough for about {limit.left / cost:,.0f} items."
        for payer in payers
        if cost and (limit := key_limit(payer))
    ]


def _goal(
    floor: Number,
    limit: Number,
    usd: Number,
    per_1000: Number,
    share: Number,
    price: Number,
    confidence: float,
    classwise: Mapping[str, Any],
    per_group: bool,
) -> Goal:
    """The one goal that was given, under the name it has in a plan, and what joins a floor."""
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
    if len(given) != 1 and (given or not any(classwise.values())):
        got = " and ".join(given) or "no goal"
        alone = "" if given else " --recall, --precision and --macro-f1 stand alone too."
        raise ConfigError(f"Got {got}. Give exactly one of {', '.join(options)}.{alone}")
    return Goal(**dict(given.values()), confidence=confidence, per_group=per_group, **classwise)  # type: ignore[arg-type]


def _refuse_unit(unit: str) -> None:
    from askless.errors import BudgetError

    if unit != "usd":
        raise BudgetError(
            f"Got --budget-usd where cost is counted in {unit}. "
            f"Give --per-1000 in {unit}, or make dollars of them: --prices costs.yaml."
        )
