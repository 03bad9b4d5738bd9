"""Sources of raw rows of any origin, and the demo."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from askless.config import Source
from askless.data import readers
from askless.errors import ConfigError, DataError

EMPTY = {"label": [None, None], "reference": [None, None], "group": [None, None]}
WANTED = {"text": ["a b", "c"], **EMPTY, "label": ["1", None], "source_id": ["7", "8"]}


def read(kind, path, **options):
    return readers.read(Source(kind=kind, **options), path).to_pydict()


def write(path, kind, **columns):
    if kind == "parquet":
        pq.write_table(pa.table(columns), path)
    elif kind == "csv":
        rows = [list(columns), *([value or "" for value in row] for row in zip(*columns.values(), strict=True))]
        path.write_text("\ufeff" + "".join(",".join(map(str, row)) + "\n" for row in rows), encoding="utf-8")
    else:
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("labels", [["1", None], [1, None]])
def test_every_kind_gives_the_same(tmp_path, kind, labels):
    path = write(tmp_path / "x", kind, label=labels, text=["a b", "c"], source_id=[7, 8], more=["x", "y"])
    assert read(kind, path) == WANTED
    path = write(tmp_path / "x", kind, reference=["r", None], text=["a b", "c"])
    assert read(kind, path) == {"text": ["a b", "c"], **EMPTY, "reference": ["r", None], "source_id": [None] * 2}


@pytest.mark.parametrize("labels", [[1.0, None], [1.0, float("nan")]])
def test_a_label_that_became_a_float(tmp_path, labels):
    assert read("parquet", write(tmp_path / "x", "parquet", **{**WANTED, "label": labels})) == WANTED


def test_a_list_of_objects_of_which_some_lack_a_key(tmp_path):
    (tmp_path / "x").write_text('[{"text": "a b", "label": 1, "source_id": 7}, {"source_id": "8", "text": "c"}]')
    assert read("jsonl", tmp_path / "x") == WANTED


@pytest.mark.parametrize(
    ("columns", "own", "read_as"),
    [
        ({}, {"id": [7, 8]}, ["7", "8"]),
        ({"id": "ticket"}, {"ticket": [7, 8], "id": [1, 1]}, ["7", "8"]),
        ({}, {"id": [1, 1], "source_id": [7, 8]}, ["7", "8"]),
        ({"id": "ticket"}, {"ticket": [7, 8], "source_id": [1, 1]}, ["7", "8"]),
        ({"id": ""}, {"id": [1, 1]}, [None, None]),
    ],
)
def test_the_column_of_ids(tmp_path, columns, own, read_as):
    path = write(tmp_path / "x", "parquet", text=["a b", "c"], label=["1", None], **own)
    assert read("parquet", path, columns=columns) == {**WANTED, "source_id": read_as}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_no_gold_column(tmp_path, kind):
    path = write(tmp_path / "x", kind, text=["a"], labels=["1"])
    with pytest.raises(DataError, match=r"no column 'label' or 'reference' \(its columns are text, labels\)"):
        read(kind, path)


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "xsum"])
def test_numbers_in_the_place_of_texts(tmp_path, kind):
    names = {"document": [1, 2], "summary": ["r", "s"]} if kind == "xsum" else {"text": [1, 2], "reference": ["r", "s"]}
    path = write(tmp_path / "x", "jsonl" if kind == "jsonl" else "parquet", **names, id=["a", "b"])
    with pytest.raises(DataError) as caught:
        read(kind, path)
    assert caught.value.got == "text is no text but int in row 1 of the data"


@pytest.mark.parametrize("kind", sorted(set(readers.READERS) - set(readers.WITHOUT_FILE)))
def test_an_empty_file_a_folder_and_none(tmp_path, kind):
    (tmp_path / "x").touch()
    for name, got in (("x", "a file of 0 bytes"), (".", "a folder"), ("y", "no such file")):
        with pytest.raises(DataError) as caught:
            read(kind, tmp_path / name)
        assert str(caught.value) == (
            f"{tmp_path / name}: {got}. Allowed: a file of kind '{kind}'. Correct the path, or fetch the file again."
        )


@pytest.mark.parametrize(
    ("kind", "gold", "other"), [("demo", "label", "reference"), ("demo-documents", "reference", "label")]
)
def test_demo_is_generated_and_read_back(tmp_path, kind, gold, other):
    source = Source(kind=kind, rows=50, seed=3)
    made = readers.read(source)
    assert made.schema == readers.RAW and made.num_rows == 50
    assert made[other].null_count == 50
    assert [made[name].null_count for name in ("text", gold, "group", "source_id")] == [0] * 4
    assert made == readers.read(source) and made != readers.read(Source(kind=kind, rows=50, seed=4))
    csv.write_csv(made, tmp_path / "demo.csv")
    assert readers.read(source, tmp_path / "demo.csv") == made
    with pytest.raises(ConfigError, match=f"Source '{kind}' is generated.*Set rows"):
        readers.read(Source(kind=kind))
