"""Votes weighted by calibrated confidence, and the subsets that are worth asking."""

import numpy as np
import pytest

from askless.panel import NO_LABEL
from askless.policies.base import Budget
from askless.policies.planned.subset import Subset
from askless.policies.planned.votes import Votes, VoteSets, counted
from askless.policies.planned.walk import STOP, AnswerMatrix, outcomes
from tests.policies.answered import empty_of, led, made, panel_of


@pytest.mark.parametrize(
    ("label", "weight", "best", "lead"),
    [
        ([0, 1, 1], [3.0, 1.0, 1.0], 0, 1.0),
        ([0, 1, 1], [1.5, 1.0, 1.0], 2, 0.5),
        ([2, 2, NO_LABEL], [1.0, 0.0, 9.0], 1, 1.0),
        ([0, 1, 2], [1.0, 1.0, 1.0], 2, 0.0),
        ([NO_LABEL] * 3, [0.0, 0.0, 0.0], STOP, 0.0),
    ],
)
def test_the_class_of_most_weight_stands_and_of_its_votes_the_last(label, weight, best, lead):
    assert [each[0] for each in counted(np.array([label]), np.array([weight]))] == [best, lead]


def independent(n, skill, classes=3, seed=0):
    """Answers of experts who err independently and say how often they are right."""
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, classes, n)
    right = rng.random((n, np.shape(skill)[-1])) < skill
    label = np.where(right, gold[:, None], (gold[:, None] + rng.integers(1, classes, right.shape)) % classes)
    p = np.broadcast_to(np.asarray(skill), right.shape).astype(float)
    return AnswerMatrix(label, p, p, np.broadcast_to(4.0 ** np.arange(right.shape[1]), right.shape).copy(), right)


def test_weights_are_those_that_decide_best_where_errors_are_independent():
    seen = independent(20_000, (0.5, 0.7, 0.9))
    weight = Votes().fit(seen).weights(seen.label[:1], seen.p[:1], np.arange(3))[0]
    np.testing.assert_allclose(weight, np.log(2 * np.array([0.5, 0.7, 0.9]) / [0.5, 0.3, 0.1]), atol=0.06)


def test_three_votes_beat_the_best_voter_and_the_posterior_is_what_comes_true():
    seen, new = independent(4_000, (0.7, 0.72, 0.75)), independent(4_000, (0.7, 0.72, 0.75), seed=1)
    rule = VoteSets().fit(seen)
    right, _, _ = outcomes(rule, new)
    assert right[0].mean() > new.right.mean(axis=0).max() + 0.03
    last = led(rule, new, 0).last
    assert abs(last.sure.mean() - right[0].mean()) < 0.02


def test_rows_without_an_answer_teach_nothing_of_what_a_lead_means():
    def often_silent(seed):
        rng = np.random.default_rng(seed)
        seen = independent(3_000, rng.uniform(0.34, 0.95, (3_000, 2)), seed=seed)
        silent = rng.random(seen.label.shape) < 0.5
        seen.label[silent], seen.right[silent], seen.p[silent] = NO_LABEL, False, np.nan
        return seen

    rule, new = VoteSets().fit(often_silent(0)), often_silent(1)
    last = led(rule, new, rule.points - 1).last
    unsure = (last.answer != STOP) & (last.sure < 0.55)
    right = new.right[np.arange(len(new)), last.answer]
    assert abs(last.sure[unsure].mean() - right[unsure].mean()) < 0.06


def test_a_dearer_lambda_costs_less_on_train_and_the_dearest_asks_the_cheapest_alone():
    seen = made(400, (0.6, 0.7, 0.75, 0.85), (1.0, 2.0, 4.0, 9.0))
    rule = VoteSets().fit(seen)
    cost = outcomes(rule, seen)[1].mean(axis=1)[: rule.points]
    assert cost[0] > 2 * cost[-1]
    assert cost[-1] == 1.0
    # Whom to ask first changes, so that only by and large it falls.
    assert (np.diff(cost[::20]) <= 1e-9).all()


def test_a_vote_that_cannot_help_is_not_paid_for():
    """Two who always say the same are one voter."""
    seen = made(600, (0.75, 0.75, 0.6), (1.0, 2.0, 3.0), seed=4)
    seen.label[:, 1], seen.right[:, 1], seen.p[:, 1] = seen.label[:, 0], seen.right[:, 0], seen.p[:, 0]
    rule = VoteSets().fit(seen)
    # Where a point of quality is worth a fiftieth of the cheapest's price or less.
    for point in np.flatnonzero(rule.lambdas_ >= 0.02)[::10]:
        assert not np.any(led(rule, seen, point).asked[:, :2].all(axis=1))


def test_a_third_vote_is_asked_for_though_the_second_alone_changes_nothing():
    """Of two votes that weigh about the same the second decides nothing; of three any two do."""
    seen = independent(3_000, (0.75, 0.75, 0.75), 2)
    seen.cost[:] = 1.0
    rule = VoteSets().fit(seen)
    asked = led(rule, seen, int(np.searchsorted(rule.lambdas_, 0.01))).asked.sum(axis=1)
    assert (asked >= 2).all()
    assert set(asked) == {2, 3}


def test_the_policy_stays_within_its_budget_and_beats_each_expert_at_its_price():
    skill = (0.7, 0.72, 0.75)
    train, test = independent(600, skill, 2), independent(2_000, skill, 2, seed=2)
    policy = Subset(("e0", "e1", "e2")).fit(panel_of(train), empty_of(train))
    done = policy.decide(panel_of(test, blind=True), Budget(per_1000=1000 * 16.0))
    assert done.cost.mean() < 16.5
    assert (done.label == panel_of(test).gold).mean() > 0.78
