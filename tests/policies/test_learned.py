import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askless.bundles.bundle import Bundle
from askless.costs import CostModel
from askless.errors import ConfigError, DataError
from askless.experts.base import Setting
from askless.experts.small.finetuned import FinetunedExpert
from askless.experts.small.stack import StackExpert
from askless.panel import NO_LABEL, Panel
from askless.policies.base import Budget
from askless.policies.learned import AnswerScorer, MetaModel, QueryAllocator
from tests.experts.tiny_models import make_encoder
from tests.helpers import CLASSES, examples, indices, told
from tests.policies.summaries import made as summaries

PAIR = ("small", "large")
KINDS = (AnswerScorer, QueryAllocator, MetaModel)
PRICES = {"small": 1.0, "large": 8.0}


def board(texts, gold, said, *, cost=PRICES, blind=False):
    experts = {name: told(name, labels, cost=cost[name]) for name, labels in said.items()}
    return Panel(examples(gold, text=list(texts)), experts, CostModel(), CLASSES, blind=blind)


def rows(n, seed=0, silent=False):
    """Texts about cats, which the small one knows, and dogs, which it does not; the large one knows nine of ten."""
    rng = np.random.default_rng(seed)
    cat = rng.random(n) < 0.5
    texts = [f"{'cat' if c else 'dog'} {w}" for c, w in zip(cat, rng.choice(["here", "there", "away"], n), strict=True)]
    gold = rng.integers(0, 2, n)
    small = np.where(rng.random(n) < np.where(cat, 0.95, 0.3), gold, 1 - gold)
    large = np.where(rng.random(n) < 0.9, gold, 1 - gold)
    said = {"small": [str(v) for v in small], "large": [str(v) for v in large]}
    if silent:
        for name, labels in said.items():
            said[name] = [None if rng.random() < 0.2 else label for label in labels]
    return texts, [str(v) for v in gold], said


def world(n, seed=0, *, silent=False, **options):
    return board(*rows(n, seed, silent), **options)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return make_encoder(tmp_path_factory.mktemp("bert"))


def empty():
    return board([], [], {"small": [], "large": []})


@pytest.fixture(params=["valid", "train alone"])
def held(request):
    return (lambda n: world(n, 1)) if request.param == "valid" else (lambda n: empty())


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_the_small_one_gets_wrong_go_to_the_large_one(kind, held):
    policy = kind(PAIR).fit(world(400), held(400))
    test = world(400, 2, blind=True)
    decided = policy.decide(test, Budget(share=0.4))
    dog = np.array(["dog" in text for text in test.text])
    went = decided.expert == 1
    assert went[dog].mean() > 0.6
    assert went[~dog].mean() < 0.1
    assert decided.deferral_rate == pytest.approx(0.4, abs=0.08)


def test_the_scorer_asks_the_small_one_first_and_the_others_ask_one_of_the_two():
    for kind in KINDS:
        decided = kind(PAIR).fit(world(200), world(200, 1)).decide(world(100, 2, blind=True), Budget(share=0.5))
        asked = decided.asked.sum(axis=1)
        assert set(asked) == ({1, 2} if kind is AnswerScorer else {1})
        paid = decided.asked @ np.array([1.0, 8.0])
        assert decided.cost.tolist() == paid.tolist()


def test_the_scorer_reads_the_answer():
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 2, 300)
    said = {"small": ["1"] * 150 + [str(g) for g in gold[150:]], "large": [str(g) for g in gold]}
    texts = ["dull"] * 300
    train = board(texts, [str(g) for g in gold], said)
    policy = AnswerScorer(PAIR).fit(train, empty())
    seen = policy.look(board(texts, ["0"] * 300, said, blind=True))
    # Only "1" is ever wrong, and the texts tell nothing.
    assert seen.score[np.array(said["small"]) == "0"].min() > seen.score[np.array(said["small"]) == "1"].max()


