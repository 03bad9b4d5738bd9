import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askless.errors import ConfigError
from askless.panel import BlindError
from askless.policies.base import Budget
from askless.policies.summaries.expected_gain import SummaryGain
from tests.policies.summaries.made import PRICES, board, empty, vectors, world

PAIR, THREE = ("small", "large"), ("small", "large", "huge")
WAYS = ({"look_at": "input"}, {"look_at": "small"}, {"look_at": "small", "straight": False})


def policy(experts=PAIR, **options):
    return SummaryGain(experts, vectors(), **{"trees": 20, **options})


def reached(panel, decided):
    return panel.quality_of[np.arange(len(panel)), decided.expert].mean()


@pytest.fixture(scope="module", params=WAYS, ids=("document", "either", "small first"))
def fitted(request):
    return policy(**request.param).fit(world(400), empty())


def test_documents_that_need_it_go_to_the_large_one():
    one = policy().fit(world(400), empty())
    test = world(300, 2, blind=True)
    decided = one.decide(test, Budget(share=0.5))
    assert (decided.expert == 1)[test.storm].mean() > 0.9
    assert (decided.expert == 1)[~test.storm].mean() < 0.1


def test_a_summary_that_went_astray_is_seen_and_replaced():
    one = policy(look_at="small", straight=False).fit(world(400), empty())
    test = world(300, 2, blind=True)
    decided = one.decide(test, Budget(share=float((test.storm | test.astray).mean())))
    went = decided.expert == 1
    assert went[test.astray].mean() > 0.9
    assert went[~test.astray & ~test.storm].mean() < 0.1
    assert decided.asked[:, 0].all()
    assert decided.asked[:, 1].tolist() == went.tolist()


def test_straight_saves_the_small_one_where_the_document_says_enough():
    test = world(300, 2, blind=True)
    one = policy(look_at="small").fit(world(600), empty())
    decided = one.decide(test, Budget(price=0.02))
    straight = decided.asked[:, 1] & ~decided.asked[:, 0]
    assert straight[test.storm].mean() > 0.9
    assert straight[~test.storm].mean() < 0.1
    first = policy(look_at="small", straight=False).fit(world(600), empty()).decide(test.copy(), Budget(price=0.02))
    worth = [reached(test, done) - 0.02 * done.cost.mean() for done in (decided, first)]
    assert worth[0] > worth[1] + 0.005


@pytest.mark.parametrize("valid", [True, False])
def test_budgets_are_met_exactly_in_expectation_on_the_rows_they_were_set_on(valid):
    held = world(300, 1) if valid else empty()
    for options in WAYS:
        one = policy(**options).fit(world(300), held)
        for share in (0.0, 0.13, 0.5, 1.0):
            assert one.by_share_.mix(Budget(share=share)).of(one.by_share_.share) == pytest.approx(share)
        for cost in (1000.0, 1234.5, 2500.0, 3999.0):
            assert one.by_cost_.mix(Budget(per_1000=cost)).of(one.by_cost_.cost) == pytest.approx(cost / 1000)
    if valid:
        test = world(300, 1, blind=True)
        decided = one.decide(test, Budget(share=0.37))
        assert decided.deferral_rate == pytest.approx(0.37, abs=4 * np.sqrt(0.25 / 300))


@pytest.mark.parametrize("options", WAYS)
def test_new_rows_cost_about_what_was_budgeted(options):
    one = policy(**options).fit(world(400), world(600, 1))
    test = world(1000, 5, blind=True)
    seen = one.look(test)
    for cost in (1500.0, 2500.0, 3500.0):
        paid = 1000 * one.decide(test.copy(), Budget(per_1000=cost), seen).cost.mean()
        assert paid == pytest.approx(cost, abs=300)
    rates = [one.decide(test.copy(), Budget(share=s), seen).deferral_rate for s in (0, 0.25, 0.5, 0.75, 1)]
    assert rates[0] == 0
    assert rates[-1] == 1
    assert rates == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=0.08)


