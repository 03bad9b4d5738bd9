"""The monitor on recorded answers of real LLMs: calibrated on MedMCQA's train split, then shown its test split."""

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.drift import calibrated, null, seen, window
from tests.realdata.test_guarantees_realdata import EIGHT, LARGEST, SEVENTY, boards  # noqa: F401

pytestmark = pytest.mark.realdata
HOURLY = 24
PAIRS = [(EIGHT, SEVENTY), (EIGHT, LARGEST), (SEVENTY, LARGEST)]


@pytest.mark.parametrize("experts", PAIRS, ids="-".join)
def test_the_shift_of_medmcqa_is_seen_in_its_test_split_at_an_hourly_level(boards, experts):  # noqa: F811
    policy, before = calibrated(boards["medmcqa", "train"], experts)
    found = seen(before, window(policy, boards["medmcqa", "test"], np.random.default_rng(0)), HOURLY, 0)
    assert "the scores" in found.moved
    assert found.words().startswith(
        "Drift: 1,000 rows of version 1 differ from those it was calibrated on. The scores: "
    )


@pytest.mark.slow
def test_it_is_seen_in_windows_of_five_hundred_rows(boards):  # noqa: F811
    """Measured with 100 windows: 99 at a level of .05, 100 for the costlier pair even at an hourly level."""
    for experts, looks in (((EIGHT, SEVENTY), 1), ((SEVENTY, LARGEST), HOURLY)):
        rng, test = np.random.default_rng(1), boards["medmcqa", "test"]
        policy, before = calibrated(boards["medmcqa", "train"], experts)
        some = [window(policy, test.take(rng.permutation(len(test))[:500]), rng) for _ in range(8)]
        assert sum(seen(before, one, looks, i).alarm for i, one in enumerate(some)) >= 7


@pytest.mark.parametrize("benchmark", ["medmcqa", pytest.param("mmlu", marks=pytest.mark.slow)])
def test_rows_of_one_population_raise_no_more_alarms_than_stated(boards, benchmark):  # noqa: F811
    """80 splits by chance at a level of .05: at most 11 alarms, 99.9 % of 4."""
    rng = np.random.default_rng(2)
    alarms = sum(null(boards[benchmark, "test"], rng, 1, seed).alarm for seed in range(80))
    assert alarms <= binom.ppf(0.999, 80, 0.05) == 11
