import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askless.config import Costs, Price
from askless.costs import CostModel
from askless.errors import ConfigError, DataError
from tests.helpers import predictions

ANSWERS = predictions(
    ["0", "1", None], prompt_tokens=[1000, 500, 0], completion_tokens=[10, 0, 2], seconds=[0.5, 1.0, 0.25]
)
amounts = st.floats(0, 1e3)
RATES = ("usd_per_1m_prompt_tokens", "usd_per_1m_completion_tokens", "usd_per_hour", "usd_per_1k_answers")
prices = st.builds(Price, **dict.fromkeys(RATES, amounts))


@pytest.mark.parametrize(
    ("price", "dollars"),
    [
        (Price(usd_per_1m_prompt_tokens=2.0), [0.002, 0.001, 0.0]),
        (Price(usd_per_1m_completion_tokens=5.0), [0.00005, 0.0, 0.00001]),
        (Price(usd_per_hour=3.6), [0.0005, 0.001, 0.00025]),
        (Price(usd_per_1k_answers=4.0), [0.004, 0.004, 0.004]),
        (Price(usd_per_1m_prompt_tokens=2.0, usd_per_1k_answers=4.0), [0.006, 0.005, 0.004]),
        (Price(), [0.0, 0.0, 0.0]),
    ],
)
def test_dollars_are_tokens_and_seconds_at_their_price(price, dollars):
    got = CostModel(prices={"small": price}).price(ANSWERS, "small")
    np.testing.assert_allclose(got, dollars, rtol=1e-12)


def test_the_same_answers_cost_something_else_at_another_price():
    cheap, expensive = (CostModel(prices={"llm": Price(usd_per_1m_prompt_tokens=p)}) for p in (1.0, 3.0))
    np.testing.assert_allclose(3 * cheap.price(ANSWERS, "llm"), expensive.price(ANSWERS, "llm"))


def test_what_batches_would_save_is_told_where_they_cost_less():
    price = Price(usd_per_1m_prompt_tokens=2.0, usd_per_hour=0.0, batch=Price(usd_per_1m_prompt_tokens=1.0))
    costs = CostModel(prices={"llm": price, "dear": Price(batch=price), "own": Price(usd_per_1k_answers=1.0)})
    assert costs.by_batches(ANSWERS, "llm") == pytest.approx((1.0, 0.5))
    assert [costs.by_batches(ANSWERS, name) for name in ("dear", "own", "unknown")] == [None, None, None]
    batched = predictions(["0", "1"], prompt_tokens=[1000, 500], batched=[True, True])
    assert costs.by_batches(batched, "llm") is None


def test_tokens_from_a_cache_have_a_price_of_their_own():
    answers = predictions(["0", "1", "0"], prompt_tokens=[1000, 1000, 1000], cached_tokens=[800, None, 2000])
    price = Price(usd_per_1m_prompt_tokens=2.0, usd_per_1m_cached_tokens=0.5)
    got = CostModel(prices={"llm": price}).price(answers, "llm")
    np.testing.assert_allclose(got, [0.0004 + 0.0004, 0.002, 0.0005])
    price = Price(usd_per_1m_prompt_tokens=2.0)
    np.testing.assert_allclose(CostModel(prices={"llm": price}).price(answers, "llm"), 0.002)


@pytest.mark.parametrize(
    ("more", "dollars"),
    [
        ({}, [2000e-6 + 1000e-6] * 3),
        ({"usd_per_1m_cache_write_tokens": 3.0}, [2000e-6 + 500e-6 + 1000e-6, 3000e-6, 3000e-6]),
        ({"usd_per_1m_reasoning_tokens": 20.0}, [2000e-6 + 1000e-6, 3000e-6, 2000e-6 + 1900e-6]),
        ({"batch": {"usd_per_1m_prompt_tokens": 1.0}}, [3000e-6, 1000e-6, 3000e-6]),
    ],
)
def test_each_kind_of_token_and_batches_have_prices_of_their_own(more, dollars):
    answers = predictions(
        ["0", "1", "0"],
        prompt_tokens=[1000] * 3,
        completion_tokens=[100] * 3,
        cache_write_tokens=[500, None, None],
        reasoning_tokens=[None, None, 90],
        batched=[None, True, False],
    )
    price = Price(usd_per_1m_prompt_tokens=2.0, usd_per_1m_completion_tokens=10.0, **more)
    np.testing.assert_allclose(CostModel(prices={"llm": price}).price(answers, "llm"), dollars)
    assert price.most == (
        max(2.0, more.get("usd_per_1m_cache_write_tokens", 0)) / 1e6,
        max(10.0, more.get("usd_per_1m_reasoning_tokens", 0)) / 1e6,
    )


