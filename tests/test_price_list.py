"""Prices of listed models; figures are held against a list of this test's own."""

import sys
from datetime import time
from decimal import Decimal

import pytest
from genai_prices import data_snapshot
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from askless.config import Price
from askless.price_list import listed
from tests.test_config import load_with


def model(name, prices, *variants):
    return ModelInfo(name, ClauseEquals(name), prices=prices, price_variants=list(variants))


@pytest.fixture(autouse=True)
def two_providers(monkeypatch):
    """OpenAI, and one whose nights are cheap and whose long prompts are dear."""
    day = ModelPrice(input_mtok=TieredPrices(Decimal(4), [Tier(1000, Decimal(8))]), output_mtok=Decimal(9))
    night = ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(2))
    dark = TimeOfDateConstraint(time(1), time(23))
    owl = [ConditionalPrice(prices=day), ConditionalPrice(dark, prices=night)]
    plain = ModelPrice(input_mtok=Decimal("0.5"), output_mtok=Decimal(2), cache_read_mtok=Decimal("0.25"))
    half = PriceVariant({"processing": "batch"}, ModelPrice(input_mtok=Decimal("0.25"), output_mtok=Decimal(1)))
    rich = ModelPrice(
        input_mtok=Decimal("0.5"),
        output_mtok=Decimal(2),
        cache_write_mtok=Decimal("0.75"),
        output_reasoning_mtok=Decimal(4),
    )
    free = ModelPrice(requests_kcount=Decimal(3))
    providers = [
        Provider(
            "openai",
            "OpenAI",
            r"https://api\.openai\.com",
            models=[model("m", plain), model("calls", free), model("rich", rich, half)],
        ),
        Provider("owl", "Owl", r"https://owl\.example", models=[model("o", owl)]),
    ]
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    data_snapshot.set_custom_snapshot(data_snapshot.DataSnapshot(providers, from_auto_update=False))
    yield
    data_snapshot.set_custom_snapshot(None)


def test_a_listed_price_says_who_says_so():
    found = Price(**listed("m", None))
    assert (found.usd_per_1m_prompt_tokens, found.usd_per_1m_completion_tokens) == (0.5, 2)
    assert found.usd_per_1m_cached_tokens == 0.25
    assert found.source.startswith("genai-prices 0.") and found.source.endswith(", m of OpenAI")
    assert Price(**listed("calls", "https://api.openai.com/v1")).usd_per_1k_answers == 3


def test_prices_of_batches_and_of_each_kind_of_token_are_listed():
    found = Price(**listed("rich", None))
    assert (found.usd_per_1m_cache_write_tokens, found.usd_per_1m_reasoning_tokens) == (0.75, 4)
    batch = found.of(batch=True)
    assert (batch.usd_per_1m_prompt_tokens, batch.usd_per_1m_completion_tokens) == (0.25, 1)
    assert Price(**listed("m", None)).batch is None


def test_the_dearest_hour_and_a_short_prompt_count():
    found = Price(**listed("o", "https://owl.example/v1"))
    assert (found.usd_per_1m_prompt_tokens, found.usd_per_1m_completion_tokens) == (4, 9)


def test_what_is_not_listed_has_no_price(monkeypatch):
    assert listed("another", None) is None
    assert listed("m", "http://localhost:8000/v1") is None
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8000/v1")
    assert listed("m", None) is None
    monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", None)
    assert listed("m", "https://api.openai.com/v1") is None


@pytest.mark.parametrize(("own", "dollars"), [(None, 0.5), (0.0, 0.0), (7.0, 7.0)])
def test_parameters_take_it_where_they_state_none(tmp_path, own, dollars):
    experts = {"llm": {"backend": "openai", "model": "m"}, "small": {"backend": "mlp"}}
    prices = {} if own is None else {"llm": {"usd_per_1m_prompt_tokens": own}}
    found = load_with(tmp_path, "", experts=experts, costs={"unit": "usd", "prices": prices}).costs.prices["llm"]
    assert found.usd_per_1m_prompt_tokens == dollars and bool(found.source) == (own is None)
    other = {**experts, "llm": {"backend": "openai", "model": "another"}}
    assert "llm" not in load_with(tmp_path, "", experts=other, costs={"unit": "usd", "prices": {}}).costs.prices
