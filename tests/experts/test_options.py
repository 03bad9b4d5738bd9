"""Options of every backend: what cannot be meant is named with what is allowed, and what is in an answer's key."""

import shutil

import pytest

from askless.errors import ConfigError
from askless.experts import TrainedExpert, build, resolve
from askless.prompts import Prompt
from tests.experts.tiny_models import PROMPT, examples, setting

WHOLE = "Allowed: a whole number >= 1."
DTYPES = "Allowed: auto, float32, bfloat16, float16."
BAD = {
    "llm": [
        ({"mode": "guess"}, "mode is 'guess'. Allowed: auto, label, text."),
        ({"dtype": "int4"}, f"dtype is 'int4'. {DTYPES}"),
        ({"batch_size": 0}, f"batch_size is 0. {WHOLE}"),
        ({"batch_size": "16"}, f"batch_size is '16'. {WHOLE}"),
        ({"batch_tokens": 0}, "batch_tokens is 0. Allowed: null or a whole number >= 1."),
        ({"share_prefix": "no"}, "share_prefix is 'no'. Allowed: true or false."),
        ({"temperature": -1}, "temperature is -1. Allowed: 0 for greedy, or a number > 0."),
        ({"low_mass": "drop"}, "low_mass is 'drop'. Allowed: ignore or null."),
    ],
    "vllm": [
        ({"gpu_memory_utilization": 1.5}, "gpu_memory_utilization is 1.5. Allowed: a share, 0.01 to 1."),
        ({"tensor_parallel_size": 0}, f"tensor_parallel_size is 0. {WHOLE}"),
        ({"max_model_len": 0}, "max_model_len is 0. Allowed: null or a whole number >= 1."),
        ({"mode": "chat"}, "mode is 'chat'. Allowed: auto, label, text."),
        ({"extra": ["a"]}, "extra is ['a']. Allowed: null or options of vllm.LLM."),
    ],
    "openai": [
        ({"base_url": "localhost:8000"}, "base_url is 'localhost:8000'. Allowed: null or an http(s) URL."),
        ({"max_tokens": 1.5}, "max_tokens is 1.5. Allowed: auto, null or a whole number >= 1."),
        ({"concurrency": 0}, f"concurrency is 0. {WHOLE}"),
        ({"top_logprobs": 21}, "top_logprobs is 21. Allowed: 0 (none) to 20."),
        ({"tokens_per_minute": -1}, "tokens_per_minute is -1. Allowed: null or a number > 0."),
        ({"requests_per_minute": 0}, "requests_per_minute is 0. Allowed: null or a number > 0."),
    ],
    "seq2seq": [
        ({"min_new_tokens": 64}, "min_new_tokens is 64. Allowed: a whole number from 0 to max_new_tokens - 1 (63)."),
        ({"batch_size": 0}, f"batch_size is 0. {WHOLE}"),
        ({"prefix": None}, "prefix is None. Allowed: a text, which may be empty."),
        ({"dtype": "int8"}, f"dtype is 'int8'. {DTYPES}"),
        ({"max_input_tokens": 0}, "max_input_tokens is 0. Allowed: null or a whole number >= 1."),
        ({"top_p": 0}, "top_p is 0. Allowed: a share > 0, up to 1."),
        ({"temperature": -1}, "temperature is -1. Allowed: 0 for greedy, or a number > 0."),
    ],
    "extractive": [
        ({"strengths": []}, "strengths is []. Allowed: one number > 0 or more."),
        ({"strengths": [0]}, "strengths is [0]. Allowed: one number > 0 or more."),
        ({"max_sentences": 0}, f"max_sentences is 0. {WHOLE}"),
    ],
    "linear": [
        ({"ngrams": 0}, f"ngrams is 0. {WHOLE}"),
        ({"class_weight": "inverse"}, "class_weight is 'inverse'. Allowed: null or balanced."),
        ({"strengths": []}, "strengths is []. Allowed: one number > 0 or more."),
    ],
    "encoder": [
        ({"dtype": "int8"}, "dtype is 'int8'. Allowed: auto, float32, bfloat16."),
        ({"max_tokens": 0}, "max_tokens is 0. Allowed: null or a whole number >= 1."),
        ({"batch_size": 0}, "batch_size is 0. Allowed: null or a whole number >= 1."),
    ],
    "stack": [
        ({"strengths": []}, "strengths is []. Allowed: one number > 0 or more."),
        ({"balance": 2}, "balance is 2. Allowed: auto, or a number from 0 to 1."),
        ({"folds": 1}, "folds is 1. Allowed: a whole number >= 2."),
    ],
    "finetuned": [
        ({"learning_rate": 0}, "learning_rate is 0. Allowed: auto, or a number > 0."),
        ({"weight_decay": -1}, "weight_decay is -1. Allowed: a number >= 0."),
        ({"patience": 0}, f"patience is 0. {WHOLE}"),
    ],
    "auto": [
        (
            {"candidates": []},
            "candidates is []. Allowed: one or more of mlp, linear, encoder, stack, finetuned, majority.",
        ),
        ({"folds": 1}, "folds is 1. Allowed: a whole number >= 2."),
    ],
    "recorded": [({"seconds": -1}, "seconds is -1. Allowed: null or a number >= 0.")],
}
SAMPLED = {"temperature": 1.0}
OTHER_WORDS = Prompt("{text}\nOffensive:", {"0": " no", "1": " good"})
OTHER_WORDING = Prompt("{text}\nAnswer:", {"0": " no", "1": " yes"})
# Of each backend: options to begin with, those that make another key, those that do not.
KEYS = {
    "llm": (
        {"prompt": PROMPT},
        [
            {"prompt": OTHER_WORDS},
            {"prompt": OTHER_WORDING},
            {"dtype": "bfloat16"},
            {"mode": "text"},
            {"mode": "text", "max_new_tokens": 3},
            {"mode": "text"} | SAMPLED,
            {"mode": "text", "seed": 1} | SAMPLED,
            {"mode": "text", "top_p": 0.9} | SAMPLED,
            {"max_input_tokens": 9},
        ],
        [{"mode": "label"}, {"batch_size": 3, "device": "cpu"}, {"low_mass": "null", "seed": 9}],
    ),
    "vllm": (
        {"prompt": PROMPT},
        [
            {"dtype": "float16"},
            {"mode": "text"},
            {"mode": "text", "max_new_tokens": 3},
            {"top_logprobs": 5},
            {"max_model_len": 64},
            {"extra": {"quantization": "fp8"}},
            {"mode": "text"} | SAMPLED,
            {"mode": "text", "seed": 1} | SAMPLED,
        ],
        [{"batch_size": 3, "gpu_memory_utilization": 0.5, "tensor_parallel_size": 2, "seed": 9}],
    ),
    "openai": (
        {"prompt": PROMPT},
        [{"model": "n"}, {"temperature": 1.0}, {"max_tokens": 2}, {"seed": 1}, {"revision": "x"}, {"extra": {"a": 1}}]
        + [{"base_url": "http://elsewhere/v1"}, {"base_url": "http://elsewhere:1/v1"}, {"base_url": None}],
        [{"max_tokens": 16}, {"concurrency": 1, "base_url": "http://127.0.0.1:8/v1", "timeout": 1}],
    ),
    "seq2seq": (
        {"max_new_tokens": 4} | SAMPLED,
        [{"prefix": "x "}, {"max_new_tokens": 5}, {"min_new_tokens": 1}, {"seed": 9}],
        [{"batch_size": 3}],
    ),
}


