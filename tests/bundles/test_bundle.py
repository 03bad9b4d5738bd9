"""A policy and its small expert as a folder: saved, read again, decided with, refused."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from askless.bundles.bundle import KEYS, REMEDY, Bundle
from askless.errors import AsklessError, ConfigError, DataError
from askless.experts import Setting
from askless.experts.small.extractive import ExtractiveExpert
from askless.experts.small.lead import LeadExpert
from askless.plans.boards import Boards
from askless.policies.base import Budget
from askless.policies.baselines import Always, Length, Random
from askless.policies.chain.chain import Chain
from askless.policies.learned import AnswerScorer
from askless.policies.summaries.expected_gain import SummaryGain
from askless.policies.summaries.published import PublishedSummary
from askless.policies.two_tier import TwoTier
from askless.text.embeddings import Vectors, build
from askless.text.mean_vector_net import MeanVectorNet
from askless.text.networks import Stack
from askless.text.sentence_vectors import TextVectors
from askless.text.vocabulary import Vocabulary
from tests import summaries_data
from tests.plans.test_evaluate import CLASSES, made
from tests.summaries_data import EMPTY, EXPENSIVE, SMALL, news, panel, ranker, vectors_in

PAIR = ("e0", "e2")
BUDGETS = (None, Budget(share=0.3), Budget(per_1000=4.0), Budget(price=20.0))


@pytest.fixture(scope="module")
def boards():
    return Boards.of(made())


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A network over the words of the study's texts."""
    words = ["item", *(f"{i / 100:.2f}" for i in range(101))]
    folder = tmp_path_factory.mktemp("network")
    matrix = np.random.default_rng(0).normal(size=(len(words), 4)).astype(np.float32)
    text = "\n".join(" ".join([w, *map(str, row)]) for w, row in zip(words, matrix, strict=True))
    (folder / "v.txt").write_text(text + "\n", encoding="utf-8")
    stack = Stack(1, 4, len(CLASSES), 5, 0)
    return MeanVectorNet(
        "e0", CLASSES, stack, TextVectors(words=Vectors.open(build(folder / "v.txt", folder / "v", 4)))
    )


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    return vectors_in(tmp_path_factory.mktemp("vectors"))


@pytest.fixture(scope="module")
def extractive(vectors):
    return ranker(vectors)


@pytest.fixture(scope="module")
def gain(vectors, extractive):
    """A fitted policy of summaries that reads the small expert's."""
    policy = SummaryGain(summaries_data.PAIR, Vectors.open(vectors), look_at="small", trees=5)
    return policy.fit(panel(news(60, 2), extractive), panel(EMPTY, extractive))


def fitted(kind, experts, boards):
    return kind(experts).fit(boards.train.copy(), boards.valid.copy())


