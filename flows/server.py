"""One Prefect server for the length of a command: `python -m flows.server dvc repro`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import flows  # noqa: F401  sets the quiet environment

START_SECONDS = 120


@contextmanager
def prefect_server() -> Iterator[str]:
    """Start a server on a free port and yield its API address; an address already in PREFECT_API_URL is used as it is."""
    given = os.environ.get("PREFECT_API_URL")
    if given:
        yield given
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}/api"
    environment = {**os.environ, "PREFECT_LOGGING_SERVER_LEVEL": "ERROR", "PREFECT_UI_ENABLED": "false"}
    server = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(url, server)
        yield url
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise SystemExit(f"The Prefect server ended with code {server.returncode} before it answered.")
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2) as reply:
                if reply.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise SystemExit(f"The Prefect server did not answer within {START_SECONDS} s.")


def main(command: list[str]) -> int:
    """Run `command` with PREFECT_API_URL set to a server of its own; returns its exit code."""
    with prefect_server() as url:
        return subprocess.call(command, env={**os.environ, "PREFECT_API_URL": url})


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
