import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from askless.errors import BudgetError, ConfigError
from askless.policies.base import Budget
from askless.policies.team.allocator import GRID, Allocator, AllocatorPoints
from tests.helpers import panel

PAIR = ("small", "large")
TRIO = ("small", "large", "huge")


class Given(Allocator):
    """Estimates that were given, one row for each text; rows repeat where the panel is longer."""

    def __init__(self, experts, estimates):
        super().__init__(experts)
        self.estimates = np.asarray(estimates, float)

    def look(self, panel):
        return self.estimates[np.arange(len(panel)) % len(self.estimates)]


def world(n, costs, *, right=None, blind=False):
    """A panel where gold is "1" and each expert is right on its first rows."""
    said = {name: ["1"] * (right or {}).get(name, n) for name in costs}
    said = {name: labels + ["0"] * (n - len(labels)) for name, labels in said.items()}
    return panel(["1"] * n, said, cost=costs, blind=blind)


def fitted(estimates, costs, **options):
    estimates = np.asarray(estimates, float)
    boards = [world(len(estimates), costs, **options) for _ in range(2)]
    return Given(tuple(costs), estimates).fit(*boards)


RISING = np.stack([np.full(10, 0.5), np.linspace(0.5, 0.95, 10)], axis=1)


def test_prices_are_learnt_on_train_and_its_asks_billed_to_it():
    train, valid = world(10, {"small": 0.1, "large": 2.0}), world(10, {"small": 0.1, "large": 2.0})
    policy = Given(PAIR, RISING).fit(train, valid)
    np.testing.assert_allclose(policy.prices_, [0.1, 2.0])
    assert train.total == pytest.approx(21.0)
    assert valid.total == pytest.approx(21.0)


def test_operating_points_run_from_nobody_to_everybody():
    policy = fitted(RISING, {"small": 0.1, "large": 2.0}, right={"small": 4, "large": 8})
    points = policy.thresholds_
    assert points.share[0] == 0.0
    assert points.share[-1] == 1.0
    assert (np.diff(points.share) >= 0).all()
    assert (np.diff(points.cost) >= 0).all()
    assert (np.diff(points.price) <= 0).all()
    np.testing.assert_allclose(points.cost, 0.1 + 1.9 * points.share)
    assert points.quality[0] == pytest.approx(0.4)
    assert points.quality[-1] == pytest.approx(0.8)
    # The last rows are deferred first, and there both experts are wrong until row 7.
    at = {round(s, 1): q for s, q in zip(points.share, points.quality, strict=True)}
    assert at[0.2] == pytest.approx(0.4)
    assert at[0.6] == pytest.approx(0.8)


@pytest.mark.parametrize("share", np.linspace(0, 1, 11))
def test_a_share_is_kept_and_used_up_where_estimates_differ(share):
    policy = fitted(RISING, {"small": 0.1, "large": 2.0})
    decided = policy.decide(world(10, {"small": 0.1, "large": 2.0}, blind=True), Budget(share=share))
    assert decided.deferral_rate == pytest.approx(share)
    assert decided.expert.tolist() == [0] * (10 - round(10 * share)) + [1] * round(10 * share)


def test_rows_of_equal_estimates_are_deferred_together_or_not_at_all():
    policy = fitted([[0.5, 0.7]] * 10, {"small": 0.1, "large": 2.0})
    for share, expected in ((0.99, 0.0), (1.0, 1.0)):
        board = world(10, {"small": 0.1, "large": 2.0}, blind=True)
        assert policy.decide(board, Budget(share=share)).deferral_rate == expected


def test_a_budget_in_dollars_is_per_1000_items():
    policy = fitted(RISING, {"small": 0.1, "large": 2.0})
    for dollars, share in ((100, 0.0), (479, 0.1), (480, 0.2), (2000, 1.0), (9000, 1.0)):
        board = world(10, {"small": 0.1, "large": 2.0}, blind=True)
        decided = policy.decide(board, Budget(per_1000=dollars))
        assert decided.deferral_rate == pytest.approx(share)
        assert 1000 * decided.cost.mean() <= dollars + 1e-9


def test_a_price_of_quality_is_the_bar_that_the_gain_must_pass():
    policy = fitted(RISING, {"small": 0.1, "large": 2.1})
    for price in (0.0, 0.1, 0.2, 0.5):
        decided = policy.decide(world(10, {"small": 0.1, "large": 2.1}, blind=True), Budget(price=price))
        assert (decided.expert == 1).tolist() == (RISING[:, 1] - RISING[:, 0] > 2 * price + 1e-12).tolist()


