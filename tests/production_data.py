"""A task in production: a champion that defers the longest texts, an LLM behind HTTP, files coming in."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from askless import config
from askless.bundles.bundle import Bundle
from askless.monitoring.decision_log import DecisionLog
from askless.registry import aliases as moves
from askless.registry import versions as registry
from tasks.answering import Facts, Place, answer_file, plain, serving
from tasks.baseline import add_baseline
from tasks.packing import pack_headline
from tasks.registration import register_headline
from tests.experts.chat_server import Answer, ChatServer, Request, chat
from tests.pipeline import small_params, with_store, working_in, write_params
from tests.registry_data import LLM, MODEL, PRICE, kept, project, register, registry_in

SHARE = 0.4


def texts(n: int, shortest: int = 1, longest: int = 200, name: str = "") -> list[str]:
    """`n` different texts of evenly spread lengths; of those with 120 letters or more most are deferred."""
    lengths = [shortest + i * (longest - shortest + 1) // n for i in range(n)]
    kinds = ["long" if length > 120 else "short" for length in lengths]
    both = zip(kinds, lengths, strict=True)
    return [f"A {kind} text. {'x' * length} {name}{i:04d}" for i, (kind, length) in enumerate(both)]


def odd(n: int, name: str = "so") -> list[str]:
    """Posts as the demo has none."""
    return [f"{name} {i} are they and we, they said {i * 7} and so on" for i in range(n)]


def said(request: Request, before: int) -> Answer:
    """A yes to a long text, a no to a short one."""
    return Answer(chat("yes" if "A long text" in request.text else "no", {"yes": 0.8, "no": 0.2}))


class Production:
    """The folder of a project, its parameters, and the version that serves."""

    def __init__(self, folder: Path, client: Any, task: str = "olhs") -> None:
        self.folder, self.client, self.task = folder, client, task
        self.params, self.data = "params.yaml", "data"

    @property
    def settings(self) -> config.Params:
        """The parameters."""
        return config.load(self.params)

    @property
    def place(self) -> Place:
        """Where things are."""
        return Place(self.task, self.data)

    @property
    def log(self) -> DecisionLog:
        """The log of decisions."""
        return self.place.log(self.settings.monitor)

    @property
    def served(self) -> Facts:
        """The version that serves, as tasks are told."""
        return plain(serving(self.settings, self.task))

    def promote(self, folder: Path, **tags: Any) -> int:
        """Register a bundle and make it champion; one that names its share gets a baseline."""
        made = Bundle.load(folder)
        if made.share() is not None:
            add_baseline(self.settings, made, made.share())
        number = register(self.client, folder, self.task, **tags)
        now = registry.champion(MODEL[self.task])
        moves.promote(MODEL[self.task], number, expected=now and now.number, reason="test")
        return number

    def comes(self, name: str, items: Sequence[str], ids: bool = True) -> Path:
        """A file of JSON lines comes in."""
        path = self.place.incoming / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"id": f"{name}-{i}", "text": text} if ids else {"text": text} for i, text in enumerate(items)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    def answer(self, path: Path, max_usd_per_day: float | None = None) -> Facts:
        """One file, answered."""
        found: Facts = answer_file.fn(self.task, self.params, self.data, str(path), self.served, max_usd_per_day)
        return found


@cache
def _in_production(empty: Path, task: str) -> TemporaryDirectory[str]:
    """A project whose version 1 serves, made once for each process and copied from then on."""
    made = TemporaryDirectory(prefix="production-")
    folder = project(Path(made.name), task)
    with registry_in(folder, empty) as client:
        Production(folder, client, task).promote(kept(folder, "long", task, budget=SHARE))
    return made


@contextmanager
def production(folder: Path, empty: Path, url: str = "", task: str = "olhs", **monitor: Any) -> Iterator[Production]:
    """A project in `folder` whose version 1 serves; the LLM is at `url`, else the demo's own."""
    source = Path(_in_production(empty, task).name)
    shutil.copytree(source, folder, dirs_exist_ok=True)
    settings = yaml.safe_load((folder / "params.yaml").read_text())
    if url:
        settings["experts"][LLM] = {
            **{"backend": "openai", "model": "m", "base_url": url, "concurrency": 2},
            "prompt": settings["experts"][LLM]["prompt"],
        }
    settings["costs"]["prices"][LLM] = {"usd_per_1k_answers": 1000 * PRICE}
    settings["monitor"] = {"window": 40, "audit_share": 0.1, **monitor}
    write_params(folder, settings)
    with closing(sqlite3.connect(with_store(folder, empty))) as store, store:
        for column in ("source", "storage_location"):
            moved = (source.as_uri(), folder.absolute().as_uri())
            store.execute(f"UPDATE model_versions SET {column} = replace({column}, ?, ?)", moved)
    with registry_in(folder, empty) as client:
        yield Production(folder, client, task)


@contextmanager
def in_service(made: Path, folder: Path, share: float = SHARE) -> Iterator[Production]:
    """What a pipeline made in `made`, in a folder of its own: its headline, at this share, is registered and serves."""
    (folder / "data").mkdir()
    for part in ("prepared", "predictions", "vectors"):
        (folder / "data" / part).symlink_to(made / "data" / part)
    (folder / "models").symlink_to(made / "models")
    shutil.copytree(made / "reports", folder / "reports")
    metrics = folder / "reports/olhs/metrics.json"
    summary = json.loads(metrics.read_text())
    summary["headline"]["budgets"] = [share] * len(summary["headline"]["budgets"])
    metrics.write_text(json.dumps(summary))
    settings = small_params()
    settings["monitor"] = {"window": 100, "audit_share": 0.1}
    params = write_params(folder, settings)
    with working_in(folder):
        pack_headline.fn("olhs", params, "reports/olhs", "models/olhs", "data/vectors/olhs")
        register_headline.fn("olhs", params, "reports/olhs")
        moves.promote(MODEL["olhs"], 1, expected=None, reason="the first")
        yield Production(folder, None)


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    """A server that tells long texts from short ones."""
    server = ChatServer()
    server.reply = said
    try:
        yield server
    finally:
        server.close()
