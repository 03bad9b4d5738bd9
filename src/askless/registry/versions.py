"""The registry of models: addresses into bundles, versions listed, and the moves of its aliases.

`champion` serves, `challenger` was registered last, `previous` was champion before. One write makes a champion: the
move of that alias. The tags that a champion needs (`verdict`, `reason`, `decided`, and `replaced`, the champion before
it) are on the version by then, and what follows of it (alias `previous`, the mark on a version rolled back) is made up
for by the next command, should the process die in between.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from askless.errors import AsklessError, ConfigError, DataError
from askless.registry.model_version import PROMOTED, REFUSED, RESTORED, ROLLED_BACK, Version, when

FOLDER = Path("mlruns")
BUNDLE = Path("artifacts/bundle")
LOCK = ".registry.lock"
LOCK_SECONDS = 60.0
ONCE = (PROMOTED, RESTORED, ROLLED_BACK)
CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
ADDRESS = re.compile(r"models:/(?P<model>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<number>\d+))")
FORMS = "models:/<name>@<alias> or models:/<name>/<version>"


class Unreachable(AsklessError):
    """The registry's server or database does not answer: the same may go well a moment later."""


def store() -> str:
    """Where runs and models are kept: what MLFLOW_TRACKING_URI says, else `mlruns/` of the working directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(FOLDER / 'mlflow.db').absolute()}"


def resolve(address: str) -> Path:
    """The bundle folder that `address` names: a `models:/` address of the registry, or a folder as it is.

    Raises `DataError` where the registry has no such model.
    """
    if not address.startswith("models:/"):
        return Path(address)
    version = at(address)
    import mlflow  # noqa: TID251  the one exception: it reads addresses and moves aliases, and logs nothing

    mlflow.set_tracking_uri(store())
    try:
        folder = mlflow.artifacts.download_artifacts(artifact_uri=version.address if version else address)
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise DataError(address, _first_line(error), f"{FORMS} whose files are there", "Register it again.") from error
    return Path(folder) / BUNDLE


def at(address: str) -> Version | None:
    """The version that an address of the registry names, None for a folder; raises `DataError` where there is none."""
    if not address.startswith("models:/"):
        return None
    named = ADDRESS.fullmatch(address)
    if named is None:
        raise DataError(address, "no address of a version", FORMS, "Correct the address.")
    return find(named["model"], named["alias"] or int(named["number"]))


def find(model: str, which: str | int) -> Version:
    """The version of `model` by its number or one of its aliases; raises `DataError` that lists what there is."""
    known = versions(model)
    for version in known:
        if version.number == which or which in version.aliases:
            return version
    dangling = _aliases(model).get(str(which))
    where = f"models:/{model}/{which}" if isinstance(which, int) else f"models:/{model}@{which}"
    got = "no such version" if isinstance(which, int) else "no such alias"
    if dangling is not None:
        got = f"it names version {dangling}, which was deleted"
    listed = ", ".join(" = ".join([str(v.number), *v.aliases]) for v in known) or "none"
    remedy = f"Put one in its place: askless promote {model} VERSION --by-hand --reason TEXT."
    raise DataError(where, got, f"a version that is there ({listed})", remedy if which == CHAMPION else "Correct it.")


def versions(model: str) -> list[Version]:
    """Every version of a registered model, the newest first; raises `ConfigError` for a model that there is not."""
    aliases: dict[int, list[str]] = {}
    for alias, number in _aliases(model).items():
        aliases.setdefault(number, []).append(alias)
    found: list[Any] = []
    with _asking(model) as client:
        token: str | None = ""
        while token is not None:
            page = client.search_model_versions(f"name='{model}'", page_token=token or None)
            found, token = [*found, *page], page.token or None
    made = [Version.of(entry, aliases.get(int(entry.version), [])) for entry in found]
    return sorted(made, key=lambda version: -version.number)


def champion(model: str) -> Version | None:
    """The version that serves, None where none ever did; raises `DataError` where it was deleted."""
    now = serving(model)
    if now is None and (CHAMPION in _aliases(model) or any(v.verdict in ONCE for v in versions(model))):
        return find(model, CHAMPION)
    return now


def serving(model: str) -> Version | None:
    """The version that serves, None where there is none, for whatever reason."""
    return next((version for version in versions(model) if CHAMPION in version.aliases), None)


def rolled_back(version: Version, now: Version) -> bool:
    """Whether `version` was taken out of service by hand, `now` being champion: then no rule brings it back."""
    undone = now.verdict == RESTORED and now.replaced == version.number
    return undone or version.verdict == ROLLED_BACK


def promote(model: str, number: int, *, expected: int | None, reason: str) -> Version:
    """Make version `number` the champion, provided `expected` still is (None: there is none).

    One move at a time is made on this machine; on a server that several machines share, `expected` is looked up again
    just before the move. Where `number` is champion already, only what is missing of the move is made up for. Raises
    `DataError` that names the winner where another version was promoted meanwhile.
    """
    with _locked(model):
        now = serving(model)
        if now is None or now.number != number:
            _expect(model, number, expected)
            find(model, number)
            _mark(model, number, PROMOTED, reason, replaced=expected)
            _expect(model, number, expected)
            _point(model, CHAMPION, number)
        return _followed(model)


def rollback(model: str, reason: str = "") -> Version:
    """Put the champion before into service again; done twice, all is as it was. Returns who serves now.

    Raises `DataError` where there is no champion, none before it, or that one was deleted.
    """
    with _locked(model):
        now = find(model, CHAMPION)
        if now.replaced is None:
            raise DataError(now.address, "the first champion", "one that followed another", "Promote another version.")
        before = find(model, now.replaced)
        said = f": {reason}" if reason else ""
        _mark(model, before.number, RESTORED, f"Version {now.number} was rolled back{said}", replaced=now.number)
        _point(model, CHAMPION, before.number)
        try:
            return _followed(model)
        except Unreachable as error:
            done = f"Version {before.number} is champion of {model} again; do not roll back once more."
            raise Unreachable(f"{done} The next command makes up for the rest. {error}") from error


def refuse(model: str, number: int, reason: str) -> None:
    """Write onto version `number` that it was not promoted, and why; aliases stay as they are."""
    with _locked(model):
        now = serving(model)
        if now is not None and now.number == number:
            raise _lost(now, number)
        _mark(model, number, REFUSED, reason)
        if now is not None:
            _followed(model)


def _followed(model: str) -> Version:
    """What follows of who is champion, made so where it is not: alias `previous`, the mark on one rolled back."""
    now = find(model, CHAMPION)
    before = next((version for version in versions(model) if version.number == now.replaced), None)
    if before is None:
        return now
    if PREVIOUS not in before.aliases:
        _point(model, PREVIOUS, before.number)
    if now.verdict == RESTORED and before.verdict != ROLLED_BACK:
        _mark(model, before.number, ROLLED_BACK, now.reason)
    return find(model, CHAMPION)


def _expect(model: str, number: int, expected: int | None) -> None:
    now = serving(model)
    if (None if now is None else now.number) != expected:
        raise _lost(now, number)


def _lost(now: Version | None, number: int) -> DataError:
    who = "there is no champion any more" if now is None else f"version {now.number} is champion by now ({now.reason})"
    where = f"version {number}" if now is None else f"models:/{now.model}/{number}"
    return DataError(where, who, "the champion that it was compared with", "Compare the two and promote again.")


def _mark(model: str, number: int, verdict: str, reason: str, **more: int | None) -> None:
    """Tags that tell the decision, the word for it last."""
    tags = {"reason": reason, "decided": when(time.time()), **{k: "" if v is None else v for k, v in more.items()}}
    for key, value in {**tags, "verdict": verdict}.items():
        with _asking(model) as client:
            client.set_model_version_tag(model, str(number), key, str(value))


def _point(model: str, alias: str, number: int) -> None:
    with _asking(model) as client:
        client.set_registered_model_alias(model, alias, str(number))


def _aliases(model: str) -> dict[str, int]:
    with _asking(model) as client:
        return {alias: int(number) for alias, number in client.get_registered_model(model).aliases.items()}


@contextmanager
def _asking(model: str) -> Iterator[Any]:
    """A client of the store; what it fails with becomes one of our errors."""
    address = store()
    database = Path(address.removeprefix("sqlite:///"))
    if address.startswith("sqlite:///") and not database.exists():
        raise DataError(database, "no such file", "the registry of a pipeline that ran", "Run `dvc repro` first.")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")
    import mlflow  # noqa: TID251

    try:
        yield mlflow.MlflowClient(tracking_uri=address, registry_uri=address)
    except mlflow.exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise Unreachable(f"The registry at {address} did not do it: {_first_line(error)}. Try again.") from error
        raise _unknown(model, address, error) from error


def _unknown(model: str, address: str, error: Exception) -> AsklessError:
    import mlflow  # noqa: TID251

    client = mlflow.MlflowClient(tracking_uri=address, registry_uri=address)
    known = [found.name for found in client.search_registered_models()]
    if model in known:
        return DataError(f"models:/{model}", _first_line(error), "a version that is there", "Look at what there is.")
    return ConfigError.unknown("registered model", model, known)


@contextmanager
def _locked(model: str) -> Iterator[None]:
    """One process of this machine at a time, by a lock that dies with its holder; `DataError` after a minute of it."""
    import fcntl

    address = store()
    folder = Path(address.removeprefix("sqlite:///")).parent if address.startswith("sqlite:///") else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + LOCK_SECONDS
    with (folder / LOCK).open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    got = f"held by another process for {LOCK_SECONDS:g} s"
                    raise DataError(folder / LOCK, got, "one change at a time", "End that process.") from None
                time.sleep(0.02)
        yield


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")