def test_the_billed_price_wins_row_by_row():
    answers = predictions(["0", "1", "0"], cost_usd=[0.5, None, 0.0], prompt_tokens=[1000, 1000, 1000])
    model = CostModel(prices={"llm": Price(usd_per_1m_prompt_tokens=1.0)})
    assert model.price(answers, "llm").tolist() == [0.5, 0.001, 0.0]


def test_a_wholly_billed_expert_needs_no_price():
    assert CostModel().price(predictions(["0"], cost_usd=[0.25]), "llm").tolist() == [0.25]


def test_units():
    assert CostModel("seconds").price(ANSWERS, "llm").tolist() == [0.5, 1.0, 0.25]
    assert CostModel("tokens").price(ANSWERS, "llm").tolist() == [1010.0, 500.0, 2.0]


def test_an_unknown_unit():
    with pytest.raises(ConfigError) as error:
        CostModel("secs")
    assert str(error.value) == ("Unknown cost unit 'secs'. Known: seconds, tokens, usd. Did you mean 'seconds'?")


def test_an_expert_without_price_or_bill():
    with pytest.raises(ConfigError) as error:
        CostModel(prices={"b": Price(), "a": Price()}).price(ANSWERS, "llm")
    assert str(error.value) == (
        "Expert 'llm' has no price and its answers carry no cost_usd. Priced: a, b. "
        "Add costs.prices.llm to params.yaml."
    )
    with pytest.raises(ConfigError, match=r"Priced: none\."):
        CostModel().price(ANSWERS, "llm")


@pytest.mark.parametrize(
    ("model", "column"),
    [
        (CostModel("seconds"), "seconds"),
        (CostModel("tokens"), "prompt_tokens"),
        (CostModel(prices={"llm": Price(usd_per_hour=1.0)}), "seconds"),
        (CostModel(prices={"llm": Price(usd_per_1m_completion_tokens=1.0)}), "completion_tokens"),
    ],
)
def test_what_is_priced_must_have_been_measured(model, column):
    answers = predictions(["0", "1", "0"], **{column: [1, None, None]})
    with pytest.raises(DataError) as error:
        model.price(answers, "llm")
    assert str(error.value) == (
        f"predictions of llm: '{column}', which cost is counted by, is null in 2 of 3 rows. "
        "Allowed: a measured value in every row. Measure it, price the expert otherwise, or change costs.unit."
    )


def test_what_is_not_priced_need_not_have_been_measured():
    model = CostModel(prices={"llm": Price(usd_per_1k_answers=1.0)})
    assert model.price(predictions(["0"]), "llm").tolist() == [0.001]


def test_no_answers_cost_nothing():
    assert CostModel().price(predictions([]), "llm").tolist() == []


def test_the_deciders_own_seconds():
    priced = CostModel(prices={"decider": Price(usd_per_hour=7.2)})
    assert priced.compute(5.0) == pytest.approx(0.01)
    assert CostModel().compute(5.0) == 0.0
    assert CostModel("seconds").compute(5.0) == 5.0
    assert CostModel("tokens").compute(5.0) == 0.0


def test_the_costs_section_becomes_a_cost_model():
    model = CostModel.of(Costs(unit="usd", prices={"llm": Price(usd_per_1k_answers=2.0)}))
    assert model == CostModel("usd", {"llm": Price(usd_per_1k_answers=2.0)})


@given(first=prices, second=prices)
def test_cost_is_linear_in_the_price(first, second):
    both = Price(**{k: getattr(first, k) + getattr(second, k) for k in RATES})
    parts = [CostModel(prices={"e": p}).price(ANSWERS, "e") for p in (first, second, both)]
    np.testing.assert_allclose(parts[0] + parts[1], parts[2], rtol=1e-9, atol=1e-15)
    assert (parts[2] >= 0).all()