@pytest.fixture
def model(request):
    """The options without which an expert cannot be built."""
    tiny, t5 = (str(request.getfixturevalue(name)) for name in ("tiny", "t5"))
    served = {"model": "m", "base_url": "http://localhost:9/v1"}
    return {"llm": {"model": tiny}, "vllm": {"model": tiny}, "openai": served, "seq2seq": {"model": t5}}


@pytest.mark.parametrize(
    ("backend", "option", "message"), [(backend, *case) for backend, cases in BAD.items() for case in cases]
)
def test_an_option_that_cannot_be_meant_is_named(backend, option, message, model):
    task = setting(classes=("0", "1") if resolve(backend).labels else ())
    expert, rows = build(task, model.get(backend, {}) | {"backend": backend, **option}), examples(["a"])
    with pytest.raises(ConfigError) as caught:
        expert.fit(rows, rows) if isinstance(expert, TrainedExpert) else expert.answer(rows)
    assert str(caught.value) == f"Expert 'tiny': {message}"


@pytest.mark.parametrize("backend", KEYS)
def test_what_determines_an_answer_and_nothing_else_is_in_its_key(backend, model):
    options, others, alike = KEYS[backend]
    task = setting(classes=("0", "1") if resolve(backend).labels else ())

    def key(text="a cat", **more):
        return build(task, {**model[backend], "backend": backend, **options, **more}).key(text)

    assert len({key(), key("a dog"), *(key(**change) for change in others)}) == 2 + len(others)
    assert {key(**change) for change in alike} == {key()}
    if backend == "llm":
        assert key(mode="text", seed=9) == key(mode="text"), "greedy replies have no seed"


def test_a_folder_is_known_by_its_files_wherever_it_is(tiny, positional, tmp_path):
    def key(folder):
        return build(setting(), {"backend": "llm", "model": str(folder), "prompt": PROMPT}).key("a cat")

    moved = shutil.copytree(tiny, tmp_path / "moved")
    assert key(moved) == key(tiny)
    shutil.copy(positional / "model.safetensors", moved / "model.safetensors")
    assert key(moved) != key(tiny)
