"""A device that is not there, and weights that do not fit, are said before anything is loaded."""

import pytest
import torch

from askless.errors import ExpertError
from askless.experts.local import devices
from askless.experts.local.causal_lm import LlmExpert
from tests.experts.tiny_models import PROMPT, examples, setting, texts


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "cuda:x"])
def test_a_device_that_is_not_here_is_one_clear_error(tiny, device):
    expert = LlmExpert(setting(), model=str(tiny), prompt=PROMPT, device=device)
    with pytest.raises(ExpertError) as caught:
        expert.answer(examples(texts(2)))
    assert str(caught.value).startswith(f"Device '{device}' is not on this machine. Allowed here: auto, cpu")
    assert str(caught.value).endswith("Set device: auto, or run where there is one.")


def test_kept_answers_need_no_device(tiny, tmp_path):
    items = examples(texts(4))
    options = {"model": str(tiny), "prompt": PROMPT, "dtype": "float32"}
    made = LlmExpert(setting(tmp_path), device="cpu", **options).answer(items)
    again = LlmExpert(setting(tmp_path), device="cuda:99", **options).answer(items)
    assert again["label"].equals(made["label"])


def test_weights_that_do_not_fit_are_counted_before_they_are_loaded(tiny, monkeypatch):
    expert = LlmExpert(setting(), model=str(tiny), prompt=PROMPT)
    monkeypatch.setattr(devices, "free", lambda _: 10_000)
    with pytest.raises(ExpertError) as caught:
        expert.answer(examples(texts(2)))
    said = str(caught.value)
    assert said.startswith(f"Model '{tiny}' does not fit on device 'cpu': its weights take 0.0")
    assert "GB and 1e-05 GB are free. Allowed: weights that fit" in said
    assert said.endswith(
        "Set dtype: bfloat16, choose a smaller model or a larger device, or serve it and use backend: openai."
    )


def test_memory_that_runs_out_in_loading_is_said_as_such(tiny, monkeypatch):
    from transformers import AutoModelForCausalLM

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", full)
    with pytest.raises(ExpertError, match="does not fit on device 'cpu': memory ran out while its weights were loaded"):
        LlmExpert(setting(), model=str(tiny), prompt=PROMPT).answer(examples(texts(2)))


def test_free_memory_is_known_or_not_said():
    left = devices.free("cpu")
    assert left is None or left > 1_000_000
    assert devices.free("meta") is None


def test_free_memory_of_a_cpu_without_that_file(monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "_MEMINFO", tmp_path / "none")
    assert devices.free("cpu") is None
    (tmp_path / "none").write_text("MemTotal: 9 kB\n")
    assert devices.free("cpu") is None
