"""Label scoring and free text against a plain, one-at-a-time reference."""

import json
import logging
import shutil

import numpy as np
import pytest
import torch

from askless import schema
from askless.data.demo.documents import documents
from askless.data.demo.posts import posts
from askless.errors import ConfigError, ExpertError
from askless.experts import build
from askless.experts.base import Setting
from askless.experts.local import decoding, scoring
from askless.experts.local.causal_lm import LlmExpert
from askless.experts.local.encoding import encode
from askless.experts.replies import CUT
from askless.prompts import PROMPTS, Prompt
from tests.experts.local.networks import TOLERANCE
from tests.experts.tiny_models import LONG_WORDS, PROMPT, examples, setting, texts

CHAT_PROMPT = Prompt("Post: {text}", {"0": "no", "1": "yes"}, system="Say no or yes.")


def columns(table, *names):
    return [table[name].to_pylist() for name in names]


def reference(folder, prompts, words, special=True):
    """log P(word | prompt), one unpadded sequence at a time, token by token."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    scores = np.zeros((len(prompts), len(words)))
    for i, prompt in enumerate(prompts):
        for j, word in enumerate(words):
            ids = tokenizer(prompt, add_special_tokens=special)["input_ids"]
            for token in tokenizer(word, add_special_tokens=False)["input_ids"]:
                with torch.no_grad():
                    logits = model(torch.tensor([ids])).logits[0, -1].double()
                scores[i, j] += float(logits.log_softmax(-1)[token])
                ids = [*ids, token]
    return scores


def expect(table, logprobs, classes):
    """The table says what these label log-probabilities mean."""
    share = np.exp(logprobs)
    best = logprobs.argmax(axis=1)
    assert table["label"].to_pylist() == [classes[i] for i in best]
    np.testing.assert_allclose(table["proba"].to_pylist(), share / share.sum(1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(table["mass"].to_pylist(), share.sum(1), rtol=1e-4)
    np.testing.assert_allclose(table["logprob"].to_pylist(), logprobs.max(1), atol=1e-4)
    assert table["error"].null_count == table.num_rows


@pytest.mark.parametrize("kind", ["tiny", "positional"])
def test_label_scores_equal_the_one_at_a_time_reference(kind, request):
    folder, items = request.getfixturevalue(kind), texts(21)
    table = LlmExpert(setting(), model=str(folder), prompt=PROMPT, batch_size=8).answer(examples(items))
    logprobs = reference(folder, [PROMPT.fill(item) for item in items], [" no", " yes"])
    expect(table, logprobs, ["0", "1"])
    assert set(table["completion_tokens"].to_pylist()) == {1}
    assert all(seconds > 0 for seconds in table["seconds"].to_pylist())


def test_words_of_several_tokens_are_summed_over_their_tokens(tiny):
    items, classes = texts(13), ("0", "1", "2")
    expert = LlmExpert(setting(classes=classes), model=str(tiny), prompt=LONG_WORDS, batch_size=4)
    table = expert.answer(examples(items))
    words = [LONG_WORDS.words[name] for name in classes]
    expect(table, reference(tiny, [LONG_WORDS.fill(item) for item in items], words), classes)
    sizes = [len(label) for label in expert._labels]
    assert sizes == [3, 6, 1]
    expected = [sizes[classes.index(label)] for label in table["label"].to_pylist()]
    assert table["completion_tokens"].to_pylist() == expected


def test_a_chat_template_is_used_where_there_is_one(chatty):
    items = texts(7)
    table = LlmExpert(setting(), model=str(chatty), prompt=CHAT_PROMPT).answer(examples(items))
    rendered = [f"<|system|>Say no or yes.<|end|><|user|>Post: {item}<|end|><|assistant|>" for item in items]
    expect(table, reference(chatty, rendered, ["no", "yes"], special=False), ["0", "1"])


def test_a_template_without_system_gets_it_in_the_users_turn(systemless):
    items = texts(5)
    table = LlmExpert(setting(), model=str(systemless), prompt=CHAT_PROMPT).answer(examples(items))
    rendered = [f"<|user|>Say no or yes.\n\nPost: {item}<|end|><|assistant|>" for item in items]
    expect(table, reference(systemless, rendered, ["no", "yes"], special=False), ["0", "1"])


def test_a_template_that_leaves_the_system_message_out_gets_it_in_the_users_turn(chatty):
    expert = LlmExpert(setting(), model=str(chatty), prompt=CHAT_PROMPT)
    expert.checkpoint.tokenizer.chat_template = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    assert expert.checkpoint.render(CHAT_PROMPT, "a") == "Say no or yes.\n\nPost: a"


def test_a_plain_prompt_begins_with_the_system_message(tiny):
    expert = LlmExpert(setting(), model=str(tiny), prompt=CHAT_PROMPT)
    assert expert.checkpoint.render(CHAT_PROMPT, "a") == "Say no or yes.\n\nPost: a"


@pytest.mark.parametrize("end", ["</s>", None])
def test_a_tokenizer_without_a_padding_token_pads_with_what_there_is(tiny, end):
    items, expert = texts(7), LlmExpert(setting(), model=str(tiny), prompt=PROMPT)
    tokenizer = expert.checkpoint.tokenizer
    tokenizer.eos_token = end
    assert (tokenizer.pad_token_id, tokenizer.chat_template) == (None, None)
    assert expert.checkpoint.pad == (1 if end else 0)
    expect(
        expert.answer(examples(items)), reference(tiny, [PROMPT.fill(i) for i in items], [" no", " yes"]), ["0", "1"]
    )


def test_answers_do_not_depend_on_the_batch(tiny):
    items = texts(30)
    tables = [
        LlmExpert(setting(), model=str(tiny), prompt=PROMPT, batch_size=size).answer(examples(items))
        for size in (1, 7, 64)
    ]
    for table in tables[1:]:
        assert table["label"].to_pylist() == tables[0]["label"].to_pylist()
        assert table["prompt_tokens"].to_pylist() == tables[0]["prompt_tokens"].to_pylist()
        for name in ("proba", "mass", "logprob"):
            np.testing.assert_allclose(table[name].to_pylist(), tables[0][name].to_pylist(), atol=2e-5)


def test_prompt_tokens_are_those_of_the_prompt_and_not_of_the_padding(tiny):
    from transformers import AutoTokenizer

    items = ["a", "the cat sat on the mat", "no"]
    table = LlmExpert(setting(), model=str(tiny), prompt=PROMPT).answer(examples(items))
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    assert table["prompt_tokens"].to_pylist() == [len(tokenizer(PROMPT.fill(i))["input_ids"]) for i in items]


def test_batches_are_padded_on_the_left_sorted_and_no_larger_than_asked(tiny, monkeypatch):
    seen = []
    expert = LlmExpert(setting(), model=str(tiny), prompt=PROMPT, batch_size=8)
    network = expert.checkpoint.network
    forward = network.forward

    def spy(**given):
        mask = given["attention_mask"]
        assert bool((mask.diff(dim=1) >= 0).all())
        assert given["logits_to_keep"] == 1
        seen.append(tuple(mask.shape))
        return forward(**given)

    monkeypatch.setattr(network, "forward", spy)
    expert.answer(examples(texts(30)))
    rows, widths = zip(*seen[1:], strict=True)
    assert rows == (8, 8, 8, 6)
    assert list(widths) == sorted(widths, reverse=True)


def test_memory_that_runs_out_halves_the_batch_and_goes_on(tiny, tmp_path, monkeypatch, caplog):
    items = texts(20)
    plain = LlmExpert(setting(), model=str(tiny), prompt=PROMPT).answer(examples(items))
    for failure in (
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ):
        expert = LlmExpert(setting(), model=str(tiny), prompt=PROMPT, batch_size=16)
        sizes = _limited(expert, monkeypatch, 5, failure)
        with caplog.at_level(logging.WARNING, "askless"):
            table = expert.answer(examples(items))
        assert sizes == [4] * 5
        assert table["label"].to_pylist() == plain["label"].to_pylist()
        np.testing.assert_allclose(table["mass"].to_pylist(), plain["mass"].to_pylist(), atol=2e-5)
    assert "Memory ran out on a batch of 16; it and all as large go on in halves of 8 or less" in caplog.text
    assert not any(item in caplog.text for item in items)


def _limited(expert, monkeypatch, rows, failure):
    """Let the model's forward fail on more than `rows` rows; returns the sizes that went through."""
    network, sizes = expert.checkpoint.network, []
    forward = network.forward

    def limited(**given):
        if len(given["input_ids"]) > rows:
            raise failure
        sizes.append(len(given["input_ids"]))
        return forward(**given)

    monkeypatch.setattr(scoring, "warm_up", lambda *_: None)
    monkeypatch.setattr(network, "forward", limited)
    return sizes


