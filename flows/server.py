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
from urllib.parse import urlsplit

from askless.hosts import is_local

START_SECONDS = 300
STOP_SECONDS = 20
PORT = 4200
# Set for a command whose server ends with it.
PASSING = "ASKLESS_PREFECT_PASSES"
# On disk, or the turns that runs hold would be lost with a server that is killed, and never be given back.
LEASES = {"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem"}


@contextmanager
def prefect_server(port: int | None = None) -> Iterator[str]:
    """Start a server (on a free port unless given) and yield its API address; stop it by its process at the end.

    Where PREFECT_API_URL is set that server is used, and nothing is started.
    """
    given = os.environ.get("PREFECT_API_URL")
    if given:
        warn_of_plain("PREFECT_API_URL", given)
        yield given
        return
    port = port or free_port()
    with running(*prefect_command(port)):
        yield api(port)


def api(port: int | str) -> str:
    """The API address of a Prefect server on this machine."""
    return f"http://127.0.0.1:{port}/api"


def prefect_command(port: int) -> tuple[list[str], str, dict[str, str]]:
    """Command, health address and environment of a Prefect server, as `running` takes them."""
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    urls = {"PREFECT_API_URL": api(port), "PREFECT_UI_API_URL": api(port)}
    return command, f"{api(port)}/health", {**urls, "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": origins(port), **LEASES}


def origins(port: int | str) -> str:
    """Whose pages a browser lets ask the server, as Prefect takes them: its own. By default it is every site."""
    return f"http://127.0.0.1:{port},http://localhost:{port}"


def warn_of_plain(variable: str, url: str) -> None:
    """Say where a server that a variable names is beyond this machine and not encrypted."""
    there = urlsplit(url)
    if there.scheme == "http" and not is_local(there.hostname or ""):
        sys.stderr.write(
            f"Warning: {variable} is {there.scheme}://{there.hostname}, another machine without encryption: what is "
            "sent there can be read and changed on the way. Use https.\n"
        )


@contextmanager
def running(command: Sequence[str], health: str, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; enter it once `health` answers."""
    server = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait(health, server)
        yield server
    finally:
        server.terminate()
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def answers(health: str) -> bool:
    """Whether a server answers that it is well."""
    try:
        with urllib.request.urlopen(health, timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def chosen_port(variable: str, default: int) -> int:
    """The port that an environment variable names, free to listen on; ends the program with one sentence if not."""
    given = os.environ.get(variable, str(default))
    if not given.isdigit() or not 0 < int(given) < 65536:
        raise SystemExit(f"{variable} is '{given}'. Allowed: a port, 1 to 65535.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(given)))
        except OSError as error:
            raise SystemExit(
                f"Port {given} cannot be listened on: {error.strerror}. Stop what listens there, or choose another by "
                f"{variable}."
            ) from None
    return int(given)


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
        if answers(health):
            return
        time.sleep(0.2)
    raise SystemExit(f"The server of {health} did not answer within {START_SECONDS} s.")


def main(command: list[str]) -> int:
    """Run `command` with PREFECT_API_URL set to a server of its own; returns its exit code."""
    passing = {} if "PREFECT_API_URL" in os.environ else {PASSING: "1"}
    with prefect_server() as url:
        return subprocess.call(command, env={**os.environ, **passing, "PREFECT_API_URL": url})


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
