"""The documented params file on real posts with GPT-3.5's recorded answers, through the real tasks."""

import json
from pathlib import Path

import pytest
import yaml

from tests.pipeline import answer_examples, working_in
from tests.realdata import real_folder

pytestmark = [pytest.mark.realdata, pytest.mark.slow]
EXAMPLE = Path(__file__).parents[2] / "examples" / "hate-gpt35.yaml"
LLM = "gpt-35-turbo"


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    folder = real_folder()
    from tasks.data import obtain_raw, prepare_examples, publish
    from tasks.evaluate import evaluate_policies
    from tasks.train import train_expert, train_team
    from tasks.validation import validate_examples, validate_predictions
    from tasks.vectors import build_vectors

    settings = yaml.safe_load(EXAMPLE.read_text("utf-8"))
    train = settings["train"]["hate"]
    train["seeds"] = [67, 68]
    train["teams"] = {t: train["teams"][t] for t in ("team_after_small", "team_alternating")}
    settings["evaluate"]["hate"] |= {"bootstrap": 200, "sweep": 11}
    where = tmp_path_factory.mktemp("hate")
    (where / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), "utf-8")
    examples, predictions, checks = "data/examples.parquet", "data/predictions", "checks"
    common = ("hate", "params.yaml", examples)
    with pytest.MonkeyPatch.context() as patch, working_in(where):
        patch.setenv("ASKLESS_MIRROR", str(folder))
        raw = obtain_raw.fn("hate", "params.yaml", "data/raw/hate")
        prepare_examples.fn("hate", "params.yaml", raw, "data/candidate.parquet")
        validate_examples.fn("hate", "params.yaml", "data/candidate.parquet", examples, checks)
        publish.fn("data/candidate.parquet", examples)
        build_vectors.fn("hate", "params.yaml", "data/raw/vectors", "data/vectors")
        answered = f"{predictions}/generated/{LLM}.parquet"
        answer_examples("hate", LLM, "params.yaml", examples, "data/answers", answered)
        validate_predictions.fn("hate", LLM, "params.yaml", answered, checks)
        for expert in ("mlp", "linear", "majority"):
            out = f"{predictions}/trained/{expert}"
            train_expert.fn("hate", expert, "params.yaml", examples, "data/vectors", "models", out)
        for team in train["teams"]:
            train_team.fn("hate", team, "params.yaml", examples, "data/vectors", predictions, "models")
        evaluate_policies.fn(*common, predictions, "models", "data/vectors", "reports", "data/decisions.parquet")
        return {
            "metrics": json.loads(Path("reports/metrics.json").read_text("utf-8")),
            "page": Path("reports/report.html").read_text("utf-8"),
        }


def test_which_expert_is_better_depends_on_the_measure_and_the_report_says_so(summary):
    small, llm = (summary["metrics"]["experts"][e] for e in ("mlp", LLM))
    assert small["accuracy"]["ci"][0] > llm["accuracy"]["ci"][1]
    assert llm["f1_positive"]["ci"][0] > small["f1_positive"]["ci"][1]
    assert summary["page"].count("depends on the measure") >= 1


def test_the_team_beats_the_small_model_and_chance_at_forty_percent_of_the_calls(summary):
    policies = summary["metrics"]["policies"]
    at = {p: next(x for x in policies[p]["points"] if x["budget"] == 0.4) for p in ("team_after_small", "random")}
    team = at["team_after_small"]
    assert team["macro_f1"]["ci"][0] > at["random"]["macro_f1"]["ci"][1]
    assert team["accuracy"]["ci"][0] > summary["metrics"]["experts"][LLM]["accuracy"]["ci"][1]
    assert policies["team_after_small"]["auc_ci"][0] > policies["team_after_small"]["auc_line"]


def test_the_oracle_bounds_them_all(summary):
    policies = summary["metrics"]["policies"]
    best = max(x["accuracy"]["value"] for p in policies if p != "oracle" for x in policies[p]["points"])
    assert policies["oracle"]["points"][-1]["accuracy"]["value"] > best
