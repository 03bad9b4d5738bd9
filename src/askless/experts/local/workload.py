"""All prompts of one run: what they share, the batches they make, and a batch's way through the model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from askless.arrays import Floats
from askless.experts.local import decoding, scoring
from askless.experts.local.batches import in_batches
from askless.experts.local.decoding import Decoding, Generated
from askless.experts.local.forward import Tokens
from askless.experts.local.prefix import SharedPrefix, can_share, shared_tokens


class Workload:
    """The prompts of a run; batches and prefix follow from all of them, whatever is already kept.

    Parameters
    ----------
    network, pad
        The language model, and its padding token.
    prompts
        The prompts in tokens.
    batch_size, batch_tokens
        Most rows and most tokens of a batch, padding and `new_tokens` included, the shared prefix not.
    share_prefix
        Whether what all prompts begin with is read once.
    new_tokens
        Most tokens that are written after each prompt.
    """

    def __init__(
        self,
        network: Any,
        pad: int,
        prompts: Sequence[list[int]],
        batch_size: int,
        batch_tokens: int,
        *,
        share_prefix: bool = True,
        new_tokens: int = 0,
    ) -> None:
        self.network = network
        self.pad = pad
        self.new_tokens = new_tokens
        longest = max(map(len, prompts), default=0) + new_tokens
        self.common = shared_tokens(prompts) if share_prefix and can_share(network, longest) else []
        self.batches = in_batches([self.length(ids) for ids in prompts], batch_size, batch_tokens)

    def length(self, prompt: Tokens) -> int:
        """Tokens that a prompt takes of its batch: its own, and those that may follow."""
        return len(prompt) - len(self.common) + self.new_tokens

    def size(self, prompts: Sequence[Tokens]) -> int:
        """Tokens of a batch, padding included."""
        return len(prompts) * max(map(self.length, prompts))

    @cached_property
    def prefix(self) -> SharedPrefix | None:
        """What all prompts begin with, read when first needed."""
        return SharedPrefix.read(self.network, self.common) if self.common else None

    def score(self, prompts: Sequence[Tokens], labels: Sequence[Tokens]) -> Floats:
        """Natural log-probability of each label after each prompt: (prompts, labels)."""
        return scoring.score(self.network, prompts, labels, self.pad, self.prefix)

    def write(self, prompts: Sequence[Tokens], how: Decoding, seed: int) -> list[Generated]:
        """One reply to each prompt."""
        return decoding.generate(self.network, prompts, how, self.pad, seed, self.prefix)
