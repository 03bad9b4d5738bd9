"""A forecast as a person reads it."""

import math

import numpy as np
import pytest

from askless.config import Price
from askless.report import forecast_words
from askless.spending.forecast import Range, forecast
from askless.spending.usage import Usage


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (59.4, "59 s"),
        (60, "1 min 0 s"),
        (3599.7, "1 h 0 min"),
        (7325, "2 h 2 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_durations(seconds, said):
    assert forecast_words.duration(seconds) == said


@pytest.mark.parametrize(
    ("usd", "said"),
    [
        (Range(1.5, 1.2, 2.0), "$1.50 ($1.20 – $2.00)"),
        (Range(0.02, 0.02, 0.02), "$0.0200"),
        (Range(math.nan, math.nan, math.nan), "dollars not known"),
    ],
)
def test_money(usd, said):
    assert forecast_words.money(usd) == said


def test_a_block():
    got = forecast("e", Usage.counted((0, 64)), np.array([1000.0]), price=Price(usd_per_1k_answers=4.0), confidence=0.9)
    assert forecast_words.block(got, "olhs").splitlines() == [
        "e on olhs           estimate  90 % interval",
        "calls                      1  exact",
        "prompt tokens          1,000  exact",
        "completion tokens         64  0 – 64",
        "time               not known",
        "dollars             $0.00400  exact",
        "Prompt tokens counted, completion tokens a bound and no estimate (fewer than 30 answers on record), seconds "
        "not known (fewer than 5 batches on record). No answers are kept yet.",
    ]


def test_nothing_to_ask():
    got = forecast("e", Usage.counted((1, 1)), np.zeros(0), kept=3)
    assert forecast_words.block(got, "olhs") == "e on olhs: nothing to ask, 3 answers are kept already and free."
