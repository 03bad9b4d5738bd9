"""Who should answer new texts, and what the small expert says to them; nobody expensive is asked."""

import json
from copy import deepcopy
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askless.bundles.bundle import Bundle
from askless.bundles.decide import decide
from askless.errors import BudgetError, ConfigError, DataError
from askless.experts import Setting
from askless.experts.small.lead import LeadExpert
from askless.policies.base import Budget
from askless.policies.baselines import Length, Random
from askless.policies.chain.chain import Chain
from askless.policies.summaries.expected_gain import SummaryGain
from askless.policies.two_tier import TwoTier
from tests.bundles.test_bundle import boards, fitted, small  # noqa: F401
from tests.plans.test_evaluate import CLASSES
from tests.summaries_data import EMPTY, EXPENSIVE, ODD, PAIR, SMALL, news, panel, ranker, vectors_in

TEXTS = [f"item {i / 100:.2f}" for i in range(100)]
BUDGETS = (None, Budget(share=0.0), Budget(share=0.4), Budget(share=1.0), Budget(per_1000=6.0), Budget(price=5.0))
WAYS = ("input", "small", "small first", "three", "two_tier", "length", "random")


def policy(way, words):
    """A policy of summaries, unfitted."""
    if way in ("two_tier", "length", "random"):
        return {"two_tier": TwoTier, "length": Length, "random": Random}[way](PAIR)
    look_at = "input" if way == "input" else "small"
    experts = (*PAIR, "costliest") if way == "three" else PAIR
    return SummaryGain(experts, words, look_at=look_at, straight=way != "small first", trees=5)


@pytest.fixture(scope="module")
def extractive(tmp_path_factory):
    return ranker(vectors_in(tmp_path_factory.mktemp("vectors")))


@pytest.fixture(scope="module")
def bundles(extractive, tmp_path_factory):
    """Each way's policy as it was fitted, and as its bundle gives it."""
    folder, found = tmp_path_factory.mktemp("bundles"), {}
    for way in WAYS:
        one = policy(way, extractive.vectors)
        one.fit(panel(news(80, 2), extractive, one.experts[1:]), panel(EMPTY, extractive, one.experts[1:]))
        found[way] = one, Bundle.load(Bundle.of(one, (), {}, extractive).save(folder / way).folder)
    return found


@pytest.mark.parametrize("way", WAYS)
def test_documents_go_to_whom_the_evaluated_policy_sends_them(way, bundles, extractive):
    one, loaded = bundles[way]
    rows = news(60, 4, odd=ODD)
    test, texts = panel(rows, extractive, one.experts[1:], blind=True), rows["text"].to_pylist()
    own = extractive.answer(rows)["text"].to_pylist()
    sent = set()
    for budget in BUDGETS:
        if budget is not None and budget.price is not None and way in ("length", "random"):
            continue
        decided, assigned = one.decide(test.copy(), budget), decide(loaded, texts, budget)
        assert assigned.expert == [one.experts[j] for j in decided.expert]
        asked = decided.asked[:, 0]
        assert assigned.small_answer == [text if was else None for text, was in zip(own, asked, strict=True)]
        assert assigned.small_confidence == [None] * len(texts)
        assert assigned.score == [round(float(s), 6) if np.isfinite(s) else None for s in decided.score]
        sent.update(assigned.expert)
        json.dumps(asdict(assigned), allow_nan=False)
    assert sent == set(PAIR) or way == "three" and sent >= set(PAIR)


def test_who_reads_the_document_alone_asks_nobody(bundles):
    assigned = decide(bundles["input"][1], news(60, 4)["text"].to_pylist(), Budget(share=0.5))
    assert {SMALL, EXPENSIVE} == set(assigned.expert)
    assert [said is None for said in assigned.small_answer] == [expert == EXPENSIVE for expert in assigned.expert]


def test_who_reads_the_small_ones_summary_asks_it_first(bundles):
    assigned = decide(bundles["small first"][1], news(60, 4)["text"].to_pylist(), Budget(share=0.5))
    assert {SMALL, EXPENSIVE} == set(assigned.expert)
    assert None not in assigned.small_answer


