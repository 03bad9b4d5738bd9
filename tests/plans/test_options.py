"""The luck of a chosen point, and the parts of the chance of a broken promise."""

import numpy as np
import pytest

from askless.plans.options import Option, luck, shares
from askless.stats.bounds import clopper_pearson

PAIR = ("small", "large")


def option(right, cost):
    n = len(right)
    label = np.where(right, 0, 1)
    return Option("two_tier", PAIR, None, np.arange(n), label, np.asarray(right), np.full(n, cost), np.zeros(n, bool))


def test_one_expert_beats_another_on_its_own_rows():
    right = np.array([True, True, False, False])
    assert option(~right | right, 1.0).beats(option(right, 2.0))
    assert not option(~right | right, 2.0).beats(option(right, 2.0))
    assert not option(right, 1.0).beats(option(right, 2.0))


def test_a_point_that_all_folds_choose_had_no_luck():
    reference = np.ones(100, bool)
    family = [option(np.arange(100) >= lost, 9.0 - j) for j, lost in enumerate((0, 0, 90))]
    assert luck(family, 1, reference, 5, 0) == 0.0


@pytest.mark.parametrize("apart", [True, False])
def test_the_luck_of_a_point_chosen_by_its_test_is_found(apart):
    """Thirty points lose more and more; the last that passes has lost less than it does, and by how much is told.

    Measured over 300 samples of 300 rows: .0025 and .0035 too little lost, luck .0037 and .0045.
    """
    rng, rates, missed, told = np.random.default_rng(0), np.linspace(0, 0.06, 30), [], []
    for _ in range(300):
        right = rng.random((30, 300) if apart else (1, 300)) >= rates[:, None]
        p_values = [clopper_pearson((~each).astype(float), 0.03, 0.05) for each in right]
        last = next(j for j, p in enumerate([*p_values, 1.0]) if p > 0.05) - 1
        if last >= 0:
            family = [option(each, 30.0 - j) for j, each in enumerate(right)]
            missed.append(rates[last] - (1 - right[last].mean()))
            told.append(luck(family, last, np.ones(300, bool), 5, 0))
    assert np.mean(missed) > 0.002
    assert np.mean(told) == pytest.approx(np.mean(missed), abs=0.0015)


@pytest.mark.parametrize(
    ("cascades", "singles", "least", "expected"),
    [
        (1, 1, 0.0, ([0.04], [0.01])),
        (2, 2, 0.01, ([0.02, 0.02], [0.005, 0.005])),
        (3, 0, 0.01, ([0.05 / 3] * 3, [])),
        (0, 2, 0.01, ([], [0.025, 0.025])),
        (3, 3, 0.03, ([0.04, 0.0, 0.0], [0.01 / 3] * 3)),
        (3, 3, 0.045, ([0.0495, 0.0, 0.0], [0.0005 / 3] * 3)),
        (2, 1, 0.06, ([0.0, 0.0], [0.05])),
    ],
)
def test_a_fifth_is_for_experts_alone_or_a_hundredth_and_no_part_is_too_small_to_pass(
    cascades, singles, least, expected
):
    first, last = shares(cascades, singles, least, 0.05)
    assert (first, last) == (pytest.approx(expected[0]), pytest.approx(expected[1]))
