"""Totals and their intervals; that they cover as often as stated is simulated."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from askless.config import Price
from askless.errors import ConfigError, DataError
from askless.spending.forecast import Range, counted, forecast, together
from askless.spending.usage import Usage

PRICE = Price(usd_per_1m_prompt_tokens=1.0, usd_per_1m_completion_tokens=4.0)
COUNTED = Usage.counted((2, 2))
TOTALS = ("calls", "prompt_tokens", "completion_tokens", "seconds", "usd")
LENGTHS = {
    "even": lambda rng, n: rng.normal(200, 40, n).clip(10),
    "lognormal": lambda rng, n: rng.lognormal(5, 1, n),
    "pareto": lambda rng, n: (rng.pareto(2.2, n) + 1) * 80,
}


def world(rng, n, lengths):
    """Bytes of n texts, and what their answers take: tokens scatter the more, the longer a text is."""
    size = LENGTHS[lengths](rng, n)
    prompt = np.round(20 + size * rng.normal(0.25, 0.03, n).clip(0.05))
    return size, np.column_stack([prompt, rng.integers(5, 40, n), rng.gamma(2, 0.1, n), np.full(n, np.nan)])


def hits(lengths, population, looked, learnt_from, share, runs, seed):
    """How often each total lies in its 95 % interval, over so many runs of a new world each."""
    rng, found = np.random.default_rng(seed), dict.fromkeys(TOTALS, 0)
    for _ in range(runs):
        size, used = world(rng, population, lengths)
        usage = Usage.bound(100, 64).learnt(*world(rng, learnt_from, lengths))
        seen, asked = rng.choice(population, looked, replace=False), rng.random(population) < share
        got = forecast("e", usage, size[seen], asked=asked[seen], population=population, price=PRICE)
        prompt, completion, seconds, _ = used[asked].sum(axis=0)
        true = (asked.sum(), prompt, completion, seconds, (prompt + 4 * completion) / 1e6)
        for name, value in zip(TOTALS, true, strict=True):
            found[name] += covers(getattr(got, name), value)
    return found


def covers(range_, value):
    slack = 1e-9 * max(1.0, abs(value))
    return range_.low - slack <= value <= range_.high + slack


def at_least(share, runs):
    """The fewest hits that are not improbable (1 in 10,000) where the true share is `share`."""
    return int(binom.ppf(1e-4, runs, share))


@pytest.mark.parametrize(
    ("lengths", "population", "looked", "learnt_from", "share", "true"),
    [
        ("even", 2000, 2000, 40, 1.0, 0.95),
        ("even", 3000, 30, 200, 0.3, 0.95),
        ("lognormal", 3000, 200, 200, 0.3, 0.94),
    ],
)
def test_intervals_cover_as_often_as_stated(lengths, population, looked, learnt_from, share, true):
    runs = 200
    found = hits(lengths, population, looked, learnt_from, share, runs, seed=1)
    assert {name: count for name, count in found.items() if count < at_least(true, runs)} == {}


@pytest.mark.slow
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize(
    ("population", "looked", "learnt_from", "share"),
    [
        (2000, 2000, 50, 1),
        (2000, 2000, 30, 1),
        (2000, 2000, 1000, 1),
        (5000, 200, 500, 1),
        (5000, 200, 500, 0.3),
        (5000, 30, 500, 0.3),
        (1000, 500, 500, 0.3),
        (5000, 300, 500, 0.02),
        (100, 100, 30, 1),
    ],
)
def test_intervals_cover_in_every_setting(lengths, population, looked, learnt_from, share):
    # Of lengths without a third moment, and of skewed ones where all are asked or few were learnt from, they cover
    # less: docs/scale.md has the figures.
    true = {"even": 0.94, "lognormal": 0.91, "pareto": 0.91}[lengths]
    found = hits(lengths, population, looked, learnt_from, share, 2000, seed=0)
    assert {name: count for name, count in found.items() if count < at_least(true, 2000)} == {}


def test_what_is_counted_in_full_is_exact():
    got = forecast("e", COUNTED, np.array([10.0, 20.0, 30.0]), price=PRICE, kept=7)
    assert got.calls == Range(3, 3, 3)
    assert got.prompt_tokens == Range(60, 60, 60)
    assert got.completion_tokens == Range(6, 6, 6)
    assert got.usd.low == got.usd.high == pytest.approx(84e-6)
    assert math.isnan(got.seconds.value)
    assert (got.kept, got.confidence) == (7, 0.95)
    assert got.basis == (
        "Prompt tokens counted, completion tokens counted, seconds not known (fewer than 5 batches on record)."
    )


def test_a_bound_is_an_upper_end():
    got = forecast("e", Usage.counted((0, 64)), np.array([10.0, 20.0]), price=PRICE)
    assert got.prompt_tokens == Range(30, 30, 30)
    assert got.completion_tokens == Range(128, 0, 128)
    assert got.usd.low == pytest.approx(30e-6)
    assert got.usd.high == pytest.approx((30 + 4 * 128) / 1e6)


def test_tokens_are_guessed_by_bytes_and_one_for_each_at_most():
    guess = forecast("e", Usage.bound(100, 16), np.array([10.0, 20.0]), price=PRICE)
    assert guess.prompt_tokens == Range(57.5, pytest.approx(0.12 * 230), 230)
    assert guess.usd.low == pytest.approx(0.12 * 230e-6) and guess.usd.high == pytest.approx((230 + 4 * 32) / 1e6)
    some = forecast("e", Usage.bound(100, 16), np.array([10.0, 20.0]), population=20, asked=np.array([True, False]))
    assert some.prompt_tokens.high >= some.calls.high * 110


@pytest.mark.parametrize("price", [None, Price(usd_per_hour=1.0)])
def test_dollars_are_not_known_without_a_price_or_what_is_priced(price):
    assert math.isnan(forecast("e", COUNTED, np.array([10.0]), price=price).usd.value)


def test_a_tail_that_nobody_saw_may_be_there():
    """All replies on record are short, one in a hundred is as long as is allowed."""
    rng, caught = np.random.default_rng(0), 0
    for _ in range(200):
        long = rng.random(2000) < 0.01
        size, reply = np.full(2000, 100.0), np.where(long, 64, rng.integers(5, 9, 2000))
        used = np.column_stack([size, reply, np.full((2000, 2), np.nan)])
        usage = Usage.counted((0, 64)).learnt(size[:40], used[:40])
        got = forecast("e", usage, size[40:]).completion_tokens
        caught += covers(got, reply[40:].sum())
    assert caught >= at_least(0.95, 200)


def test_a_price_for_each_answer_is_counted_with_its_calls():
    got = forecast("e", COUNTED, np.full(50, 10.0), population=50, price=Price(usd_per_1k_answers=4.0))
    assert got.usd.value == pytest.approx(0.2)


def test_nothing_to_ask_costs_nothing_and_nothing_looked_at_says_nothing():
    none = forecast("e", COUNTED, np.zeros(0), price=PRICE)
    assert (none.calls, none.usd) == (Range(0, 0, 0), Range(0, 0, 0))
    blind = forecast("e", COUNTED, np.zeros(0), population=9, price=PRICE)
    assert (blind.calls.low, blind.calls.high) == (0, 9)
    assert math.isnan(blind.usd.value)


def test_where_nobody_was_asked_among_those_looked_at_some_may_be():
    got = forecast("e", COUNTED, np.full(100, 10.0), asked=np.zeros(100, bool), population=10_000, price=PRICE)
    assert got.calls.value == got.usd.value == 0
    assert 300 < got.calls.high < 400
    assert got.prompt_tokens.high == pytest.approx(10 * got.calls.high)


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({"confidence": 1.0}, ConfigError, "A forecast with confidence 1. Allowed: above 0.5 and below 1."),
        ({"population": 2}, DataError, "of 2 rows"),
        ({"asked": np.ones(2, bool)}, DataError, "asked (2,)"),
    ],
)
def test_what_cannot_be_meant(more, error, said):
    with pytest.raises(error) as caught:
        forecast("e", COUNTED, np.ones(3), **more)
    assert said in str(caught.value)


def test_plain_values():
    got = forecast("e", COUNTED, np.array([10.0]), price=PRICE)
    assert json.loads(json.dumps(got.as_dict()))["prompt_tokens"] == {"value": 10.0, "low": 10.0, "high": 10.0}


@given(st.integers(1, 60), st.data())
@settings(max_examples=40, deadline=None)
def test_the_interval_of_a_count_covers_exactly(population, data):
    """Over every possible draw: the chance to be covered, summed, is never under what is stated."""
    from scipy.stats import hypergeom

    looked, true = data.draw(st.integers(1, population)), data.draw(st.integers(0, population))
    confidence = data.draw(st.sampled_from([0.8, 0.95]))
    chance = 0.0
    for seen in range(max(0, looked - (population - true)), min(looked, true) + 1):
        got = counted(seen, looked, population, confidence)
        assert 0 <= got.low <= got.value + 1e-9 and got.value - 1e-9 <= got.high <= population
        if got.low <= true <= got.high:
            chance += hypergeom.pmf(seen, population, true, looked)
    assert chance >= confidence - 1e-9


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=30), st.integers(1, 10))
@settings(max_examples=30, deadline=None)
def test_an_interval_is_around_its_value_and_wider_for_more_confidence(sizes, times):
    more = {"population": times * len(sizes)}
    narrow, wide = (forecast("e", COUNTED, np.array(sizes), confidence=c, **more).prompt_tokens for c in (0.8, 0.99))
    assert wide.low <= narrow.low <= narrow.value <= narrow.high <= wide.high


def test_an_interval_is_longer_on_the_side_of_the_tail():
    got = forecast("e", COUNTED, np.array([1.0] * 18 + [5.0, 40.0]), population=200).prompt_tokens
    assert got.high - got.value > 1.5 * (got.value - got.low) > 0


def test_totals_of_several_experts_add_up_and_their_errors_do_not():
    both = together([Range(10, 7, 14), Range(20, 16, 23)])
    assert both == Range(30, 25, 35)
