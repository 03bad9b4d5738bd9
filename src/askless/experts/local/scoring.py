"""Label words scored by the probability that a causal language model gives them after each prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from askless.arrays import Floats
from askless.experts.local.forward import Tokens, logits, padded, to_numpy
from askless.experts.local.prefix import SharedPrefix, can_cache, new_cache

if TYPE_CHECKING:
    from torch import Tensor


def score(
    network: Any, prompts: Sequence[Tokens], labels: Sequence[Tokens], pad: int, prefix: SharedPrefix | None = None
) -> Floats:
    """Natural log-probability of each label after each prompt, over the whole vocabulary: (prompts, labels).

    The prompts, all of which begin with `prefix`, are read once, without it; a label of several tokens reads on
    from there, and where the network cannot keep what it read, takes a pass of its own.
    """
    import torch

    with torch.inference_mode():
        if prefix is None and any(len(label) > 1 for label in labels) and not can_cache(network):
            return to_numpy(torch.stack([_apart(network, prompts, label, pad) for label in labels], dim=1))
        return to_numpy(_after(network, prompts, labels, pad, prefix))


def warm_up(network: Any, pad: int) -> None:
    """One small forward pass, so that what the first one costs extra is on no item's clock."""
    score(network, [[pad] * 8] * 2, [[pad]], pad)


def _after(
    network: Any, prompts: Sequence[Tokens], labels: Sequence[Tokens], pad: int, prefix: SharedPrefix | None
) -> Tensor:
    import torch

    before, rows = len(prefix) if prefix else 0, len(prompts)
    ids, mask = padded([prompt[before:] for prompt in prompts], pad, network.device, before)
    on = any(len(label) > 1 for label in labels)
    cache: Any = prefix.into(new_cache(), rows) if prefix else new_cache() if on else None
    first = logits(network, ids, mask, 1, cache).float()
    columns = []
    for label in labels:
        column = _chosen(first, label[:1])
        if (more := len(label) - 1) > 0:
            ids = torch.tensor([list(label[:-1])] * rows, device=mask.device)
            longer = torch.cat([mask, mask.new_ones(rows, more)], dim=1)
            column = column + _chosen(logits(network, ids, longer, more, cache).float(), label[1:])
            cache.crop(-more)
        columns.append(column)
    return torch.stack(columns, dim=1)


def _apart(network: Any, prompts: Sequence[Tokens], label: Tokens, pad: int) -> Tensor:
    ids, mask = padded([[*prompt, *label[:-1]] for prompt in prompts], pad, network.device)
    return _chosen(logits(network, ids, mask, len(label)).float(), label)


def _chosen(steps: Tensor, tokens: Tokens) -> Tensor:
    """Summed log-probability of `tokens` under logits (rows, tokens, vocabulary): (rows,)."""
    import torch

    at = torch.tensor(list(tokens), device=steps.device).expand(len(steps), -1)[:, :, None]
    return (steps.gather(2, at)[:, :, 0] - steps.logsumexp(dim=2)).sum(dim=1)
