"""The versions of a registered model: listed, found by number, alias or address, and their bundles fetched.

`askless.registry.aliases` moves the aliases.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from askless.errors import AsklessError, ConfigError, DataError, require
from askless.hosts import without_passwords

FOLDER = Path("mlruns")
BUNDLE = Path("artifacts/bundle")
PROMOTED, REFUSED, RESTORED, ROLLED_BACK = "promoted", "refused", "restored", "rolled back"
TEXTS = ("task", "kind", "seed", "unit", "headline", "threshold", "digest", "dvc_lock_sha256", "git_commit")
DECIDED = ("verdict", "reason", "decided", "by", "against", "proposed_by")
HISTORY = "history/"
ONCE = (PROMOTED, RESTORED, ROLLED_BACK)
CHAMPION, CHALLENGER = "champion", "challenger"
ADDRESS = re.compile(r"models:/(?P<model>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<number>\d+))")
CONNECT_SECONDS, DATABASES = 5.0, {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
FORMS = "models:/<name>@<alias> or models:/<name>/<version>"


class Unreachable(AsklessError):
    """The registry's server or database does not answer: the same may go well a moment later."""


@dataclass(frozen=True)
class Version:
    """One version of a registered model, and what its tags say; a number that was not written down is None.

    Parameters
    ----------
    model
        Name of the registered model.
    number
        Of the version.
    aliases
        Those that name it: champion, challenger, previous.
    run_id, created
        MLflow's run that registered it, and when that was.
    task, kind
        Its task, and the kind of its policy.
    experts
        Those of its policy, the small one first.
    seed, unit
        The seed of its training, and the unit of its costs.
    headline
        Name of its policy.
    quality
        Of the headline at registration, 0 to 1.
    cost_per_1k
        Of the headline at registration, for 1,000 items, in `unit`.
    budget
        Share of items deferred at its operating point, 0 to 1, chosen on valid.
    threshold
        What each score is held against there.
    digest
        SHA-256 over the files of its bundle: what it is known by.
    dvc_lock_sha256, git_commit
        Of the lock file of its data, and of its code.
    verdict
        The last decision about it: promoted, refused, restored or rolled back; empty before one.
    reason, decided, by
        Of that decision, a sentence, when it was, and the account and machine by which.
    against
        Of a refusal, the champion, its anchor and the rule.
    proposed_by
        Who proposed what a person is to decide about.
    replaced
        The champion that it followed.
    anchor
        The version from which losses are counted: the first champion, or the last that a person put in place.
    """

    model: str
    number: int
    aliases: tuple[str, ...]
    run_id: str
    created: str
    task: str
    kind: str
    experts: tuple[str, ...]
    seed: str
    unit: str
    headline: str
    quality: float | None
    cost_per_1k: float | None
    budget: float | None
    threshold: str
    digest: str
    dvc_lock_sha256: str
    git_commit: str
    verdict: str
    reason: str
    decided: str
    by: str
    against: str
    proposed_by: str
    replaced: int | None
    anchor: int | None

    @classmethod
    def of(cls, entry: Any, aliases: Sequence[str]) -> Version:
        """From what MLflow says of it; raises `DataError` for a tag that is no number where one should be."""
        tags: Mapping[str, str] = entry.tags

        def number(tag: str) -> float | None:
            given = tags.get(tag)
            try:
                return None if given in (None, "", "None") else float(str(given))
            except ValueError:
                where, remedy = f"models:/{entry.name}/{entry.version}", "Correct the tag in the registry."
                raise DataError(where, f"its tag {tag} is {given!r}", "a number", remedy) from None

        replaced, anchor = number("replaced"), number("anchor")
        return cls(
            model=entry.name,
            number=int(entry.version),
            aliases=tuple(sorted(aliases)),
            run_id=entry.run_id or tags.get("run_id", ""),
            created=when(entry.creation_timestamp / 1000),
            experts=tuple(filter(None, tags.get("experts", "").split(","))),
            quality=number("quality"),
            cost_per_1k=number("cost_per_1k"),
            budget=number("budget"),
            replaced=None if replaced is None else int(replaced),
            anchor=None if anchor is None else int(anchor),
            **{name: tags.get(name, "") for name in (*TEXTS, *DECIDED)},
        )

    @property
    def address(self) -> str:
        """Where its bundle is, for ever."""
        return f"models:/{self.model}/{self.number}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"address": self.address}


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
    require("mlflow")
    import mlflow  # noqa: TID251  the one exception: this room, which logs nothing but traces

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
    with asking(model) as client:
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


