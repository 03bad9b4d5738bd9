"""What is said of a run's end."""

import pytest

from askless.annotating.run import words

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
            PRICED | {"stopped": "money", "limit_usd": 1.0, "by_small": 7},
            "too few rows were checked. The limit of $1 was reached: a higher one may cost less in all.",
        ),
        ({"stopped": "money", "limit_usd": 1.0}, "The limit of $1 was reached: a higher --max-usd promises more."),
        ({"stopped": "unanswered"}, "Rows without an answer count as if the small model were wrong."),
    ],
)
def test_why_it_ended(changed, end):
    assert words(FACTS | changed)[1].endswith(end)


@pytest.mark.parametrize(
    ("worth", "end"), [(True, "300 of these labels are its own."), (False, "more is not worth its price.")]
)
def test_what_a_cheaper_llm_was_good_for(worth, end):
    mini = {"llm": "mini", "calls": 400, "usd": 0.25, "rows": 300, "worth": worth}
    said = f" mini was asked about 400 texts, for $0.25 of the bill; {end}"
    assert words(FACTS | {"stopped": "goal", "cheaper": [mini]})[0].endswith(said)
