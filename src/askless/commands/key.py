"""`askless key`: texts are named by a secret of the project instead of plain hashes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from askless.commands.options import NONE, AsJson, print_json, tell


def key(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="[FOLDER]...", help="Whose answers and ledgers change: data, runs.", show_default=False),
    ] = NONE,  # type: ignore[assignment]
    as_json: AsJson = False,
) -> None:
    """Name texts by a secret of this project: nobody without it can tell whether a text that they guess is here.

    Makes `.askless/id.key`, unless there is one or `ASKLESS_ID_KEY` is set, and replaces the plain names of kept
    answers and ledgers in the folders. Without the key what they hold is paid for again: keep a copy elsewhere.

    Example: askless key data labelled.jsonl.run
    """
    from askless import id_key
    from askless.data.rekeying import rekey

    made = id_key.make()
    found = rekey(folders)
    if as_json:
        files = [{"path": str(each.path), "names": each.names, "why": each.why} for each in found]
        print_json({"key": str(made) if made else None, "files": files})
        return
    if made:
        tell(f"Made {made}: keep a copy elsewhere. Without it, what was paid for is paid for again.")
    for each in found:
        tell(f"Left: {each.path}: {each.why}" if each.why else f"Named by the key: {each.names:,} in {each.path}")
    if not made and not found:
        tell("There is a key, and no plain name in these folders.")
