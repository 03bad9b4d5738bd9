"""`askless estimate`: rows to label by hand are drawn, and what comes back corrects the LLM's counts."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from askless.cli import app
from askless.errors import AsklessError
from tests.pipeline import working_in

ROWS = 1500


@pytest.fixture
def here(tmp_path):
    """Labels of an LLM that says "yes" too often, and what people would say of each row."""
    rng = np.random.default_rng(0)
    truth = np.where(rng.random(ROWS) < 0.12, "yes", "no")
    said = np.where(rng.random(ROWS) < 0.15, "yes", truth)
    rows = [
        {
            "id": f"r{n}",
            "text": f"text {n}",
            "place": "north" if n % 3 else "south",
            "label": said[n],
            "confidence": 0.9,
        }
        for n in range(ROWS)
    ]
    write(tmp_path / "labelled.csv", [*rows, {**rows[0], "id": "none", "label": ""}])
    with working_in(tmp_path):
        yield tmp_path, dict(zip([row["id"] for row in rows], truth.tolist(), strict=True))


def write(path, rows):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def run(*words, code=0):
    done = CliRunner().invoke(app, ["estimate", *map(str, words)])
    if code and isinstance(done.exception, AsklessError):
        return " ".join(str(done.exception).split())
    assert done.exit_code == code, (done.output, done.exception)
    return done


def test_rows_that_people_labelled_for_nobody_was_sure_count_as_they_are(here):
    rows = [row | {"answered_by": "people" if n < 300 else "llm"} for n, row in enumerate(read("labelled.csv")[:-1])]
    for row in rows[:300]:
        row["label"] = here[1][row["id"]]
    write(here[0] / "labelled.csv", rows)
    run("labelled.csv", "--suggest", 200, "-o", "todo.csv")
    drawn = read("todo.csv")
    assert not {row["id"] for row in drawn} & {row["id"] for row in rows[:300]}
    write(here[0] / "gold.csv", [row | {"gold": here[1][row["id"]]} for row in drawn])
    found = json.loads(run("labelled.csv", "--gold", "gold.csv", "--json").stdout)["estimates"]
    assert {(each["rows"], each["labels"]) for each in found} == {(ROWS, 500)}
    raw = np.mean([row["label"] == found[0]["what"] for row in rows])
    assert found[0]["raw"] == pytest.approx(raw) and found[0]["low"] < found[0]["value"] < found[0]["high"]
    # Of them alone nothing is left to chance.
    only = run("labelled.csv", "--gold", "gold.csv", "--json", "--by", "answered_by").stdout
    assert {each["group"] for each in json.loads(only)["estimates"]} == {None, "llm"}


def test_what_the_llm_said_is_hidden_under_a_prefix_too(here):
    write(here[0] / "own.csv", [{"text": f"t{n}", "llm_label": "yes", "llm_confidence": 0.9} for n in range(4)])
    run("own.csv", "--label", "llm_label", "--suggest", 2, "-o", "todo.csv")
    assert list(read(here[0] / "todo.csv")[0]) == ["row", "text", "gold"]


def test_from_a_draw_to_shares_that_hold(here):
    folder, truth = here
    done = run("labelled.csv", "--suggest", 300, "-o", "todo.csv")
    assert "300 rows to label are in todo.csv: fill in the column gold." in done.stderr
    todo = read(folder / "todo.csv")
    assert list(todo[0]) == ["id", "text", "place", "gold"] and len({row["id"] for row in todo} - {"none"}) == 300
    write(folder / "done.csv", [{**row, "gold": truth[row["id"]]} for row in todo[:-1]] + [todo[-1]])
    done = run("labelled.csv", "--gold", "done.csv", "--by", "place", "--suggest", 50, "-o", "more.csv")
    lines = done.stdout.splitlines()
    assert lines[1].startswith("'yes' ") and "by the 299 human labels alone" in lines[1]
    assert "points too high." in lines[1] and "points too low." in lines[0]
    assert [line.split(":")[0] for line in lines[2:]] == ["north", "north", "south", "south"]
    assert "1 row without a label left out." in done.stderr and "1 row of done.csv without a human label" in done.stderr
    assert not {row["id"] for row in read(folder / "more.csv")} & {row["id"] for row in todo[:-1]}
    facts = json.loads(run("labelled.csv", "--gold", "done.csv", "--json").stdout)["estimates"]
    of_yes = facts[1]
    share = np.mean([each == "yes" for each in truth.values()])
    assert of_yes["low"] < share < of_yes["high"] < of_yes["raw"] and of_yes["rows"] == ROWS
    assert sum(each["value"] for each in facts) == pytest.approx(1)


def test_labels_that_are_numbers_have_a_mean(here):
    rows = [{"id": n, "label": n % 5, "gold": (n + (n % 7 == 0)) % 5} for n in range(400)]
    write(here[0] / "n.csv", [{"text": "any", "label": row["label"]} for row in rows])
    write(here[0] / "g.csv", [{"row": row["id"] + 1, "gold": row["gold"]} for row in rows[:100]])
    assert "mean 2." in run("n.csv", "--gold", "g.csv").stdout.splitlines()[-1]
    run("n.csv", "--suggest", 3, "-o", "todo.csv")
    assert list(read(here[0] / "todo.csv")[0]) == ["row", "text", "gold"], (
        "rows without an id are known by their number"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Give --gold FILE for an estimate, --suggest 300 -o FILE for rows to label first, or both."),
        (["--suggest", "5"], "Give --gold FILE for an estimate, --suggest 300 -o FILE"),
        (["--gold", "g.csv", "--key", "name"], "no column 'name'"),
        (["--gold", "g.csv"], "1 id that no labelled row has (first 'x'). Allowed: rows of the labelled file."),
        (["--gold", "few.csv"], "few.csv: 1 human label. Allowed: two or more, better some hundred."),
        (["--gold", "g.csv", "--confidence", "95"], "A confidence of 95. Allowed: 0.5 or more and less than 1."),
    ],
)
def test_what_cannot_be_meant_is_refused(here, words, message):
    write(here[0] / "g.csv", [{"id": "r1", "gold": "yes"}, {"id": "x", "gold": "no"}])
    write(here[0] / "few.csv", [{"id": "r1", "gold": "yes"}, {"id": "r2", "gold": ""}])
    assert message in run("labelled.csv", *words, code=1)
