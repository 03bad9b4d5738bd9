"""One Prefect server for the tests of a worker, with its home outside the project and the user's own."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HOME = tempfile.TemporaryDirectory(prefix="prefect-")
os.environ["PREFECT_HOME"] = HOME.name

from flows.server import api, free_port, prefect_command, running  # noqa: E402
from tests.once import once  # noqa: E402
from tests.pipeline import LLM, ROOT, small_params, with_store, working_in, write_params  # noqa: E402


@pytest.fixture(scope="session")
def empty_server(tmp_path_factory):
    """A database of Prefect with its tables and nothing in them: to make one takes longer than to start a server."""

    def make(folder):
        environment = {**os.environ, "PREFECT_HOME": str(folder)}
        command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
        subprocess.run(command, env=environment, check=True, capture_output=True)

    return once(tmp_path_factory, "empty-server", make) / "prefect.db"


@pytest.fixture(scope="package")
def prefect_api(empty_server, tmp_path_factory):
    """The address of a server, for flows here and for stages that run as processes of their own."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    home, port = tmp_path_factory.mktemp("prefect"), free_port()
    shutil.copy(empty_server, home)
    command, health, environment = prefect_command(port)
    environment |= {"PREFECT_HOME": str(home)}
    with running(command, health, environment), temporary_settings({PREFECT_API_URL: api(port)}):
        yield api(port)


@pytest.fixture(scope="package")
def environment(prefect_api):
    """For a subprocess: that server, this project's stages, the virtual environment's programs."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {
        **{k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"},
        "PREFECT_API_URL": prefect_api,
        "PYTHONPATH": str(ROOT),
        "PATH": path,
        "COLUMNS": "200",
    }


@pytest.fixture(scope="package")
def ran(tmp_path_factory, prefect_api, empty_store):
    """A folder in which every stage ran once, as a flow, with nothing but its defaults; tests only read it."""
    from flows.embed import embed
    from flows.evaluate import evaluate
    from flows.generate import generate
    from flows.prepare import prepare
    from flows.settings import settings
    from flows.train import train

    def make(folder):
        write_params(folder, small_params())
        with_store(folder, empty_store)
        with working_in(folder):
            assert prepare("olhs") == "data/prepared/olhs/examples.parquet"
            assert embed("olhs") == "data/vectors/olhs"
            assert settings("olhs") == "data/settings/olhs"
            assert generate("olhs", LLM) == f"data/predictions/olhs/generated/{LLM}.parquet"
            assert train("olhs") == "models/olhs"
            assert evaluate("olhs") == "reports/olhs/report.html"

    return once(tmp_path_factory, "ran", make)
