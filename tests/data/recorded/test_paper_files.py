import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from askless import schema
from askless.config import Source
from askless.data import readers
from askless.data.prepare import clean, ids, prepare
from askless.data.recorded.paper_files import dump, load, recorded_predictions
from askless.data.recorded.paper_records import LAYOUTS, parse, spell
from askless.data.tables import read_records
from askless.errors import ConfigError, DataError
from tests.data.test_prepare import documents_task, task

CLASSES = ("0", "1")
OFFLINE = [
    {"Id": "12_1", "Text": "a  post", "Label": 0, "Preds": 1, "Time": 0.8123748302459717},
    {"Id": 7, "Text": "another", "Label": 1, "Preds": "I cannot say.", "Time": 2},
    {"Text": "a post", "Label": "1", "Preds": " 1 "},
    {"Id": "007", "Text": "third", "Label": None, "Preds": None, "note": {"kept": [1, 2.0, None]}},
    {"Id": None, "Text": "", "Label": 1, "Time": None},
]
ONLINE = [
    {"Id": i, "Text": f"t{i}", "Label": i % 2, "Preds": 1, "Completion_tokens": 1, "Prompt_tokens": 90 + i}
    for i in range(4)
]
SUMMARIES = [
    {
        "id": "1",
        "input": "long",
        "ground_truth": "gold",
        "generation": "big",
        "time": 1.5,
        "nn_generation": "small",
        "nn_time": 0.1,
    },
    {"id": 2, "input": "", "ground_truth": "gold", "generation": "big", "other": "model"},
    {"input": "no answer", "ground_truth": "gold"},
]

scalars = st.none() | st.booleans() | st.integers(-3, 2**40) | st.floats() | st.text(max_size=5)
names = st.sampled_from([0, 1, "0", "1", 1.0, " 1", "01", "yes", "", None, 7, True]) | st.text(max_size=4)
amounts = st.none() | st.integers(0, 2**31 - 1) | st.integers(0, 99).map(str) | st.integers(0, 99).map(float)
seconds = amounts | st.floats(0, 1e6)
texts = st.text(max_size=8)


def records_of(layout):
    known = {"Text": texts} if layout != "summaries" else {"input": texts, "ground_truth": texts}
    maybe = (
        {
            "Id": scalars,
            "Label": names,
            "Preds": names,
            "Time": seconds,
            "Completion_tokens": amounts,
            "Prompt_tokens": amounts,
        }
        if layout != "summaries"
        else {
            "id": scalars,
            "generation": texts | st.none(),
            "time": seconds,
            "nn_generation": texts,
            "nn_time": seconds,
        }
    )
    extra = {"more": st.recursive(scalars, lambda s: st.lists(s, max_size=2) | st.dictionaries(texts, s, max_size=2))}
    return st.fixed_dictionaries(known, optional=maybe | extra | {"askless": scalars | st.dictionaries(texts, scalars)})


def write(path, records, lines=False):
    path.write_text("\n".join(map(json.dumps, records)) if lines else json.dumps(records), encoding="utf-8")
    return path


def same(one, other):
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def test_offline_as_tables(tmp_path):
    found = load(write(tmp_path / "x.json", OFFLINE), ["glm"], CLASSES, "src")
    rows, answers = found.rows.to_pylist(), found.predictions.to_pylist()
    assert [row["text"] for row in rows] == ["a  post", "another", "a post", "third", ""]
    assert [row["label"] for row in rows] == ["0", "1", "1", None, "1"]
    assert [row["source_id"] for row in rows] == ["12_1", "7", None, "007", None]
    assert [row["id"] for row in rows][:2] == ids("src", ["a post", "another"])
    assert len({row["id"] for row in rows}) == 5
    kept = [(a["label"], a["text"], a["error"]) for a in answers]
    assert kept == [
        ("1", None, None),
        (None, "I cannot say.", "the answer is none of the classes"),
        ("1", None, None),
        (None, None, "no answer is recorded"),
        (None, None, "no answer is recorded"),
    ]
    assert [a["seconds"] for a in answers] == [pytest.approx(0.8123748), 2, None, None, None]
    assert {a["expert"] for a in answers} == {"glm"}
    assert schema.meta_of(found.predictions)["classes"] == ["0", "1"]


