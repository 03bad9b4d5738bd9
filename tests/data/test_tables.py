"""One reader of tables: whatever the kind of the file, the same rows, and one sentence where it is none."""

import csv
import io
import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from askless.data.recorded import load
from askless.data.stream import ItemSource
from askless.data.tables import TableFile, Wanted, read, read_records
from askless.errors import DataError

ROWS = [{"id": 1, "label": "A", "cost": 0.5, "more": "x"}, {"id": 2, "label": None, "cost": None, "more": "y"}]
KINDS = ("parquet", "csv", "tsv", "json", "jsonl")


def wanted(**options):
    return Wanted(("id", "label"), {"cost"}.__contains__, **options)


def written(folder, kind, rows=ROWS, name="t"):
    """A file of these rows, of any kind."""
    path = folder / f"{name}.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    elif kind in ("csv", "tsv"):
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, rows[0], delimiter="," if kind == "csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text(json.dumps(rows) if kind == "json" else "\n".join(map(json.dumps, rows)), "utf-8")
    return path


def content(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def fault(path, **options):
    with pytest.raises(DataError) as caught:
        read(path, wanted(**options))
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same(tmp_path, kind):
    table = read(written(tmp_path, kind), wanted())
    assert table.column_names == ["id", "label", "cost"]
    assert [str(value) for value in table["id"].to_pylist()] == ["1", "2"]
    assert [value or None for value in table["label"].to_pylist()] == ["A", None]
    assert read(written(tmp_path, kind), wanted(names={"label": "more"}))["label"].to_pylist() == ["x", "y"]


@pytest.mark.parametrize("kind", KINDS)
def test_row_by_row_as_whole(tmp_path, kind):
    rows = [{"id": str(n), "label": f"text,\t{n}"} for n in range(9)]
    path = written(tmp_path, kind, rows)
    assert read(path, wanted()).to_pylist() == rows
    file = TableFile.of(path, lists=True)
    assert [row for _, row in file.rows()] == rows
    first = {"csv": 2, "tsv": 2}.get(kind, 1)
    assert [number for number, _ in file.rows()] == list(range(first, first + 9))
    assert file.count() == {"parquet": 9, "jsonl": 8, "json": 0}.get(kind)


@pytest.mark.parametrize("between", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv_says_itself_how_it_is_written(tmp_path, between, end):
    lines = ["id,text, or so,label".replace(", or so", "").replace(",", between)]
    lines += [between.join(("0", '"first, with; a\ttab | bar"', "no")), "", between.join(("1", '"two\nlines"', "yes"))]
    path = content(tmp_path, "t.csv", end.join(lines) + end)
    table = read(path, Wanted(("id", "text", "label")))
    assert table.to_pydict() == {
        "id": ["0", "1"],
        "text": ["first, with; a\ttab | bar", "two\nlines"],
        "label": ["no", "yes"],
    }
    assert [row for _, row in TableFile.of(path).rows()] == table.to_pylist()


def test_a_header_of_one_column_may_hold_marks(tmp_path):
    path = content(tmp_path, "t.csv", '"text; or, if none | so"\none\n')
    assert [row for _, row in TableFile.of(path).rows()] == [{"text; or, if none | so": "one"}]


def test_one_file_of_carriage_returns_is_read_alike_by_every_reader(tmp_path):
    path = content(tmp_path, "t.csv", "id,text,label\r0,first,no\r1,second,yes\r2,third,no\r")
    assert [chunk.texts for chunk in ItemSource.of(str(path), None, {}).chunks(9)] == [["first", "second", "third"]]
    answers = content(tmp_path, "a.csv", "id,label,cost_usd\r0,no,1\r1,yes,1\r2,no,1\r")
    assert load(path, [answers]).examples["text"].to_pylist() == ["first", "second", "third"]


@pytest.mark.parametrize("items", ["csv", "parquet"])
@pytest.mark.parametrize("answers", ["csv", "parquet"])
def test_ids_that_became_floats_are_the_same_ids(tmp_path, items, answers):
    gold = [{"id": n, "text": f"t{n}", "label": "no" if n % 2 else "yes"} for n in range(4)]
    rows = [{"id": float(n), "label": "no", "cost_usd": 0.1} for n in range(4)]
    (tmp_path / "a").mkdir()
    study = load(written(tmp_path, items, gold), [written(tmp_path / "a", answers, rows)], fit=False)
    assert study.examples["id"].to_pylist() == ["0", "1", "2", "3"]


def test_a_list_among_labels_is_named(tmp_path):
    rows = [{"id": n, "label": ["yes", "no"] if n == 7 else "yes"} for n in range(9)]
    said = "label is a list in row 8 of the data (id 7). Allowed: one value a row. Give each row one."
    assert fault(written(tmp_path, "jsonl", rows)) == said


def test_blank_lines_of_a_text_file_are_rows_and_of_others_are_none(tmp_path):
    path = content(tmp_path, "t.txt", "first\n\nsecond \n   \nthird")
    file = TableFile.of(path)
    assert list(file.rows()) == [(n, {"text": t}) for n, t in enumerate(["first", "", "second ", "   ", "third"], 1)]
    path = content(tmp_path, "t.jsonl", '\n{"a": 1}\n \n\n{"a": 2}\n')
    assert list(TableFile.of(path).rows()) == [(2, {"a": 1}), (5, {"a": 2})]


@pytest.mark.parametrize(
    ("kind", "text", "rows"),
    [(None, '{"a": 1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}]), ("csv", "a;b\n1;2\n", [{"a": "1", "b": "2"}])],
)
def test_a_pipe_is_left_open(monkeypatch, kind, text, rows):
    pipe = io.TextIOWrapper(io.BytesIO(text.encode()))
    monkeypatch.setattr(sys, "stdin", pipe)
    file = TableFile.of("-", kind)
    assert (file.where, file.count()) == ("standard input", None)
    assert [row for _, row in file.rows()] == rows
    assert not pipe.buffer.closed
    with pytest.raises(DataError, match="^standard input: Parquet. Allowed: jsonl, csv or text there"):
        TableFile.of("-", "parquet")


def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("askless.data.tables.LONGEST_LINE", 2**20)
    path = content(tmp_path, "t.jsonl", '{"text": "' + "x" * 2**20)
    with pytest.raises(DataError, match="line 1: longer than 1 MiB. Allowed: a row a line"):
        list(TableFile.of(path).rows())


def test_a_document_of_any_length_is_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("askless.data.tables.LONGEST_LINE", 2**16)
    document = "interminable " * 100_000
    for name, text in (("t.csv", f"text\nshort\n{document}\nlast\n"), ("t.json", json.dumps([{"text": document}] * 3))):
        found = read(content(tmp_path, name, text), Wanted(("text",)))["text"].to_pylist()
        assert len(found) == 3 and found[1] == document


ALLOWED = "CSV (.csv, .tsv), JSON lines (.jsonl, .json), Parquet (.parquet) or a text a line (.txt)"
OBJECTS = "Allowed: an object of JSON on each line, or one list of objects. Correct the file."


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("no.csv", None, f"no such file. Allowed: {ALLOWED}. Correct the path."),
        ("e.csv", "", f"an empty file. Allowed: {ALLOWED}. Make or fetch it again."),
        ("t.xlsx", "PK", f"a file that ends in '.xlsx'. Allowed: {ALLOWED}. Convert or rename it."),
        ("h.csv", "id,label\n", "no rows. Allowed: at least one. Make or fetch it again."),
        ("b.csv", "\n\n", "no rows. Allowed: at least one. Make or fetch it again."),
        ("n.json", "[]", "no rows. Allowed: at least one. Make or fetch it again."),
        (
            "l.csv",
            b"id,label\n1,secret caf\xe9\n",
            "line 2: no UTF-8 (byte 0xe9). Allowed: text in UTF-8. Save it as UTF-8. Correct the file.",
        ),
        (
            "w.csv",
            "\nid,label\n1,secret,b\n",
            "line 3: 2 columns in the header, 3 here. Allowed: as many fields as the header has. Correct the file.",
        ),
        (
            "o.csv",
            'id,label\n1,"secret',
            "line 2: malformed (unexpected end of data). Allowed: CSV with a header. Correct the file.",
        ),
        ("d.csv", "id,id,label\n1,1,A\n", "two columns 'id'. Allowed: one. Rename or drop the other."),
        (
            "m.csv",
            "ID,label\n1,A\n",
            "no column 'id' (its columns are ID, label). Allowed: a column 'id'. "
            "Add it, or say which column holds it: --column id=ITS_NAME.",
        ),
        ("t.txt", "a\nb\n", "no column 'id' (its columns are text). Allowed: a column 'id'. Add it, or say which "
         "column holds it: --column id=ITS_NAME."),
        ("b.jsonl", '{"id": 1}\n{"id": "secret",\n', "line 2: Expecting property name enclosed in double quotes. "
         + OBJECTS),
        ("h.jsonl", '{"id": 1}\n\n{"id": "secr', f"line 3: Unterminated string starting at. {OBJECTS}"),
        ("b.json", '[{"id": 1},\n{"id": }]', f"line 2: Expecting value. {OBJECTS}"),
        ("n.jsonl", '{"id": 1}\n[2]\n', f"line 2: a list. {OBJECTS}"),
        ("i.json", "[1]", f"record 0: a int. {OBJECTS}"),
        ("deep.jsonl", '{"id": ' + "[" * 100_000, f"line 1: not to be read. {OBJECTS}"),
        ("half.jsonl", '{"id": ["\\ud800"]}\n', "line 1: half a character in text. Allowed: text that is Unicode. "
         "Correct the file."),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_says_why(tmp_path, name, text, said):
    path = tmp_path / name if text is None else content(tmp_path, name, text)
    assert fault(path, option="--column") == said


def test_a_list_is_not_read_row_by_row_from_a_stream(tmp_path):
    with pytest.raises(DataError, match="line 1: a list. Allowed: an object of JSON on each line. Correct"):
        list(TableFile.of(content(tmp_path, "t.json", '[{"a": 1}]')).rows())


@pytest.mark.parametrize("broken", ["cut", "bytes"])
def test_a_broken_parquet_file(tmp_path, broken):
    if broken == "cut":
        path = written(tmp_path, "parquet")
        path.write_bytes(path.read_bytes()[:-20])
    else:
        pq.write_table(
            pa.table({"id": pa.array([b"secret \xff"]).view(pa.string()), "label": ["A"]}),
            path := tmp_path / "t.parquet",
        )
    said = fault(path)
    assert said.startswith("not readable (") and "\n" not in said and "secret" not in said
    assert said.endswith("). Allowed: a whole Parquet file. Make it again.")


def test_a_named_column_that_is_not_there(tmp_path):
    path = content(tmp_path, "t.csv", "id,reply,label\n1,A,B\n")
    assert fault(path, names={"label": "replay"}, option="--column") == (
        "no column 'replay'. Allowed: one of id, reply, label. Correct the name. Did you mean 'reply'?"
    )


def test_metadata_of_parquet_are_kept(tmp_path):
    table = pa.table({"id": ["a"], "label": ["b"], "c": [1]}).replace_schema_metadata({"who": "me"})
    pq.write_table(table, tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet", wanted()).schema.metadata == {b"who": b"me"}


@pytest.mark.parametrize(("name", "lines"), [("t.json", False), ("t.jsonl", True)])
def test_records(tmp_path, name, lines):
    assert read_records(written(tmp_path, name.removeprefix("t."))) == (ROWS, lines)


def test_the_one_column_of_a_tsv_may_hold_commas(tmp_path):
    (tmp_path / "t.tsv").write_text("post\nwell, yes\nno; no | no\n")
    assert [row["post"] for _, row in TableFile.of(tmp_path / "t.tsv").rows()] == ["well, yes", "no; no | no"]
