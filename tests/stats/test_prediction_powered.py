"""The corrected mean covers what people would say, is narrower than their labels alone, and is PPI++'s own."""

import numpy as np
import pytest

from askless.stats.prediction_powered import powered_mean


def people_and_model(rows, share=0.12, told=0.9, false=0.15, seed=0):
    rng = np.random.default_rng(seed)
    truth = (rng.random(rows) < share).astype(float)
    return truth, (rng.random(rows) < np.where(truth == 1, told, false)).astype(float)


def test_it_is_that_of_the_reference_implementation():
    ppi = pytest.importorskip("ppi_py", reason="ppi-python is not installed: pip install ppi-python")
    for seed, n in ((0, 150), (1, 300), (2, 1000)):
        truth, said = people_and_model(3000, seed=seed)
        found = powered_mean(truth[:n], said[:n], said[n:], 0.9)
        low, high = ppi.ppi_mean_ci(truth[:n], said[:n], said[n:], alpha=0.1)
        assert (found.low, found.high) == pytest.approx((float(low[0]), float(high[0])), abs=1e-12)
        point = ppi.ppi_mean_pointestimate(truth[:n], said[:n], said[n:], lam=found.weight)
        assert found.value == pytest.approx(float(point[0]), abs=1e-12)


def test_it_covers_the_truth_where_the_raw_share_is_far_off():
    truth, said = people_and_model(4000)
    rng, covered, narrower = np.random.default_rng(1), 0, 0.0
    for _ in range(400):
        drawn = rng.permutation(4000)
        few, rest = drawn[:300], drawn[300:]
        found = powered_mean(truth[few], said[few], said[rest])
        covered += found.low <= truth.mean() <= found.high
        narrower += (found.high - found.low) / (found.alone[1] - found.alone[0]) / 400
    # Under 364 of 400 have a chance of under 1 in 1000 where it covers in 95 %.
    assert covered >= 364 and narrower < 0.9
    assert abs(said.mean() - truth.mean()) > 0.08


@pytest.mark.parametrize(("share", "told", "false"), [(0.005, 0.9, 0.1), (0.02, 0.8, 0.15), (0.98, 0.9, 0.15)])
def test_it_covers_a_class_of_which_people_hardly_gave_a_label(share, told, false):
    truth, said = people_and_model(4000, share, told, false)
    rng, covered = np.random.default_rng(1), 0
    for _ in range(300):
        drawn = rng.permutation(4000)
        found = powered_mean(truth[drawn[:200]], said[drawn[:200]], said[drawn[200:]])
        assert 0 <= found.low <= found.value <= found.high <= 1
        covered += found.low <= truth.mean() <= found.high
    # Under 272 of 300 have a chance of under 1 in 500 where it covers in 95 %.
    assert covered >= 272


@pytest.mark.parametrize("share", [0.0, 0.004, 0.5])
def test_where_people_and_model_hardly_differ_the_interval_is_no_point(share):
    truth, said = people_and_model(5000, share, told=0.997, false=0.003, seed=3)
    rng, covered = np.random.default_rng(2), 0
    for _ in range(200):
        drawn = rng.permutation(5000)
        found = powered_mean(truth[drawn[:80]], said[drawn[:80]], said[drawn[80:]])
        assert found.high - found.low > 0.03 and found.low <= found.value <= found.high
        covered += found.low <= truth.mean() <= found.high
    assert covered >= 190


def test_numbers_that_are_no_shares_and_rows_that_all_have_a_label():
    gold = np.array([1.0, 2.0, 5.0, 4.0, 3.0, 3.0, 2.0])
    found = powered_mean(gold, gold + 1, np.zeros(0))
    assert (found.value, found.weight, found.raw) == (gold.mean(), 0.0, gold.mean() + 1) and found.low < found.value


def test_rows_that_people_labelled_all_of_leave_the_interval_as_sure_as_it_was():
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(400):
        truth = (rng.random(2000) < 0.3).astype(float)
        said = np.where(rng.random(2000) < 0.1, 1 - truth, truth)
        # The last 500 are known: people saw them, for nobody was sure.
        drawn = rng.permutation(1500)[:200]
        rest = np.setdiff1d(np.arange(1500), drawn)
        found = powered_mean(truth[drawn], said[drawn], said[rest]).beside(truth[1500:])
        covered += found.low <= truth.mean() <= found.high
        assert (found.rows, found.labels) == (2000, 700)
    assert covered >= 370
