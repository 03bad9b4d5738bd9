"""What people are asked, in the forms of their tools, and what they said read back."""

import json

import numpy as np
import pytest

from askless.annotating.people import ForPeople, read_answers, write_queue
from askless.annotating.table import TextTable
from askless.data.prepare import ids
from askless.data.tables import TableFile
from askless.errors import DataError

CLASSES = ("no", "yes")


@pytest.fixture
def table(tmp_path):
    """Five rows, the last of which is the first one's text."""
    (tmp_path / "in.jsonl").write_text("".join(f'{{"post": "text {n % 4}"}}\n' for n in range(5)))
    return TextTable.read(TableFile.of(tmp_path / "in.jsonl"), "post", "annotate", ["label"])


# Of rows 1, 2, 4 and 5, the last of which has the first one's text.
ONE, TWO, FOUR, FIVE = ("text-" + ids("annotate", [f"text {n % 4}"])[0] for n in (0, 1, 3, 4))


def studio(of, *chosen, **more):
    result = [{"type": "choices", "value": {"choices": [each]}} for each in chosen]
    return {"data": {"id": of, "row": 1, "text": "?"}, "annotations": [{"result": result, **more}]}


def test_a_queue_is_not_written_over_answers(table, tmp_path):
    path = tmp_path / "queue.csv"
    for held in ("", "id,text,gold\n", f"id,text,gold\n{ONE},a,\n"):
        path.write_text(held)
        assert (ForPeople(queue=path).said(table, CLASSES)[0] == -1).all()
    path.write_text(f"id,text,gold\n{ONE},a,yes\n")
    with pytest.raises(DataError, match="queue.csv: answers of people. Allowed: a file without any, .* --people"):
        ForPeople(queue=path, answers=path).said(table, CLASSES)
    assert ForPeople(answers=path).said(table, CLASSES)[0].tolist() == [1, -1, -1, -1]


def argilla(of, *chosen):
    return {"id": of, "fields": {"text": "?"}, "responses": {"any": [{"value": each} for each in chosen]}}


def test_a_person_s_answer_belongs_to_its_text_wherever_that_stands_now(table, tmp_path):
    write_queue(tmp_path / "queue.csv", table, np.array([False, True, False, True]), np.zeros(4))
    answered = (tmp_path / "queue.csv").read_text().replace("text 1,", "text 1,yes").replace("text 3,", "text 3,no")
    (tmp_path / "answers.csv").write_text(answered)
    (tmp_path / "in.jsonl").write_text("".join(f'{{"post": "text {n}"}}\n' for n in (7, 3, 1, 0, 2)))
    other = TextTable.read(TableFile.of(tmp_path / "in.jsonl"), "post", "annotate", ["label"])
    assert read_answers(tmp_path / "answers.csv", other, CLASSES)[0].tolist() == [-1, 0, 1, -1, -1]


@pytest.mark.parametrize("form", ["csv", "json", "jsonl"])
def test_the_least_sure_come_first_and_nothing_says_what_was_answered(table, tmp_path, form):
    path = tmp_path / f"queue.{form}"
    write_queue(path, table, np.array([True, True, False, True]), np.array([0.6, 0.2, 0.9, 0.4]))
    found = [record for _, record in TableFile.of(path, lists=True).rows()]
    rows = {"csv": lambda r: (r["row"], r["text"]), "json": lambda r: (r["data"]["row"], r["data"]["text"])}
    rows["jsonl"] = lambda r: (r["metadata"]["row"], r["fields"]["text"])
    said = [tuple(map(str, rows[form](record))) for record in found]
    assert said == [("2", "text 1"), ("4", "text 3"), ("1", "text 0")]
    assert set(found[0]) <= {"id", "row", "text", "gold", "data", "fields", "metadata"}
    of = [(record.get("data") or record)["id"] for record in found]
    assert of == [TWO, FOUR, ONE]


@pytest.mark.parametrize(
    "answers",
    [
        f"id,gold\n{ONE},yes\n{TWO},\n{FOUR},no\n",
        json.dumps([studio(ONE, "yes"), studio(TWO, "no", was_cancelled=True), studio(FOUR, "no")]),
        "".join(json.dumps(r) + "\n" for r in [argilla(ONE, "yes"), argilla(TWO, "yes", "no"), argilla(FOUR, "no")]),
        json.dumps([{"id": FIVE, "gold": "yes"}, {"id": FOUR, "gold": "no"}]),
    ],
)
def test_answers_are_read_in_each_form_and_of_a_tie_nothing(table, tmp_path, answers):
    path = tmp_path / ("answers.csv" if answers.startswith("id") else "answers.json")
    path.write_text(answers)
    label, given = read_answers(path, table, CLASSES)
    assert label.tolist() == [1, -1, -1, 0]
    assert given.tolist() in ([1, 0, 0, 1], [1, 2, 0, 1])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "9", "gold": "yes"}, "id '9' in record 1, of no text of the file. Allowed: ids of --queue's file"),
        ({"row": 1, "gold": "yes"}, "no id in record 1"),
        ({"id": ONE, "gold": "perhaps"}, f"label 'perhaps' of id {ONE}. Allowed: one of no, yes"),
    ],
)
def test_what_is_no_answer_is_refused(table, tmp_path, row, message):
    (tmp_path / "answers.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match=message):
        read_answers(tmp_path / "answers.jsonl", table, CLASSES)
