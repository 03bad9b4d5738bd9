"""Rows of tokens through a causal language model, padded on the left, after what a cache already holds."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from askless.arrays import Floats

if TYPE_CHECKING:
    from torch import Tensor

Tokens = Sequence[int]


def padded(rows: Sequence[Tokens], pad: int, device: Any, before: int = 0) -> tuple[Tensor, Tensor]:
    """Token ids padded on the left to the longest row, and the mask, which begins with `before` cached tokens."""
    import torch

    width = max(len(row) for row in rows)
    ids = torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows], device=device)
    seen = [1] * before
    mask = torch.tensor([[*seen, *[0] * (width - len(row)), *[1] * len(row)] for row in rows], device=device)
    return ids, mask


def logits(network: Any, ids: Tensor, mask: Tensor, keep: int, cache: Any = None) -> Tensor:
    """Logits after the last `keep` positions of `ids`: (rows, keep, vocabulary); `cache` grows by `ids`.

    `mask` covers what the cache holds and then `ids`.
    """
    width = ids.shape[1]
    given: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "use_cache": cache is not None}
    if cache is not None:
        given["past_key_values"] = cache
    kind: Any = type(network)
    accepted = _accepted(kind)
    if "position_ids" in accepted:
        given["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -width:]
    if "logits_to_keep" in accepted:
        given["logits_to_keep"] = keep
    found: Tensor = network(**given).logits
    return found[:, -keep:]


@cache
def _accepted(network: Any) -> frozenset[str]:
    return frozenset(inspect.signature(network.forward).parameters)


def to_numpy(values: Tensor) -> Floats:
    """The values as float64 on the host."""
    return np.asarray(values.double().cpu().numpy(), dtype=np.float64)
