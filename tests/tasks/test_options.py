"""What stages read of the experts' section, and which predictions reach them."""

import json

import pytest

from askless import config, schema
from tasks.options import drop_unlisted, reproducible, write_options
from tests.pipeline import LLM, committed_params, small_params, write_params


@pytest.fixture
def answers():
    """Two answers that took half a second each."""
    columns = {"id": ["a", "b"], "expert": [LLM] * 2, "label": ["0", "1"], "seconds": [0.5, 0.5]}
    return schema.table("predictions", columns, {"model": "m"})


def test_each_stage_has_a_file_of_those_it_asks_alone(tmp_path):
    params = small_params("xsum")
    params["base"]["llms"] = [LLM, "demo-s"]
    params["tasks"]["xsum"].update(quality="judge", judge="demo-l")
    params["costs"]["prices"]["demo-s"] = {"usd_per_hour": 1.0}
    write_options.fn("xsum", write_params(tmp_path, params), str(tmp_path / "experts"))
    files = sorted(path for path in (tmp_path / "experts").rglob("*.json"))
    kept = {str(path.relative_to(tmp_path / "experts")): json.loads(path.read_text()) for path in files}
    entries = committed_params()["experts"]
    judge, own = {"demo-l": entries["demo-l"]}, {name: entries[name] for name in ("extractive", "lead")}
    assert kept == {
        f"generate/{LLM}.json": {"expert": entries[LLM], "judge": judge, "seconds": False},
        "generate/demo-s.json": {"expert": entries["demo-s"], "judge": judge, "seconds": True},
        "train.json": {"experts": own, "judge": judge},
        "evaluate.json": {**own, LLM: entries[LLM], "demo-s": entries["demo-s"]},
    }


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
