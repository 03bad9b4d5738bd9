"""The paper's JSON lines of two systems' summaries, through every stage and back."""

import json

import pytest
import yaml

from askless import schema
from askless.data.demo.documents import documents
from askless.data.recorded.paper_files import dump, load
from askless.errors import ConfigError, DataError
from tasks.data import obtain_raw, prepare_examples, publish
from tasks.evaluate import evaluate_policies
from tasks.train import train_expert
from tasks.validation import validate_examples, validate_predictions
from tasks.vectors import build_vectors
from tests.pipeline import ROOT, answer_examples, working_in, write_params

TASK, LLM, SMALL, SECONDS = "xsum", "brio", "convs2s", (1.44, 0.42)
EXAMPLES, PREDICTIONS = f"data/prepared/{TASK}/examples.parquet", f"data/predictions/{TASK}"


def records(rows=120):
    """Documents with a good summary, which is timed in places, and a worse one."""
    made = documents(rows, 5)
    for number, document in enumerate(made):
        small = " ".join(document["reference"].split()[number % 5 :])
        record = {"id": number, "input": document["text"], "ground_truth": document["reference"]}
        record |= {"generation": document["reference"], "nn_generation": small}
        yield record | ({"time": 2.5} if number % 3 == 0 else {})


def settings(folder, **task):
    """The example that ships, on the records and the demo's word vectors."""
    params = yaml.safe_load((ROOT / "examples" / "xsum-recorded.yaml").read_text(encoding="utf-8"))
    params["tasks"][TASK]["source"]["path"] = str(folder / "given.jsonl")
    params["tasks"][TASK] |= {"vectors": {"kind": "demo", "rows": 500, "dim": 20}, **task}
    for expert in (LLM, SMALL):
        params["experts"][expert]["path"] = str(folder / "given.jsonl")
    params["train"][TASK]["seeds"] = [67, 68]
    params["policies"][TASK] = {"gain": {"kind": "summary_gain", "trees": 5}}
    params["evaluate"][TASK] |= {"headline": "gain", "bootstrap": 20, "sweep": 3, "budgets": [0.5]}
    return params


