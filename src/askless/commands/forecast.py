"""`askless forecast`: what answers will take before they are asked for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askless.commands.options import AsJson, DataFolder, ParamsFile, names, note, print_json, say

if TYPE_CHECKING:
    from askless.config import Price
    from askless.experts.paid import PaidExpert
    from askless.spending.pending import Pending

BATCH, MOST_SECONDS = 64, 60.0


def forecast(
    task: Annotated[str, typer.Option(metavar="NAME", help="A task of the parameters.", show_default=False)],
    experts: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Experts, with commas: a,b.", show_default="the task's"),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Items drawn by chance that are really asked, timed and kept first.",
            show_default="8 batches, for a minute, where a model runs here and was not timed yet; else none",
        ),
    ] = None,
    confidence: Annotated[float, typer.Option(help="Of the intervals, above 0.5 and below 1.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Seed of the sample.")] = 0,
    params: ParamsFile = Path("params.yaml"),
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Say how many calls, tokens, seconds and dollars the answers of some experts to a task's items will take.

    Answers that are kept are free. Tokens are counted by the model's own tokenizer over all items, or learnt from
    answers on record. A server is asked nothing unless --sample says so; what that costs is said before.

    Example: askless forecast --task olhs --experts demo-s,demo-l
    """
    from askless import config
    from askless.costs import CostModel
    from askless.report import forecast_words
    from askless.spending.forecast import check_confidence, together
    from askless.spending.guard import within_limits
    from askless.spending.pending import asker

    check_confidence(confidence)
    settings = config.load(params)
    folder = settings.base.data if data is None else data
    examples, answers = folder / "prepared" / task / "examples.parquet", folder / "answers" / task
    asked = [asker(settings, task, name, answers) for name in dict.fromkeys(names(experts) or settings.llms(task))]
    found = []
    for expert in asked:
        price = settings.costs.prices.get(expert.name)
        with within_limits(expert, CostModel.of(settings.costs)):
            pending = _looked_through(expert, examples, sample, seed, price)
        found.append(pending.forecast(expert.name, price, confidence))
        if not as_json:
            typer.echo(f"{forecast_words.block(found[-1], task)}\n")
            note(forecast_words.limit_words(expert, found[-1].usd))
    total = together([each.usd for each in found])
    if as_json:
        print_json({"task": task, "experts": [each.as_dict() for each in found], "usd": vars(total)})
    elif len(found) > 1:
        typer.echo(f"Together {forecast_words.money(total)}.")


def _looked_through(expert: PaidExpert, examples: Path, rows: int | None, seed: int, price: Price | None) -> Pending:
    """What is still to be asked, once a sample was."""
    from askless.report.forecast_words import money
    from askless.spending.pending import WINDOWS, Pending, sample, texts_of
    from askless.spending.usage import LEARNT, TIMED

    pending = Pending.of(expert, texts_of(examples))
    if rows is None:
        timed = expert.hosted or pending.usage.known[TIMED] == LEARNT
        rows, most = 0 if timed else WINDOWS * getattr(expert, "batch_size", BATCH), MOST_SECONDS
    else:
        most = math.inf
    rows = min(rows, len(pending.texts_left))
    if not rows:
        return pending
    cost = f" ({money(pending.draw(rows, seed).forecast(expert.name, price).usd)})" if expert.hosted else ""
    say(f"{expert.name}: {rows:,} items are asked first{cost}; their answers are kept.")
    sample(expert, pending, examples, rows, seed, most)
    return Pending.of(expert, texts_of(examples))
