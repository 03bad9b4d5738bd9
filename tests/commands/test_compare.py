"""`askless compare`, `models`, `promote` and `rollback`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from askless.cli import app
from askless.registry import aliases as moves
from askless.registry import versions as registry
from tests.monitoring.test_shadow_log import logs, row
from tests.registry_data import LLM, kept, project, register, registry_in
from tests.registry_data import MODEL as MODELS

MODEL = MODELS["olhs"]
PROGRAM = str(Path(sys.executable).with_name("askless"))


def run(*words, code=0):
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, (done.output, done.exception)
    return done


@pytest.fixture(scope="module")
def made(tmp_path_factory, empty_store):
    """A project with versions that defer 60 %, 40 % and 20 % of the items, the first one champion; and their bundle."""
    folder = project(tmp_path_factory.mktemp("project"))
    bundle = kept(folder, "long")
    facts = {"kind": "length", "unit": "usd", "quality": 0.9, "cost_per_1k": 0.25, "dvc_lock_sha256": "0123456789ab"}
    with registry_in(folder, empty_store) as client:
        for share in (0.6, 0.4, 0.2):
            register(client, bundle, budget=share, threshold=f"lambda {share}", git_commit="fedcba9876543", **facts)
        moves.promote(MODEL, 1, expected=None, reason="the first.")
    return folder, bundle


@pytest.fixture
def client(made, tmp_path):
    """Where that project is, with a registry of the test's own."""
    for name in ("data", "params.yaml", "models"):
        (tmp_path / name).symlink_to(made[0] / name)
    with registry_in(tmp_path, made[0] / "mlruns/mlflow.db") as client:
        yield client


@pytest.mark.parametrize("command", ["compare", "models", "promote", "rollback", "serve"])
@pytest.mark.parametrize("width", [80, 120])
def test_help_has_an_example_and_fits_its_terminal(command, width):
    done = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": str(width), "TERMINAL_WIDTH": str(width)})
    assert done.exit_code == 0
    assert f"Example: askless {command} " in " ".join(done.output.split())
    assert max(map(len, done.output.splitlines())) <= width


def test_two_versions_are_compared_and_nothing_changes(client):
    before = registry.versions(MODEL)
    done = run("compare", f"models:/{MODEL}@champion", f"models:/{MODEL}/2")
    lines = done.stdout.splitlines()
    assert lines[1].split() == [f"models:/{MODEL}/1", f"models:/{MODEL}/2"]
    assert lines[2].split()[:2] == ["accuracy", "%"]
    assert lines[-1].startswith("By the rule of params.yaml the second would be promoted. As good and cheaper: ")
    assert registry.versions(MODEL) == before


def test_two_folders_are_compared_and_kept_as_a_page(client, made, tmp_path):
    done = run("compare", made[1], made[1], "--out", tmp_path / "out")
    assert done.stdout.splitlines()[-1] == f"Page: {tmp_path / 'out/comparison.html'}"
    assert "would be refused. The same answers at the same cost, so nothing is gained" in done.stdout
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        f"comparison.{kind}" for kind in ("html", "json", "md")
    ]
    # Nothing was decided: the page has no verdict.
    assert json.loads((tmp_path / "out/comparison.json").read_text())["outcome"] == ""


def test_a_comparison_for_a_machine(client):
    done = run("compare", f"models:/{MODEL}/1", f"models:/{MODEL}/3", "--json")
    told = json.loads(done.stdout)
    assert told["quality_difference"]["value"] == pytest.approx(-0.2)
    assert told["sides"]["challenger"]["budget"] == 0.2
    assert told["rule"]["outcome"] == "refused"


def test_versions_are_listed_with_what_they_decide_by_and_cost(client):
    moves.refuse(MODEL, 3, "Neither better nor cheaper.")
    lines = run("models", MODEL).stdout.splitlines()
    assert " ".join(lines[0].split()) == (
        "version alias decides by may defer threshold quality cost data commit registered"
    )
    assert lines[1].split()[:-2] == [
        *("3", "challenger", "length", "20.0", "%", "lambda", "0.2", "90.0", "$0.250", "01234567", "fedcba98")
    ]
    assert lines[2].startswith("         refused 20")
    assert lines[2].endswith(" UTC: Neither better nor cheaper.")
    assert lines[3].split()[:3] == ["2", "–", "length"]
    assert lines[4].split()[:2] == ["1", "champion"]
    assert max(map(len, lines[:2])) <= 120
    told = json.loads(run("models", MODEL, "--json").stdout)
    assert [v["number"] for v in told["versions"]] == [3, 2, 1]
    assert told["versions"][0]["reason"] == "Neither better nor cheaper."
    assert told["versions"][2]["dvc_lock_sha256"] == "0123456789ab"


def test_a_proposal_is_listed_as_one(client):
    register(client, "nowhere", proposed_by="monitor")
    assert run("models", MODEL).stdout.splitlines()[2] == "         proposed by monitor"


