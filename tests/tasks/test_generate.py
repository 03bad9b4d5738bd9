"""An LLM's answers to every example, asked once."""

import shutil

import pytest

from deferral import schema
from deferral.errors import ConfigError, DataError, ExpertError
from deferral.rouge import rouge
from tasks.data import build_vectors, obtain_raw, prepare_examples
from tests.document_params import TASK, document_params
from tests.pipeline import LLM, answer_examples, small_params, write_params

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
    answer_examples("olhs", LLM, params, str(built / EXAMPLES), str(tmp_path / "answers"), str(out))
    # Measured seconds are in the file: asked again, they would differ.
    assert out.read_bytes() == (built / ANSWERS).read_bytes()
    assert kept.read_bytes() == before


def test_an_unknown_llm_lists_the_known_ones(tmp_path, built):
    params = write_params(tmp_path, small_params())
    with pytest.raises(ConfigError, match=r"'demo-xxs'.*demo-xs"):
        answer_examples("olhs", "demo-xxs", params, str(built / EXAMPLES), str(tmp_path), str(tmp_path / "o"))
    assert not (tmp_path / "o").exists()


@pytest.fixture(scope="module")
def news(tmp_path_factory):
    folder = tmp_path_factory.mktemp("news")
    settings = document_params(source={"kind": "demo-documents", "rows": 40, "seed": 3})
    params, examples, answers = write_params(folder, settings), folder / "examples.parquet", folder / "answers.parquet"
    raw = obtain_raw.fn(TASK, params, str(folder / "raw"))
    prepare_examples.fn(TASK, params, raw, str(examples))
    answer_examples(TASK, LLM, params, str(examples), str(folder / "paid"), str(answers))
    return folder, schema.read(examples, "examples"), schema.read(answers, "predictions")


def again(news, **task):
    """The same answers, which are paid for, under another setting of the task."""
    folder = news[0]
    params = write_params(folder, document_params(**task), "other.yaml")
    where = [str(folder / name) for name in ("examples.parquet", "paid", "again.parquet", "vectors")]
    answer_examples(TASK, LLM, params, *where)
    return schema.read(where[2], "predictions")


def test_summaries_are_written_and_measured_against_their_references(news):
    _, examples, predictions = news
    assert predictions["label"].null_count == predictions.num_rows == examples.num_rows
    assert min(map(len, predictions["text"].to_pylist())) > 0
    quality = rouge(predictions["text"].to_pylist(), examples["reference"].to_pylist())
    assert predictions["quality"].to_pylist() == pytest.approx(quality.tolist(), abs=1e-6)
    # The demo's smallest LLM copies facts: far above chance, and not perfect.
    assert 0.3 < quality.mean() < 0.99
    assert max(predictions["logprob"].to_pylist()) <= 0


@pytest.mark.parametrize(
    ("quality", "kind", "stems"), [("rouge2", "rouge2", False), ("rougeL_stemmed", "rougeL", True)]
)
def test_summaries_are_measured_by_the_quality_of_the_task(news, quality, kind, stems):
    predictions = again(news, quality=quality)
    wanted = rouge(predictions["text"].to_pylist(), news[1]["reference"].to_pylist(), kind, stems)
    assert predictions["quality"].to_pylist() == pytest.approx(wanted.tolist(), abs=1e-6)
    assert predictions["text"] == news[2]["text"]


def test_nearness_in_meaning_takes_the_vectors_of_the_task(news):
    with pytest.raises(DataError, match="no vectors.npy. Allowed: a folder of word vectors. Run the stage"):
        again(news, quality="embedding")
    params = write_params(news[0], document_params())
    build_vectors.fn(TASK, params, str(news[0] / "raw-vectors"), str(news[0] / "vectors"))
    quality = again(news, quality="embedding")["quality"].to_pylist()
    assert 0.8 < sum(quality) / len(quality) < 1
    assert quality != pytest.approx(news[2]["quality"].to_pylist())


def test_labels_cannot_be_scored_where_there_are_no_classes(news, tmp_path):
    settings = document_params()
    settings["experts"][LLM]["mode"] = "label"
    params = write_params(tmp_path, settings)
    schema.write(news[1], tmp_path / "examples.parquet", "examples")
    with pytest.raises(ExpertError, match="mode label got a task without classes"):
        answer_examples(TASK, LLM, params, str(tmp_path / "examples.parquet"), str(tmp_path), str(tmp_path / "o"))
