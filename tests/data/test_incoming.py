"""Files of new items: read alike whatever their kind, refused with the row at fault."""

import pytest

from askless import config
from askless.data.incoming import ITEMS, read_items
from askless.data.prepare import ids
from askless.errors import DataError
from tests.data.test_tables import written
from tests.pipeline import small_params, write_params


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """`olhs` refuses empty texts, `xsum` leaves them out, as those of more than 8,000 characters."""
    return {
        name: config.load(write_params(tmp_path_factory.mktemp(name), small_params(name))).task(name)
        for name in ("olhs", "xsum")
    }


def items(path, tasks, name="olhs"):
    return read_items(path, tasks[name], name)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_every_kind_gives_the_same_items(kind, tmp_path, tasks):
    rows = [{"id": 7, "text": "  one\n two ", "mood": "x"}, {"id": 8, "text": "one two", "mood": "y"}]
    found = items(written(tmp_path, kind, rows), tasks)
    assert found.schema == ITEMS
    assert found["text"].to_pylist() == ["one two"] * 2
    assert found["source_id"].to_pylist() == ["7", "8"]
    assert found["id"].to_pylist() == ids("olhs", ["one two"]) * 2
    assert found["fault"].null_count == 2


def test_rows_need_no_id(tmp_path, tasks):
    found = items(written(tmp_path, "csv", [{"text": "one"}, {"text": "two"}]), tasks)
    assert found["source_id"].null_count == 2


def test_texts_that_cannot_be_answered_are_marked_where_the_task_leaves_them_out(tmp_path, tasks):
    rows = [{"text": "fine"}, {"text": " "}, {"text": "x" * 8001}, {"text": None}]
    found = items(written(tmp_path, "jsonl", rows), tasks, "xsum")
    said = "longer than 8,000 characters"
    assert found["fault"].to_pylist() == [None, "empty text", said, "empty text"]


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("csv", 'text\nfine\n" "\n', "an empty text in row 1 (1 row in all). Allowed: at least one visible character"),
        ("csv", "id,text\na,one\na,two\n", "1 id more than once (first 'a'). Allowed: each id once"),
        ("jsonl", '{"text": "fine"}\n{"text": \n', "line 2"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(kind, content, message, tmp_path, tasks):
    path = tmp_path / f"new.{kind}"
    path.write_text(content)
    with pytest.raises(DataError) as error:
        items(path, tasks)
    assert message in str(error.value) and str(path) in str(error.value)


def test_a_text_that_is_no_text_is_refused(tmp_path, tasks):
    path = tmp_path / "new.jsonl"
    path.write_text('{"text": ["a", "list"]}\n')
    with pytest.raises(DataError, match="text"):
        items(path, tasks)
