import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from askless.errors import BudgetError
from askless.panel import NO_LABEL
from askless.policies.base import Budget
from askless.policies.online_rule import BOTH, LARGE, NOBODY, SMALL, published_order
from askless.policies.two_tier_online import OnlineTwoTier
from benchmarks.online_areas import online_decisions
from tests.policies.pairs import Says, drawn, empty, pair

PAIR = ("small", "large")


def fitted(n=300, seed=0, policy=None, **options):
    return (policy or OnlineTwoTier(PAIR)).fit(drawn(n, seed, **options), empty())


def flat(n, seed, costs, rates=(0.5, 0.8), ties=None):
    """A panel of flat prices, as the rule supposes."""
    rng = np.random.default_rng(seed)
    p = rng.random(n) if ties is None else rng.integers(1, ties, n) / ties
    p = np.clip(p, 1e-9, 1)
    small = Says("small", rng.random(n) < rates[0], logprob=np.log(p), cost=costs[0])
    large = Says("large", rng.random(n) < rates[1], logprob=np.log(p), cost=costs[1])
    return pair(small, large), small, large


@settings(deadline=None, max_examples=50)
@given(
    st.integers(1, 150),
    st.integers(0, 5),
    st.sampled_from([None, 4]),
    st.sampled_from([(1.0, 5.0), (0.25, 2.0), (0.0, 1.0), (1.0, 90.0), (0.1, 0.3)]),
    st.floats(0, 1),
)
@example(77, 0, None, (0.1, 0.3), 1.0)
@example(150, 1, 4, (0.1, 0.3), 1.0)
@example(150, 1, None, (0.1, 0.3), 0.0)
def test_it_decides_and_asks_exactly_as_the_rule_says(n, seed, ties, costs, part):
    policy = OnlineTwoTier(PAIR, random_state=seed).fit(flat(300, 99, costs)[0], empty())
    per_row = costs[0] + part * (costs[1] - costs[0])
    test, small, large = flat(n, seed, costs, ties=ties)
    done = policy.decide(test, Budget(per_1000=1000 * per_row))
    score = np.exp(test.copy().ask("small").logprob)
    budget = max(1000 * per_row / 1000, costs[0])
    (fates,) = online_decisions(policy.rule_, score, [budget], published_order(seed, n))
    heard, called = np.isin(fates, (SMALL, BOTH)), np.isin(fates, (BOTH, LARGE))
    assert (done.asked == np.stack([heard, called], axis=1)).all()
    assert (done.expert == called).all()
    assert (done.label == np.where(fates == NOBODY, NO_LABEL, 1 - np.where(called, large.right, small.right))).all()
    assert done.cost == pytest.approx(heard * costs[0] + called * costs[1])
    assert done.cost.sum() <= budget * n * (1 + 1e-9)
    (step,) = done.steps
    assert sorted(step.rows) == np.flatnonzero(heard).tolist()
    assert ((step.score < step.threshold) == (fates[step.rows] == BOTH)).all()


def test_the_experts_are_called_about_these_rows_only():
    policy = fitted()
    test, small, large = flat(400, 1, (1.0, 11.0))
    policy.decide(test, Budget(per_1000=9000))
    done = test.asked("small"), test.asked("large")
    assert sorted(small.asked) == np.flatnonzero(done[0]).tolist()
    assert sorted(large.asked) == np.flatnonzero(done[1]).tolist()
    assert 0 < len(small.asked) < 400


@pytest.mark.parametrize("costs", [(1.0, 11.0), (0.1, 0.3)])
def test_a_look_asks_nobody_and_serves_many_budgets(costs):
    policy, base = OnlineTwoTier(PAIR).fit(flat(300, 0, costs)[0], empty()), flat(150, 3, costs)[0]
    seen = policy.look(base)
    assert base.total == 0
    for budget in (None, *(Budget(share=s) for s in (0.5, 0.0, 0.8, 0.1, 2 / 3, 0.6))):
        alone, together = policy.decide(base.copy(), budget), policy.decide(base.copy(), budget, seen)
        for name in ("label", "expert", "cost", "asked", "confidence", "score"):
            np.testing.assert_array_equal(getattr(alone, name), getattr(together, name))
        for name in ("rows", "score", "threshold"):
            np.testing.assert_array_equal(getattr(alone.steps[0], name), getattr(together.steps[0], name))


def test_scores_decide_after_the_first_twenty():
    test = flat(500, 3, (1.0, 11.0))[0]
    done = fitted().decide(test, Budget(share=0.3))
    order = published_order(0, 500)
    assert (done.expert[order[:20]] == 0).all()
    (step,) = done.steps
    assert (step.rows == order[np.isin(order, step.rows)]).all()
    assert np.nanmean(done.score[done.expert == 1]) < np.nanmean(done.score[done.expert == 0]) - 0.2
    assert done.deferral_rate == pytest.approx(0.3, abs=0.05)


