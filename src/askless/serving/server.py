"""The process that serves: a socket, uvicorn, and an end in which everything under way is finished and written."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from functools import partial
from types import FrameType
from typing import Any

import uvicorn

from askless.errors import ConfigError
from askless.serving.access import Keys
from askless.serving.app import Unspoken, build
from askless.serving.connections import Connection, Connections, room_for
from askless.serving.service import STEP_S, Service

KEEP_ALIVE_S = 65
MOST, MOST_OF_PEER, HEAD_BYTES = 1024, 256, 16 * 1024
RECORDS, RECORDS_S = 10, 60.0
AT_ONCE, QUEUE, DRAIN_S = 64, 2048, 0.3


class Server(uvicorn.Server):
    """Uvicorn, that ends by returning, whatever signal it was; a second one does not wait.

    Parameters
    ----------
    service
        What it serves.
    keys
        That clients must show.
    """

    def __init__(self, service: Service, keys: Keys) -> None:
        grace = max(1, round(service.limits.grace))
        quiet: dict[str, Any] = {"log_config": None, "access_log": False, "server_header": False}
        # Longer than clients keep a connection, or it is closed just as one is used again.
        quiet["timeout_keep_alive"] = KEEP_ALIVE_S
        self.connections = Connections(room_for(MOST), MOST_OF_PEER, service.measures)
        quiet |= {
            "http": partial(Connection, self.connections),
            "ws": "none",
            # As many are taken in at once; more would be in before any is counted.
            "backlog": AT_ONCE,
            "h11_max_incomplete_event_size": HEAD_BYTES,
        }
        # Nothing is done at the application's start or end: the service has its own.
        app = Unspoken(build(service, keys))
        super().__init__(uvicorn.Config(app, lifespan="off", timeout_graceful_shutdown=grace, **quiet))
        self.service = service
        self.until = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, with a longer queue than is taken in at once."""
        await super().startup(sockets)
        for listening in sockets or []:
            listening.listen(QUEUE)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End; who waits in the queue is taken in before, and told, however late each turn of it comes."""
        turns = QUEUE // AT_ONCE
        for _ in range(turns):
            await asyncio.sleep(DRAIN_S / turns)
        await super().shutdown(sockets)
        # Whose client has gone away is no task of the library's.
        while self.service.answering and time.monotonic() < self.until and not self.force_exit:
            await asyncio.sleep(STEP_S)

    async def on_tick(self, counter: int) -> bool:
        """Once a second, look at the connections; whether to end."""
        if counter % 10 == 0:
            self.connections.look()
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take in nothing more, and end when what is under way has ended."""
        self.until = self.until or time.monotonic() + self.service.limits.grace
        self.service.draining = True
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


class Sparing(logging.Filter):
    """Lets through `RECORDS` records of a kind in `RECORDS_S` seconds: what clients do must not fill a disk."""

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether there is room for the record."""
        kind, now = (record.name, str(record.msg)[:80]), time.monotonic()
        begun, count = self._kinds.get(kind, (now, 0))
        if now - begun > RECORDS_S:
            begun, count = now, 0
        if len(self._kinds) > 1000:
            self._kinds.clear()
        self._kinds[kind] = (begun, count + 1)
        return count < RECORDS


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens; raises `ConfigError` where it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family, backlog=QUEUE)
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None) or 0
        why = os.strerror(number) if number > 0 else error
        remedy = "Allowed: an address of this machine and a free port. Give another --host or --port."
        raise ConfigError(f"{host}, port {port}: {why}. {remedy}") from error


def address(listening: socket.socket) -> str:
    """Where clients find it."""
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/v1"


def serve(service: Service, keys: Keys, listening: socket.socket) -> bool:
    """Serve until a signal; whether all that was under way had an end within the grace."""
    server = Server(service, keys)
    service.start()
    try:
        server.run([listening])
    finally:
        ended = service.close(server.until)
    return ended
