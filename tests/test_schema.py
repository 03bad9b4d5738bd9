import errno
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askless import schema
from askless.errors import DataError
from tests.helpers import CLASSES, examples, predictions

EXAMPLE_COLUMNS = "id, text, label, reference, split, group"
PREDICTION_COLUMNS = (
    "id, expert, label, proba, logprob, mass, text, quality, prompt_tokens, completion_tokens, seconds, cost_usd, error"
)

maybe = st.none()
amounts = st.floats(0, 1e9, allow_nan=False)
counts = st.integers(0, 2**31 - 1)


@st.composite
def probabilities(draw):
    weights = draw(st.lists(st.floats(0.001, 1), min_size=2, max_size=2))
    return [w / sum(weights) for w in weights]


@st.composite
def prediction_rows(draw):
    label = draw(maybe | st.sampled_from(CLASSES))
    return {
        "label": label,
        "proba": draw(maybe | probabilities()),
        "logprob": draw(maybe | st.floats(-100, 0, width=32)),
        "mass": draw(maybe | st.floats(0, 1, width=32)),
        "text": draw(maybe | st.text()),
        "quality": draw(maybe | st.floats(0, 1, width=32)),
        "prompt_tokens": draw(maybe | counts),
        "completion_tokens": draw(maybe | counts),
        "seconds": draw(maybe | amounts),
        "cost_usd": draw(maybe | amounts),
        "error": draw(st.text() if label is None else maybe | st.text()),
    }


@st.composite
def prediction_tables(draw):
    keys = draw(st.lists(st.tuples(st.text(), st.text()), max_size=8, unique=True))
    rows = [draw(prediction_rows()) for _ in keys]
    columns = {name: [row[name] for row in rows] for name in PREDICTION_COLUMNS.split(", ")[2:]}
    meta = draw(st.dictionaries(st.text(), st.text() | st.integers() | maybe, max_size=3))
    return schema.table(
        "predictions",
        {"id": [k[0] for k in keys], "expert": [k[1] for k in keys], **columns},
        {**meta, "classes": list(CLASSES)},
    )


@settings(max_examples=60)
@given(table=prediction_tables())
def test_write_read_write_gives_identical_bytes(tmp_path_factory, table):
    folder = tmp_path_factory.mktemp("round")
    first = schema.write(table, folder / "first.parquet", "predictions").read_bytes()
    again = schema.read(folder / "first.parquet", "predictions", classes=CLASSES)
    assert again.equals(table, check_metadata=True)
    assert schema.write(again, folder / "second.parquet", "predictions").read_bytes() == first


@pytest.mark.parametrize("rows", [1, 97, 1024])
def test_the_same_content_in_other_chunks_gives_the_same_bytes(tmp_path, rows):
    texts = [f"{i} " * 200 for i in range(2000)]
    table = examples(["0"] * len(texts), text=texts)
    parts = pa.concat_tables([table.slice(i, rows) for i in range(0, len(texts), rows)])
    assert parts["text"].num_chunks > 1
    whole = schema.write(table, tmp_path / "whole.parquet", "examples").read_bytes()
    assert schema.write(parts, tmp_path / "parts.parquet", "examples").read_bytes() == whole


@pytest.mark.parametrize("kind", schema.SCHEMAS)
def test_an_empty_table_of_every_kind_survives(tmp_path, kind):
    empty = schema.table(kind, {})
    back = schema.read(schema.write(empty, tmp_path / "t.parquet", kind), kind)
    assert back.equals(empty, check_metadata=True)
    assert back.num_rows == 0
    assert schema.meta_of(back) == {"schema": f"askless/{kind}/1"}


def test_metadata_is_plain_values_under_sorted_keys_and_the_schema_name_cannot_be_overwritten():
    table = schema.table("examples", {}, {"task": "olhs", "classes": ["0", "1"], "schema": "mine"})
    assert schema.meta_of(table) == {"classes": ["0", "1"], "schema": "askless/examples/1", "task": "olhs"}
    assert list(table.schema.metadata) == [b"classes", b"schema", b"task"]


def test_metadata_of_other_programs_is_not_read(tmp_path):
    foreign = examples(["0"]).replace_schema_metadata({"schema": "not json", "writer": b"\xff"})
    pq.write_table(foreign, tmp_path / "foreign.parquet")
    assert schema.meta_of(schema.read(tmp_path / "foreign.parquet", "examples")) == {}


