import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askless.errors import BudgetError
from askless.panel import NO_LABEL
from askless.policies.base import Budget
from askless.policies.chain.published import ForwardChain, RandomChain, RankChain
from tests.policies.chain_data import board, drawn, names

TRIO = names(3)
INF = math.inf


def decided(policy, *data):
    panel = board(*data, blind=True)
    return policy.decide(panel), panel


def by_the_book(score):
    """The rule row by row, as it is written down: which link keeps each row, and the rows that reach each link."""
    links = len(score[0])
    here, kept, reached = list(range(len(score))), {}, []
    for link in range(links):
        reached.append(list(here))
        k = len(here) // (links - link)
        known = sorted((score[r][link] for r in here if not math.isnan(score[r][link])), reverse=True)
        bar = known[:k][-1] if k and known else None
        for r in list(here):
            if link == links - 1 or (bar is not None and score[r][link] >= bar):
                kept[r] = link
                here.remove(r)
    return [kept[r] for r in range(len(score))], reached


def rank_by_the_book(score, kept, reached):
    chosen = []
    for r, last in enumerate(kept):
        best, who = -1.0, last
        for link in range(last + 1):
            known = [score[q][link] for q in reached[link] if not math.isnan(score[q][link])]
            if math.isnan(score[r][link]):
                continue
            rank = sum(v <= score[r][link] for v in known) / len(known)
            if rank > best:
                best, who = rank, link
        chosen.append(who)
    return chosen


SCORES = st.integers(2, 4).flatmap(
    lambda links: st.lists(
        st.tuples(*[st.sampled_from([-INF, -3.0, -2.0, -1.0, -0.5, 0.0, math.nan])] * links), min_size=1, max_size=14
    )
)


@settings(max_examples=40)
@given(SCORES)
def test_rows_are_kept_and_ranked_by_the_published_rule_ties_and_all(score):
    experts = len(score[0])
    kept, reached = by_the_book(score)
    label = np.tile(np.arange(experts) % 3, (len(score), 1))
    forward, panel = decided(ForwardChain(names(experts)), [0] * len(score), label, score)
    assert forward.expert.tolist() == kept
    assert [np.flatnonzero(panel.asked(name)).tolist() for name in names(experts)] == reached
    ranked, _ = decided(RankChain(names(experts)), [0] * len(score), label, score)
    assert ranked.expert.tolist() == rank_by_the_book(score, kept, reached)
    assert ranked.cost.tolist() == forward.cost.tolist()


def test_equal_shares_without_ties():
    data = drawn(300, seed=1)
    done, _ = decided(ForwardChain(TRIO), *data)
    assert np.bincount(done.expert).tolist() == [100, 100, 100]
    assert [len(step.rows) for step in done.steps] == [300, 200, 100]
    first = done.steps[0]
    assert (first.score[done.expert == 0] >= first.threshold[0]).all()
    assert (first.score[done.expert != 0] < first.threshold[0]).all()


def test_rows_that_tie_at_the_threshold_are_all_kept():
    logprob = np.array([[-1, -1], [-1, -2], [-1, -3], [-2, -4]])
    done, _ = decided(ForwardChain(names(2)), [0] * 4, np.zeros((4, 2), int), logprob)
    assert done.expert.tolist() == [0, 0, 0, 1]


def test_all_equal_scores_stay_with_the_first_link():
    done, panel = decided(ForwardChain(TRIO), [0] * 9, np.zeros((9, 3), int), np.full((9, 3), -0.5))
    assert (done.expert == 0).all()
    assert panel.total == 9.0


def test_one_row_goes_through_to_the_last_link():
    done, panel = decided(ForwardChain(TRIO), [0], [[0, 1, 2]], [[-0.1, -0.2, -0.3]])
    assert (done.expert.tolist(), done.label.tolist(), panel.total) == ([2], [2], 111.0)
    assert [step.threshold.tolist() for step in done.steps] == [[INF], [INF], [-INF]]


def test_where_nothing_is_stated_every_row_goes_on_and_the_last_answers():
    label = np.tile([0, 1, 2], (4, 1))
    for policy in (ForwardChain(TRIO), RankChain(TRIO), RankChain(TRIO, rank=False)):
        done, _ = decided(policy, [0] * 4, label, np.full((4, 3), np.nan))
        assert done.label.tolist() == [2, 2, 2, 2]


def test_a_reply_without_a_label_is_held_to_the_threshold_like_any_other_and_nobody_answers_for_it():
    label = [[0, 1], [NO_LABEL, 1], [0, NO_LABEL], [0, 1]]
    done, _ = decided(ForwardChain(names(2)), [0] * 4, label, [[-1, -1], [-2, -1], [-3, -1], [-4, -1]])
    assert done.label.tolist() == [0, NO_LABEL, NO_LABEL, 1]
    assert np.isnan(done.confidence).all()


def test_the_rank_ensemble_may_take_back_a_row_that_was_passed_on():
    # Row 1 ranks 2/3 at the first link and 1/2 at the second.
    done, _ = decided(RankChain(names(2)), [0] * 3, [[0, 1]] * 3, [[-1, -1], [-2, -3], [-3, -1]])
    assert done.expert.tolist() == [0, 0, 1]


def test_the_min_max_ensemble_stretches_each_links_scores_and_skips_a_link_of_equal_ones():
    policy = RankChain(names(2), rank=False)
    # Row 2 stands at .1 of the first link and highest at the second, row 3 at the bottom of both.
    done, _ = decided(policy, [0] * 4, [[0, 1]] * 4, [[0, -9], [-2, -1], [-9, 0], [-10, -10]])
    assert done.expert.tolist() == [0, 0, 1, 0]
    done, _ = decided(policy, [0] * 3, [[0, 1]] * 3, [[0, -9], [-2, -1], [-2, -1]])
    assert done.expert.tolist() == [0, 0, 0]
    done, _ = decided(policy, [0] * 4, [[0, 1]] * 4, [[0, 0], [-1, 0], [-INF, -1], [-4, -2]])
    assert done.expert.tolist() == [0, 0, 1, 0]


def test_chance_keeps_the_same_shares_whatever_the_scores():
    gold, label, logprob, cost = drawn(301, seed=2, ties=2)
    done, _ = decided(RandomChain(TRIO, random_state=5), gold, label, logprob, cost)
    again, _ = decided(RandomChain(TRIO, random_state=5), gold, label, logprob * 0, cost)
    other, _ = decided(RandomChain(TRIO, random_state=6), gold, label, logprob, cost)
    assert np.bincount(done.expert).tolist() == [100, 100, 101]
    assert done.expert.tolist() == again.expert.tolist() != other.expert.tolist()
    assert done.asked.sum(axis=0).tolist() == [301, 201, 101]


def test_it_takes_no_budget_and_says_so():
    panel = board(*drawn(5))
    with pytest.raises(BudgetError) as error:
        ForwardChain(TRIO).decide(panel, Budget(share=0.3))
    assert str(error.value) == (
        "ForwardChain got a budget, the published rule takes none: each of its 3 links keeps an equal share. "
        "Leave the budget out, or use the policy 'chain'."
    )
    assert panel.total == 0
