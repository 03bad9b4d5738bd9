"""What a reply names: a reply a row, and the class that must be read of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askless.data.label_reader import LabelReader, bare, reader_of

LETTERS = LabelReader({name: name for name in "ABCD"})
SIGNS = LabelReader({name: name for name in ("-1", "0", "1")})
WORDS = LabelReader({name: name for name in ("no", "not sure", "yes")})
BINARY = reader_of({name: name for name in ("0", "1")})
GRADES = LabelReader({name: name for name in ("A", "A+", "A-", "C", "C++")})

SAID = [
    (LETTERS, "Answer: A", "A"),
    (LETTERS, "The answer is (B).", "B"),
    (LETTERS, "The correct option is: D) Rome", "D"),
    (LETTERS, "Let me see.\n\nFinal answer: **D**", "D"),
    (LETTERS, "Antwort: A", "A"),
    (LETTERS, "<answer>B</answer>", "B"),
    (LETTERS, "so \\boxed{B}", "B"),
    (LETTERS, "$\\boxed{\\text{C}}$", "C"),
    (LETTERS, '{"answer": "A"}', "A"),
    (LETTERS, '```json\n{"label": "C", "reason": "A is not it"}\n```', "C"),
    (LETTERS, 'Sure! {"label": "A", "score": 0.9}', "A"),
    (LETTERS, '{"about": {"label": "D"}}', "D"),
    (LETTERS, '{"label": ["A"]}', "A"),
    (LETTERS, '{"mood": "B", "confidence": 1}', "B"),
    (LETTERS, "{'label': 'A'}", "A"),
    (LETTERS, "I think.\nC", "C"),
    (LETTERS, "B is tempting, but the answer is C", "C"),
    (LETTERS, "Answer: A, not B", "A"),
    (LETTERS, "Answer: A\nFinal answer: B", "B"),
    (LETTERS, "<think>A</think>B", "B"),
    (LETTERS, "[THINK]A[/THINK]B", "B"),
    (LETTERS, "\uff22", "B"),
    (LETTERS, "<think>A", None),
    (LETTERS, "A, B and C are all possible.", None),
    (LETTERS, "Answer: A or B", None),
    (LETTERS, "Answer: A, B", None),
    (LETTERS, "Answer: A\nAnswer: B", None),
    (LETTERS, "\\boxed{A} or \\boxed{B}", None),
    (LETTERS, "B\n...\nC", None),
    (LETTERS, '{"label": "A", "label": "B"}', None),
    (LETTERS, '{"label": ["A", "B"]}', None),
    (LETTERS, '{"label": "E", "reason": "the answer is A"}', None),
    (LETTERS, "Is the answer A?", None),
    (LETTERS, "The answer is A?", None),
    (LETTERS, "The answer is not A.", None),
    (LETTERS, "The answer is a cat", None),
    (LETTERS, "1. A\n2. B", None),
    (LETTERS, "A) one\nB) two", None),
    (LETTERS, "A+", None),
    (LETTERS, "Answer: A-", None),
    (LETTERS, "A+) best", None),
    (LETTERS, "A. No", "A"),
    (BINARY, "1. Yes", "1"),
    (BINARY, "0 - no", "0"),
    (BINARY, '{"label": 1, "reason": "no"}', "1"),
    (BINARY, "1. No.", None),
    (BINARY, "**1**. No", None),
    (BINARY, "1) Not hateful", None),
    (BINARY, "0: yes", None),
    (BINARY, "Answer: 1. No.", None),
    (SIGNS, "\u22121", "-1"),
    (SIGNS, "\u20131", "-1"),
    (SIGNS, "- 1", "-1"),
    (SIGNS, "(-1)", "-1"),
    (SIGNS, "-1.0", "-1"),
    (SIGNS, "+1", "1"),
    (SIGNS, "Answer: \u22121", "-1"),
    (SIGNS, "label = -1", "-1"),
    (SIGNS, "\\boxed{-1}", "-1"),
    (SIGNS, '{"label": -1}', "-1"),
    (SIGNS, "-1: bad", "-1"),
    (SIGNS, "1.5", None),
    (SIGNS, "-2", None),
    (SIGNS, "1/2", None),
    (SIGNS, "Answer: 1-2", None),
    (SIGNS, "Answer: 0.5", None),
    (WORDS, "\u201cyes\u201d", "yes"),
    (WORDS, "yes\u3002", "yes"),
    (WORDS, "__no__", "no"),
    (WORDS, "- yes", "yes"),
    (WORDS, "not  sure", "not sure"),
    (WORDS, "Answer: not sure", "not sure"),
    (WORDS, "The answer is yes because it is", "yes"),
    (WORDS, "The answer is no longer clear.", None),
    (WORDS, 'The text belongs to the class of "yes."', "yes"),
    (WORDS, 'Sure. This post belongs to the category "not sure" and nothing else.', "not sure"),
    (WORDS, 'The text belongs to the category of "yes" and "no".', None),
    (WORDS, "It is false that the text belongs to the class yes.", None),
    (WORDS, "No, this post is not hateful.", "no"),
    (WORDS, "**Yes**, it is.\nIt insults people.", "yes"),
    (WORDS, "No, no, no", "no"),
    (WORDS, "No, I can't find any insult.", "no"),
    (WORDS, "No, I can't help with that.", None),
    (WORDS, "No,  I am not able to judge it.", None),
    (LabelReader({"H": "H", "I": "I"}), "I, as a language model, have no opinion.", None),
    (WORDS, "Yes, but there is no insult in it.", None),
    (WORDS, "No, not sure", None),
    (SIGNS, "1, because it is", "1"),
    (SIGNS, "1, 0", None),
    (WORDS, "No. Yes.", None),
    (WORDS, "yes and no", None),
    (GRADES, "A+", "A+"),
    (GRADES, "a-.", "A-"),
    (GRADES, "Answer: C++", "C++"),
    (GRADES, "B+", None),
]


@pytest.mark.parametrize(("reader", "said", "label"), SAID, ids=[repr(said) for _, said, _ in SAID])
def test_a_reply_names_a_class(reader, said, label):
    named = reader(said)
    assert (named and named.label) == label
    if named is not None:
        assert bare(said[named.start : named.end]) == bare(label)


def test_words_that_stand_for_two_classes_stand_for_none():
    reader = LabelReader({"x": "Yes", "y": "yes", "z": "no"})
    assert [reader.label(said) for said in ("Yes", "yes", "YES", "no")] == ["x", "y", None, "z"]


def test_a_reader_is_made_once():
    assert reader_of({"a": "b"}) is reader_of({"a": "b"}) is not reader_of({"a": "c"})


PIECES = st.sampled_from(
    [
        *(
            "A",
            "B",
            "-1",
            "0",
            "1",
            "no",
            "yes",
            "Answer",
            "label",
            "is",
            ":",
            "=",
            "**",
            "(",
            ")",
            "{",
            "}",
            '"',
            "\n",
            " ",
        ),
        *("\\boxed{", "<think>", "</think>", "```", "final ", ",", ".", "+", "-", "_", "\ud800", "é", "\u0301"),
    ]
)


@given(st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=12).map("".join)))
def test_any_text_names_a_class_or_none_and_where(said):
    for reader in (LETTERS, SIGNS, WORDS, GRADES):
        named = reader(said)
        assert named is None or (named.label in reader.bare and 0 <= named.start <= named.end <= len(said))


@pytest.mark.parametrize("piece", ["{", "\\boxed{", "answer is ", "* ", "A ", "\n", "(", "1.", "<think>", "answer:"])
def test_long_replies_are_read_in_time_that_grows_as_they_do(piece):
    """A pattern that goes back over what it read takes minutes for a tenth of this."""
    for reader in (LETTERS, SIGNS):
        assert reader(piece * 20_000) is None
