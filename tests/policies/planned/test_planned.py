import numpy as np
import pytest

from askless.errors import ConfigError
from askless.panel import NO_LABEL
from askless.policies.base import Budget
from askless.policies.planned.planned import Planned, chosen, crossfit
from askless.policies.planned.walk import outcomes
from tests.policies.answered import ODD, empty_of, made, panel_of

NAMES = ("e0", "e1", "e2")
FREE = Budget(price=0.0)


def fitted(told, names=NAMES, **options):
    return Planned(names, **options).fit(panel_of(told), empty_of(told))


def promised(plan, budget):
    return plan.thresholds_.mix(budget).of(plan.thresholds_.quality)


def accuracy(plan, told, budget=None):
    done = plan.decide(panel_of(told, blind=True), budget)
    return (done.label == panel_of(told).gold).mean(), done


@pytest.fixture(scope="module")
def told():
    return made(300)


@pytest.fixture(scope="module", params=["gain", "vote", "search"])
def plan(request, told):
    return fitted(told, method=request.param)


@pytest.fixture(scope="module")
def fresh():
    return made(8000, seed=9)


def test_a_bigger_budget_never_promises_less(plan):
    for kind, top in (("per_1000", 20_000), ("share", 1.0)):
        low = 1000 if kind == "per_1000" else 0
        promised = [plan.thresholds_.mix(Budget(**{kind: b})) for b in np.linspace(low, top, 60)]
        for each in (plan.thresholds_.quality, plan.thresholds_.cost):
            assert (np.diff([mix.of(each) for mix in promised]) >= -1e-12).all()


def test_a_cost_is_met_exactly_in_expectation(plan, told):
    """On the rows the plan was made on, over 200 seeds of the draw: within four standard errors."""
    panel = panel_of(told, blind=True)
    for budget in (1500.0, 4000.0, 9000.0):
        spent = []
        for seed in range(200):
            plan.random_state = seed
            spent.append(1000 * plan.decide(panel.copy(), Budget(per_1000=budget)).cost.mean())
        plan.random_state = 0
        error = np.std(spent) / np.sqrt(200)
        assert abs(np.mean(spent) - budget) < 4 * error + 1e-6 * budget


def test_a_share_is_met_exactly_in_expectation(plan, told):
    panel = panel_of(told, blind=True)
    shares = []
    for seed in range(200):
        plan.random_state = seed
        shares.append(plan.decide(panel.copy(), Budget(share=0.37)).deferral_rate)
    plan.random_state = 0
    assert abs(np.mean(shares) - 0.37) < 4 * np.std(shares) / np.sqrt(200) + 1e-9


def test_what_is_promised_comes_true_on_rows_not_learnt_on(plan, fresh):
    """300 labels: the promise's standard error is 2.7 points; costs are foretold to a tenth."""
    for budget in (3000.0, 6000.0, 12_000.0):
        promise = plan.thresholds_.mix(Budget(per_1000=budget))
        got, done = accuracy(plan, fresh, Budget(per_1000=budget))
        assert abs(got - promise.of(plan.thresholds_.quality)) < 4 * 0.027
        assert done.cost.mean() == pytest.approx(promise.of(plan.thresholds_.cost), rel=0.15)


def test_a_plan_is_never_worse_than_the_best_expert_on_train(plan, told):
    best = told.right.mean(axis=0).max()
    assert promised(plan, FREE) >= best - 1e-12
    for expert in range(3):
        price = told.cost[0, expert] * 1000
        if told.right.mean(axis=0)[expert] == best:
            assert promised(plan, Budget(per_1000=price)) >= best - 1e-12


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("telling", [True, False])
def test_never_worse_than_the_best_expert_whatever_the_answers(seed, telling):
    rng = np.random.default_rng(seed)
    told = made(60, rng.uniform(0.3, 0.95, 3), rng.choice([0, 1, 2, 5], 3), seed=seed, telling=telling)
    plan = fitted(told)
    assert promised(plan, FREE) >= told.right.mean(axis=0).max() - 1e-12


def test_the_stated_confidence_is_calibrated(plan, fresh):
    got, done = accuracy(plan, fresh, Budget(per_1000=5000))
    assert np.isfinite(done.confidence).all()
    assert done.confidence.mean() == pytest.approx(got, abs=0.06)
    right = done.label == panel_of(fresh).gold
    sure = done.confidence > np.median(done.confidence)
    assert right[sure].mean() > right[~sure].mean() + 0.1


def test_a_plan_beats_the_mix_of_experts_on_rows_not_learnt_on(fresh):
    """Mean over three budgets on 8,000 rows, a plan from 300 labels: 1 point at least, two standard errors."""
    plan = fitted(made(300))
    over = []
    for budget in (4000.0, 7000.0, 10_000.0):
        got, done = accuracy(plan, fresh, Budget(per_1000=budget))
        over.append(got - np.interp(done.cost.mean(), fresh.cost.mean(axis=0), fresh.right.mean(axis=0)))
    assert np.mean(over) > 0.01


