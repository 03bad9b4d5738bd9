import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askless.errors import ConfigError
from askless.evaluation.replay import replay
from askless.panel import NO_LABEL
from askless.policies.base import Budget
from askless.policies.chain.chain import Chain
from askless.policies.chain.subchain import best_so_far
from tests.policies.chain_data import board, drawn, names, nobody

TRIO = names(3)


def fitted(data, **options):
    return Chain(names(data[1].shape[1]), **options).fit(board(*data), nobody(data[1].shape[1]))


def decided(policy, data, budget=None):
    panel = board(*data, blind=True)
    return policy.decide(panel, budget), panel


def reach(policy, sure):
    """The chance of each row to reach each link by the policy's own rule, (rows, links)."""
    out = [np.ones(len(sure))]
    for link, cut in enumerate(policy.thresholds_):
        out.append(out[-1] * cut.share(sure[:, link]))
    return np.stack(out, axis=1)


SPLITS = st.lists(st.integers(0, 5), min_size=3, max_size=3).filter(sum).map(lambda v: tuple(np.array(v) / sum(v)))


@settings(max_examples=60)
@given(st.integers(0, 1000), st.integers(1, 40), st.sampled_from([0, 1, 2, 4]), SPLITS)
def test_each_link_keeps_its_exact_share_in_expectation_ties_or_not(seed, rows, ties, shares):
    data = drawn(rows, 3, seed, ties=ties, silent=0.1)
    train = drawn(50, 3, seed + 1, ties=ties)
    policy = Chain(TRIO, shares=shares, random_state=seed).fit(board(*train), board(*data))
    every = policy.decide(board(*data, blind=True), Budget(per_1000=1e9))
    sure = np.stack([step.score for step in every.steps], axis=1)
    assert reach(policy, sure).mean(axis=0) == pytest.approx(np.cumsum(shares[::-1])[::-1], abs=1e-9)


def test_shares_are_equal_by_default_as_published():
    data = drawn(3000, seed=1)
    done, _ = decided(Chain(TRIO).fit(board(*drawn(300, seed=2)), board(*data)), data)
    assert [len(step.rows) for step in done.steps] == pytest.approx([3000, 2000, 1000], abs=1)


def test_of_tied_rows_the_draw_lets_the_share_on():
    data = drawn(6000, seed=3)
    data[2][:] = np.log(0.7)
    done, _ = decided(Chain(TRIO, aggregate="last").fit(board(*data), board(*data)), data)
    # Three standard errors of a share of a third of 6,000 draws are .018.
    assert [len(step.rows) / 6000 for step in done.steps] == pytest.approx([1, 2 / 3, 1 / 3], abs=0.02)


@pytest.mark.parametrize("ties", [0, 3])
def test_a_budget_is_met_on_rows_like_those_it_was_set_on(ties):
    valid = drawn(3000, seed=4, ties=ties)
    policy = Chain(TRIO).fit(board(*drawn(500, seed=5, ties=ties)), board(*valid))
    low, high = policy.points_.cost[[0, -1]]
    for share in (0.0, 0.123, 0.5, 0.777, 1.0):
        by_share = decided(policy, valid, Budget(share=share))[0]
        assert by_share.asked[:, 1].mean() == pytest.approx(share, abs=0.025)
        value = low + share * (high - low)
        by_cost = decided(policy, valid, Budget(per_1000=1000 * value))[0]
        assert by_cost.cost.mean() == pytest.approx(value, rel=0.05)


def test_a_sweep_of_budgets_calls_nobody_twice():
    data = drawn(200, seed=8)
    panel, policy = board(*data, blind=True), fitted(drawn(200, seed=9))
    run = replay("chain", {0: policy}, {0: panel}, [Budget(share=s) for s in np.linspace(0, 1, 100)])
    assert all(len(panel._experts[name].asked) <= 200 for name in TRIO)
    assert (np.diff(run.cost.mean(axis=(1, 2))) >= -1e-9).all()


def test_confidence_is_the_calibrated_probability_of_the_answer_given():
    policy = fitted(drawn(3000, seed=12))
    data = drawn(3000, seed=13)
    done, _ = decided(policy, data, Budget(share=0.4))
    right = done.label == data[0]
    assert done.confidence.mean() == pytest.approx(right.mean(), abs=0.05)
    sure = done.confidence > np.median(done.confidence)
    assert right[sure].mean() > right[~sure].mean() + 0.1


def test_a_silent_expert_is_passed_on_first_and_one_already_paid_answers_for_it():
    gold, label, logprob, cost = drawn(200, 2, seed=14)
    policy = fitted((gold, label, logprob, cost), aggregate="last")
    label = label.copy()
    label[:20, 0], label[20:60, 1], label[:5, 1] = NO_LABEL, NO_LABEL, NO_LABEL
    done, _ = decided(policy, (gold, label, logprob, cost), Budget(share=0.5))
    assert done.asked[:20, 1].all()
    assert done.label[:5].tolist() == [NO_LABEL] * 5 and np.isnan(done.confidence[:5]).all()
    assert (done.label[5:20] == label[5:20, 1]).all() and (done.expert[5:20] == 1).all()
    assert (done.label[20:60] == label[20:60, 0]).all() and (done.expert[20:60] == 0).all()


def test_with_nothing_to_spend_a_silent_row_stays_without_a_label():
    data = drawn(30, seed=15, silent=0.3)
    done, panel = decided(fitted(drawn(50, seed=16)), data, Budget(share=0.0))
    assert (done.label == data[1][:, 0]).all()
    assert panel.total == pytest.approx(data[3][:, 0].sum())


