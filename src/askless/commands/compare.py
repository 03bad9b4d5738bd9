"""`askless compare`: two versions, or two bundles, on the same test items."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askless.commands.options import AsJson, DataFolder, OutFolder, ParamsFile, print_json, tell

if TYPE_CHECKING:
    from askless.registry.held_out import Side

Bundle = Annotated[str, typer.Argument(help="A models:/name@alias or models:/name/version address, or a folder.")]


def compare(
    champion: Bundle,
    challenger: Bundle,
    params: ParamsFile = Path("params.yaml"),
    data: DataFolder = None,
    live: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Also on live requests: the log of a server with --shadow."),
    ] = None,
    out: OutFolder = None,
    as_json: AsJson = False,
) -> None:
    """Let two versions decide the same test items at the same prices, and say what the second has over the first.

    Expensive experts' answers are those on record; nothing is asked anew and nothing changes in the registry. Says at
    the end what the rule of params.yaml would make of it.

    Example: askless compare models:/askless-olhs@champion models:/askless-olhs@challenger
    """
    from askless import config
    from askless.registry import comparison, comparison_page
    from askless.registry.held_out import HeldOut
    from askless.registry.promotion import judge

    settings, first, second = config.load(params), _side(champion), _side(challenger)
    task = first.bundle.task
    settings.task(task)
    held_out = HeldOut.of(task, settings, data)
    found = comparison.compare(first, second, held_out)
    verdict = judge(found, settings.promote)
    if live is not None:
        found = comparison.on_live(found, held_out, live, (_number(champion), _number(challenger)))
    if out is not None:
        comparison_page.write(out, found)
    if as_json:
        print_json({**found.as_dict(), "rule": vars(verdict)})
        return
    typer.echo(comparison_page.text(found))
    typer.echo("")
    tell(f"By the rule of {params} the second would be {verdict.outcome}. {verdict.reason}")
    if out is not None:
        typer.echo(f"Page: {(out / 'comparison.html').resolve()}")


def _side(address: str) -> Side:
    from askless.registry import promotion
    from askless.registry import versions as registry
    from askless.registry.held_out import Side

    version = registry.at(address)
    return Side.of(address, Path(address)) if version is None else promotion.side_of(version)


def _number(address: str) -> str:
    """A version's number as logs have it, 0 for a folder."""
    from askless.registry import versions as registry

    version = registry.at(address)
    return "0" if version is None else str(version.number)
