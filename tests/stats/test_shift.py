"""Alarms where the rows moved, and at most as many as promised where they did not."""

import numpy as np
import pytest
from scipy.stats import binom, cramervonmises_2samp

from askless.errors import ConfigError
from askless.stats import shift
from askless.stats.shift import RATE, Shift, compare, summary, two_sample

REDRAWS = 400


def draws(rng, n, ties):
    """Scores, with `ties` at eight values only."""
    score = rng.normal(size=n)
    return np.round(score * 2) / 2 if ties else score


@pytest.mark.parametrize("ties", [False, True])
def test_the_permutation_agrees_with_the_asymptotic_test_where_there_are_no_ties(ties):
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=150), rng.normal(0.25, 1, size=200)
    if not ties:
        assert two_sample(a, b) == pytest.approx(cramervonmises_2samp(a, b, method="asymptotic").pvalue, abs=0.02)
    # Twice each row makes ties of everything, and twice the evidence.
    assert two_sample(np.repeat(a, 2), np.repeat(b, 2)) <= two_sample(a, b)


@pytest.mark.parametrize(
    ("ties", "before", "now"), [(False, 60, 200), (True, 60, 60), pytest.param(True, 40, 400, marks=pytest.mark.slow)]
)
def test_false_alarms_are_no_more_than_the_level(monkeypatch, ties, before, now):
    """Two experts and the share deferred, level .05: of 400 redraws at most 35 alarms, 20 and 3.4 standard errors.

    The cut is set on the old rows, as a plan's is, so that their share is met exactly.
    """
    monkeypatch.setattr(shift, "PERMUTATIONS", 300)
    rng, alarms = np.random.default_rng(5), 0
    for seed in range(REDRAWS):
        old, new = draws(rng, before, ties), draws(rng, now, ties)
        other = draws(rng, before // 2, ties), draws(rng, now // 2, ties)
        draw = rng.random(now)
        at = np.quantile(old, 0.3, method="inverted_cdf")
        share = (0.3 - (old < at).mean()) / (old == at).mean()
        deferred = round(0.3 * before), int(((new < at) | ((new == at) & (draw < share))).sum())
        found = compare(
            {"a": summary(old), "b": summary(other[0])},
            {"a": new, "b": other[1]},
            ((deferred[0], before), (deferred[1], now)),
            random_state=seed,
        )
        assert len(found.p_values) == 3
        alarms += found.alarm
    assert alarms <= binom.ppf(0.999, REDRAWS, 0.05) == 35


def test_a_shift_raises_the_alarm_in_words():
    rng = np.random.default_rng(6)
    found = compare({"small": rng.normal(size=300)}, {"small": rng.normal(0.5, 1, size=1000)}, ((90, 300), (250, 1000)))
    assert found.moved == ("small",) and found.alarm
    assert found.words() == (
        "The promise is withdrawn: these rows differ from those it was made on in the scores of small "
        f"(the scores of small: p = 0.0005, the share of rows deferred: p = {found.p_values[RATE]:.2g}). "
        "Label some of them and plan again."
    )


def test_the_share_deferred_can_raise_it_alone():
    found = compare({}, {}, ((30, 300), (300, 1000)))
    assert found.moved == (RATE,)
    assert "in the share of rows deferred (" in found.words()


def test_no_shift_lets_the_promise_stand():
    rng = np.random.default_rng(7)
    found = compare({"small": rng.normal(size=300)}, {"small": rng.normal(size=1000)})
    assert not found.alarm
    assert found.words() == (
        f"No shift seen, the promise stands (the scores of small: p = {found.p_values['small']:.2g})."
    )


def test_no_promise_stands_beside_one_that_was_broken_or_that_nobody_made():
    rng = np.random.default_rng(7)
    found = compare({"small": rng.normal(size=300)}, {"small": rng.normal(size=1000)})
    seen = f"(the scores of small: p = {found.p_values['small']:.2g})"
    assert found.words(kept=False) == (
        f"No shift seen {seen}, and what was promised was not kept all the same: plan again with these rows."
    )
    assert found.words(promised=False) == found.words(promised=False, kept=False) == f"No shift seen {seen}."
    moved = compare({"small": rng.normal(size=300)}, {"small": rng.normal(1, 1, size=1000)})
    assert moved.words(promised=False).startswith("These rows differ from those the plan was made on in the scores of ")


def test_without_any_score_nothing_can_be_told():
    """The share deferred is what the budget makes it: that it stays tells nothing."""
    found = compare({}, {}, ((90, 300), (300, 1000)))
    assert not found.alarm
    assert found.words() == (
        "Whether the rows have shifted cannot be told: nobody who is asked states a score that tells "
        f"(the share of rows deferred: p = {found.p_values[RATE]:.2g})."
    )
    assert (
        compare({}, {}).words()
        == "Whether the rows have shifted cannot be told: nobody who is asked states a score that tells."
    )


def test_an_expert_that_falls_silent_has_shifted():
    score = np.random.default_rng(8).normal(size=300)
    hushed = np.where(np.arange(300) % 3 == 0, np.nan, score)
    assert compare({"small": summary(score)}, {"small": hushed}).alarm
    assert not compare({"small": summary(hushed)}, {"small": hushed}).alarm
    assert compare({"small": summary(score)}, {"small": np.full(300, np.nan)}).alarm


def test_too_few_rows_are_said_and_not_tested():
    found = compare(
        {"small": np.arange(300.0), "other": np.arange(5.0)}, {"small": np.arange(19.0)}, ((3, 300), (0, 19))
    )
    assert found == Shift({}, 0.05, ("small", "other"))
    assert not found.alarm
    assert found.words() == "Whether the rows have shifted cannot be told: fewer than 20 scores on one of the sides."


def test_a_summary_keeps_a_small_sample_and_thins_a_large_one_evenly():
    assert summary(np.array([3.0, np.nan, 1.0])).tolist() == [-np.inf, 1.0, 3.0]
    assert len(summary(np.full(5, np.nan))) == 0
    large = np.random.default_rng(9).permutation(100_000).astype(float)
    assert np.abs(summary(large) - (np.arange(1000) * 100 + 50)).max() == 0


def test_all_equal_scores_are_no_shift():
    assert two_sample(np.zeros(50), np.zeros(70)) == 1.0
    assert two_sample(np.full(50, -np.inf), np.zeros(70)) == pytest.approx(1 / 2001)


def test_a_level_that_cannot_be_meant_is_refused():
    with pytest.raises(ConfigError) as error:
        compare({}, {}, level=0.0)
    assert str(error.value) == "A level of 0 for the shift test. Allowed: more than 0 and less than 1."
