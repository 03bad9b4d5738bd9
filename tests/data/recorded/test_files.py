"""Tables that anybody wrote."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from askless.data.recorded import files
from askless.errors import DataError

ROWS = [
    {"id": 1, "label": "A", "cost_usd": 0.5, "more": "x"},
    {"id": 2, "label": None, "cost_usd": None, "more": "y"},
]


def wanted(**options):
    return files.Wanted(("id", "label"), {"cost_usd"}.__contains__, **options)


def write(folder, kind):
    path = folder / f"t.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif kind == "csv":
        path.write_text("﻿id,label,cost_usd,more\n1,A,0.5,x\n2,,,y\n", "utf-8")
    elif kind == "json":
        path.write_text(json.dumps(ROWS), "utf-8")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), "utf-8")
    return path


def column(values, kind=None):
    return pa.chunked_array([pa.array(values, kind)])


@pytest.mark.parametrize("kind", ["parquet", "csv", "json", "jsonl"])
def test_every_kind_of_file_gives_the_same(tmp_path, kind):
    table = files.read(write(tmp_path, kind), wanted())
    assert table.column_names == ["id", "label", "cost_usd"]
    assert files.strings(table["id"], "id", "t").to_pylist() == ["1", "2"]
    assert files.strings(table["label"], "label", "t").to_pylist()[0] == "A"
    assert files.numbers(table["cost_usd"], "cost_usd", "t").to_pylist() == [0.5, None]


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_a_column_under_another_name(tmp_path, kind):
    table = files.read(write(tmp_path, kind), wanted(names={"label": "more"}))
    assert table["label"].to_pylist() == ["x", "y"]


def fault(path, **options):
    with pytest.raises(DataError) as caught:
        files.read(path, wanted(**options))
    return str(caught.value).removeprefix(f"{path}: ")


ALLOWED = "a file in Parquet, CSV or JSON lines (.parquet, .csv, .jsonl, .json)"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("no.csv", None, f"no such file. Allowed: {ALLOWED}. Correct the path."),
        ("e.csv", b"", f"an empty file. Allowed: {ALLOWED}. Make or fetch it again."),
        ("t.xlsx", b"PK", f"a file that ends in '.xlsx'. Allowed: {ALLOWED}. Convert or rename it."),
        ("h.csv", b"id,label\n", "no rows. Allowed: at least one. Make or fetch it again."),
        (
            "l.csv",
            b"id,label\n1,caf\xe9\n",
            "not UTF-8 (byte 0xe9). Allowed: CSV in UTF-8 with a header. Save it as UTF-8.",
        ),
        (
            "w.csv",
            b"id,label\n1,a,b\n",
            "unreadable (Row #2: Expected 2 columns, got 3). Allowed: CSV in UTF-8 with a header. Correct the file.",
        ),
        ("n.json", b"[]", "no rows. Allowed: at least one. Make or fetch it again."),
        ("d.csv", b"id,id,label\n1,1,A\n", "two columns 'id'. Allowed: one. Rename or drop the other."),
        (
            "s.csv",
            b"id;label\n1;A\n",
            "no column 'id' (its columns are id;label). Allowed: a column 'id'. "
            "Add it, or say which column holds it: --column id=ITS_NAME.",
        ),
        (
            "b.jsonl",
            b'{"id": 1, "label": "A"}\n{"id": 2,\n',
            "line 2: Expecting property name enclosed in double quotes. Allowed: a JSON list or JSON lines. "
            "Correct the line, or fetch it again.",
        ),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert fault(tmp_path / name) == said


def test_a_truncated_parquet_file(tmp_path):
    path = write(tmp_path, "parquet")
    path.write_bytes(path.read_bytes()[:-20])
    said = fault(path)
    assert said.startswith("not readable (")
    assert said.endswith("). Allowed: a whole Parquet file. Make or fetch it again.")
    assert "\n" not in said


def test_a_named_column_that_is_not_there(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,reply,label\n1,A,B\n")
    assert fault(path, names={"label": "replay"}) == (
        "no column 'replay'. Allowed: one of id, reply, label. Correct its name. Did you mean 'reply'?"
    )


@pytest.mark.parametrize(
    ("values", "kind", "said"),
    [
        ([1, None], None, ["1", None]),
        ([1.0, 2.5, float("nan"), 1e300], None, ["1", "2.5", None, "1e+300"]),
        ([True, False], None, ["true", "false"]),
        (["A", ""], pa.large_string(), ["A", ""]),
        ([None, None], None, [None, None]),
    ],
)
def test_strings(values, kind, said):
    assert files.strings(column(values, kind), "label", "t").to_pylist() == said


def test_strings_of_a_dictionary_and_of_lists():
    coded = pa.chunked_array([pa.array(["A", "B", "A"]).dictionary_encode()])
    assert files.strings(coded, "label", "t").to_pylist() == ["A", "B", "A"]
    with pytest.raises(DataError, match=r"^t: column 'label' is list<.*>\. Allowed: text or numbers\. Convert"):
        files.strings(column([["A"]]), "label", "t")


def test_numbers_of_text():
    given = ["1", " -2.5e-3 ", "", "NaN", "None", "-inf", None, "1e5"]
    assert files.numbers(column(given), "logprob", "t").to_pylist() == [
        1, -0.0025, None, None, None, float("-inf"), None, 1e5,
    ]  # fmt: skip


def test_what_is_no_number_is_shown_with_its_row():
    with pytest.raises(DataError) as caught:
        files.numbers(column(["1", "about $3", "2", "free"]), "cost_usd", "t")
    assert str(caught.value) == (
        "t: cost_usd is about $3 in row 1 (2 rows in all). Allowed: a number, or nothing. "
        "Correct it, or leave the column out."
    )


def test_shorten_and_counted():
    assert files.shorten("a\n b" * 9) == "a ba ba ba ba ba ..."
    assert (files.counted(1, "item"), files.counted(1200, "item")) == ("1 item", "1,200 items")
