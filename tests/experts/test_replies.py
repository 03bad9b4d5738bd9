"""What replies and label scores mean."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deferral import schema
from deferral.experts import replies, retrying

DIGITS = {"0": "0", "1": "1"}
WORDS = {"clean": " no", "offensive": " yes"}


@pytest.mark.parametrize("module", [replies, retrying])
def test_the_examples_in_the_docstrings(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reply", "label"),
    [("0", "0"), ("1", "1"), (" 1\n", "1"), ("00", "0"), ("2", "1"), ("-1", "1"), ("1.", "1"), ("'0'", "0")]
    + [(reply, None) for reply in ("", "one", "0 or 1", "1 because", "0.5", "The answer is 1")],
)
def test_the_published_rule_reads_integers_but_never_guesses(reply: str, label: str | None) -> None:
    assert replies.parse(reply, DIGITS) == label


@pytest.mark.parametrize(
    ("reply", "label"),
    [("no", "clean"), (" Yes", "offensive"), ("YES!", "offensive"), ("**no**", "clean")]
    + [(reply, None) for reply in ("", "nope", "yes and no", "0", "1")],
)
def test_words_whatever_their_case_and_punctuation(reply: str, label: str | None) -> None:
    assert replies.parse(reply, WORDS) == label


@given(st.text(max_size=30))
def test_no_reply_is_an_error_of_the_parser(reply: str) -> None:
    try:
        published = "0" if int(reply) == 0 else "1"
    except ValueError:
        published = None
    got = replies.parse(reply, DIGITS)
    assert got in ("0", "1", None)
    if published is not None:
        assert got == published


@given(st.lists(st.lists(st.floats(-80, 0), min_size=3, max_size=3), min_size=1, max_size=5), st.floats(0, 1))
def test_scores_always_keep_the_contract(rows: list[list[float]], floor: float) -> None:
    logprobs = np.array(rows) - math.log(3)
    columns = replies.scored(("a", "b", "c"), logprobs, floor)
    ids = [str(i) for i in range(len(rows))]
    table = schema.table("predictions", {"id": ids, "expert": ["e"] * len(rows), **columns}, {"classes": list("abc")})
    for row, scores in zip(table.to_pylist(), logprobs, strict=True):
        assert 0 <= row["mass"] <= 1
        assert (row["label"] is None) == (row["error"] is not None) == (row["proba"] is None)
        if row["label"] is not None:
            assert row["label"] == "abc"[int(scores.argmax())]


def test_no_mass_at_all_is_null() -> None:
    columns = replies.scored(("a", "b"), np.full((1, 2), -np.inf))
    assert columns["label"] == columns["proba"] == columns["logprob"] == [None]
    assert columns["error"] == ["probability 0 on all label words"]


def test_a_token_that_begins_both_words_counts_for_neither() -> None:
    proba, mass = replies.listed([["no", -0.5], ["not", -1.5], ["n", -2.0]], ["not bad", "now"])
    assert mass == pytest.approx(math.exp(-1.5))
    assert proba is not None
    assert proba[0] > 0.5
    assert replies.listed([["x", -0.1]], ["a", "b"]) == (None, 0.0)
    assert replies.listed([], ["a", "b"]) == (None, None)
