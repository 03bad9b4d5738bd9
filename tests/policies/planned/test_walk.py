import numpy as np
import pytest

from askless.policies.planned.gain_rule import GainRule
from askless.policies.planned.subchains import Subchains
from askless.policies.planned.walk import STOP, Alone, RuleVerdict, outcomes, walk
from tests.policies.answered import ODD, led, made


class Chain:
    """Asks the experts of a fixed chain in turn while the confidence is under its point's threshold."""

    points = 2

    def __init__(self, chain, thresholds=(1.0, 0.8)):
        self.chain, self.thresholds, self.seen = chain, np.array(thresholds), []

    def first(self, point):
        return np.full(len(point), self.chain[0])

    def look(self, point, heard):
        self.seen.append(heard)
        n, links = len(heard), len(heard.experts)
        then = self.chain[links] if links < len(self.chain) else STOP
        sure = heard.p[:, -1]
        bar = self.thresholds[point]
        return RuleVerdict(np.full(n, heard.experts[-1]), sure, sure, bar, np.where(sure < bar, then, STOP))


def test_each_expert_is_asked_once_and_only_for_the_rows_due():
    told, calls = made(50), []

    def ask(j, rows):
        calls.append((j, rows))
        return told.label[rows, j], told.p[rows, j], told.score[rows, j]

    rule = Chain((0, 2))
    done = walk(rule, np.ones(50, int), 3, ask)
    assert [j for j, _ in calls] == [0, 2]
    unsure = np.flatnonzero(told.p[:, 0] < 0.8)
    np.testing.assert_array_equal(calls[1][1], unsure)
    np.testing.assert_array_equal(np.flatnonzero(done.asked[:, 2]), unsure)
    assert not done.asked[:, 1].any()
    np.testing.assert_array_equal(done.last.answer, np.where(done.asked[:, 2], 2, 0))
    assert [j for j, _, _ in done.looks] == [0, 2]


def test_a_rule_sees_nothing_of_experts_that_were_not_asked():
    told, rule = made(50), Chain((0, 2))
    walk(rule, np.ones(50, int), 3, lambda j, rows: (told.label[rows, j], told.p[rows, j], told.score[rows, j]))
    assert [heard.experts.tolist() for heard in rule.seen] == [[0], [0, 2]]
    assert [heard.p.shape[1] for heard in rule.seen] == [1, 2]


def test_outcomes_are_of_every_point_and_then_of_each_expert_alone():
    told = made(200)
    right, cost, beyond = outcomes(Chain((0, 2)), told)
    assert right.shape == cost.shape == beyond.shape == (5, 200)
    np.testing.assert_array_equal(right[0], told.right[:, 2])
    np.testing.assert_array_equal(cost[0], 17.0)
    unsure = told.p[:, 0] < 0.8
    np.testing.assert_array_equal(cost[1], np.where(unsure, 17.0, 1.0))
    np.testing.assert_array_equal(right[1], np.where(unsure, told.right[:, 2], told.right[:, 0]))
    np.testing.assert_array_equal(beyond[1], unsure)
    np.testing.assert_array_equal(right[2:], told.right.T)
    np.testing.assert_array_equal(cost[2:], told.cost.T)
    assert beyond[2:].mean(axis=1).tolist() == [0, 1, 1]


def test_beyond_the_first_is_counted_from_the_expert_that_is_named():
    told = made(20)
    assert outcomes(Chain((0,)), told, first=1)[2][2:].mean(axis=1).tolist() == [1, 0, 1]


def test_outcomes_in_parts_are_those_at_once(monkeypatch):
    told = made(30)
    whole = outcomes(Chain((0, 1, 2)), told)
    monkeypatch.setattr("askless.policies.planned.walk.AT_ONCE", 40)
    for part, once in zip(outcomes(Chain((0, 1, 2)), told), whole, strict=True):
        np.testing.assert_array_equal(part, once)


def test_a_row_without_a_label_is_not_right():
    told = made(10, mute=(2, [0, 1]))
    look = RuleVerdict(np.full(1, STOP), np.zeros(1), np.zeros(1), np.zeros(1), np.full(1, STOP))

    class Silent(Chain):
        def look(self, point, heard):
            found = super().look(point, heard)
            found.answer[heard.label[:, -1] < 0] = look.answer[0]
            return found

    right, _, _ = outcomes(Silent((2,)), told)
    assert not right[0, :2].any()


def test_alone_ends_after_one_answer():
    told = made(10)
    led = Alone(Chain((0, 1, 2), thresholds=(2.0, 2.0)), 3)
    done = walk(led, np.full(10, 3), 3, lambda j, rows: (told.label[rows, j], told.p[rows, j], told.score[rows, j]))
    assert done.asked.sum(axis=0).tolist() == [0, 10, 0]
    assert (done.last.threshold == -np.inf).all()


@pytest.mark.parametrize("rule", [GainRule, Subchains])
@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("n", [1, 2, 40])
def test_odd_answers_end_in_finite_decisions(rule, odd, n):
    told = made(max(n, 5), **odd)[np.arange(n)]
    fitted = rule().fit(told)
    for point in (0, 70, 140):
        done = led(fitted, told, point)
        assert ((done.last.sure >= 0) & (done.last.sure <= 1)).all()
        assert not np.isnan(done.last.threshold).any()
        assert done.asked.any(axis=1).all()
