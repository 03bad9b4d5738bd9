"""A causal language model run here through vLLM's offline engine: the first token's probabilities, or free text."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from askless.errors import ExpertError, MissingExtra
from askless.experts.answer_store import Row, answer_key
from askless.experts.base import number
from askless.experts.local.checkpoint import Checkpoint
from askless.experts.local.devices import no_room, out_of_memory
from askless.experts.local.encoding import encode, label_tokens
from askless.experts.local.local_expert import Item, LocalExpert, timed
from askless.experts.paid import TEMPLATE_TOKENS, Wording
from askless.experts.replies import spread, written


@dataclass(eq=False, kw_only=True, repr=False)
class VllmExpert(LocalExpert):
    """Answers with a causal language model run here through vLLM, on a machine with CUDA.

    What all prompts begin with is read once, by vLLM's prefix cache.

    Parameters
    ----------
    setting
        What the task tells the expert.
    model
        A folder with a transformers checkpoint, or a repository of the hub.
    revision
        Commit of a hub repository; None is `main`.
    prompt, top_p
        As of `LlmExpert`.
    mode
        `label` reads the first tokens of the label words, which must differ there, off the likeliest first tokens: a
        word that is not listed gets the most that the list leaves room for, and where none is the answer is null.
        `text` writes a reply; `auto` is the first where there are classes, else the second.
    dtype
        `float32`, `bfloat16`, `float16`; `auto` is vLLM's choice.
    tensor_parallel_size
        GPUs that share the model, 1 or more.
    gpu_memory_utilization
        Share of the GPU's memory that vLLM takes, 0.01 to 1.
    max_model_len
        Most tokens of prompt and reply, 1 or more; None is the model's. A longer input loses the end of its text.
    batch_size
        Prompts that are handed over at a time, 1 or more; each such group is kept when it is answered.
    max_new_tokens
        Most tokens of a reply in mode `text`, 1 or more.
    temperature
        0 is greedy, more draws; in mode `text`.
    seed
        Where draws begin; each item draws from a seed of its own.
    top_logprobs
        How many of the likeliest first tokens are looked at in mode `label`, 1 or more.
    trust_remote_code
        Whether to run the repository's own code; `revision` must then be a commit hash, which holds for the weights,
        the tokenizer and the code.
    extra
        Further arguments of `vllm.LLM`, such as `{quantization: fp8}`.
    """

    packages = ("vllm",)
    whole_options = ("tensor_parallel_size", "batch_size", "max_new_tokens", "top_logprobs")
    limits = ("max_model_len",)

    prompt: Wording = None
    mode: str = "auto"
    tensor_parallel_size: int = 1
    gpu_memory_utilization: float = 0.9
    max_model_len: int | None = None
    batch_size: int = 1024
    top_logprobs: int = 20
    extra: Mapping[str, Any] | None = None

    def validate(self) -> None:
        """Raise `ConfigError` or `ExpertError` for an option that cannot be meant."""
        super().validate()
        self.require("gpu_memory_utilization", number(self.gpu_memory_utilization, 0.01, 1), "a share, 0.01 to 1")
        self.require("extra", self.extra is None or isinstance(self.extra, Mapping), "null or options of vllm.LLM")
        self.words()

    def key(self, text: str) -> str:
        """The store's key of the answer to one text: its words, which the model's own tokenizer renders."""
        prompt, part = self.template(), self.checkpoint
        where = ["", part.revision] if part.folder is not None else [self.model, self._revision]
        if self.labelling:
            how: list[Any] = [[prompt.words[name] for name in self.setting.classes], self.top_logprobs]
        else:
            how = [self.max_new_tokens, self.temperature, *self._drawn()]
        run = [self.dtype, self.max_model_len, dict(self.extra or {})]
        return answer_key("vllm", *where, prompt.system, prompt.fill(text), self._mode, how, run)

    def ask(self, work: Mapping[str, str], kept: Mapping[str, Row]) -> Generator[dict[str, Row]]:
        """Yield the missing rows, a group of `batch_size` prompts after the other."""
        missing = {key: text for key, text in work.items() if key not in kept}
        llm = self._started()
        vars(self.checkpoint)["tokenizer"] = llm.get_tokenizer()
        labels = self._firsts() if self.labelling else []
        room = llm.llm_engine.model_config.max_model_len - self._new_tokens
        encoded = encode(self.checkpoint, self.template(), list(missing.values()), room)
        items = [(key, *item) for key, item in zip(missing, encoded, strict=True)]
        for start in range(0, len(items), self.batch_size):
            group = items[start : start + self.batch_size]
            yield dict(zip([key for key, _, _ in group], self._run(llm, group, labels), strict=True))

    def most_tokens(self, texts: Sequence[str]) -> list[tuple[int, int]]:
        """A token for each byte of the prompt, what a chat template may add, and the longest reply."""
        prompt = self.template()
        return [
            (len((prompt.system or "").encode()) + len(prompt.fill(text).encode()) + TEMPLATE_TOKENS, self._new_tokens)
            for text in texts
        ]

    def columns(self, rows: Sequence[Row]) -> Mapping[str, Any]:
        """Prediction columns of these rows."""
        return {**self._counted(rows), **(self._labelled(rows) if self.labelling else written(rows, self.words()))}

    def meta(self) -> dict[str, Any]:
        """Model, revision, prompt, mode, dtype and how many inputs were too long."""
        return {
            "model": self.model,
            "revision": self._revision,
            "prompt_sha": self.prompt_sha(),
            "mode": self._mode,
            "dtype": self.dtype,
            "batch_size": self.batch_size,
            "device": "cuda",
            "truncated": self._truncated,
        }

    @property
    def _new_tokens(self) -> int:
        return 1 if self.labelling else self.max_new_tokens

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The model's configuration and tokenizer; vLLM loads the weights."""
        return Checkpoint(self.model, self.revision, self.dtype, "cuda", self.trust_remote_code)

    @property
    def _revision(self) -> str:
        return self.checkpoint.revision if self.checkpoint.folder is not None else self.revision or "main"

    def _firsts(self) -> list[int]:
        firsts = [label[0] for label in label_tokens(self.checkpoint, self.template(), self.setting.classes)]
        if len(set(firsts)) < len(firsts):
            raise ExpertError(
                f"Expert '{self.name}': label words {list(self.words().values())} share their first token, which is "
                "all that mode label of backend vllm reads. Allowed: words that begin differently, or mode: text. "
                "Choose other words, change the mode, or use backend: llm."
            )
        return firsts

    def _started(self) -> Any:
        pinned = {"revision": self.revision, "tokenizer_revision": self.revision, "code_revision": self.revision}
        return _started(
            self.name,
            model=str(self.checkpoint.folder or self.model),
            **({} if self.checkpoint.folder is not None or self.revision is None else pinned),
            dtype=self.dtype,
            tensor_parallel_size=self.tensor_parallel_size,
            gpu_memory_utilization=self.gpu_memory_utilization,
            max_model_len=self.max_model_len,
            max_logprobs=max(20, self.top_logprobs),
            trust_remote_code=self.trust_remote_code,
            enable_prefix_caching=True,
            seed=self.seed,
            **(self.extra or {}),
        )

    def _run(self, llm: Any, items: Sequence[Item], labels: Sequence[int]) -> list[Row]:
        from vllm import SamplingParams

        start = time.perf_counter()
        # One seed for each item: what else is in the group must not change its draw.
        how = [
            SamplingParams(
                temperature=self.temperature if not labels else 0.0,
                top_p=self.top_p if not labels else 1.0,
                max_tokens=self._new_tokens,
                logprobs=self.top_logprobs if labels else 0,
                seed=int(answer_key(self.seed, key)[:8], 16),
            )
            for key, _, _ in items
        ]
        answers = llm.generate([{"prompt_token_ids": ids} for _, ids, _ in items], how, use_tqdm=False)
        said = [answer.outputs[0] for answer in answers]
        return timed([_first(each, labels) if labels else _whole(each) for each in said], items, start)

    def _labelled(self, rows: Sequence[Row]) -> dict[str, Any]:
        found = [spread(row["seen"], row["listed"]) for row in rows]
        best = [None if proba is None else _likeliest(row["seen"]) for (proba, _), row in zip(found, rows, strict=True)]
        named = "none of the label words is among the {} likeliest first tokens"
        return {
            "label": [None if at is None else self.setting.classes[at] for at in best],
            "proba": [proba for proba, _ in found],
            "mass": [mass for _, mass in found],
            "logprob": [None if at is None else math.log(row["seen"][at]) for at, row in zip(best, rows, strict=True)],
            "error": [
                named.format(len(row["listed"])) if at is None else None for at, row in zip(best, rows, strict=True)
            ],
        }


