"""What replies and label scores mean."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askless import schema
from askless.data import replies as read
from askless.experts import replies
from askless.experts.remote import retrying
from askless.text.summary_faults import LOOP

DIGITS = {"0": "0", "1": "1"}
WORDS = {"clean": " no", "offensive": " yes"}


@pytest.mark.parametrize("module", [replies, read, retrying])
def test_the_examples_in_the_docstrings(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reply", "label"),
    [("0", "0"), ("1", "1"), (" 1\n", "1"), ("00", "0"), ("2", "1"), ("-1", "1"), ("1.", "1"), ("'0'", "0")]
    + [("The answer is 1", "1"), ("<think>0</think> 2", "1")]
    + [(reply, None) for reply in ("", "one", "0 or 1", "1 because", "0.5", "The answer is 2", "1 or 2")],
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


@given(st.lists(st.text(st.characters(), max_size=12) | st.none()), st.data())
def test_any_reply_is_a_text_that_can_be_kept_or_has_an_error(said: list[str | None], data: st.DataObject) -> None:
    halves = [None if text is None else text + data.draw(st.sampled_from(["", "\ud800"])) for text in said]
    ended = [data.draw(st.booleans()) for _ in said]
    for words in ({}, DIGITS):
        columns = replies.replied(halves, words, ended)
        ids = [str(i) for i in range(len(said))]
        found = schema.table("predictions", {"id": ids, "expert": ["e"] * len(said), **columns}).to_pylist()
        for row, text, end in zip(found, halves, ended, strict=True):
            assert (row["text"] is None) is (text is None)
            assert words or row["error"] or (text is not None and text.strip() and end and "\ud800" not in text)
            assert row["text"] == text or "\ud800" in str(text)


def test_what_is_wrong_with_free_text_is_said_worst_first() -> None:
    loop = "cat " * 8
    said = ["a cat", "a cat", loop, "", None, "a \udc00cat", loop]
    columns = replies.replied(said, {}, [True, False, False, False, True, False, True])
    errors = [None, replies.CUT, LOOP, replies.EMPTY, replies.EMPTY, replies.GARBLED, LOOP]
    assert columns["error"] == errors
    assert columns["text"][5] == "a \ufffdcat"
    assert replies.replied(said[:2], {})["error"] == [None, None]


def test_a_written_reply_without_a_finite_probability_is_told() -> None:
    rows = [
        {"text": "a cat", "logprob": -0.5, "ended": True},
        {"text": "a cat", "logprob": float("nan"), "ended": False},
        {"text": "kept by an older version", "logprob": -1.0},
    ]
    columns = replies.written(rows, {})
    assert columns["error"] == [None, replies.OVERFLOW, None]
    assert columns["logprob"] == [-0.5, None, -1.0]


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