def test_a_higher_price_asks_no_more_and_an_absurd_one_nobody(fitted):
    test = world(300, 2, blind=True)
    seen = fitted.look(test)
    rates = [fitted.decide(test.copy(), Budget(price=p), seen).deferral_rate for p in (0, 0.02, 0.05, 0.2, 10)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0.5 > rates[-1] == 0


def test_steps_tell_what_was_held_against_what_and_no_confidence_is_stated(fitted):
    test = world(300, 2, blind=True)
    decided = fitted.decide(test, Budget(price=0.03))
    assert np.isnan(decided.confidence).all()
    assert (decided.label == -1).all()
    went = np.zeros(300, bool)
    for step in decided.steps:
        went[step.rows] = step.score < step.threshold
    assert went.tolist() == (decided.expert == 1).tolist()
    last = decided.steps[-1]
    assert decided.score[last.rows].tolist() == last.score.tolist()
    names = [step.expert for step in decided.steps]
    assert names == ([""] if fitted.look_at == "input" else ["", "small"] if fitted.straight else ["small"])


def test_an_expensive_expert_that_is_worse_is_never_asked_and_that_is_said():
    train = world(400, lift=0.1, off=0.3)
    for options in WAYS:
        one = policy(**options).fit(train, empty())
        test = world(200, 2, lift=0.1, off=0.3, blind=True)
        assert one.single_ == "small"
        for budget in (None, Budget(price=0.0), Budget(price=0.1)):
            decided = one.decide(test.copy(), budget)
            assert decided.deferral_rate == 0
            assert decided.cost.sum() == 200
        mean, low, high = one.gains_[0]
        assert high < 0
        assert one.finding() == (
            f"large costs 4 an item against 1 of small, and is worse: {mean:+.3f} [{low:+.3f}, {high:+.3f}] in "
            "quality. Where quality has no price, small answers all."
        )


def test_of_three_the_best_worth_its_price_is_asked():
    train, test = world(500, names=THREE), world(300, 2, names=THREE, blind=True)
    for options in WAYS:
        one = policy(THREE, **options).fit(train, empty(THREE))
        seen = one.look(test)
        free, fair, expensive = (one.decide(test.copy(), Budget(price=p), seen).expert for p in (0.0, 0.03, 9.0))
        assert (free == 2).mean() > 0.95
        assert (fair[test.storm] == 1).mean() > 0.9
        assert not (fair == 2).any()
        assert not expensive.any()
        cost = 1000 * one.decide(test.copy(), Budget(per_1000=8000), seen).cost.mean()
        assert cost == pytest.approx(8000, rel=0.15)


def test_a_row_without_a_summary_is_worth_all_that_a_costlier_one_writes():
    one = policy(look_at="small", straight=False).fit(world(400), empty())
    test = world(300, 2, silent=0.1, blind=True)
    decided = one.decide(test, Budget(price=0.08))
    assert (decided.expert == 1)[test.mute].all()
    nobody = one.decide(world(300, 2, silent=0.1, blind=True), Budget(share=0.0))
    assert (nobody.expert == 0).all()


def test_where_the_large_one_is_silent_the_small_one_stands_and_is_paid():
    one = policy().fit(world(400), empty())
    test = world(50, 2, blind=True)
    test._experts["large"].texts = [None] * 50
    decided = one.decide(test, Budget(share=1.0))
    assert (decided.expert == 0).all()
    assert decided.asked.all()


def test_a_log_probability_that_tells_is_used():
    told = []
    for stated in (True, False):
        one = policy(look_at="small", straight=False).fit(world(400, stated=stated), empty())
        test = world(600, 2, stated=stated, blind=True)
        seen = one.look(test)
        one.decide(test, None, seen)
        gain = test.quality_of[:, 1] - test.quality_of[:, 0]
        told.append(np.corrcoef(seen.after[:, 0], gain)[0, 1])
    assert told[0] > told[1] + 0.01


def test_other_word_vectors_than_in_fit_are_refused(fitted):
    with pytest.raises(ConfigError) as error:
        SummaryGain(PAIR, None).restore(fitted.state())
    assert str(error.value) == "SummaryGain got word vectors of dimension 0. Allowed: 10, as in fit."


def test_nothing_of_the_quality_is_seen_where_decisions_are_made(fitted):
    with pytest.raises(BlindError):
        policy().fit(world(50, blind=True), empty())
    test = world(50, 2, blind=True)
    test._experts["small"].quality = test._experts["large"].quality = np.zeros(50)
    want = fitted.decide(world(50, 2, blind=True), Budget(share=0.5)).expert
    assert fitted.decide(test, Budget(share=0.5)).expert.tolist() == want.tolist()


def test_a_large_train_split_is_sampled_and_vectors_may_be_missing():
    train = world(300)
    one = SummaryGain(PAIR, trees=5, most=100, random_state=3).fit(train, empty())
    assert train.asked("small").sum() == train.asked("large").sum() == 100
    assert one.decide(world(20, 2, blind=True), Budget(share=1)).deferral_rate == 1


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 30), st.integers(0, 20), st.sampled_from(WAYS), st.booleans())
def test_few_rows_do_no_harm(n, seed, options, free):
    prices = dict.fromkeys(PRICES, 0.0) if free else PRICES
    one = policy(trees=2, **options).fit(world(n, seed, silent=0.3, prices=prices), empty())
    for budget in (None, Budget(share=0.5), Budget(share=1), Budget(price=0.1), Budget(per_1000=1e6)):
        decided = one.decide(world(5, seed + 1, silent=0.3, prices=prices, blind=True), budget)
        assert np.isfinite(decided.score).all()
    assert one.decide(board([], world(3)._experts.values(), blind=True)).cost.tolist() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"look_at": "both"}, "Unknown look_at 'both'. Known: input, small."),
        ({"experts": ("small",)}, "SummaryGain got experts ['small']. Allowed: at least two, the small one first."),
        ({"folds": 1}, "SummaryGain got folds 1. Allowed: 2 or more."),
        ({"trees": 0}, "SummaryGain got trees 0. Allowed: 1 or more."),
        ({"most": 0}, "SummaryGain got most 0. Allowed: 1 or more."),
    ],
)
def test_arguments_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError) as error:
        SummaryGain(**{"experts": PAIR, **options}).fit(world(10), empty())
    assert str(error.value) == message