def _likeliest(seen: Sequence[float | None]) -> int:
    """The label of the largest probability; one that is not listed has none."""
    return max(range(len(seen)), key=lambda at: seen[at] or 0.0)


def _first(said: Any, labels: Sequence[int]) -> Row:
    """Probabilities of the label words' first tokens, None for one not listed, and of all that are listed."""
    top = {token: math.exp(found.logprob) for token, found in said.logprobs[0].items()}
    return {"seen": [top.get(token) for token in labels], "listed": list(top.values()), "completion_tokens": 1}


def _whole(said: Any) -> Row:
    count = len(said.token_ids)
    mean = said.cumulative_logprob / count if count and said.cumulative_logprob is not None else math.nan
    return {"text": said.text, "logprob": mean, "completion_tokens": count, "ended": said.finish_reason != "length"}


def _started(expert: str, **options: Any) -> Any:
    """The `vllm.LLM` of these options.

    Raises `MissingExtra` without vLLM, `ExpertError` without CUDA and where the model cannot be started.
    """
    try:
        import vllm
    except ImportError as error:
        raise MissingExtra("vllm", "vllm") from error
    import torch

    if not torch.cuda.is_available():
        raise ExpertError(
            f"Expert '{expert}': backend vllm needs CUDA, and this machine has none. Allowed here: backend: llm "
            "on the CPU. Run it where there is a GPU, or serve the model there and use backend: openai."
        )
    try:
        return vllm.LLM(**options)
    except Exception as error:
        if out_of_memory(error):
            raise no_room(options["model"], "cuda", "memory ran out while vLLM started") from error
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise ExpertError(
            f"Expert '{expert}': vLLM did not start model '{options['model']}' ({reason}). Allowed: a model that vLLM "
            "knows and that fits. What it printed above says more; try max_model_len, gpu_memory_utilization, "
            "tensor_parallel_size or another dtype."
        ) from error
