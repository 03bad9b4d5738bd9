import numpy as np
import pytest

from askless.errors import ConfigError, DataError
from askless.panel import NO_LABEL
from askless.policies.base import Budget
from askless.policies.two_tier import TwoTier
from tests.policies.pairs import Says, drawn, empty, pair

PAIR = ("small", "large")


def fitted(n=300, seed=0, valid=None, policy=None, **options):
    policy = policy or TwoTier(PAIR)
    return policy.fit(drawn(n, seed, **options), empty() if valid is None else valid)


@pytest.mark.parametrize("ties", [None, 4])
@pytest.mark.parametrize("share", [0.0, 0.1, 1 / 3, 0.77])
def test_a_share_is_met_exactly_in_expectation(share, ties):
    policy = fitted(300, ties=ties)
    rates = [policy.decide(drawn(300, ties=ties, blind=True), Budget(share=share), None).deferral_rate]
    assert rates[0] == pytest.approx(share, abs=1 / 300 if ties is None else 0.06)
    cut, _ = policy.rule(Budget(share=share))
    expected = policy.rows_ @ cut.share(policy.levels_)
    assert expected / 300 == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize("ties", [None, 4])
@pytest.mark.parametrize("per_1000", [1000.0, 2500.0, 7000.0, 9999.0])
def test_a_cost_is_met_exactly_in_expectation_with_the_small_one_in_it(per_1000, ties):
    policy = fitted(300, ties=ties)
    cut, straight = policy.rule(Budget(per_1000=per_1000))
    spent = 1.0 + policy.cost_ @ cut.share(policy.levels_) / 300
    assert not straight
    assert spent * 1000 == pytest.approx(per_1000)
    test = drawn(300, ties=ties, blind=True)
    assert policy.decide(test, Budget(per_1000=per_1000)).cost.mean() * 1000 == pytest.approx(per_1000, rel=0.2)


def test_a_price_is_met_where_the_gain_is_worth_it():
    policy = fitted(3000)
    for price in (0.0, 0.01, 0.02, 0.04):
        cut, _ = policy.rule(Budget(price=price))
        worth = policy.gain(policy.levels_) - price * policy.prices_[1]
        below = policy.levels_ <= cut.value
        # The two probabilities cross once here, so that the best cut is where the worth passes 0.
        assert below.any()
        assert not below.all()
        assert worth[below][-1] > 0 >= worth[~below][0]
    assert policy.rule(None) == policy.rule(Budget(price=0.0))


