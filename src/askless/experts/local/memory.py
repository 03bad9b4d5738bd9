"""What a network has read of a batch, in buffers with room for what it writes: few steps copy anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from askless.experts.local.batches import in_batches
from askless.experts.local.forward import Tokens, logits, padded
from askless.experts.local.prefix import SharedPrefix, new_cache

if TYPE_CHECKING:
    from torch import Tensor

# About what a CPU's own caches hold; an accelerator reads a batch at once.
CPU_TOKENS = 1024
# Tokens between two copies; room that is never used only spreads out what is read.
ROOM = 16


@dataclass
class Memory:
    """Keys and values of each row; padding stands between what the rows share and what is a row's own.

    Parameters
    ----------
    network, held
        The language model, and its cache.
    mask, end
        Where there are tokens and will be, (rows, tokens), and how many a row has so far, padding included.
    """

    network: Any
    held: Any
    mask: Tensor
    end: int

    @classmethod
    def read(
        cls, network: Any, prompts: Sequence[Tokens], pad: int, prefix: SharedPrefix | None, room: int
    ) -> tuple[Tensor, Memory]:
        """Logits after each prompt, (prompts, vocabulary), and the memory of them, with room for `room` tokens."""
        import torch

        before, rows = len(prefix) if prefix else 0, len(prompts)
        lengths = [len(prompt) - before for prompt in prompts]
        end = before + max(lengths)
        mask = torch.ones(rows, end + room, dtype=torch.long, device=network.device)
        memory = cls(network, new_cache(), mask, end)
        parts = in_batches(lengths, rows, CPU_TOKENS if network.device.type == "cpu" else rows * end)
        after = torch.cat([memory._read(prompts, part, pad, prefix) for part in parts])
        memory._show(rows)
        return after[torch.tensor([row for part in parts for row in part]).argsort()], memory

    def on(self, ids: Tensor) -> Tensor:
        """Logits after one token more of each row: (rows, vocabulary)."""
        self.end += 1
        return logits(self.network, ids[:, None], self.mask[: len(ids), : self.end], 1, self.held)[:, 0]

    def keep(self, rows: Sequence[int]) -> list[int]:
        """Let go of all but `rows`, the last of which move to the places that are free; returns who is where."""
        stay = [row for row in rows if row < len(rows)]
        move = list(rows[len(stay) :])
        free = sorted(set(range(len(rows))).difference(stay))
        if free:
            self.mask[free] = self.mask[move]
            for buffer in (buffer for layer in self.held.layers for buffer in layer.buffers):
                buffer[free, :, : self.end] = buffer[move, :, : self.end]
        self._show(len(rows))
        moved = dict(zip(free, move, strict=True))
        return [moved.get(place, place) for place in range(len(rows))]

    def _read(self, prompts: Sequence[Tokens], rows: Sequence[int], pad: int, prefix: SharedPrefix | None) -> Tensor:
        """Read some of the rows; what was read of them stands at their places, against the right."""
        before = len(prefix) if prefix else 0
        ids, mask = padded([prompts[row][before:] for row in rows], pad, self.network.device, before)
        read = prefix.into(new_cache(), len(rows)) if prefix else new_cache()
        after = logits(self.network, ids, mask, 1, read)[:, 0]
        start = self.end - ids.shape[1]
        self.mask[rows, before:start] = 0
        self.mask[rows, start : self.end] = mask[:, before:]
        if not self.held.layers:
            self.held.layers = [_roomy()(layer, len(self.mask), self.end) for layer in read.layers]
        for layer, part in zip(self.held.layers, read.layers, strict=True):
            for buffer, new in zip(layer.buffers, (part.keys, part.values), strict=True):
                buffer[rows, :, :before] = new[:, :, :before]
                buffer[rows, :, before:start] = 0
                buffer[rows, :, start : self.end] = new[:, :, before:]
        return after

    def _show(self, rows: int) -> None:
        for layer in self.held.layers:
            layer.show(rows, self.end)


@cache
def _roomy() -> Any:
    from transformers.cache_utils import DynamicLayer

    layer: Any = DynamicLayer

    class Roomy(layer):  # type: ignore[misc]
        """One layer's keys and values, of which the network is shown those rows and tokens that are held."""

        def __init__(self, like: Any, rows: int, tokens: int) -> None:
            super().__init__()
            self.lazy_initialization(like.keys, like.values)
            self.buffers = [_empty(part, rows, tokens) for part in (like.keys, like.values)]

        def show(self, rows: int, end: int) -> None:
            self.keys, self.values = (buffer[:rows, :, :end] for buffer in self.buffers)

        def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
            rows, start = len(key_states), self.keys.shape[2]
            if start == self.buffers[0].shape[2]:
                self.buffers = [_grown(part) for part in (self.keys, self.values)]
            self.show(rows, start + 1)
            self.keys[:, :, start:] = key_states
            self.values[:, :, start:] = value_states
            return self.keys, self.values

    return Roomy


def _empty(like: Tensor, rows: int, tokens: int) -> Tensor:
    _, heads, _, size = like.shape
    return like.new_empty(rows, heads, tokens + ROOM, size)


def _grown(held: Tensor) -> Tensor:
    rows, _, tokens, _ = held.shape
    more = _empty(held, rows, tokens)
    more[:, :, :tokens] = held
    return more
