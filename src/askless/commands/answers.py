"""`askless answers`: what was paid for on one machine is not paid for again on another."""

from __future__ import annotations

import re
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from askless.commands.options import AsJson, print_json, tell


class Way(StrEnum):
    """Where answers go: into a folder or out of it, and, with DVC, on to its remote or from there."""

    EXPORT = "export"
    IMPORT = "import"
    PUSH = "push"
    PULL = "pull"


def answers(
    way: Annotated[Way, typer.Argument(metavar="export|import|push|pull", show_default=False)],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Shared answers, a file for each expert.")] = Path(
        "answers"
    ),
    kept: Annotated[
        Path, typer.Option("--answers", metavar="FOLDER", help="This machine's: the pipeline's, or OUT.run/answers.")
    ] = Path("data/answers"),
    as_json: AsJson = False,
) -> None:
    """Share the answers that were paid for: export adds this machine's to FOLDER, import takes those of FOLDER over.

    push exports and sends FOLDER to DVC's default remote: commit FOLDER.dvc then. pull fetches what that file names,
    and imports it. The first answer to a question stays, on either side; no bill goes along. Whole replies do, and they
    may repeat a text.

    Example: askless answers export /shared/answers

    Example: askless answers pull
    """
    from askless.errors import DataError
    from askless.experts.answer_store import AnswerStore, merged

    pointer = f"{folder}.dvc"
    if way is Way.PULL:
        _dvc("pull", pointer)
    source, target = (folder, kept) if way in (Way.IMPORT, Way.PULL) else (kept, folder)
    found = {path: path.relative_to(source) for path in sorted(source.rglob("*.sqlite"))}
    # Hidden is what a killed export left half done.
    files = [path for path, name in found.items() if not re.search(r"(^|/)\.|\.ledger\.sqlite$", name.as_posix())]
    if not files:
        raise DataError(source, "no kept answers", "a folder with files of them, *.sqlite", "Correct the path.")
    new = {}
    for path in files:
        there = target / found[path]
        if target is folder:
            new[str(there)] = merged(path, there)
            continue
        with AnswerStore(there) as store:
            new[str(there)] = store.take(path)
    if way is Way.PUSH:
        _dvc("add", str(folder))
        _dvc("push", pointer)
    if as_json:
        print_json({"answers": new})
        return
    for name, count in new.items():
        tell(f"{count:,} new answers in {name}")
    if way is Way.PUSH:
        tell(f"Pushed. Commit {pointer}: `askless answers pull` takes over what it names.")


def _dvc(*words: str) -> None:
    """Run DVC here; raises `AsklessError` with what it says."""
    from askless.errors import AsklessError

    done = subprocess.run([sys.executable, "-m", "dvc", *words], capture_output=True, text=True)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split()).removeprefix("ERROR: ")
        raise AsklessError(f"`dvc {' '.join(words)}`: {said} Allowed: a repository of DVC with a default remote.")