def test_low_mass_is_ignored_or_nulled(tiny):
    items = examples(texts(20))
    kept = LlmExpert(setting(), model=str(tiny), prompt=PROMPT).answer(items)
    masses = np.array(kept["mass"].to_pylist())
    floor = float(np.median(masses))
    table = LlmExpert(setting(), model=str(tiny), prompt=PROMPT, low_mass="null", min_mass=floor).answer(items)
    withheld = masses < floor
    assert 0 < withheld.sum() < 20
    for name in ("label", "proba"):
        assert [value is None for value in table[name].to_pylist()] == withheld.tolist()
    assert [e is not None and "less than min_mass" in e for e in table["error"].to_pylist()] == withheld.tolist()
    assert table["mass"].to_pylist() == kept["mass"].to_pylist()


def test_a_text_that_is_too_long_loses_its_end_and_the_template_stays(tiny):
    from transformers import AutoTokenizer

    long = "the cat sat on the mat " * 200
    expert = LlmExpert(setting(), model=str(tiny), prompt=PROMPT, max_input_tokens=40)
    table = expert.answer(examples([long, "a cat"]))
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    ((ids, was_cut),) = encode(expert.checkpoint, PROMPT, [long], 40)
    kept = len(tokenizer.decode(ids).removesuffix("\nOffensive:"))
    assert was_cut
    assert tokenizer.decode(ids) == PROMPT.fill(long[:kept])
    assert len(ids) <= 40 < len(tokenizer(PROMPT.fill(long[: kept + 10]))["input_ids"])
    assert schema.meta_of(table)["truncated"] == 1
    assert table["prompt_tokens"].to_pylist()[0] == len(ids)
    expect(table.slice(0, 1), reference(tiny, [PROMPT.fill(long[:kept])], [" no", " yes"]), ["0", "1"])
    unlimited = LlmExpert(setting(), model=str(tiny), prompt=PROMPT).answer(examples([long]))
    assert unlimited["prompt_tokens"].to_pylist() == [512]
    assert schema.meta_of(unlimited)["truncated"] == 1


