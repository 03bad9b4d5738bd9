"""Odd files that people have, one a row, and what must be read of each."""

import json
import math

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from askless import schema
from askless.cli import app
from askless.data.stream import ItemSource
from askless.labelling.outputs import OUTPUT, output


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


CALLED = lines(*({"id": n, "instruction": f"t {n}", "generation": "no", "model_name": "m"} for n in range(3)))
COMMAS = lines(*({"id": n, "label": ["World, politics", "Sports"][n % 2]} for n in range(4)))
LISTED = lines({"id": 0, "label": "no"}, {"id": 1, "label": ["yes", "no"]})
WORDS, FOUND = ["--classes", "no,yes"], ["--pattern", "Answer: (.*)"]
FLOATS = "id,label,cost_usd\n0.0,no,0.1\n1.0,yes,0.1\n2.0,no,0.1\n"

# Name and content of a file of answers, what is typed after it, ids and labels that are read, or the error.
ANSWERS = {
    "columns that are named, whatever keys of a format it has": (
        ("a.jsonl", CALLED, ["--column", "label=generation", "--column", "expert=model_name"]),
        {"0": "no", "1": "no", "2": "no"},
    ),
    "labels with commas": (
        ("a.jsonl", COMMAS, ["--classes", '"World, politics",Sports']),
        {"0": "World, politics", "1": "Sports", "2": "World, politics", "3": "Sports"},
    ),
    "a list among labels": (
        ("a.jsonl", LISTED, []),
        "label is a list in row 2 of the data (id 1). Allowed: ",
    ),
    "lines that end in CR": (("a.csv", "id,label\r0,no\r1,yes\r", []), {"0": "no", "1": "yes"}),
    "semicolons": (("a.csv", "id;label;text\n0;no;first\n1;yes;second, with comma\n", []), {"0": "no", "1": "yes"}),
    "columnar JSON": (("a.json", '{"id": [0, 1], "label": ["no", "yes"]}', []), {"0": "no", "1": "yes"}),
    "columnar JSON of pandas, on several lines": (
        ("a.json", '{\n "id": {"0": 0, "1": 1},\n "label": {"0": "no", "1": "yes"}\n}\n', []),
        {"0": "no", "1": "yes"},
    ),
    "one object on several lines": (("a.json", '{\n "id": 0,\n "label": "no"\n}\n', []), {"0": "no"}),
    "spellings that are told": (
        ("a.csv", "id,label\n0,Not biased\n1,Biased!\n2,a=b\n", [*WORDS, "--map", "Not biased=no", "--map", "a=b=yes"]),
        {"0": "no", "1": None, "2": "yes"},
    ),
    "a label somewhere in the reply": (
        ("a.csv", "id,label\n0,I say yes. Answer: no\n1,Answer: no... Answer: yes\n2,yes\n", [*WORDS, *FOUND]),
        {"0": "no", "1": "yes", "2": "yes"},
    ),
    "a pattern that is none": (("a.csv", "id,label\n0,no\n", ["--pattern", "(("]), "The pattern '((' is no regular "),
    "a class that there is not": (
        ("a.csv", "id,label\n0,no\n", [*WORDS, "--map", "x=perhaps"]),
        "Unknown class 'perhaps'. Known: no, yes.",
    ),
    "most labels in other words": (
        ("a.csv", "id,label\n0,No way\n1,Sure\n2,Sure\n3,no\n", WORDS),
        "3 of 4 labels of 'a' are none of the classes: 'Sure' (2), 'No way' (1). Allowed: labels among 'no', 'yes'. ",
    ),
    "tokens of whom": (
        ("a.csv", "id,a,b,t\n0,no,yes,3\n", ["--wide", "x=a", "--wide", "y=b", "--column", "prompt_tokens=t"]),
        "Got --column prompt_tokens=... with --wide: it does not say whose it is. Allowed with --wide: a column ",
    ),
    "tabs": (("a.tsv", "id\tlabel\n0\tno\n1\tyes\n", []), {"0": "no", "1": "yes"}),
    "ids that became floats": (("a.csv", FLOATS, []), {"0": "no", "1": "yes", "2": "no"}),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_file_of_answers(name, tmp_path):
    (file, content, words), wanted = ANSWERS[name]
    (tmp_path / file).write_text(content, newline="")
    out = tmp_path / "o.parquet"
    done = CliRunner().invoke(app, ["import", str(tmp_path / file), *words, "-o", str(out)])
    if isinstance(wanted, str):
        assert done.exit_code == 1 and wanted in str(done.exception)
        return
    assert done.exit_code == 0, done.exception
    table = schema.read(out, "predictions")
    assert dict(zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True)) == wanted


