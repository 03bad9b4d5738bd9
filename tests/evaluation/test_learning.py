"""What is read off learners that were replayed."""

import json

import numpy as np
import pytest

from askless.evaluation.arrivals import Arrivals, Feedback
from askless.evaluation.learning import Beginner, Beside, _figures, budgets, ceilings, course, interval, learnt
from askless.evaluation.replay import replay
from askless.policies.bandit.bandit import Bandit
from askless.policies.base import Budget
from askless.policies.planned.planned import Planned
from tests.policies.chain_data import board, drawn, names, nobody, part

DATA = drawn(240, 3, 0)
EXPERTS = names(3)


def run(rows, right, cost, usd=1.0):
    """Two experts of which the first is always asked."""
    asked = np.broadcast_to([True, False], (*np.shape(right), 2))
    return Arrivals(usd, ("e0", "e1"), np.array(rows), np.array(right), np.array(cost, float), asked)


def cold(seed):
    return Bandit(EXPERTS, random_state=seed).fit(nobody(), nobody())


def test_what_it_is_held_against_is_of_the_same_rows_and_the_same_cost():
    right = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 1]], bool)
    cost = np.tile([1.0, 3.0, 11.0], (4, 1))
    beside = Beside(right, cost, None, np.zeros(4, int))
    assert beside.at(np.arange(4), 3.0) == pytest.approx({"single": 0.5, "mix": 0.5})
    assert beside.at(np.arange(4), 7.0) == pytest.approx({"single": 0.5, "mix": 0.75})
    assert beside.at(np.arange(2), 2.0) == pytest.approx({"single": 0.5, "mix": 0.75})
    assert beside.at(np.arange(4), 0.5) == pytest.approx({"single": 0.25, "mix": 0.25})


def test_a_plan_is_read_off_its_curve_on_the_same_rows():
    panel, train = board(*DATA), board(*drawn(200, 3, 1))
    plan = Planned(EXPERTS).fit(train, nobody())
    swept = replay("planned", {0: plan}, {0: panel}, [Budget(per_1000=1000 * usd) for usd in (2, 10, 60)])
    rows = np.arange(60, 160)
    beside = Beside.of(panel, EXPERTS, swept)
    spent, reached = swept.cost[1, 0, rows].mean(), (swept.label[1, 0, rows] == DATA[0][rows]).mean()
    assert beside.at(rows, float(spent))["plan"] == pytest.approx(reached)


def test_halves_differences_and_the_highest_spending_are_those_of_each_order():
    right = np.zeros((2, 40), bool)
    right[0, 20:] = right[1, 10:30] = True
    cost = np.ones((2, 40))
    cost[1, 21] = 5.4
    rows = [np.arange(40), np.arange(40)[::-1]]
    beside = Beside(np.zeros((40, 2), bool), np.ones((40, 2)), None, np.zeros(40, int))
    found = _figures(run(rows, right, cost), beside, 0.95)
    assert found["first_half"]["quality"]["value"] == 0.25
    assert found["second_half"]["quality"]["value"] == 0.75
    assert found["second_half"]["less"]["single"]["value"] == 0.75
    assert found["all"]["cost_per_1k"]["value"] == pytest.approx(1055)
    assert found["highest"] == pytest.approx(26.4 / 22)
    assert found["per_1000"] == 1000


def test_one_item_is_both_halves():
    beside = Beside(np.ones((1, 2), bool), np.ones((1, 2)), None, np.zeros(1, int))
    found = _figures(run([[0], [0]], [[True], [False]], [[1.0], [3.0]]), beside, 0.95)
    for span in ("all", "first_half", "second_half"):
        assert (found[span]["quality"]["value"], found[span]["cost_per_1k"]["value"]) == (0.5, 2000.0)


def test_the_first_items_may_run_ahead_of_the_budget():
    cost = np.zeros((1, 40))
    cost[0, 0] = 20.0
    beside = Beside(np.zeros((40, 1), bool), np.ones((40, 1)), None, np.zeros(40, int))
    assert _figures(run([np.arange(40)], np.zeros((1, 40), bool), cost), beside, 0.95)["highest"] == 1.0


def test_the_course_is_of_spans_that_hold_every_item_once():
    rng = np.random.default_rng(0)
    right, cost, asked = rng.random((3, 507)) < 0.7, rng.random((3, 507)), rng.random((3, 507, 2)) < 0.4
    found = course(right, cost, asked, ("a", "b"), 0.95)
    sizes = np.diff([0, *found["item"]])
    assert found["item"][-1] == 507
    assert len(sizes) == 20
    assert np.average(found["quality"]["mean"], weights=sizes) == pytest.approx(right.mean())
    assert found["spent"]["mean"][-1] == pytest.approx(cost.mean())
    assert found["spent"]["low"][-1] == pytest.approx(cost.mean(axis=1).min())
    assert np.average(found["asked"]["b"], weights=sizes) == pytest.approx(asked[..., 1].mean())
    assert course(right[:1], cost[:1], asked[:1], ("a", "b"), 0.95)["quality"]["low"] == [None] * 20


def test_an_interval_is_students_over_orders_and_none_of_one():
    # 1.25 +- 12.706 x .3536 / sqrt(2)
    assert interval(np.array([1.0, 1.5]), 0.95)["ci"] == pytest.approx([-1.9266, 4.4266], abs=1e-3)
    assert interval(np.array([1.0]), 0.95) == {"value": 1.0, "ci": [None, None]}


def test_budgets_lie_between_the_prices_and_there_are_none_where_these_are_one():
    panel = board(*DATA)
    price = DATA[3].mean(axis=0)
    assert budgets(panel, EXPERTS) == pytest.approx([price[0] + s * (price[2] - price[0]) for s in (0.1, 0.25, 0.5)])
    assert budgets(board(*DATA[:3], np.ones(DATA[3].shape)), EXPERTS) == []
    assert ceilings(panel, EXPERTS) == pytest.approx(DATA[3].max(axis=0))


def test_learners_side_by_side_are_plain_values():
    panel = board(*DATA)
    said = []
    warm = board(*part(DATA, slice(0, 80)))

    def begun(seed):
        return Bandit(EXPERTS, random_state=seed).fit(warm.copy(), nobody())

    found = learnt(
        [Beginner("bandit", 0, cold), Beginner("bandit", 80, begun)],
        panel,
        [8.0],
        Beside.of(panel, EXPERTS),
        orders=2,
        most=200,
        feedback=Feedback(share=0.5, late=20),
        say=said.append,
    )
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["items"], found["orders"], found["share"], found["late"], found["plan"]) == (200, 2, 0.5, 20, None)
    assert [each["begun"] for each in found["learners"]] == [0, 80]
    assert said == ["bandit: learning in 2 orders of arrival (budget 1 of 1)"] * 2