def test_online_as_tables(tmp_path):
    found = load(write(tmp_path / "x.json", ONLINE, lines=True), ["qwen"], CLASSES, "src")
    assert found.predictions["prompt_tokens"].to_pylist() == [90, 91, 92, 93]
    assert found.predictions["completion_tokens"].to_pylist() == [1] * 4
    assert found.predictions["label"].to_pylist() == ["1"] * 4


def test_summaries_as_tables(tmp_path):
    found = load(write(tmp_path / "x.json", SUMMARIES, lines=True), ["large", "small"], (), "xsum")
    answers = [(a["expert"], a["text"], a["seconds"]) for a in found.predictions.to_pylist()]
    assert answers == [("large", "big", 1.5), ("small", "small", pytest.approx(0.1)), ("large", "big", None)]
    assert found.rows["reference"].to_pylist() == ["gold"] * 3
    with pytest.raises(DataError, match="answers of 3 experts. Allowed: at most 2 in layout 'summaries'"):
        load(tmp_path / "x.json", ["a", "b", "c"], (), "xsum")


@pytest.mark.parametrize("through_parquet", [False, True])
@pytest.mark.parametrize("experts", [["one"], []])
@pytest.mark.parametrize(
    ("records", "lines"), [(OFFLINE, 0), (OFFLINE, 1), (ONLINE, 1), (ONLINE, 0), (SUMMARIES, 1), ([], 0)]
)
def test_file_to_tables_to_file(tmp_path, records, lines, experts, through_parquet):
    found = load(write(tmp_path / "in.json", records, lines), experts, CLASSES, "src")
    answers = found.predictions
    if through_parquet:
        answers = schema.read(schema.write(answers, tmp_path / "a.parquet", "predictions"), "predictions")
    back, as_lines = read_records(dump(tmp_path / "out.json", found.rows, answers))
    assert same(back, records) and as_lines == bool(lines)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@given(data=st.data())
def test_any_records_come_back(tmp_path_factory, layout, data):
    records = data.draw(st.lists(records_of(layout), min_size=1, max_size=4))
    folder = tmp_path_factory.mktemp("records")
    lines = LAYOUTS[layout].lines
    experts = ["a", "b"][: data.draw(st.integers(0, len(LAYOUTS[layout].answers)))]
    found = load(write(folder / "in.json", records, lines), experts, CLASSES, "src")
    schema.check(found.predictions, "predictions", classes=CLASSES)
    assert same(read_records(dump(folder / "out.json", found.rows, found.predictions))[0], records)


rows = st.fixed_dictionaries(
    {"id": st.just("ab"), "text": texts}
    | {name: st.none() | texts for name in ("label", "reference", "split", "group")}
    | {"source_id": st.sampled_from([None, "ab", "7", "x"])}
)
answers = st.fixed_dictionaries(
    {name: st.none() | texts for name in ("label", "text", "error")}
    | {name: st.none() | st.floats(0, 9, width=32) for name in ("logprob", "mass", "quality", "seconds", "cost_usd")}
    | {name: st.none() | st.integers(0, 99) for name in schema.PREDICTIONS.names if name.endswith("_tokens")}
    | {"proba": st.none() | st.lists(st.floats(0, 1, width=32), max_size=3), "batched": st.none() | st.booleans()}
    | {"replies": st.none() | st.integers(1, 99)}
)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@given(row=rows, replies=st.tuples(st.none() | answers, st.none() | answers))
@example(
    row=dict.fromkeys(("label", "reference", "split", "group"), None) | {"id": "ab", "text": "", "source_id": None},
    replies=(None, None),
)
def test_any_columns_come_back(layout, row, replies):
    shape = LAYOUTS[layout]
    columns = row, list(replies[: len(shape.answers)])
    record = json.loads(json.dumps(spell(columns, shape, CLASSES)))
    back, found = parse(record, shape, CLASSES)
    assert back | {"id": "ab"} == row
    assert (back["id"] == "ab") == (row["source_id"] == "ab")
    assert found == columns[1]


