"""Sentences by the stated rule, and the expert that answers with the first one."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askless.costs import CostModel
from askless.experts import build
from askless.experts.small import sentences as rule
from askless.experts.small.sentences import LONGEST, sentences
from askless.panel import Panel
from tests.experts.tiny_models import examples, setting


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ('He said: "Go." "Now?" She left.', ['He said: "Go."', '"Now?"', "She left."]),
        ("It rose 3.5 points. 40 fell.", ["It rose 3.5 points.", "40 fell."]),
        ("Wait... what? No... Yes.", ["Wait... what?", "No...", "Yes."]),
        (
            "Dr. J. Gow of the U.S. Army came on Dec. 5. He won.",
            ["Dr. J. Gow of the U.S. Army came on Dec. 5.", "He won."],
        ),
        (
            "A title\nThe text goes on. (So it does.) [Sic.]",
            ["A title", "The text goes on.", "(So it does.)", "[Sic.]"],
        ),
        ("Élan won. Ōsaka lost. Москва жива. Да.", ["Élan won.", "Ōsaka lost.", "Москва жива.", "Да."]),
        ("今天很好。明天更好！「是的。」他说。", ["今天很好。", "明天更好！", "「是的。」", "他说。"]),
        ("यह अच्छा है। वह गया।", ["यह अच्छा है।", "वह गया।"]),
        ("  Two \t words.\r\n\r\nMore.  ", ["Two words.", "More."]),
        ("... !!! \n ?", []),
        ("", []),
    ],
)
def test_a_sentence_ends_where_the_rule_says(text, expected):
    assert sentences(text) == expected


def test_the_documented_example_runs():
    assert doctest.testmod(rule).attempted == 1
    assert doctest.testmod(rule).failed == 0


def test_what_has_no_end_is_cut_after_so_many_words():
    found = sentences("word " * 1_050)
    assert [len(piece.split()) for piece in found] == [LONGEST] * 10 + [50]


@given(st.text(alphabet=" .!?\"'()。\nAb3é", max_size=60))
def test_nothing_that_is_said_is_lost_or_said_twice(text):
    def letters(of):
        return "".join(c for c in of if c.isalnum())

    assert letters("".join(sentences(text))) == letters(text)


@pytest.mark.parametrize("piece", ["...", "Mr. ", '." ', " \t", "\n", "A. ", "。", "a"])
def test_a_hostile_text_is_split_in_linear_time(piece):
    """A rule that goes back and forth would take hours here."""
    assert len(sentences(piece * 300_000)) <= 300_000


def test_the_lead_is_the_first_sentence_and_costs_nothing():
    items = examples(["Mr. Gow won. He is glad.", "no end", "...", "\nTwo. Three."])
    expert = build(setting(classes=(), name="lead"), {"backend": "lead"})
    table = expert.answer(items)
    assert table["text"].to_pylist() == ["Mr. Gow won.", "no end", "...", "Two."]
    assert table["prompt_tokens"].to_pylist() == table["completion_tokens"].to_pylist() == [0] * 4
    assert table["logprob"].null_count == table["label"].null_count == table["error"].null_count == 4
    panel = Panel(items, {"lead": expert}, CostModel(), ())
    assert panel.ask("lead").cost.tolist() == [0.0] * 4, "without a price for it"
