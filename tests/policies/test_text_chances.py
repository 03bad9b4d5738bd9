import numpy as np
import pytest

from askless.policies import text_chances as words
from askless.policies.text_chances import TextChances, counts

EASY = ["the cat sat", "a cat ran", "the cat ran"]
HARD = ["the dog sat", "a dog ran", "the dog ran"]
NOBODY = np.full(6, -1)


def events(*columns):
    return np.array(columns, bool).T


def test_words_and_pairs_are_counted_without_case_and_the_signs_around_them():
    found = counts(["The cat, the CAT!", "the cat", "", "?"])
    assert found.shape == (4, words.BUCKETS)
    # the, cat; the cat twice, cat the: in all seven words and pairs.
    assert sorted(found[0].data) == [1, 2, 2, 2]
    assert sorted(found[1].data) == [1, 1, 1]
    assert set(found[1].indices) < set(found[0].indices)
    assert found[2].nnz == 0
    assert found[3].nnz == 1


def test_pairs_do_not_reach_across_texts_and_order_matters():
    apart, together = counts(["red", "fish"]), counts(["red fish", "fish red"])
    assert apart.nnz == 2
    assert (together[0].nnz, together[1].nnz) == (3, 3)
    assert len(set(together[0].indices) & set(together[1].indices)) == 2


def test_the_same_text_has_the_same_columns_in_any_company():
    alone = counts(["a fine day"])
    assert set(counts(["x y", "a fine day", "z"])[1].indices) == set(alone.indices)


def test_chances_follow_the_words():
    happened = events([1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1])
    found = TextChances(10.0).fit(EASY + HARD, NOBODY, happened)
    chances = found.predict(["my cat", "my dog", "nothing known"], NOBODY[:3])
    assert chances[0, 0] > 0.7 > 0.3 > chances[1, 0]
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-3)
    assert chances[2, 0] == pytest.approx(0.5, abs=0.1)


def test_what_speaks_for_one_answer_may_speak_against_another():
    texts = ["yes indeed", "no indeed"] * 100
    given = np.repeat([0, 1], 100)
    right = (given == 0) == (np.arange(200) % 2 == 0)
    found = TextChances(10.0, answers=2).fit(texts, given, right[:, None])
    chances = found.predict(["yes indeed", "yes indeed", "no indeed", "no indeed"], np.array([0, 1, 0, 1]))[:, 0]
    assert (chances > 0.8).tolist() == [True, False, False, True]
    assert (chances < 0.2).tolist() == [False, True, True, False]


@pytest.mark.parametrize(("always", "rate"), [(True, 7 / 8), (False, 1 / 8)])
def test_an_event_that_always_or_never_happened_has_one_rate(always, rate):
    found = TextChances().fit(EASY + HARD, NOBODY, np.full((6, 1), always))
    np.testing.assert_allclose(found.predict(["cat", ""], NOBODY[:2]), rate)


def test_texts_that_share_no_word_say_nothing():
    found = TextChances().fit(["one", "two", "three", "four"], NOBODY[:4], events([1, 0, 1, 0]))
    assert found.predict(["one", "five"], NOBODY[:2]).ravel().tolist() == [0.5, 0.5]


def test_cross_fitted_chances_have_not_seen_the_rows_own_event():
    rng = np.random.default_rng(0)
    texts = [f"w{rng.integers(30)} w{rng.integers(30)}" for _ in range(300)]
    by_chance = rng.random((300, 1)) < 0.5
    outer = TextChances(100.0)
    inner = TextChances(100.0).fit(texts, np.full(300, -1), by_chance)
    cross = outer.cross_fit(texts, np.full(300, -1), by_chance)
    memory = inner.predict(texts, np.full(300, -1))
    assert memory[by_chance].mean() - memory[~by_chance].mean() > 0.15
    assert abs(cross[by_chance].mean() - cross[~by_chance].mean()) < 0.05
    assert outer.predict(texts, np.full(300, -1)).tolist() == memory.tolist()


def test_one_row_is_enough_not_to_fail():
    cross = TextChances().cross_fit(["only one"], NOBODY[:1], events([1]))
    assert cross.tolist() == [[0.5]]


def test_only_the_commonest_words_are_kept_where_there_are_too_many(monkeypatch):
    texts = [*EASY, "the", "the"]
    monkeypatch.setattr(words, "WIDEST", 2)
    found = TextChances().fit(texts, NOBODY[:5], events([1, 1, 0, 0, 1]))
    assert set(found.kept_) == set(counts(["the"]).indices) | set(counts(["cat"]).indices)


def test_prediction_in_parts_is_the_same(monkeypatch):
    found = TextChances(answers=2).fit(EASY + HARD, np.arange(6) % 2, events([1, 1, 0, 0, 0, 1]))
    whole = found.predict(EASY + HARD, np.arange(6) % 2)
    monkeypatch.setattr(words, "CHUNK", 4)
    assert found.predict(EASY + HARD, np.arange(6) % 2).tolist() == whole.tolist()
    assert found.predict([], NOBODY[:0]).shape == (0, 1)
