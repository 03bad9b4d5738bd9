"""One Prefect server for all of these tests, with its home outside the project and the user's own."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

HOME = tempfile.TemporaryDirectory(prefix="prefect-")
os.environ["PREFECT_HOME"] = HOME.name

from tests.pipeline import LLM, ROOT, small_params, working_in, write_params  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def prefect_api():
    """The address of the harness's server, for stages that run as processes of their own."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield PREFECT_API_URL.value()


@pytest.fixture(scope="session")
def environment(prefect_api):
    """For a subprocess: the harness's server, this project's stages, the virtual environment's programs."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {
        **{k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"},
        "PREFECT_API_URL": prefect_api,
        "PYTHONPATH": str(ROOT),
        "PATH": path,
        "COLUMNS": "200",
    }


@pytest.fixture(scope="session")
def ran(tmp_path_factory, prefect_api):
    """A folder in which every stage ran once, as a flow, with nothing but its defaults; tests only read it."""
    from flows.embed import embed
    from flows.evaluate import evaluate
    from flows.generate import generate
    from flows.prepare import prepare
    from flows.train import train

    folder = tmp_path_factory.mktemp("ran")
    write_params(folder, small_params())
    with working_in(folder):
        assert prepare("olhs") == "data/prepared/olhs/examples.parquet"
        assert embed("olhs") == "data/vectors/olhs"
        assert generate("olhs", LLM) == f"data/predictions/olhs/generated/{LLM}.parquet"
        assert train("olhs") == "models/olhs"
        assert evaluate("olhs") == "reports/olhs/report.html"
    return folder
