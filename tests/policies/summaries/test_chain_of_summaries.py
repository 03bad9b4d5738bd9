"""Chains of several summarisers, ours and the published rules, on summaries of known quality."""

import numpy as np
import pytest

from askless.errors import DataError
from askless.panel import NO_LABEL
from askless.policies.base import Budget
from askless.policies.chain.chain import Chain
from askless.policies.chain.published import ForwardChain, RandomChain, RankChain
from tests.policies.summaries.made import PRICES, Writes, board

TRIO = tuple(PRICES)
COST = np.array(list(PRICES.values()))
PUBLISHED = (ForwardChain, RankChain, RandomChain)
BUDGETS = (None, Budget(share=0.35), Budget(per_1000=9_000.0), Budget(price=0.01))


def drawn(n, seed=0, *, means=(0.3, 0.4, 0.45), inform=1.0, own=0.1, silent=0.0, unstated=0.0):
    """Quality and mean log-probability of three summarisers, (n, 3) each; `inform` is how much the second tells.

    Where a summary is missing its quality is 0 and its log-probability NaN.
    """
    rng = np.random.default_rng([seed, n])
    luck = rng.normal(size=(n, 3)) * own + rng.normal(size=(n, 1)) * 0.05
    quality = np.clip(np.array(means) + luck, 0.02, 1)
    told = inform * luck + np.sqrt(1 - inform**2) * rng.normal(size=(n, 3)) * luck.std()
    logprob = np.minimum(-1 + 3 * told, -0.001)
    mute = rng.random((n, 3)) < silent
    logprob[mute | (rng.random((n, 3)) < unstated)] = np.nan
    quality[mute] = 0.0
    return quality, logprob, mute


def panel(data, *, blind=False, rows=slice(None)):
    """A panel of three summarisers at `PRICES`."""
    quality, logprob, mute = (of[rows] for of in data)
    texts = [[None if m else f"a summary of {row}" for row, m in enumerate(column)] for column in mute.T]
    experts = [
        Writes(name, texts[j], quality[:, j], cost=PRICES[name], logprob=logprob[:, j]) for j, name in enumerate(TRIO)
    ]
    return board(["a document"] * len(quality), experts, blind=blind)


NOBODY = panel(drawn(1), rows=slice(0, 0))


def had(done, data):
    """The quality of the summary kept for each row."""
    return data[0][np.arange(len(done.expert)), done.expert]


def fitted(data, **options):
    return Chain(TRIO, **options).fit(panel(data), NOBODY)


def curve(policy, data, per_item):
    """Mean quality on new rows at each of the costs `per_item`, and what was paid."""
    found = [policy.decide(panel(data, blind=True), Budget(per_1000=1000 * cost)) for cost in per_item]
    return np.array([(had(done, data).mean(), done.cost.mean()) for done in found]).T


@pytest.mark.parametrize("seed", range(3))
def test_where_the_log_probability_informs_a_chain_beats_the_straight_line(seed):
    test = drawn(2000, 10 + seed, inform=0.8)
    policy = fitted(drawn(500, seed, inform=0.8))
    reached, paid = curve(policy, test, np.linspace(2, 14, 7))
    line = np.interp(paid, COST[[0, -1]], test[0].mean(axis=0)[[0, -1]])
    assert (reached > line + 0.015).all()


@pytest.mark.parametrize("on_valid", [True, False])
@pytest.mark.parametrize(("inform", "unstated"), [(1.0, 0.0), (0.05, 0.0), (0.0, 1.0)])
def test_budgets_are_met_however_little_the_confidence_tells(inform, unstated, on_valid):
    rows = {"inform": inform, "unstated": unstated}
    valid = panel(drawn(1000, 2, **rows)) if on_valid else NOBODY
    policy = Chain(TRIO).fit(panel(drawn(1000, 1, **rows)), valid)
    test = drawn(1000, 2 if on_valid else 1, **rows)
    for share in (0.1, 0.5, 0.85):
        # Three standard errors of a share of 1,000 draws are at most .047.
        asked = policy.decide(panel(test, blind=True), Budget(share=share)).asked[:, 1].mean()
        assert asked == pytest.approx(share, abs=0.047 if unstated else 0.012)
    paid = np.array([3.0, 8.0, 16.0])
    assert curve(policy, test, paid)[1] == pytest.approx(paid, rel=0.15 if unstated else 0.05)


def test_where_nothing_is_stated_each_link_is_of_its_mean_quality_and_chance_decides():
    data = drawn(800, 3, unstated=1.0)
    policy = fitted(data)
    done = policy.decide(panel(data, blind=True), Budget(per_1000=1e9))
    for j, step in enumerate(done.steps):
        assert np.ptp(step.score) == 0
        assert step.score[0] == pytest.approx(data[0][:, j].mean(), abs=1e-3)
    assert (done.expert == 2).all()
    reached, paid = curve(policy, drawn(4000, 4, unstated=1.0), np.array([2.0, 4.0]))
    means = data[0].mean(axis=0)
    # A row costs a small one or a large one: chance is on the line between those two.
    assert reached == pytest.approx(means[0] + (paid - 1) / 3 * (means[1] - means[0]), abs=0.01)


def test_where_costlier_ones_are_worse_all_is_kept_and_at_a_price_nobody_is_asked():
    data, test = (drawn(400, seed, means=(0.6, 0.3, 0.2), own=0.02) for seed in (5, 6))
    policy = fitted(data)
    for budget in BUDGETS:
        done = policy.decide(panel(test, blind=True), budget)
        assert (done.expert == 0).all()
    assert done.cost.tolist() == [1.0] * 400