def history(model: str) -> list[dict[str, Any]]:
    """Every decision, the newest first: `version`, `verdict`, `reason`, `decided`, `by`, `replaced`."""
    with asking(model) as client:
        tags = client.get_registered_model(model).tags
    return [json.loads(tags[key]) for key in sorted(tags, reverse=True) if key.startswith(HISTORY)]


def record(version: Version) -> None:
    """Add the last decision about a version to the history of its model; done again, nothing more happens."""
    key = f"{HISTORY}{re.sub('[^0-9]', '', version.decided)}-{version.number}-{version.verdict}"
    told = {name: getattr(version, name) for name in ("verdict", "decided", "by", "replaced")}
    # Of a tag's value MLflow's database keeps 5,000 characters; quotes and breaks of lines are two in JSON.
    told |= {"version": version.number, "reason": version.reason[:2000]}
    with asking(version.model) as client:
        client.set_registered_model_tag(version.model, key, json.dumps(told, ensure_ascii=False))


def _aliases(model: str) -> dict[str, int]:
    with asking(model) as client:
        return {alias: int(number) for alias, number in client.get_registered_model(model).aliases.items()}


@contextmanager
def asking(model: str) -> Iterator[Any]:
    """A client of the store; what it fails with becomes one of our errors."""
    address = store()
    database = Path(address.removeprefix("sqlite:///"))
    if address.startswith("sqlite:///") and not database.exists():
        raise DataError(database, "no such file", "a registry with a version", "Run: python -m flows.register TASK.")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # By its own 7 it would be silent for four minutes before it says that its server does not answer.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    require("mlflow")
    check_database(address)
    import mlflow  # noqa: TID251
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield mlflow.MlflowClient(tracking_uri=address, registry_uri=address)
    except (mlflow.exceptions.MlflowException, SQLAlchemyError) as error:
        if getattr(error, "error_code", "") != "RESOURCE_DOES_NOT_EXIST":
            raise _unreachable(address, error) from error
        raise _unknown(model, address, error) from error


def check_database(address: str) -> None:
    """Raise `Unreachable` where nobody listens at a database's address: MLflow would try ten times, for two minutes."""
    usual = DATABASES.get(re.split(r"[+:]", address)[0])
    if usual is None:
        return
    from sqlalchemy.engine import make_url

    # Not by urllib: a password may have any character but @.
    url = make_url(address)
    if not url.host or "host" in url.query:
        return
    try:
        socket.create_connection((url.host, url.port or usual), CONNECT_SECONDS).close()
    except OSError as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> Unreachable:
    return Unreachable(without_passwords(f"The registry at {address} did not do it: {_first_line(error)}. Try again."))


def _unknown(model: str, address: str, error: Exception) -> AsklessError:
    import mlflow  # noqa: TID251

    client = mlflow.MlflowClient(tracking_uri=address, registry_uri=address)
    known = [found.name for found in client.search_registered_models()]
    if model in known:
        return DataError(f"models:/{model}", _first_line(error), "a version that is there", "Look at what there is.")
    return ConfigError.unknown("registered model", model, known)


def when(seconds: float) -> str:
    """A time since 1970 as a date and a time of day in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _first_line(error: BaseException) -> str:
    """What an error says; of a server that is not there what the connection met, without the layers around that."""
    root: BaseException | None = error
    while root is not None and not isinstance(root, ConnectionRefusedError | TimeoutError | socket.gaierror):
        root = root.__cause__ or root.__context__
    return (root and root.strerror) or without_passwords(str(error).splitlines()[0].rstrip("."))
