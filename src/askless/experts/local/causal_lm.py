"""A causal language model run here, through transformers: label scores or free text, in resumable batches."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from askless.experts.answer_store import Row, answer_key
from askless.experts.base import number
from askless.experts.local import scoring
from askless.experts.local.batches import Backoff, answered
from askless.experts.local.checkpoint import Checkpoint
from askless.experts.local.decoding import Decoding
from askless.experts.local.encoding import encode, label_tokens
from askless.experts.local.local_expert import Item, LocalExpert, timed
from askless.experts.local.workload import Workload
from askless.experts.paid import Wording
from askless.experts.replies import scored, written


@dataclass(eq=False, kw_only=True, repr=False)
class LlmExpert(LocalExpert):
    """Answers with a causal language model run here, through transformers.

    Parameters
    ----------
    setting
        What the task tells the expert.
    model
        `demo:<size>`, a folder with a transformers checkpoint, `package:NAME` of an installed package that has one in
        it, or a repository of the hub.
    revision
        Commit of a hub repository; None is the newest, so that next year's answers may come from other weights.
    prompt
        An entry of `askless.prompts`, or entries by the task's prompt that they replace; None is the task's own.
    mode
        `label` scores the prompt's label words by their probability after the prompt and never parses; `text` writes a
        reply and parses it, or keeps it as the answer where the task has no classes; `auto` is the first where there
        are classes, else the second.
    batch_size
        Most rows at once, 1 or more.
    batch_tokens
        Most tokens at once, 1 or more, padding and what is to be written included, the shared prefix not. None is
        16,384 for text and 8,192 for labels, 2,048 on a CPU.
    share_prefix
        Whether what all prompts begin with is read once.
    dtype
        `float32`, `bfloat16`, `float16`; `auto` is the checkpoint's own on an accelerator and float32 on a CPU.
    device
        A device of torch; `auto` is CUDA, else MPS, else the CPU.
    max_new_tokens
        Most tokens of a reply in mode `text`, 1 or more; one that is cut off has an error.
    temperature
        0 is greedy, more draws; in mode `text`. The checkpoint's own decoding settings are not used.
    top_p
        Share of probability that is drawn from, more than 0, up to 1.
    seed
        Where draws begin.
    low_mass
        With `null` an answer whose label words together have less than `min_mass` is withheld, with `ignore` not.
    min_mass
        A probability, 0 to 1.
    trust_remote_code
        Whether to run the repository's own code; `revision` must then be a commit hash.
    gguf_file
        The file of the model's folder, package or repository that is to be read, where its weights are GGUF; they are
        unpacked to `dtype`. Needs the packages gguf and accelerate.
    template_options
        Variables of the tokenizer's chat template. `enable_thinking` is false unless it is set here; a thought needs a
        larger `max_new_tokens` and mode `text`. The day that a template writes is always the same.
    max_input_tokens
        Most tokens of a prompt, 1 or more; None is what the model can read. A longer one loses the end of its text,
        never of the template; metadata `truncated` counts them.
    """

    limits = ("batch_tokens", "max_input_tokens")
    counts = True

    prompt: Wording = None
    mode: str = "auto"
    batch_tokens: int | None = None
    share_prefix: bool = True
    device: str = "auto"
    low_mass: str = "ignore"
    min_mass: float = 0.5
    gguf_file: str | None = None
    template_options: Mapping[str, Any] | None = None
    max_input_tokens: int | None = None

    def validate(self) -> None:
        """Raise `ConfigError` or `ExpertError` for an option that cannot be meant."""
        super().validate()
        self.require("low_mass", self.low_mass in ("ignore", "null"), "ignore or null")
        self.require("min_mass", number(self.min_mass, 0, 1), "a probability, 0 to 1")
        self.require("share_prefix", isinstance(self.share_prefix, bool), "true or false")
        named = self.gguf_file is None or isinstance(self.gguf_file, str)
        self.require("gguf_file", named, "null or the name of a file")
        own = self.template_options is None or isinstance(self.template_options, Mapping)
        self.require("template_options", own, "null or variables of the chat template, by name")
        self.words()

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The model's parts."""
        chosen = (self.gguf_file, self.template_options)
        return Checkpoint(self.model, self.revision, self.dtype, self.device, self.trust_remote_code, *chosen)

    def key(self, text: str) -> str:
        """The store's key of the answer to one text."""
        part, prompt, where = self.checkpoint, self.template(), self._where()
        if self.labelling:
            how: list[Any] = [prompt.words[name] for name in self.setting.classes]
        else:
            how = [self.max_new_tokens, self.temperature, *self._drawn()]
        rendered = part.render(prompt, text)
        where += [self.gguf_file] if self.gguf_file else []
        return answer_key("llm", *where, rendered, self._mode, how, part.dtype, self.max_input_tokens)

    def ask(self, work: Mapping[str, str], kept: Mapping[str, Row]) -> Generator[dict[str, Row]]:
        """Yield rows batch by batch; batches are made of all of `work`, the same in a resumed run."""
        keys = list(work)
        items = encode(self.checkpoint, self.template(), list(work.values()), self._limit)
        network, pad = self.checkpoint.network, self.checkpoint.pad
        scoring.warm_up(network, pad)
        prompts, size = [ids for ids, _ in items], (self.batch_size, self._batch_tokens)
        load = Workload(network, pad, prompts, *size, share_prefix=self.share_prefix, new_tokens=self._after)
        self._load = load
        backoff = Backoff[Item](lambda rows: load.size([ids for _, ids, _ in rows]))
        keyed = [(key, *item) for key, item in zip(keys, items, strict=True)]
        yield from answered(load.batches, keyed, kept, backoff, self._run)

    def most_tokens(self, texts: Sequence[str]) -> list[tuple[int, int]]:
        """The prompt's own tokens, and the longest label word or `max_new_tokens`."""
        written = max(map(len, self._labels)) if self.labelling else self.max_new_tokens
        return [(len(ids), written) for ids, _ in encode(self.checkpoint, self.template(), texts, self._limit)]

    def fewest_tokens(self) -> int:
        """Those of the shortest label word, 0 of a text."""
        return min(map(len, self._labels)) if self.labelling else 0

    def columns(self, rows: Sequence[Row]) -> Mapping[str, Any]:
        """Prediction columns of these rows."""
        counted = self._counted(rows)
        if not self.labelling:
            return {**counted, **written(rows, self.words())}
        logprobs = np.array([row["logprobs"] for row in rows], np.float64)
        floor = self.min_mass if self.low_mass == "null" else 0.0
        return {
            **counted,
            **scored(self.setting.classes, logprobs.reshape(-1, len(self.setting.classes)), floor),
        }

    def meta(self) -> dict[str, Any]:
        """What every local model says, the mode, and most tokens at once."""
        return {**super().meta(), "mode": self._mode, "batch_tokens": self._batch_tokens}

    @cached_property
    def _labels(self) -> list[list[int]]:
        return label_tokens(self.checkpoint, self.template(), self.setting.classes)

    @property
    def _after(self) -> int:
        """Most tokens that the model reads after a prompt."""
        return max(map(len, self._labels)) - 1 if self.labelling else self.max_new_tokens

    @property
    def _limit(self) -> int | None:
        """Most tokens of a prompt, so that what follows it still fits the model."""
        size = self.checkpoint.limit
        limits = (self.max_input_tokens, None if size is None else size - self._after)
        return min((limit for limit in limits if limit is not None), default=None)

    @property
    def _batch_tokens(self) -> int:
        # More than a CPU's own caches hold makes reading slower; writing is held up by steps, not by arithmetic.
        reading = 2048 if self.checkpoint.device == "cpu" else 8192
        return self.batch_tokens or (reading if self.labelling else 16_384)

    def _run(self, items: Sequence[Item]) -> list[Row]:
        start = time.perf_counter()
        return timed(self._scored(items) if self.labelling else self._written(items), items, start)

    def _scored(self, items: Sequence[Item]) -> list[Row]:
        logprobs = self._load.score([ids for _, ids, _ in items], self._labels)
        sizes = [len(label) for label in self._labels]
        return [{"logprobs": row.tolist(), "completion_tokens": sizes[int(row.argmax())]} for row in logprobs]

    def _written(self, items: Sequence[Item]) -> list[Row]:
        how = Decoding(self.max_new_tokens, self.temperature, self.top_p)
        return self._replies(self._load.write([ids for _, ids, _ in items], how, self._batch_seed(items)))