def test_a_version_is_promoted_by_the_rule(client, tmp_path):
    done = run("promote", MODEL, "2", "--out", tmp_path / "out")
    assert done.stdout.splitlines()[-1].startswith(f"Version 2 is champion of {MODEL}. As good and cheaper: ")
    assert registry.champion(MODEL).number == 2
    assert json.loads((tmp_path / "out/comparison.json").read_text())["outcome"] == "promoted"


def test_a_refusal_is_exit_code_1_with_the_reason_on_the_version(client):
    done = run("promote", MODEL, code=1)
    said = done.stdout.splitlines()[-1]
    assert said.startswith(f"Version 1 stays champion of {MODEL}. Version 3: Cheaper, but quality is more than 0.5")
    assert registry.find(MODEL, "challenger").verdict == "refused"
    assert json.loads(run("promote", MODEL, "--json", code=1).stdout)["verdict"]["outcome"] == "refused"


def test_a_person_may_overrule_and_says_why(client):
    done = run("promote", MODEL, "3", "--by-hand", "--reason", "we must save")
    assert done.stdout == f"Version 3 is champion of {MODEL}. By hand: we must save.\n"
    assert registry.champion(MODEL).replaced == 1


def test_a_rollback_and_the_rollback_of_it(client):
    run("promote", MODEL, "2")
    done = run("rollback", MODEL, "--reason", "complaints")
    assert done.stdout == f"Version 1 is champion of {MODEL}. Version 2 was rolled back: complaints.\n"
    assert run("promote", MODEL, "2").stdout.startswith(f"Nothing changes in {MODEL}. Version 2 was rolled back")
    told = json.loads(run("rollback", MODEL, "--json").stdout)
    assert (told["champion"], told["outcome"]) == (2, "rolled back")


def test_every_decision_stays_in_the_history_with_who_and_why(client):
    run("promote", MODEL, "2")
    run("rollback", MODEL, "--reason", "complaints")
    run("promote", MODEL, "3", code=1)
    run("promote", MODEL, "3", "--by-hand", "--reason", "we must save")
    told = json.loads(run("models", MODEL, "--history", "--json").stdout)["history"]
    assert sorted((each["version"], each["verdict"], each["replaced"]) for each in told) == [
        (1, "promoted", None), (1, "restored", 2), (2, "promoted", 1), (3, "promoted", 1), (3, "refused", None)
    ]  # fmt: skip
    assert all("@" in each["by"] and each["reason"] and each["decided"].endswith("UTC") for each in told)
    lines = run("models", MODEL, "--history").stdout
    assert "version 1 restored after version 2, by " in lines and "Version 2 was rolled back: complaints" in lines


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["models", "askless-old"], "Unknown registered model 'askless-old'. Known: askless-olhs."),
        (["promote", "askless-old"], "Unknown model in evaluate.<task>.model 'askless-old'."),
        (["promote", MODEL, "9"], f"models:/{MODEL}/9: no such version."),
        (["promote", MODEL, "best"], f"models:/{MODEL}@best: no such alias."),
        (["promote", MODEL, "2", "--by-hand"], "--by-hand: no reason."),
        (["promote", MODEL, "--params", "none.yaml"], "none.yaml: no such file."),
        (["rollback", MODEL], f"models:/{MODEL}/1: the first champion."),
        (["compare", "nowhere", "nowhere"], "nowhere: no bundle.json."),
        (["compare", f"models:/{MODEL}@champion", f"models:/{MODEL}/7"], f"models:/{MODEL}/7: no such version."),
        (["compare", f"models:/{MODEL}", "x"], f"models:/{MODEL}: no address of a version."),
    ],
)
def test_bad_input_is_one_paragraph_exit_code_1_and_changes_nothing(client, tmp_path, words, said):
    before = registry.versions(MODEL)
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    assert str(done.exception).startswith(said)
    assert registry.versions(MODEL) == before


def test_as_a_program_an_error_is_one_line(tmp_path):
    done = subprocess.run([PROGRAM, "models", MODEL], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: {tmp_path}/mlruns/mlflow.db: no such file.")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_live_requests_stand_beside_the_comparison(client, made, tmp_path):
    first = [row(f"i{n}", "1", n < 10, expensive=LLM) for n in range(50)]
    second = [row(f"i{n}", "2", n < 20, expensive=LLM) for n in range(50)]
    addresses, folder = (f"models:/{MODEL}/1", f"models:/{MODEL}/2"), logs(tmp_path / "served", first, second)
    done = run("compare", *addresses, "--live", folder)
    assert "50 items of 2026-01-01 00:00 to 2026-01-01 00:00 UTC, decided by version 1 in" in done.stdout
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 120
    told = json.loads(run("compare", *addresses, "--live", folder, "--json").stdout)["live"]
    assert told["deferral_difference"]["value"] == pytest.approx(0.2)
    assert json.loads(run("compare", *addresses, "--json").stdout)["live"] is None
