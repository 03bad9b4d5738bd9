"""An LLM's answers to every example, asked once."""

import shutil

import pytest

from deferral import schema
from deferral.errors import ConfigError
from tasks.generate import answer_examples
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