def test_a_template_that_does_not_fit_is_an_error(tiny):
    expert = LlmExpert(setting(), model=str(tiny), prompt=PROMPT, max_input_tokens=3)
    with pytest.raises(ExpertError, match=r"template alone is \d+ tokens. Allowed: 3. Shorten"):
        expert.answer(examples(["the cat sat on the mat"]))


def greedy(folder, prompt, steps):
    """Greedy tokens and their log-probabilities, one sequence, no cache."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids, chosen, logprobs = tokenizer(prompt)["input_ids"], [], []
    while len(chosen) < steps and tokenizer.eos_token_id not in chosen:
        with torch.no_grad():
            row = model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
        chosen.append(int(row.argmax()))
        logprobs.append(float(row.max()))
        ids = [*ids, chosen[-1]]
    return chosen, logprobs


def test_free_text_is_the_greedy_reply_with_its_mean_log_probability(tiny):
    from transformers import AutoTokenizer

    prompt, items = Prompt("{text}\nSummary:"), texts(9)
    expert = LlmExpert(setting(classes=()), model=str(tiny), prompt=prompt, max_new_tokens=6, batch_size=4)
    table, tokenizer = expert.answer(examples(items)), AutoTokenizer.from_pretrained(tiny)
    for row, item in zip(table.to_pylist(), items, strict=True):
        chosen, logprobs = greedy(tiny, prompt.fill(item), 6)
        assert row["text"] == tokenizer.decode(chosen, skip_special_tokens=True)
        assert row["logprob"] == pytest.approx(np.mean(logprobs), abs=1e-4)
        assert row["completion_tokens"] == len(chosen)
        assert row["label"] is None
        assert row["proba"] is None
        assert row["error"] == (None if chosen[-1] == tokenizer.eos_token_id else CUT)


def test_one_entry_scores_labels_in_one_task_and_writes_summaries_in_another():
    options = {"backend": "llm", "model": "demo:xs", "prompt": {"olhs": "demo-olhs", "xsum": "demo-xsum"}}
    items = examples([document["text"] for document in documents(3, 1)])
    tasks = [Setting("demo-xs", "posts", ("0", "1"), "olhs"), Setting("demo-xs", "news", (), "xsum")]
    labels, summaries = (build(task, options).answer(items) for task in tasks)
    assert [schema.meta_of(table)["mode"] for table in (labels, summaries)] == ["label", "text"]
    assert set(labels["label"].to_pylist()) <= {"0", "1"}
    assert labels["text"].null_count == 3
    assert summaries["label"].null_count == summaries["error"].null_count == 3
    assert all(len(text.split()) > 5 for text in summaries["text"].to_pylist())
    assert all(logprob < 0 for logprob in summaries["logprob"].to_pylist())


def test_a_prompt_for_another_task_leaves_the_tasks_own():
    for asked, expected in (("olhs", "demo-olhs"), ("judge", "judge")):
        expert = LlmExpert(Setting("a", "b", ("1",), asked), model="m", prompt={"olhs": "demo-olhs"})
        assert expert.template() is PROMPTS[expected]
    for prompt in ({"ohls": "demo-olhs"}, {"olhs": "demo-ohls"}, "ohls"):
        with pytest.raises(ConfigError, match="Unknown prompt of expert 'tiny' '.*ohls'. .*Did you mean"):
            LlmExpert(setting(), model="m", prompt=prompt).template()


@pytest.mark.parametrize(("classes", "mode"), [(("0", "1"), "label"), ((), "text")])
def test_the_mode_that_follows_from_the_task_has_the_keys_of_that_mode(tiny, classes, mode):
    options = {"model": str(tiny), "prompt": PROMPT if classes else Prompt("{text}\nSummary:")}
    keys = {LlmExpert(setting(classes=classes), **options, **how).key("a cat") for how in ({}, {"mode": mode})}
    assert len(keys) == 1


def test_a_document_of_100_000_words_loses_its_end_and_is_counted():
    (document,) = documents(1, 1)
    long = " ".join([document["text"]] * (100_000 // len(document["text"].split()) + 1))
    items = examples([long, "A short one.", "\x00\ufffe"])
    table = LlmExpert(setting(classes=()), model="demo:xs", prompt="demo-xsum").answer(items)
    assert schema.meta_of(table)["truncated"] == 1
    assert 512 - 64 - 3 < table["prompt_tokens"].to_pylist()[0] <= 512 - 64
    assert table["text"].null_count == 0


def test_a_reply_ends_with_the_end_token_and_counts_it():
    reply = decoding._reply([5, 6, 1, 0, 0], np.array([-1.0, -2.0, -3.0, -9.0, -9.0]), {1})
    assert reply.tokens == [5, 6, 1]
    assert reply.logprob == pytest.approx(-2.0)


def test_sampled_replies_repeat_with_their_seed_and_the_checkpoints_habits_are_off(tiny, tmp_path):
    habits = shutil.copytree(tiny, tmp_path / "habits")
    generation = json.loads((habits / "generation_config.json").read_text())
    generation |= {"repetition_penalty": 5.0, "temperature": 0.1, "top_k": 1, "do_sample": True}
    (habits / "generation_config.json").write_text(json.dumps(generation))
    options = {"prompt": Prompt("{text}"), "mode": "text", "temperature": 1.0, "max_new_tokens": 8}
    items, state = examples(texts(8)), torch.get_rng_state()
    runs = [
        LlmExpert(setting(classes=()), model=str(folder), seed=seed, **options).answer(items)["text"].to_pylist()
        for folder, seed in ((tiny, 0), (tiny, 0), (tiny, 1))
    ]
    assert runs[0] == runs[1] != runs[2]
    assert torch.equal(torch.get_rng_state(), state)
    greedy_options = options | {"temperature": 0.0}
    plain, other = (
        LlmExpert(setting(classes=()), model=str(folder), **greedy_options).answer(items) for folder in (tiny, habits)
    )
    assert columns(other, "text") == columns(plain, "text")


def test_metadata_say_what_answered(tiny):
    table = LlmExpert(setting(), model=str(tiny), prompt=PROMPT, batch_size=3).answer(examples(texts(4)))
    meta = schema.meta_of(table)
    assert meta | {"revision": "", "prompt_sha": ""} == {
        "schema": "askless/predictions/1",
        "task": "demo",
        "classes": ["0", "1"],
        "model": str(tiny),
        "revision": "",
        "prompt_sha": "",
        "mode": "label",
        "dtype": "float32",
        "batch_size": 3,
        "batch_tokens": 2048,
        "device": "cpu",
        "truncated": 0,
    }
    assert meta["revision"].startswith("sha256:")
    assert len(meta["prompt_sha"]) == 64


def test_auto_dtype_is_float32_on_a_cpu_and_the_checkpoints_own_elsewhere(tiny, tmp_path):
    from transformers import AutoModelForCausalLM

    half = shutil.copytree(tiny, tmp_path / "half")
    AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.bfloat16).save_pretrained(half)
    part = LlmExpert(setting(), model=str(half), prompt=PROMPT).checkpoint
    assert part.dtype == "float32"
    assert part.network.dtype == torch.float32
    assert LlmExpert(setting(), model=str(half), prompt=PROMPT, device="cuda").checkpoint.dtype == "bfloat16"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"prompt": "olsh"}, "Unknown prompt of expert 'tiny' 'olsh'."),
        ({"model": "demo:xxl"}, "Unknown demo model 'demo:xxl'."),
    ],
)
def test_unknown_names_are_named(tiny, option, message):
    with pytest.raises(ConfigError) as caught:
        LlmExpert(setting(), **{"model": str(tiny), "prompt": PROMPT} | option).answer(examples(["a"]))
    assert str(caught.value).startswith(message)


def test_code_from_the_hub_needs_a_pinned_commit(tiny):
    for revision in (None, "main"):
        expert = LlmExpert(setting(), model="who/what", revision=revision, prompt=PROMPT, trust_remote_code=True)
        with pytest.raises(ExpertError, match="Allowed: a commit hash of 40"):
            expert.answer(examples(["a"]))
    table = LlmExpert(setting(), model=str(tiny), prompt=PROMPT, trust_remote_code=True).answer(examples(["a"]))
    assert table.num_rows == 1


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (Prompt("{text}"), "has no word for class '0'. Allowed: a prompt with a word for each of ['0', '1']."),
        (Prompt("{text}:", {"0": " no", "1": " no"}), "the label word ' no' begins like ' no' in its tokens"),
        (Prompt("{text}:", {"0": " no", "1": ""}), "the label word '' is not in its vocabulary"),
    ],
)
def test_label_words_that_cannot_be_scored(tiny, prompt, message):
    with pytest.raises(ExpertError) as caught:
        LlmExpert(setting(), model=str(tiny), prompt=prompt).answer(examples(["a"]))
    assert message in str(caught.value)


def test_a_prompt_that_asks_for_labels_is_none_for_summaries(tiny):
    with pytest.raises(ExpertError) as caught:
        LlmExpert(setting(classes=()), model=str(tiny), prompt=PROMPT).answer(examples(["a"]))
    assert str(caught.value) == (
        "Expert 'tiny': its prompt asks for one of [' no', ' yes'], and task 'demo' has no classes. Allowed: a prompt "
        "without label words. Leave out the expert's prompt and the task's is used."
    )
    with pytest.raises(ExpertError) as caught:
        LlmExpert(setting(classes=()), model=str(tiny), prompt=Prompt("{text}"), mode="label").answer(examples(["a"]))
    assert str(caught.value) == (
        "Expert 'tiny': mode label got a task without classes. Allowed there: mode: auto or text. "
        "Change the mode, or leave it out."
    )


def test_a_folder_without_a_model_is_one_clear_error(tmp_path):
    with pytest.raises(ExpertError, match=r"The tokenizer of model .* could not be loaded .*Check the name"):
        LlmExpert(setting(), model=str(tmp_path), prompt=PROMPT).answer(examples(["a"]))


def widths(expert, monkeypatch):
    """Shapes of the ids that the expert's network is really given."""
    network, seen = expert.checkpoint.network, []
    forward = network.forward

    def spy(**given):
        seen.append(tuple(given["input_ids"].shape))
        return forward(**given)

    monkeypatch.setattr(network, "forward", spy)
    return seen


