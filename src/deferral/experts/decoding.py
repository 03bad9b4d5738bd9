"""Replies written by a causal language model: greedy or sampled, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deferral.experts.forward import Floats, Tokens, padded, to_numpy
from deferral.experts.prefix import Prefix, new_cache
from deferral.experts.static import StaticShapes

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Decoding:
    """How a reply is written: greedily at temperature 0, else sampled from the top `top_p` of probability."""

    max_new_tokens: int
    temperature: float
    top_p: float


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
    compiled, for a cache whose shape does not change.
    """
    if static is not None:
        with static.holding(network, prompts, decoding.max_new_tokens, prefix) as (rows, cache):
            more = static.options(network)
            return _written(network, rows, decoding, pad, seed, prefix, cache, more)[: len(prompts)]
    cache = prefix.into(new_cache(), len(prompts)) if prefix else None
    return _written(network, prompts, decoding, pad, seed, prefix, cache, {})


def _written(
    network: Any,
    prompts: Sequence[Tokens],
    decoding: Decoding,
    pad: int,
    seed: int,
    prefix: Prefix | None,
    cache: Any,
    more: dict[str, Any],
) -> list[Reply]:
    import torch

    ids, mask = _prompted(network, prompts, pad, prefix)
    chosen = _Chosen(ids.shape[1])
    sampled = decoding.temperature > 0
    if sampled:
        more = {**more, "temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0}
    if cache is not None:
        more = {**more, "past_key_values": cache}
    devices = [network.device] if network.device.type == "cuda" else []
    with torch.inference_mode(), torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        written = network.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=sampled,
            max_new_tokens=decoding.max_new_tokens,
            logits_processor=[chosen],
            **more,
        )
        chosen.note(written)
    ends = network.generation_config.eos_token_id
    ends = set(ends if isinstance(ends, list) else [ends])
    logprobs = to_numpy(torch.stack(chosen.logprobs, dim=1))
    replies = written[:, ids.shape[1] :].tolist()
    return [_reply(tokens, row, ends) for tokens, row in zip(replies, logprobs, strict=True)]


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


def _reply(tokens: list[int], logprobs: Floats, ends: set[int | None]) -> Reply:
    length = next((at + 1 for at, token in enumerate(tokens) if token in ends), len(tokens))
    return Reply(tokens[:length], float(logprobs[:length].mean()))
