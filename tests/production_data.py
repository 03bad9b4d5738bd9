"""A task in production: a champion that defers the longest texts, an LLM behind HTTP, files coming in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deferral import config, registry
from tasks.answering import Facts, Place, answer_file, plain, serving
from tests.experts.chat_server import Answer, ChatServer, Request, chat
from tests.pipeline import write_params
from tests.registry_data import LLM, MODEL, kept, project, register, registry_in

PROMPT = "{text}\nOffensive:"
SHARE = 0.4
KINDS = {"olhs": "label", "xsum": "text"}


def texts(n: int, longest: int = 200, name: str = "") -> list[str]:
    """`n` different texts of 1 to `longest` letters beside a few words; those of more than 120 are deferred."""
    return [
        f"A {'long' if (i * longest) // n >= 120 else 'short'} text{name}. " + "x" * (1 + (i * longest) // n) + f" {i}"
        for i in range(n)
    ]


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
    def served(self) -> Facts:
        """The version that serves, as tasks are told."""
        return plain(serving(self.settings, self.task))

    def promote(self, bundle: Path, **tags: Any) -> int:
        """Register a bundle and make it champion."""
        number = register(self.client, bundle, self.task, **tags)
        now = registry.champion(MODEL[self.task])
        registry.promote(MODEL[self.task], number, expected=now and now.number, reason="test")
        return number

    def comes(self, name: str, items: Sequence[str], ids: bool = True) -> Path:
        """A file of JSON lines comes in."""
        path = self.place.incoming / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"id": f"{name}-{i}", "text": text} if ids else {"text": text} for i, text in enumerate(items)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    def answer(self, path: Path) -> Facts:
        """One file, answered."""
        found: Facts = answer_file.fn(self.task, self.params, self.data, str(path), self.served)
        return found


@contextmanager
def production(folder: Path, empty: Path, url: str = "", task: str = "olhs", **monitor: Any) -> Iterator[Production]:
    """A project in `folder` whose version 1 serves; the LLM is at `url`, else the demo's own."""
    project(folder, task)
    import yaml

    settings = yaml.safe_load((folder / "params.yaml").read_text())
    if url:
        settings["experts"][LLM] = {"backend": "openai", "model": "m", "base_url": url, "concurrency": 2}
    settings["monitor"] = {"window": 40, "audit_share": 0.1, **monitor}
    write_params(folder, settings)
    with registry_in(folder, empty) as client:
        made = Production(folder, client, task)
        made.promote(kept(folder, "long", task, budget=SHARE))
        yield made


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    """A server that tells long texts from short ones."""
    server = ChatServer()
    server.reply = said
    try:
        yield server
    finally:
        server.close()