def test_an_expert_that_states_nothing_is_held_against_those_already_paid():
    gold, label, logprob, cost = drawn(2000, seed=17)
    logprob[:, 1] = np.nan
    policy = fitted((gold, label, logprob, cost), aggregate="last")
    done, _ = decided(policy, (gold, label, logprob, cost), Budget(per_1000=60_000.0))
    second = done.steps[1]
    agree = label[second.rows, 0] == label[second.rows, 1]
    assert second.score[agree].min() > second.score[~agree].max()


def test_best_so_far():
    standing = np.array([[0.5, 0.5, 0.4], [0.2, 0.1, 0.9], [-1.0, -1.0, -2.0]])
    assert best_so_far(standing, "posterior").tolist() == [[0, 1, 1], [0, 0, 2], [0, 1, 1]]
    assert best_so_far(standing, "rank").tolist() == [[0, 0, 0], [0, 0, 2], [0, 0, 0]]


def world_where_the_costlier_one_is_worse(rows, seed):
    """The first is right as often as it says; the second knows less, and says so."""
    rng = np.random.default_rng(seed)
    p = np.column_stack([rng.uniform(0.3, 1, rows), rng.uniform(0.1, 0.9, rows)])
    label = np.where(rng.random((rows, 2)) < p, 0, rng.integers(1, 3, (rows, 2)))
    return np.zeros(rows, int), label, np.log(p), np.tile([1.0, 10.0], (rows, 1))


def test_answers_are_combined_only_where_that_helps_on_the_rows_set_aside():
    data = world_where_the_costlier_one_is_worse(800, 18)
    policy = Chain(names(2)).fit(board(*data), board(*world_where_the_costlier_one_is_worse(800, 19)))
    assert policy.subchains_[0].aggregate == "posterior"
    test = world_where_the_costlier_one_is_worse(800, 20)
    combined = decided(policy, test, Budget(share=0.9))[0]
    last = decided(fitted(data, aggregate="last"), test, Budget(share=0.9))[0]
    assert (combined.label == 0).mean() > (last.label == 0).mean() + 0.03
    assert (combined.expert[combined.asked[:, 1]] == 0).any()
    # An expert that is always right needs no second opinion.
    data[1][:, 1] = 0
    assert fitted(data).subchains_[0].aggregate == "last"


@pytest.mark.parametrize("how", ["last", "rank", "posterior"])
def test_an_aggregate_can_be_named(how):
    assert fitted(drawn(60, seed=21), aggregate=how).subchains_[0].aggregate == how


def test_arguments_are_checked_in_fit():
    def refused(**options):
        with pytest.raises(ConfigError) as error:
            Chain(TRIO, **options).fit(board(*drawn(5)), nobody())
        return str(error.value)

    assert refused(shares=(0.5, 0.5)) == (
        "Chain got shares (0.5, 0.5). Allowed: 3 numbers from 0 to 1 that add up to 1, one for each expert: "
        "the part of all rows that it keeps."
    )
    assert refused(shares=(0.5, 0.6, -0.1)).startswith("Chain got shares (0.5, 0.6, -0.1).")
    assert refused(aggregate="vote") == "Unknown aggregate of a chain 'vote'. Known: auto, last, posterior, rank."
    assert refused(measure="logits").startswith("Unknown measure of uncertainty 'logits'.")


def test_a_link_that_is_not_worth_its_cost_is_never_asked():
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 3, 600)
    right = rng.random((600, 4)) < np.array([0.6, 0.55, 0.85, 0.7])
    label = np.where(right, gold[:, None], (gold[:, None] + 1) % 3)
    knowing = gold, label, np.log(np.where(right, 0.8, 0.6))
    assert fitted(knowing).subchains_[0].links.tolist() == [0, 1, 2, 3], (
        "who knows when it is right is of use beneath the hull"
    )
    data = gold, label, np.log(rng.uniform(0.5, 0.9, right.shape))
    pruned, whole = (fitted(data, prune=prune) for prune in (True, False))
    assert (pruned.subchains_[0].links.tolist(), whole.subchains_[0].links.tolist()) == ([0, 2], [0, 1, 2, 3])
    budget = Budget(share=0.5)
    few, panel = decided(pruned, data, budget)
    assert panel.asked_of(names(4)).any(axis=0).tolist() == [True, False, True, False]
    assert set(few.expert.tolist()) <= {0, 2} and few.experts == names(4)
    shares = Chain(names(4), shares=(0.25,) * 4).fit(board(*data), nobody(4))
    assert shares.subchains_[0].links.tolist() == [0, 1, 2, 3], "shares are of the links as given"


def test_where_confidence_tells_nothing_money_buys_what_the_best_mix_of_many_experts_does():
    rng = np.random.default_rng(5)

    def world(rows):
        gold = rng.integers(0, 3, rows)
        right = rng.random((rows, 5)) < np.array([0.4, 0.41, 0.8, 0.7, 0.9])
        label = np.where(right, gold[:, None], (gold[:, None] + 1) % 3)
        return gold, label, np.log(rng.uniform(0.5, 0.9, right.shape)), np.tile([1.0, 2, 3, 4, 9], (rows, 1))

    policy, test = fitted(world(1000)), world(4000)
    for paid, mix in ((2.0, 0.6), (3.0, 0.8), (6.0, 0.8 + 0.1 / 3)):
        done, _ = decided(policy, test, Budget(per_1000=1000 * paid))
        # Three standard errors of a share of 4,000 rows are at most .023.
        assert (done.label == test[0]).mean() > mix - 0.023 and done.cost.mean() < 1.03 * paid
    assert done.asked.any(axis=0).tolist() == [False, False, True, False, True]
    assert decided(policy, test, Budget(share=0.5))[0].asked[:, 0].all(), "a share is of rows beyond the first expert"