def test_absent_columns_are_null_and_absent_rows_are_an_error():
    table = examples(["0", "1"])
    assert table["reference"].to_pylist() == [None, None]
    with pytest.raises(DataError) as error:
        schema.table("examples", {"id": ["a", "b"], "text": ["x"], "split": ["test", "test"]})
    assert str(error.value) == ("examples: column 'text' has 1 rows. Allowed: 2, as the longest. Fill it with None.")


def test_nan_means_null_in_pandas_only():
    frame = pd.DataFrame({"seconds": [1.5, math.nan], "label": ["0", None]})
    table = predictions(["0", "1"], seconds=frame["seconds"], label=frame["label"], error=[None, "silent"])
    assert table["seconds"].to_pylist() == [1.5, None]
    assert table["label"].to_pylist() == ["0", None]
    with pytest.raises(DataError, match="seconds is nan"):
        predictions(["0", "1"], seconds=np.array([1.5, math.nan]))


def test_a_missing_file_says_which(tmp_path):
    with pytest.raises(DataError) as error:
        schema.read(tmp_path / "none.parquet", "predictions")
    assert str(error.value) == (
        f"{tmp_path}/none.parquet: no such file. Allowed: a Parquet file of predictions. Run the stage that makes it."
    )


def test_a_file_cut_at_any_byte_is_one_clear_error(tmp_path):
    path = schema.write(predictions(["0", None]), tmp_path / "p.parquet", "predictions")
    whole = path.read_bytes()
    start = f"{path}: not a readable Parquet file ("
    end = "). Allowed: a whole Parquet file of predictions. Make it again."
    for size in {*range(16), *range(0, len(whole), 37), len(whole) - 1}:
        path.write_bytes(whole[:size])
        with pytest.raises(DataError) as error:
            schema.read(path, "predictions")
        assert str(error.value).startswith(start)
        assert str(error.value).endswith(end)


@pytest.mark.parametrize("kind", schema.SCHEMAS)
def test_a_missing_column_is_named_beside_those_there(kind):
    table = schema.table(kind, {})
    for name in table.column_names:
        rest = table.drop_columns([name])
        with pytest.raises(DataError) as error:
            schema.check(rest, kind, "file.parquet")
        assert str(error.value) == (
            f"file.parquet: missing column '{name}' (columns are {rest.column_names}). "
            f"Allowed: {', '.join(table.column_names)}. Rename or add the column."
        )


def test_a_renamed_column_is_an_error():
    with pytest.raises(DataError) as error:
        schema.table("examples", {"id": [], "texts": []})
    assert str(error.value) == (
        f"examples: unknown columns ['texts']. Allowed: {EXAMPLE_COLUMNS}. Rename or drop them."
    )


@pytest.mark.parametrize(
    ("name", "values", "got", "allowed"),
    [
        ("label", pa.array([1, 0]), "int64", "string"),
        ("proba", pa.array([0.5, 0.5]), "double", "list<element: float>"),
        ("prompt_tokens", pa.array([1.0, 2.0]), "double", "int32"),
        ("seconds", pa.array(["1", "2"]), "string", "float"),
        ("text", pa.array(["x", "y"]).dictionary_encode(), "dictionary<", "string"),
    ],
)
def test_a_column_of_the_wrong_type_says_both_types(tmp_path, name, values, got, allowed):
    table = predictions(["0", "1"])
    wrong = table.set_column(table.column_names.index(name), name, values)
    pq.write_table(wrong, tmp_path / "w.parquet")
    with pytest.raises(DataError) as error:
        schema.read(tmp_path / "w.parquet", "predictions")
    assert str(error.value).startswith(f"{tmp_path}/w.parquet: column '{name}' is {got}")
    assert str(error.value).endswith(f". Allowed: {allowed}. Convert the column.")


def test_a_text_that_is_no_unicode_names_its_column():
    with pytest.raises(DataError, match="column 'text' is .*surrogates not allowed. Allowed: string"):
        schema.table("examples", {"id": ["a"], "text": ["\ud800"], "split": ["test"]})


def test_a_value_of_the_wrong_type_names_its_column():
    with pytest.raises(DataError) as error:
        predictions(["0"], seconds=["fast"])
    assert str(error.value) == (
        "predictions: column 'seconds' is Could not convert 'fast' with type str: tried to convert to float32."
        " Allowed: float. Convert the column."
    )


