"""The benchmark of the fast path runs to its end, at a size that says nothing of speed."""

from __future__ import annotations

import pytest
import torch

from askless.errors import ExpertError
from benchmarks.generation import arguments, limits, ratios
from benchmarks.limits import different, stand_in


def test_the_ratios_are_printed_and_both_paths_agree() -> None:
    options = arguments(["--rows", "12", "--single-rows", "1", "--rounds", "1", "--new-tokens", "1", "2"])
    lines = list(ratios(options))
    assert [line.split(" | ")[0] for line in lines[2:6]] == [
        "| one at a time, replies of 1 tokens",
        "| one at a time, replies of 2 tokens",
        "| plain batches",
        "| shared prefix",
    ]
    assert lines[6].startswith("\nsame label: 12 of 12; log-probabilities at most ")
    assert float(lines[6].split()[-2]) < 1e-4


@pytest.mark.skipif(torch.cuda.is_available(), reason="sized for a CPU")
def test_the_limits_are_printed_at_a_small_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.limits.ceilings", lambda _: (1e12, 1e11))
    options = arguments(["--gpu", "tiny", "--rows", "12", "--batches", "2", "--reply-tokens", "2"])
    lines = list(limits(options))
    assert lines[0] == (
        "cpu, float32, 0.00033 billion random weights, the demo's tokenizer stands in: only the speeds mean something"
    )
    assert lines[1] == "measured ceilings: 1 Tflop/s, 100 GB/s\n"
    names = [line.split(" | ")[0] for line in lines if line.startswith("| ")]
    assert names == ["| label scoring", "| plain", "| shared prefix", "| writing: batch", "| 2"]


def test_posts_of_the_limits_are_all_different() -> None:
    texts = different(3000)["text"].to_pylist()
    assert len(set(texts)) == len(texts) == 3000
    assert [arguments(given).rows for given in ([], ["--gpu", "tiny"], ["--gpu", "7b"])] == [240, 240, 20_000]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_large_size_needs_a_gpu() -> None:
    with pytest.raises(ExpertError, match=r"Size '7b' on a machine without a GPU. Allowed here: tiny"):
        stand_in("7b")
