"""`askless explain`: why a plan decides an item as it does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from askless.commands.options import (
    NONE,
    AnswerFiles,
    AsJson,
    Columns,
    Examples,
    Intersect,
    ItemColumns,
    Pattern,
    Prices,
    Spelt,
    Wide,
    layout,
    listed,
    note,
    print_json,
    study,
    tell,
)

if TYPE_CHECKING:
    from askless.bundles.bundle import Bundle
    from askless.data.recorded import Study

Known = Annotated[Path | None, *get_args(Examples)[1:]]
AnswersKnown = Annotated[list[Path], *get_args(AnswerFiles)[1:]]


def explain(
    plan: Annotated[
        str, typer.Argument(metavar="PLAN", help="A plan written by `askless plan`, or any model that `label` takes.")
    ],
    examples: Known = None,
    answers: AnswersKnown = NONE,  # type: ignore[assignment]
    item: Annotated[str | None, typer.Option("--id", metavar="ID", help="The item.", show_default=False)] = None,
    text: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Instead of an id, of a model that learns.", show_default=False),
    ] = None,
    intersect: Intersect = False,
    column: Columns = NONE,
    wide: Wide = NONE,
    pattern: Pattern = None,
    spelt: Spelt = NONE,
    item_column: ItemColumns = NONE,
    prices: Prices = None,
    as_json: AsJson = False,
) -> None:
    """Say why a plan decides one item as it does, what that costs, and what each expert alone would.

    Of a model that learns while it answers it says whom it asked about an item that it answered, and why; that takes
    neither examples nor answers.

    Example: askless explain plan.yaml --examples items.parquet --answers a.parquet --answers b.parquet --id q17
    """
    from askless.bundles.bundle import Bundle
    from askless.errors import ConfigError
    from askless.plans import explain as explaining
    from askless.plans.boards import Boards
    from askless.plans.small import with_answers
    from askless.registry.versions import resolve

    made = Bundle.load(resolve(plan))
    if made.facts.get("learns"):
        _live(made, item, text, as_json)
        return
    if examples is None or not answers or item is None:
        raise ConfigError("A plan is explained on recorded answers. Give --examples, --answers and --id.")
    read_as = layout(column, wide, pattern, spelt)
    classes = listed(made.classes)
    given = study(examples, answers, intersect, 0, read_as, item_column, classes, prices, fit=False)
    if made.small is not None and made.small.name not in given.answers:
        given = with_answers(given, made.small)
    for name in made.policy.experts:
        if name not in given.answers:
            raise ConfigError.unknown("expert", name, given.answers)
    alone = {name: float(given.cost.price(given.answers[name], name).mean()) for name in given.experts}
    one = _only(given, item, examples)
    decided = made.policy.decide(Boards.of(one).train.copy(blind=True), made.budget())
    why = explaining.explain(decided, 0, alone, made.classes, given.cost.unit)
    record = _record(one)
    note(given.notes)
    if as_json:
        print_json({"id": item} | {k: v for k, v in why.as_dict().items() if k != "row"} | {"recorded": record})
        return
    for line in why.words():
        tell(line)
    recorded = (f"{name} {_said(found)} for {found['cost']:.3g}" for name, found in record["experts"].items())
    gold = "" if given.judged else f", gold {_named(record['gold'])}"
    tell(f"On record for this item{gold}: {', '.join(recorded)}.")


def _live(made: Bundle, item: str | None, text: str | None, as_json: bool) -> None:
    """Say it of an item that a model which learns has answered."""
    from askless.errors import ConfigError
    from askless.labelling.explained import explained
    from askless.labelling.learning import Learning

    if (item is None) == (text is None):
        raise ConfigError("Which item? Give --id, its own or the one in its answer, or --text.")
    learning = Learning.of(made)
    assert learning is not None
    with learning:
        why = explained(made, learning, item, text)
    if as_json:
        print_json(why.as_dict())
        return
    for line in why.words():
        tell(line)


def _only(given: Study, item: str, where: Path) -> Study:
    """The study of one item, as one to decide."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from askless.errors import DataError

    at = pc.index(given.examples["id"], item).as_py()
    if at < 0:
        first = given.examples["id"][0]
        raise DataError(
            where, f"no item '{item}'", f"one of its {len(given.examples):,} ids, such as '{first}'", "Correct the id."
        )
    row = given.examples.slice(at, 1)
    place = row.column_names.index("split")
    row = row.set_column(place, row.schema.field(place), pa.array(["train"]))
    return replace(given, examples=row, answers={e: table.slice(at, 1) for e, table in given.answers.items()})


def _record(one: Study) -> dict[str, Any]:
    """What every expert said to the item and what that cost."""
    found = {
        e: {"label": t["label"][0].as_py(), "cost": float(one.cost.price(t, e)[0])}
        | ({"quality": t["quality"][0].as_py()} if one.judged else {})
        for e, t in one.answers.items()
    }
    return {"gold": one.examples["label"][0].as_py(), "experts": found}


def _said(found: dict[str, Any]) -> str:
    return f"judged {found['quality']:g}" if found.get("quality") is not None else _named(found["label"])


def _named(label: str | None) -> str:
    return "no label" if label is None else f"'{label}'"
