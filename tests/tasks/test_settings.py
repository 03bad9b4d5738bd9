"""What each stage reads of params.yaml, and what is refused before anybody is asked."""

import json

import pytest

from askless import config
from askless.errors import ConfigError
from tasks.settings import write_settings
from tests.pipeline import LLM, committed_params, small_params, write_params


def written(folder, params, task="xsum"):
    """The files of the stage."""
    write_settings.fn(task, write_params(folder, params), str(folder / "data"))
    made = folder / "data/settings" / task
    files = sorted(path for path in made.rglob("*.json"))
    return {str(path.relative_to(made)): json.loads(path.read_text()) for path in files}


def test_each_stage_has_a_file_of_the_experts_it_asks_alone(tmp_path):
    params = small_params("xsum")
    params["base"]["llms"] = [LLM, "demo-s"]
    params["tasks"]["xsum"].update(quality="judge", judge="demo-l", llms=[LLM])
    params["costs"]["prices"][LLM] = {"usd_per_hour": 1.0}
    kept, entries = written(tmp_path, params), committed_params()["experts"]
    assert set(kept) == {
        "prepare.json", "embed.json", f"generate/{LLM}.json", "generate/demo-s.json", "train.json", "evaluate.json"
    }  # fmt: skip
    small = {name: entries[name] for name in ("extractive", "lead")}
    asked = {"options": entries[LLM], "prompt": "xsum"}
    assert (kept[f"generate/{LLM}.json"]["expert"], kept[f"generate/{LLM}.json"]["seconds"]) == (asked, True)
    # An LLM that the task does not list is asked nothing.
    assert (kept["generate/demo-s.json"]["expert"], kept["generate/demo-s.json"]["seconds"]) == (None, False)
    assert (kept["train.json"]["experts"], kept["evaluate.json"]["experts"]) == (small, {**small, LLM: asked})
    assert {kept[name]["judge"]["demo-l"]["options"]["model"] for name in ("train.json", "evaluate.json")} == {"demo:l"}


def test_an_llm_without_a_price_is_refused_before_it_is_asked_and_a_small_expert_costs_nothing(tmp_path):
    params = small_params()
    del params["costs"]["prices"][LLM], params["costs"]["prices"]["linear"]
    with pytest.raises(ConfigError, match=rf"^costs.prices.{LLM}: missing, and the model is not among the listed ones"):
        written(tmp_path, params, "olhs")
    params["costs"]["prices"][LLM] = {}
    costs = written(tmp_path, params, "olhs")["train.json"]["costs"]
    assert costs["prices"]["linear"]["source"] == config.FREE
    params["costs"]["unit"] = "seconds"
    del params["costs"]["prices"][LLM]
    written(tmp_path, params, "olhs")


def test_all_that_is_wrong_with_experts_and_policies_is_told_at_once_by_key(tmp_path):
    params = small_params()
    params["experts"][LLM]["dtpe"] = "float32"
    params["experts"]["linear"]["backend"] = "linar"
    params["train"]["olhs"]["baselines"] = ["linear", "majorty"]
    params["policies"]["olhs"]["random"]["kind"] = "randm"
    params["train"]["olhs"]["teams"]["team"]["epoch"] = 3
    with pytest.raises(ConfigError) as error:
        written(tmp_path, params, "olhs")
    starts = [line.split(". Known")[0] for line in str(error.value).splitlines()]
    assert starts == [
        "experts.linear: Unknown backend of expert 'linear' 'linar'",
        "experts.majorty: Unknown backend of expert 'majorty' 'majorty'",
        f"experts.{LLM}: Unknown option of expert '{LLM}' 'dtpe'",
        "policies.olhs.random: Unknown kind of policy 'random' 'randm'",
        "train.olhs.teams.team: Unknown option of policy 'team' 'epoch'",
    ]


def test_what_learns_while_it_answers_is_no_headline_and_needs_labels(tmp_path):
    params = small_params(evaluate={"headline": "bandit"})
    with pytest.raises(ConfigError, match="evaluate.olhs.headline: 'bandit' learns while it answers"):
        written(tmp_path, params, "olhs")
    params = small_params("xsum", policies={"learner": {"kind": "bandit"}})
    with pytest.raises(ConfigError, match="policies.xsum.learner: it learns from labels. Allowed: a task of class"):
        written(tmp_path, params)