def test_the_summary_that_promises_most_is_kept_and_no_confidence_is_stated():
    test = drawn(600, 8, means=(0.4, 0.4, 0.4))
    policy = fitted(drawn(600, 7, means=(0.4, 0.4, 0.4)), prune=False)
    assert policy.subchains_[0].aggregate == "posterior"
    done = policy.decide(panel(test, blind=True), Budget(per_1000=1e9))
    sure = np.stack([step.score for step in done.steps], axis=1)
    assert done.expert.tolist() == sure.argmax(axis=1).tolist()
    assert had(done, test).mean() > test[0].mean() + 0.05
    assert (done.label == NO_LABEL).all() and np.isnan(done.confidence).all()
    assert fitted(test, aggregate="last").subchains_[0].aggregate == "last"


def test_expected_quality_is_what_is_had():
    data, test = drawn(2000, 9, silent=0.1), drawn(2000, 10, silent=0.1)
    done = fitted(data).decide(panel(test, blind=True), Budget(per_1000=1e9))
    for j, step in enumerate(done.steps):
        there = ~test[2][step.rows, j]
        for third in np.array_split(np.argsort(step.score[there]), 3):
            assert step.score[there][third].mean() == pytest.approx(
                test[0][step.rows, j][there][third].mean(), abs=0.03
            )


def test_a_missing_summary_goes_on_first_and_one_already_paid_stands_in():
    quality, logprob, mute = drawn(300, 11)
    policy = fitted((quality, logprob, mute))
    mute[:20, 0], mute[20:60, 1:], mute[:5] = True, True, True
    test = quality, np.where(mute, np.nan, logprob), mute
    done = policy.decide(panel(test, blind=True), Budget(share=0.3))
    assert done.asked[:20, 1].all()
    assert (done.expert[5:20] > 0).all()
    assert (done.expert[20:60] == 0).all()
    nothing = policy.decide(panel(test, blind=True), Budget(share=0.0))
    assert not nothing.expert.any() and nothing.cost.tolist() == [1.0] * 300


def test_the_published_rule_keeps_the_thirds_of_the_largest_log_probability():
    data = drawn(9, 12)
    logprob = data[1]
    first = np.argsort(-logprob[:, 0])[:3]
    rest = np.setdiff1d(np.arange(9), first)
    second = rest[np.argsort(-logprob[rest, 1])[:3]]
    wanted = np.full(9, 2)
    wanted[first], wanted[second] = 0, 1
    done = ForwardChain(TRIO).fit(panel(data), NOBODY).decide(panel(data, blind=True))
    assert done.expert.tolist() == wanted.tolist()
    assert done.cost.tolist() == np.cumsum(COST)[wanted].tolist()
    assert (done.label == NO_LABEL).all() and np.isnan(done.confidence).all()


def test_the_published_ranks_pick_the_visited_link_a_row_stands_highest_at():
    data = drawn(60, 13)
    done = RankChain(TRIO).fit(panel(data), NOBODY).decide(panel(data, blind=True))
    rank = np.full((60, 3), -1.0)
    for j, step in enumerate(done.steps):
        rank[step.rows, j] = [(step.score <= own).mean() for own in step.score]
    assert done.expert.tolist() == rank.argmax(axis=1).tolist()
    assert had(done, data).mean() > data[0][:, 0].mean()


def test_a_missing_summary_follows_the_published_rule():
    quality, logprob, mute = drawn(9, 14)
    mute[[0, 1]] = True
    logprob[0], logprob[1] = np.nan, -0.0005
    done = (
        ForwardChain(TRIO)
        .fit(panel((quality, logprob, mute)), NOBODY)
        .decide(panel((quality, logprob, mute), blind=True))
    )
    # What states nothing goes on to the last link and stays there; what states much stays with the first.
    assert done.expert[:2].tolist() == [2, 0]
    assert done.asked[0].all()


def test_published_rules_refuse_a_link_that_must_be_judged_and_states_nothing():
    quality, logprob, mute = drawn(30, 16)
    logprob[:, 2] = np.nan
    train = panel((quality, logprob, mute))
    assert ForwardChain(TRIO).fit(train, NOBODY) and RandomChain(TRIO).fit(train, NOBODY)
    with pytest.raises(DataError) as error:
        RankChain(TRIO).fit(train, NOBODY)
    assert str(error.value) == (
        "answers of 'huge': RankChain goes by their log-probability and none states one. Allowed: the "
        "log-probability of each answer (logprob), of a text the mean over its tokens. Record logprob, or choose the "
        "policy 'chain', which needs none."
    )
    logprob[:, 0] = np.nan
    with pytest.raises(DataError, match=r"^answers of 'small': ForwardChain goes by their log-probability"):
        ForwardChain(TRIO).fit(panel((quality, logprob, mute)), NOBODY)


@pytest.mark.parametrize("kind", [Chain, ForwardChain])
@pytest.mark.parametrize("unstated", [0.0, 1.0])
def test_a_measure_of_classes_is_refused(kind, unstated):
    with pytest.raises(DataError) as error:
        kind(TRIO, measure="margin").fit(panel(drawn(30, 17, unstated=unstated)), NOBODY)
    assert str(error.value) == (
        "answers of 'small': measure 'margin' needs the probability of every class and the answers are texts, which "
        "have none. Allowed: logprob, least_confidence or auto. Choose one of these."
    )
