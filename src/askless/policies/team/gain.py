"""Our team: calibrated estimates of every expert's chance to be right, weighed against its price."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from askless.arrays import Floats, Ints
from askless.errors import ConfigError
from askless.panel import Panel
from askless.policies.team.team import Team, Training
from askless.stats.calibration import platt, platt_apply

if TYPE_CHECKING:
    from torch import Tensor

    from askless.text.embeddings import Vectors
    from askless.text.networks import Stack

HELD = 5


class GainTeam(Team):
    """Ours: estimates every expert's chance to be right, calibrated, and weighs the gain against the price.

    What differs from the published variants: the small network's targets are out-of-fold; the allocator
    estimates each expert's probability of being right (several members, averaged, Platt-scaled on
    valid), so that lambda, the price of quality, enters the decision itself and every budget has its own
    operating point.

    Parameters
    ----------
    experts, vectors, **options
        As of `Team`.
    look_at
        "input": the allocator reads the text alone. "small": it reads the small network's answer first, and pays it.
    folds
        How many folds the small network's probabilities out of fold come from, 2 or more.
    members
        Networks of the allocator, averaged, 1 or more.
    allocator_epochs
        How often the allocator sees the training rows, 1 or more.
    weight_decay
        Of the allocator's AdamW.
    balance
        From 0, all rows weigh the same, to 1, all classes do.

    Attributes
    ----------
    calibrators_ : array (experts, 2)
        Platt's slope and intercept of each expert's chance.
    """

    title = "Team by gain"
    about = "A network of its own answers; another model is asked where its gain is worth its price."
    calibrators_: Floats

    def __init__(
        self,
        experts: tuple[str, ...],
        vectors: Vectors | None = None,
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

    def fit(self, train: Panel, valid: Panel) -> Self:
        """As of `Team`; without `valid` one in five rows of `train` stand for it."""
        if not len(valid) and len(train) > 1:
            rows = np.random.default_rng(self.random_state).permutation(len(train))
            held = max(1, len(rows) // HELD)
            train, valid = train.take(np.sort(rows[held:])), train.take(np.sort(rows[:held]))
        return super().fit(train, valid)

    def _train(self, data: Training, held: Training) -> None:
        import torch
        from torch.nn import functional as F  # noqa: N812

        from askless.text.mean_vector_net import MeanVectorNet
        from askless.text.networks import class_weights, predict, require, train

        if self.look_at not in ("input", "small"):
            raise ConfigError.unknown("look_at", self.look_at, ("input", "small"))
        for name, least in (("folds", 2), ("members", 1), ("allocator_epochs", 1)):
            require(name, getattr(self, name), least)
        weight = class_weights(data.gold, data.classes, self.balance)
        small, out_of_fold = self._train_small(data, held, weight)
        self.small_ = MeanVectorNet(self.experts[0], self.classes_, small, self._reads)
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
        self.scores_ = []
        self.epoch_ = train(self.allocator_, x, loss, recipe, self.random_state, score, self.scores_)
        with torch.no_grad():
            logits = self.allocator_(x_valid).mean(0).double().numpy()
        self.calibrators_ = np.array(
            [platt(logits[:, j], right_valid[:, j].numpy() > 0.5, held_weight.numpy()) for j in range(logits.shape[1])]
        )

    def _train_small(self, data: Training, held: Training, weight: Tensor) -> tuple[Stack, Tensor]:
        """The network trained on all rows, and out-of-fold probabilities of those trained beside it."""
        import torch

        from askless.text.networks import class_weights, cross_entropy, least_loss, train

        fold = torch.randperm(len(data.x), generator=torch.Generator().manual_seed(self.random_state)) % self.folds
        use = torch.ones(self.folds + 1, len(data.x))
        use[1:] = (fold[None] != torch.arange(self.folds)[:, None]).float()
        stack = self._new(data.x.shape[1], data.classes, members=self.folds + 1)
        held_weight = class_weights(held.gold, held.classes, self.balance)
        score = least_loss(held.x, held.gold, held_weight)
        train(stack, data.x, cross_entropy(data.gold, use * weight), self._recipe(), self.random_state, score)
        with torch.no_grad():
            outer = stack(data.x).softmax(-1)[fold + 1, torch.arange(len(data.x))]
        small = self._new(data.x.shape[1], data.classes)
        small.load_state_dict({k: v[:1].clone() for k, v in stack.state_dict().items()})
        return small, outer

    def _allocator_data(self, data: Training, small: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        right = torch.cat([(small.argmax(1) == data.gold)[:, None], data.llm_right], dim=1).float()
        return self._with_small(data.x, small), right

    def _with_small(self, x: Tensor, small: Tensor) -> Tensor:
        if self.look_at == "input":
            return x
        import torch

        return torch.cat([x, torch.log(small.float().clamp_min(1e-6))], dim=1)

    def confidence(self, seen: Floats, choice: Ints) -> Floats:
        """The calibrated probability that the chosen expert is right, shape (rows,)."""
        return np.asarray(seen[np.arange(len(choice)), choice])

    def looked_at(self) -> str:
        """The small network where its answer is read."""
        return self.experts[0] if self.look_at == "small" else ""

    def _estimate(self, panel: Panel) -> Floats:
        import torch

        from askless.text.networks import one_thread

        x = self._features(panel)
        if self.look_at == "small":
            x = self._with_small(x, torch.tensor(panel.ask(self.experts[0]).proba))
        with torch.no_grad(), one_thread():
            logits = self.allocator_(x).mean(0).double().numpy()
        return np.stack([platt_apply(logits[:, j], self.calibrators_[j]) for j in range(logits.shape[1])], axis=1)