@pytest.mark.parametrize(("layout", "first"), [("offline", "["), ("online", "{")])
def test_tables_to_file_to_tables(tmp_path, layout, first):
    raw = readers.raw_table(text=["b", "a", "c"], label=["0", "1", "1"], group=["x", None, "y"])
    examples, _ = prepare(raw, task(), "src")
    columns = {
        "id": examples["id"],
        "expert": ["llm"] * 3,
        "label": ["1", None, "0"],
        "proba": [[0.25, 0.75], None, [0.9, 0.1]],
        "logprob": [-0.1, float("-inf"), None],
        "text": [None, "no idea", "class 0"],
        "prompt_tokens": [5, 6, 7],
        "seconds": [0.1, 0.2, 0.3],
        "cost_usd": [1e-5, None, 0.0],
        "error": [None, "unparsable", None],
    }
    predictions = schema.table("predictions", columns, {"classes": list(CLASSES)})
    path = dump(tmp_path / "x.json", examples, predictions, layout)
    assert path.read_text()[0] == first
    record = read_records(path)[0][0]
    assert (record["Id"], record["Preds"]) == (examples["id"][0].as_py(), 1)
    found = load(path, ["llm"], CLASSES, "any other source")
    assert found.rows.select(schema.EXAMPLES.names).to_pylist() == examples.to_pylist()
    assert found.predictions.to_pylist() == predictions.to_pylist()


def test_a_changed_answer_is_written_and_the_rest_keeps_its_spelling(tmp_path):
    found = load(write(tmp_path / "in.json", OFFLINE), ["glm"], CLASSES, "src")
    at = found.predictions.column_names.index("label")
    edited = found.predictions.set_column(at, schema.PREDICTIONS.field("label"), [["0", "0", "1", None, None]])
    at = edited.column_names.index("error")
    edited = edited.set_column(at, schema.PREDICTIONS.field("error"), [[None] * 3 + ["no answer is recorded"] * 2])
    back, _ = read_records(dump(tmp_path / "out.json", found.rows, edited))
    assert back[0] == OFFLINE[0] | {"Preds": 0}
    assert back[1]["Preds"] == 0 and back[2:] == OFFLINE[2:]


def test_dump_says_what_it_cannot_write(tmp_path):
    found = load(write(tmp_path / "in.json", OFFLINE), ["glm"], CLASSES, "src")
    with pytest.raises(ConfigError, match="Unknown layout of recorded answers 'ofline'.*Did you mean 'offline'"):
        dump(tmp_path / "out.json", found.rows, found.predictions, "ofline")
    both = load(write(tmp_path / "s.json", SUMMARIES, lines=True), ["large", "small"], (), "xsum")
    with pytest.raises(DataError, match="answers of 2 experts. Allowed: at most 1 in layout 'offline'"):
        dump(tmp_path / "out.json", both.rows, both.predictions, "offline")
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"Text": "a"},\n {"Text" "b"}]', "line 2: Expecting ':' delimiter"),
        ("[1]", "record 0: a int"),
        ('[{"Text": "a"}, {"text": "b"}]', r"record 1: its text or reference is missing.*keys are \['text'\]"),
        ('[{"Text": 5}]', "record 0: its text"),
        ('[{"input": "a", "generation": 5}]', "record 0: generation is no text but int"),
        ('[{"input": "a", "generation": ["b"]}]', "record 0: generation is no text but list"),
        ('[{"Text": "a", "Time": -1}]', "record 0: Time is -1, not a number >= 0"),
        ('[{"Text": "a", "Time": NaN}]', "record 0: Time is nan"),
        ('[{"Text": "a", "Prompt_tokens": 1.5}]', "record 0: Prompt_tokens is 1.5, not a whole number"),
        ('[{"Text": "a", "Completion_tokens": true}]', "record 0: Completion_tokens is True"),
        (
            '{"id": 1, "input": "a"}\n{"id": 2, "input": "b"}\n{"Text": "c"}',
            r"record 2 is a post \(Text\) and record 0 a document \(input\). Allowed: records of one layout",
        ),
    ],
)
def test_broken_files(tmp_path, text, message):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(DataError, match=f"x.json: {message}"):
        load(path, ["a"], CLASSES, "src")


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="not readable .*No such file"):
        load(tmp_path / "x.json", ["a"], CLASSES, "src")


@pytest.mark.parametrize("kind", ["offline", "online"])
def test_as_raw_rows(tmp_path, kind):
    raw = readers.read(Source(kind=kind), write(tmp_path / "x.json", OFFLINE[:2]))
    assert raw.schema == readers.RAW and raw["label"].to_pylist() == ["0", "1"]