def prepared(folder, said, **task):
    """The path of the parameters, once documents are prepared and the LLM's answers generated, checked, published."""
    (folder / "given.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in said), encoding="utf-8")
    params = write_params(folder, settings(folder, **task))
    with working_in(folder):
        raw = obtain_raw.fn(TASK, params, f"data/raw/{TASK}")
        prepare_examples.fn(TASK, params, raw, "data/candidates/examples.parquet")
        validate_examples.fn(TASK, params, "data/candidates/examples.parquet", EXAMPLES, "checks")
        publish.fn("data/candidates/examples.parquet", EXAMPLES)
        candidate = f"data/candidates/{LLM}.parquet"
        answer_examples(TASK, LLM, params, EXAMPLES, f"data/answers/{TASK}", candidate)
        validate_predictions.fn(TASK, LLM, params, candidate, "checks")
        publish.fn(candidate, f"{PREDICTIONS}/generated/{LLM}.parquet")
    return params


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded")
    params = prepared(folder, records())
    with working_in(folder):
        build_vectors.fn(TASK, params, "data/raw/vectors", f"data/vectors/{TASK}")
        for expert in (SMALL, "lead"):
            out = f"{PREDICTIONS}/trained/{expert}"
            train_expert.fn(TASK, expert, params, EXAMPLES, f"data/vectors/{TASK}", f"models/{TASK}", out)
        where = (f"models/{TASK}", f"data/vectors/{TASK}", f"reports/{TASK}", "data/decisions.parquet")
        evaluate_policies.fn(TASK, params, EXAMPLES, PREDICTIONS, *where)
    return folder


def test_one_file_is_documents_references_and_both_experts(folder):
    given = {record["input"]: record for record in records()}
    examples = schema.read(folder / EXAMPLES, "examples")
    assert examples.num_rows == len(given)
    large = schema.read(folder / PREDICTIONS / "generated" / f"{LLM}.parquet", "predictions")
    small = schema.read(folder / PREDICTIONS / "trained" / SMALL / "seed-67.parquet", "predictions")
    for key, table, seconds in zip(("generation", "nn_generation"), (large, small), SECONDS, strict=True):
        assert table["id"].to_pylist() == examples["id"].to_pylist()
        assert table["text"].to_pylist() == [given[text][key] for text in examples["text"].to_pylist()]
        wanted = [given[text].get("time", seconds) for text in examples["text"].to_pylist()]
        assert table["seconds"].to_pylist() == pytest.approx(wanted if table is large else [SECONDS[1]] * len(wanted))
    assert large["quality"].to_pylist() == [1] * len(given)
    assert 0.5 < sum(small["quality"].to_pylist()) / len(given) < 1
    assert list((folder / PREDICTIONS / "trained" / SMALL).iterdir()) == [
        folder / PREDICTIONS / "trained" / SMALL / "seed-67.parquet"
    ]


def test_the_evaluation_prices_both_in_the_seconds_that_are_stated(folder):
    figures = json.loads((folder / "reports" / TASK / "metrics.json").read_text(encoding="utf-8"))
    assert figures["kind"] == "summarisation" and figures["quality"] == "rougeL_stemmed"
    assert figures["experts"][SMALL]["cost_per_1k"]["value"] == pytest.approx(1000 * SECONDS[1], rel=1e-4)
    assert figures["experts"][LLM]["rougeL_stemmed"]["value"] == pytest.approx(1)


def test_answers_come_back_as_the_papers_lines(folder):
    """From the pipeline's tables to lines of the paper, and from those to the same tables."""
    examples = schema.read(folder / EXAMPLES, "examples")
    large = schema.read(folder / PREDICTIONS / "generated" / f"{LLM}.parquet", "predictions")
    lines = dump(folder / "ours.jsonl", examples, large, "summaries").read_text(encoding="utf-8").splitlines()
    first = json.loads(lines[0])
    assert len(lines) == examples.num_rows
    assert (first["input"], first["generation"]) == (examples["text"][0].as_py(), large["text"][0].as_py())
    found = load(folder / "ours.jsonl", [LLM], (), "elsewhere")
    assert found.rows.select(schema.EXAMPLES.names).to_pylist() == examples.to_pylist()
    assert found.predictions.to_pylist() == large.to_pylist()


def bad(*changes):
    """The records, the first of them changed."""
    made = list(records())
    return [*({**record, **change} for record, change in zip(made, changes, strict=False)), *made[len(changes) :]]


LONG = "word " * 100_000
SAID = {
    "an empty summary": ({"generation": ""}, "1 empty summary"),
    "no summary": ({"generation": None}, "1 no answer is recorded"),
    "another script": ({"generation": "Пожар уничтожил старую мельницу"}, "1 in another script than its document"),
    "longer than its document": ({"generation": " ".join(map(str, range(100_000)))}, "1 longer than its document"),
    "a loop": ({"generation": "so it goes " * 9}, "1 repeated token loop"),
}


@pytest.mark.parametrize("fault", SAID)
def test_a_bad_summary_is_flagged_counted_and_told(tmp_path, fault):
    change, told = SAID[fault]
    prepared(tmp_path, bad(change))
    answers = schema.read(tmp_path / PREDICTIONS / "generated" / f"{LLM}.parquet", "predictions")
    assert answers.num_rows == 120
    [row] = [row for row in answers.to_pylist() if row["error"]]
    assert told == f"1 {row['error']}"
    assert row["quality"] == pytest.approx(0, abs=0.5)
    assert f"Answers with an error: {told}." in (tmp_path / "checks" / f"{LLM}.html").read_text(encoding="utf-8")


def test_documents_that_cannot_be_used_are_left_out_and_told(tmp_path):
    made = bad({"input": LONG}, {"input": " "}, {"ground_truth": ""})
    prepared(tmp_path, [*made, {**made[5], "ground_truth": "another", "generation": "another"}])
    page = (tmp_path / "checks" / "examples.html").read_text(encoding="utf-8")
    assert "Left out of 121 raw rows: 1 duplicates, 1 empty, 1 empty references, 1 too long." in page
    assert "Texts with several references: 1; the one that most rows have stays." in page
    page = (tmp_path / "checks" / f"{LLM}.html").read_text(encoding="utf-8")
    assert "Left out of the recorded answers: 3 to texts that are no example&#x27;s, 1 to a text that was ans" in page


def test_a_document_over_the_stated_length_stops_a_task_without_a_limit(tmp_path):
    with pytest.raises(DataError, match=r"column value lengths to be between \(text\): 1 of 120 rows break it"):
        prepared(tmp_path, bad({"input": LONG}), max_chars=None)


def test_answers_to_other_documents_stop_the_stage(tmp_path):
    params = prepared(tmp_path, records())
    (tmp_path / "given.jsonl").write_text(json.dumps({"input": "other", "generation": "x"}), encoding="utf-8")
    with working_in(tmp_path), pytest.raises(DataError, match="120 of 120 examples have no record"):
        answer_examples(TASK, LLM, params, EXAMPLES, "data/answers", "candidate.parquet")
    assert not (tmp_path / "candidate.parquet").exists()


def test_a_line_cut_in_half_names_itself_in_prepare_and_in_generate(tmp_path):
    params = prepared(tmp_path, records())
    whole = (tmp_path / "given.jsonl").read_text(encoding="utf-8")
    (tmp_path / "given.jsonl").write_text(whole[:-40], encoding="utf-8")
    with working_in(tmp_path):
        raw = obtain_raw.fn(TASK, params, "raw")
        for stage in (
            lambda: prepare_examples.fn(TASK, params, raw, "candidate.parquet"),
            lambda: answer_examples(TASK, LLM, params, EXAMPLES, "data/answers", "candidate.parquet"),
        ):
            with pytest.raises(DataError, match="given.jsonl: line 120: Unterminated string"):
                stage()
    assert not (tmp_path / "candidate.parquet").exists()


def test_an_unknown_quality_lists_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match=r"quality 'rougel' is none of kind 'summarisation' \(rouge1, "):
        prepared(tmp_path, records(), quality="rougel")