def test_a_summary_that_is_none_is_no_answer_as_it_was_in_training(bundles):
    loaded = bundles["small first"][1]
    one = deepcopy(loaded.policy)
    one.after_.weights_ = np.zeros_like(one.after_.weights_)
    assigned = decide(Bundle.of(one, (), small=loaded.small), ["...", "A text. Another."], Budget(price=0.0))
    assert assigned.score == [-one.quality_[1].round(6), -one.after_.offset_[0].round(6)], "all is gained, or the mean"
    assert assigned.small_answer[0] == "...", "what it said is shown"
    assert assigned.expert == [EXPENSIVE, SMALL]


def test_the_lead_states_nothing_and_a_cascade_on_it_draws(tmp_path):
    lead = LeadExpert(Setting(SMALL, "demo", ()))
    one = TwoTier(PAIR).fit(panel(news(60, 2), lead), panel(EMPTY, lead))
    texts = news(60, 4)["text"].to_pylist()
    assigned = decide(Bundle.load(Bundle.of(one, (), {}, lead).save(tmp_path / "p").folder), texts, Budget(share=0.5))
    assert 15 < assigned.expert.count(EXPENSIVE) < 45
    assert assigned.score == [None] * 60


def test_a_cascade_with_its_small_network_says_who_should_answer(boards, small, tmp_path):  # noqa: F811
    one = fitted(TwoTier, ("e0", "e2"), boards)
    loaded = Bundle.load(Bundle.of(one, CLASSES, {}, small).save(tmp_path / "p").folder)
    nobody, everybody = (decide(loaded, TEXTS, Budget(share=share)) for share in (0.0, 1.0))
    assert set(nobody.expert) == {"e0"} and set(everybody.expert) == {"e2"}
    assert everybody.small_answer == everybody.small_confidence == everybody.score == [None] * 100, "not asked"
    proba = small.proba(TEXTS).numpy()
    assert nobody.small_answer == [CLASSES[c] for c in proba.argmax(1)]
    assert nobody.small_confidence == proba.max(axis=1).astype(float).round(6).tolist()
    # The share of training rows that state less than the network does in the middle.
    share = one.rows_[one.levels_ < np.median(np.log(proba.max(axis=1)))].sum() / one.rows_.sum()
    some = decide(loaded, TEXTS, Budget(share=share))
    kept = np.array([e == "e0" for e in some.expert])
    assert kept.any() and not kept.all()
    assert np.array(some.score)[kept].min() >= np.array(some.score)[~kept].max()
    assert (some.small_answer, some.small_confidence) == (nobody.small_answer, nobody.small_confidence)
    json.dumps(asdict(some), allow_nan=False)


def test_a_policy_that_must_hear_an_expensive_expert_says_so(boards, small, tmp_path):  # noqa: F811
    chain = fitted(Chain, ("e0", "e1", "e2"), boards)
    for beside, name in ((None, "a"), (small, "b")):
        loaded = Bundle.load(Bundle.of(chain, CLASSES, {}, beside).save(tmp_path / name).folder)
        with pytest.raises(ConfigError) as error:
            decide(loaded, ["item 0.10"])
        assert str(error.value) == (
            "Chain over e0, e1, e2 has no small expert with it, or decides by what expensive ones answer. "
            "Allowed: a team, summary_gain, or a policy between the small expert and one other."
        )


def test_a_budget_under_the_least_cost_and_a_text_that_is_none_are_refused(bundles):
    with pytest.raises(BudgetError, match="is under the least cost, 1. Allowed: at least that."):
        decide(bundles["two_tier"][1], ["A text."], Budget(per_1000=0.5))
    with pytest.raises(DataError, match="text"):
        decide(bundles["two_tier"][1], ["A text.", None])


@settings(max_examples=40)
@given(st.sampled_from(WAYS), st.lists(st.text(max_size=60).filter(str.strip), max_size=6), st.none() | st.floats(0, 1))
def test_any_texts_are_assigned_one_by_one(bundles, way, texts, share):
    one, loaded = bundles[way]
    assigned = decide(loaded, texts, None if share is None else Budget(share=share))
    assert {len(values) for values in asdict(assigned).values()} == {len(texts)}
    assert set(assigned.expert) <= set(one.experts)
    answered = zip(assigned.expert, assigned.small_answer, strict=True)
    assert all(said is not None for expert, said in answered if expert == SMALL)
    json.dumps(asdict(assigned), allow_nan=False)
