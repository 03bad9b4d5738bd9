"""`askless import`: every format in, one file of the contract out."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from askless import schema
from askless.cli import app
from askless.data.recorded import load
from askless.errors import DataError

OFFLINE = [
    {"Id": 1, "Text": "what a day", "Label": 1, "Preds": 1, "Time": 0.5},
    {"Id": 2, "Text": "go away", "Label": 0, "Preds": "0.", "Time": 0.25},
    {"Id": 3, "Text": "well", "Label": 0, "Preds": "cannot say", "Time": 0.25},
]
SUMMARIES = [
    {
        "id": 1,
        "input": "a long text",
        "ground_truth": "short",
        "generation": "so",
        "time": 1.0,
        "nn_generation": "s",
        "nn_time": 0.1,
    }
]


def run(*words):
    return CliRunner().invoke(app, ["import", *map(str, words)])


def ok(*words):
    done = run(*words)
    assert done.exit_code == 0, (done.output, done.exception)
    return done


@pytest.fixture
def offline(tmp_path):
    path = tmp_path / "chatglm3.json"
    path.write_text(json.dumps(OFFLINE))
    return path


def test_the_papers_format_with_its_labelled_items(tmp_path, offline):
    out, items = tmp_path / "o.parquet", tmp_path / "items.parquet"
    done = ok(offline, "--task", "olhs", "--expert", "chatglm3", "-o", out, "--items", items)
    assert done.stdout == (
        f"Wrote {out}:\n  chatglm3  3 answers, 1 without a label\nWrote {items}: 3 items (id, text, label)\n"
    )
    assert done.stderr == (
        "Note: 1 label of 'chatglm3' in another spelling: read as the class meant.\n"
        "Note: 1 label of 'chatglm3' outside the classes: no answer, which counts as wrong: 'cannot say' (1). "
        "To say what one means: --map THEIRS=CLASS.\n"
    )
    table = schema.read(out, "predictions", classes=["0", "1"])
    assert schema.meta_of(table) == {"classes": ["0", "1"], "schema": "askless/predictions/1", "task": "olhs"}
    assert table["label"].to_pylist() == ["1", "0", None]
    assert table["text"].to_pylist() == [None, "0.", "cannot say"]
    assert table["seconds"].to_pylist() == [0.5, 0.25, 0.25]
    study = load(items, [out])
    assert study.examples["text"].to_pylist() == ["what a day", "go away", "well"]
    assert study.cost.unit == "seconds"


def test_two_files_about_the_same_texts_have_the_same_ids(tmp_path, offline):
    other = tmp_path / "qwen.json"
    other.write_text(json.dumps([{**record, "Preds": 1} for record in OFFLINE]))
    tables = []
    for path in (offline, other):
        ok(path, "--task", "olhs", "-o", tmp_path / "o.parquet")
        tables.append(pq.read_table(tmp_path / "o.parquet"))
    assert tables[0]["id"].equals(tables[1]["id"])
    assert tables[1]["expert"].to_pylist() == ["qwen"] * 3


def test_summaries_of_two_experts(tmp_path):
    path, out, items = tmp_path / "s.jsonl", tmp_path / "o.parquet", tmp_path / "items.parquet"
    path.write_text("\n".join(map(json.dumps, SUMMARIES)))
    ok(path, "--expert", "gpt", "--expert", "t5", "-o", out, "--items", items)
    assert pq.read_table(out).select(["expert", "text"]).to_pylist() == [
        {"expert": "gpt", "text": "so"},
        {"expert": "t5", "text": "s"},
    ]
    assert pq.read_table(items).column_names == ["id", "text", "reference"]


def test_a_csv_with_columns_of_its_own_and_json_on_stdout(tmp_path):
    path, out = tmp_path / "log.csv", tmp_path / "o.parquet"
    path.write_text("key,model,reply,usd\n1,a,Yes.,0.1\n2,a,no,\n1,b,yes,0.2\n2,b,perhaps,0.2\n")
    columns = [f"--column={pair}" for pair in ("id=key", "expert=model", "label=reply", "cost_usd=usd")]
    done = ok(path, *columns, "--classes", "yes,no", "-o", out, "--json")
    assert json.loads(done.stdout) == {
        "path": str(out),
        "experts": {"a": {"answers": 2, "without_label": 0}, "b": {"answers": 2, "without_label": 1}},
        "classes": ["yes", "no"],
    }
    table = schema.read(out, "predictions")
    assert table["label"].to_pylist() == ["yes", "no", "yes", None]
    assert table["cost_usd"].to_pylist() == [0.1, None, 0.2, 0.2]


def test_one_expert_of_several_and_labels_as_they_are_without_classes(tmp_path):
    path, out = tmp_path / "log.csv", tmp_path / "o.parquet"
    path.write_text("id,expert,label\n1,a,Yes.\n1,b,no\n")
    ok(path, "--expert", "a", "-o", out)
    assert pq.read_table(out).select(["id", "expert", "label"]).to_pylist() == [
        {"id": "1", "expert": "a", "label": "Yes."}
    ]
    assert str(run(path, "--expert", "c", "-o", out).exception) == (
        f"{path}: no answers of 'c'. Allowed: one of a, b. Correct the expert, or leave it out for all."
    )


def test_sampled_answers_without_named_classes(tmp_path):
    path, out = tmp_path / "log.csv", tmp_path / "o.parquet"
    path.write_text("id,expert,label,sample,seconds\n1,a,x,0,1\n1,a,y,1,1\n1,a,y,2,1\n")
    ok(path, "-o", out)
    (row,) = schema.read(out, "predictions", classes=["x", "y"]).to_pylist()
    assert (row["label"], row["proba"], row["seconds"]) == ("y", pytest.approx([1 / 3, 2 / 3]), 3.0)


def test_sampled_answers_of_too_many_kinds(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("id,expert,label,sample\n" + "".join(f"1,a,text {k},{k}\n" for k in range(60)))
    assert str(run(path, "-o", tmp_path / "o.parquet").exception) == (
        f"{path}: sampled answers with 60 different labels. Allowed: at most 50 without named classes. "
        "Name the classes: --classes A,B,C."
    )


def test_items_in_a_file_of_answers(tmp_path):
    path, out, items = tmp_path / "r.parquet", tmp_path / "o.parquet", tmp_path / "items.parquet"
    said = {"id": [1, 2, 1, 2], "expert": ["a", "a", "b", "b"], "label": ["x", "y", "x", "x"], "gold": ["x", "y"] * 2}
    pq.write_table(pa.table(said), path)
    ok(path, "-o", out, "--items", items, "--item-column", "label=gold")
    assert pq.read_table(items).to_pylist() == [{"id": "1", "label": "x"}, {"id": "2", "label": "y"}]
    refused = run(path, "-o", out, "--items", items)
    assert isinstance(refused.exception, DataError)
    assert "Say which column holds the gold label: --item-column label=ITS_NAME." in str(refused.exception)
    refused = run(path, "-o", out, "--items", items, "--item-column", "id=expert")
    assert "no column of the gold label is named" in str(refused.exception)
    pq.write_table(pa.table({**said, "gold": ["x", "y", "y", "y"]}), path)
    refused = run(path, "-o", out, "--items", items, "--item-column", "label=gold")
    assert str(refused.exception) == (
        f"{path}: 1 id with several gold labels. Allowed: one gold label for each id. Correct them."
    )


def test_named_columns_win_over_a_guess_of_the_format(tmp_path):
    path, out = tmp_path / "log.jsonl", tmp_path / "o.parquet"
    rows = [{"id": n, "generation": "yes", "model_name": "m", "input": "x"} for n in range(2)]
    path.write_text("\n".join(map(json.dumps, rows)))
    ok(path, "-o", out, "--column", "label=generation", "--column", "expert=model_name")
    assert pq.read_table(out).select(["id", "expert", "label"]).to_pylist() == [
        {"id": str(n), "expert": "m", "label": "yes"} for n in range(2)
    ]


def test_one_expert_twice_in_a_file(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("id,label\n1,x\n1,y\n")
    assert "'log' answers 1 id more than once (first '1')" in str(run(path, "-o", tmp_path / "o.parquet").exception)


def test_more_experts_than_a_file_holds(tmp_path, offline):
    refused = run(offline, "--expert", "a", "--expert", "b", "-o", tmp_path / "o.parquet")
    assert "answers of 2 experts. Allowed: at most 1 in layout 'offline'" in str(refused.exception)
    path = tmp_path / "log.csv"
    path.write_text("id,label\n1,x\n")
    refused = run(path, "--expert", "a", "--expert", "b", "-o", tmp_path / "o.parquet")
    assert str(refused.exception) == (
        f"{path}: 2 experts. Allowed: at most one. Leave --expert out for all that it names."
    )
