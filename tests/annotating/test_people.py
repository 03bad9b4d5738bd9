"""What people are asked, in the forms of their tools, and what they said read back."""

import json

import numpy as np
import pytest

from askless.annotating.people import ForPeople, read_answers, write_queue
from askless.annotating.table import TextTable
from askless.data.tables import TableFile
from askless.errors import DataError

CLASSES = ("no", "yes")


@pytest.fixture
def table(tmp_path):
    """Five rows, the last of which is the first one's text."""
    (tmp_path / "in.jsonl").write_text("".join(f'{{"post": "text {n % 4}"}}\n' for n in range(5)))
    return TextTable.read(TableFile.of(tmp_path / "in.jsonl"), "post", "annotate", ["label"])


def studio(row, *chosen, **more):
    result = [{"type": "choices", "value": {"choices": [each]}} for each in chosen]
    return {"data": {"row": row, "text": "?"}, "annotations": [{"result": result, **more}]}


def test_a_queue_is_not_written_over_answers(table, tmp_path):
    path = tmp_path / "queue.csv"
    for held in ("", "row,text,gold\n", "row,text,gold\n1,a,\n"):
        path.write_text(held)
        assert (ForPeople(queue=path).said(table, CLASSES)[0] == -1).all()
    path.write_text("row,text,gold\n1,a,yes\n")
    with pytest.raises(DataError, match="queue.csv: answers of people. Allowed: a file without any, .* --people"):
        ForPeople(queue=path, answers=path).said(table, CLASSES)
    assert ForPeople(answers=path).said(table, CLASSES)[0].tolist() == [1, -1, -1, -1]


def argilla(row, *chosen):
    return {"id": str(row), "fields": {"text": "?"}, "responses": {"any": [{"value": each} for each in chosen]}}


@pytest.mark.parametrize("form", ["csv", "json", "jsonl"])
def test_the_least_sure_come_first_and_nothing_says_what_was_answered(table, tmp_path, form):
    path = tmp_path / f"queue.{form}"
    write_queue(path, table, np.array([True, True, False, True]), np.array([0.6, 0.2, 0.9, 0.4]))
    found = [record for _, record in TableFile.of(path, lists=True).rows()]
    rows = {"csv": lambda r: (r["row"], r["text"]), "json": lambda r: (r["data"]["row"], r["data"]["text"])}
    rows["jsonl"] = lambda r: (r["id"], r["fields"]["text"])
    said = [tuple(map(str, rows[form](record))) for record in found]
    assert said == [("2", "text 1"), ("4", "text 3"), ("1", "text 0")]
    assert set(found[0]) <= {"row", "text", "gold", "data", "id", "fields"}


@pytest.mark.parametrize(
    "answers",
    [
        "row,gold\n1,yes\n2,\n4,no\n",
        json.dumps([studio(1, "yes"), studio(2, "no", was_cancelled=True), studio(4, "no")]),
        "".join(json.dumps(each) + "\n" for each in [argilla(1, "yes"), argilla(2, "yes", "no"), argilla(4, "no")]),
        json.dumps([{"row": 5, "gold": "yes"}, {"row": 4, "gold": "no"}]),
    ],
)
def test_answers_are_read_in_each_form_and_of_a_tie_nothing(table, tmp_path, answers):
    path = tmp_path / ("answers.csv" if answers.startswith("row") else "answers.json")
    path.write_text(answers)
    label, given = read_answers(path, table, CLASSES)
    assert label.tolist() == [1, -1, -1, 0]
    assert given.tolist() in ([1, 0, 0, 1], [1, 2, 0, 1])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"row": 9, "gold": "yes"}, "row '9' in record 1. Allowed: a row of the file, 1 to 5"),
        ({"gold": "yes"}, "no row in record 1"),
        ({"row": 1, "gold": "perhaps"}, "label 'perhaps' of row 1. Allowed: one of no, yes"),
    ],
)
def test_what_is_no_answer_is_refused(table, tmp_path, row, message):
    (tmp_path / "answers.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match=message):
        read_answers(tmp_path / "answers.jsonl", table, CLASSES)
