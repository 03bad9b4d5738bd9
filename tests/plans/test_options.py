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


@pytest.mark.parametrize("rows", [60, 300, 1000, 5000])
@pytest.mark.parametrize(("cascades", "singles"), [(1, 1), (2, 2), (4, 4), (3, 0), (0, 3)])
@pytest.mark.parametrize("eps", [0.01, 0.03, 0.05])
def test_parts_are_the_whole_and_what_a_cascade_gets_is_what_a_number_of_lost_rows_needs(rows, cascades, singles, eps):
    first, last = shares(cascades, singles, rows, eps, 0.05)
    assert (len(first), len(last)) == (cascades, singles)
    assert sum(first + last) <= 0.05 + 1e-12
    if singles:
        assert sum(last) >= (0.01 if rows > 300 or not any(first) else 0.0009)
        needed = {clopper_pearson(np.repeat([1.0, 0.0], [k, rows - k]), eps, 0.05) for k in range(rows // 10 + 9)}
        assert all(min(abs(each - p) for p in needed) < 1e-12 for each in first if each)


def test_where_no_row_may_be_lost_fewer_cascades_are_tested():
    first, last = shares(3, 3, 300, 0.01, 0.05)
    assert first == [pytest.approx(0.99**300), 0.0, 0.0]
    assert sum(last) == pytest.approx(0.05 - 0.99**300)
