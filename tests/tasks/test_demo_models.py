import numpy as np
import pytest

from askless.data.demo.documents import documents
from askless.data.demo.posts import posts
from askless.data.demo.wordings import SLANG
from askless.errors import ConfigError
from askless.prompts import PROMPTS
from tasks.demo_models import (
    END,
    MODELS,
    PAD,
    SIZES,
    VOCABULARY,
    make_tokenizer,
    pretrain,
    tokenizer_corpus,
)

FLOORS = {"xs": 0.79, "s": 0.83, "l": 0.87}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def load(folder):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return (
        AutoTokenizer.from_pretrained(folder),
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(),
    )


def score(folder, sample):
    """Log-probabilities of the label words at the last position, in the order no, yes."""
    import torch

    tokenizer, model = load(folder)
    prompt = PROMPTS["demo-olhs"]
    words = [tokenizer.encode(prompt.words[c])[0] for c in "01"]
    rows = []
    for start in range(0, len(sample), 50):
        texts = [prompt.fill(post["text"]) for post in sample[start : start + 50]]
        batch = tokenizer(texts, return_tensors="pt", padding=True)
        with torch.inference_mode():
            out = model(batch["input_ids"], attention_mask=batch["attention_mask"], logits_to_keep=1)
        rows.append(out.logits[:, -1].log_softmax(-1)[:, words].numpy())
    return np.concatenate(rows)


@pytest.fixture(scope="module")
def sample():
    return posts(500, 2024)


@pytest.fixture(scope="module")
def scores(sample):
    return {size: score(MODELS / size, sample) for size in SIZES}


def accuracy(scores, sample):
    labels = [post["label"] for post in sample]
    return np.mean([str(k) == label for k, label in zip(scores.argmax(axis=1), labels, strict=True)])


def test_an_unknown_size_names_the_known_ones(tmp_path):
    with pytest.raises(ConfigError) as error:
        pretrain("large", tmp_path)
    assert str(error.value) == "Unknown size 'large'. Known: l, s, xs."


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(tmp_path):
    import torch

    before = torch.get_rng_state()
    folders = [pretrain("xs", tmp_path / name, steps=3, progress=False) for name in "ab"]
    a, b = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert a.keys() >= {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"}
    assert a == b
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_the_tokenizer_is_trained_without_slang(tmp_path):
    text = "\n".join(tokenizer_corpus()).lower()
    assert not [word for word in SLANG if word in text]
    assert "offensive: yes" in text and "summary: " in text
    vocabulary = make_tokenizer().get_vocab()
    assert len(vocabulary) == VOCABULARY
    for size in SIZES:
        assert load(MODELS / size)[0].get_vocab() == vocabulary


@pytest.mark.parametrize("size", SIZES)
def test_label_words_are_single_tokens_and_no_token_is_added(size):
    tokenizer, model = load(MODELS / size)
    prompt = PROMPTS["demo-olhs"]
    for word in prompt.words.values():
        assert len(tokenizer.encode(word)) == 1
        joined = tokenizer.encode(prompt.fill("you are a gem") + word)
        assert joined == tokenizer.encode(prompt.fill("you are a gem")) + tokenizer.encode(word)
    assert tokenizer.decode(tokenizer.encode("you zörbit ☺")) == "you zörbit ☺"
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.padding_side) == (END, PAD, "left")
    assert model.config.pad_token_id == tokenizer.pad_token_id
    assert all(len(tokenizer.encode(" " + word)) > 1 for word in SLANG)


def test_the_checkpoints_are_small_and_in_bf16():
    import torch
    from safetensors.torch import load_file

    assert sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file()) <= 9_000_000
    sizes = [(MODELS / size / "model.safetensors").stat().st_size for size in SIZES]
    assert sizes[0] * 2 < sizes[1] and sizes[1] * 2 < sizes[2]
    for size in SIZES:
        tensors = load_file(MODELS / size / "model.safetensors").values()
        assert {tensor.dtype for tensor in tensors} == {torch.bfloat16}


def test_accuracy_is_above_its_floor_and_rises_with_the_size(scores, sample):
    found = {size: accuracy(scores[size], sample) for size in SIZES}
    assert all(found[size] >= floor for size, floor in FLOORS.items()), found
    assert found["xs"] < found["s"] < found["l"]


def test_nearly_all_probability_is_on_the_label_words(scores):
    assert all(np.exp(scores[size]).sum(axis=1).mean() > 0.98 for size in SIZES)


def test_slang_is_harder_for_the_llms_than_known_words(scores, sample):
    for size in SIZES:
        kinds = {kind: [i for i, post in enumerate(sample) if post["kind"] == kind] for kind in ("slang", "plain")}
        slang, plain = (accuracy(scores[size][rows], [sample[i] for i in rows]) for rows in kinds.values())
        assert slang + 0.1 < plain


def test_greedy_generation_sums_up_an_event():
    import torch

    tokenizer, model = load(MODELS / "l")
    docs = documents(40, 9, bulletins=0.0)
    batch = tokenizer([PROMPTS["demo-xsum"].fill(doc["text"]) for doc in docs], return_tensors="pt", padding=True)
    with torch.inference_mode():
        out = model.generate(
            batch["input_ids"], attention_mask=batch["attention_mask"], max_new_tokens=48, do_sample=False
        )
    replies = tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    shared = [
        len(set(doc["reference"].split()) & set(reply.split())) / len(set(doc["reference"].split()))
        for doc, reply in zip(docs, replies, strict=True)
    ]
    assert np.mean(shared) > 0.75


@pytest.mark.slow
def test_the_smallest_checkpoint_can_be_made_again(tmp_path, scores, sample):
    folder = pretrain("xs", tmp_path / "xs", progress=False)
    if (folder / "model.safetensors").read_bytes() == (MODELS / "xs" / "model.safetensors").read_bytes():
        return
    again, shipped = score(folder, sample), scores["xs"]
    assert np.mean(again.argmax(axis=1) == shipped.argmax(axis=1)) >= 0.97
