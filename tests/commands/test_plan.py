"""`askless plan` and `askless explain`."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from askless import load
from askless.cli import app
from tests.commands import answer_files


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def ok(*words):
    done = run(*words)
    assert done.exit_code == 0, (done.output, done.exception)
    return done


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    return folder, answer_files.write(folder)


@pytest.fixture(scope="module")
def planned(given):
    folder, words = given
    return folder / "plan.yaml", ok("plan", *words, "--budget-usd", "5", "-o", folder / "plan.yaml")


def test_a_plan_says_what_is_expected_and_what_came_of_it(planned):
    path, done = planned
    said = done.stdout.splitlines()
    assert said[0] == "Policy two_tier over small, large."
    assert said[1].startswith("Expected, cross-fitted on 120 labelled items, 95 % intervals: ")
    assert said[2].startswith("On 120 items of the test split: ")
    assert said[-1] == f"Plan: {path}"
    made = yaml.safe_load(path.read_text())
    assert (made["goal"], made["experts"]) == ({"per_1000": 5, "confidence": 0.95}, ["small", "large"])


def test_progress_is_shown_beside_the_result(planned):
    _, done = planned
    assert "two_tier over small, large: fitting and replaying\n" in done.stderr
    assert "fitting and replaying" not in done.stdout


def test_a_plan_for_a_machine(given, tmp_path):
    done = ok("plan", *given[1], "--quality-floor", "0.9", "--confidence", "0.9", "-o", tmp_path / "p.yaml", "--json")
    said = json.loads(done.stdout)
    assert said["goal"] == {"floor": 0.9}
    assert said["certificate"]["confidence"] == 0.9
    assert said["test"]["items"] == 120
    assert said["test"]["kept"] in (True, False)
    assert set(said["promise"]) >= {"items", "quality", "cost"}


def test_without_test_items_nothing_is_said_of_what_came(given, tmp_path):
    folder, _ = given
    table = pq.read_table(folder / "items.parquet")
    at = table.column_names.index("split")
    split = pa.array(["train", "valid"] * (len(table) // 2))
    pq.write_table(table.set_column(at, "split", split), tmp_path / "items.parquet")
    files = [w for e in answer_files.COSTS for w in ("--answers", folder / f"{e}.parquet")]
    done = ok("plan", "--examples", tmp_path / "items.parquet", *files, "--share", "0.3", "-o", tmp_path / "p.yaml")
    assert "cross-fitted on 240 labelled items" in done.stdout
    assert "No test items: nothing is said of what came of it." in done.stdout


@pytest.mark.parametrize(
    ("goal", "said"),
    [
        (
            [],
            "Got no goal. Give exactly one of --quality-floor, --spend-limit, --budget-usd, --per-1000, --share, --pri",
        ),
        (["--share", "0.1", "--price", "3"], "Got --share and --price. Give exactly one of "),
        (["--share", "1.1"], "Budget share is 1.1. Allowed: a finite number from 0 to 1."),
        (["--quality-floor", "99"], "A quality floor of 99. Allowed: between 0 and 1"),
        (["--share", "0.1", "--confidence", "1"], "A confidence of 1."),
        (["--budget-usd", "0.1"], "A budget of 0.1 per 1,000 items is under the least cost, 1."),
    ],
)
def test_goals_that_cannot_be_meant(given, tmp_path, goal, said):
    done = run("plan", *given[1], *goal, "-o", tmp_path / "p.yaml")
    assert done.exit_code == 1
    assert str(done.exception).startswith(said)


def test_dollars_are_no_goal_where_cost_is_no_dollars(given, tmp_path):
    folder, _ = given
    pq.write_table(pq.read_table(folder / "items.parquet"), tmp_path / "items.parquet")
    for expert, seconds in answer_files.COSTS.items():
        table = pq.read_table(folder / f"{expert}.parquet").drop_columns("cost_usd")
        table = table.append_column("seconds", pa.array([seconds] * len(table)))
        pq.write_table(table, tmp_path / f"{expert}.parquet")
    words = answer_files.named(tmp_path, "small", "large")
    done = run("plan", *words, "--budget-usd", "5", "-o", tmp_path / "p.yaml")
    assert str(done.exception) == (
        "Got --budget-usd where cost is counted in seconds. "
        "Give --per-1000 in seconds, or make dollars of them: --prices costs.yaml."
    )
    ok("plan", *words, "--per-1000", "5", "-o", tmp_path / "p.yaml")


def test_explain_says_why_and_what_else_it_could_have_cost(given, planned):
    done = ok("explain", planned[0], *given[1], "--id", "q7")
    assert "The answer is '" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("On record for this item, gold '")
    assert "small '" in last
    assert last.endswith(" for 0.01.")


def test_explain_decides_as_the_plan_does_and_for_a_machine(given, planned):
    from dataclasses import replace

    from askless.data.recorded import load as read_study
    from askless.plans.boards import Boards

    folder, words = given
    study = read_study(folder / "items.parquet", [folder / f"{e}.parquet" for e in answer_files.COSTS])
    board = Boards.of(replace(study)).test
    made = load(planned[0])
    decided = made.policy.decide(board.copy(blind=True), made.budget())
    for row in (0, 5, 11, 40):
        said = json.loads(ok("explain", planned[0], *words, "--id", board.ids[row], "--json").stdout)
        assert said["id"] == board.ids[row]
        assert said["answered_by"] == decided.experts[decided.expert[row]]
        assert said["cost"] == pytest.approx(decided.cost[row])
        assert set(said["recorded"]["experts"]) == {"small", "large"}


def test_explain_refuses_an_unknown_item_and_an_expert_without_answers(given, planned):
    folder, words = given
    refused = run("explain", planned[0], *words, "--id", "nobody")
    assert str(refused.exception) == (
        f"{folder / 'items.parquet'}: no item 'nobody'. Allowed: one of its 240 ids, such as 'q0'. Correct the id."
    )
    refused = run("explain", planned[0], *answer_files.named(folder, "small"), "--id", "q1")
    assert str(refused.exception).startswith("Unknown expert 'large'. Known: small.")


def test_an_unknown_bound_lists_the_known_ones(given, tmp_path):
    _, words = given
    done = run("plan", *words, "--quality-floor", "0.9", "--bound", "exakt", "-o", tmp_path / "p.yaml")
    assert done.exit_code == 1
    assert "Did you mean 'exact'?" in str(done.exception)
    assert not (tmp_path / "p.yaml").exists()


def test_floors_of_classes_ways_to_certify_and_policies_are_options(given, tmp_path):
    _, words = given
    plan = ("-o", tmp_path / "p.yaml", "--json")
    done = ok("plan", *words, "--quality-floor", "0.8", "--recall", "A=0.6", "--precision", "B=0.55", *plan)
    said = json.loads(done.stdout)
    assert said["goal"] == {"floor": 0.8, "recall": {"A": 0.6}, "precision": {"B": 0.55}}
    assert [each.split(" of at")[0] for each in said["certificate"]["terms"]] == [
        "a quality",
        "a recall of 'A'",
        "a precision of 'B'",
    ]
    assert len(said["test"]["floors"]) == 3
    assert yaml.safe_load((tmp_path / "p.yaml").read_text())["goal"]["recall"] == {"A": 0.6}
    said = json.loads(ok("plan", *words, "--quality-floor", "0.8", "--per-group", *plan).stdout)
    assert said["certificate"]["terms"] == ["a quality of at most 20 points below the reference in group 'even'"]
    said = json.loads(ok("plan", *words, "--quality-floor", "0.8", "--certify", "split", *plan).stdout)
    assert said["promise"]["items"] in (72, 120)
    said = json.loads(ok("plan", *words, "--quality-floor", "0.8", "--policy", "always", *plan).stdout)
    assert said["kind"] == "always"
    said = json.loads(ok("plan", *words, "--spend-limit", "8", "--most-per-item", "0.05", *plan).stdout)
    assert said["certificate"]["terms"] == ["if no item costs more than 0.05"]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--recall", "A=many"], "--recall got 'A=many'. Give a share, such as --recall A=0.9."),
        (["--recall", "A"], "--recall got 'A'. Give OUR_NAME=ITS_NAME"),
        (["--recall", "D=0.9"], "Unknown class 'D'. Known: A, B, C."),
        (["--quality-floor", "0.9", "--policy", "chain_forward"], "Policy 'chain_forward' cannot be kept"),
        (["--quality-floor", "0.9", "--certify", "splits"], "Unknown way to certify 'splits'. Known: cross, split."),
    ],
)
def test_options_of_a_plan_that_cannot_be_meant(given, tmp_path, option, said):
    done = run("plan", *given[1], *option, "-o", tmp_path / "p.yaml")
    assert done.exit_code == 1
    assert str(done.exception).startswith(said)


def test_help_says_what_the_test_items_show():
    assert "show whether the promise was kept" in " ".join(ok("plan", "--help").stdout.replace("│", " ").split())
