"""A double of the module `vllm` around a tiny model run by transformers: its names, arguments and shapes, no GPU.

`LLM`, `SamplingParams`, and of what `LLM.generate` returns `RequestOutput`, `CompletionOutput` and `Logprob`, have
the fields that vLLM documents; an argument that it does not document is a TypeError.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

LIMIT = 512


@dataclass
class SamplingParams:
    """How one reply is drawn."""

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    max_tokens: int | None = 16
    logprobs: int | None = None
    prompt_logprobs: int | None = None


@dataclass
class Logprob:
    """One alternative to a token."""

    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass
class CompletionOutput:
    """One reply."""

    index: int
    text: str
    token_ids: Sequence[int]
    cumulative_logprob: float | None
    logprobs: list[dict[int, Logprob]] | None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


@dataclass
class RequestOutput:
    """What came of one prompt."""

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int] | None
    prompt_logprobs: None
    outputs: list[CompletionOutput]
    finished: bool


class LLM:
    """Writes one token after the other without a cache; `started` and `groups` note what was asked of all of them."""

    started: list[dict[str, Any]] = []
    groups: list[list[tuple[list[int], SamplingParams]]] = []

    def __init__(
        self,
        model: str,
        *,
        trust_remote_code: bool = False,
        tensor_parallel_size: int = 1,
        dtype: str = "auto",
        revision: str | None = None,
        tokenizer_revision: str | None = None,
        seed: int | None = None,
        gpu_memory_utilization: float = 0.9,
        enforce_eager: bool = False,
        **more: Any,
    ) -> None:
        self.started.append({name: value for name, value in locals().items() if name not in ("self", "more")} | more)
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        for name in more:
            if name not in ("enable_prefix_caching", "max_model_len", "max_logprobs", "code_revision"):
                raise TypeError(f"EngineArgs.__init__() got an unexpected keyword argument '{name}'")
        self._tokenizer = AutoTokenizer.from_pretrained(model)
        self._network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
        self._most = more.get("max_logprobs", 20)
        length = SimpleNamespace(max_model_len=more.get("max_model_len") or LIMIT)
        self.llm_engine = SimpleNamespace(model_config=length)
        self._numbers = itertools.count()

    def get_tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self._tokenizer

    def generate(
        self,
        prompts: Sequence[dict[str, list[int]]],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        use_tqdm: bool = True,
    ) -> list[RequestOutput]:
        """One request's output for each prompt, in the prompts' order."""
        assert not use_tqdm, "the run has a bar of its own"
        params = [sampling_params] * len(prompts) if isinstance(sampling_params, SamplingParams) else sampling_params
        assert params is not None
        rows = [(list(p["prompt_token_ids"]), how) for p, how in zip(prompts, params, strict=True)]
        self.groups.append(rows)
        return [self._answer(ids, how) for ids, how in rows]

    def _answer(self, prompt: list[int], how: SamplingParams) -> RequestOutput:
        import torch

        length = self.llm_engine.model_config.max_model_len
        if len(prompt) > length:
            raise ValueError(f"The decoder prompt (length {len(prompt)}) is longer than the maximum model length")
        assert how.logprobs is None or how.logprobs <= self._most
        draw = torch.Generator().manual_seed(how.seed or 0)
        ids, chosen, steps, reason = list(prompt), 0.0, [], "length"
        for _ in range(how.max_tokens or length):
            with torch.inference_mode():
                row = self._network(torch.tensor([ids])).logits[0, -1].float().log_softmax(-1)
            warm = (row / how.temperature).softmax(-1) if how.temperature else row
            token = int(torch.multinomial(warm, 1, generator=draw) if how.temperature else warm.argmax())
            order = row.argsort(descending=True).tolist()
            names = dict.fromkeys([token, *order[: how.logprobs or 0]])
            steps.append({i: Logprob(float(row[i]), order.index(i) + 1, self._tokenizer.decode([i])) for i in names})
            chosen += float(row[token])
            ids.append(token)
            if token == self._tokenizer.eos_token_id:
                reason = "stop"
                break
        said = ids[len(prompt) :]
        text = self._tokenizer.decode(said, skip_special_tokens=True)
        known = how.logprobs is not None
        output = CompletionOutput(0, text, said, chosen if known else None, steps if known else None, reason)
        return RequestOutput(str(next(self._numbers)), None, prompt, None, [output], True)


def install(monkeypatch: pytest.MonkeyPatch) -> type[LLM]:
    """Make `import vllm` find the double, on a machine that seems to have CUDA."""
    module: Any = ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SamplingParams
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(LLM, "started", [])
    monkeypatch.setattr(LLM, "groups", [])
    return LLM
