"""Caches whose shape does not change, so that the step that writes a token can be compiled and replayed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from askless.experts.local.forward import Tokens
from askless.experts.local.prefix import SharedPrefix, can_cache

logger = logging.getLogger(__name__)
SHORTEST = 64


def cache_length(tokens: int) -> int:
    """Tokens that a cache is made for: the next power of two, so that a run meets few shapes."""
    return max(SHORTEST, 1 << (tokens - 1).bit_length())


def can_fix(network: Any) -> bool:
    """Whether the network can write from a static cache; where it cannot, it writes as it would without."""
    able = can_cache(network) and bool(getattr(network, "_can_compile_fullgraph", False))
    if not able:
        logger.warning("%s cannot be compiled; it goes on without", type(network).__name__)
    return able


class StaticShapes:
    """One static cache at a time, used again by the next batch of its shape.

    A batch is filled up with its last row to the full number of rows, or the smallest half, quarter, ... that holds
    it: that depends on the batch alone, not on what ran before. A new shape is compiled anew, some seconds to a
    minute; transformers compiles on accelerators only, and on a CPU nothing but the cache is another.
    """

    def __init__(self, batch_size: int, batch_tokens: int) -> None:
        self._batch_size = batch_size
        self._batch_tokens = batch_tokens
        self._shape = (0, 0)
        self._cache: Any = None

    @contextmanager
    def holding(
        self, network: Any, prompts: Sequence[Tokens], new_tokens: int, prefix: SharedPrefix | None
    ) -> Iterator[tuple[Sequence[Tokens], Any]]:
        """The batch filled up, and the cache with its prefix; the cache is let go where anything fails."""
        import torch

        length = cache_length(max(map(len, prompts)) + new_tokens)
        rows = self._rows(len(prompts), length)
        try:
            with torch.inference_mode():
                self._prepare(network, rows, length)
                cache = prefix.into(self._cache, rows) if prefix else self._cache
            yield [*prompts, *[prompts[-1]] * (rows - len(prompts))], cache
        except BaseException:
            self._shape, self._cache = (0, 0), None
            raise

    def options(self, network: Any) -> dict[str, Any]:
        """What `generate` is told: one graph for each shape, none that bends to several."""
        if network.device.type == "cpu":
            return {}
        from transformers import CompileConfig

        config: Any = CompileConfig
        return {"compile_config": config(dynamic=False)}

    def _rows(self, asked: int, length: int) -> int:
        rows = max(asked, min(self._batch_size, self._batch_tokens // length))
        while (half := (rows + 1) // 2) >= asked and half < rows:
            rows = half
        return rows

    def _prepare(self, network: Any, rows: int, length: int) -> None:
        if self._shape == (rows, length):
            self._cache.reset()
            return
        from transformers import StaticCache

        self._cache = None
        static: Any = StaticCache
        self._cache, self._shape = static(config=network.config, max_cache_len=length), (rows, length)
