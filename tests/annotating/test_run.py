"""What is said of a run's end."""

from types import SimpleNamespace

import numpy as np
import pytest

from askless.annotating.run import _further, words

FACTS = {
    "paid_usd": 1.0,
    "everything_usd": 2.0,
    "answerable": 10,
    "by_llm": 10,
    "by_small": 0,
    "cheaper": [],
    "llm": "x",
    "promises": [{"measure": "agreement", "class": None, "group": None, "goal": 0.9, "share": 1.0}],
    "gold": None,
    "error_usd": None,
    "confidence": 0.95,
    "goal": 0.9,
    "limit_usd": None,
    "unreadable": [],
    "failed": 0,
    "human_labels": 400,
    "review": {"labelled": 0, "unsure": 0},
}
PRICED = {"error_usd": 0.01, "errors": None, "goal": None}


@pytest.mark.parametrize(
    ("changed", "end"),
    [
        ({"stopped": "goal"}, "would have said."),
        (
            {"stopped": "everything"},
            "Every row was put to it, for a small model could not be trusted with enough of them.",
        ),
        ({"stopped": "everything", "goal": None, "limit_usd": 9.0}, "Every row was put to it: the limit was enough."),
        (
            {
                "stopped": "everything",
                "goal": None,
                "promises": [FACTS["promises"][0] | {"measure": "recall", "class": "a"}],
            },
            "could not be trusted with enough of them.",
        ),
        (PRICED | {"stopped": "everything"}, "no label of the small model costs less than a call."),
        (
            PRICED | {"stopped": "money", "limit_usd": 1.0, "by_llm": 3, "by_small": 7},
            "too few rows were checked. The limit of $1 was reached: a higher one may cost less in all.",
        ),
        ({"stopped": "money", "limit_usd": 1.0}, "The limit of $1 was reached: a higher --max-usd promises more."),
        (
            {"stopped": "money", "key_limit": "the limit of $2 a day for K"},
            "The limit of $2 a day for K was reached: a higher one promises more.",
        ),
        ({"stopped": "unanswered"}, "Rows without an answer count as if the small model were wrong."),
    ],
)
def test_why_it_ended(changed, end):
    assert words(FACTS | changed)[1].endswith(end)


@pytest.mark.parametrize(
    ("worth", "end"), [(True, "300 rows have its label."), (False, "more is not worth its price.")]
)
def test_what_a_cheaper_llm_was_good_for(worth, end):
    mini = {"llm": "mini", "calls": 400, "usd": 0.25, "rows": 300, "worth": worth}
    said = f" mini was asked about 400 texts, for $0.25 of the bill; {end}"
    assert words(FACTS | {"stopped": "goal", "cheaper": [mini]})[0].endswith(said)


@pytest.mark.parametrize(
    ("errors", "right"), [([1.5, 0.5, 3.0], [1.2, 1.5]), ([0.0, 0.0, 2.0], [0.4, 0.5]), (None, [0.4, 0.5])]
)
def test_further_calls_put_right_as_many_labels_as_the_checked_rows_say_are_wrong(errors, right, monkeypatch):
    monkeypatch.setattr("askless.annotating.run.STEP", 1)
    found = SimpleNamespace(by_small=np.array([True, False, True]), agrees=np.array([0.9, 0.1, 0.6]))
    said = _further(found, np.ones(3, int), 0.01, errors)
    assert [each["corrected"] for each in said] == pytest.approx(right)
    assert [each["agreement"] for each in said] == pytest.approx([1 - (right[1] - right[0]) / 3, 1])


@pytest.mark.parametrize(("labelled", "end"), [(0, "label is empty."), (3, "label is empty where people gave none.")])
def test_a_reply_without_a_label_may_have_one_of_people(labelled, end):
    review = {"labelled": labelled, "answers": labelled, "changed": 0, "paid_usd": 0.0, "unsure": 0}
    said = words(FACTS | {"stopped": "goal", "unreadable": [["no class", 3]], "review": review})
    assert said[2].endswith(end)
