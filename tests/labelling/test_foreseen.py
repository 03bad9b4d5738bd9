"""The forecast of a stream covers what it then takes, at the rate it states; a draw from a stream is fair."""

import numpy as np
import pytest
from scipy.stats import binomtest

from askless import schema
from askless.bundles.bundle import Bundle
from askless.bundles.terms import Terms
from askless.config import Costs, Price
from askless.data.stream import ItemSource
from askless.experts.remote.openai import OpenAiExpert
from askless.labelling.answerer import DeployedBundle
from askless.labelling.foreseen import draw, foresee, on_record
from askless.policies.base import Budget
from askless.spending.usage import LEARNT
from tests.labelling.label_data import shop, write_items
from tests.registry_data import LLM


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    folder = shop(tmp_path_factory.mktemp("shop"), "http://127.0.0.1:1/v1")
    return folder


def rows_of(rng, n):
    """Texts of lengths with a heavy tail; every server's reply and token count is drawn by its text's own seed."""
    return [f"{i} " + "x" * int(length) for i, length in enumerate(np.minimum(rng.lognormal(4.3, 0.8, n), 2000))]


def used(texts, seed):
    rng = np.random.default_rng(seed)
    sizes = np.array([len(text) for text in texts], float)
    prompt = np.round(20 + sizes / 4.2 + rng.normal(0, 1 + sizes / 60)).clip(1)
    return prompt, 1 + rng.poisson(2.0, len(texts))


def test_a_draw_gives_every_row_the_same_chance(tmp_path):
    path = write_items(tmp_path / "in.jsonl", [f"t{n}" for n in range(50)])
    source, hits = ItemSource.of(str(path), None, {}), np.zeros(50)
    for seed in range(600):
        drawn = draw(source, 10, None, seed)
        assert drawn.rows == 50 and len(set(drawn.texts)) == 10
        hits[[int(text[1:]) for text in drawn.texts]] += 1
    chi = float(((hits - 120) ** 2 / 120).sum()) / 0.8
    assert chi < 85.4, "the 99.9 % quantile of chi squared with 49 degrees of freedom"


def test_a_text_that_cannot_be_answered_is_drawn_and_not_asked_about(tmp_path, version):
    path = write_items(tmp_path / "in.jsonl", ["", None, "a" * 400, "b"])
    drawn = draw(ItemSource.of(str(path), None, {}), 10, 300, 0)
    assert drawn.texts == [None, None, None, "b"] and drawn.rows == 4


@pytest.mark.parametrize("runs", [50, pytest.param(300, marks=pytest.mark.slow)])
def test_the_interval_covers_the_bill_at_its_stated_rate(tmp_path, version, runs):
    loaded, price = Bundle.load(version), Price(usd_per_1m_prompt_tokens=1.0, usd_per_1m_completion_tokens=4.0)
    options = {"backend": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1"}
    rng, covered = np.random.default_rng(8), {"usd": 0, "calls": 0}
    for run in range(runs):
        texts = rows_of(rng, 700)
        before = rows_of(rng, 60)
        terms = Terms("olhs", ("0", "1"), "olhs", {LLM: options}, Costs("usd", {LLM: price}))
        expert = terms.expert(LLM, tmp_path)
        assert isinstance(expert, OpenAiExpert)
        usage = on_record(expert, *recorded(before, used(before, [run, 1])))
        assert usage.known[:2] == (LEARNT, LEARNT)
        terms = Terms(terms.task, terms.classes, terms.prompt, terms.experts, terms.costs, None, {LLM: usage.state()})
        source = ItemSource.of(str(write_items(tmp_path / "in.jsonl", texts)), None, {})
        found = foresee(
            DeployedBundle("m", "0", loaded, terms), draw(source, 150, None, run), Budget(share=0.4), tmp_path, 0.9
        )
        threshold = threshold_of(loaded)
        deferred = np.array([len(text) > threshold for text in texts])
        prompt, written = used(texts, [run, 2])
        bill = float((prompt + 4 * written)[deferred].sum()) / 1e6
        covered["usd"] += found[0].usd.low <= bill <= found[0].usd.high
        covered["calls"] += found[0].calls.low <= deferred.sum() <= found[0].calls.high
    for name, hits in covered.items():
        low, high = binomtest(hits, runs).proportion_ci(0.99)
        assert high >= 0.9, f"{name}: {hits} of {runs} [{low:.3f}, {high:.3f}]"
    assert covered["usd"] < runs, "an interval that always covers says nothing"


def threshold_of(loaded):
    """The longest text that stays with the small expert."""
    from askless.bundles.decide import decide

    lengths = list(range(1, 2400))
    who = decide(loaded, ["x" * n for n in lengths], Budget(share=0.4)).expert
    return max(n for n, name in zip(lengths, who, strict=True) if name != LLM)


def recorded(texts, told):
    """Examples and one expert's predictions on record."""
    names = [f"r{n}" for n in range(len(texts))]
    examples = schema.table("examples", {"id": names, "text": texts, "split": ["valid"] * len(texts)})
    columns = {"prompt_tokens": told[0].astype(np.int32), "completion_tokens": told[1].astype(np.int32)}
    return examples, schema.table(
        "predictions", {"id": names, "expert": [LLM] * len(texts), "label": ["1"] * len(texts), **columns}
    )


def test_what_goes_into_a_bundle_does_not_depend_on_how_long_this_machine_took(tmp_path):
    options = {"backend": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1"}
    expert = Terms("olhs", ("0", "1"), "olhs", {LLM: options}, Costs("usd", {})).expert(LLM, tmp_path)
    texts = [f"text {n}" for n in range(200)]
    without = on_record(expert, *recorded(texts, used(texts, 1))).state()
    with expert.store() as store:
        rows = [{"label": "1", "seconds": 0.25 + n / 1000, "prompt_tokens": 9} for n in range(len(texts))]
        store.put_many({expert.key(text): row for text, row in zip(texts, rows, strict=True)})
    assert on_record(expert, *recorded(texts, used(texts, 1))).state() == without
