"""Why a model that learns asked one more."""

from askless.labelling.explained import Asked, LiveExplanation


def test_who_was_asked_because_of_what_was_said_before_is_told_with_chances():
    asked = (Asked("tiny", "yes", 0.001, True, None, 0.7), Asked("large", "no", 0.02, False, 0.7, 0.9))
    words = LiveExplanation("k", "2026-11-30", 3, 120, asked, "no", "no").words()
    assert words == [
        "Decided on 2026-11-30 by version 3, taught by 120 labels.",
        "tiny was asked first and said 'yes', for $0.001; then 70 % likely to be right.",
        "large was asked as well, for the answer at hand was 70 % likely to be right, and said 'no', for $0.02; "
        "then 90 % likely to be right.",
        "The answer was 'no', for $0.021; the label that came is 'no'.",
    ]
    assert LiveExplanation("k", "2026-11-30", 3, None, (), None, None).words()[1].startswith("Nobody was asked")
