"""Encoder-decoders made here, asked through the code that loads a real one, against a plain one-at-a-time reference."""

from dataclasses import replace

import numpy as np
import pytest

from askless import schema
from askless.errors import ExpertError
from askless.experts import build
from askless.experts.local.seq2seq import LIMIT, Seq2SeqCheckpoint, Seq2SeqExpert
from askless.experts.replies import CUT
from tests.experts.tiny_models import examples, setting, texts


def reference(folder, text, most, least=0):
    """Greedy tokens, their log-probabilities and the tokens read: one unpadded text, a whole pass a token."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([AutoTokenizer.from_pretrained(folder)(text)["input_ids"]])
    own = model.generation_config
    forced = [] if own.forced_bos_token_id is None else [own.forced_bos_token_id]
    tokens = []
    logprobs = []
    while len(tokens) < most and (not tokens or tokens[-1] != 1):
        so_far = torch.tensor([[own.decoder_start_token_id, *forced, *tokens]])
        with torch.no_grad():
            step = model(input_ids=ids, decoder_input_ids=so_far).logits[0, -1].double().log_softmax(-1)
        allowed = step.clone()
        if len(tokens) < least:
            allowed[1] = -float("inf")
        tokens.append(int(allowed.argmax()))
        logprobs.append(float(step[tokens[-1]]))
    return tokens, logprobs, ids.shape[1]


@pytest.mark.parametrize("kind", ["t5", "bart"])
@pytest.mark.parametrize("least", [0, 5])
def test_summaries_equal_the_greedy_reference_whatever_the_batch(kind, least, request):
    from transformers import AutoTokenizer

    folder, items = request.getfixturevalue(kind), texts(11)
    tokenizer, lengths = AutoTokenizer.from_pretrained(folder), set()
    options = {"max_new_tokens": 7, "min_new_tokens": least, "prefix": "a cat: ", "batch_size": 4}
    table = Seq2SeqExpert(setting(classes=()), model=str(folder), **options).answer(examples(items))
    for row, item in zip(table.to_pylist(), items, strict=True):
        tokens, logprobs, read = reference(folder, "a cat: " + item, 7, least)
        assert row["text"] == tokenizer.decode(tokens, skip_special_tokens=True)
        assert row["logprob"] == pytest.approx(np.mean(logprobs), abs=1e-4)
        assert (row["prompt_tokens"], row["completion_tokens"]) == (read, len(tokens))
        assert row["seconds"] > 0
        assert row["label"] is None
        assert (row["error"] == CUT) is (tokens[-1] != 1)
        lengths.add(len(tokens))
    assert min(lengths) > least, "the end itself comes after at least that many tokens"
    if not least:
        assert len(lengths) > 1, "a reference that always ends alike would show little"


def test_a_long_document_loses_its_end_is_counted_and_is_still_closed(t5):
    items = ["cat dog " * 400, "the cat sat", "dog " * 100_000]
    expert = Seq2SeqExpert(setting(classes=()), model=str(t5), max_input_tokens=20, max_new_tokens=3)
    table = expert.answer(examples(items))
    assert schema.meta_of(table)["truncated"] == 2
    assert schema.meta_of(table)["max_input_tokens"] == 20
    assert table["prompt_tokens"].to_pylist()[::2] == [20, 20]
    (ids, cut), *_ = expert._encoded(items)
    plain = expert.checkpoint.tokenizer(items[0])["input_ids"]
    assert cut
    assert ids == [*plain[:19], 1]


def test_the_length_that_a_model_reads_is_what_it_says_or_a_stated_one(t5, bart):
    longest = {path: Seq2SeqCheckpoint(str(path), None, "auto", "auto", False).longest for path in (t5, bart)}
    assert longest == {t5: LIMIT, bart: 128}
    assert Seq2SeqExpert(setting(), model=str(bart), max_input_tokens=500)._limit == 128


def test_the_checkpoints_own_decoding_habits_are_not_used_but_its_first_tokens_are(bart):
    network = Seq2SeqCheckpoint(str(bart), None, "auto", "cpu", False).network
    config = network.generation_config
    assert (config.decoder_start_token_id, config.forced_bos_token_id, config.eos_token_id) == (1, 2, 1)
    assert (config.num_beams, config.no_repeat_ngram_size) == (None, None)


def test_sampling_depends_on_the_seed_and_on_nothing_else(t5):
    def said(seed):
        expert = Seq2SeqExpert(setting(classes=()), model=str(t5), temperature=1.5, seed=seed, max_new_tokens=6)
        return list(expert.answer(examples(texts(6)))["text"].to_pylist())

    assert said(1) == said(1)
    assert said(1) != said(2)


def test_a_batch_that_is_too_large_goes_on_in_halves(t5, monkeypatch):
    items, sizes = texts(8), []
    expert = Seq2SeqExpert(setting(classes=()), model=str(t5), max_new_tokens=3)
    whole, run = expert.answer(examples(items)), expert._run

    def small(rows):
        sizes.append(len(rows))
        if len(rows) > 2:
            raise RuntimeError("CUDA out of memory")
        return run(rows)

    monkeypatch.setattr(expert, "_run", small)
    assert expert.answer(examples(items))["text"].equals(whole["text"])
    assert max(sizes) == 8
    assert sizes.count(2) == 4


def test_a_causal_model_is_refused_with_the_backend_to_use(tiny):
    expert = build(replace(setting(), classes=()), {"backend": "seq2seq", "model": str(tiny)})
    with pytest.raises(ExpertError) as error:
        expert.answer(examples(["a"]))
    assert str(error.value) == (
        f"Model '{tiny}' is a llama. Allowed for backend seq2seq: an encoder-decoder such as T5, BART or Pegasus. "
        "Use backend: llm with mode: text for a causal model."
    )
