import numpy as np
import pytest

from askless.policies.planned.first_threshold import FirstThreshold
from askless.policies.planned.walk import outcomes
from tests.policies.answered import made

PAIR = {"ability": (0.6, 0.9), "cost": (1.0, 10.0)}


def test_thresholds_let_on_every_share_of_the_rows():
    told = made(140, **PAIR)
    rule = FirstThreshold().fit(told)
    beyond = outcomes(rule, told)[2][:-2].mean(axis=1)
    np.testing.assert_allclose(beyond, np.linspace(1, 0, 141), atol=1e-12)


def test_the_least_sure_rows_go_on_first():
    told = made(200, **PAIR)
    rule = FirstThreshold().fit(told)
    right, cost, beyond = outcomes(rule, told)
    for point in (20, 70, 120):
        assert told.p[beyond[point], 0].max() <= told.p[~beyond[point], 0].min()
        np.testing.assert_array_equal(right[point], np.where(beyond[point], told.right[:, 1], told.right[:, 0]))
        np.testing.assert_array_equal(cost[point], np.where(beyond[point], 11.0, 1.0))


def test_lambdas_rise_as_fewer_are_asked_and_are_worth_what_the_last_asked_gains():
    told = made(4000, **PAIR)
    rule = FirstThreshold().fit(told)
    assert (np.diff(rule.lambdas_) >= 0).all() and rule.lambdas_[-1] == np.inf and (rule.lambdas_ >= 0).all()
    point = 70
    score, bar = told.score[:, 0], rule.threshold_[70]
    near = np.argsort(np.abs(score - bar))[:800]
    gained = (told.right[near, 1].mean() - told.right[near, 0].mean()) / 10
    # The gain of 800 rows around the threshold has a standard error of some 2 points.
    assert rule.lambdas_[point] == pytest.approx(gained, abs=0.008)


@pytest.mark.parametrize(
    "odd",
    [{"telling": False}, {"quiet": (0, 1)}, {"mute": (0, slice(None))}, {"cost": (0, 0)}, {"ability": (1, 1)}],
    ids=str,
)
def test_odd_answers_are_asked_on_or_not_but_all_are_decided(odd):
    told = made(30, **{**PAIR, **odd})
    right, cost, beyond = outcomes(FirstThreshold().fit(told), told)
    assert np.isfinite(cost).all()
    assert beyond[0].all() and not beyond[140].any()
