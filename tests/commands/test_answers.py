"""`askless answers`: a colleague who takes over what was paid for asks for nothing again."""

import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from typer.testing import CliRunner

from askless import id_key
from askless.cli import app
from askless.errors import AsklessError
from tests.labelling.label_data import read_rows, write_items
from tests.pipeline import working_in
from tests.production_data import texts
from tests.registry_data import LLM

DVC = [sys.executable, "-m", "dvc"]


def run(*words):
    done = CliRunner().invoke(app, list(words))
    if isinstance(done.exception, AsklessError):
        return " ".join(str(done.exception).split())
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def rows(path):
    with closing(sqlite3.connect(path)) as db:
        return sorted(db.execute("SELECT * FROM answers"))


@pytest.fixture
def clone(place, tmp_path):
    """Makes a project's folder with ten texts, and what labels them there for an LLM behind HTTP."""
    folder, bundle, _ = place

    def made(name):
        here = tmp_path / name
        here.mkdir()
        (here / "params.yaml").write_text((folder / "params.yaml").read_text())
        write_items(here / "in.jsonl", texts(10))
        return here

    label = ("label", "in.jsonl", "--model", str(bundle), "--answers", "data/answers/shop", "-o", "out.jsonl")
    return made, label


def test_what_another_folder_paid_for_is_asked_0_times_by_folder_and_by_remote(clone, place, tmp_path):
    made, label = clone
    one, server = made("one"), place[2]
    before = len(server.requests)
    with working_in(one):
        run(*label)
        paid = len(server.requests) - before
        (kept,) = (one / "data").rglob(f"{LLM}.sqlite")
        with closing(sqlite3.connect(kept)) as db, db:
            db.execute("UPDATE answers SET day = '2020-01-02'")
        remote = (["init", "-q", "--no-scm"], ["remote", "add", "-q", "-d", "all", str(tmp_path / "remote")])
        for words in remote:
            subprocess.run([*DVC, *words], check=True, capture_output=True)
        assert f"{paid} new answers in answers/shop/{LLM}.sqlite" in run("answers", "push")
        written = (one / f"answers/shop/{LLM}.sqlite").stat()
        assert "0 new answers" in run("answers", "export") and (one / f"answers/shop/{LLM}.sqlite").stat() == written
        assert not list((one / "answers").rglob("*ledger*")), "a bill is of whoever paid it"
        (half := one / "answers/shop/.half.sqlite.x").mkdir()
        (half / "half.sqlite").write_bytes(b"what a killed export left")
    for name, words in {"by folder": ["import", str(one / "answers")], "by remote": ["pull"]}.items():
        other = made(name)
        with working_in(other):
            if words == ["pull"]:
                for each in remote:
                    subprocess.run([*DVC, *each], check=True, capture_output=True)
                (other / "answers.dvc").write_text((one / "answers.dvc").read_text())
            assert f"{paid} new answers in data/answers/shop/{LLM}.sqlite" in run("answers", *words)
            assert "0 new answers" in run("answers", *words)
            run(*label)
            assert rows(other / f"data/answers/shop/{LLM}.sqlite") == rows(kept), "replies and days too"
        assert len(server.requests) - before == paid > 0
        mine, theirs = (read_rows(folder / "out.jsonl") for folder in (other, one))
        assert sum(row["cost"] for row in theirs) > 0 and mine == [{**row, "cost": 0} for row in theirs]


def test_what_is_not_taken_over_is_said(clone, tmp_path, monkeypatch):
    made, label = clone
    one, other = made("one"), made("other")
    with working_in(one):
        run(*label)
        run("answers", "export")
    with working_in(other):
        assert "no kept answers. Allowed: a folder" in run("answers", "export")
        assert "`dvc pull answers.dvc`: " in (said := run("answers", "pull")) and "a default remote" in said
        (other / "answers").mkdir()
        (other / "answers" / "own.sqlite").write_bytes(b"no database, but long enough to be looked at" * 9)
        assert "not a file of kept answers" in run("answers", "import")
        monkeypatch.setenv(id_key.VARIABLE, "k" * id_key.SHORTEST)
        said = run("answers", "import", str(one / "answers"))
        assert "names texts by plain hashes, and here is a key" in said
