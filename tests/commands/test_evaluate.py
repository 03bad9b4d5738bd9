"""`askless evaluate`: one table for a person, one object for a machine."""

import json

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from askless.cli import app
from tests.commands import answer_files

FEW = ["--policy", "two_tier", "--policy", "random", "--bootstrap", "40"]


def run(*words):
    return CliRunner().invoke(app, ["evaluate", *map(str, words)])


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    return folder, answer_files.write(folder)


def test_a_table_on_stdout_the_rest_on_stderr_and_four_files(given, tmp_path):
    _, words = given
    done = run(*words, *FEW, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.exception
    table, legend, last = done.stdout.rstrip().split("\n\n")
    assert "* headline" in legend
    headline, report = last.splitlines()
    assert headline.split(":")[0] in ("two_tier", "random")
    assert {line.split()[0] for line in table.splitlines()} == {
        "policy", "two_tier", "random", "small", "large", "oracle",
    }  # fmt: skip
    assert "nan" not in table.lower()
    assert report == f"Report: {(tmp_path / 'out' / 'report.html').resolve()}"
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"metrics.json", "curve.csv", "decisions.parquet", "report.html"} <= names


def test_json_is_one_object_and_what_is_in_the_file(given, tmp_path):
    _, words = given
    done = run(*words, *FEW, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout) == json.loads((tmp_path / "out" / "metrics.json").read_text())


def test_assumptions_are_said_once(given, tmp_path):
    folder, _ = given
    table = pq.read_table(folder / "items.parquet")
    pq.write_table(table.drop_columns(["split", "text"]), tmp_path / "items.parquet")
    words = ["--examples", tmp_path / "items.parquet", "--answers", folder / "small.parquet"]
    done = run(*words, "--answers", folder / "large.parquet", *FEW[:2], *FEW[4:], "--out", tmp_path / "out")
    assert done.exit_code == 0, done.exception
    assert done.stderr.count("has no split: each class was split by a hash of its ids (seed 0)") == 1
    assert done.stderr.count("have no text") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--policy", "tow_tier"], "Unknown policy 'tow_tier'."),
        (["--policy", "team_gain"], "Policy 'team_gain' is not replayed on recorded answers"),
        (["--reference", "larg"], "Unknown expert 'larg'. Known: large, small. Did you mean 'large'?"),
        (["--column", "label"], "--column got 'label'."),
        (["--column", "label=reply"], "no column 'reply'"),
        (["--prices", "none.yaml"], "none.yaml: No such file or directory. Pass the path of a readable YAML file."),
    ],
)
def test_what_cannot_be_meant(given, tmp_path, words, said):
    done = run(*given[1], *words, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert said in str(done.exception)


def test_out_is_a_folder(given, tmp_path):
    (tmp_path / "out").write_text("")
    done = run(*given[1], "--out", tmp_path / "out")
    assert str(done.exception) == f"--out {tmp_path / 'out'} is a file. Give a folder, or the name of one to make."
