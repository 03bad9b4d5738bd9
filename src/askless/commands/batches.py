"""`askless batches`: what servers are still answering by batches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from askless.commands.options import AsJson, DataFolder, ParamsFile, names, print_json


def batches(
    task: Annotated[str, typer.Option(metavar="NAME", help="A task of the parameters.", show_default=False)],
    experts: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Experts, with commas: a,b.", show_default="base.llms")
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where answers are kept.", show_default="those of the pipeline"),
    ] = None,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Stop them: what is answered until then is billed, and fetched by a run.")
    ] = False,
    params: ParamsFile = Path("params.yaml"),
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Say which batches of experts with `mode: batch` are under way, and how far they are.

    The command that began a batch, run again, waits for it and fetches it.

    Example: askless batches --task olhs --experts gpt-4o-mini
    """
    from askless import config
    from askless.experts.remote.batches import Batches
    from askless.experts.remote.openai import OpenAiExpert
    from askless.spending.pending import asker

    settings = config.load(params)
    folder = answers or (settings.base.data if data is None else data) / "answers" / task
    found = []
    for name in dict.fromkeys(names(experts) or settings.base.llms):
        expert = asker(settings, task, name, folder)
        if not isinstance(expert, OpenAiExpert) or not expert.under_way():
            continue
        with Batches.of(expert) as theirs:
            for batch in theirs.noted():
                if cancel:
                    theirs.cancel(batch)
                status, done = theirs.state(batch)
                about = {"expert": name, "batch": batch.id, "status": status, "items": len(batch.keys)}
                found.append({**about, "answered": done})
    if as_json:
        print_json({"task": task, "batches": found})
        return
    for each in found:
        how_far = f"{each['status']}, {each['answered']:,} of {each['items']:,} items answered"
        typer.echo(f"{each['expert']}: batch {each['batch'] or 'without a name'} is {how_far}")
    if not found:
        typer.echo(f"No batch of task {task} is under way.")
