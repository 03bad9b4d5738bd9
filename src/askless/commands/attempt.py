"""`askless try`: what is sent for a few items, what comes back, how that is read, and what it costs."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from askless.commands.options import DataFolder, ParamsFile, names, note, say

if TYPE_CHECKING:
    import pyarrow as pa

    from askless.config import Params
    from askless.experts.paid import PaidExpert

SHOWN = 70


def attempt(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task of the parameters.")],
    rows: Annotated[int, typer.Option(min=1, metavar="N", help="How many items of train.")] = 10,
    experts: Annotated[
        str | None, typer.Option(metavar="NAMES", help="LLMs, with commas: a,b.", show_default="the task's")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Spend more than generate.ask_above_usd, or what is not known.")
    ] = False,
    params: ParamsFile = Path("params.yaml"),
    data: DataFolder = None,
) -> None:
    """Ask the LLMs of a task about ten items, and show the prompt, the replies and how each was read.

    The items are of train, the classes in turn, so that no prompt is chosen by what results are measured on. Answers
    are kept: `generate` does not ask for them again.

    Example: askless try complaints --rows 20
    """
    from askless import config
    from askless.costs import CostModel
    from askless.errors import ConfigError, DataError
    from askless.experts.asked import expert_of
    from askless.experts.paid import PaidExpert
    from askless.report.forecast_words import limit_words, reason
    from askless.spending.consent import require_consent
    from askless.spending.guard import within_limits
    from askless.spending.pending import Pending

    settings = config.load(params)
    folder = settings.base.data if data is None else data
    table = _examples(settings, task, folder)
    chosen = _chosen(table, rows)
    for name in names(experts) or settings.llms(task):
        expert = expert_of(settings, task, name, folder / "answers" / task, table)
        if not isinstance(expert, PaidExpert):
            say(f"{name} replays recorded answers: nobody is asked.")
            continue
        pending = Pending.of(expert, [chosen["text"].to_pylist()])
        found = pending.forecast(name, settings.costs.prices.get(name))
        why = reason(found, task, expert.hosted, settings.generate.ask_above_usd)
        if why:
            require_consent(why, yes, f"--yes, by a higher limit in {params}")
        _sent(expert, chosen["text"][0].as_py())
        # A bar would stand between the replies.
        expert.quiet = True
        note(limit_words(expert, found.usd))
        with within_limits(expert, CostModel.of(settings.costs)):
            answers = expert.answer(chosen)
        _replies(chosen, answers, settings.task(task).classes)
        cost = None
        with suppress(ConfigError, DataError):  # without a price, or where its server does not say what was taken
            cost = float(CostModel.of(settings.costs).price(answers, name).sum())
        _summed(name, chosen, answers, cost, len(chosen) - len(pending.texts_left), settings.costs.unit)
        if expert.hosted and expert.setting.classes and answers["proba"].null_count == len(answers):
            typer.echo(f"{name}: no answer says how sure it is; with `confidence: stated` or `samples: 5` it does.\n")


def _examples(settings: Params, task: str, data: Path) -> pa.Table:
    """The prepared examples, or those that the stage prepare would make."""
    from askless import schema
    from askless.data import readers, sources
    from askless.data.prepare import prepare

    about = settings.task(task)
    path = data / "prepared" / task / "examples.parquet"
    if path.exists():
        return schema.read(path, "examples", classes=about.classes)
    with tempfile.TemporaryDirectory() as scratch:
        made_up = about.source.kind in readers.WITHOUT_FILE
        raw = None if made_up else sources.obtain(about.source, Path(scratch))
        return prepare(readers.read(about.source, raw), about, task)[0]


def _chosen(table: pa.Table, rows: int) -> pa.Table:
    """So many rows of train, the same at each call, the classes in turn."""
    import pyarrow as pa

    from askless import schema
    from askless.prompts import Draw

    train = schema.rows_in(table, "train")
    ids = train["id"].to_pylist()
    labels = [label or "" for label in train["label"].to_pylist()]
    drawn = [each.text for each in Draw(rows, seed=1).of(list(zip(ids, ids, labels, strict=True)))]
    places = {each: place for place, each in enumerate(ids)}
    return train.take(pa.array([places[each] for each in drawn]))


def _sent(expert: PaidExpert, text: str) -> None:
    prompt = expert.template()
    typer.echo(f"{expert.name} is sent, for the first item:\n")
    for line in (
        *(f"[system] {prompt.system}\n".splitlines() if prompt.system else ()),
        *prompt.fill(text).splitlines(),
    ):
        typer.echo(f"  | {line}")
    typer.echo("")


def _replies(chosen: pa.Table, answers: pa.Table, classes: tuple[str, ...]) -> None:
    golds = chosen["label" if classes else "reference"].to_pylist()
    for text, gold, row in zip(chosen["text"].to_pylist(), golds, answers.to_pylist(), strict=True):
        reply = "(none)" if row["text"] is None else repr(row["text"])
        typer.echo(f"{_cut(text)}\n  reply  {_cut(reply)}")
        if not classes:
            typer.echo(f"  wanted {_cut(gold)}" + (f"\n  fault  {row['error']}" if row["error"] else ""))
            continue
        read = f"read   {row['label']}" if row["label"] is not None else f"NOT READ: {row['error']}"
        read += "" if row["proba"] is None else f" ({max(row['proba']):.0%} sure)"
        typer.echo(f"  {read}   gold {gold}{'' if row['label'] == gold else '   <- differs'}")


def _summed(name: str, chosen: pa.Table, answers: pa.Table, cost: float | None, kept: int, unit: str) -> None:
    labels: list[Any] = answers["label"].to_pylist()
    total = len(labels)
    tokens = [sum(each or 0 for each in answers[f"{kind}_tokens"].to_pylist()) for kind in ("prompt", "completion")]
    right = sum(
        label is not None and label == gold for label, gold in zip(labels, chosen["label"].to_pylist(), strict=True)
    )
    judged = (
        f"{right} of {total} as the labels say, {labels.count(None)} not read; "
        if chosen["label"].null_count < total
        else ""
    )
    priced = "what that costs is not known" if cost is None else f"{cost:.3g} {unit}"
    typer.echo(
        f"\n{name}: {judged}{tokens[0]:,} tokens read, {tokens[1]:,} written: {priced}; {kept} of these "
        "answers were kept from before.\n"
    )


def _cut(text: str | None) -> str:
    line = " ".join((text or "").split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 3]}..."
