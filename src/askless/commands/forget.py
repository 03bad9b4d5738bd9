"""`askless forget`: items, or what is old, taken out of everything that was kept."""

from __future__ import annotations

import configparser
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askless.commands.options import NONE, AsJson, note, params_here, print_json, tell

if TYPE_CHECKING:
    from askless import config
    from askless.bundles.terms import Terms
    from askless.data.forgetting import Forgotten, Found
    from askless.experts.base import Expert

AGE = re.compile(r"([1-9][0-9]{0,4})d")
Folders = Annotated[
    list[Path], typer.Argument(metavar="FOLDER...", help="Where to look: data, reports, outputs with their runs.")
]
Ids = Annotated[list[str], typer.Option("--id", metavar="ID", help="Of an item. Once for each.")]
Text = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Of an item, whole; - reads it from a pipe.", show_default=False)
]
OlderThan = Annotated[
    str | None,
    typer.Option(metavar="DAYS", help="Answers, decisions and runs of before: 90d.", show_default=False),
]
Params = Annotated[
    Path | None,
    typer.Option("--params", metavar="FILE", help="Tasks and experts.", show_default="params.yaml where there is one"),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and change nothing.")]


def forget(
    folders: Folders,
    ids: Ids = NONE,
    text: Text = None,
    older_than: OlderThan = None,
    params: Params = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Take an item out of answers, logs, runs, predictions, outputs and reports; or all that is older than some days.

    An item given by its id is looked for by its text too, where a row has both, and one given by its text by the ids
    that the tasks of the parameters give it. What other programs still hold is listed.

    Example: askless forget data reports labelled.jsonl --id 0a1b2c3d4e5f6a7b --dry-run

    Example: askless forget data --older-than 90d
    """
    from askless.data.forgetting import forget as remove
    from askless.errors import ConfigError

    if (older_than is not None) == bool(ids or text is not None):
        raise ConfigError("Say what to forget. Allowed: --id or --text, or both; or --older-than alone.")
    places = [*folders, *(run for each in folders if (run := each.with_name(f"{each.name}.run")).is_dir())]
    if older_than is not None:
        what, notes = _old(older_than), list[str]()
    else:
        what, notes = _items(places, ids, text, params)
    found = [*remove(places, what, dry_run), *_vectors(places, what, dry_run)]
    notes += _elsewhere(places)
    if as_json:
        files = [{"path": str(f.path), "what": f.what, "rows": f.rows, "why": f.why} for f in found]
        print_json({"files": files, "removed": not dry_run, "elsewhere": notes})
        return
    _report(found, dry_run)
    note(notes)


def _old(age: str) -> Forgotten:
    from askless.data.forgetting import Forgotten
    from askless.errors import ConfigError

    days = AGE.fullmatch(age)
    if days is None:
        raise ConfigError(f"--older-than got '{age}'. Allowed: whole days, such as 90d.")
    return Forgotten(before=datetime.now(UTC) - timedelta(days=int(days[1])))


def _items(places: list[Path], ids: list[str], text: str | None, params: Path | None) -> tuple[Forgotten, list[str]]:
    """What the options name, by id, text and key of an answer; and what could not be told."""
    from askless import config
    from askless.data.forgetting import Forgotten, texts_of
    from askless.data.prepare import clean, plain_ids
    from askless.data.prepare import ids as named
    from askless.errors import ConfigError
    from askless.monitoring.decision_log import SECRET

    given = sys.stdin.read() if text == "-" else text
    if given is not None and not clean(given):
        raise ConfigError("--text got an empty text. Allowed: the whole text of an item.")
    texts = frozenset() if given is None else frozenset([clean(given)])
    if ids:
        texts |= texts_of(places, frozenset(ids))
    params = params_here(params)
    settings, known = None if params is None else config.load(params), _terms(places)
    if settings is None and not known:
        lacking = (
            "No params.yaml: without tasks and experts neither ids nor kept answers of a text are known (--params, or "
            "name the folder of the model, plan.files or OUT.run, that answered)."
        )
        return Forgotten(frozenset(ids), texts), [lacking]
    tasks = {*(settings.tasks if settings else ()), *(each.task for each in known)}
    # Data may be from before there was a key.
    own = [*ids, *(name for task in sorted(tasks) for how in (named, plain_ids) for name in how(task, texts))]
    logs = sorted({path.parent for place in places for path in place.rglob(SECRET)})
    # A log without a file of its secret has names by that of the environment.
    names = [*own, *(name for folder in [*logs, *places] for name in _names_in(folder, own))]
    keys, notes = _keys(_askers(settings, known), places, texts)
    if not texts:
        notes.append("No row has a text beside this id: kept answers were not looked for. Give --text too.")
    return Forgotten(frozenset(names), texts, frozenset(keys)), notes


def _names_in(folder: Path, ids: list[str]) -> list[str]:
    """What the log in a folder calls these items; nothing where it has no secret, for none is made."""
    from askless.monitoring.decision_log import SECRET, VARIABLE, DecisionLog

    return DecisionLog(folder).names(ids) if os.environ.get(VARIABLE) or (folder / SECRET).is_file() else []


def _terms(places: list[Path]) -> list[Terms]:
    """Those that models in these places bring."""
    from askless.bundles.terms import FILE, Terms

    return [Terms.read(path.parent) for place in places for path in sorted(place.rglob(FILE))]


def _askers(settings: config.Params | None, known: list[Terms]) -> dict[str, list[Callable[[], Expert]]]:
    """Expert to what makes it, as each task and each model asks it."""
    from askless.experts import Setting, build
    from askless.experts.asked import expert_of

    found: dict[str, list[Callable[[], Expert]]] = defaultdict(list)
    if settings is not None:
        for name in settings.experts:
            found[name] = [partial(expert_of, settings, task, name, Path()) for task in settings.tasks]
    for each in known:
        for name, options in each.experts.items():
            setting = Setting(name, each.task, each.classes, each.prompt, answers=Path())
            found[name].append(partial(build, setting, options))
    return found


def _keys(
    askers: Mapping[str, list[Callable[[], Expert]]], places: list[Path], texts: frozenset[str]
) -> tuple[set[str], list[str]]:
    """Keys of the answers of every expert that has a file of them."""
    from askless.data.forgetting import files_in
    from askless.errors import AsklessError
    from askless.experts.paid import PaidExpert

    keys, notes = set[str](), []
    stores = sorted({path.stem for path in files_in(places) if path.suffix == ".sqlite"} & askers.keys())
    for name in stores if texts else []:
        before, why = len(keys), ""
        for make in askers[name]:
            try:
                expert = make()
                asked = expert.keys if isinstance(expert, PaidExpert) else lambda text: []
                keys |= {key for text in texts for key in asked(text)}
            except AsklessError as error:
                why = str(error)
        if why and len(keys) == before:
            notes.append(f"Kept answers of '{name}' were not looked for: {why}")
    if stores and texts:
        notes.append(
            "Kept answers were looked for by the options that experts have today; those of other prompts or "
            "models stay, without a text: remove their file, or wait for --older-than."
        )
    return keys, notes


def _vectors(places: list[Path], what: Forgotten, dry_run: bool) -> list[Found]:
    """Sentence vectors of the texts; they have no dates, so that none goes by its age."""
    from askless.data.forgetting import Found
    from askless.text.vector_store import forget as forget_vectors

    return [Found(path, "rows", rows) for path, rows in forget_vectors(places, what.texts, dry_run).items()]


def _elsewhere(places: list[Path]) -> list[str]:
    """What other programs may still hold."""
    roots = dict.fromkeys(parent for place in places for parent in [place, *place.absolute().parents])
    notes = []
    for root in (root for root in roots if (root / ".dvc").is_dir()):
        held = configparser.ConfigParser()
        held.read([root / ".dvc/config", root / ".dvc/config.local"], encoding="utf-8")
        remotes = re.findall(r"remote \"([^\"]+)\"", " ".join(held.sections()))
        more = "".join(
            f", then `dvc gc --workspace --cloud --remote {name}` for the remote '{name}'" for name in remotes
        )
        notes.append(
            f"DVC keeps earlier versions of its outputs in {root / '.dvc/cache'}: run the stages anew (`dvc repro`), "
            f"then `dvc gc --workspace`{more}. Versions of other commits go with them."
        )
    if os.environ.get("MLFLOW_TRACKING_URI") or Path("mlruns").exists():
        notes.append("MLflow keeps reports and bundles of earlier runs: delete these, then `mlflow gc`.")
    notes.append("Not looked at: backups, servers of experts, and what models have learnt.")
    return notes


def _report(found: list[Found], dry_run: bool) -> None:
    gone = [each for each in found if each.what != "left"]
    verb = "Would remove" if dry_run else "Removed"
    for each in gone:
        tell(f"{verb} {each.why if each.what == 'file' else f'{each.rows:,} rows'}: {each.path}")
    if not gone:
        tell("Nothing was found.")
    for each in found:
        if each.what == "left":
            tell(f"Left: {each.path}: {each.why}")
