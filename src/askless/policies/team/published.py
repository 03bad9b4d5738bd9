"""The two published teams (Enhanced Cost Efficiency, sections on OLHS); both look at the input only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from askless.policies.team.team import Team, Training

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from askless.text.embeddings import Vectors
    from askless.text.networks import Stack, Trainer


class AlternatingTeam(Team):
    """The published approach: each epoch trains the small network, then the allocator on the disagreements.

    Target of a row on which exactly some of the experts are right: the cheapest right one.

    Parameters
    ----------
    experts, vectors, **options
        As of `Team`.
    passes
        How often the allocator sees the disagreements of an epoch, 1 or more.
    oversample
        The rarer target counts up to twice, as published.
    """

    title = "Team in turns, published"
    about = "A small network answers or passes on; it and the one that allocates learn in turns."

    def __init__(
        self,
        experts: tuple[str, ...],
        vectors: Vectors | None = None,
        *,
        passes: int = 5,
        oversample: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(experts, vectors, **options)
        self.passes = passes
        self.oversample = oversample

    def _train(self, data: Training, held: Training) -> None:
        import torch

        from askless.text.networks import Trainer, cross_entropy, epochs, require, steps_per_epoch

        require("passes", self.passes, 1)
        small, allocator = self._pair(data)
        steps = steps_per_epoch(len(data.x), self.batch_size) * self.epochs * self.passes
        trainer = Trainer(list(allocator.parameters()), self._recipe(), steps)
        generator = torch.Generator().manual_seed(self.random_state)
        loss = cross_entropy(data.gold, torch.ones(1, len(data.x)))

        def run() -> Iterator[None]:
            for seen in epochs(small, data.x, loss, self._recipe(), self.random_state):
                self._train_allocator(allocator, trainer, data, seen[0], generator)
                yield

        self._keep_best(small, allocator, held if len(held.x) else data, run())

    def _train_allocator(
        self, allocator: Stack, trainer: Trainer, data: Training, seen: Tensor, generator: torch.Generator
    ) -> None:
        import torch
        from torch.nn import functional as F  # noqa: N812

        from askless.text.networks import batches

        right = torch.cat([(seen.argmax(1) == data.gold)[:, None], data.llm_right], dim=1)
        met = ~seen[:, 0].isnan()
        disputed = met & right.any(1) & ~right.all(1)
        target = right.float().argmax(1)
        x, target = data.x[disputed], target[disputed]
        if not len(x):
            return
        weight = self._class_weights(target)
        size = max(1, round(self.batch_size * len(x) / int(met.sum())))
        for _ in range(self.passes):
            order, cuts = batches(len(x), size, generator)
            rows, goal = x[order], target[order]
            for cut in cuts:
                trainer.step(F.cross_entropy(allocator(rows[cut])[0], goal[cut], weight))

    def _class_weights(self, target: Tensor) -> Tensor | None:
        if not self.oversample:
            return None
        import torch

        counts = torch.bincount(target, minlength=len(self.experts)).clamp_min(1).float()
        return (counts.max() / counts).clamp_max(2.0)


class JointTeam(Team):
    """The published joint baseline: one loss over both networks, -log of the mixture of all answers.

    p = r_0(x) m(x) + sum_j r_j(x) onehot(LLM_j), loss NLL(log(p + 1e-7)).

    Parameters
    ----------
    experts, vectors, features, encoder, encoded, epochs, learning_rate, batch_size, hidden, random_state
        As of `Team`.
    """

    title = "Team at once, published"
    about = "A small network answers or passes on; it and the one that allocates learn from one loss."

    def _train(self, data: Training, held: Training) -> None:
        import torch

        from askless.text.networks import Trainer, batches, steps_per_epoch

        small, allocator = self._pair(data)
        steps = steps_per_epoch(len(data.x), self.batch_size) * self.epochs
        trainer = Trainer([*small.parameters(), *allocator.parameters()], self._recipe(), steps)
        generator = torch.Generator().manual_seed(self.random_state)
        right = data.llm_right.float()

        def loss(x: Tensor, rows: Tensor) -> Tensor:
            gold = small(x)[0].softmax(-1).gather(1, data.gold[rows][:, None])
            share = allocator(x)[0].softmax(-1)
            # The mixture at the gold class: an LLM's one-hot answer counts where it is right.
            mixed = share[:, 0] * gold[:, 0] + (share[:, 1:] * right[rows]).sum(1)
            return -torch.log(mixed + 1e-7).mean()

        def run() -> Iterator[None]:
            for _ in range(self.epochs):
                order, cuts = batches(len(data.x), self.batch_size, generator)
                for cut in cuts:
                    trainer.step(loss(data.x[order[cut]], order[cut]))
                yield

        self._keep_best(small, allocator, held if len(held.x) else data, run())
