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


def test_csv(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("\ufefftext,label,source_id,more\na b,1,7,x\nc,,8,\n", encoding="utf-8")
    assert read("csv", path) == WANTED


@pytest.mark.parametrize("labels", [["1", None], [1, None], [1.0, None], pa.array([1.0, float("nan")])])
def test_parquet(tmp_path, labels):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": ["a b", "c"], "label": labels, "source_id": [7, 8]}), path)
    assert read("parquet", path) == WANTED


@pytest.mark.parametrize("ends", [("", "\n", "\n"), ("[", ",", "]")])
def test_jsonl(tmp_path, ends):
    path = tmp_path / "x.jsonl"
    first, between, last = ends
    path.write_text(
        f'{first}{{"text": "a b", "label": 1, "source_id": 7}}{between}{{"source_id": "8", "text": "c"}}{last}'
    )
    assert read("jsonl", path) == WANTED


def test_no_label_column(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("text,labels\na,1\n")
    with pytest.raises(DataError, match=r"missing column 'label' \(columns are \['text', 'labels'\]\)"):
        read("csv", path)


def test_truncated_parquet(tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="unreadable .* Allowed: a whole Parquet file"):
        read("parquet", path)


def test_a_file_of_references(tmp_path):
    path, wanted = (
        tmp_path / "x.csv",
        {"text": ["a b", "c"], **EMPTY, "reference": ["r", None], "source_id": [None] * 2},
    )
    path.write_text("reference,text\nr,a b\n,c\n")
    assert read("csv", path) == wanted
    pq.write_table(pa.table({"text": ["a b", "c"], "reference": ["r", None]}), path)
    assert read("parquet", path) == wanted
    path.write_text('{"text": "a b", "reference": "r"}\n{"text": "c"}\n')
    assert read("jsonl", path) == wanted


def test_a_document_of_any_length_is_read(tmp_path):
    path, document = tmp_path / "x.csv", "interminable " * 100_000
    path.write_text(f"text,reference\nshort,r\n{document},s\nlast,t\n")
    assert [len(text) for text in read("csv", path)["text"]] == [5, len(document), 4]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_texts_that_are_not_utf8(tmp_path, kind):
    path, text = tmp_path / "x", b"secret \xff\xfe"
    if kind == "parquet":
        pq.write_table(pa.table({"text": pa.array([text]).view(pa.string()), "reference": ["r"]}), path)
    else:
        path.write_bytes(b"text,reference\n" + text + b",r\n" if kind == "csv" else b'{"text": "' + text + b'"}\n')
    with pytest.raises(DataError, match="unreadable|line 1 is no UTF-8") as caught:
        read(kind, path)
    assert "secret" not in str(caught.value)


def test_a_json_line_cut_in_half_is_named(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a", "reference": "r"}\n\n{"text": "b", "refere')
    with pytest.raises(DataError, match="x.jsonl: line 3: Unterminated string"):
        read("jsonl", path)


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "xsum"])
def test_numbers_in_the_place_of_texts(tmp_path, kind):
    path, text = tmp_path / "x", "document" if kind == "xsum" else "text"
    rows = {text: [1, 2], "summary" if kind == "xsum" else "reference": ["r", "s"], "id": ["a", "b"]}
    if kind == "jsonl":
        path.write_text('{"text": "a", "reference": "r"}\n{"text": ["b"], "reference": "s"}')
    else:
        pq.write_table(pa.table(rows), path)
    with pytest.raises(DataError) as caught:
        read(kind, path)
    assert caught.value.got == f"text is no text but {'list in row 1' if kind == 'jsonl' else 'int in row 0'}"


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
