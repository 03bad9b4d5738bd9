"""A service over bundles of known behaviour and an LLM behind HTTP, in this process or in one of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai

from askless.monitoring.decision_log import DecisionLog
from askless.monitoring.shadow_log import beside
from askless.serving.access import Keys
from askless.serving.log_writer import LogWriter
from askless.serving.measures import Measures
from askless.serving.server import Server, address, bound
from askless.serving.service import Limits, Service
from askless.serving.shadow import Shadow
from askless.serving.versions import ExpertPool, Watch, load
from askless.spending.ledger import Ledger
from tests.production_data import production
from tests.registry_data import MODEL

ROOT = Path(__file__).parents[2]
CHAMPION = f"models:/{MODEL['olhs']}@champion"
SHORT, LONG = "A short text.", "A long text. " + "x" * 190
WAIT_S = 300.0


def champion(task: str) -> str:
    return f"models:/{MODEL[task]}@champion"


@contextmanager
def service(
    folder: Path,
    task: str = "olhs",
    *,
    limits: Limits | None = None,
    max_usd: float | None = None,
    shadow: str | None = None,
    share: float = 1.0,
    reload: float = 0.0,
    texts: bool = False,
    seconds: float = 3600.0,
) -> Iterator[Service]:
    """Everything but HTTP, in the project whose folder is the working directory; not started."""
    measures = Measures()
    with Ledger(folder / "ledger.sqlite", max_usd, daily=True) as ledger:
        pool = ExpertPool(ledger, folder / "answers")
        measures.watches(lambda: ledger.left)
        watch = Watch(champion(task), lambda at: load(at, Path("params.yaml"), pool), reload, "champion", measures)
        classes = watch.current.version.terms.classes

        def log(place: Path) -> LogWriter:
            return LogWriter(DecisionLog(place, beside=folder / "log"), classes, texts, seconds, measures)

        also = None
        if shadow:
            looks = Watch(shadow, lambda at: load(at, Path("params.yaml"), None), reload, "shadow", measures)
            also = Shadow(looks, log(beside(folder / "log")), share, measures)
        yield Service(watch, log(folder / "log"), limits or Limits(grace=5.0), measures, also)


class House:
    """A server in a thread of this process, its base URL and its service."""

    def __init__(self, made: Service, keys: tuple[str, ...] = ()) -> None:
        self.service = made
        self.socket = bound("127.0.0.1", 0)
        self.url = address(self.socket)
        self.root = self.url.removesuffix("/v1")
        self.server = Server(made, Keys(tuple(key.encode() for key in keys)))
        self.key = keys[0] if keys else "none"
        self._thread = threading.Thread(target=self.server.run, args=([self.socket],))
        self._clients: dict[str, openai.OpenAI] = {}
        self._http = httpx.Client(timeout=WAIT_S)

    def __enter__(self) -> House:
        self.service.start()
        self._thread.start()
        until(lambda: self.server.started)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._http.close()
        for client in self._clients.values():
            client.close()

    def stop(self) -> bool:
        """End it; whether all calls under way ended."""
        self.server.handle_exit(signal.SIGTERM, None)
        self._thread.join()
        self.socket.close()
        return self.service.close(self.server.until) if not self.service.log._ended else True

    @contextmanager
    def client(self, retries: int = 0) -> Iterator[openai.OpenAI]:
        with openai.OpenAI(api_key=self.key, base_url=self.url, max_retries=retries, timeout=WAIT_S) as client:
            yield client

    def say(self, text: str, model: str = MODEL["olhs"], **more: Any) -> Any:
        """One completion by the openai client."""
        if self.key not in self._clients:
            made = openai.OpenAI(api_key=self.key, base_url=self.url, max_retries=0, timeout=WAIT_S)
            self._clients[self.key] = made
        return ask(self._clients[self.key], text, model, **more)

    def post(self, body: Any = None, **more: Any) -> httpx.Response:
        """A request as bytes or JSON."""
        given = {"content": body} if isinstance(body, bytes) else {"json": body}
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.key}", **more.pop("headers", {})}
        return self._http.post(f"{self.url}/chat/completions", **given, headers=headers, **more)

    def metric(self, name: str) -> float:
        """The sum over all labels of a metric."""
        page = self._http.get(f"{self.root}/metrics", headers={"authorization": f"Bearer {self.key}"}).text
        return sum(float(v) for v in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", page, re.M))

    def rows(self) -> list[dict[str, Any]]:
        """The log, once it is written."""
        return DecisionLog(self.service.log.log.folder).read().to_pylist()


def ask(client: openai.OpenAI, text: str, model: str = MODEL["olhs"], **more: Any) -> Any:
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **more)


@contextmanager
def house(
    folder: Path, empty: Path, url: str, task: str = "olhs", keys: tuple[str, ...] = (), **options: Any
) -> Iterator[House]:
    """A project in `folder` whose champion serves; the LLM is at `url`."""
    with ExitStack() as stack:
        stack.enter_context(production(folder, empty, url, task))
        made = stack.enter_context(service(folder, task, **options))
        yield stack.enter_context(House(made, keys))


def until(true: Any, seconds: float = WAIT_S) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


class Process:
    """`askless serve` in a process of its own."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        command = [sys.executable, "-c", "from askless.cli import main; main()", "serve", *arguments, "--port", "0"]
        given = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment}
        self.process = subprocess.Popen(command, env=given, stderr=subprocess.PIPE, text=True)
        self.url = ""
        self.said: list[str] = []
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.search(r"at (http://\S+/v1)", line):
                self.url = found[1]
                break

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal it; its exit code."""
        self.process.send_signal(number)
        _, rest = self.process.communicate(timeout=WAIT_S)
        self.said.append(rest)
        return self.process.returncode


@contextmanager
def served(model: str, folder: Path, limits: Limits | None = None) -> Iterator[House]:
    """A plan, or a model that learns, behind HTTP; what it keeps is in `folder`."""
    measures = Measures()
    with Ledger(folder / "ledger.sqlite", daily=True) as ledger:
        pool = ExpertPool(ledger, folder / "answers")
        watch = Watch(model, lambda at: load(at, None, pool), 0.0, "champion", measures)
        log = LogWriter(DecisionLog(folder / "log"), watch.current.version.terms.classes, False, 3600.0, measures)
        with House(Service(watch, log, limits or Limits(grace=5.0), measures)) as made:
            yield made
