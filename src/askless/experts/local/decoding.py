"""Replies written by a language model: greedy or sampled, a batch at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from askless.arrays import Floats
from askless.experts.local.forward import Tokens, padded, to_numpy
from askless.experts.local.memory import Memory
from askless.experts.local.prefix import SharedPrefix, can_share

if TYPE_CHECKING:
    from torch import Tensor


class Decoding(NamedTuple):
    """How a reply is written: how many tokens it has at most, and before it may end.

    Greedy at a temperature of 0, else sampled from the top `top_p` of probability.
    """

    max_new_tokens: int
    temperature: float
    top_p: float
    min_new_tokens: int = 0


class Generated(NamedTuple):
    """A reply: its tokens up to and with its end, their mean natural log-probability, and whether it ended."""

    tokens: list[int]
    logprob: float
    ended: bool = True


def generate(
    network: Any,
    prompts: Sequence[Tokens],
    decoding: Decoding,
    pad: int,
    seed: int,
    prefix: SharedPrefix | None = None,
) -> list[Generated]:
    """One reply to each prompt; the same batch with the same seed gives the same replies.

    The prompts all begin with `prefix`, which is not read again. A reply that has ended leaves the batch, where the
    network's memory can be taken apart: none waits for the longest.
    """
    if can_share(network, max(map(len, prompts)) + decoding.max_new_tokens):
        return _step_by_step(network, prompts, decoding, pad, seed, prefix)
    ids, mask = padded(prompts, pad, network.device)
    return written(network, {"input_ids": ids, "attention_mask": mask}, ids.shape[1], decoding, seed)


def written(network: Any, given: Mapping[str, Any], start: int, decoding: Decoding, seed: int) -> list[Generated]:
    """One reply to each row of what is `given` to read, after `start` tokens that are no part of it."""
    ids, logprobs = _written(network, given, start, decoding, seed)
    ends = set(ends_of(network))
    return [_reply(tokens, row, ends) for tokens, row in zip(ids[:, start:].tolist(), logprobs, strict=True)]


def _step_by_step(
    network: Any, prompts: Sequence[Tokens], decoding: Decoding, pad: int, seed: int, prefix: SharedPrefix | None
) -> list[Generated]:
    import torch

    generator = torch.Generator(network.device).manual_seed(seed)
    ends, rows = ends_of(network), list(range(len(prompts)))
    tokens: list[list[int]] = [[] for _ in prompts]
    logprobs: list[list[float]] = [[] for _ in prompts]
    with torch.inference_mode():
        scores, memory = Memory.read(network, prompts, pad, prefix, decoding.max_new_tokens)
        for step in range(decoding.max_new_tokens):
            ids, chosen = _choice(scores.float(), decoding, ends if step < decoding.min_new_tokens else [], generator)
            said = ids.tolist()
            for row, token, logprob in zip(rows, said, chosen.tolist(), strict=True):
                tokens[row].append(token)
                logprobs[row].append(logprob)
            left = [at for at, token in enumerate(said) if token not in ends]
            if not left or step + 1 == decoding.max_new_tokens:
                break
            if len(left) < len(rows):
                order = memory.keep(left)
                rows, ids = [rows[at] for at in order], ids[order]
            scores = memory.on(ids)
    return [_reply(said, np.array(row), set(ends)) for said, row in zip(tokens, logprobs, strict=True)]


def _choice(scores: Tensor, decoding: Decoding, barred: list[int], generator: Any) -> tuple[Tensor, Tensor]:
    """The next token of each row and its log-probability, that before anything was barred: two of shape (rows,)."""
    import torch
    from transformers import TemperatureLogitsWarper, TopPLogitsWarper

    allowed: Any = scores.index_fill(1, torch.tensor(barred, device=scores.device), -torch.inf) if barred else scores
    if decoding.temperature > 0:
        warpers: list[Any] = [TemperatureLogitsWarper(decoding.temperature), TopPLogitsWarper(decoding.top_p)]
        for warper in warpers:
            allowed = warper(None, allowed)
        # Numbers that are not finite must not stop the run: the reply's log-probability tells.
        ids = torch.multinomial(allowed.softmax(dim=-1).nan_to_num(1.0), 1, generator=generator)
    else:
        ids = allowed.argmax(dim=-1, keepdim=True)
    return ids[:, 0], scores.gather(1, ids)[:, 0] - scores.logsumexp(dim=-1)


def _written(
    network: Any, given: Mapping[str, Any], start: int, decoding: Decoding, seed: int
) -> tuple[Tensor, Floats]:
    """All tokens, shape (rows, start + new), and the log-probabilities of the new ones, shape (rows, new)."""
    import torch
    from transformers import MinNewTokensLengthLogitsProcessor

    chosen = _Chosen(start)
    processors: list[Any] = [chosen]
    if decoding.min_new_tokens and (ends := ends_of(network)):
        shortest: Any = MinNewTokensLengthLogitsProcessor
        processors.append(shortest(start, decoding.min_new_tokens, ends, device=network.device))
    sampled = decoding.temperature > 0
    how = {"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0} if sampled else {}
    devices = [network.device] if network.device.type == "cuda" else []
    with torch.inference_mode(), torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        ids = network.generate(
            **given,
            do_sample=sampled,
            max_new_tokens=decoding.max_new_tokens,
            logits_processor=processors,
            **how,
        )
        chosen.note(ids)
    return ids, to_numpy(torch.stack(chosen.logprobs, dim=1))


def ends_of(network: Any) -> list[int]:
    """Tokens that end a reply."""
    ends = network.generation_config.eos_token_id
    return [end for end in (ends if isinstance(ends, list) else [ends]) if end is not None]


class _Chosen:
    """A logits processor that changes nothing and notes the log-probability of each token that was chosen."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._last: Tensor | None = None
        self.logprobs: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.note(input_ids)
        self._last = scores.float().log_softmax(dim=-1)
        return scores

    def note(self, input_ids: Tensor) -> None:
        """Look up the newest token in the distribution it was chosen from."""
        if self._last is not None and input_ids.shape[1] > self._start + len(self.logprobs):
            self.logprobs.append(self._last.gather(1, input_ids[:, -1:])[:, 0])


def _reply(tokens: list[int], logprobs: Floats, ends: set[int]) -> Generated:
    end = next((at + 1 for at, token in enumerate(tokens) if token in ends), None)
    length = len(tokens) if end is None else end
    return Generated(tokens[:length], float(logprobs[:length].mean()), end is not None)
