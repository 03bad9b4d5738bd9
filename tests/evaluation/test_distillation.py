"""Paid answers become lessons, and never what is tested."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askless import schema
from askless.errors import DataError
from askless.evaluation.distillation import brought, lessons
from askless.evaluation.metrics import Quality
from askless.evaluation.replay import replay
from askless.evaluation.results import Bootstrap
from askless.monitoring.decide_and_log import ANSWERS
from askless.policies.baselines import Always
from tests.helpers import CLASSES, indices, panel

EXAMPLES = schema.table(
    "examples",
    {"id": ["x", "y"], "text": ["in train", "in test"], "label": ["0", "1"], "split": ["train", "test"]},
)


def answered(folder, rows, name="a.parquet"):
    """A file of (id, text, {expert: answer}) rows, as the flow `answer` leaves it."""
    answers = [None if by is None else [{"expert": e, "answer": a} for e, a in by.items()] for _, _, by in rows]
    columns = {"id": [r[0] for r in rows], "text": [r[1] for r in rows], "answers": pa.array(answers, ANSWERS)}
    pq.write_table(pa.table(columns), folder / name)


def taught(folder, llm="llm", classes=CLASSES):
    table = lessons(folder, llm, EXAMPLES, classes)
    schema.check(table, "examples")
    return {r["text"]: r["label"] if classes else r["reference"] for r in table.to_pylist()}


def test_only_what_that_llm_said_and_only_a_class(tmp_path):
    rows = [
        ("1", "both", {"other": "0", "llm": "1"}),
        ("2", "the other only", {"other": "1"}),
        ("3", "kept", None),
        ("4", "silent", {"llm": None}),
        ("5", "no class", {"llm": "maybe"}),
        ("6", "nobody", {}),
    ]
    answered(tmp_path, rows)
    assert taught(tmp_path) == {"both": "1"}


def test_what_is_tested_or_known_is_not_taught(tmp_path):
    answered(tmp_path, [("1", "in test", {"llm": "0"}), ("2", "in train", {"llm": "1"}), ("3", "new", {"llm": "1"})])
    assert taught(tmp_path) == {"new": "1"}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(CLASSES)), max_size=8))
def test_a_text_counts_once_whatever_the_order_of_files(tmp_path_factory, said):
    folder = tmp_path_factory.mktemp("answered")
    for i, (text, label) in enumerate(said):
        answered(folder, [(f"{label}{text}", text, {"llm": label})], f"{i}.parquet")
    first = {text: min(label for t, label in said if t == text) for text, _ in said}
    assert taught(folder) == first


def test_of_summaries_the_answer_is_the_reference(tmp_path):
    answered(tmp_path, [("1", "a document", {"llm": "a summary"}), ("2", "another", {"llm": None})])
    assert taught(tmp_path, classes=()) == {"a document": "a summary"}


def test_no_folder_no_lessons(tmp_path):
    assert taught(tmp_path / "missing") == {}
    assert taught(tmp_path) == {}


@pytest.mark.parametrize("content", [b"", b"PAR1 no"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(
        DataError, match=r"a\.parquet: unreadable \(.*Allowed: a table of answered items with columns id"
    ):
        taught(tmp_path)


def test_a_table_of_something_else_is_named(tmp_path):
    pq.write_table(pa.table({"id": ["1"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: unreadable"):
        taught(tmp_path)


def test_what_lessons_brought_is_a_paired_difference():
    gold = ["1", "1", "0", "0", "1", "0"]

    def alone(said):
        return replay("always_small", {0: Always(("small",), "small")}, {0: panel(gold, {"small": said})}, [None])

    boot = Bootstrap(indices(gold), Quality("accuracy", 2, 1), 400, 0.9, seed=1)
    without, with_ = ["1", "0", "0", "1", "1", "0"], ["1", "1", "0", "1", "1", "0"]
    found = brought(boot, alone(with_), alone(without))
    assert found["quality_without"]["value"] == pytest.approx(4 / 6)
    assert found["difference"]["value"] == pytest.approx(1 / 6)
    drawn = boot.weights[:, 1] / 6
    assert found["difference"]["ci"] == pytest.approx(np.quantile(drawn, [0.05, 0.95]).tolist())