def changed(folder, to, **values):
    """A copy of a bundle in which bundle.json says something else."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(folder, to)
    about = json.loads((to / "bundle.json").read_text())
    (to / "bundle.json").write_text(json.dumps(about | values))
    return to


@pytest.mark.parametrize(
    ("kind", "experts"), [(TwoTier, PAIR), (Chain, ("e0", "e1", "e2")), (Length, PAIR), (Random, PAIR)]
)
def test_a_policy_decides_as_the_one_it_was_saved_from(kind, experts, boards, tmp_path):
    policy = fitted(kind, experts, boards)
    folder = Bundle.of(policy, CLASSES, {"seed": 7}).save(tmp_path / "p").folder
    assert [p.name for p in folder.iterdir()] == ["bundle.json"]
    loaded = Bundle.load(folder)
    assert (loaded.classes, loaded.small, loaded.policy.experts) == (CLASSES, None, experts)
    assert Bundle.load(folder).facts == {"seed": 7}
    for budget in BUDGETS:
        one, two = (p.decide(boards.test.copy(blind=True), budget) for p in (policy, loaded.policy))
        assert np.array_equal(one.expert, two.expert) and np.array_equal(one.label, two.label)
        assert np.array_equal(one.cost, two.cost)
        np.testing.assert_array_equal(one.confidence, two.confidence)


@pytest.mark.parametrize(
    ("facts", "registered", "share"),
    [({}, None, None), ({}, 0.3, 0.3), ({"budget": 0.2}, 0.3, 0.2), ({"budget": None}, 0.3, None)],
)
def test_it_works_at_the_share_in_its_facts_or_as_registered(facts, registered, share, boards):
    bundle = Bundle.of(fitted(TwoTier, PAIR, boards), CLASSES, facts)
    assert bundle.share(registered) == share
    assert bundle.budget(registered) == (None if share is None else Budget(share=share))
    assert Bundle.of(Always(PAIR, "e2"), CLASSES, facts).budget(registered) is None, "it takes none"


def test_a_small_network_comes_along_with_its_vectors(boards, small, tmp_path):
    folder = Bundle.of(fitted(TwoTier, PAIR, boards), CLASSES, {}, small).save(tmp_path / "p").folder
    assert sorted(p.name for p in folder.iterdir()) == ["bundle.json", "small.safetensors", "vectors"]
    texts = boards.test.text
    loaded = Bundle.load(folder).small
    assert np.array_equal(loaded.model_.proba(texts).numpy(), small.proba(texts).numpy())


@pytest.mark.parametrize("look_at", ["input", "small"])
def test_a_policy_of_summaries_and_its_ranker_need_nothing_of_where_they_were_trained(look_at, tmp_path):
    home = vectors_in(tmp_path)
    small, words = ranker(home), Vectors.open(home)
    policy = SummaryGain(summaries_data.PAIR, words, look_at=look_at, trees=5)
    policy.fit(panel(news(60, 2), small), panel(EMPTY, small))
    folder = Bundle.of(policy, (), {"task": "demo"}, small).save(tmp_path / "p").folder
    assert sorted(p.name for p in folder.iterdir()) == ["bundle.json", "extractive.json", "vectors"]
    assert "vectors" not in Bundle.load(folder).arguments
    test = panel(news(50, 4), small, blind=True)
    before = [policy.decide(test.copy(), budget) for budget in BUDGETS]
    said = small.answer(news(50, 4))
    shutil.rmtree(home)
    loaded = Bundle.load(folder.rename(tmp_path / "elsewhere"))
    assert loaded.small.vectors is loaded.policy.vectors, "in memory once"
    assert len(loaded.policy.vectors) == len(words)
    again = loaded.small.answer(news(50, 4))
    assert again["text"].equals(said["text"]) and again["logprob"].equals(said["logprob"])
    for budget, one in zip(BUDGETS, before, strict=True):
        two = loaded.policy.decide(test.copy(), budget)
        assert np.array_equal(one.expert, two.expert) and np.array_equal(one.asked, two.asked)
        np.testing.assert_array_equal(one.score, two.score)


def test_without_its_small_expert_a_policy_is_a_record_and_vectors_are_given(gain, vectors, extractive, tmp_path):
    folder = Bundle.of(gain, (), {}).save(tmp_path / "p").folder
    assert [p.name for p in folder.iterdir()] == ["bundle.json"]
    with pytest.raises(ConfigError) as error:
        assert Bundle.load(folder).policy
    assert str(error.value) == "SummaryGain got word vectors of dimension 0. Allowed: 12, as in fit."
    loaded = Bundle.load(folder, Vectors.open(vectors))
    test = panel(news(30, 4), extractive, blind=True)
    one, two = (p.decide(test.copy(), Budget(share=0.4)) for p in (gain, loaded.policy))
    assert np.array_equal(one.expert, two.expert)


def test_the_lead_is_kept_by_name_and_the_policy_brings_the_vectors(vectors, tmp_path):
    lead = LeadExpert(Setting(SMALL, "demo", ()))
    policy = SummaryGain(summaries_data.PAIR, Vectors.open(vectors), trees=5)
    policy.fit(panel(news(60, 2), lead), panel(EMPTY, lead))
    folder = Bundle.of(policy, (), {}, lead).save(tmp_path / "p").folder
    assert sorted(p.name for p in folder.iterdir()) == ["bundle.json", "vectors"]
    assert Bundle.load(folder).small_options == {"backend": "lead"}
    loaded = Bundle.load(folder)
    assert isinstance(loaded.small, LeadExpert)
    assert loaded.small.answer(news(5, 4))["text"].equals(lead.answer(news(5, 4))["text"])


def test_policy_and_small_expert_must_know_the_same_words(gain, vectors, extractive, tmp_path):
    words = Vectors.open(vectors)
    fewer = words.subset(words.vocabulary.words()[:9])
    small = ExtractiveExpert(Setting(SMALL, "demo", (), vectors=fewer.save(tmp_path / "v"))).fit(news(20, 1), EMPTY)
    with pytest.raises(ConfigError) as error:
        Bundle.of(gain, (), {}, small).save(tmp_path / "p")
    assert str(error.value) == (
        f"SummaryGain and 'extractive' know different word vectors: {len(words)} words of dimension 12 and 9 words of "
        "dimension 12. Allowed: the same for both. Open one folder for the two."
    )
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("lower", [False, True])
def test_the_same_numbers_of_other_words_are_other_vectors(lower, vectors, extractive, tmp_path):
    words = Vectors.open(vectors)
    said = words.vocabulary.words()
    others = Vectors(words.matrix, Vocabulary.of(said if lower else said[::-1]), lower=lower)
    policy = SummaryGain(summaries_data.PAIR, others, trees=5)
    policy.fit(panel(news(30, 2), extractive), panel(EMPTY, extractive))
    with pytest.raises(ConfigError, match="know different word vectors"):
        Bundle.of(policy, (), {}, extractive).save(tmp_path / "p")


def test_the_small_expert_is_the_policys_first(boards, small, tmp_path):
    with pytest.raises(ConfigError) as error:
        Bundle.of(fitted(TwoTier, ("e1", "e2"), boards), CLASSES, {}, small).save(tmp_path / "p")
    assert str(error.value) == "The small expert is 'e0'. Allowed: 'e1', the policy's first."


@pytest.mark.parametrize("policy", [AnswerScorer(PAIR), PublishedSummary((SMALL, EXPENSIVE), None)])
def test_what_plain_values_cannot_tell_is_not_kept(policy, tmp_path):
    with pytest.raises(ConfigError) as error:
        Bundle.of(policy, CLASSES, {}).save(tmp_path / "p")
    assert str(error.value) == (
        f"{type(policy).__name__} cannot be kept. "
        "Allowed: two_tier, chain, planned, subset, bandit, c2mab_v, lin_ucb, lin_ts, random, length, always, "
        "team_alternating, team_joint, team_gain, summary_gain."
    )
    assert not (tmp_path / "p").exists()


@pytest.fixture(scope="module")
def kept(gain, extractive, tmp_path_factory):
    return Bundle.of(gain, (), {}, extractive).save(tmp_path_factory.mktemp("kept") / "p").folder


@pytest.mark.parametrize(("before", "by"), [(6, ", made by an earlier version"), (8, ""), (None, "")])
def test_a_bundle_of_another_format_is_refused(kept, before, by, tmp_path):
    folder = changed(kept, tmp_path / "p", format=before)
    with pytest.raises(DataError) as error:
        assert Bundle.load(folder).policy
    assert str(error.value) == (f"{folder}: bundle format {before}{by}. Allowed: format 7. {REMEDY}")


@pytest.mark.parametrize("missing", ["bundle.json", "extractive.json", "vectors"])
def test_a_part_that_is_missing_is_named(kept, missing, tmp_path):
    folder = changed(kept, tmp_path / "p")
    part = folder / missing
    shutil.rmtree(part) if part.is_dir() else part.unlink()
    with pytest.raises(DataError) as error:
        assert Bundle.load(folder).policy
    allowed = "a plan with its folder .files beside it, or the folder of learn, annotate, a trained team or policy"
    if missing != "bundle.json":
        allowed = "a folder with bundle.json, extractive.json, vectors"
    assert str(error.value) == f"{folder}: no {missing}. Allowed: {allowed}. {REMEDY}"


@pytest.mark.parametrize(
    ("values", "got"),
    [
        ({"experts": []}, "IndexError: tuple index out of range"),
        ({"experts": 3}, "'experts' in bundle.json is 3"),
        ({"kind": None}, "'kind' in bundle.json is None"),
        ({"learnt": {}}, "KeyError: 'dim'"),
        ({"small": "lead"}, "'small' in bundle.json is 'lead'"),
    ],
)
def test_a_value_that_cannot_be_meant_is_named(kept, values, got, tmp_path):
    folder = changed(kept, tmp_path / "p", **values)
    with pytest.raises(DataError) as error:
        assert Bundle.load(folder).policy
    assert str(error.value) == f"{folder}: not a bundle ({got}). Allowed: a folder that Bundle.save wrote. {REMEDY}"


@pytest.mark.parametrize("text", ["{", "[3]", '"format"', ""])
def test_what_is_not_json_is_refused(kept, text, tmp_path):
    folder = changed(kept, tmp_path / "p")
    (folder / "bundle.json").write_text(text)
    with pytest.raises(DataError, match=r"not a bundle \(|bundle format None"):
        assert Bundle.load(folder).policy


def test_broken_weights_are_refused(boards, small, kept, tmp_path):
    folder = Bundle.of(fitted(TwoTier, PAIR, boards), CLASSES, {}, small).save(tmp_path / "p").folder
    (folder / "small.safetensors").write_bytes(b"none of it")
    with pytest.raises(DataError, match="small.safetensors is not the file that was saved"):
        assert Bundle.load(folder).policy
    folder = changed(kept, tmp_path / "q")
    (folder / "extractive.json").write_text("{")
    with pytest.raises(DataError, match="extractive.json is not the file that was saved"):
        assert Bundle.load(folder).policy
    folder = changed(kept, tmp_path / "q")
    (folder / "vectors" / "vectors.safetensors").write_bytes(b"none of it")
    with pytest.raises(DataError, match="vectors/vectors.safetensors is not the file that was saved"):
        assert Bundle.load(folder).policy


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(sorted(KEYS)), JSON, min_size=1, max_size=3), st.booleans())
def test_whatever_bundle_json_says_it_is_read_or_refused_in_words(kept, tmp_path, values, drop):
    folder = changed(kept, tmp_path / "p", **values)
    if drop:
        about = json.loads((folder / "bundle.json").read_text())
        (folder / "bundle.json").write_text(json.dumps({k: v for k, v in about.items() if k not in values}))
    try:
        policy = Bundle.load(folder).policy
    except AsklessError as error:
        assert str(error)
    else:
        assert not drop and set(values) <= {"facts", "classes", "files", "arguments", "experts", "small", "digests"}
        assert isinstance(policy, SummaryGain)