def test_a_column_for_each_expert_and_empty_labels(tmp_path):
    content = "id,gold,gpt4,mini,mini_logprob,gpt4_cost_usd\n1,yes,yes,no,-0.5,0.25\n2,no,,no,-1,0.5\n"
    (tmp_path / "wide.csv").write_text(content)
    words = ["--wide", "gpt-4=gpt4", "--wide", "mini=mini", "--classes", "no,yes", "-o", str(tmp_path / "o.parquet")]
    done = CliRunner().invoke(app, ["import", str(tmp_path / "wide.csv"), *words])
    rows = schema.read(tmp_path / "o.parquet", "predictions").to_pylist()
    assert [[row[name] for name in ("expert", "id", "label", "logprob", "cost_usd", "error")] for row in rows] == [
        ["gpt-4", "1", "yes", None, 0.25, None],
        ["gpt-4", "2", None, None, 0.5, "empty label"],
        ["mini", "1", "no", -0.5, None, None],
        ["mini", "2", "no", -1.0, None, None],
    ]
    assert done.stderr == "Note: 1 empty label of 'gpt-4': no answer, which counts as wrong.\n"


def test_how_sure_an_expert_was_may_be_a_probability(tmp_path):
    (tmp_path / "a.csv").write_text("id,label,sure\n1,yes,0.5\n2,no,1\n")
    words = ["import", str(tmp_path / "a.csv"), "--column", "confidence=sure", "-o", str(tmp_path / "o.parquet")]
    assert CliRunner().invoke(app, words).exit_code == 0
    logprob = schema.read(tmp_path / "o.parquet", "predictions")["logprob"].to_pylist()
    assert logprob == pytest.approx([math.log(0.5), 0.0])
    (tmp_path / "a.csv").write_text("id,label,sure\n1,yes,50\n2,no,99\n")
    said = str(CliRunner().invoke(app, words).exception)
    assert (
        "confidence is 50.0 in row 1 of the data (2 rows in all). Allowed: how likely the answer is, a number" in said
    )


NUMBER = lines(*({"id": n, "text": 5 if n == 2 else f"text {n}"} for n in range(4)))

# Name and content of a file of new items, and the id, text and fault of each row of what comes out.
ITEMS = {
    "some rows without an id": (
        ("a.jsonl", lines({"text": "first"}, {"id": "1", "text": "second"}, {"text": "third"})),
        [("row-1", "first"), ("1", "second"), ("row-3", "third")],
    ),
    "no row with an id": (("a.jsonl", lines({"text": "first"}, {"text": "second"})), [("1", "first"), ("2", "second")]),
    "a number among texts": (
        ("a.jsonl", NUMBER),
        [("0", "text 0"), ("1", "text 1"), ("2", "text is no text but int"), ("3", "text 3")],
    ),
    "blank lines of a text file": (
        ("a.txt", "first\n\nsecond\n   \nthird\n"),
        [("1", "first"), ("2", ""), ("3", "second"), ("4", "   "), ("5", "third")],
    ),
    "lines that end in CR": (("a.csv", "id,text\r0,first\r1,second\r"), [("0", "first"), ("1", "second")]),
    "semicolons": (
        ("a.csv", "id;text\n0;first\n1;second, with comma\n"),
        [("0", "first"), ("1", "second, with comma")],
    ),
    "tabs": (("a.tsv", "id\ttext\n0\tfirst\n1\tsecond\n"), [("0", "first"), ("1", "second")]),
}


@pytest.mark.parametrize("name", ITEMS)
def test_a_file_of_new_items(name, tmp_path):
    (file, content), wanted = ITEMS[name]
    (tmp_path / file).write_text(content, newline="")
    source = ItemSource.of(str(tmp_path / file), None, {})
    (chunk,) = source.chunks(100)
    values = {field.name: [0.0 if pa.types.is_floating(field.type) else "-"] * len(chunk) for field in OUTPUT}
    names = output(chunk, pa.table(values, schema=OUTPUT))["id"].to_pylist()
    said = [fault or text for fault, text in zip(chunk.faults or [None] * len(chunk), chunk.texts, strict=True)]
    assert list(zip(names, said, strict=True)) == wanted
    assert source.count() in (None, len(wanted))
