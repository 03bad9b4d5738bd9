"""What is still to be asked, and that a forecast of the demo covers what was measured afterwards."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from askless import config, schema
from askless.config import Price
from askless.data.demo.documents import documents
from askless.data.demo.posts import posts
from askless.errors import ConfigError, DataError
from askless.experts.base import Setting
from askless.experts.local.causal_lm import LlmExpert
from askless.experts.remote.openai import OpenAiExpert
from askless.spending.forecast import forecast
from askless.spending.pending import Pending, asker, rows_of, sample, sizes_of, texts_of, usage_of, used_by
from askless.spending.usage import Usage, byte_sizes
from tests.experts.tiny_models import examples
from tests.pipeline import small_params, write_params

PRICE = Price(usd_per_1m_prompt_tokens=0.15, usd_per_1m_completion_tokens=0.6)
TEXTS = ["a cat sat", "on the mat", "a cat sat", "it was not a good dog", "no", "yes"]


def llm(answers=None, task="olhs", model="demo:xs", **options):
    classes = ("0", "1") if task == "olhs" else ()
    setting = Setting("tiny", task, classes, f"demo-{task}", answers=answers)
    return LlmExpert(setting, model=model, dtype="float32", batch_size=16, **options)


def server_of(answers=None, **options):
    return OpenAiExpert(Setting("far", "olhs", ("0", "1"), "olhs", answers=answers), model="m", **options)


def test_all_is_pending_once_and_nothing_is_made(tmp_path):
    found = Pending.of(llm(tmp_path / "answers"), [TEXTS[:2], TEXTS[2:]])
    assert (found.rows.tolist(), found.kept, found.texts) == ([0, 1, 3, 4, 5], 0, 6)
    assert not (tmp_path / "answers").exists()


def test_what_is_kept_is_free_and_teaches(tmp_path):
    expert = llm(tmp_path)
    many = [f"{i} dogs sat on the mat and it was good" for i in range(40)]
    expert.answer(examples(many))
    file = tmp_path / "tiny.sqlite"
    before = file.read_bytes()
    found = Pending.of(llm(tmp_path), [[*many[::2], *TEXTS]])
    assert (found.rows.tolist(), found.kept) == ([20, 21, 23, 24, 25], 20)
    assert found.usage.known == ("exact", "exact", "unknown", "unknown"), "three batches are too few to time by"
    assert file.read_bytes() == before


def test_sizes_are_the_tokens_that_are_billed_afterwards(tmp_path):
    expert = llm(tmp_path)
    found = Pending.of(expert, [TEXTS])
    got = found.forecast("tiny", PRICE)
    paid = expert.answer(examples([TEXTS[row] for row in found.rows]))
    assert found.sizes.tolist() == paid["prompt_tokens"].to_pylist()
    assert got.prompt_tokens.value == sum(paid["prompt_tokens"].to_pylist())
    assert got.completion_tokens.low == got.completion_tokens.high == sum(paid["completion_tokens"].to_pylist())


def test_a_server_has_bounds_until_it_has_answered():
    expert = server_of(max_tokens=16)
    assert usage_of(expert).known == ("guessed", "bound", "unknown", "unknown")
    assert sizes_of(expert, ["é", "ab"]).tolist() == [2, 2]
    prompt, most = expert.most_tokens(["é"])[0]
    got = forecast("far", usage_of(expert), sizes_of(expert, ["é"]))
    assert (got.prompt_tokens.high, got.completion_tokens.high) == (prompt, most)
    assert usage_of(server_of(max_tokens=None)).known == ("unknown",) * 4


def test_windows_are_neighbours_in_size_and_differ():
    sizes = np.random.default_rng(0).permutation(800).astype(float)
    found = Pending(np.arange(800) + 5, sizes, Usage.counted((1, 1)), 0, 800)
    parts = found.windows(160, seed=1)
    assert [len(part.rows) for part in parts] == [20] * 8
    assert all(np.ptp(part.sizes) == 19 for part in parts)
    assert np.diff(sorted(part.sizes[0] for part in parts)).tolist() == [100] * 7
    rows = np.concatenate([part.rows for part in parts])
    assert len(set(rows.tolist())) == 160
    assert (found.sizes[rows - 5] == np.concatenate([part.sizes for part in parts])).all()
    assert sum(len(part.rows) for part in found.windows(10**6, seed=0)) == 800
    assert sum(len(part.rows) for part in found.windows(3, seed=0)) == 3
    assert found.windows(0, seed=0) == []


def test_a_sample_is_asked_kept_and_teaches(tmp_path):
    path = tmp_path / "examples.parquet"
    schema.write(examples([row["text"] for row in posts(200, 5)]), path, "examples")
    expert = llm(tmp_path)
    found = Pending.of(expert, texts_of(path))
    assert sample(expert, found, path, 80, seed=0, most_seconds=np.inf) == 80
    after = Pending.of(expert, texts_of(path))
    assert (after.kept, len(after.rows)) == (80, len(found.rows) - 80)
    assert after.usage.rows[2] == 8
    assert after.forecast("tiny", PRICE).seconds.value > 0
    assert sample(expert, after, path, 80, seed=0, most_seconds=-1) == 0, "no time, no more parts"


def test_texts_are_read_in_parts(tmp_path):
    path = tmp_path / "examples.parquet"
    many = [f"post {i}" for i in range(5000)]
    schema.write(examples(many), path, "examples")
    parts = list(texts_of(path))
    assert [len(part) for part in parts] == [4096, 904]
    assert sum(parts, []) == many
    assert rows_of(path, np.array([7, 3]))["text"].to_pylist() == ["post 7", "post 3"]


@pytest.mark.parametrize(("content", "said"), [(None, "no such file"), (b"PAR1 not", "not readable")])
def test_examples_that_are_none(tmp_path, content, said):
    path = tmp_path / "examples.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path.name}: {said}.*Run the stage that makes it."):
        list(texts_of(path))


def test_who_can_be_forecast(tmp_path):
    settings = config.load(write_params(tmp_path, small_params()))
    assert asker(settings, "olhs", "demo-xs", tmp_path).name == "demo-xs"
    for task, name, said in (
        ("olsh", "demo-xs", "Unknown task 'olsh'. Known: olhs. Did you mean 'olhs'?"),
        ("olhs", "demo-xss", "Did you mean 'demo-xs'?"),
        ("olhs", "linear", "Expert 'linear' of backend linear is not asked for its answers. Allowed: "),
    ):
        with pytest.raises(ConfigError) as error:
            asker(settings, task, name, tmp_path)
        assert said in str(error.value)


def measured(model, rows, folder):
    """Documents, their sizes in bytes and tokens, and what a demo LLM's summaries of them took."""
    expert = llm(folder, "xsum", model)
    texts = list(dict.fromkeys(row["text"] for row in documents(rows, 11)))
    expert.answer(examples(texts))
    with expert.store() as store:
        kept = store.get_many(map(expert.key, texts))
    return expert, byte_sizes(texts), sizes_of(expert, texts), used_by([kept[expert.key(text)] for text in texts])