MEASURED = "Allowed: null or a finite number >= 0. Measure it again."
PROBA = "Allowed: null or values >= 0 that sum to 1 (within 0.001). Normalise the probabilities."
VISIBLE = "Allowed: at least one visible character. Remove the row."
FILLED = "Allowed: a value in every row. Fill it."
OUTSIDE = "Allowed: one of ['0', '1'], or null. Correct the label or the classes in params.yaml."


@pytest.mark.parametrize(
    ("kind", "columns", "got", "rest"),
    [
        *(("examples", {name: ["x", None]}, f"null in column '{name}', row 1 (1 ", FILLED) for name in ("id", "text")),
        ("examples", {"split": ["test", None]}, "null in column 'split', row 1 (1 ", FILLED),
        *(
            ("examples", {"text": ["fine", text]}, "empty text in column 'text', row 1 (1 ", VISIBLE)
            for text in ("", "  ", "\n\t", "\u2003")
        ),
        (
            "examples",
            {"split": ["train", "dev", "dev"]},
            "split 'dev' in column 'split', row 1 (2 ",
            "Allowed: train, valid, test. Correct the split.",
        ),
        *(
            ("predictions", {name: [1, bad, bad]}, f"{name} is {bad} in column '{name}', row 1 (2 ", MEASURED)
            for name, bads in {
                "cost_usd": (math.nan, -0.5, math.inf),
                "seconds": (math.nan, -math.inf),
                "prompt_tokens": (-1,),
                "completion_tokens": (-7,),
            }.items()
            for bad in bads
        ),
        ("predictions", {"label": ["0", "2"]}, "label outside the classes: '2' in column 'label', row 1 (1 ", OUTSIDE),
        (
            "predictions",
            {"label": ["0", None]},
            "neither an answer nor an error in column 'label', row 1 (1 ",
            "Allowed: a label, a text, a quality or an error. Say why.",
        ),
        *(
            (
                "predictions",
                {"proba": [[0.5, 0.5], None, bad, bad]},
                f"proba {bad} in column 'proba', row 2 (2 ",
                PROBA,
            )
            for bad in (
                [0.5, 0.6],
                [0.0, 0.0],
                [1.5, -0.5],
                [math.nan, 1.0],
                [math.nan, math.nan],
                [math.inf, 0.0],
                [None, 1.0],
            )
        ),
        *(
            (
                "predictions",
                {"proba": [[0.5, 0.5], bad]},
                f"proba {bad} in column 'proba', row 1 (1 ",
                "Allowed: 2 values, of ['0', '1'], or null. Add the rest.",
            )
            for bad in ([1.0], [0.2, 0.3, 0.5])
        ),
    ],
)
def test_what_breaks_the_contract_names_column_and_row(kind, columns, got, rest):
    labels = columns.get("label") or ["0"] * len(next(iter(columns.values())))
    make = examples if kind == "examples" else predictions
    with pytest.raises(DataError) as error:
        make(labels, **{"error": [None] * len(labels)} if kind == "predictions" else {}, **columns)
    assert str(error.value) == f"{kind}: {got}rows in all). {rest}"


def test_a_file_is_held_to_the_classes_of_its_reader(tmp_path):
    path = schema.write(examples(["0", "2"]), tmp_path / "e.parquet", "examples")
    with pytest.raises(DataError) as error:
        schema.read(path, "examples", classes=CLASSES)
    assert str(error.value) == (
        f"{path}: label outside the classes: '2' in column 'label', row 1 (1 rows in all). {OUTSIDE}"
    )


@pytest.mark.parametrize(
    ("columns", "got"),
    [
        ({"id": ["b", "a", "b", "a", "b"]}, "2 duplicate keys, the first 'b' + 'small' 3 times"),
        ({"id": ["a", "a"]}, "1 duplicate keys, the first 'a' + 'small' 2 times"),
    ],
)
def test_duplicate_keys_are_counted_and_the_first_is_shown(columns, got):
    with pytest.raises(DataError) as error:
        predictions(["0"] * len(columns["id"]), **columns)
    assert str(error.value) == (f"predictions: {got}. Allowed: one row for each id + expert. Remove the duplicates.")
    with pytest.raises(DataError, match=got.replace(r" \+ 'small'", "").split(" + ")[0]):
        examples(["0"] * len(columns["id"]), **columns)


def test_one_id_may_be_answered_by_two_experts():
    both = predictions(["0", "1"], id=["a", "a"], expert=["small", "large"])
    assert both.num_rows == 2


