"""The process that serves: a socket, uvicorn, and an end in which everything under way is finished and written."""

from __future__ import annotations

import os
import signal
import socket
import time
from types import FrameType
from typing import Any

import uvicorn

from askless.errors import ConfigError
from askless.serving.access import Keys
from askless.serving.app import build
from askless.serving.service import Service

KEEP_ALIVE_S = 65


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
        # Nothing is done at the application's start or end: the service has its own.
        super().__init__(uvicorn.Config(build(service, keys), lifespan="off", timeout_graceful_shutdown=grace, **quiet))
        self.service = service
        self.until = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take in nothing more, and end when what is under way has ended."""
        self.until = self.until or time.monotonic() + self.service.limits.grace
        self.service.draining = True
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens; raises `ConfigError` where it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family, backlog=2048)
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
