"""The demo of operations: what it needs before it begins, and, in minutes, the whole."""

import os
import subprocess
import sys
from contextlib import closing

import pytest
import sqlalchemy

from tests.flows.postgres import postgresql
from tests.pipeline import ROOT

TABLES = (("mlflow", "model_versions"), ("prefect", "flow_run"))


def play(folder, cwd=ROOT):
    """`python -m flows.demo_ops` with this project's code."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "flows.demo_ops", str(folder)]
    return subprocess.run(command, cwd=cwd, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("kept")
    done = play(tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{tmp_path} is not empty. Allowed: a folder that is, or none. Choose another.\n")
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_outside_a_clone_there_is_nothing_to_copy(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = play(tmp_path / "new", elsewhere)
    assert done.returncode == 1
    assert done.stderr.startswith("This is no clone of the project: git knows no files here.")


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """The whole, on PostgreSQL where it is: its folder, what it printed, and how many rows each database has then."""
    folder = tmp_path_factory.mktemp("demo") / "ops"
    with postgresql() as server, pytest.MonkeyPatch.context() as patch:
        if server:
            patch.setenv("MLFLOW_BACKEND_STORE_URI", f"postgresql+psycopg2://{server}/mlflow")
            patch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", f"postgresql+asyncpg://{server}/prefect")
        done = play(folder)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        yield folder, done.stdout, {table: rows(server, *table) for table in TABLES if server}


def rows(server, database, table):
    """How many rows a table of PostgreSQL has."""
    engine = sqlalchemy.create_engine(f"postgresql+psycopg2://{server}/{database}")
    with closing(engine.connect()) as connection:
        found = connection.execute(sqlalchemy.text(f"SELECT count(*) FROM {table}")).scalar_one()
    engine.dispose()
    return found


@pytest.mark.slow
def test_the_whole_ends_in_one_sentence(played):
    folder, said, _ = played
    last = said.splitlines()[-1]
    assert last.startswith("In ") and last.endswith(f"with a proposal: {folder}")
    assert "version 2 took over" in last
    assert "version 3 was refused" in last
    assert "nothing was paid for twice" in last


@pytest.mark.slow
def test_mlflow_and_prefect_keep_all_of_it_in_postgresql(played):
    found = played[2]
    if not found:
        pytest.skip(
            "PostgreSQL is not installed here: initdb, postgres, psql, an account postgres where root runs this"
        )
    # Versions of the demo, and one that the monitor proposes; at the least three retrainings, two answers, two looks.
    assert found[TABLES[0]] == 4 and found[TABLES[1]] >= 7
