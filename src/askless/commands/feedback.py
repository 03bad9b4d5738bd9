"""`askless feedback`: labels that came later, for a model that learns while it answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from askless.commands.options import NONE, AsJson, note, pairs, print_json, tell

if TYPE_CHECKING:
    from askless.bundles.bundle import Bundle
    from askless.data.tables import TableFile
    from askless.labelling.learning import Label, Learning

SHOWN, MANY = 5, 10_000
COLUMNS = ("id", "text", "label")
Labels = Annotated[
    str | None,
    typer.Argument(metavar="FILE", help="CSV, JSON lines or Parquet with label, and id or text; - for a pipe."),
]
Model = Annotated[Path, typer.Option("--model", metavar="FOLDER", help="The model that `askless learn` made.")]
Columns = Annotated[
    list[str], typer.Option("--column", metavar="OURS=THEIRS", help="A column under another name: --column label=gold.")
]
RollBack = Annotated[
    int | None,
    typer.Option(
        metavar="VERSION", help="Go back to what was learnt then, and take back later labels.", show_default=False
    ),
]

Page = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write a page of what it spent, learnt and asked.", show_default=False),
]


def feedback(
    model: Model,
    labels: Labels = None,
    column: Columns = NONE,
    roll_back: RollBack = None,
    page: Page = None,
    as_json: AsJson = False,
) -> None:
    """Teach a model true labels of items that it answered: of some, at any time, in any order.

    The id is the item's own, as in the output of `askless label`, or the one that `askless serve` gave; items without
    an id of their own are known by their text. A label that comes again counts once, another one replaces it. Without a
    file it says what was spent and learnt so far.

    Example: askless feedback checked.csv --model live --column label=gold
    """
    from askless.bundles.bundle import Bundle
    from askless.errors import ConfigError
    from askless.labelling.learning import Learning
    from askless.labelling.live_bandit import changed
    from askless.labelling.live_course import live_course
    from askless.report.live import write_page

    if labels is not None and roll_back is not None:
        raise ConfigError("Got labels and --roll-back. Give one of them.")
    bundle = Bundle.load(model)
    learning = Learning.of(bundle)
    if learning is None:
        raise ConfigError(f"{model} does not learn while it answers. Allowed: a folder that `askless learn` made.")
    told: dict[str, Any] = {}
    with learning:
        if roll_back is not None:
            learning.roll_back(roll_back)
        elif labels is not None:
            told = _taken(learning, bundle, labels, pairs("--column", column))
        facts = told | learning.facts() | {"changed": changed(learning.version())}
        if page is not None:
            write_page(page, model.name, facts, _sentences(facts), live_course(bundle, learning))
    note([f"{each['row']}: {each['why']}." for each in told.get("refused", [])[:SHOWN]])
    print_json(facts) if as_json else _say(facts)


def _taken(learning: Learning, bundle: Bundle, labels: str, column: dict[str, str]) -> dict[str, Any]:
    """What became of the labels of a file."""
    from askless.data.tables import TableFile
    from askless.errors import ConfigError
    from askless.labelling.live_bandit import taught

    for name in column:
        if name not in COLUMNS:
            raise ConfigError.unknown("column", name, COLUMNS)
    counts, refused = Counter[str](), list[dict[str, Any]]()
    rows = _rows(TableFile.of(labels), column)
    while some := list(islice(rows, MANY)):
        told = learning.label([label for _, label in some], bundle.classes)
        counts += Counter(new=told.new, again=told.again, corrected=told.corrected)
        refused += [{"row": some[at][0], "id": some[at][1].id, "why": why} for at, why in told.refused]
    learning.learn(partial(taught, bundle))
    return {**{name: counts[name] for name in ("new", "again", "corrected")}, "refused": refused}


def _rows(file: TableFile, column: dict[str, str]) -> Iterator[tuple[str, Label]]:
    """Each row's place and what it says; rows without a label say nothing."""
    from askless.data.columns import as_name, listed
    from askless.errors import DataError
    from askless.labelling.learning import Label

    theirs = [column.get(name, name) for name in COLUMNS]
    unit = "row" if file.kind == "parquet" else "line"
    for number, row in file.rows():
        name, text, label = (row.get(each) for each in theirs)
        if theirs[2] not in row or not {theirs[0], theirs[1]} & set(row):
            got = f"the columns {listed(list(row))}"
            lacking = [
                ours for ours, its in zip(("label", "id"), (theirs[2], theirs[0]), strict=True) if its not in row
            ]
            remedy = f"Say which it is: {' '.join(f'--column {ours}=ITS_NAME' for ours in lacking)}."
            raise DataError(file.where, got, f"'{theirs[2]}', and '{theirs[0]}' or '{theirs[1]}'", remedy)
        if label not in (None, ""):
            yield f"{unit} {number}", Label(as_name(name), text if isinstance(text, str) else None, str(as_name(label)))


def _say(facts: dict[str, Any]) -> None:
    for sentence in _sentences(facts):
        tell(sentence)
    for version in facts["versions"][-SHOWN:]:
        about = f"{version['made']}  {version['labels']:>8,} labels  {version['digest'][:12]}"
        typer.echo(f"  version {version['number']:>4}  {about}")


def _sentences(facts: dict[str, Any]) -> list[str]:
    """What became of labels that came, and what was spent so far."""
    said = []
    if "new" in facts:
        refused = f", {len(facts['refused']):,} were refused" if facts["refused"] else ""
        said.append(
            f"{facts['new']:,} labels are new, {facts['corrected']:,} replace another, {facts['again']:,} were known"
            f"{refused}."
        )
    held = facts["reserved_usd"]
    reserved = f"up to ${held:.6g} more are with turns under way or killed; " if held else ""
    said.append(
        f"{facts['items']:,} items so far took ${facts['spent_usd']:.6g} of the ${facts['allowed_usd']:.6g} that they "
        f"may; {reserved}{facts['waiting']:,} wait for a label."
    )
    for name, item in facts["changed"].items():
        said.append(f"{name} changed at item {item:,}: what was learnt of it before is set aside.")
    return said
