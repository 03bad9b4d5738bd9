"""`askless ...`: what a person asks on the command line."""

from __future__ import annotations

import typer

from askless.commands.annotate import annotate
from askless.commands.answers import answers
from askless.commands.attempt import attempt
from askless.commands.batches import batches
from askless.commands.compare import compare
from askless.commands.decide import decide
from askless.commands.estimate import estimate
from askless.commands.evaluate import evaluate
from askless.commands.explain import explain
from askless.commands.feedback import feedback
from askless.commands.forecast import forecast
from askless.commands.forget import forget
from askless.commands.headline import headline
from askless.commands.importing import import_answers
from askless.commands.init import init
from askless.commands.key import key
from askless.commands.label import label
from askless.commands.learn import learn
from askless.commands.limit import limit
from askless.commands.models import models, promote, rollback
from askless.commands.options import say
from askless.commands.plan import plan
from askless.commands.serve import serve

app = typer.Typer(
    help="Who should answer this item: a small, cheap model or an LLM?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command()(init)
app.command("try")(attempt)
app.command("import")(import_answers)
app.command()(annotate)
app.command()(estimate)
app.command()(evaluate)
app.command()(plan)
app.command()(explain)
app.command()(decide)
app.command()(label)
app.command()(learn)
app.command()(feedback)
app.command()(forecast)
app.command()(batches)
app.command()(answers)
app.command()(limit)
app.command()(forget)
app.command()(key)
app.command()(headline)
app.command()(serve)
app.command()(compare)
app.command()(models)
app.command()(promote)
app.command()(rollback)


def main() -> None:
    """Entry point: a `AsklessError` is one paragraph on stderr and exit code 1."""
    from askless.errors import EXTRAS, AsklessError, MissingExtra

    try:
        try:
            app()
        except ModuleNotFoundError as error:
            if error.name not in EXTRAS:
                raise
            raise MissingExtra(error.name, EXTRAS[error.name]) from error
    except AsklessError as error:
        say(f"Error: {' '.join(str(error).split())}")
        raise SystemExit(1) from None
