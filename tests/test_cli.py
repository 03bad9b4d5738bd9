"""The command line, in process and as a process of its own."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from askless.cli import app
from tests.pipeline import LLM, MODEL, TEAM, working_in
from tests.test_architecture import HEAVY

PROGRAM = str(Path(sys.executable).with_name("askless"))
BUNDLE = f"models/olhs/teams/{TEAM}/seed-67"


def run(*words, **options):
    return CliRunner().invoke(app, words, **options)


def test_help_lists_the_commands_and_imports_nothing_heavy():
    code = (
        "import sys; from askless.cli import app\ntry: app(['--help'])\nexcept SystemExit: pass\n"
        f"heavy = [m for m in {HEAVY!r} + ('numpy', 'pandas', 'pyarrow') if m in sys.modules]\n"
        "sys.stderr.write(repr(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"import", "evaluate", "plan", "explain", "headline", "decide"} <= set(done.stdout.split())
    assert done.stderr == "[]"


@pytest.mark.parametrize(
    "command", ["annotate", "answers", "estimate", "import", "evaluate", "plan", "explain", "headline", "decide"]
)
@pytest.mark.parametrize("width", [80, 120])
def test_help_of_a_command_has_an_example_and_fits_its_terminal(command, width):
    done = run(command, "--help", env={"COLUMNS": str(width), "TERMINAL_WIDTH": str(width)})
    assert done.exit_code == 0
    assert f"Example: askless {command} " in " ".join(done.output.split()) + " "
    assert max(map(len, done.output.splitlines())) <= width


def test_headline_prints_each_task_with_its_report(built):
    done = run("headline", "--reports", str(built / "reports"))
    summary = json.loads((built / "reports/olhs/metrics.json").read_text())
    assert done.exit_code == 0
    assert f"olhs: {summary['headline']['text']}" in done.output
    assert "these figures prove the plumbing, not the method" in done.output
    assert str(built / "reports/olhs/report.html") in done.output


def test_decide_writes_one_json_line_for_each_text(built):
    texts = ["what a lovely day", "nobody asked you", "", "you are not so bad"]
    done = run("decide", str(built / BUNDLE), "--share", "0", input="\n".join(texts) + "\n")
    rows = [json.loads(line) for line in done.output.splitlines()]
    assert done.exit_code == 0
    assert len(rows) == 3
    assert {row["expert"] for row in rows} == {f"{TEAM}-network"}
    assert all(set(row) == {"expert", "small_answer", "small_confidence", "score"} for row in rows)
    assert all(row["small_answer"] in "01" and 0.5 <= row["small_confidence"] <= 1 for row in rows)


def test_decide_takes_a_registered_model_and_a_cost(built):
    with working_in(built):
        done = run("decide", f"models:/{MODEL}@challenger", "--per-1000", "1000", input="what a day\n")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["expert"] in (f"{TEAM}-network", LLM)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--share", "1.5"], "Budget share is 1.5"),
        (["--share", "0.1", "--per-1000", "2"], "Got both --share and --per-1000"),
    ],
)
def test_a_budget_that_cannot_be_meant_is_refused(built, words, said):
    done = run("decide", str(built / BUNDLE), *words, input="hello\n")
    assert done.exit_code == 1
    assert said in str(done.exception)


@pytest.mark.parametrize("missing", ["bundle.json", "small.safetensors", "vectors"])
def test_a_bundle_that_lacks_a_part_is_named(tmp_path, built, missing):
    shutil.copytree(built / BUNDLE, tmp_path / "b")
    part = tmp_path / "b" / missing
    shutil.rmtree(part) if part.is_dir() else part.unlink()
    done = run("decide", str(tmp_path / "b"), input="hello\n")
    assert done.exit_code == 1
    assert f"no {missing}" in str(done.exception)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["decide", "nowhere"], "nowhere: no bundle.json"),
        (["headline", "--reports", "none"], "none: no */metrics.json"),
    ],
)
def test_an_error_is_one_paragraph_on_stderr_and_exit_code_1(tmp_path, words, said):
    done = subprocess.run([PROGRAM, *words], input="hello\n", cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: {said}")
    assert len(done.stderr.splitlines()) == 1


def test_an_error_of_several_lines_is_one_paragraph(tmp_path):
    done = subprocess.run([PROGRAM, "headline", "--reports", "a\nb"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: a b: no */metrics.json.")
    assert len(done.stderr.splitlines()) == 1