def test_a_cheaper_and_better_expert_is_the_whole_plan():
    told = made(300, (0.95, 0.5), (1.0, 10.0), telling=False)
    plan = fitted(told, NAMES[:2])
    for budget in (None, Budget(per_1000=9000), Budget(share=0.8)):
        done = plan.decide(panel_of(told, blind=True), budget)
        assert (done.expert == 0).all() and not done.asked[:, 1].any()


@pytest.mark.parametrize("names", [("e0",), ("e2",)])
def test_one_expert_is_a_plan(names, told):
    plan = fitted(told, names)
    done = plan.decide(panel_of(told, blind=True))
    np.testing.assert_array_equal(done.label, told.label[:, int(names[0][1])])


def test_experts_in_any_order_are_planned_by_cost(told):
    told = made(200, (0.9, 0.6), (10.0, 1.0))
    plan = fitted(told, ("e0", "e1"))
    assert plan.order_.tolist() == [1, 0]
    done = plan.decide(panel_of(told, blind=True), Budget(per_1000=1000))
    assert (done.expert == 1).all() and done.experts == ("e0", "e1")


def test_two_experts_keep_the_threshold_unless_clearly_beaten():
    rows = np.zeros(100)
    better = rows + 0.05
    unsure = np.where(np.arange(100) < 50, 1.0, -0.98)
    assert chosen({"threshold": rows, "gain": rows}) == "threshold"
    assert chosen({"threshold": rows, "gain": better}) == "gain"
    assert chosen({"threshold": rows, "gain": unsure}) == "threshold"
    assert chosen({"threshold": rows, "gain": better, "search": 2 * better}) == "search"
    # Five plans of 300 labels each, from experts for which the threshold is as good a rule as any.
    kept = [fitted(made(300, (0.6, 0.9), (1, 10), seed=s), NAMES[:2]).method_ for s in range(5)]
    assert kept.count("threshold") >= 3


def test_with_valid_everything_is_chosen_and_promised_on_valid(told):
    valid = made(150, seed=4)
    plan = Planned(NAMES, method="gain").fit(panel_of(told), panel_of(valid))
    right, cost, beyond = outcomes(plan.rule_, valid)
    at = plan.thresholds_.point
    np.testing.assert_allclose(plan.thresholds_.cost, cost.mean(axis=1)[at])
    np.testing.assert_allclose(plan.thresholds_.share, beyond.mean(axis=1)[at])


def test_out_of_fold_outcomes_do_not_see_the_row(told):
    """Labels that are pure chance: in-sample a rule would beat one half, out of fold it does not."""
    rng = np.random.default_rng(0)
    noise = made(300, (0.5, 0.5, 0.5))
    noise.right[:] = rng.random((300, 3)) < 0.5
    from askless.policies.planned.planned import METHODS

    right, _, _ = crossfit(METHODS["search"], noise, 5, 0)
    assert abs(right[:-3].mean() - 0.5) < 4 * 0.5 / np.sqrt(300)


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("n", [1, 7, 60])
def test_odd_answers_make_a_plan_without_nan(odd, n):
    told = made(max(n, 5), **odd)[np.arange(n)]
    plan = fitted(told)
    assert np.isfinite(plan.thresholds_.cost).all() and np.isfinite(plan.thresholds_.quality).all()
    assert promised(plan, FREE) >= told.right.mean(axis=0).max() - 1e-12
    for budget in (None, Budget(share=0.5), Budget(share=0.0), Budget(per_1000=1e6), Budget(price=1.0)):
        done = plan.decide(panel_of(told, blind=True), budget)
        assert done.asked.any(axis=1).all()
        assert np.isfinite(done.score).all() and not (np.isnan(done.confidence) & (done.label != NO_LABEL)).any()
        assert budget is None or budget.share != 0 or not done.asked[:, 1:].any()


def test_equal_prices_are_decided_for_the_better():
    told = made(100, (0.5, 0.9), (2.0, 2.0))
    done = fitted(told, NAMES[:2]).decide(panel_of(told, blind=True), Budget(per_1000=2000))
    assert (done.expert == 1).all() and not done.asked[:, 0].any()


def test_a_minus_infinite_confidence_is_the_least_of_all():
    told = made(100, (0.6, 0.9), (1, 10))
    told.p[:30, 0], told.score[:30, 0] = 1e-30, -np.inf
    plan = fitted(told, NAMES[:2], method="threshold")
    assert np.isfinite(plan.thresholds_.quality).all()


def test_more_rows_than_are_needed_are_sampled_with_a_seed():
    told = made(400)
    plan, again = fitted(told, most_rows=100), fitted(told, most_rows=100)
    assert plan.state() == again.state()
    assert fitted(told, most_rows=100, random_state=1).state() != plan.state()


def test_arguments_are_checked_in_fit(told):
    with pytest.raises(ConfigError, match="Unknown method of a plan 'gains'. Known: .*. Did you mean 'gain'?"):
        fitted(told, method="gains")
    with pytest.raises(ConfigError, match="Method 'threshold' got 3 experts. Allowed: two. Choose 'gain'."):
        fitted(told, method="threshold")
    with pytest.raises(ConfigError, match="Planned got no experts"):
        fitted(told, ())
