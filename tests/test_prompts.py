"""What an LLM is asked, as params.yaml writes it."""

import pytest

from askless.errors import ConfigError
from askless.prompts import PROMPTS, Draw, Example, Prompt, PromptSpec

CLASSES = ("Abo kündigen", "Störung", "anderes")
ROWS = [(f"{i}", f"Text {i}", CLASSES[0] if i < 8 else CLASSES[i % 2 + 1]) for i in range(12)]


@pytest.mark.parametrize(
    ("spec", "filled"),
    [
        (
            PromptSpec(),
            "Which of these classes does the text belong to?\n\nAnswer with one of these and nothing else: Abo "
            "kündigen, Störung, anderes.\n\nText: {x}\nAnswer:",
        ),
        (
            PromptSpec(question="Worum geht es?", descriptions={"Störung": "etwas geht nicht"}, words={"anderes": "-"}),
            "Worum geht es?\n\n- Störung: etwas geht nicht\n\nAnswer with one of these and nothing else: Abo kündigen, "
            "Störung, -.\n\nText: {x}\nAnswer:",
        ),
        (PromptSpec(template="{examples}{text}?", examples=(Example("{text}", "Störung"),)), None),
        (
            PromptSpec(question="Q", reply="json"),
            'Q\n\nAnswer with JSON such as {"label": "..."} and nothing else; label is one of: Abo kündigen, Störung, '
            "anderes.\n\nText: {x}\nAnswer:",
        ),
    ],
)
def test_a_prompt_of_any_classes_and_its_plain_values_are_the_same(spec, filled):
    prompt = spec.written(CLASSES, spec.examples)
    assert spec.problems(CLASSES) == []
    assert prompt.fill("{x}") == (filled or "Text: {text}\nAnswer: Störung\n\n{x}?")
    assert Prompt.of(prompt.values(), "here") == prompt


def test_plain_values_that_are_no_prompt_are_refused():
    with pytest.raises(ConfigError, match=r"^here: wrds: .* Allowed: template, words, system, examples, reply\.$"):
        Prompt.of({"template": "{text}", "wrds": {}}, "here")


def test_examples_are_drawn_by_a_seed_the_classes_in_turn_and_a_new_row_moves_at_most_one():
    drawn = Draw(6).of(ROWS)
    assert {each.label for each in drawn[:3]} == set(CLASSES)
    assert [sum(each.label == name for each in drawn) for name in CLASSES] == [2, 2, 2]
    assert Draw(6).of(ROWS[::-1]) == drawn != Draw(6, seed=1).of(ROWS)
    assert sum(each.label == CLASSES[0] for each in Draw(6, balanced=False).of(ROWS)) > 2
    assert len(set(drawn) - set(Draw(6).of([*ROWS, ("new", "New", CLASSES[0])]))) <= 1


def test_the_digests_of_askless_prompts_stay():
    """They are in the metadata of answers that were paid for."""
    shas = {name: PROMPTS[name].sha[:8] for name in PROMPTS}
    assert shas == {
        "demo-olhs": "38e7438e",
        "demo-xsum": "c9dc1b6b",
        "judge": "cbad5ecd",
        "olhs": "91928c5c",
        "xsum": "f110e166",
    }
