"""`askless evaluate`: every policy on recorded answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    note,
    print_json,
    say,
    study,
)


def evaluate(
    examples: Examples,
    answers: AnswerFiles,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the results.")] = Path("out"),
    policy: Annotated[
        list[str],
        typer.Option(metavar="NAME", help="A policy to compare; may be repeated.", show_default="all that apply"),
    ] = NONE,
    reference: Reference = None,
    order: Order = None,
    small: Small = None,
    quality: Annotated[str, typer.Option(metavar="MEASURE", help="accuracy, macro_f1 or f1_positive.")] = "accuracy",
    bootstrap: Annotated[int, typer.Option(min=20, help="Resamples of the intervals.")] = 1000,
    orders: Annotated[int, typer.Option(min=2, help="Orders of arrival, for those that learn.")] = 10,
    told: Annotated[float, typer.Option(min=0, max=1, help="Share of labels that these are told.")] = 1.0,
    late: Annotated[int, typer.Option(min=0, help="Items after which a label comes.")] = 0,
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
    """Replay every policy that applies on recorded answers and compare what each budget buys.

    Policies are fitted on the train (and valid) items and reported on test. Prints one table, best first, and writes
    metrics.json, curve.csv, decisions.parquet and report.html. Of those that learn while they answer (--policy bandit)
    it shows how they learn, told each label after its answer, in several orders of arrival.

    Example: askless evaluate --examples items.parquet --answers small.parquet --answers large.parquet --out out/
    """
    from askless.errors import ConfigError
    from askless.evaluation.arrivals import Feedback
    from askless.plans import evaluate as evaluating
    from askless.plans.small import learning_rows, trained
    from askless.report import report

    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file. Give a folder, or the name of one to make.")
    read_as = layout(column, wide, pattern, spelt)
    given = study(examples, answers, intersect, seed, read_as, item_column, classes, prices, order=order)
    if small is not None:
        given, _ = trained(given, small, learning_rows(given, "train"), quality=quality, random_state=seed)
    summary = evaluating.evaluate(
        given,
        policies=policy or None,
        reference=reference,
        seeds=(seed, seed + 1, seed + 2),
        bootstrap=bootstrap,
        quality=quality,
        orders=orders,
        feedback=Feedback(told, late),
        out=out,
        say=say,
    )
    note(summary["notes"])
    if as_json:
        print_json(summary)
        return
    typer.echo(report.text_summary(summary))
    typer.echo(f"\n{summary['headline']['policy']}: {report.headline(summary)}")
    typer.echo(f"Report: {(out / 'report.html').resolve()}")