@pytest.mark.parametrize("kind", KINDS)
def test_a_share_and_dollars_are_met_on_the_rows_the_threshold_was_set_on(kind):
    texts, gold, said = rows(200, 1, silent=True)
    policy = kind(PAIR).fit(world(200), board(texts, gold, said))
    silent = indices(said["large"]) == NO_LABEL
    go = PRICES["large"] + (1.0 if kind is AnswerScorer else PRICES["small"] * silent)
    seen = policy.look(board(texts, gold, said, blind=True))
    for share in (0.0, 0.13, 0.5, 1.0):
        goes = policy.threshold(Budget(share=share)).share(seen.score)
        assert goes.mean() == pytest.approx(share)
    for dollars in (1000.0, 2345.6, 5000.0):
        goes = policy.threshold(Budget(per_1000=dollars)).share(seen.score)
        assert 1000 * (1 + (goes * (go - 1)).mean()) == pytest.approx(dollars)
        decided = policy.decide(board(texts, gold, said, blind=True), Budget(per_1000=dollars))
        # Tied rows go by their own draw: four standard errors of 200 rows.
        assert 1000 * decided.cost.mean() == pytest.approx(dollars, abs=4 * 8000 / np.sqrt(200) / 2)
    assert policy.decide(board(texts, gold, said, blind=True), Budget(share=0)).deferral_rate == 0
    assert policy.decide(board(texts, gold, said, blind=True), Budget(share=1)).deferral_rate == 1


