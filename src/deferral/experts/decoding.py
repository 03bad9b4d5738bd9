"""Replies written by a language model: greedy or sampled, a batch at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from deferral.experts.forward import Floats, Tokens, padded, to_numpy
from deferral.experts.prefix import Prefix, can_share, new_cache
from deferral.experts.static import StaticShapes

if TYPE_CHECKING:
    from torch import Tensor

ROUND = 8


@dataclass(frozen=True)
class Decoding:
    """How a reply is written: greedily at temperature 0, else sampled from the top `top_p` of probability.

    It does not end before `min_new_tokens`.
    """

    max_new_tokens: int
    temperature: float
    top_p: float
    min_new_tokens: int = 0


@dataclass(frozen=True)
class Reply:
    """Tokens of a reply up to and with its end, and their mean natural log-probability under the model."""

    tokens: list[int]
    logprob: float


def generate(
    network: Any,
    prompts: Sequence[Tokens],
    decoding: Decoding,
    pad: int,
    seed: int,
    prefix: Prefix | None = None,
    static: StaticShapes | None = None,
) -> list[Reply]:
    """One reply to each prompt; the same batch with the same seed gives the same replies.

    The prompts all begin with `prefix`, which is not read again. With `static` the step that writes a token is
    compiled, for a cache whose shape does not change. Without, every `ROUND` tokens the replies that have ended
    leave the batch, where the network's memory can be taken apart: few then wait for the longest.
    """
    if static is not None:
        with static.holding(network, prompts, decoding.max_new_tokens, prefix) as (rows, cache):
            more = {**static.options(network), **({} if cache is None else {"past_key_values": cache})}
            ids, mask = _prompted(network, rows, pad, prefix)
            given = {"input_ids": ids, "attention_mask": mask}
            return written(network, given, ids.shape[1], decoding, seed, more)[: len(prompts)]
    ids, mask = _prompted(network, prompts, pad, prefix)
    if not can_share(network, ids.shape[1] + decoding.max_new_tokens):
        return written(network, {"input_ids": ids, "attention_mask": mask}, ids.shape[1], decoding, seed, {})
    cache = new_cache()
    return _in_rounds(network, ids, mask, decoding, seed, prefix.into(cache, len(prompts)) if prefix else cache)


def written(
    network: Any, given: Mapping[str, Any], start: int, decoding: Decoding, seed: int, more: Mapping[str, Any]
) -> list[Reply]:
    """One reply to each row of what is `given` to read, after `start` tokens that are no part of it.

    `more` goes to transformers' `generate` as it is.
    """
    ids, logprobs = _written(network, given, start, decoding, seed, more)
    ends = set(_ends(network))
    return [_reply(tokens, row, ends) for tokens, row in zip(ids[:, start:].tolist(), logprobs, strict=True)]


def _in_rounds(network: Any, ids: Tensor, mask: Tensor, decoding: Decoding, seed: int, cache: Any) -> list[Reply]:
    import torch

    tokens: list[list[int]] = [[] for _ in ids]
    logprobs: list[list[float]] = [[] for _ in ids]
    ends, open_rows, done = set(_ends(network)), list(range(len(ids))), 0
    while True:
        start, some = ids.shape[1], min(ROUND, decoding.max_new_tokens - done)
        how = replace(decoding, max_new_tokens=some, min_new_tokens=max(0, decoding.min_new_tokens - done))
        given = {"input_ids": ids, "attention_mask": mask}
        ids, chosen = _written(network, given, start, how, seed + done, {"past_key_values": cache})
        for row, said, row_logprobs in zip(open_rows, ids[:, start:].tolist(), chosen.tolist(), strict=True):
            tokens[row] += said
            logprobs[row] += row_logprobs
        done += some
        left = [at for at, row in enumerate(open_rows) if ends.isdisjoint(tokens[row])]
        if not left or done >= decoding.max_new_tokens:
            break
        if len(left) < len(open_rows):
            keep = torch.tensor(left, device=ids.device)
            cache.batch_select_indices(keep)
            ids, mask, open_rows = ids[keep], mask[keep], [open_rows[at] for at in left]
        mask = torch.cat([mask, mask.new_ones(len(ids), ids.shape[1] - mask.shape[1])], dim=1)
    return [_reply(said, np.array(row), ends) for said, row in zip(tokens, logprobs, strict=True)]


def _written(
    network: Any, given: Mapping[str, Any], start: int, decoding: Decoding, seed: int, more: Mapping[str, Any]
) -> tuple[Tensor, Floats]:
    """All tokens, shape (rows, start + new), and the log-probabilities of the new ones, shape (rows, new)."""
    import torch
    from transformers import MinNewTokensLengthLogitsProcessor

    chosen = _Chosen(start)
    processors: list[Any] = [chosen]
    if decoding.min_new_tokens and (ends := _ends(network)):
        shortest: Any = MinNewTokensLengthLogitsProcessor
        processors.append(shortest(start, decoding.min_new_tokens, ends, device=network.device))
    sampled = decoding.temperature > 0
    if sampled:
        more = {**more, "temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0}
    devices = [network.device] if network.device.type == "cuda" else []
    with torch.inference_mode(), torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        ids = network.generate(
            **given,
            do_sample=sampled,
            max_new_tokens=decoding.max_new_tokens,
            logits_processor=processors,
            **more,
        )
        chosen.note(ids)
    return ids, to_numpy(torch.stack(chosen.logprobs, dim=1))


def _ends(network: Any) -> list[int]:
    ends = network.generation_config.eos_token_id
    return [end for end in (ends if isinstance(ends, list) else [ends]) if end is not None]


def _prompted(network: Any, prompts: Sequence[Tokens], pad: int, prefix: Prefix | None) -> tuple[Tensor, Tensor]:
    """Ids and mask of whole prompts: the prefix, padding, each prompt's own tokens."""
    import torch

    before = len(prefix) if prefix else 0
    ids, mask = padded([prompt[before:] for prompt in prompts], pad, network.device, before)
    if prefix:
        head = torch.tensor(prefix.tokens, device=ids.device).expand(len(ids), -1)
        ids = torch.cat([head, ids], dim=1)
    return ids, mask


class _Chosen:
    """A logits processor that changes nothing and notes the log-probability of each token that was chosen."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._last: Tensor | None = None
        self.logprobs: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.note(input_ids)
        # The compiled step writes its next logits over these.
        self._last = scores.float().log_softmax(dim=-1)
        return scores

    def note(self, input_ids: Tensor) -> None:
        """Look up the newest token in the distribution it was chosen from."""
        if self._last is not None and input_ids.shape[1] > self._start + len(self.logprobs):
            self.logprobs.append(self._last.gather(1, input_ids[:, -1:])[:, 0])


def _reply(tokens: list[int], logprobs: Floats, ends: set[int]) -> Reply:
    length = next((at + 1 for at, token in enumerate(tokens) if token in ends), len(tokens))
    return Reply(tokens[:length], float(logprobs[:length].mean()))
