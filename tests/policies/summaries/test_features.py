import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askless.policies.summaries.features import (
    DOCUMENT,
    SUMMARY,
    Words,
    bare_words,
    chunks,
    document_features,
    summary_features,
    vector_sums,
)
from askless.text.vocabulary import as_strings
from tests.policies.summaries.made import WORDS, column, vectors

TEXTS = st.lists(st.text(st.sampled_from("ab c1 .D\n"), max_size=30), min_size=1, max_size=6)


def grams(text, n):
    words = re.findall(r"[^\W_]+", text.lower())
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def named(names, row):
    return dict(zip(names, row, strict=False))


def words_of(texts):
    return Words.of(bare_words(as_strings(texts)))


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.integers(1, 3), st.data())
def test_runs_are_found_and_counted_as_a_plain_loop_does(texts, n, data):
    others = data.draw(st.lists(st.sampled_from([*texts, "a b c1", ""]), min_size=len(texts), max_size=len(texts)))
    mine, theirs = words_of(texts), words_of(others)
    want, shares, repeats = [], [], []
    for own, other in zip(texts, others, strict=True):
        counts = [Counter(grams(other, n))[g] for g in grams(own, n)]
        want += counts
        shares.append(np.mean([c > 0 for c in counts]) if counts else 0.0)
        repeats.append(1 - len(set(grams(own, n))) / len(counts) if counts else 0.0)
    found = mine.found_in(theirs, n)
    assert found.tolist() == want
    assert mine.share(n, found > 0) == pytest.approx(shares)
    assert mine.repeated(n) == pytest.approx(repeats)


def test_a_document_in_numbers():
    (row,) = document_features(['The storm. The "river" cost £3 m'], vectors())
    own = named(DOCUMENT, row)
    assert own["words"] == pytest.approx(np.log(8))
    assert own["sentences"] == pytest.approx(np.log(2))
    assert own["numbers"] == own["signs"] == pytest.approx(1 / 7)
    assert own["quotes"] == own["capitals"] == pytest.approx(2 / 7)
    assert own["letters"] == pytest.approx((3 + 5 + 3 + 5 + 4 + 1 + 1) / 7)
    assert own["distinct"] == pytest.approx(6 / np.sqrt(7))
    assert own["once"] == pytest.approx(5 / 7)
    assert own["known"] == pytest.approx(4 / 7)
    known = vectors().matrix[vectors().rows(["the", "storm", "the", "river"])].mean(axis=0)
    assert row[len(DOCUMENT) :] == pytest.approx(known)


def test_a_summary_in_numbers():
    document = "The storm of the river was told of in 1999"
    (row,) = summary_features(["the storm told told 2001 <unk>"], [document], np.array([-0.5]), vectors())
    own = named(SUMMARY, row)
    assert own["words"] == pytest.approx(np.log(7))
    assert own["compression"] == pytest.approx(6 / 10)
    assert own["in_document"] == pytest.approx(4 / 6)
    assert own["long_in_document"] == pytest.approx(3 / 4)
    assert own["pairs_in_document"] == pytest.approx(1 / 5)
    assert own["triples_in_document"] == 0
    assert own["repeats"] == pytest.approx(1 / 6)
    assert own["repeated_pairs"] == 0
    assert own["frequency"] == pytest.approx((np.log(3) + 3 * np.log(2)) / 6)
    assert (own["numbers"], own["new_numbers"]) == (1, 1)
    assert own["unknown_token"] == pytest.approx(1 / 6)
    assert (own["logprob"], own["stated"]) == (-0.5, 1)
    mean, about = (vectors().mean([text]) for text in ("the storm told told", "the storm of the river was told of"))
    assert own["similarity"] == pytest.approx(
        float((mean * about).sum() / np.linalg.norm(mean) / np.linalg.norm(about))
    )


def test_nothing_said_is_all_zeros_but_an_unstated_logprob():
    rows = summary_features(column([None, "", "!"]), ["a document", "", "x"], np.array([np.nan, -np.inf, -1]), None)
    assert rows.shape == (3, len(SUMMARY))
    assert np.isnan(rows[:, SUMMARY.index("logprob")]).tolist() == [True, True, False]
    assert rows[:, : SUMMARY.index("logprob")].tolist() == [[0.0] * (len(SUMMARY) - 2)] * 3
    assert document_features([], None).shape == (0, len(DOCUMENT))


def test_a_text_in_another_script_has_words_too():
    own = named(SUMMARY, summary_features(["Привет мир"], ["мир, привет!"], np.array([np.nan]), None)[0])
    assert own["in_document"] == 1


def test_rows_do_not_depend_on_their_neighbours():
    documents = ["the storm of the river", "", "calm was the garden 12", "the storm of the river"]
    said = ["the storm", "river river", "", "the storm"]
    whole = summary_features(said, documents, np.zeros(4), vectors())
    alone = [summary_features([s], [d], np.zeros(1), vectors())[0] for s, d in zip(said, documents, strict=True)]
    assert whole == pytest.approx(np.array(alone))
    whole = document_features(documents, vectors())
    assert whole == pytest.approx(np.vstack([document_features([d], vectors()) for d in documents]))


def test_the_published_feature_is_the_sum_over_whitespace_tokens():
    v = vectors()
    sums = vector_sums(column(["The storm the", "storm, x", None]), v)
    assert sums[0] == pytest.approx(v.matrix[v.rows(["the", "storm", "the"])].sum(axis=0), rel=1e-5)
    assert sums[1:].tolist() == [[0.0] * len(WORDS)] * 2


@pytest.mark.parametrize(("rows", "parts"), [(0, [0]), (1, [1]), (20_000, [20_000]), (20_001, [20_000, 1])])
def test_chunks_cover_all_rows_once(rows, parts):
    assert [part.stop - part.start for part in chunks(rows)] == parts
