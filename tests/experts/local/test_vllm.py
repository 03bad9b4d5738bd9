"""The vLLM expert against a double of its module: what is handed over, and what comes of its answers."""

import sys

import numpy as np
import pytest

from askless import schema
from askless.errors import ExpertError, MissingExtra
from askless.experts.local.causal_lm import LlmExpert
from askless.experts.local.vllm import VllmExpert
from askless.prompts import Prompt
from tests.experts import vllm_double
from tests.experts.tiny_models import LONG_WORDS, PROMPT, examples, setting, texts
from tests.experts.vllm_double import LLM

SUMMARY = Prompt("{text}\nSummary:")


@pytest.fixture(autouse=True)
def double(monkeypatch):
    return vllm_double.install(monkeypatch)


def expert(model, answers=None, **options):
    classes = options.pop("classes", ("0", "1"))
    return VllmExpert(
        setting(answers, classes), **{"model": str(model), "prompt": PROMPT, "top_logprobs": 420} | options
    )


def test_label_scores_are_those_of_the_local_model(chatty):
    prompt = Prompt("Post: {text}", {"0": " no", "1": " yes"}, system="Say no or yes.")
    items = examples(texts(9))
    table = expert(chatty, prompt=prompt).answer(items)
    local = LlmExpert(setting(), model=str(chatty), prompt=prompt, device="cpu").answer(items)
    for name in ("label", "prompt_tokens", "completion_tokens", "error"):
        assert table[name].equals(local[name]), name
    for name in ("proba", "mass", "logprob"):
        np.testing.assert_allclose(table[name].to_pylist(), local[name].to_pylist(), atol=1e-4)


def test_a_word_that_is_not_listed_gets_what_the_list_leaves_and_none_is_null(tiny):
    items = examples(texts(40))
    whole, short = (expert(tiny, top_logprobs=n).answer(items).to_pylist() for n in (420, 30))
    nulls = [row for row in short if row["label"] is None]
    partly = [
        (row, all_) for row, all_ in zip(short, whole, strict=True) if row["label"] and row["mass"] < all_["mass"]
    ]
    assert nulls and partly
    assert {row["error"] for row in nulls} == {"none of the label words is among the 30 likeliest first tokens"}
    assert all(row["proba"] is row["logprob"] is None and row["mass"] == 0 for row in nulls)
    assert all(max(row["proba"]) <= max(all_["proba"]) + 1e-6 for row, all_ in partly), "no surer than it is"


def test_the_last_of_the_list_wins_over_a_word_that_is_not_on_it(tiny):
    row = {"seen": [None, 0.1], "listed": [0.4, 0.1], "cut": False, "prompt_tokens": 3, "completion_tokens": 1}
    columns = expert(tiny).columns([{**row, "seconds": 0.1}])
    assert (columns["label"], columns["proba"]) == (["1"], [[0.5, 0.5]])
    assert columns["logprob"] == pytest.approx([np.log(0.1)])


def test_what_the_engine_is_told(tiny):
    options = {"dtype": "bfloat16", "tensor_parallel_size": 2, "max_model_len": 64, "gpu_memory_utilization": 0.8}
    expert(tiny, seed=3, extra={"enforce_eager": True}, **options).answer(examples(["a"]))
    assert LLM.started == [
        {
            "model": str(tiny),
            "revision": None,
            "tokenizer_revision": None,
            "trust_remote_code": False,
            "enable_prefix_caching": True,
            "max_logprobs": 420,
            "seed": 3,
            "enforce_eager": True,
            **options,
        }
    ]


def test_a_pinned_revision_pins_weights_tokenizer_and_code(monkeypatch, tiny):
    commit = "0123456789" * 4
    told = []

    def start(**options):
        told.append(options)
        return LLM(str(tiny), max_logprobs=420)

    monkeypatch.setattr(sys.modules["vllm"], "LLM", start)
    table = expert("who/what", revision=commit, trust_remote_code=True).answer(examples(["a"]))
    pinned = {told[0][name] for name in ("revision", "tokenizer_revision", "code_revision")}
    assert (told[0]["model"], pinned, told[0]["trust_remote_code"]) == ("who/what", {commit}, True)
    assert schema.meta_of(table)["revision"] == commit
    with pytest.raises(ExpertError, match="Allowed: a commit hash of 40"):
        expert("who/what", revision="main", trust_remote_code=True).answer(examples(["a"]))


def test_draws_depend_on_the_item_and_the_seed_and_not_on_the_group(tiny):
    options = {"classes": (), "prompt": SUMMARY, "temperature": 1.0, "max_new_tokens": 6}
    items = examples(texts(7))
    runs = [
        expert(tiny, seed=seed, batch_size=size, **options).answer(items) for seed, size in ((0, 3), (0, 7), (1, 7))
    ]
    assert runs[0]["text"].equals(runs[1]["text"])
    assert not runs[0]["text"].equals(runs[2]["text"])


def test_words_that_share_their_first_token_need_mode_text(tiny):
    words = Prompt("{text}\nOffensive:", {"0": " no never", "1": " no always"})
    with pytest.raises(
        ExpertError, match=r"words \[' no never', ' no always'\] share their first token, .* mode: text"
    ):
        expert(tiny, prompt=words).answer(examples(["a"]))
    assert expert(tiny, prompt=words, mode="text").answer(examples(["a"])).num_rows == 1
    assert expert(tiny, prompt=LONG_WORDS, classes=("0", "1", "2")).answer(examples(["a"]))["label"].null_count == 0


def test_an_input_that_is_too_long_loses_its_end_and_is_counted(tiny):
    table = expert(tiny, max_model_len=40).answer(examples(["the cat sat on the mat " * 50, "a cat"]))
    assert schema.meta_of(table)["truncated"] == 1
    assert 30 < table["prompt_tokens"].to_pylist()[0] <= 39
    assert table["label"].null_count == 0


def test_without_the_package_without_cuda_and_where_it_does_not_start(tiny, monkeypatch):
    import torch

    said = {
        RuntimeError("Engine core initialization failed.\nSee above."): r"vLLM did not start model .* \(Engine core "
        r"initialization failed.\). Allowed: a model that vLLM knows and that fits.",
        torch.OutOfMemoryError(
            "CUDA out of memory."
        ): "does not fit on device 'cuda': memory ran out while vLLM started",
    }
    for error, message in said.items():

        def start(error=error, **_):
            raise error

        monkeypatch.setattr(sys.modules["vllm"], "LLM", start)
        with pytest.raises(ExpertError, match=message):
            expert(tiny).answer(examples(["a"]))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(
        ExpertError, match="backend vllm needs CUDA, and this machine has none. Allowed here: backend: llm"
    ):
        expert(tiny).answer(examples(["a"]))
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtra, match=r"pip install 'askless\[vllm\]'"):
        expert(tiny).answer(examples(["a"]))


def test_the_longest_that_an_answer_can_be(tiny):
    (short, written), (longer, _) = expert(tiny, mode="text", max_new_tokens=9).most_tokens(["a", "a cat"])
    assert (longer - short, written) == (4, 9)
    assert expert(tiny).most_tokens(["a"])[0][1] == 1
