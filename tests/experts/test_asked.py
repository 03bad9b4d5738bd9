"""An expert as a task of params.yaml asks it."""

import pytest

from askless import config, schema
from askless.bundles.terms import Terms
from askless.errors import ConfigError
from askless.experts.asked import expert_of, options_of
from askless.prompts import PROMPTS
from tests.experts.chat_server import Answer, chat, problem
from tests.pipeline import write_params

CLASSES = ["new contract", "out of order"]


def params(**changes):
    """A task of one's own, with one LLM that gets the task's prompt and one that has its own."""
    return {
        "base": {"tasks": ["mail"], "llms": ["a", "b"]},
        "prompts": {"short": {"question": "Topic?"}},
        "tasks": {
            "mail": {
                "source": {"kind": "csv", "path": "mail.csv"},
                "classes": CLASSES,
                "prompt": {"question": "What is it about?", **changes},
                "llms": {
                    "a": {"backend": "openai", "model": "m"},
                    "b": {"backend": "openai", "model": "m", "prompt": "short"},
                },
            }
        },
    }


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def loaded(**changes):
        return config.load(write_params(tmp_path, params(**changes)))

    return loaded


def prepared(texts, split="train"):
    """The examples of the task."""
    rows = {
        "id": [f"i{i}" for i in range(len(texts))],
        "text": texts,
        "label": [CLASSES[i % 2] for i in range(len(texts))],
    }
    table = schema.table("examples", {**rows, "split": [split] * len(texts)})
    schema.write(table, "data/prepared/mail/examples.parquet", "examples")


def test_two_entries_of_one_model_ask_by_two_prompts_and_terms_carry_both(load):
    settings = load()
    prompts = [expert_of(settings, "mail", name).template().fill("Hello").split("\n")[0] for name in "ab"]
    assert prompts == ["What is it about?", "Topic?"]
    assert expert_of(settings, "mail", "a").key("x") != expert_of(settings, "mail", "b").key("x")
    terms = Terms.of(settings, "mail", ("a", "b"))
    assert terms.experts["b"]["prompt"]["template"].startswith("Topic?")


def test_terms_with_a_prompt_of_ones_own_ask_it_after_they_travelled(load, tmp_path, server):
    terms = Terms.of(load(reply="json"), "mail", ("a",))
    terms.write(tmp_path)
    server.reply = lambda request, before: Answer(chat('{"label": "out of order"}'))
    read = Terms.read(tmp_path)
    read.experts["a"].update(base_url=server.url, api_key_env="NO_API_KEY")
    row = read.expert("a", tmp_path / "answers").answer(schema.table("examples", EXAMPLE)).to_pylist()[0]
    assert row["label"] == "out of order"
    body = server.requests[0].body
    assert body["response_format"]["json_schema"]["schema"]["properties"] == {
        "label": {"type": "string", "enum": CLASSES}
    }
    # No token is shorter than a byte, so that every word fits.
    assert body["max_tokens"] >= len('{"label": "new contract"}')


EXAMPLE = {"id": ["x"], "text": ["It is broken"], "label": [CLASSES[1]], "split": ["test"]}


def test_a_server_that_takes_no_schema_is_asked_without(load, server):
    def reply(request, before):
        if "response_format" in request.body:
            return Answer(problem("Unsupported parameter: response_format"), 400)
        return Answer(chat('{"label": "new contract"}'))

    server.reply = reply
    settings = load(reply="json")
    settings.experts["a"].update(base_url=server.url)
    row = expert_of(settings, "mail", "a").answer(schema.table("examples", EXAMPLE)).to_pylist()[0]
    assert row["label"] == "new contract"


def test_drawn_examples_are_of_train_and_a_changed_prompt_keeps_the_others_answers(load):
    prepared(["Wants one", "Broken", "Another", "Noise"])
    drawn = load(examples={"draw": 2})
    shown = options_of(drawn, "mail", "a")["prompt"]["examples"]
    assert {each["label"] for each in shown} == set(CLASSES)
    plain = load()
    assert expert_of(drawn, "mail", "b").key("x") == expert_of(plain, "mail", "b").key("x")
    assert expert_of(drawn, "mail", "a").key("x") != expert_of(plain, "mail", "a").key("x")


def test_examples_can_only_be_drawn_once_the_texts_are_prepared(load):
    with pytest.raises(ConfigError, match="draws examples from train, and data/prepared/mail/examples.parquet is not"):
        expert_of(load(examples={"draw": 2}), "mail", "a")


def test_an_example_that_results_are_measured_on_is_refused(load):
    given = {"examples": [{"text": "It  is broken", "label": CLASSES[1]}]}
    assert options_of(load(**given), "mail", "a")["prompt"]["examples"][0]["label"] == CLASSES[1]
    prepared(["It is broken"], "test")
    with pytest.raises(ConfigError, match="the example 'It  is broken' is among the items that results are measured"):
        options_of(load(**given), "mail", "a")


def test_options_of_a_prompt_of_askless_stay_as_they_are(load):
    settings = load()
    settings.experts["a"]["prompt"] = "olhs"
    assert options_of(settings, "mail", "a")["prompt"] == "olhs"
    settings.experts["a"]["prompt"] = {"mail": "olhs"}
    assert expert_of(settings, "mail", "a").template() is PROMPTS["olhs"]
