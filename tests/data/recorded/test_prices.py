"""In which unit recorded answers are priced."""

from pathlib import Path

import pytest

from askless.config import Price
from askless.data.recorded.prices import cost_model, read_prices
from askless.errors import ConfigError, DataError
from tests.helpers import predictions

LABELS = ["0", "1"]


@pytest.mark.parametrize(
    "text", ["prices: {e: {usd_per_hour: 3}}", "costs: {unit: usd, prices: {e: {usd_per_hour: 3}}}"]
)
def test_prices_of_a_file_or_of_its_costs(tmp_path, text):
    (tmp_path / "p.yaml").write_text(text)
    assert read_prices(tmp_path / "p.yaml") == {"e": Price(usd_per_hour=3)}


def test_the_prices_of_params_yaml_will_do():
    assert "demo-xs" in read_prices(Path(__file__).parents[3] / "params.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is not YAML: while parsing a flow node"),
        ("costs: 3", "has no prices. Write `costs: {prices: {EXPERT: {usd_per_1k_answers: 0.5}}}`."),
        (
            "prices: {e: {usd_per_day: 3}}",
            "prices.e.usd_per_day: Unexpected keyword argument. Known: usd_per_1m_prompt_",
        ),
        (
            "prices: {e: {usd_per_hour: -3}}",
            "prices.e.usd_per_hour: Input should be greater than or equal to 0. Known:",
        ),
    ],
)
def test_prices_that_cannot_be_read(tmp_path, text, said):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_prices(tmp_path / "p.yaml")
    assert said in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(
        ConfigError, match=r"none\.yaml: No such file or directory\. Pass the path of a readable YAML file\.$"
    ):
        read_prices(tmp_path / "none.yaml")


def test_billed_dollars_come_first_then_prices_then_tokens_then_seconds():
    billed = predictions(LABELS, cost_usd=[1.0, 2.0], prompt_tokens=[1, 1], completion_tokens=[1, 1], seconds=[1, 1])
    tokens = predictions(LABELS, prompt_tokens=[1, 1], completion_tokens=[1, 1], seconds=[1, 1])
    seconds = predictions(LABELS, prompt_tokens=[1, 1], seconds=[1, 1])
    price = {"e": Price(usd_per_1k_answers=1)}
    assert cost_model({"e": billed})[0].unit == "usd"
    assert cost_model({"e": tokens}, price)[0].unit == "usd"
    assert cost_model({"e": tokens})[0].unit == "tokens"
    assert cost_model({"e": tokens, "f": seconds})[0].unit == "seconds"


def test_some_with_dollars_and_some_without_are_not_mixed():
    billed, tokens = predictions(LABELS, cost_usd=[1.0, None]), predictions(LABELS, seconds=[1, 1])
    with pytest.raises(DataError, match=r"^cost: unknown for 1 of 2 answers of 'a', 2 of 2 answers of 'b'\. Allowed: "):
        cost_model({"a": billed, "b": tokens})
