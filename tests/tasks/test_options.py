"""Which predictions reach the stages after `generate`, and what of them."""

import pytest

from askless import config, schema
from tasks.options import drop_unlisted, reproducible
from tests.pipeline import LLM, small_params, write_params


@pytest.fixture
def answers():
    """Two answers that took half a second each."""
    columns = {"id": ["a", "b"], "expert": [LLM] * 2, "label": ["0", "1"], "seconds": [0.5, 0.5]}
    return schema.table("predictions", columns, {"model": "m"})


@pytest.mark.parametrize(
    ("section", "change", "stay"),
    [
        ("costs", {}, False),
        ("costs", {"prices": {LLM: {"usd_per_1k_answers": 1.0}}}, False),
        ("costs", {"prices": {LLM: {"usd_per_hour": 1.0}}}, True),
        ("costs", {"unit": "seconds"}, True),
        ("experts", {LLM: {"backend": "recorded", "path": "said.parquet"}}, True),
    ],
)
def test_measured_seconds_stay_where_cost_counts_them_and_nowhere_else(tmp_path, answers, section, change, stay):
    params = small_params()
    params[section].update(change)
    settings = config.load(write_params(tmp_path, params))
    found = reproducible(settings, LLM, answers)
    assert found["seconds"].to_pylist() == ([0.5, 0.5] if stay else [None, None])
    assert found.drop_columns("seconds").equals(answers.drop_columns("seconds"))
    assert schema.meta_of(found) == schema.meta_of(answers)


def test_answers_of_an_llm_that_is_no_longer_listed_are_removed(tmp_path):
    for name in (LLM, "demo-s"):
        (tmp_path / f"{name}.parquet").write_bytes(b"answers")
    assert drop_unlisted.fn(write_params(tmp_path, small_params()), str(tmp_path)) == ["demo-s"]
    assert [path.name for path in tmp_path.glob("*.parquet")] == [f"{LLM}.parquet"]