def test_what_a_budget_buys():
    policy, test = fitted(costs=(1.0, 10.0)), drawn(400, 1, blind=True)
    assert (policy.decide(test.copy(), Budget(share=0)).expert == 0).all()
    assert (policy.decide(test.copy(), Budget(share=1)).asked == [False, True]).all()
    assert (policy.decide(test.copy()).expert == 1).mean() > 0.99
    with pytest.raises(BudgetError) as price:
        policy.decide(test, Budget(price=0.5))
    assert str(price.value) == ("OnlineTwoTier spends money, it knows no price of quality. Allowed: share or per_1000.")
    assert test.total == 0


@pytest.mark.parametrize(
    ("costs", "rates", "answering"),
    [
        ((2.0, 1.0), (0.5, 0.9), 1),
        ((1.0, 1.0), (0.9, 0.5), 0),
        ((1.0, 1.0), (0.5, 0.9), 1),
        ((0.0, 0.0), (0.5, 0.5), 0),
    ],
)
def test_a_large_one_that_is_not_costlier_needs_no_cascade(costs, rates, answering):
    policy = OnlineTwoTier(PAIR).fit(flat(400, 0, costs, rates)[0], empty())
    if rates[0] == rates[1]:
        answering = int(policy.rule_.large_better)
    test = flat(50, 1, costs, rates)[0]
    done = policy.decide(test, Budget(share=0.5))
    assert (done.expert == answering).all()
    assert done.asked.sum() == 50
    assert len(done.steps) == 1


def test_a_costlier_one_that_is_worse_is_asked_as_published():
    costs, rates = (1.0, 4.0), (0.8, 0.3)
    policy, test = OnlineTwoTier(PAIR).fit(flat(400, 0, costs, rates)[0], empty()), flat(200, 1, costs, rates)[0]
    done = policy.decide(test, Budget(per_1000=2000))
    score = np.exp(test.copy().ask("small").logprob)
    (fates,) = online_decisions(policy.rule_, score, [2.0], published_order(0, 200))
    assert not policy.rule_.large_better
    assert (done.asked == np.stack([fates != NOBODY, fates == BOTH], axis=1)).all()
    assert done.asked[:, 1].any()


def test_without_confidence_rows_are_drawn():
    policy = fitted(stated=False)
    assert not policy.states_confidence_
    test = drawn(600, 2, stated=False, blind=True)
    done = policy.decide(test, Budget(share=0.25))
    assert done.deferral_rate == pytest.approx(0.25, abs=0.05)
    heard = done.asked[:, 0]
    assert heard.mean() > 0.9
    assert (done.score[heard] == test.draws(0)[heard]).all()
    assert np.isnan(done.confidence[done.expert == 0]).all()


def test_silent_experts():
    n = 200
    rng = np.random.default_rng(0)
    small = Says("small", np.ones(n), logprob=np.log(rng.random(n)), silent=rng.random(n) < 0.2)
    large = Says("large", np.ones(n), logprob=np.log(rng.random(n)), silent=rng.random(n) < 0.2, cost=5.0)
    good = flat(300, 0, (1.0, 5.0))[0]
    done = OnlineTwoTier(PAIR).fit(good, empty()).decide(pair(small, large, blind=True), Budget(share=0.5))
    both = done.asked.all(axis=1)
    assert both.any()
    assert ((done.label == NO_LABEL)[both] == (small.silent & large.silent)[both]).all()
    assert (done.expert[both & large.silent & ~small.silent] == 0).all()
    assert done.expert[small.silent & both & ~large.silent].all()
    assert np.isnan(done.confidence[done.label == NO_LABEL]).all()


def test_infinite_scores_and_margins():
    n = 120
    proba = np.tile([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.4, 0.35, 0.25]], (n // 3, 1))
    large = Says("large", np.ones(n), cost=4.0)
    for measure in ("auto", "margin", "entropy", "least_confidence", "logprob"):
        small = Says("small", np.arange(n) % 3 == 0, proba=proba)
        policy = OnlineTwoTier(PAIR, measure=measure).fit(pair(small, large), empty())
        done = policy.decide(pair(small, large, blind=True), Budget(share=0.4))
        both = done.asked.all(axis=1)
        assert not both[::3].any()
        assert both.sum() > 10
    never = Says("small", np.arange(n) % 2 == 0, logprob=np.full(n, -np.inf))
    policy = OnlineTwoTier(PAIR).fit(pair(never, large), empty())
    assert policy.states_confidence_
    done = policy.decide(pair(never, large, blind=True), Budget(share=0.4))
    assert not done.asked.all(axis=1).any()
    assert (done.score[done.asked[:, 0]] == 0).all()


def test_rates_of_prices_from_free_to_a_thousandfold():
    for costs in ((0.0, 1.0), (0.001, 1.0), (0.5, 0.51)):
        policy = OnlineTwoTier(PAIR).fit(flat(300, 0, costs)[0], empty())
        test = flat(300, 1, costs)[0]
        done = policy.decide(test, Budget(share=0.5))
        assert done.cost.sum() <= 300 * (costs[0] + 0.5 * costs[1]) * (1 + 1e-9)
