"""Goals, promises in words, and what came of them."""

import numpy as np
import pytest

from askless.errors import BudgetError, ConfigError
from askless.plans.outcome import outcome_of
from askless.plans.plan import Expectation, Goal
from askless.plans.planner import plan_on
from askless.policies.base import Budget
from tests.plan_data import board

PAIR = ("small", "large")


@pytest.fixture(scope="module")
def plan():
    return plan_on(board(400), PAIR, Goal(floor=0.95))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "A goal got nothing. Give exactly one of price, per_1000, share, floor, limit."),
        (
            {"share": 0.1, "floor": 0.9},
            "A goal got {'share': 0.1, 'floor': 0.9}. Give exactly one of price, per_1000, share, floor, limit.",
        ),
        ({"floor": 99}, "A quality floor of 99. Allowed: between 0 and 1; 0.99 is one point below."),
        ({"limit": 0.0}, "A spend limit of 0 per 1,000 items. Allowed: a finite number above 0."),
        ({"floor": 0.99, "confidence": 95}, "A confidence of 95. Allowed: 0.5 or more and less than 1."),
    ],
)
def test_a_goal_that_cannot_be_meant(given, told):
    with pytest.raises(ConfigError) as error:
        Goal(**given)
    assert str(error.value) == told


def test_a_goal_is_a_budget_or_a_promise():
    assert Goal(per_1000=2.5).budget == Budget(per_1000=2.5)
    assert Goal(floor=0.99).budget is None
    assert Goal(limit=3.0).budget is None
    assert Goal(share=0.0).as_dict() == {"share": 0.0, "confidence": 0.95}
    with pytest.raises(BudgetError, match="Budget share is 1.5"):
        Goal(share=1.5)


def test_a_promise_is_made_of_rows():
    right, reference = np.array([1, 1, 1, 0], bool), np.array([1, 1, 1, 1], bool)
    made = Expectation.of(
        right, np.array([1.0, 1, 3, 3]), np.array([0, 0, 1, 1], bool), (reference, np.full(4, 4.0)), 0.95
    )
    assert (made.items, made.quality[0], made.cost[0], made.loss[0], made.deferred) == (4, 0.75, 2.0, 0.25, 0.5)
    assert made.quality[1:] == (pytest.approx(0.19412, abs=1e-5), pytest.approx(0.99369, abs=1e-5))
    assert made.words("big", "usd") == (
        "75.0 [19.4, 99.4] % right (big alone 100.0 %) at 2000 [1020, 2980] usd per 1,000 items, 50 % less than big"
    )


def test_a_plan_in_words(plan):
    words = plan.words()
    assert words[0] == "Policy two_tier over small, large."
    assert words[1].startswith("Expected, cross-fitted on 400 labelled items, 95 % intervals: ")
    assert words[2] == (
        "Promised with 95 % confidence, on 400 items: a quality of at most 5 points below the reference."
    )


def test_experts_that_state_nothing_are_left_out_of_the_shift_test(plan):
    assert set(plan.seen.measure) == {"small", "large"}
    alone = plan_on(board(100, ("small",)), ("small",), Goal(share=0.0))
    assert set(alone.seen.measure) == {"small"}
    assert set(outcome_of(alone, board(200, ("small",), seed=5)).shift.p_values) == {"small"}
