"""How a judge is asked: one verdict an item, whatever is shown with it, and classes by their words."""

import pytest

from askless.bundles.terms import Terms
from askless.config import Price
from askless.experts import Setting, build
from askless.labelling.judge import TASK, Judging, judged
from askless.prompts import PromptSpec

CLASSES, PRICES = ("b", "a"), {"one": Price(usd_per_1k_answers=1), "two": Price(usd_per_1k_answers=2)}
ASKED = {
    "question": PromptSpec(question="Is it?", words={"b": "Bad", "a": "Able"}),
    "template": PromptSpec(template="So: {text}!", system="Be brief.", words={"b": "Bad", "a": "Able"}, reply="json"),
    "examples": PromptSpec(words={"b": "Bad", "a": "Able"}, examples=({"text": "x", "label": "a"},)),
}


@pytest.mark.parametrize("prompt", ASKED.values(), ids=ASKED)
def test_a_judge_is_asked_by_the_prompt_of_the_others_and_has_one_verdict_an_item(prompt, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    terms = Terms.of_models("task", CLASSES, {"one": "some-model"}, prompt, PRICES)
    both = judged(terms, "two", "other-model", PRICES)
    assert [*both.experts] == ["one", "two"] and both.costs.prices["two"] == PRICES["two"]
    setting = Setting("two", "task", CLASSES)
    expert, plain = build(setting, both.experts["two"]), build(setting, both.experts["two"])
    asked = build(Setting("one", "task", CLASSES), both.experts["one"]).template()
    judging = Judging(expert)
    shown = judging.shown("An item.", ["a", "b"])
    assert shown == judging.longest("An item.") == "An item.\n\nAnswers given: Bad, Able"
    assert judging.shown("An item.", []).endswith("\n\nAnswers given: none")
    sent = expert.request(shown)["messages"]
    assert sent[-1]["content"] == f"{TASK}\n\n{asked.fill(shown)}" and expert.template().system == asked.system
    assert expert.key(shown) == expert.key(judging.shown("An item.", [])) == plain.key("An item.")
    assert expert.keys(shown) == plain.keys("An item.") != plain.keys(shown)
    assert "An item." in expert.secrets(shown)
