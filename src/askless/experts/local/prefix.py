"""What all prompts begin with is read once: its keys and values stand before each batch's own tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# Shorter ones save little: on the demo models a tenth to a quarter at 2 tokens, half at 8.
LEAST = 4
_KINDS = {"full_attention", "sliding_attention"}


def shared_tokens(prompts: Sequence[list[int]]) -> list[int]:
    """The tokens that all `prompts` begin with, leaving one to each; none where they are too few to pay."""
    if len(prompts) < 2:
        return []
    first, last = min(prompts), max(prompts)
    same = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    common = first[: min(same, min(map(len, prompts)) - 1)]
    return common if len(common) >= LEAST else []


def can_cache(network: Any) -> bool:
    """Whether the network's whole memory of a prefix is its keys and values, in transformers' own cache classes.

    Recurrent state cannot be cropped or put before a padded batch, and code from the hub may mean another cache.
    """
    kinds = getattr(network.config.get_text_config(), "layer_types", None) or _KINDS
    ours = type(network).__module__.startswith("transformers.")
    return ours and not getattr(network, "_is_stateful", False) and set(kinds) <= _KINDS


def can_share(network: Any, longest: int) -> bool:
    """Whether padding may stand between a prefix and what follows, in rows of up to `longest` tokens.

    A window of attention counts padding as distance, so it must be wider than the longest row.
    """
    window = getattr(network.config.get_text_config(), "sliding_window", None)
    return can_cache(network) and (window is None or window >= longest)


def new_cache() -> Any:
    """An empty cache that keeps every token, also for layers that look back through a window."""
    from transformers import DynamicCache

    cache: Any = DynamicCache
    return cache()


@dataclass(frozen=True)
class SharedPrefix:
    """What all prompts begin with, read.

    Parameters
    ----------
    tokens, layers
        The tokens, and the keys and values of each layer: (1, heads, tokens, size).
    """

    tokens: list[int]
    layers: list[tuple[Tensor, Tensor]]

    def __len__(self) -> int:
        return len(self.tokens)

    @classmethod
    def read(cls, network: Any, tokens: Sequence[int]) -> SharedPrefix:
        """Run `tokens` through the network once."""
        import torch

        cache = new_cache()
        with torch.inference_mode():
            ids = torch.tensor([list(tokens)], device=network.device)
            network(input_ids=ids, attention_mask=torch.ones_like(ids), past_key_values=cache, use_cache=True)
        return cls(list(tokens), [(layer.keys, layer.values) for layer in cache.layers])

    def into(self, cache: Any, rows: int) -> Any:
        """The empty `cache`, now holding the prefix for `rows` rows."""
        for at, (keys, values) in enumerate(self.layers):
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), at)
        return cache