def test_without_a_budget_the_best_estimate_answers():
    policy = fitted([[0.9, 0.8], [0.5, 0.6], [0.7, 0.7]], {"small": 0.1, "large": 2.0})
    assert policy.decide(world(3, {"small": 0.1, "large": 2.0}, blind=True)).expert.tolist() == [0, 1, 0]


def test_the_score_is_the_best_gain():
    policy = fitted([[0.5, 0.7, 0.6], [0.8, 0.1, 0.6]], {"small": 0.1, "large": 1.0, "huge": 2.0})
    np.testing.assert_allclose(policy.score(policy.estimates), [0.2, -0.2])


def test_a_budget_under_the_least_cost_is_refused():
    policy = fitted(RISING, {"small": 0.1, "large": 2.0})
    with pytest.raises(BudgetError) as error:
        policy.decide(world(10, {"small": 0.1, "large": 2.0}), Budget(per_1000=50))
    assert str(error.value) == (
        "A budget of 50 is under the least cost per 1,000 items on valid, 100. Allowed: at least that."
    )


def test_a_share_that_no_operating_point_keeps_is_refused():
    points = AllocatorPoints(np.array([1.0, 0.0]), np.array([0.5, 1.0]), np.array([1.0, 2.0]), np.array([0.1, 0.2]))
    with pytest.raises(BudgetError) as error:
        points.at(Budget(share=0.2))
    assert str(error.value) == (
        "A budget of 0.2 is under the least share deferred on valid, 0.5. Allowed: at least that."
    )


def test_experts_of_one_price_are_weighed_by_the_number_of_deferrals():
    policy = fitted(RISING, {"small": 1.0, "large": 1.0})
    board = world(10, {"small": 1.0, "large": 1.0}, blind=True)
    assert policy.decide(board, Budget(share=0.3)).expert.tolist() == [0] * 7 + [1] * 3


@pytest.mark.parametrize("experts", [(), ("small",)])
def test_one_expert_is_no_choice(experts):
    board = world(4, {"small": 0.1})
    with pytest.raises(ConfigError) as error:
        Given(experts, [[0.5]]).fit(board, board)
    assert str(error.value) == (
        f"Given got experts {list(experts)}. Allowed: the small one and at least one to defer to."
    )


def test_of_three_experts_each_row_gets_the_one_worth_its_price():
    estimates = [[0.9, 0.9, 0.9], [0.2, 0.8, 0.85], [0.2, 0.3, 0.9]]
    costs = {"small": 0.0, "large": 1.0, "huge": 2.0}
    policy = fitted(estimates, costs)
    assert policy.decide(world(3, costs, blind=True), Budget(price=0.1)).expert.tolist() == [0, 1, 2]


estimates = st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=30)


@settings(max_examples=50)
@given(estimates, st.lists(st.floats(0.01, 10), min_size=3, max_size=3), st.floats(0, 1))
def test_a_budget_is_kept_on_valid_whatever_the_estimates(estimates, costs, share):
    costs = sorted(costs)
    assume(costs[1] - costs[0] > 0.01)
    assume(costs[2] - costs[1] > 0.01)
    by_name = dict(zip(TRIO, costs, strict=True))
    policy = fitted(estimates, by_name)
    assert len(policy.thresholds_.price) <= GRID
    for budget, spent in (
        (Budget(share=share), lambda d: d.deferral_rate),
        (Budget(per_1000=1000 * (costs[0] + share * (costs[2] - costs[0]))), lambda d: 1000 * d.cost.mean()),
    ):
        decided = policy.decide(world(len(estimates), by_name, blind=True), budget)
        assert spent(decided) <= budget.value * (1 + 1e-8) + 1e-9


@settings(max_examples=40)
@given(estimates)
def test_more_money_never_buys_a_lower_expected_quality(estimates):
    by_name = {"small": 0.1, "large": 1.0, "huge": 3.0}
    policy = fitted(estimates, by_name)
    seen, rows = policy.estimates, np.arange(len(estimates))
    expected = []
    for price in policy.thresholds_.price[policy.thresholds_.price >= 0]:
        choice = policy.choose(seen, Budget(price=price))
        expected.append(seen[rows, choice].mean())
    assert (np.diff(expected) >= -1e-9).all()