def test_an_empty_probability_row_is_an_error_even_if_no_classes_are_known():
    row = {"id": ["a"], "expert": ["small"], "label": ["0"], "proba": [[]]}
    with pytest.raises(DataError, match=r"proba \[\] in column 'proba', row 0"):
        schema.table("predictions", row)


@given(st.lists(probabilities() | st.none(), min_size=1, max_size=6), st.floats(-0.5, 0.5))
def test_a_sum_is_held_to_the_tolerance(rows, off):
    rows = [*rows, [0.5, 0.5 + off]]
    columns = {"id": [str(i) for i in range(len(rows))], "expert": ["e"] * len(rows), "proba": rows}
    columns["label"] = ["0"] * len(rows)
    if abs(off) < 0.0009:
        assert schema.table("predictions", columns).num_rows == len(rows)
    elif abs(off) > 0.0011:
        with pytest.raises(DataError, match=f"row {len(rows) - 1} \\(1 rows in all\\)"):
            schema.table("predictions", columns)


def test_answers_are_to_the_examples_ids_exactly():
    asked = examples(["0", "1", "0"])
    schema.check_answers(asked, predictions(["0", "1", "0"]))
    remedy = "Allowed: one row for each example id. Generate the predictions again for these examples."
    with pytest.raises(DataError) as error:
        schema.check_answers(asked, predictions(["0"]), "p.parquet")
    assert str(error.value) == (
        "p.parquet: 2 of 3 examples have no answer and 0 answers have no example (first missing id a1). " + remedy
    )
    with pytest.raises(DataError) as error:
        schema.check_answers(asked, predictions(["0", "1", "0", "1", "1"]))
    assert str(error.value) == (
        "predictions: 0 of 3 examples have no answer and 2 answers have no example (first unknown id a3). " + remedy
    )


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
def test_a_full_disk_leaves_the_old_file_and_nothing_half_written(tmp_path, monkeypatch):
    path = schema.write(predictions(["0"]), tmp_path / "p.parquet", "predictions")
    before, writer = path.read_bytes(), pq.ParquetWriter

    def on_a_full_disk(where, *columns, **options):
        where.unlink()
        where.symlink_to("/dev/full")
        return writer(where, *columns, **options)

    monkeypatch.setattr(pq, "ParquetWriter", on_a_full_disk)
    with pytest.raises(DataError) as error:
        schema.write(predictions(["1"]), path, "predictions")
    assert error.value.__cause__.errno == errno.ENOSPC
    assert str(error.value).startswith(f"{path}: could not be written (")
    assert str(error.value).endswith(
        "No space left on device). Allowed: a writable folder with room for the file. "
        "Free some space or change the path; the previous file, if any, is untouched."
    )
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["p.parquet"]


def test_a_table_that_breaks_the_contract_is_not_written(tmp_path):
    path = schema.write(predictions(["0"]), tmp_path / "p.parquet", "predictions")
    before = path.read_bytes()
    bad = pa.Table.from_pylist([{**predictions(["0"]).to_pylist()[0], "seconds": -1.0}], schema.PREDICTIONS)
    with pytest.raises(DataError, match=f"{path}: seconds is -1.0"):
        schema.write(bad, path, "predictions")
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["p.parquet"]


def test_rows_of_a_split_keep_their_order():
    table = examples(["0", "1", "0", "1"], split=["test", "train", "test", "valid"])
    assert schema.rows_in(table, "test")["id"].to_pylist() == ["a0", "a2"]
    assert schema.rows_in(table, "train")["id"].to_pylist() == ["a1"]


def test_labels_and_log_probabilities_come_from_probabilities():
    columns = schema.labelled(("no", "yes"), np.array([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]]))
    table = predictions(["0"] * 3, classes=("no", "yes"), **columns)
    assert table["label"].to_pylist() == ["yes", "no", "no"]
    assert table["proba"].to_pylist() == [[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]]
    np.testing.assert_allclose(table["logprob"].to_pylist(), np.log([0.75, 1.0, 0.5]), rtol=1e-6)
    assert len(schema.labelled(("no", "yes"), np.zeros((0, 2)))["label"]) == 0


def many(rows):
    return predictions(["01"[i % 2] for i in range(rows)])


