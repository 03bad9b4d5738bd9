"""A Prefect server for the length of a command: `python -m flows.server dvc repro`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

START_SECONDS = 120
STOP_SECONDS = 20


@contextmanager
def prefect_server(port: int | None = None) -> Iterator[str]:
    """Start a server (on a free port unless given) and yield its API address; stop it by its process at the end.

    Where PREFECT_API_URL is set that server is used, and nothing is started.
    """
    given = os.environ.get("PREFECT_API_URL")
    if given:
        yield given
        return
    port = port or free_port()
    url = f"http://127.0.0.1:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with running(command, f"{url}/health", {"PREFECT_API_URL": url, "PREFECT_UI_API_URL": url}):
        yield url


@contextmanager
def running(command: Sequence[str], health: str, environment: Mapping[str, str]) -> Iterator[None]:
    """Run a server until the block ends; enter it once `health` answers."""
    server = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait(health, server)
        yield
    finally:
        server.terminate()
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(health: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise SystemExit(f"The server of {health} ended with code {server.returncode} before it answered.")
        try:
            with urllib.request.urlopen(health, timeout=2) as reply:
                if reply.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise SystemExit(f"The server of {health} did not answer within {START_SECONDS} s.")


def main(command: list[str]) -> int:
    """Run `command` with PREFECT_API_URL set to a server of its own; returns its exit code."""
    with prefect_server() as url:
        return subprocess.call(command, env={**os.environ, "PREFECT_API_URL": url})


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
