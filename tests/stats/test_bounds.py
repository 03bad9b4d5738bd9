"""p-values that are what they say: sizes by enumeration, published figures, orders that must hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, multinomial, norm

from askless.errors import ConfigError
from askless.stats import bounds
from askless.stats.bounds import (
    BOUNDS,
    betting_mean,
    clopper_pearson,
    exact,
    mean_interval,
    paired_interval,
    share_interval,
)


def losses(lost, won, n):
    return np.repeat([1.0, -1.0, 0.0], [lost, won, n - lost - won])


@pytest.mark.parametrize(
    ("n", "eps"), [(40, 0.05), *(pytest.param(60, eps, marks=pytest.mark.slow) for eps in (0.03, 0.15))]
)
def test_the_exact_test_rejects_at_most_delta_however_often_the_two_differ(n, eps):
    most = 30
    counts = np.array([(lost, won) for lost in range(most + 1) for won in range(most + 1) if lost + won <= n])
    rejected = counts[[exact(losses(lost, won, n), eps, 0.05) <= 0.05 for lost, won in counts]]
    assert len(rejected) > 10
    worst = 0.0
    for apart in np.linspace(eps, 0.45, 150):
        chances = [(apart + eps) / 2, (apart - eps) / 2, 1 - apart]
        cells = np.column_stack([rejected, n - rejected.sum(axis=1)])
        worst = max(worst, float(multinomial.pmf(cells, n, chances).sum()))
    assert 0.03 < worst <= 0.05


@given(st.integers(1, 80), st.sampled_from([0.005, 0.03, 0.2]), st.data())
@settings(max_examples=60, deadline=None)
def test_one_more_loss_is_never_better_and_one_more_win_never_worse(n, eps, data):
    lost = data.draw(st.integers(0, n - 1))
    won = data.draw(st.integers(0, n - 1 - lost))
    here = exact(losses(lost, won, n), eps, 0.05)
    assert 0 < here <= 1
    assert exact(losses(lost + 1, won, n), eps, 0.05) >= here - 1e-9
    assert exact(losses(lost, won + 1, n), eps, 0.05) <= here + 2e-3


def test_the_score_rises_with_the_rows_lost_so_that_halving_finds_its_bound():
    for n in (5, 40, 300):
        for eps in (0.005, 0.1, 0.3):
            for m in range(min(n, 60) + 1):
                lost = np.arange(m + 1)
                assert (np.diff(bounds._score(lost, m - lost, n, eps)) > 0).all()


def test_the_score_is_that_of_tango():
    # Worked by hand: 2 n q^2 - b q - won eps (1 - eps) = 0 with n = 44, 1 lost, 0 won, eps = .1.
    b = 1 * 0.9 - 2 * 43 * 0.1
    q = max(0.0, (b + abs(b)) / (4 * 44))
    wanted = (1 - 4.4) / np.sqrt(44 * (2 * q + 0.1 - 0.01))
    assert bounds._score(np.array([1]), np.array([0]), 44, 0.1)[0] == pytest.approx(wanted)


def test_without_wins_the_exact_test_is_near_clopper_and_pearson_and_with_wins_it_is_better():
    assert clopper_pearson(losses(3, 0, 300), 0.03, 0.05) == pytest.approx(binom.cdf(3, 300, 0.03))
    assert exact(losses(3, 0, 300), 0.03, 0.05) == pytest.approx(binom.cdf(3, 300, 0.03), abs=0.002)
    assert clopper_pearson(losses(6, 6, 300), 0.03, 0.05) > 0.1
    assert exact(losses(6, 6, 300), 0.03, 0.05) < 0.02


def test_ten_thousand_and_a_million_rows_are_no_other_case():
    normal = exact(losses(300, 280, 10_000), 0.005, 0.05)
    assert normal == pytest.approx(0.1066, abs=0.01)  # z = (20 - 50) / sqrt(580) = -1.245
    assert exact(losses(30_000, 29_800, 1_000_000), 0.001, 0.05) < 0.002


@given(st.integers(0, 2**32), st.floats(0.02, 0.98))
@settings(max_examples=50, deadline=None)
def test_the_order_of_rows_wins_nothing_in_a_bet(seed, m):
    x = np.random.default_rng(seed).random(30)
    assert betting_mean(x, m) == pytest.approx(betting_mean(x[::-1], m))
    assert 0 < betting_mean(x, m) <= 1


def test_a_bet_is_won_too_often_in_no_case():
    rng = np.random.default_rng(1)
    for draw in (lambda: rng.random(200) < 0.3, lambda: rng.beta(0.6, 1.4, 200), lambda: rng.random(200) ** (7 / 3)):
        won = np.mean([betting_mean(draw().astype(float), 0.3) <= 0.05 for _ in range(500)])
        assert won <= 0.05
    assert betting_mean(np.full(200, 0.1), 0.3) < 1e-6


@pytest.mark.parametrize("bound", ["exact", "clopper_pearson"])
def test_a_scaled_quality_needs_the_bet(bound):
    with pytest.raises(ConfigError) as error:
        BOUNDS[bound](np.array([0.5, 0.0]), 0.03, 0.05)
    assert str(error.value) == (
        f"Bound '{bound}' is for answers that are right or wrong. For a scaled quality take 'betting'."
    )
    assert 0 < BOUNDS["betting"](np.array([0.5, 0.0]), 0.03, 0.05) <= 1


def test_intervals():
    assert share_interval(0, 10) == (0.0, pytest.approx(0.30850, abs=1e-5))
    assert share_interval(10, 10) == (pytest.approx(0.69150, abs=1e-5), 1.0)
    assert share_interval(3, 20, 0.9) == (pytest.approx(0.04217, abs=1e-5), pytest.approx(0.34366, abs=1e-5))
    assert mean_interval(np.array([1.0, 3.0])) == (
        pytest.approx(2 - 1.959964 / 2**0.5),
        pytest.approx(2 + 1.959964 / 2**0.5),
    )


def test_rows_that_are_all_alike_are_no_certainty():
    """Of nothing apart it is z^2 / (n + z^2) to both sides (Tango); by the normal approximation it was a point."""
    z2 = norm.ppf(0.975) ** 2
    assert paired_interval(0, 0, 20) == pytest.approx((-z2 / (20 + z2), z2 / (20 + z2)))
    assert paired_interval(20, 0, 20)[1] == 1.0
    for n in range(1, 200):
        assert paired_interval(0, n, n)[0] == -1.0 and -1 <= paired_interval(0, n, n)[1] < 1
        assert paired_interval(0, n, n)[1] == pytest.approx(-paired_interval(n, 0, n)[0])


@pytest.mark.parametrize(("lost", "won", "n"), [(0.02, 0.0, 60), (0.05, 0.05, 100), (0.2, 0.1, 300)])
def test_the_paired_interval_covers_at_its_level(lost, won, n):
    rng, covered = np.random.default_rng(4), 0
    for _ in range(1000):
        a, b, _ = rng.multinomial(n, [lost, won, 1 - lost - won])
        low, high = paired_interval(int(a), int(b), n)
        covered += low <= lost - won <= high
    assert 0.93 <= covered / 1000


def test_as_many_rows_as_are_said_make_an_interval_of_that_width():
    x = np.arange(10.0)
    assert mean_interval(x, 0.95, 5) == pytest.approx(tuple(4.5 + np.sqrt(2) * (e - 4.5) for e in mean_interval(x)))
