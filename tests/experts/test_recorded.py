"""Replaying a table: the right rows, fast, or one clear error."""

import json

import pyarrow as pa
import pytest

from askless import schema
from askless.config import Price
from askless.costs import CostModel
from askless.errors import ConfigError, DataError
from askless.experts.recorded import RecordedExpert
from tests.experts.tiny_models import examples, setting


def recorded(ids, experts="gpt", **meta):
    names = [experts] * len(ids) if isinstance(experts, str) else experts
    labels = [str(i % 2) for i in range(len(ids))]
    proba = [[0.25, 0.75] if label == "1" else None for label in labels]
    seconds = [float(i) for i in range(len(ids))]
    columns = {"id": ids, "expert": names, "label": labels, "proba": proba, "seconds": seconds}
    return schema.table("predictions", columns, {"classes": ["0", "1"], **meta})


def asked(ids):
    return schema.table("examples", {"id": ids, "text": ["x"] * len(ids), "split": ["test"] * len(ids)})


def test_rows_are_found_by_id_in_the_asked_order_under_the_experts_name():
    expert = RecordedExpert(setting(), table=recorded(["a", "b", "c", "d"], model="gpt-3.5"))
    answers = expert.answer(asked(["d", "a", "b"]))
    assert answers["id"].to_pylist() == ["d", "a", "b"]
    assert answers["expert"].to_pylist() == ["tiny"] * 3
    assert answers["seconds"].to_pylist() == [3.0, 0.0, 1.0]
    assert answers["proba"].to_pylist() == [[0.25, 0.75], None, [0.25, 0.75]]
    assert schema.meta_of(answers) == {**schema.meta_of(expert.table), "unmatched": 1}
    assert schema.meta_of(answers)["model"] == "gpt-3.5"
    schema.check(answers, "predictions")
    assert expert.answer(asked([])).num_rows == 0


def test_from_a_file(tmp_path):
    path = schema.write(recorded(["a", "b"]), tmp_path / "p.parquet", "predictions")
    for given in (path, str(path)):
        assert RecordedExpert(setting(), path=given).answer(asked(["b"]))["label"].to_pylist() == ["1"]


def test_of_several_experts_the_one_of_this_name():
    table = recorded(["a", "b", "a", "b"], ["tiny", "tiny", "other", "other"])
    assert RecordedExpert(setting(), table=table).answer(asked(["a", "b"]))["seconds"].to_pylist() == [0.0, 1.0]
    with pytest.raises(DataError, match=r"no answers of 'third'. Allowed: answers of \['other', 'tiny'\]"):
        RecordedExpert(setting(name="third"), table=table).answer(asked(["a"]))


@pytest.mark.parametrize("experts", ["gpt", ["tiny", "gpt", "tiny"]])
def test_a_flat_price_is_billed_for_each_sample_that_was_put_to_the_vote(experts):
    """In the pipeline four samples of one LLM were billed as one answer."""
    table = recorded(["a", "b", "c"], experts, samples={"gpt": 4.0, "tiny": 4.0})
    answers = RecordedExpert(setting(), table=table).answer(asked(["c", "a"]))
    assert CostModel("usd", {"tiny": Price(usd_per_1k_answers=12.0)}).price(answers, "tiny").tolist() == [0.048] * 2


def test_an_example_without_an_answer_is_an_error():
    expert = RecordedExpert(setting(), table=recorded(["a", "b"]))
    with pytest.raises(DataError, match=r"no answer to 2 of 3 examples \(first id y\)"):
        expert.answer(asked(["a", "y", "z"]))


def test_answers_about_other_classes_are_an_error():
    table = schema.with_meta(recorded(["a"]), "predictions", {"classes": ["1", "0"]})
    with pytest.raises(DataError, match=r"answers about the classes \['1', '0'\]. Allowed: \['0', '1'\]"):
        RecordedExpert(setting(), table=table).answer(asked(["a"]))
    other = schema.table("predictions", {"id": ["a"], "expert": ["e"], "label": ["2"]})
    with pytest.raises(DataError, match="label outside the classes: '2'"):
        RecordedExpert(setting(), table=other).answer(asked(["a"]))