def test_the_meta_model_weighs_the_gain_against_the_price():
    policy = MetaModel(PAIR).fit(world(400), world(400, 1))
    test = world(200, 2, blind=True)
    seen = policy.look(test)
    for price in (0.0, 0.02, 0.2):
        decided = policy.decide(test.copy(), Budget(price=price), seen)
        assert (decided.expert == 1).tolist() == (-seen.score > 7 * price).tolist()
    by_own_rule = policy.decide(test.copy(), None, seen)
    assert by_own_rule.expert.tolist() == policy.decide(test.copy(), Budget(price=0.0), seen).expert.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_costlier_quality_defers_fewer_and_an_absurd_price_nobody(kind):
    policy = kind(PAIR).fit(world(400), world(400, 1))
    test = world(200, 2, blind=True)
    seen = policy.look(test)
    rates = [policy.decide(test.copy(), Budget(price=p), seen).deferral_rate for p in (0, 0.02, 0.05, 0.1, 1)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0.3
    assert rates[-1] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_stated_confidence_is_about_right_and_the_step_says_what_decided(kind):
    policy = kind(PAIR).fit(world(800), world(800, 1))
    test = world(800, 2, blind=True)
    decided = policy.decide(test, Budget(share=0.45))
    right = decided.label == world(800, 2).gold
    for expert in (0, 1):
        mine = decided.expert == expert
        assert decided.confidence[mine].mean() == pytest.approx(right[mine].mean(), abs=0.08)
    (step,) = decided.steps
    assert step.expert == ("small" if kind is AnswerScorer else "")
    assert decided.score.tolist() == step.score.tolist()


def test_an_answer_without_a_label_is_escalated_first_and_never_made_up():
    texts, gold, said = rows(300, 2, silent=True)
    policy = AnswerScorer(PAIR).fit(world(300), empty())
    mute = indices(said["small"]) == NO_LABEL
    decided = policy.decide(board(texts, gold, said, blind=True), Budget(share=float(mute.mean())))
    assert decided.score[mute].max() == 0
    assert decided.score[~mute].min() > 0
    both = mute & (indices(said["large"]) == NO_LABEL)
    done = policy.decide(board(texts, gold, said, blind=True), Budget(share=1.0))
    assert (done.label[both] == NO_LABEL).all()
    assert np.isnan(done.confidence).tolist() == (done.label == NO_LABEL).tolist()
    back = ~mute & (indices(said["large"]) == NO_LABEL)
    assert (done.expert[back] == 0).all()
    assert done.label[back].tolist() == indices(said["small"])[back].tolist()


@pytest.mark.parametrize("on_valid", [True, False])
def test_the_allocator_learns_from_the_better_of_two_summaries(on_valid):
    valid = summaries.world(400, 1) if on_valid else summaries.empty()
    policy = QueryAllocator(PAIR).fit(summaries.world(600, lift=0.2), valid)
    test = summaries.world(300, 2, silent=0.1, blind=True)
    decided = policy.decide(test, Budget(share=0.4))
    assert decided.deferral_rate == pytest.approx(0.4, abs=0.08)
    # In a storm the small one's summary is the worse one.
    assert (decided.expert == 1)[test.storm].mean() > (decided.expert == 1)[~test.storm].mean() + 0.4
    assert (decided.label == NO_LABEL).all() and np.isnan(decided.confidence).all()


def test_where_the_large_one_is_silent_the_small_ones_summary_stands_and_is_paid():
    train, test = summaries.world(300), summaries.world(100, 2, blind=True)
    for panel in (train, test):
        panel._experts["large"].texts[:50] = [None] * 50
    decided = QueryAllocator(PAIR).fit(train, summaries.empty()).decide(test, Budget(share=1.0))
    assert decided.expert.tolist() == [0] * 50 + [1] * 50
    assert decided.cost[:50] == pytest.approx(5.0) and decided.cost[50:] == pytest.approx(4.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("right", [("1", "1"), ("0", "1"), ("1", "0"), ("0", "0")])
def test_experts_who_are_always_right_or_wrong_teach_a_constant(kind, right):
    said = dict(zip(PAIR, ([label] * 40 for label in right), strict=True))
    texts = rows(40)[0]
    policy = kind(PAIR).fit(board(texts, ["1"] * 40, said), empty())
    decided = policy.decide(board(texts, ["1"] * 40, said, blind=True))
    assert decided.deferral_rate == (1.0 if right == ("0", "1") else 0.0)
    assert np.isfinite(decided.confidence).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_train_split_is_sampled(kind):
    train = world(400)
    kind(PAIR, most=150).fit(train, empty())
    assert train.asked("large").sum() == train.asked("small").sum() == 150


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 12), st.integers(0, 50), st.sampled_from(KINDS))
def test_few_rows_never_make_a_number_that_is_none(n, seed, kind):
    policy = kind(PAIR).fit(world(n, seed, silent=True), empty())
    seen = policy.look(world(8, seed + 1, silent=True, blind=True))
    assert np.isfinite(seen.score).all()
    assert ((seen.right >= 0) & (seen.right <= 1)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_sentence_vectors_tell_what_words_tell_here(kind, bert, held):
    policy = kind(PAIR, features="encoder", encoder=str(bert)).fit(world(400), held(400))
    assert not len(policy.chances_.kept_)
    test = world(400, 2, blind=True)
    went = policy.decide(test, Budget(share=0.4)).expert == 1
    dog = np.array(["dog" in text for text in test.text])
    assert went[dog].mean() > went[~dog].mean() + 0.4


def test_the_encoder_of_a_router_travels_in_its_plan(bert, tmp_path):
    router = QueryAllocator(PAIR, features="both", encoder=str(bert)).fit(world(200), world(100, 1))
    kept = Bundle.of(router, CLASSES).save(tmp_path / "router").folder
    said, again = (each.decide(world(50, 2), Budget(share=0.4)) for each in (router, Bundle.load(kept).policy))
    assert np.array_equal(said.expert, again.expert) and np.allclose(said.score, again.score)
    (kept / "encoder" / "modules.json").write_text("[]")
    with pytest.raises(DataError, match="modules.json is not the file that was saved"):
        Bundle.load(kept).policy.decide(world(5), None)
    with pytest.raises(ConfigError, match="read with two encoders, the policy with .* Allowed: one for both"):
        router.write(kept)


@pytest.mark.parametrize("kind", [StackExpert, FinetunedExpert])
def test_a_small_expert_beside_it_keeps_to_its_own_encoder_or_to_none(bert, tmp_path, kind):
    texts, gold, _ = rows(120)
    train, router = examples(gold, text=texts), QueryAllocator(PAIR, features="encoder", encoder=str(bert))
    small = kind(Setting("small", "", CLASSES), model={StackExpert: None, FinetunedExpert: str(bert)}[kind])
    small.fit(train, train)
    Bundle.of(router.fit(world(100), world(50, 1)), CLASSES, small=small).save(tmp_path / "router")
    again = Bundle.load(tmp_path / "router")
    assert again.small.answer(train)["proba"].equals(small.answer(train)["proba"])
    assert np.allclose(again.policy.score(world(50, 2)), router.score(world(50, 2)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 1}, "folds 1. Allowed: 2 or more."),
        ({"most": 0}, "most 0. Allowed: 1 or more."),
        ({"strength": 0.0}, "strength 0. Allowed: a number > 0."),
    ],
)
def test_arguments_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError) as error:
        MetaModel(**{"experts": PAIR, **options}).fit(world(10), empty())
    assert str(error.value) == f"MetaModel got {message}"
