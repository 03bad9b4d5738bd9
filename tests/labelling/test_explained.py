"""Why a model that learns asked one more."""

from types import SimpleNamespace

import numpy as np

from askless.labelling.explained import Asked, LiveExplanation, _asked
from askless.policies.bandit.bandit import Bandit
from askless.policies.bandit.rounds import Rounds
from tests.policies.chain_data import CLASSES, board, drawn, names, nobody


def test_who_was_asked_because_of_what_was_said_before_is_told_with_chances():
    asked = (Asked("tiny", "yes", 0.001, True, None, 0.7), Asked("large", "no", 0.02, False, 0.7, 0.9))
    words = LiveExplanation("k", "2026-11-30", 3, 120, asked, "no", "no").words()
    assert words == [
        "Decided on 2026-11-30 by version 3, taught by 120 labels.",
        "tiny was asked first and said 'yes', for $0.001; then 70 % likely to be right.",
        "large was asked as well, for the answer at hand was 70 % likely to be right, and said 'no', for $0.02; "
        "then 90 % likely to be right.",
        "The answer was 'no', for $0.021; the label that came is 'no'.",
    ]
    assert LiveExplanation("k", "2026-11-30", 3, None, (), None, None).words()[1].startswith("Nobody was asked")


def test_answers_are_told_in_the_order_in_which_they_were_asked_for_whatever_each_cost():
    """The rule asks whom it takes for costlier next, though the answer of the cheaper cost more this time."""
    bandit = Bandit(names(3)).fit(board(*drawn(200)), nobody())
    rounds = Rounds.blank(names(3), np.arange(1))
    rounds.cost[0], rounds.label[0], rounds.p[0], rounds.free[0, 0] = (3.0, 50.0, 40.0), 1, 0.8, True
    asked = _asked(SimpleNamespace(classes=CLASSES), bandit, rounds)
    assert [each.expert for each in asked] == ["e0", "e1", "e2"]
    assert [each.before for each in asked[1:]] == [each.after for each in asked[:2]]
