"""Team: a small network and an allocator trained together with the LLMs' answers.

The two published variants (Enhanced Cost Efficiency, sections on OLHS) and ours, `GainTeam`. All three see
the input only, through the mean word vector; `GainTeam` may also look at the small network's answer first.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from deferral.calibration import platt, platt_apply
from deferral.embeddings import Vectors
from deferral.errors import ConfigError
from deferral.networks import (
    Recipe,
    Stack,
    Trainer,
    batches,
    class_weights,
    cross_entropy,
    epochs,
    one_thread,
    predict,
    steps_per_epoch,
    train,
)
from deferral.panel import Floats, Ints, Panel
from deferral.policies.allocator import Allocator, Timer
from deferral.small import SmallModel


class Team(Allocator):
    """A small network `small_` and an allocator network `allocator_` over mean word vectors.

    `experts[0]` names the team's own small network: the team brings it to every panel it decides on.
    """

    small_: SmallModel
    allocator_: Stack
    epoch_: int
    classes_: tuple[str, ...]

    def __init__(
        self,
        experts: tuple[str, ...],
        vectors: Vectors,
        *,
        epochs: int = 5,
        learning_rate: float = 5e-3,
        batch_size: int = 128,
        hidden: int = 50,
        random_state: int = 67,
    ) -> None:
        super().__init__(experts)
        self.vectors = vectors
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.hidden = hidden
        self.random_state = random_state

    def fit(self, train: Panel, valid: Panel) -> Self:
        """Train both networks on `train`, choose the epoch and the operating points on `valid`.

        Every LLM is asked about every row of both panels; the small network joins them under `experts[0]`.
        """
        if len(self.experts) < 2:
            raise ConfigError(f"Team got experts {list(self.experts)}. Allowed: the small one and one LLM or more.")
        data = Training.of(train, self.experts[1:], self.vectors)
        held = Training.of(valid, self.experts[1:], self.vectors)
        self.classes_ = train.classes
        with one_thread():
            self._train(data, held)
        for panel in (train, valid):
            panel.join(self.experts[0], self.small_)
        return super().fit(train, valid)

    @abstractmethod
    def _train(self, data: Training, held: Training) -> None:
        """Set `small_`, `allocator_` and `epoch_`."""

    def look(self, panel: Panel) -> Floats:
        """The allocator's estimate for each expert, shape (rows, experts), its compute billed to the panel."""
        panel.join(self.experts[0], self.small_)
        with Timer() as timer:
            seen = self._estimate(panel)
        panel.charge(panel.cost_model.compute(timer.seconds) / max(len(panel), 1))
        return seen

    def _estimate(self, panel: Panel) -> Floats:
        return predict(self.allocator_, self._features(panel)).double().numpy()

    def _features(self, panel: Panel) -> Tensor:
        return torch.from_numpy(panel.features(self.vectors))

    def _recipe(self, **changes: Any) -> Recipe:
        given = {
            "epochs": self.epochs,
            "learning_rate": self.learning_rate,
            "batch_size": self.batch_size,
            "hidden": self.hidden,
        }
        return Recipe(**{**given, **changes})

    def _new(self, inputs: int, outputs: int, *, members: int = 1, offset: int = 0) -> Stack:
        return Stack(members, inputs, outputs, self.hidden, self.random_state + offset)

    def _pair(self, data: Training) -> tuple[Stack, Stack]:
        inputs = data.x.shape[1]
        return self._new(inputs, data.classes), self._new(inputs, len(self.experts), offset=1)

    def _keep_best(self, small: Stack, allocator: Stack, held: Training, run: Iterator[None]) -> None:
        """Run the epochs and keep the one whose system accuracy on `held` is best."""
        best = -1.0
        kept: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
        for epoch, _ in enumerate(run, start=1):
            accuracy = self._system_accuracy(small, allocator, held)
            if accuracy > best:
                best, self.epoch_, kept = accuracy, epoch, (_copy(small), _copy(allocator))
        small.load_state_dict(kept[0])
        allocator.load_state_dict(kept[1])
        self.small_ = SmallModel(self.experts[0], self.classes_, small, self.vectors)
        self.allocator_ = allocator

    @staticmethod
    def _system_accuracy(small_stack: Stack, allocator: Stack, held: Training) -> float:
        """Accuracy on `held` when the allocator's largest output decides."""
        small = predict(small_stack, held.x).argmax(1)
        labels = torch.cat([small[:, None], held.llm], dim=1)
        choice = predict(allocator, held.x).argmax(1)
        return float((labels.gather(1, choice[:, None])[:, 0] == held.gold).float().mean())


