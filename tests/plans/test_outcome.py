"""What came of a plan: kept or not, shifted or not, in words."""

import dataclasses
import json
from dataclasses import replace

import pytest

from askless.plans.outcome import outcome_of
from askless.plans.plan import Goal
from askless.plans.planner import plan_on
from tests.plan_data import board

PAIR = ("small", "large")


@pytest.fixture(scope="module")
def plan():
    return plan_on(board(400), PAIR, Goal(floor=0.95))


def test_what_came_of_a_plan_on_rows_like_those_it_was_made_on(plan):
    test = board(3000, seed=1)
    outcome = outcome_of(plan, test)
    done = plan.decide(test.copy(blind=True))
    assert outcome.measured.quality[0] == (done.label == test.gold).mean()
    assert outcome.measured.cost[0] == pytest.approx(done.cost.mean())
    assert outcome.measured.quality[0] == pytest.approx(plan.promise.quality[0], abs=0.06)
    assert outcome.kept is True and not outcome.shift.alarm
    assert test.total == 0
    assert outcome.words()[0].startswith("On 3,000 items of the test split: ")
    assert outcome.words()[1].startswith("The floor held: loss against large +")
    assert outcome.words()[2].startswith("No shift seen, the promise stands (")
    values = outcome.as_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["kept"] is True and values["shift"]["alarm"] is False


def test_the_promise_is_withdrawn_where_the_rows_are_harder(plan):
    outcome = outcome_of(plan, board(1000, seed=2, hard=0.8))
    assert outcome.shift.moved[0] == "small"
    assert outcome.words()[-1].startswith("The promise is withdrawn: these rows differ from those it was made on in ")


def test_the_shift_test_of_a_plan_is_quiet_on_rows_of_the_same_kind(plan):
    alarms = [outcome_of(plan, board(300, seed=seed)).shift.alarm for seed in range(10, 40)]
    assert sum(alarms) <= 5


def test_a_floor_that_did_not_hold_and_a_limit_are_told(plan):
    outcome = outcome_of(plan, board(1000, seed=3, able={"small": -1.0, "large": 8.0}))
    assert outcome.kept is False
    assert outcome.words()[1].startswith("The floor DID NOT HOLD: loss against large +")
    assert outcome.words()[1].endswith(" points, 5 allowed.")
    both = replace(outcome, floors=((True, "recall of 'a'"), (False, "loss"), (False, "recall of 'b'")))
    assert both.words()[1:3] == ["The floor DID NOT HOLD: loss; recall of 'b'.", "The floor held: recall of 'a'."]
    assert not any("stands" in line for line in outcome.words())
    limit = plan_on(board(400), PAIR, Goal(limit=10.0))
    assert outcome_of(limit, board(1000, seed=4)).words()[1] == "The spend limit held."
    aim = plan_on(board(400), PAIR, Goal(per_1000=10.0))
    assert outcome_of(aim, board(1000, seed=4)).kept is None
    assert outcome_of(aim, board(1000, seed=4)).words()[-1].startswith("No shift seen (")


def test_nothing_stands_where_a_floor_was_broken_without_a_shift(plan):
    """Labels of test turned wrong: the scores are the same, the quality is not."""
    outcome = outcome_of(plan, board(3000, seed=1))
    broken = dataclasses.replace(outcome, kept=False)
    assert outcome.words()[-1].startswith("No shift seen, the promise stands (")
    assert broken.words()[-1].endswith(
        "), and what was promised was not kept all the same: plan again with these rows."
    )
    assert broken.as_dict()["shift"]["words"] == broken.words()[-1]


def test_nothing_stands_where_nothing_was_promised():
    made = plan_on(board(60), PAIR, Goal(floor=0.99))
    assert made.certificate.index is None
    outcome = outcome_of(made, board(1000, seed=1))
    assert outcome.promised is False
    assert "stands" not in outcome.words()[-1] and "withdrawn" not in outcome.words()[-1]
