"""The expert `finetuned`: that its encoder learns, stops in time, and travels."""

import json
import shutil

import numpy as np
import pytest

from askless import schema
from askless.errors import ConfigError, DataError
from askless.experts.small.encoder import EncoderExpert
from askless.experts.small.finetuned import FinetunedExpert
from askless.experts.small.persistence import keep, restored
from askless.text.encoder import SentenceEncoder
from tests.experts.small.test_linear import posts
from tests.experts.small.test_regression import labels, setting
from tests.experts.tiny_models import WORDS


def said(n, seed):
    """Posts of few words, of which one tells the class nine times in ten."""
    rng = np.random.default_rng(seed)
    bad = rng.random(n) < 0.5
    shown = np.where(rng.random(n) < 0.9, bad, ~bad)
    lines = [" ".join(rng.permutation([*rng.choice(WORDS[:8], 4), "bad" if each else "good"])) for each in shown]
    columns = {"id": [f"i{i}" for i in range(n)], "text": lines, "label": [str(int(each)) for each in bad]}
    return schema.table("examples", {**columns, "split": ["train"] * n})


def quality(expert, rows):
    return (labels(expert.answer(rows)) == labels(rows)).mean()


def test_it_learns_more_than_a_regression_on_what_its_encoder_says(bert):
    train, valid, test = said(300, 0), said(100, 1), said(300, 2)
    options = {"model": str(bert), "learning_rate": 1e-2, "epochs": 6, "patience": 6}
    expert = FinetunedExpert(setting(), **options).fit(train, valid)
    assert quality(expert, test) > quality(EncoderExpert(setting(), model=str(bert)).fit(train, valid), test) + 0.1
    again = FinetunedExpert(setting(), **options).fit(train, valid)
    assert again.answer(test)["proba"].equals(expert.answer(test)["proba"])


def test_it_keeps_the_best_epoch_and_stops_when_valid_gets_no_better(bert):
    train, valid = posts(60, 0), posts(60, 1)
    turned = valid.set_column(2, "label", train["label"].cast("string").take(np.arange(60)[::-1]))
    seen = []
    expert = FinetunedExpert(setting(), model=str(bert), learning_rate=0.02, epochs=9, patience=2)
    passes = expert._passes
    expert._passes = lambda *given: (seen.append(epoch) or epoch for epoch in passes(*given))
    expert.fit(train, turned)
    assert max(seen) == min(9, expert.epoch_ + 2) < 9


def test_what_it_learns_is_no_worse_on_valid_than_the_regression_that_it_begins_with(bert):
    rows, valid = said(200, 0), said(100, 1)
    expert = FinetunedExpert(setting(), model=str(bert), learning_rate=9.0, epochs=2, patience=2).fit(rows, valid)
    assert expert.epoch_ == 0 and quality(expert, valid) > 0.6
    assert np.array_equal(expert.encoder_.vectors(["a cat"]), SentenceEncoder(str(bert)).vectors(["a cat"]))


def test_what_was_loaded_needs_its_folder_no_more(bert, tmp_path):
    rows = posts(40, 0)
    expert = FinetunedExpert(setting(), model=str(bert), epochs=1).fit(rows, rows.slice(0, 0))
    first, second = tmp_path / "first", tmp_path / "second"
    loaded = FinetunedExpert(setting()).load(expert.save(first))
    shutil.rmtree(first)
    again = FinetunedExpert(setting()).load(loaded.save(second))
    for each in (loaded, again):
        assert each.answer(rows)["proba"].equals(expert.answer(rows)["proba"])


@pytest.mark.parametrize("kind", ["bert", "tiny"])
def test_what_was_learnt_travels_without_the_model_that_it_began_with(kind, tmp_path, request):
    rows, model = posts(60, 0), str(request.getfixturevalue(kind))
    expert = FinetunedExpert(setting(), model=model, epochs=1).fit(rows, rows.slice(0, 0))
    options = json.loads(json.dumps(keep(expert, tmp_path / "kept")))
    assert model not in json.dumps(options) and expert.epoch_ == 1
    (tmp_path / "kept").rename(tmp_path / "elsewhere")
    again = restored(tmp_path / "elsewhere", "small", ("0", "1"), options)
    assert again.answer(rows)["proba"].equals(expert.answer(rows)["proba"])
    # Any can read the encoder, and it is not as it was.
    texts = rows["text"].to_pylist()
    own, first = (SentenceEncoder(str(each)).vectors(texts) for each in (tmp_path / "elsewhere" / "finetuned", model))
    assert np.array_equal(own, expert.encoder_.vectors(texts)) and not np.allclose(own, first)


def test_small_matrices_learn_beside_a_language_model_that_stays_as_it_is(tiny, tmp_path):
    pytest.importorskip("peft", reason="peft is not installed")
    train, valid, test = said(300, 0), said(100, 1), said(300, 2)
    options = {"model": str(tiny), "lora": 4, "learning_rate": 2e-2, "epochs": 6, "patience": 6}
    expert = FinetunedExpert(setting(), **options).fit(train, valid)
    assert quality(expert, test) > quality(EncoderExpert(setting(), model=str(tiny)).fit(train, valid), test) + 0.1
    again = FinetunedExpert(setting(), **options).fit(train, valid)
    assert again.answer(test)["proba"].equals(expert.answer(test)["proba"])
    assert expert.meta()["model"] == f"{tiny}, LoRA of rank 4"
    saved = expert.save(tmp_path / "saved")
    assert [each.name for each in saved.iterdir()] == ["finetuned.safetensors"]
    loaded = FinetunedExpert(setting(), **options).load(saved)
    assert loaded.answer(test)["proba"].equals(expert.answer(test)["proba"])
    kept = json.loads(json.dumps(keep(expert, tmp_path / "kept")))
    (tmp_path / "kept").rename(tmp_path / "elsewhere")
    moved = restored(tmp_path / "elsewhere", "small", ("0", "1"), kept)
    assert moved.answer(test)["proba"].equals(expert.answer(test)["proba"])
    with pytest.raises(DataError, match="lora was 4, and is 2"):
        FinetunedExpert(setting(), **{**options, "lora": 2}).load(saved)
    shutil.copytree(tiny, tmp_path / "other")
    (tmp_path / "other" / "more.json").write_text("{}")
    with pytest.raises(DataError, match="other files than those that were learnt with"):
        FinetunedExpert(setting(), **{**options, "model": str(tmp_path / "other")}).load(saved)


def test_a_rank_is_a_whole_number(bert):
    with pytest.raises(ConfigError, match="lora is 0. Allowed: null or a whole number >= 1"):
        FinetunedExpert(setting(), model=str(bert), lora=0).fit(posts(9, 0), posts(9, 0))