def test_one_of_path_and_table(tmp_path):
    for options in ({}, {"path": tmp_path, "table": recorded(["a"])}):
        with pytest.raises(ConfigError, match="give either path or table"):
            RecordedExpert(setting(), **options).answer(asked(["a"]))
    with pytest.raises(DataError, match="no such file"):
        RecordedExpert(setting(), path=tmp_path / "none.parquet").answer(asked(["a"]))


RECORDS = [
    {"input": "one", "ground_truth": "r", "generation": "big", "time": 1.5, "nn_generation": "small", "nn_time": 0.5},
    {"input": "two", "ground_truth": "r", "generation": "large", "nn_generation": "little", "t0": "mine", "t0_time": 2},
    {"input": "three", "ground_truth": "r", "generation": "other", "nn_generation": None},
]


def paper(folder, **options):
    """An expert of the paper's JSON lines."""
    path = folder / "x.jsonl"
    path.write_text("\n".join(map(json.dumps, RECORDS)), encoding="utf-8")
    return RecordedExpert(setting(classes=()), path=path, **options)


@pytest.mark.parametrize(
    ("key", "items", "texts", "seconds"),
    [
        (None, ["two", "one"], ["large", "big"], [None, 1.5]),
        ("generation", ["one"], ["big"], [1.5]),
        ("nn_generation", ["three", "one"], [None, "small"], [None, 0.5]),
        ("t0", ["two"], ["mine"], [2]),
    ],
)
def test_the_papers_records_by_the_key_of_the_summary(tmp_path, key, items, texts, seconds):
    answers = paper(tmp_path, key=key).answer(examples(items))
    assert answers["text"].to_pylist() == texts
    assert answers["seconds"].to_pylist() == seconds
    assert answers["expert"].to_pylist() == ["tiny"] * len(items)
    assert [error is None for error in answers["error"].to_pylist()] == [text is not None for text in texts]
    said = sum((key or "generation") in record for record in RECORDS)
    assert schema.meta_of(answers).get("unmatched", 0) == said - len(items)


def test_seconds_are_stated_for_answers_that_have_none(tmp_path):
    everything = examples(["one", "two", "three"])
    assert paper(tmp_path, seconds=1.44).answer(everything)["seconds"].to_pylist() == pytest.approx([1.5, 1.44, 1.44])
    table = recorded(["id0"])
    assert RecordedExpert(setting(), table=table, seconds=9).answer(examples(["x"]))["seconds"].to_pylist() == [0]
    without = table.set_column(table.schema.get_field_index("seconds"), "seconds", pa.nulls(1, pa.float32()))
    assert RecordedExpert(setting(), table=without, seconds=9).answer(examples(["x"]))["seconds"].to_pylist() == [9]


def test_a_key_that_no_record_has_and_one_that_an_example_lacks(tmp_path):
    with pytest.raises(ConfigError) as caught:
        paper(tmp_path, key="nn_generations").answer(examples(["one"]))
    assert str(caught.value) == (
        f"{tmp_path / 'x.jsonl'}: Unknown key of an answer 'nn_generations'. Known: generation, ground_truth, input, "
        "nn_generation, nn_time, t0, t0_time, time. Did you mean 'nn_generation'?"
    )
    with pytest.raises(DataError, match=r"2 of 3 examples have no record with 't0' \(first id id0\)"):
        paper(tmp_path, key="t0").answer(examples(["one", "two", "three"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": -1}, "seconds is -1. Allowed: null or a number >= 0."),
        ({"seconds": "2"}, "seconds is '2'. Allowed: null or a number >= 0."),
        (
            {"table": recorded(["id0"]), "key": "t0"},
            "key is 't0'. Allowed: null, or a key of a file whose name ends in .json or .jsonl.",
        ),
    ],
)
def test_options_that_cannot_be_meant(options, message):
    with pytest.raises(ConfigError) as caught:
        RecordedExpert(setting(), **options).answer(examples(["x"]))
    assert str(caught.value) == f"Expert 'tiny': {message}"
