"""Raw rows in, examples and vectors out, by the tasks themselves."""

import json
import re

import pyarrow.csv as arrow_csv
import pytest
from prefect.states import Failed

from askless import schema
from askless.config import Source
from askless.data import readers
from askless.errors import DataError
from askless.text.embeddings import Vectors
from tasks import worth_a_retry
from tasks.data import obtain_raw, prepare_examples, publish
from tasks.vectors import build_vectors
from tests.document_params import DOCUMENTS, TASK, document_params
from tests.pipeline import POSTS, small_params, write_params


def test_a_generated_source_is_written_as_csv_with_the_same_bytes_every_time(tmp_path, built):
    params = write_params(tmp_path, small_params())
    path = obtain_raw.fn("olhs", params, str(tmp_path / "raw"))
    assert path == str(tmp_path / "raw" / "demo.csv")
    assert arrow_csv.read_csv(path).num_rows == POSTS
    assert (tmp_path / "raw" / "demo.csv").read_bytes() == (built / "data/raw/olhs/demo.csv").read_bytes()


def test_a_file_source_is_copied_and_a_missing_one_named(tmp_path):
    file = tmp_path / "posts.csv"
    file.write_text("text,label\nhello,0\n")
    params = write_params(tmp_path, small_params(source={"kind": "csv", "path": str(file)}))
    assert obtain_raw.fn("olhs", params, str(tmp_path / "raw")) == str(tmp_path / "raw" / "posts.csv")
    assert (tmp_path / "raw" / "posts.csv").read_bytes() == file.read_bytes()
    file.unlink()
    with pytest.raises(DataError, match=r"posts\.csv: no such file"):
        obtain_raw.fn("olhs", params, str(tmp_path / "raw"))


def test_examples_are_the_cleaned_rows_and_the_summary_counts_them(built):
    path = built / "data/prepared/olhs/examples.parquet"
    examples = schema.read(path, "examples", classes=("0", "1"))
    summary = json.loads(path.with_suffix(".json").read_text())
    assert summary["raw_rows"] == POSTS
    assert summary["examples"] == examples.num_rows == POSTS - summary["duplicates_dropped"]
    for split, counts in summary["splits"].items():
        assert sum(counts.values()) == schema.rows_in(examples, split).num_rows
        assert min(counts.values()) > 0


def test_the_order_of_the_raw_rows_leaves_no_trace(tmp_path):
    lines = [f"post number {i},{i % 2}" for i in range(40)]
    written = []
    for name, rows in (("a.csv", lines), ("b.csv", lines[::-1])):
        (tmp_path / name).write_text("\n".join(["text,label", *rows]) + "\n")
        params = write_params(tmp_path, small_params(source={"kind": "csv", "path": str(tmp_path / name)}))
        candidate = tmp_path / f"{name}.parquet"
        prepare_examples.fn("olhs", params, str(tmp_path / name), str(candidate))
        written.append(candidate.read_bytes())
    assert written[0] == written[1]


def test_publish_moves_the_candidate_and_its_summary(tmp_path):
    (tmp_path / "c.parquet").write_bytes(b"new")
    (tmp_path / "c.json").write_text("{}")
    good = tmp_path / "deep" / "good.parquet"
    assert publish.fn(str(tmp_path / "c.parquet"), str(good)) == str(good)
    assert good.read_bytes() == b"new"
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["good.json", "good.parquet"]


def test_vectors_have_the_dimension_of_the_params(built):
    vectors = Vectors.open(built / "data/vectors/olhs")
    assert vectors.dim == 50
    assert len(vectors) > 100


def test_a_vector_file_of_another_dimension_is_refused_and_nothing_is_left_until_another_is_given(tmp_path):
    for name in ("glove.txt", "small.txt"):
        (tmp_path / name).write_text("good 0.1 0.2 0.3\nbad 0.4 0.5 0.6\n")
    settings = small_params()
    settings["tasks"]["olhs"]["vectors"] = {"kind": "glove", "path": str(tmp_path / "glove.txt"), "dim": 50}
    params = write_params(tmp_path, settings)
    with pytest.raises(DataError, match="50"):
        build_vectors.fn("olhs", params, str(tmp_path / "raw"), str(tmp_path / "vectors"))
    assert not (tmp_path / "raw").exists()
    assert not (tmp_path / "vectors").exists() or list((tmp_path / "vectors").iterdir()) == []
    settings["tasks"]["olhs"]["vectors"].update(path=str(tmp_path / "small.txt"), dim=3)
    build_vectors.fn("olhs", write_params(tmp_path, settings), str(tmp_path / "raw"), str(tmp_path / "vectors"))
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["small.txt"]
    assert len(Vectors.open(tmp_path / "vectors")) == 2


def test_generated_documents_become_examples_with_references(tmp_path):
    params = write_params(tmp_path, document_params())
    raw = obtain_raw.fn(TASK, params, str(tmp_path / "raw"))
    assert raw == str(tmp_path / "raw" / "demo-documents.csv")
    candidate = tmp_path / "c.parquet"
    prepare_examples.fn(TASK, params, raw, str(candidate))
    examples = schema.read(candidate, "examples")
    summary = json.loads(candidate.with_suffix(".json").read_text())
    assert summary["examples"] == examples.num_rows == DOCUMENTS - summary["duplicates_dropped"]
    assert examples["label"].null_count == DOCUMENTS and examples["reference"].null_count == 0
    assert {split: counts["documents"] for split, counts in summary["splits"].items()} == {
        split: schema.rows_in(examples, split).num_rows for split in schema.SPLITS
    }


def test_a_file_with_a_text_too_long_and_an_empty_one_is_counted_not_cut(tmp_path):
    records = [{"text": "word " * 100_000, "reference": "long"}, {"text": "", "reference": "empty"}]
    records += [{"text": f"document {i}", "reference": f"summary {i}"} for i in range(9)]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, records)))
    source = {"kind": "jsonl", "path": str(tmp_path / "x.jsonl")}
    params = write_params(tmp_path, document_params(source=source))
    candidate = tmp_path / "c.parquet"
    prepare_examples.fn(TASK, params, str(tmp_path / "x.jsonl"), str(candidate))
    summary = json.loads(candidate.with_suffix(".json").read_text())
    assert (summary["empty_dropped"], summary["too_long_dropped"], summary["examples"]) == (1, 1, 9)
    assert sorted(schema.read(candidate, "examples")["text"].to_pylist()) == [f"document {i}" for i in range(9)]


def test_the_demos_vectors_of_a_task_of_summaries_are_learnt_from_documents(tmp_path):
    params = write_params(tmp_path, document_params())
    build_vectors.fn(TASK, params, str(tmp_path / "raw"), str(tmp_path / "vectors"))
    raw = readers.read(Source(kind="demo-documents", rows=50, seed=3))
    tokens = [token for text in raw["text"].to_pylist() for token in re.findall(r"\w+", text.lower())]
    vectors = Vectors.open(tmp_path / "vectors")
    words = set(vectors.vocabulary.words())
    assert sum(token in words for token in tokens) > 0.97 * len(tokens)
    assert vectors.lower and all(word == word.lower() and word.isalnum() for word in words)


def test_only_what_the_world_did_is_worth_a_retry():
    assert worth_a_retry(None, None, Failed(data=OSError("connection reset")))
    assert not worth_a_retry(None, None, Failed(data=DataError("raw.csv", "a", "b", "c")))