@pytest.mark.parametrize("piece", [1, 7, 10, 64, 100])
def test_pieces_make_the_file_that_the_whole_makes(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(schema, "ROW_GROUP", 32)
    whole = schema.with_meta(many(100), "predictions", {"task": "demo"})
    schema.write(whole, tmp_path / "whole.parquet", "predictions")
    pieces = (many(100).slice(at, piece) for at in range(0, 100, piece))
    schema.write_pieces(pieces, tmp_path / "pieces.parquet", "predictions", {"task": "demo"})
    assert (tmp_path / "pieces.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    groups = pq.ParquetFile(tmp_path / "whole.parquet").metadata
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [32, 32, 32, 4]


def test_no_pieces_make_the_file_of_no_rows(tmp_path):
    schema.write(schema.with_meta(many(0), "predictions", {}), tmp_path / "whole.parquet", "predictions")
    schema.write_pieces([], tmp_path / "pieces.parquet", "predictions", {})
    assert (tmp_path / "pieces.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


@pytest.mark.parametrize("groups", [3, 100])
@pytest.mark.parametrize("rows", [1, 9, 20, 50])
def test_slices_are_the_table_rows_at_a_time(tmp_path, groups, rows):
    table = schema.with_meta(many(20), "predictions", {"task": "demo"})
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=groups)
    found = list(schema.slices(tmp_path / "p.parquet", "predictions", rows))
    assert [part.num_rows for part in found] == [min(rows, 20 - at) for at in range(0, 20, rows)]
    assert pa.concat_tables(found).equals(table, check_metadata=True)
    assert all(column.num_chunks == 1 for column in found[0].columns)


def test_a_key_that_two_slices_have_is_seen_in_the_whole_file(tmp_path):
    table = pa.concat_tables([many(3), many(2)])
    pq.write_table(table, tmp_path / "p.parquet")
    assert len(list(schema.slices(tmp_path / "p.parquet", "predictions", 3))) == 2
    with pytest.raises(DataError, match="2 duplicate keys, the first '.*' \\+ 'small' 2 times"):
        schema.check_keys(tmp_path / "p.parquet", "predictions")
    schema.write(many(3), tmp_path / "q.parquet", "predictions")
    assert schema.check_keys(tmp_path / "q.parquet", "predictions") == 3


def test_slices_of_no_file_and_of_half_a_file_are_one_clear_error(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        next(schema.slices(tmp_path / "none", "predictions", 3))
    path = schema.write(many(50), tmp_path / "p.parquet", "predictions")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match="not a readable Parquet file"):
        next(schema.slices(path, "predictions", 3))


def test_some_columns_of_a_table_that_is_checked_whole(tmp_path):
    table = schema.with_meta(many(20), "predictions", {"task": "demo"})
    path = schema.write(table, tmp_path / "p.parquet", "predictions")
    some = schema.read_columns(path, "predictions", ["id", "label"])
    assert some.equals(table.select(["id", "label"]), check_metadata=True)
    with pytest.raises(DataError, match=r"label outside the classes: '1' in column 'label', row 1 \(10 rows in all\)"):
        schema.read_columns(path, "predictions", ["id"], classes=["0", "2"])
    pq.write_table(pa.concat_tables([many(3), many(2)]), path)
    with pytest.raises(DataError, match="2 duplicate keys"):
        schema.read_columns(path, "predictions", ["id"])


ODD = [
    None,
    "a",
    "c",
    "",
    "\ud83d",
    b"a",
    True,
    0,
    1,
    -1,
    2**15,
    2**31,
    2**63,
    1e39,
    0.5,
    -0.5,
    math.inf,
    math.nan,
    [],
    {},
]
ODD += [[0.5, 0.5], [0.5, 0.4], [1.5, -0.5], [1.0], [0.5, None], [0.5, "b"], [math.nan, 1.0]]
USUAL = {"label": "a", "proba": [0.25, 0.75], "seconds": 0.5, "prompt_tokens": 3, "text": "a", "replies": 1}


@pytest.mark.parametrize("classes", [("a", "b"), ()])
@pytest.mark.parametrize("name", [*schema.PREDICTIONS.names[2:], "unknown"])
def test_a_row_that_is_surely_valid_is_so_to_a_table(name, classes):
    assert schema.surely_valid(USUAL, classes)
    for row in [usual | {name: value} for value in ODD for usual in (USUAL, {})]:
        if schema.surely_valid(row, classes):
            columns = {"id": ["0"], "expert": ["e"], **{name: [value] for name, value in row.items()}}
            schema.table("predictions", columns, {"classes": list(classes)})
