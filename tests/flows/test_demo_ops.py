"""The demo of operations: what it needs before it begins, and, in minutes, the whole."""

import os
import subprocess
import sys
from contextlib import closing

import pytest
import sqlalchemy

from tests.flows.postgres import postgresql
from tests.pipeline import ROOT


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


@pytest.mark.slow
def test_the_whole_ends_in_one_sentence_on_postgresql_where_there_is_one(tmp_path, monkeypatch):
    with postgresql() as server:
        if server:
            monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", f"postgresql+psycopg2://{server}/mlflow")
            monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", f"postgresql+asyncpg://{server}/prefect")
        done = play(tmp_path / "ops")
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        if server:
            for database, table in (("mlflow", "model_versions"), ("prefect", "flow_run")):
                engine = sqlalchemy.create_engine(f"postgresql+psycopg2://{server}/{database}")
                with closing(engine.connect()) as connection:
                    rows = connection.execute(sqlalchemy.text(f"SELECT count(*) FROM {table}")).scalar_one()
                engine.dispose()
                assert rows >= 4, table
    last = done.stdout.splitlines()[-1]
    assert last.startswith("In ") and last.endswith(f"with a proposal: {tmp_path / 'ops'}")
    assert "version 2 took over" in last
    assert "version 3 was refused" in last
    assert "nothing was paid for twice" in last
