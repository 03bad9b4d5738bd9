"""`askless import`: anybody's answers as a file of the data contract."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from askless.commands.options import (
    NONE,
    AsJson,
    ClassNames,
    Columns,
    ItemColumns,
    Pattern,
    Spelt,
    Wide,
    layout,
    names,
    note,
    pairs,
    print_json,
)


def import_answers(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="JSON of the papers, results of a batch, or CSV, JSON lines or Parquet with id and label.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The Parquet file to write.", show_default=False)
    ],
    expert: Annotated[
        list[str],
        typer.Option(metavar="NAME", help="Whose answers they are, where the file does not say.", show_default=False),
    ] = NONE,
    task: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the task; ids of texts without one depend on it.")
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write the labelled items of the file here.", show_default=False),
    ] = None,
    classes: ClassNames = None,
    column: Columns = NONE,
    wide: Wide = NONE,
    pattern: Pattern = None,
    spelt: Spelt = NONE,
    item_column: ItemColumns = NONE,
    as_json: AsJson = False,
) -> None:
    """Read recorded answers of any origin and write them as one Parquet file.

    The team paper's JSON is known by its keys (Preds, generation), and so are the results of a batch as OpenAI, Azure,
    vLLM's run-batch and Anthropic write them (custom_id): --classes says which words their replies may name.

    Other files have id and label, and may have expert, proba or proba_CLASS, logprob, cost_usd, prompt_tokens,
    completion_tokens, seconds. Several rows of one expert to one id that differ in a column sample are sampled answers:
    the label is the majority's (on a tie the first class), proba the shares of the vote, the cost their sum.

    Example: askless import answers.json --task olhs --expert chatglm3 -o chatglm3.parquet --items items.parquet

    Example: askless import batch_output.jsonl --classes no,yes -o large.parquet

    Answers that were judged already have correct (true or false) or quality (0 to 1) in the place of a label.

    Example: askless import log.csv --column label=reply --column expert=model -o answers.parquet
    """
    from askless import schema
    from askless.data.recorded.imported import read, write_items
    from askless.errors import DataError

    named = pairs("--item-column", item_column)
    read_as = layout(column, wide, pattern, spelt)
    found = read(file, expert, task, classes=names(classes), layout=read_as, item_columns=named or None)
    if items is not None and found.items is None:
        remedy = "Say which column holds the gold label: --item-column label=ITS_NAME."
        raise DataError(file, "answers only", "labelled items, to be written by --items", remedy)
    schema.write(found.predictions, output, "predictions")
    if items is not None:
        write_items(found.items, items)
    note(found.notes)
    _report(found.predictions, found.items if items else None, output, items, as_json)


def _report(answers: Any, rows: Any, output: Path, items: Path | None, as_json: bool) -> None:
    """What was written: answers of each expert, how many without a label, and the items."""
    from askless import schema

    given = Counter(answers["expert"].to_pylist())
    import pyarrow.compute as pc

    nothing = pc.and_(answers["label"].is_null(), answers["quality"].is_null())
    unlabelled = Counter(answers.filter(nothing)["expert"].to_pylist())
    if as_json:
        experts = {e: {"answers": n, "without_label": unlabelled[e]} for e, n in given.items()}
        found = {"path": str(output), "experts": experts, "classes": schema.meta_of(answers).get("classes")}
        print_json(found | ({"items": {"path": str(items), "rows": len(rows)}} if items else {}))
        return
    typer.echo(f"Wrote {output}:")
    width = max(map(len, given))
    for expert, count in given.items():
        without = f", {unlabelled[expert]:,} without a label" if unlabelled[expert] else ""
        typer.echo(f"  {expert:<{width}}  {count:>{len(f'{max(given.values()):,}')},} answers{without}")
    if items:
        typer.echo(f"Wrote {items}: {len(rows):,} items ({', '.join(rows.column_names)})")
