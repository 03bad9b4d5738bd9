"""`deferral ...`: what a person asks on the command line."""

from __future__ import annotations

import typer

from deferral.commands.compare import compare
from deferral.commands.decide import decide
from deferral.commands.evaluate import evaluate
from deferral.commands.explain import explain
from deferral.commands.forecast import forecast
from deferral.commands.headline import headline
from deferral.commands.importing import import_answers
from deferral.commands.label import label
from deferral.commands.models import models, promote, rollback
from deferral.commands.options import say
from deferral.commands.plan import plan
from deferral.commands.serve import serve

app = typer.Typer(
    help="Who should answer this item: a small, cheap model or an LLM?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command("import")(import_answers)
app.command()(evaluate)
app.command()(plan)
app.command()(explain)
app.command()(decide)
app.command()(label)
app.command()(forecast)
app.command()(headline)
app.command()(serve)
app.command()(compare)
app.command()(models)
app.command()(promote)
app.command()(rollback)


def main() -> None:
    """Entry point: a `DeferralError` is one paragraph on stderr and exit code 1."""
    from deferral.errors import DeferralError

    try:
        app()
    except DeferralError as error:
        say(f"Error: {' '.join(str(error).split())}")
        raise SystemExit(1) from None
