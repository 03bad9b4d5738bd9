"""`askless headline`: what the reports of a pipeline say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

Reports = Annotated[Path, typer.Option(help="Folder of the reports.")]


def headline(reports: Reports = Path("reports")) -> None:
    """Print each task's headline and where its report is.

    Example: askless headline
    """
    from askless.errors import DataError
    from askless.report import report, wording

    found = sorted(reports.glob("*/metrics.json"))
    if not found:
        raise DataError(reports, "no */metrics.json", "a folder of reports", "Run `make repro` or `dvc repro`.")
    for path in found:
        summary = json.loads(path.read_text(encoding="utf-8"))
        typer.echo(f"\n{summary['task']}: {report.headline(summary)}")
        if demo := wording.demo(summary):
            typer.echo(f"({demo})")
        typer.echo(f"Report: {(path.parent / 'report.html').resolve()}")
