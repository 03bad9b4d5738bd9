"""Policies and calibrators made for right and wrong, on answers of graded quality."""

import numpy as np
import pytest

from askless.errors import DataError
from askless.panel import NO_LABEL
from askless.policies.base import Budget, answered, settle
from askless.policies.baselines import Length, Random
from askless.policies.two_tier import TwoTier
from askless.stats.calibration import PlattCalibrator, platt
from askless.stats.uncertainty import confidence, probability
from tests.helpers import panel
from tests.policies.summaries.made import empty, world

PAIR = ("small", "large")


def test_a_summary_is_an_answer_and_a_missing_one_is_none():
    test = world(50, silent=0.3)
    assert answered(test.ask("small")).tolist() == (~test.mute).tolist()
    assert answered(panel(["0", "1"], {"small": ["1", None]}).ask("small")).tolist() == [True, False]


def test_a_missing_summary_of_the_costlier_falls_back_and_no_other_row_does():
    test = world(40, blind=True)
    test._experts["large"].texts[3] = None
    done = settle(test, PAIR, np.ones(40, np.int64), np.zeros(40))
    assert np.flatnonzero(done.expert == 0).tolist() == [3]
    assert np.flatnonzero(done.asked[:, 0]).tolist() == [3]
    assert done.cost.tolist() == [5.0 if row == 3 else 4.0 for row in range(40)]


def test_confidence_in_a_summary_is_its_mean_log_probability():
    test = world(30, stated=True)
    answers = test.ask("small")
    assert confidence(answers).tolist() == answers.logprob.tolist()
    assert probability(answers) == pytest.approx(np.exp(answers.logprob))
    assert np.isnan(confidence(test.ask("large"))).all()
    with pytest.raises(DataError, match="needs the probability of every class"):
        confidence(answers, "margin")


def test_platt_scaling_estimates_the_mean_quality_and_is_as_before_where_it_is_0_or_1():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.95, 20_000)
    mean = PlattCalibrator().fit(p, rng.random(len(p)) < p)(np.array([0.2, 0.5, 0.8]))
    graded = PlattCalibrator().fit(p, rng.beta(8 * p, 8 * (1 - p)))(np.array([0.2, 0.5, 0.8]))
    assert graded == pytest.approx(mean, abs=0.02)
    right = rng.random(200) < p[:200]
    assert platt(p[:200], right).tolist() == platt(p[:200], right.astype(float)).tolist()
    assert PlattCalibrator().fit(p[:200], np.full(200, 0.4))(p[:2]) == pytest.approx(0.4, abs=0.01)


def test_two_tiers_replace_the_summaries_of_least_log_probability():
    train, test = world(400, stated=True), world(300, 2, stated=True, blind=True)
    policy = TwoTier(PAIR).fit(train, empty())
    decided = policy.decide(test, Budget(share=0.4))
    gain = test.quality_of[:, 1] - test.quality_of[:, 0]
    went = decided.expert == 1
    assert decided.deferral_rate == pytest.approx(0.4, abs=0.08)
    assert gain[went].min() > gain[~went].mean()
    assert np.isnan(decided.confidence).all()
    assert (decided.label == NO_LABEL).all()
    score = np.linspace(*np.quantile(policy.levels_, [0.1, 0.9]), 5)
    assert (np.diff(policy.gain(score)) < 0).all()
    truth = np.interp(score, np.sort(decided.score), -np.sort(-gain))
    assert policy.gain(score) == pytest.approx(truth, abs=0.15)


def test_two_tiers_at_a_price_ask_where_quality_gained_is_worth_it():
    policy = TwoTier(PAIR).fit(world(400, stated=True), empty())
    test = world(300, 2, stated=True, blind=True)
    rates = [policy.decide(test.copy(), Budget(price=p)).deferral_rate for p in (0.02, 0.05, 0.2)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0.2 > rates[-1] == 0
    worse = TwoTier(PAIR).fit(world(400, lift=0.1, off=0.3, stated=True), empty())
    assert worse.decide(test.copy()).deferral_rate == 0


def test_two_tiers_without_a_log_probability_draw_by_chance():
    policy = TwoTier(PAIR).fit(world(200), empty())
    assert not policy.states_confidence_
    decided = policy.decide(world(400, 2, blind=True), Budget(share=0.3))
    assert decided.deferral_rate == pytest.approx(0.3, abs=0.1)
    assert (decided.asked.sum(axis=1) == 1 + (decided.expert == 1)).all()


def test_a_summary_that_is_missing_goes_on_first():
    policy = TwoTier(PAIR).fit(world(200, stated=True), empty())
    test = world(200, 2, stated=True, silent=0.1, blind=True)
    test._experts["small"].logprob = np.where(test.mute, np.nan, test._experts["small"].logprob)
    decided = policy.decide(test, Budget(share=float(test.mute.mean()) / 2))
    assert (decided.expert == 1)[test.mute].mean() > 0.9


@pytest.mark.parametrize("kind", [Random, Length])
def test_baselines_take_graded_quality(kind):
    policy = kind(PAIR).fit(world(200), empty())
    decided = policy.decide(world(200, 2, blind=True), Budget(share=0.5))
    assert decided.deferral_rate == pytest.approx(0.5, abs=0.12)
    truth = world(200).quality_of
    gain = truth[:, 1] - truth[:, 0]
    assert policy.points_.quality[[0, -1]] == pytest.approx([0, gain.mean()], abs=1e-6)
    assert np.isnan(decided.confidence).all()
