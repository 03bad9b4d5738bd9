"""Batches through a causal language model: label scores in one forward pass, greedy or sampled replies."""

from __future__ import annotations

import gc
import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from deferral.errors import ExpertError

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)
Floats = NDArray[np.float64]
Tokens = Sequence[int]
T = TypeVar("T")
R = TypeVar("R")
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


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


def in_batches(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Row numbers in batches of `size`, longest first: little is padded, and memory runs out early."""
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    return [order[at : at + size] for at in range(0, len(order), size)]


def halving(rows: Sequence[T], run: Callable[[Sequence[T]], R]) -> Iterator[tuple[Sequence[T], R]]:
    """Run `rows` at once; where memory runs out, each half alone, and so on down to one row.

    Every batch starts whole again, so that what shares a batch does not depend on the past.
    """
    try:
        result = [run(rows)]
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
            raise
        result = []
    if result:
        yield rows, result[0]
        return
    _release()
    if len(rows) == 1:
        raise ExpertError(
            "Memory ran out on a single item. Allowed: a model and an input that fit together. "
            "Set max_input_tokens, a smaller dtype or max_new_tokens, or use a larger device."
        )
    middle = (len(rows) + 1) // 2
    logger.warning("Memory ran out on a batch of %d; it goes on in halves of %d", len(rows), middle)
    yield from halving(rows[:middle], run)
    yield from halving(rows[middle:], run)


def score(network: Any, prompts: Sequence[Tokens], labels: Sequence[Tokens], pad: int) -> Floats:
    """Natural log-probability of each label after each prompt, over the whole vocabulary: (prompts, labels).

    Labels of one token share one forward pass; else each label takes one, the sum over its tokens.
    """
    import torch

    with torch.inference_mode():
        if all(len(label) == 1 for label in labels):
            first = _logprobs(network, prompts, pad, keep=1)[:, -1]
            return _numpy(first[:, [label[0] for label in labels]])
        columns = []
        for label in labels:
            rows = [[*prompt, *label[:-1]] for prompt in prompts]
            steps = _logprobs(network, rows, pad, keep=len(label))
            at = torch.tensor(list(label), device=steps.device).expand(len(rows), -1)[:, :, None]
            columns.append(steps.gather(2, at)[:, :, 0].sum(dim=1))
        return _numpy(torch.stack(columns, dim=1))


def warm_up(network: Any, pad: int) -> None:
    """One small forward pass, so that what the first one costs extra is on no item's clock."""
    score(network, [[pad] * 8] * 2, [[pad]], pad)


def generate(network: Any, prompts: Sequence[Tokens], decoding: Decoding, pad: int, seed: int) -> list[Reply]:
    """One reply to each prompt; the same batch with the same seed gives the same replies."""
    import torch

    ids, mask = _padded(prompts, pad, network.device)
    chosen = _Chosen(ids.shape[1])
    sampled = decoding.temperature > 0
    devices = [network.device] if network.device.type == "cuda" else []
    with torch.inference_mode(), torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        options = {"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0} if sampled else {}
        written = network.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=sampled,
            max_new_tokens=decoding.max_new_tokens,
            logits_processor=[chosen],
            **(options if sampled else {}),
        )
        chosen.note(written)
    ends = network.generation_config.eos_token_id
    ends = set(ends if isinstance(ends, list) else [ends])
    logprobs = _numpy(torch.stack(chosen.logprobs, dim=1))
    replies = written[:, ids.shape[1] :].tolist()
    return [_reply(tokens, row, ends) for tokens, row in zip(replies, logprobs, strict=True)]


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


def _reply(tokens: list[int], logprobs: Floats, ends: set[int | None]) -> Reply:
    length = next((at + 1 for at, token in enumerate(tokens) if token in ends), len(tokens))
    return Reply(tokens[:length], float(logprobs[:length].mean()))


def _logprobs(network: Any, rows: Sequence[Tokens], pad: int, keep: int) -> Tensor:
    """Log-probabilities after the last `keep` positions: (rows, keep, vocabulary), float32."""
    ids, mask = _padded(rows, pad, network.device)
    given: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
    accepted = inspect.signature(type(network).forward).parameters
    if "position_ids" in accepted:
        given["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)
    if "logits_to_keep" in accepted:
        given["logits_to_keep"] = keep
    logits: Tensor = network(**given).logits
    return logits[:, -keep:].float().log_softmax(dim=-1)


def _padded(rows: Sequence[Tokens], pad: int, device: Any) -> tuple[Tensor, Tensor]:
    """Token ids padded on the left to the longest row, and their mask."""
    import torch

    width = max(len(row) for row in rows)
    ids = torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def _numpy(values: Tensor) -> Floats:
    return np.asarray(values.double().cpu().numpy(), dtype=np.float64)


def _out_of_memory(error: BaseException) -> bool:
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(sign in str(error).lower() for sign in _NO_MEMORY)


def _release() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