class Training:
    """A panel as tensors: features x (rows, dim), gold (rows,), the LLMs' labels llm (rows, LLMs)."""

    def __init__(self, x: Tensor, gold: Tensor, llm: Tensor, classes: int) -> None:
        self.x, self.gold, self.llm, self.classes = x, gold, llm, classes

    @classmethod
    def of(cls, panel: Panel, llms: tuple[str, ...], vectors: Vectors) -> Training:
        """The rows of `panel`, every LLM asked about every row."""
        labels = np.stack([panel.ask(name).label for name in llms], axis=1)
        x = torch.from_numpy(panel.features(vectors))
        return cls(x, torch.from_numpy(panel.gold), torch.from_numpy(labels), len(panel.classes))

    @property
    def llm_right(self) -> Tensor:
        """Whether each LLM is right, shape (rows, LLMs)."""
        return self.llm == self.gold[:, None]


class AlternatingTeam(Team):
    """The published approach: each epoch trains the small network, then the allocator on the disagreements.

    Target of a row on which exactly some of the experts are right: the cheapest right one. With
    `oversample` the rarer side of each batch counts up to twice, as published.
    """

    def __init__(
        self,
        experts: tuple[str, ...],
        vectors: Vectors,
        *,
        passes: int = 5,
        oversample: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(experts, vectors, **options)
        self.passes = passes
        self.oversample = oversample

    def _train(self, data: Training, held: Training) -> None:
        small, allocator = self._pair(data)
        steps = steps_per_epoch(len(data.x), self.batch_size) * self.epochs * self.passes
        trainer = Trainer(list(allocator.parameters()), self._recipe(), steps)
        generator = torch.Generator().manual_seed(self.random_state)
        loss = cross_entropy(data.gold, torch.ones(1, len(data.x)))

        def run() -> Iterator[None]:
            for seen in epochs(small, data.x, loss, self._recipe(), self.random_state):
                self._train_allocator(allocator, trainer, data, seen[0], generator)
                yield

        self._keep_best(small, allocator, held, run())

    def _train_allocator(
        self, allocator: Stack, trainer: Trainer, data: Training, seen: Tensor, generator: torch.Generator
    ) -> None:
        right = torch.cat([(seen.argmax(1) == data.gold)[:, None], data.llm_right], dim=1)
        met = ~seen[:, 0].isnan()
        disputed = met & right.any(1) & ~right.all(1)
        target = right.float().argmax(1)
        x, target = data.x[disputed], target[disputed]
        if not len(x):
            return
        weight = self._weights(target)
        size = max(1, round(self.batch_size * len(x) / int(met.sum())))
        for _ in range(self.passes):
            order, cuts = batches(len(x), size, generator)
            shuffled = (x[order], target[order], weight[order])
            for cut in cuts:
                rows, goal, counts = (part[cut] for part in shuffled)
                each = F.cross_entropy(allocator(rows)[0], goal, reduction="none")
                trainer.step((each * counts).sum() / counts.sum())

    def _weights(self, target: Tensor) -> Tensor:
        if not self.oversample:
            return torch.ones(len(target))
        counts = torch.bincount(target, minlength=len(self.experts)).clamp_min(1).float()
        return (counts.max() / counts).clamp_max(2.0)[target]


class JointTeam(Team):
    """The published joint baseline: one loss over both networks, -log of the mixture of all answers.

    p = r_0(x) m(x) + sum_j r_j(x) onehot(LLM_j), loss NLL(log(p + 1e-7)).
    """

    def _train(self, data: Training, held: Training) -> None:
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

        self._keep_best(small, allocator, held, run())


class GainTeam(Team):
    """Ours: estimates every expert's chance to be right, calibrated, and weighs the gain against the price.

    What differs from the published variants: the small network's targets are out-of-fold; the allocator
    estimates each expert's probability of being right (several members, averaged, Platt-scaled on
    valid), so that lambda, the price of quality, enters the decision itself and every budget has its own
    operating point; rare classes may weigh more (`balance`, 0 to 1). With `look_at="small"` it reads the small
    network's answer first, and pays for it.
    """

    def __init__(
        self,
        experts: tuple[str, ...],
        vectors: Vectors,
        *,
        look_at: str = "input",
        folds: int = 5,
        members: int = 4,
        allocator_epochs: int = 15,
        weight_decay: float = 0.01,
        balance: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(experts, vectors, **options)
        self.look_at = look_at
        self.folds = folds
        self.members = members
        self.allocator_epochs = allocator_epochs
        self.weight_decay = weight_decay
        self.balance = balance

    def _train(self, data: Training, held: Training) -> None:
        if self.look_at not in ("input", "small"):
            raise ConfigError.unknown("look_at", self.look_at, ("input", "small"))
        weight = class_weights(data.gold, data.classes, self.balance)
        small, out_of_fold = self._train_small(data, held, weight)
        self.small_ = SmallModel(self.experts[0], self.classes_, small, self.vectors)
        in_valid = predict(small, held.x)
        x, right = self._allocator_data(data, out_of_fold)
        x_valid, right_valid = self._allocator_data(held, in_valid)
        self.allocator_ = self._new(x.shape[1], right.shape[1], members=self.members, offset=1)
        held_weight = class_weights(held.gold, held.classes, self.balance)

        def loss(logits: Tensor, rows: Tensor) -> Tensor:
            goal = right[rows].expand_as(logits)
            each = F.binary_cross_entropy_with_logits(logits, goal, reduction="none").mean(2)
            return (each * weight[rows]).mean(1).sum()

        def score(stack: Stack) -> float:
            logits = stack(x_valid).mean(0)
            each = F.binary_cross_entropy_with_logits(logits, right_valid, reduction="none").mean(1)
            return -float((each * held_weight).mean())

        recipe = self._recipe(epochs=self.allocator_epochs, weight_decay=self.weight_decay)
        self.epoch_ = train(self.allocator_, x, loss, recipe, self.random_state, score)
        with torch.no_grad():
            logits = self.allocator_(x_valid).mean(0).double().numpy()
        self.calibrators_ = np.array(
            [platt(logits[:, j], right_valid[:, j].numpy() > 0.5, held_weight.numpy()) for j in range(logits.shape[1])]
        )

    def _train_small(self, data: Training, held: Training, weight: Tensor) -> tuple[Stack, Tensor]:
        """The network trained on all rows, and out-of-fold probabilities of those trained beside it."""
        fold = torch.randperm(len(data.x), generator=torch.Generator().manual_seed(self.random_state)) % self.folds
        use = torch.ones(self.folds + 1, len(data.x))
        use[1:] = (fold[None] != torch.arange(self.folds)[:, None]).float()
        stack = self._new(data.x.shape[1], data.classes, members=self.folds + 1)
        held_weight = class_weights(held.gold, held.classes, self.balance)

        def score(stack: Stack) -> float:
            each = F.cross_entropy(stack(held.x)[0], held.gold, reduction="none")
            return -float((each * held_weight).mean())

        train(stack, data.x, cross_entropy(data.gold, use * weight), self._recipe(), self.random_state, score)
        with torch.no_grad():
            outer = stack(data.x).softmax(-1)[fold + 1, torch.arange(len(data.x))]
        small = self._new(data.x.shape[1], data.classes)
        small.load_state_dict({k: v[:1].clone() for k, v in stack.state_dict().items()})
        return small, outer

    def _allocator_data(self, data: Training, small: Tensor) -> tuple[Tensor, Tensor]:
        right = torch.cat([(small.argmax(1) == data.gold)[:, None], data.llm_right], dim=1).float()
        return self._with_small(data.x, small), right

    def _with_small(self, x: Tensor, small: Tensor) -> Tensor:
        if self.look_at == "input":
            return x
        return torch.cat([x, torch.log(small.float().clamp_min(1e-6))], dim=1)

    def confidence(self, seen: Floats, choice: Ints) -> Floats:
        """The calibrated probability that the chosen expert is right, shape (rows,)."""
        return np.asarray(seen[np.arange(len(choice)), choice])

    def _estimate(self, panel: Panel) -> Floats:
        x = self._features(panel)
        if self.look_at == "small":
            x = self._with_small(x, torch.from_numpy(panel.ask(self.experts[0]).proba))
        with torch.no_grad():
            logits = self.allocator_(x).mean(0).double().numpy()
        return np.stack([platt_apply(logits[:, j], self.calibrators_[j]) for j in range(logits.shape[1])], axis=1)


def _copy(stack: Stack) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in stack.state_dict().items()}
