"""docs/extending.md, "Add an expert", done to the letter."""

import pytest
import yaml

from askless import experts, policies
from askless.bundles.bundle import Bundle
from askless.config import Price
from askless.costs import CostModel
from askless.errors import ConfigError
from askless.panel import Panel
from tests.extending import block, installed
from tests.helpers import examples

TRAIN = {"0": "a fine day at sea", "1": "you rotten old fool", "2": "the fool at sea"}


@pytest.fixture
def package(tmp_path, monkeypatch):
    with installed("Add an expert", tmp_path / "site", monkeypatch) as home:
        yield home


def test_an_expert_of_another_package_learns_answers_and_travels_in_a_bundle(package, tmp_path):
    params = yaml.safe_load(block("Add an expert", "yaml"))
    ((name, options),) = params["experts"].items()
    setting = experts.Setting(name, "posts", ("0", "1"))
    expert = experts.build(setting, options)
    assert isinstance(expert, experts.TrainedExpert)
    assert (type(expert).__module__, expert.options()) == ("word_counts", {"least": 1})
    train = examples(["0", "1", "1"], text=list(TRAIN.values()))
    asked = examples(["0", "1", None], text=["a day", "old fool", "unheard of"])
    table = expert.fit(train, train).answer(asked)
    assert table["label"].to_pylist() == ["0", "1", None]
    assert table["error"].to_pylist() == [None, None, "no word of it is known"]

    prices = {each: Price(**price) for each, price in params["costs"]["prices"].items()} | {"large": Price()}
    panel = Panel(train, {name: expert, "large": expert}, CostModel("usd", prices), ("0", "1"))
    policy = policies.build("random", {}, experts=(name, "large")).fit(panel, panel)
    Bundle.of(policy, ("0", "1"), small=expert).save(tmp_path / "bundle")
    loaded = Bundle.load(tmp_path / "bundle")
    assert loaded.small is not None
    assert loaded.small.answer(asked).equals(table)
    with pytest.raises(ConfigError, match="cannot answer with summaries. Allowed there: llm, vllm, openai, seq2seq"):
        experts.build(experts.Setting(name, "news", ()), options)


def test_a_name_that_askless_has_is_refused(package):
    about = package / "word_counts-1.dist-info" / "entry_points.txt"
    about.write_text("[askless.experts]\nlinear = word_counts:WordCountExpert\n")
    with pytest.raises(ConfigError, match="Package word-counts brings 'linear' .* a name that askless has"):
        experts.known()
