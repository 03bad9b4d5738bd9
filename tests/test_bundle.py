"""A policy of plain values as a folder: saved, read again, decided with, refused."""

import json

import numpy as np
import pytest

from deferral import bundle
from deferral.embeddings import Vectors, build
from deferral.errors import ConfigError, DataError
from deferral.networks import Stack
from deferral.policies.base import Budget
from deferral.policies.baselines import Length
from deferral.policies.cascade import TwoTier
from deferral.policies.chain import Chain
from deferral.small import SmallModel
from deferral.study import Boards
from tests.test_study import CLASSES, made

PAIR = ("e0", "e2")
WORDS = ["item", *(f"{i / 100:.2f}" for i in range(101))]


@pytest.fixture(scope="module")
def boards():
    return Boards.of(made())


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vectors")
    matrix = np.random.default_rng(0).normal(size=(len(WORDS), 4)).astype(np.float32)
    text = "\n".join(" ".join([w, *map(str, row)]) for w, row in zip(WORDS, matrix, strict=True))
    (folder / "v.txt").write_text(text + "\n", encoding="utf-8")
    stack = Stack(1, 4, len(CLASSES), 5, 0)
    return SmallModel("e0", CLASSES, stack, Vectors.open(build(folder / "v.txt", folder / "v", 4)))


def fitted(kind, experts, boards):
    return kind(experts).fit(boards.train.copy(), boards.valid.copy())


@pytest.mark.parametrize(("kind", "experts"), [(TwoTier, PAIR), (Chain, ("e0", "e1", "e2"))])
def test_a_policy_decides_as_the_one_it_was_saved_from(kind, experts, boards, tmp_path):
    policy = fitted(kind, experts, boards)
    folder = bundle.save(policy, tmp_path / "p", {"seed": 7}, CLASSES)
    assert [p.name for p in folder.iterdir()] == ["bundle.json"]
    loaded = bundle.load(folder)
    assert (loaded.classes, loaded.small, loaded.policy.experts) == (CLASSES, None, experts)
    assert bundle.describe(folder)["facts"] == {"seed": 7}
    for budget in (None, Budget(share=0.3), Budget(per_1000=4.0), Budget(price=20.0)):
        one, two = (p.decide(boards.test.copy(blind=True), budget) for p in (policy, loaded.policy))
        assert np.array_equal(one.expert, two.expert) and np.array_equal(one.label, two.label)
        assert np.array_equal(one.cost, two.cost)
        np.testing.assert_array_equal(one.confidence, two.confidence)


def test_a_cascade_with_its_small_network_says_who_should_answer(boards, small, tmp_path):
    policy = fitted(TwoTier, PAIR, boards)
    loaded = bundle.load(bundle.save(policy, tmp_path / "p", {}, CLASSES, small))
    texts = [f"item {i / 100:.2f}" for i in range(100)]
    nobody, everybody = (bundle.assign(loaded, texts, Budget(share=share)) for share in (0.0, 1.0))
    assert set(nobody.expert) == {"e0"} and set(everybody.expert) == {"e2"}
    assert nobody.small_label == everybody.small_label
    proba = small.proba(texts).numpy()
    assert nobody.small_label == [CLASSES[c] for c in proba.argmax(1)]
    assert nobody.small_confidence == proba.max(axis=1).astype(float).round(6).tolist()
    # The share of training rows that state less than the network does in the middle.
    share = policy.rows_[policy.levels_ < np.median(np.log(proba.max(axis=1)))].sum() / policy.rows_.sum()
    some = bundle.assign(loaded, texts, Budget(share=share))
    kept = np.array([e == "e0" for e in some.expert])
    assert kept.any() and not kept.all()
    assert np.array(some.score)[kept].min() >= np.array(some.score)[~kept].max()
    json.dumps(vars(some), allow_nan=False)


def test_a_policy_that_must_hear_an_llm_says_so(boards, tmp_path):
    loaded = bundle.load(bundle.save(fitted(Chain, ("e0", "e1", "e2"), boards), tmp_path / "p", {}, CLASSES))
    with pytest.raises(ConfigError) as error:
        bundle.assign(loaded, ["item 0.10"])
    assert str(error.value) == (
        "Chain over e0, e1, e2 has no small network, or decides by what LLMs answer. Allowed: a team, or a policy "
        "between the small network and one LLM."
    )


def test_what_plain_values_cannot_tell_is_not_kept(boards, tmp_path):
    with pytest.raises(ConfigError) as error:
        bundle.save(fitted(Length, PAIR, boards), tmp_path / "p", {}, CLASSES)
    assert str(error.value) == "Length cannot be kept. Allowed: teams, two_tier, chain, planned."
    assert not (tmp_path / "p").exists()


def test_a_bundle_of_another_format_is_refused(boards, tmp_path):
    folder = bundle.save(fitted(TwoTier, PAIR, boards), tmp_path / "p", {}, CLASSES)
    about = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(about | {"format": 1}))
    with pytest.raises(DataError, match="bundle format 1. Allowed: format 2. Train it again with this version."):
        bundle.load(folder)
