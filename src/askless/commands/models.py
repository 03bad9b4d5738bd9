"""`askless models`, `promote`, `rollback`: the versions of a registered model, and who of them serves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from askless.commands.options import AsJson, DataFolder, OutFolder, ParamsFile, print_json, tell

if TYPE_CHECKING:
    from askless.registry.versions import Version

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name of a registered model: evaluate.<task>.model.")]
Which = Annotated[str, typer.Argument(metavar="VERSION", help="Number or alias of a version.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; it is written on the version.", show_default=False)]


def models(
    model: Model,
    history: Annotated[bool, typer.Option("--history", help="Every promotion, refusal and rollback instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """List every version of a registered model, the newest first: who serves, thresholds, costs, data, decisions.

    Example: askless models askless-olhs

    Example: askless models askless-olhs --history
    """
    from askless.registry import versions as registry
    from askless.report.wording import aligned

    if history:
        _history(registry.history(model), model, as_json)
        return
    found = registry.versions(model)
    if as_json:
        print_json({"model": model, "versions": [version.as_dict() for version in found]})
        return
    head = (
        "version",
        "alias",
        "decides by",
        "may defer",
        "threshold",
        "quality",
        "cost",
        "data",
        "commit",
        "registered",
    )
    lines = aligned([head, *(_cells(version) for version in found)], right=("version", "quality", "cost")).splitlines()
    typer.echo(lines[0])
    for line, version in zip(lines[1:], found, strict=True):
        typer.echo(line)
        if version.verdict:
            typer.echo(f"         {version.verdict} {version.decided}: {version.reason}")
        elif version.proposed_by:
            typer.echo(f"         proposed by {version.proposed_by}")
    tell("Quality and cost of 1,000 items as evaluated when it was registered, on the test items of that day.")


def promote(
    model: Model,
    version: Which = "challenger",
    by_hand: Annotated[bool, typer.Option("--by-hand", help="Whatever the rule says; needs --reason.")] = False,
    reason: Reason = "",
    params: ParamsFile = Path("params.yaml"),
    data: DataFolder = None,
    out: OutFolder = None,
    as_json: AsJson = False,
) -> None:
    """Compare a version with the champion, and put it in its place if the rule of params.yaml says so.

    Exit code 1 where it is refused; the reason is written on the version. The champion before stays as `previous`.

    Example: askless promote askless-olhs

    Example: askless promote askless-olhs 3 --by-hand --reason "the provider withdrew the old model"
    """
    from askless import config
    from askless.registry import comparison_page, promotion
    from askless.registry.versions import REFUSED

    settings, which = config.load(params), int(version) if version.isdigit() else version
    if by_hand:
        now = promotion.by_hand(model, which, settings, reason)
        _say({"model": model, "outcome": "promoted", "reason": now.reason, "champion": now.number}, as_json, now)
        return
    weighed = promotion.weigh(model, which, settings, data=data, asked=True)
    verdict, found = weighed.verdict, weighed.comparison
    if found is not None and out is not None:
        comparison_page.write(out, found, verdict.outcome, verdict.reason)
    done = promotion.settle(weighed)
    if as_json:
        print_json(weighed.as_dict())
    else:
        if found is not None:
            typer.echo(f"{comparison_page.text(found)}\n")
        tell(done)
    if verdict.outcome == REFUSED:
        raise typer.Exit(1)


def rollback(model: Model, reason: Reason = "", as_json: AsJson = False) -> None:
    """Put the champion before into service again. What was rolled back is never promoted by the rule again.

    Done twice, all is as it was.

    Example: askless rollback askless-olhs --reason "complaints about sarcasm"
    """
    from askless.registry import aliases

    now = aliases.rollback(model, reason)
    _say({"model": model, "outcome": "rolled back", "reason": now.reason, "champion": now.number}, as_json, now)


def _history(decisions: list[dict[str, Any]], model: str, as_json: bool) -> None:
    if as_json:
        print_json({"model": model, "history": decisions})
        return
    for each in decisions:
        after = "" if each["replaced"] is None else f" after version {each['replaced']}"
        typer.echo(f"{each['decided']}  version {each['version']} {each['verdict']}{after}, by {each['by']}")
        typer.echo(f"         {each['reason']}")
    if not decisions:
        tell(f"Nothing was decided yet about {model}.")


def _say(done: dict[str, Any], as_json: bool, now: Version) -> None:
    if as_json:
        print_json(done)
    else:
        tell(f"Version {now.number} is champion of {now.model}. {now.reason.rstrip('.')}.")


def _cells(version: Version) -> tuple[str, ...]:
    from askless.report import wording as words

    share = "own rule" if version.budget is None else f"{words.percent(version.budget)} %"
    return (
        str(version.number),
        " ".join(version.aliases) or words.DASH,
        version.kind or words.DASH,
        share,
        version.threshold or words.DASH,
        words.DASH if version.quality is None else words.percent(version.quality),
        words.DASH if version.cost_per_1k is None else words.cost(version.cost_per_1k, version.unit),
        version.dvc_lock_sha256[:8] or words.DASH,
        version.git_commit[:8] or words.DASH,
        version.created.removesuffix(" UTC")[:-3],
    )