def test_predictions_for_prepared_examples(tmp_path):
    path = write(tmp_path / "x.json", [r for r in OFFLINE if r["Text"] and r.get("Label") is not None])
    examples, summary = prepare(readers.read(Source(kind="offline"), path), task(), "olhs")
    answers = recorded_predictions(path, examples, "glm", CLASSES)
    schema.check_answers(examples, answers)
    assert summary["duplicates_dropped"] == 1 and answers["id"].to_pylist() == examples["id"].to_pylist()
    found = dict(zip(examples["text"].to_pylist(), answers.to_pylist(), strict=True))
    assert found["a post"]["label"] == "1" and found["a post"]["seconds"] == pytest.approx(0.8123748)
    assert found["another"]["label"] is None and found["another"]["text"] == "I cannot say."
    assert schema.meta_of(answers) == {"schema": "askless/predictions/1", "classes": ["0", "1"], "repeated": 1}


def test_examples_that_were_not_recorded(tmp_path):
    examples, _ = prepare(
        readers.raw_table(text=["a post", "unknown"], label=["0", "1"], group=[None] * 2), task(), "s"
    )
    [missing] = [row["id"] for row in examples.to_pylist() if row["text"] == "unknown"]
    with pytest.raises(DataError, match=rf"1 of 2 examples have no record \(first id {missing}\)"):
        recorded_predictions(write(tmp_path / "x.json", OFFLINE), examples, "glm", CLASSES)


def test_ids_of_texts_that_come_again_do_not_meet(tmp_path):
    records = [{"Text": f"{'same' if i % 2 else 'other'}{' ' * i}"} for i in range(6)]
    found = load(write(tmp_path / "x.json", records), ["a"], CLASSES, "src").rows["id"].to_pylist()
    assert len(set(found)) == 6 and found[:2] == ids("src", [clean(r["Text"]) for r in records[:2]])


def test_summaries_as_raw_rows(tmp_path):
    raw = readers.read(Source(kind="summaries"), write(tmp_path / "x.jsonl", SUMMARIES, lines=True))
    assert raw.schema == readers.RAW
    assert raw["text"].to_pylist() == ["long", "", "no answer"] and raw["reference"].to_pylist() == ["gold"] * 3
    assert raw["source_id"].to_pylist() == ["1", "2", None] and raw["label"].null_count == 3


@pytest.mark.parametrize(
    ("kind", "records", "said"),
    [("summaries", OFFLINE, "layout 'offline'. Allowed: 'summaries'"), ("online", SUMMARIES, "layout 'summaries'")],
)
def test_a_source_of_another_kind_than_its_records(tmp_path, kind, records, said):
    with pytest.raises(DataError, match=said):
        readers.read(Source(kind=kind), write(tmp_path / "x.json", records))


def test_summaries_for_prepared_documents_and_what_becomes_of_the_rest(tmp_path):
    path = write(tmp_path / "x.jsonl", SUMMARIES[:2], lines=True)
    raw = readers.read(Source(kind="summaries"), path)
    examples, summary = prepare(raw, documents_task(empty_text="drop"), "xsum")
    answers = recorded_predictions(path, examples, "llm", ())
    assert summary["empty_dropped"] == 1 and answers["text"].to_pylist() == ["big"]
    assert schema.meta_of(answers)["unmatched"] == 1
    found = load(path, ["llm", "small"], (), "xsum").predictions
    assert examples["id"].to_pylist()[0] in found["id"].to_pylist()


def test_answers_to_other_documents_are_an_error(tmp_path):
    raw = readers.raw_table(text=["another document"], reference=["r"])
    examples, _ = prepare(raw, documents_task(), "xsum")
    with pytest.raises(DataError, match=r"1 of 1 examples have no record \(first id [0-9a-f]{16}\)"):
        recorded_predictions(write(tmp_path / "x.jsonl", SUMMARIES, lines=True), examples, "llm", ())


def test_offline_and_online_records_in_one_file(tmp_path):
    records = [*ONLINE[:3], {"Text": "timed", "Label": 0, "Preds": 0, "Time": 0.5}]
    path = write(tmp_path / "x.json", records)
    examples, _ = prepare(readers.read(Source(kind="offline"), path), task(), "s")
    with pytest.raises(DataError) as caught:
        recorded_predictions(path, examples, "llm", CLASSES)
    assert caught.value.got == "offline and online records mixed: 1 answers with seconds only, 3 with tokens only"
    both = [{**record, "Time": 1} for record in ONLINE]
    assert recorded_predictions(write(path, [*both, records[-1]]), examples, "llm", CLASSES).num_rows == 4


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_any_system(tmp_path, end):
    (tmp_path / "x.jsonl").write_bytes(end.join(map(json.dumps, SUMMARIES)).encode())
    assert read_records(tmp_path / "x.jsonl") == (SUMMARIES, True)
