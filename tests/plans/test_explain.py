"""Why a row went where it went."""

import json
from dataclasses import replace

import numpy as np
import pytest

from askless.errors import DataError
from askless.panel import NO_LABEL
from askless.plans.explain import explain
from askless.policies.base import Budget, Decisions, Step
from askless.policies.two_tier import TwoTier
from tests.plan_data import board as labelled_board

PRICES = {"small": 0.001, "middle": 0.01, "large": 0.1}


def decisions():
    """Rows: kept at once; went on to the large one; silent, went on to the middle; at the threshold; none answered."""
    asked = np.array([[1, 0, 0], [1, 1, 1], [1, 1, 0], [1, 1, 0], [1, 0, 0]], bool)
    first = Step(
        "small", np.arange(5), np.array([2.0, 0.1, np.nan, 0.5, np.nan]), np.array([0.5, 0.5, 0.5, 0.5, -np.inf])
    )
    first.threshold[3] = np.nextafter(0.5, 1)
    second = Step("middle", np.array([1, 2, 3]), np.array([0.2, 0.9, 0.9]), np.full(3, 0.4))
    return Decisions(
        experts=("small", "middle", "large"),
        expert=np.array([0, 2, 1, 1, 0]),
        label=np.array([0, 1, 1, 0, NO_LABEL]),
        score=np.zeros(5),
        cost=asked @ np.array([0.001, 0.01, 0.1]),
        asked=asked,
        confidence=np.array([0.97, 0.8, np.nan, 0.9, np.nan]),
        steps=(first, second),
    )


def words(row):
    return explain(decisions(), row, PRICES, ("no", "yes")).words()


def test_a_kept_row():
    assert words(0) == [
        "small was sure enough: it scored 2, and answers are kept from 0.5 on.",
        "The answer is 'no' by small, 97 % likely to be right.",
        "It cost 0.001 usd to ask small. An item costs in the mean: small alone 0.001, middle alone 0.01, "
        "large alone 0.1, asking middle as well 0.011, asking large as well 0.101.",
    ]


@pytest.mark.parametrize(("score", "end"), [(0.7, "."), (0.1, "."), (0.5, ", but its draw sent it on.")])
def test_a_look_before_anybody_was_asked(score, end):
    look = Step("", np.arange(5), np.full(5, score), np.full(5, np.nextafter(0.5, 1)))
    (said, *_) = explain(replace(decisions(), steps=(look,)), 0, PRICES, ("no", "yes")).words()
    assert said == f"Before anybody was asked it scored {score}, and the first expert keeps items from 0.5 on{end}"


def test_a_row_that_went_all_the_way():
    assert words(1) == [
        "small was not sure enough: it scored 0.1, and answers are kept from 0.5 on.",
        "middle was not sure enough: it scored 0.2, and answers are kept from 0.4 on.",
        "The answer is 'yes' by large, 80 % likely to be right.",
        "It cost 0.111 usd to ask small, middle, large. An item costs in the mean: small alone 0.001, "
        "middle alone 0.01, large alone 0.1, stopping after small and middle 0.011.",
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (2, "small stated no confidence: the row went on."),
        (3, "small was just at the threshold, 0.5, and the row's draw sent it on."),
        (4, "small stated no confidence: its answer was kept."),
    ],
)
def test_silence_and_ties(row, said):
    assert words(row)[0] == said


def test_a_row_nobody_answered_and_one_asked_straight_away():
    assert words(4)[1] == "The answer is no label by small."
    straight = Decisions(
        ("small", "large"),
        *(np.array([1]), np.array([1]), np.array([np.nan]), np.array([0.1])),
        asked=np.array([[False, True]]),
        confidence=np.array([np.nan]),
    )
    assert explain(straight, 0, PRICES, ("no", "yes")).words()[0] == (
        "large answered straight away: nothing was looked at before."
    )


def test_plain_values_for_json_have_no_nan():
    for row in range(5):
        got = explain(decisions(), row, PRICES, ("no", "yes")).as_dict()
        assert json.loads(json.dumps(got, allow_nan=False)) == got
    assert got["looks"] == [{"expert": "small", "score": None, "threshold": None, "kept": True}]


def test_a_row_that_was_not_decided_is_refused():
    with pytest.raises(DataError) as error:
        words(5)
    assert str(error.value) == "row: 5. Allowed: 0 to 4. Name a decided row."


def test_what_is_told_agrees_with_what_a_policy_did():
    board = labelled_board(120)
    policy = TwoTier(("small", "large")).fit(board.copy(), board.take(np.zeros(0, int)))
    done = policy.decide(board.copy(blind=True), Budget(share=0.4))
    prices = {name: float(board.copy().ask(name).cost.mean()) for name in ("small", "large")}
    told = [explain(done, row, prices, board.classes) for row in range(len(board))]
    assert [len(t.looks) for t in told] == [1] * 120
    assert [t.looks[0].kept for t in told] == (~done.asked[:, 1]).tolist()
    assert sum(not t.looks[0].kept for t in told) == pytest.approx(48, abs=2)
    assert all(t.cost == pytest.approx(sum(prices[name] for name in t.asked)) for t in told)
