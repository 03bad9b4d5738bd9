"""A PostgreSQL server of the system's package, with the databases that the project's containers make."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from flows.server import free_port
from tests.flows.small_project import PATIENCE, until
from tests.pipeline import ROOT

PROGRAMS = ("initdb", "postgres", "psql")


@contextmanager
def postgresql() -> Iterator[str]:
    """The address of a server until the block ends; empty where no program, driver or account for one is here."""
    places = os.pathsep.join([os.environ["PATH"], *map(str, Path("/usr/lib/postgresql").glob("*/bin"))])
    programs = [shutil.which(name, path=places) for name in PROGRAMS]
    # PostgreSQL does not run as root: the package makes an account for it.
    user = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
    known = not user or subprocess.run(["id", "postgres"], capture_output=True).returncode == 0
    if not (all(programs) and known and find_spec("psycopg2")):
        yield ""
        return
    initdb, postgres, psql = programs
    with tempfile.TemporaryDirectory(prefix="postgresql-") as folder:
        shutil.chown(folder, **user) if user else None
        port, data = str(free_port()), f"{folder}/data"
        words = [initdb, "-U", "askless", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "-D", data]
        subprocess.run(words, check=True, capture_output=True, cwd=folder, **user)
        server = subprocess.Popen(
            [postgres, "-D", data, "-p", port, "-k", folder, "-h", "127.0.0.1", "-F"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            **user,
        )
        try:
            ask = [psql, "-q", "-h", "127.0.0.1", "-p", port, "-U", "askless", "postgres", "-f"]
            until(lambda: not subprocess.run([*ask, "/dev/null"], capture_output=True).returncode, "PostgreSQL")
            subprocess.run([*ask, str(ROOT / "examples/databases.sql")], check=True, capture_output=True)
            yield f"askless@127.0.0.1:{port}"
        finally:
            # By SIGTERM it would wait for its clients.
            server.send_signal(signal.SIGINT)
            server.wait(PATIENCE)