def covered(usage, sizes, used, learnt_from, draws):
    """How many of so many draws of answers on record give intervals that cover what the rest took; tokens, dollars."""
    hits, rates = np.zeros(3, int), np.array([0.15, 0.6]) / 1e6
    for seed in range(draws):
        order = np.random.default_rng([3, seed]).permutation(len(sizes))
        known, rest = order[:learnt_from], order[learnt_from:]
        got = forecast("tiny", usage.learnt(sizes[known], used[known]), sizes[rest], price=PRICE)
        true = used[rest, :2].sum(axis=0)
        for j, (found, value) in enumerate(
            ((got.prompt_tokens, true[0]), (got.completion_tokens, true[1]), (got.usd, true @ rates))
        ):
            hits[j] += found.low * (1 - 1e-9) <= value <= found.high * (1 + 1e-9)
    return hits


def fewest(draws, share=0.95):
    """The fewest hits that are not improbable (1 in 10,000) where the true share is `share`."""
    return int(binom.ppf(1e-4, draws, share))


def test_the_interval_covers_what_the_demo_really_took(tmp_path):
    expert, in_bytes, in_tokens, used = measured("demo:xs", 220, tmp_path)
    draws = 300
    counted = covered(usage_of(expert), in_tokens, used, 30, draws)
    assert counted[0] == draws, "the tokenizer counts what is billed"
    assert counted[1:].min() >= fewest(draws)
    # As of a server that says how many tokens it read, and is known by nothing else.
    assert covered(Usage.bound(100, 64), in_bytes, used, 30, draws).min() >= fewest(draws)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["demo:xs", "demo:s", "demo:l"])
def test_the_interval_covers_what_each_demo_llm_really_took(tmp_path, model):
    expert, in_bytes, in_tokens, used = measured(model, 1000, tmp_path)
    for learnt_from in (30, 64, 500):
        assert covered(usage_of(expert), in_tokens, used, learnt_from, 1000).min() >= fewest(1000)
        assert covered(Usage.bound(100, 64), in_bytes, used, learnt_from, 1000).min() >= fewest(1000)


def test_only_some(tmp_path):
    found = replace(Pending.of(llm(), [TEXTS]), kept=3)
    assert found.draw(2, 0).rows.tolist() == found.draw(2, 0).rows.tolist()
    assert len(found.draw(99, 0).rows) == 5
    assert found.draw(2, 0).kept == 3