def test_an_expert_reads_the_instruction_once_and_answers_the_same(monkeypatch):
    items = examples([post["text"] for post in posts(40, 1)])
    options = {"model": "demo:xs", "prompt": "olhs"}
    plain = LlmExpert(setting(), share_prefix=False, **options).answer(items)
    expert = LlmExpert(setting(), batch_tokens=300, **options)
    seen = widths(expert, monkeypatch)
    table = expert.answer(items)
    assert seen[1] == (1, 89), "after the warm-up, the prefix alone"
    assert all(width < 40 and rows * width <= 300 for rows, width in seen[2:])
    assert sum(rows for rows, _ in seen[2:]) == 40
    for name in ("id", "label", "error", "prompt_tokens", "completion_tokens"):
        assert table[name].equals(plain[name]), name
    for name in ("mass", "logprob", "proba"):
        np.testing.assert_allclose(table[name].to_pylist(), plain[name].to_pylist(), atol=TOLERANCE)


def test_an_expert_that_writes_does_so_too():
    items = examples([document["text"] for document in documents(7, 2)])
    prompt = Prompt("Summarise what happened here.\n\n{text}\nSummary:")
    options = {"model": "demo:xs", "prompt": prompt, "mode": "text", "max_new_tokens": 12}
    plain = LlmExpert(setting(classes=()), share_prefix=False, **options).answer(items)
    table = LlmExpert(setting(classes=()), batch_tokens=600, **options).answer(items)
    assert table["text"].equals(plain["text"])
    assert table["completion_tokens"].equals(plain["completion_tokens"])
    np.testing.assert_allclose(table["logprob"].to_pylist(), plain["logprob"].to_pylist(), atol=TOLERANCE)


def test_attention_is_pytorchs_own_and_bfloat16_answers_in_halves_where_memory_runs_out(monkeypatch):
    items = examples([post["text"] for post in posts(20, 1)])
    options = {"model": "demo:xs", "prompt": "olhs", "dtype": "bfloat16", "device": "cpu"}
    whole = LlmExpert(setting(), **options).answer(items)
    expert = LlmExpert(setting(), batch_size=16, **options)
    network, sizes = expert.checkpoint.network, _limited(expert, monkeypatch, 5, torch.OutOfMemoryError("CUDA"))
    assert network.config._attn_implementation == "sdpa"
    assert network.dtype == torch.bfloat16
    table = expert.answer(items)
    assert sizes[1:] == [4] * 5, "after the prefix"
    assert [row["label"] is not None for row in table.to_pylist()] == [True] * 20
    np.testing.assert_allclose(table["mass"].to_pylist(), whole["mass"].to_pylist(), atol=0.05)


def test_a_single_item_has_nothing_to_share(tiny, monkeypatch):
    expert = LlmExpert(setting(), model=str(tiny), prompt=PROMPT)
    seen = widths(expert, monkeypatch)
    assert expert.answer(examples(texts(1))).num_rows == 1
    assert len(seen) == 2
