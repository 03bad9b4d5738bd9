import random
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenize import tokenize

from askless.errors import ConfigError, DataError
from askless.text.rouge import KINDS, rouge

# Few words, so that they meet; all that a tokenizer can trip over between them.
WORDS = ("the", "The", "cats", "cat", "running", "runs", "as", "a", "10", "3rd", "agreed", "oed", "relational", "£5")
HOSTILE = (
    "",
    " ",
    "\n\t",
    "...",
    "Ä",
    "İ",
    "K",
    "ſ",
    "ß",
    "½",
    "²",
    "٣",
    "中文",
    "\ud800",
    "\x00",
    "_",
    "'s",
    "-",
    "\u00a0",
    "🙂",
)
texts = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join),
    st.lists(st.sampled_from(WORDS + HOSTILE), max_size=15).map("".join),
    st.text(max_size=30),
)


@cache
def scorer(stemmer):
    return RougeScorer(list(KINDS), use_stemmer=stemmer)


def reference_values(summaries, references, kind, stemmer):
    pairs = zip(summaries, references, strict=True)
    return [scorer(stemmer).score(wanted, said)[kind].fmeasure for said, wanted in pairs]


@pytest.mark.parametrize("stemmer", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@given(st.lists(st.tuples(texts, texts), max_size=4))
def test_every_kind_is_rouge_scores_to_the_last_bit(kind, stemmer, pairs):
    summaries, references = [said for said, _ in pairs], [wanted for _, wanted in pairs]
    got = rouge(summaries, references, kind, stemmer)
    assert got.shape == (len(pairs),)
    assert got.tolist() == reference_values(summaries, references, kind, stemmer)


@pytest.mark.parametrize("kind", KINDS)
def test_long_texts_are_rouge_scores_too(kind):
    rng = random.Random(0)
    zipf = [w for i in range(1, 400) for w in [f"w{i}"] * (400 // i)]
    pairs = [(" ".join(rng.choices(zipf, k=n)), " ".join(rng.choices(zipf, k=m))) for n, m in ((300, 300), (5000, 20))]
    got = rouge([a for a, _ in pairs], [b for _, b in pairs], kind)
    assert got.tolist() == reference_values(*zip(*pairs, strict=True), kind, False)
    assert 0 < got.min() < got.max() < 1


@given(texts)
def test_a_text_against_itself_is_1_where_it_has_enough_words(text):
    words = len(tokenize(text, None))
    for kind, least in (("rouge1", 1), ("rouge2", 2), ("rougeL", 1)):
        assert rouge([text], [text], kind)[0] == (words >= least)


def test_a_hundred_thousand_words_more_than_there_are_characters_of_a_byte():
    words = " ".join(f"w{i}" for i in range(100_000))
    backwards = " ".join(f"w{i}" for i in reversed(range(100_000)))
    assert rouge([words, words], [words, "nothing w5 in w7 common"], "rougeL").tolist() == [1.0, 4 / 100_005]
    assert rouge([words], [backwards], "rouge1").tolist() == [1.0]
    assert rouge([words], [backwards], "rouge2").tolist() == [0.0]


def test_figures_by_hand():
    said, wanted = ["the cat the cat sat"], ["the cat sat on the mat"]
    # the x2, cat, sat of 5 and 6; the cat, cat sat of 4 and 5; the cat sat.
    assert rouge(said, wanted, "rouge1")[0] == pytest.approx(2 * 4 / 11)
    assert rouge(said, wanted, "rouge2")[0] == pytest.approx(2 * 2 / 9)
    assert rouge(said, wanted)[0] == pytest.approx(2 * 3 / 11)
    assert rouge(["its agreed"], ["it agree"], stemmer=True).tolist() == [0.5]
    assert rouge(["running jumps"], ["runs jumped"], stemmer=True).tolist() == [1.0]
    assert rouge(["running jumps"], ["runs jumped"]).tolist() == [0.0]


def test_a_text_in_another_script_has_no_token_and_scores_0():
    assert rouge(["Москва", "東京", ""], ["Москва", "東京", ""]).tolist() == [0.0, 0.0, 0.0]


def test_no_rows_give_no_values():
    assert rouge([], []).shape == (0,)
    assert rouge([], []).dtype == np.float64


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            (["a"], ["b"], "rougel"),
            ConfigError,
            "Unknown kind of ROUGE 'rougel'. Known: rouge1, rouge2, rougeL. Did you mean 'rougeL'?",
        ),
        ((["a"], ["b", "c"]), DataError, "references: 2 texts for 1 summaries. Allowed: 1. Give one for each."),
        (("a", ["b"]), DataError, "summaries: one text. Allowed: a list of texts. Put it into a list."),
        (
            (["a", "b", "c"], ["b", None, None]),
            DataError,
            "references: NoneType in row 1 (2 rows in all). Allowed: a string. "
            "Leave the row out, or give '' where there is no text.",
        ),
        (
            ([b"a"], ["b"]),
            DataError,
            "summaries: bytes in row 0 (1 rows in all). Allowed: a string. "
            "Leave the row out, or give '' where there is no text.",
        ),
    ],
)
def test_what_cannot_be_scored_is_said(arguments, error, message):
    with pytest.raises(error) as raised:
        rouge(*arguments)
    assert str(raised.value) == message