def test_a_higher_price_asks_no_more():
    policy, test = fitted(500), drawn(500, 1, blind=True)
    rates = [policy.decide(test.copy(), Budget(price=price)).deferral_rate for price in np.geomspace(1e-4, 1, 20)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0.5 > rates[-1] == 0


def test_the_least_sure_go_on_and_both_are_paid():
    test = drawn(200, 2, blind=True)
    done = fitted().decide(test, Budget(share=0.3))
    on = done.expert == 1
    assert done.score[on].max() < done.score[~on].min()
    assert (done.asked[:, 1] == on).all()
    assert done.asked[:, 0].all()
    assert (done.cost[on] > 11).all()
    assert (done.cost[~on] == 1).all()
    (step,) = done.steps
    assert step.expert == "small"
    assert ((step.score < step.threshold) == on).all()


def test_at_a_share_of_1_the_large_one_alone_is_paid():
    test = drawn(50, blind=True)
    done = fitted().decide(test, Budget(share=1))
    assert done.asked.tolist() == [[False, True]] * 50
    assert (done.expert == 1).all()
    assert test.bill("small").sum() == 0
    both = fitted(policy=TwoTier(PAIR, straight=False)).decide(drawn(50, blind=True), Budget(share=1))
    assert both.asked.all()
    assert (both.label == done.label).all()


def test_money_for_the_large_one_goes_straight_to_it_unless_the_small_one_helps():
    n = 400
    rng = np.random.default_rng(0)
    sure = rng.random(n) < 0.4
    large = Says("large", rng.random(n) < 0.8, cost=10.0)
    helpful = Says("small", sure, logprob=np.where(sure, -0.01, -2.0))
    policy = TwoTier(PAIR).fit(pair(helpful, large), empty())
    cut, straight = policy.rule(Budget(per_1000=10_000))
    assert not straight
    assert -2.0 <= cut.value
    useless = Says("small", rng.random(n) < 0.3, logprob=np.log(rng.random(n)))
    policy = TwoTier(PAIR).fit(pair(useless, large), empty())
    assert policy.rule(Budget(per_1000=10_000))[1]
    assert not policy.rule(Budget(per_1000=9_999))[1]
    assert not TwoTier(PAIR, straight=False).fit(pair(useless, large), empty()).rule(Budget(per_1000=10_000))[1]


def test_thresholds_come_from_valid_and_calibration_from_train():
    train, valid = drawn(300, 0), drawn(200, 1)
    policy = TwoTier(PAIR).fit(train, valid)
    assert policy.rows_.sum() == 200
    assert policy.prices_[1] == valid.bill("large").mean()
    alone = TwoTier(PAIR).fit(drawn(300, 0), empty())
    assert [vars(c) for c in policy.calibrators_] == [vars(c) for c in alone.calibrators_]


def test_confidence_is_calibrated():
    test = drawn(4000, 5)
    gold = test.gold
    done = fitted(4000, 4).decide(test, Budget(share=0.4))
    for expert in (0, 1):
        mine = done.expert == expert
        assert done.confidence[mine].mean() == pytest.approx((done.label == gold)[mine].mean(), abs=0.04)
    assert np.corrcoef(done.confidence, done.label == gold)[0, 1] > 0.2


def test_without_any_confidence_it_is_the_random_mix():
    policy = fitted(stated=False)
    assert not policy.states_confidence_
    assert fitted().states_confidence_
    test = drawn(2000, 6, stated=False, blind=True)
    done = policy.decide(test, Budget(share=0.3))
    assert done.deferral_rate == pytest.approx(0.3, abs=0.03)
    assert (done.expert == (test.draws(0) < 0.3)).all()
    assert np.isnan(done.confidence[done.expert == 0]).all()
    assert policy.rule(None)[1]


def test_silence_goes_on_first_and_nobody_is_made_up():
    n = 100
    silent = np.arange(n) < 20
    small = Says("small", np.ones(n), logprob=np.linspace(-1, -0.1, n), silent=silent)
    large = Says("large", np.ones(n), silent=np.arange(n) % 2 == 0, cost=5.0)
    policy = TwoTier(PAIR).fit(pair(small, large), empty())
    done = policy.decide(pair(small, large, blind=True), Budget(share=0.4))
    assert (done.asked[:, 1] == (np.arange(n) < 40)).all()
    both = silent & large.silent
    assert (done.label[both] == NO_LABEL).all()
    assert (done.label[~both] != NO_LABEL).all()
    assert (done.expert[20:40] == (np.arange(20, 40) % 2)).all()
    assert np.isnan(done.confidence[both]).all()
    alone = policy.decide(pair(small, large, blind=True), Budget(share=1))
    assert ((alone.label == NO_LABEL) == large.silent).all()


@pytest.mark.parametrize("rates", [(0, 0), (1, 1), (1, 0.5), (0, 1), (0.5, 0), (0.5, 1)])
@pytest.mark.parametrize("costs", [(0.0, 0.0), (1.0, 1.0), (2.0, 1.0), (0.0, 3.0)])
def test_experts_always_right_or_wrong_and_free_or_equal_prices(rates, costs):
    n = 40
    rng = np.random.default_rng(0)
    small = Says("small", rng.random(n) < rates[0], logprob=np.log(rng.random(n)), cost=costs[0])
    large = Says("large", rng.random(n) < rates[1], cost=costs[1])
    policy = TwoTier(PAIR).fit(pair(small, large), empty())
    for budget in (None, Budget(share=0.5), Budget(per_1000=1000 * sum(costs)), Budget(price=0.01)):
        done = policy.decide(pair(small, large), budget)
        assert (done.label != NO_LABEL).all()
        assert np.isfinite(done.cost).all()
    own = (policy.decide(pair(small, large)).label == 0).mean()
    assert own >= max(small.right.mean(), large.right.mean()) - 0.05


def test_a_cheaper_expert_that_is_better_is_left_alone():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.6, 1, 400)
    small, large = Says("small", rng.random(400) < p, logprob=np.log(p)), Says("large", rng.random(400) < 0.3, cost=9.0)
    policy = TwoTier(PAIR).fit(pair(small, large), empty())
    for budget in (None, Budget(per_1000=1000), Budget(share=0)):
        assert not policy.decide(pair(small, large, blind=True), budget).asked[:, 1].any()


def test_infinite_scores():
    n = 60
    logprob = np.where(np.arange(n) % 3 == 0, -np.inf, np.where(np.arange(n) % 3 == 1, 0.0, -0.5))
    small, large = Says("small", np.arange(n) % 3 == 1, logprob=logprob), Says("large", np.ones(n), cost=2.0)
    policy = TwoTier(PAIR).fit(pair(small, large), empty())
    assert policy.decide(pair(small, large), Budget(share=1 / 3)).expert.tolist() == [1, 0, 0] * 20
    assert policy.decide(pair(small, large)).expert[::3].all()
    assert policy.decide(pair(small, large), Budget(share=0)).confidence[0] < 0.3
    sure = Says("small", np.ones(n), proba=np.tile([1.0, 0.0, 0.0], (n, 1)))
    policy = TwoTier(PAIR, straight=False).fit(pair(sure, large), empty())
    assert policy.decide(pair(sure, large), Budget(share=1)).asked.all()
    assert policy.decide(pair(sure, large), Budget(share=0.5)).deferral_rate == pytest.approx(0.5, abs=0.25)


def test_errors_say_what_is_allowed():
    with pytest.raises(ConfigError, match="Unknown measure of uncertainty 'sure'"):
        TwoTier(PAIR, measure="sure").fit(drawn(3), empty())
    with pytest.raises(DataError, match="measure 'margin' needs the probability of every class"):
        TwoTier(PAIR, measure="margin").fit(drawn(9), empty())
