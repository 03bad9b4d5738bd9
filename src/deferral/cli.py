"""`deferral ...`: what a person asks on the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Who should answer this item: a small, cheap model or an LLM?", no_args_is_help=True, add_completion=False
)
Reports = Annotated[Path, typer.Option(help="Folder of the reports.")]


@app.command()
def headline(reports: Reports = Path("reports")) -> None:
    """Print each task's headline and where its report is.

    Example: deferral headline
    """
    from deferral import report
    from deferral.errors import DataError

    found = sorted(reports.glob("*/metrics.json"))
    if not found:
        raise DataError(reports, "no */metrics.json", "a folder of reports", "Run `make repro` or `dvc repro`.")
    for path in found:
        summary = json.loads(path.read_text(encoding="utf-8"))
        typer.echo(f"\n{summary['task']}: {report.headline(summary)}")
        if summary.get("demo"):
            typer.echo("(Generated demo data and toy models: this proves the plumbing, not the method.)")
        typer.echo(f"Report: {(path.parent / 'report.html').resolve()}")


@app.command()
def decide(
    bundle: Annotated[Path, typer.Argument(help="Folder of a trained team, or a models:/name@alias address.")],
    share: Annotated[float | None, typer.Option(help="Largest share of items that may go to an LLM.")] = None,
    per_1000: Annotated[float | None, typer.Option(help="Budget for 1,000 items, in the team's cost unit.")] = None,
) -> None:
    """Read texts, one a line, and write as JSON lines who should answer each.

    Example: deferral decide models/olhs/teams/team/seed-67 --share 0.3 < texts.txt
    """
    from deferral import bundle as bundles
    from deferral.errors import BudgetError
    from deferral.policies.base import Budget
    from deferral.registry import resolve

    if share is not None and per_1000 is not None:
        raise BudgetError("Got both --share and --per-1000. Give one of them, or none for the team's own rule.")
    budget = None if share is None and per_1000 is None else Budget(share=share, per_1000=per_1000)
    texts = [line.rstrip("\n") for line in sys.stdin if line.strip()]
    assigned = bundles.assign(bundles.load(resolve(str(bundle))), texts, budget)
    for row in zip(*vars(assigned).values(), strict=True):
        typer.echo(json.dumps(dict(zip(vars(assigned), row, strict=True))))


def main() -> None:
    """Entry point: a `DeferralError` is one paragraph on stderr and exit code 1."""
    from deferral.errors import DeferralError

    try:
        app()
    except DeferralError as error:
        sys.stderr.write(f"Error: {error}\n")
        raise SystemExit(1) from None
