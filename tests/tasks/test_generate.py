"""An LLM's answers to every example, asked once."""

import shutil

import pytest

from deferral import schema
from deferral.errors import ConfigError, ExpertError
from deferral.rouge import rouge
from tasks.data import obtain_raw, prepare_examples
from tasks.evaluate import evaluate_policies
from tasks.generate import answer_examples
from tasks.train import train_expert, train_team
from tests.document_params import TASK, document_params
from tests.pipeline import LLM, small_params, write_params

EXAMPLES = "data/prepared/olhs/examples.parquet"
ANSWERS = f"data/predictions/olhs/generated/{LLM}.parquet"


def test_every_example_has_one_measured_answer(built):
    examples = schema.read(built / EXAMPLES, "examples")
    predictions = schema.read(built / ANSWERS, "predictions", classes=("0", "1"))
    assert predictions["id"].to_pylist() == examples["id"].to_pylist()
    assert set(predictions["expert"].to_pylist()) == {LLM}
    assert all(len(p) == 2 and abs(sum(p) - 1) < 1e-3 for p in predictions["proba"].to_pylist())
    assert min(predictions["prompt_tokens"].to_pylist()) > 0
    right = sum(a == b for a, b in zip(predictions["label"].to_pylist(), examples["label"].to_pylist(), strict=True))
    assert right > 0.65 * examples.num_rows
    assert schema.meta_of(predictions)["classes"] == ["0", "1"]


def test_what_was_answered_is_not_asked_again_even_at_another_price(tmp_path, built):
    shutil.copytree(built / "data/answers/olhs", tmp_path / "answers")
    (kept,) = (tmp_path / "answers").glob(f"{LLM}*.sqlite")
    before = kept.read_bytes()
    settings = small_params()
    settings["costs"]["prices"][LLM] = {"usd_per_1m_prompt_tokens": 1000.0}
    params, out = write_params(tmp_path, settings), tmp_path / "out.parquet"
    answer_examples.fn("olhs", LLM, params, str(built / EXAMPLES), str(tmp_path / "answers"), str(out))
    # Measured seconds are in the file: asked again, they would differ.
    assert out.read_bytes() == (built / ANSWERS).read_bytes()
    assert kept.read_bytes() == before


def test_an_unknown_llm_lists_the_known_ones(tmp_path, built):
    params = write_params(tmp_path, small_params())
    with pytest.raises(ConfigError, match=r"'demo-xxs'.*demo-xs"):
        answer_examples.fn("olhs", "demo-xxs", params, str(built / EXAMPLES), str(tmp_path), str(tmp_path / "o"))
    assert not (tmp_path / "o").exists()


@pytest.fixture(scope="module")
def summarised(tmp_path_factory):
    folder = tmp_path_factory.mktemp("news")
    settings = document_params(source={"kind": "demo-documents", "rows": 40, "seed": 3})
    settings["experts"][LLM]["mode"] = "text"
    params, examples, answers = write_params(folder, settings), folder / "examples.parquet", folder / "answers.parquet"
    raw = obtain_raw.fn(TASK, params, str(folder / "raw"))
    prepare_examples.fn(TASK, params, raw, str(examples))
    answer_examples.fn(TASK, LLM, params, str(examples), str(folder / "paid"), str(answers))
    return params, schema.read(examples, "examples"), schema.read(answers, "predictions")


def test_summaries_are_written_and_measured_against_their_references(summarised):
    _, examples, predictions = summarised
    assert predictions["label"].null_count == predictions.num_rows == examples.num_rows
    assert min(map(len, predictions["text"].to_pylist())) > 0
    quality = rouge(predictions["text"].to_pylist(), examples["reference"].to_pylist())
    assert predictions["quality"].to_pylist() == pytest.approx(quality.tolist(), abs=1e-6)
    # The demo's smallest LLM copies facts: far above chance, and not perfect.
    assert 0.3 < quality.mean() < 0.99
    assert max(predictions["logprob"].to_pylist()) <= 0


@pytest.mark.parametrize(
    ("stage", "call"),
    [
        ("train", lambda params: train_expert.fn(TASK, "mlp", params, "e", "v", "m", "o")),
        ("train", lambda params: train_team.fn(TASK, "team", params, "e", "v", "p", "m")),
        ("evaluate", lambda params: evaluate_policies.fn(TASK, params, "e", "p", "m", "v", "o", "d")),
    ],
)
def test_a_stage_that_knows_classes_only_says_so(summarised, stage, call):
    with pytest.raises(ConfigError, match=f"Stage '{stage}' got task 'news' of kind 'summarisation'. Allowed so far"):
        call(summarised[0])


def test_labels_cannot_be_scored_where_there_are_no_classes(summarised, tmp_path):
    params = write_params(tmp_path, document_params())
    schema.write(summarised[1], tmp_path / "examples.parquet", "examples")
    with pytest.raises(ExpertError, match="mode label got a task without classes. Allowed there: mode: text"):
        answer_examples.fn(TASK, LLM, params, str(tmp_path / "examples.parquet"), str(tmp_path), str(tmp_path / "o"))
