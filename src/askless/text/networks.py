"""The paper's small network, several members trained side by side as one batch of matrices."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from askless.errors import ConfigError

BatchLoss = Callable[[Tensor, Tensor], Tensor]


def require(name: str, value: float, least: float) -> None:
    """Raise `ConfigError` unless `value` is a number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
        raise ConfigError(f"{name} is {value!r}. Allowed: a number of at least {least}.")


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: at these sizes handing work to another costs more than the work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Stack(nn.Module):
    """Independent networks Linear-ReLU-Linear-ReLU-Linear, evaluated together.

    Each member starts as `torch.nn.Linear` layers of its own seed would (uniform in ±1/sqrt(fan-in)), so a
    member does not depend on how many others are trained beside it.

    Parameters
    ----------
    members
        How many networks.
    inputs, outputs
        Features and logits of a row.
    hidden
        Width of the two hidden layers.
    seed
        Of the weights at the start.
    """

    def __init__(self, members: int, inputs: int, outputs: int, hidden: int = 50, seed: int = 0) -> None:
        super().__init__()
        sizes = [(inputs, hidden), (hidden, hidden), (hidden, outputs)]
        self.weights = nn.ParameterList([nn.Parameter(torch.empty(members, i, o)) for i, o in sizes])
        self.biases = nn.ParameterList([nn.Parameter(torch.empty(members, 1, o)) for _, o in sizes])
        for member in range(members):
            generator = torch.Generator().manual_seed(seed * 10_007 + member)
            for weight, bias in zip(self.weights, self.biases, strict=True):
                bound = 1 / math.sqrt(weight.shape[1])
                nn.init.uniform_(weight.data[member], -bound, bound, generator=generator)
                nn.init.uniform_(bias.data[member], -bound, bound, generator=generator)

    @property
    def members(self) -> int:
        """How many networks are stacked."""
        return int(self.weights[0].shape[0])

    def forward(self, x: Tensor) -> Tensor:
        """Logits (members, rows, outputs) from features (rows, inputs)."""
        h = x.expand(self.members, *x.shape[-2:])
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(bias, h, weight)
            h = F.relu(h) if i < last else h
        return h


def load_stack(state: dict[str, Tensor]) -> Stack:
    """The stack whose `state_dict` was saved as `state`; raises `ValueError` for weights of no stack."""
    members, inputs, hidden = state["weights.0"].shape
    outputs = state["weights.2"].shape[2]
    # Before anything is allocated: a small file may claim a large network.
    sizes = [(inputs, hidden), (hidden, hidden), (hidden, outputs)]
    shapes = {f"weights.{k}": (members, i, o) for k, (i, o) in enumerate(sizes)}
    shapes |= {f"biases.{k}": (members, 1, o) for k, (_, o) in enumerate(sizes)}
    if (found := {name: tuple(each.shape) for name, each in state.items()}) != shapes:
        raise ValueError(f"weights of shapes {found}, where a network has {shapes}")
    if not all(each.is_floating_point() and bool(each.isfinite().all()) for each in state.values()):
        raise ValueError("weights that are no finite numbers")
    stack = Stack(members, inputs, outputs, hidden)
    stack.load_state_dict(state)
    return stack


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; the defaults are the paper's (Adam 5e-3, batch 128, 5 epochs, cosine).

    Parameters
    ----------
    epochs
        Passes over the rows, 1 or more.
    learning_rate
        Of the first step, above 0; it falls to 0 along a cosine.
    batch_size
        Rows of a step, 1 or more.
    hidden
        Width of the hidden layers, 1 or more.
    weight_decay
        Of AdamW, 0 or more.
    """

    epochs: int = 5
    learning_rate: float = 5e-3
    batch_size: int = 128
    hidden: int = 50
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("hidden", 1), ("weight_decay", 0)):
            require(name, getattr(self, name), least)
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate is {self.learning_rate}. Allowed: a number over 0.")


class Trainer:
    """Adam under a cosine schedule.

    Parameters
    ----------
    parameters
        What is trained.
    recipe
        Learning rate and weight decay.
    steps
        Steps of the whole schedule.
    """

    def __init__(self, parameters: list[nn.Parameter], recipe: Recipe, steps: int) -> None:
        self._parameters = parameters
        self._adam = torch.optim.AdamW(
            parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
        self._peak, self._steps, self._done = recipe.learning_rate, max(steps, 1), 0

    def step(self, loss: Tensor) -> None:
        """One update; the learning rate falls from its peak to 0 and stays there."""
        phase = min(self._done / self._steps, 1.0)
        for group in self._adam.param_groups:
            group["lr"] = 0.5 * self._peak * (1 + math.cos(math.pi * phase))
        for parameter in self._parameters:
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        self._adam.step()
        self._done += 1


def batches(rows: int, size: int, generator: torch.Generator) -> tuple[Tensor, list[slice]]:
    """A permutation of the rows and its slices of `size`; a last one of under half is dropped."""
    order = torch.randperm(rows, generator=generator)
    cuts = [slice(i, min(i + size, rows)) for i in range(0, rows, size)]
    if len(cuts) > 1 and cuts[-1].stop - cuts[-1].start < size // 2:
        cuts.pop()
    return order, cuts


def steps_per_epoch(rows: int, size: int) -> int:
    """How many batches one epoch has."""
    return len(batches(rows, size, torch.Generator())[1])


def epochs(stack: Stack, x: Tensor, loss: BatchLoss, recipe: Recipe, seed: int) -> Iterator[Tensor]:
    """Train epoch by epoch, yielding each epoch's logits as they stood when each row was met.

    `loss(logits, rows)` gives the loss of logits (members, batch, outputs) on the rows of x at `rows`
    (batch,). Yields (members, rows, outputs), NaN for rows that the epoch's dropped rest left out.
    """
    generator = torch.Generator().manual_seed(seed)
    trainer = Trainer(list(stack.parameters()), recipe, recipe.epochs * steps_per_epoch(len(x), recipe.batch_size))
    for _ in range(recipe.epochs):
        order, cuts = batches(len(x), recipe.batch_size, generator)
        shuffled = x[order]
        met = []
        for cut in cuts:
            logits = stack(shuffled[cut])
            met.append(logits.detach())
            trainer.step(loss(logits, order[cut]))
        seen = torch.full((stack.members, len(x), met[0].shape[-1]), math.nan)
        seen[:, order[: cuts[-1].stop]] = torch.cat(met, dim=1)
        yield seen


def train(
    stack: Stack,
    x: Tensor,
    loss: BatchLoss,
    recipe: Recipe,
    seed: int,
    score: Callable[[Stack], float],
    scores: list[float] | None = None,
) -> int:
    """Train and keep the epoch of the largest `score` (measured on valid), adding each to `scores`; returns that epoch.

    Epochs count from 1.
    """
    best, kept, at = -math.inf, None, 0
    for epoch, _ in enumerate(epochs(stack, x, loss, recipe, seed), start=1):
        with torch.no_grad():
            value = score(stack)
        if scores is not None:
            scores.append(value)
        if value > best or kept is None:
            best, kept, at = value, {k: v.clone() for k, v in stack.state_dict().items()}, epoch
    if kept is not None:
        stack.load_state_dict(kept)
    return at


def cross_entropy(target: Tensor, weight: Tensor) -> BatchLoss:
    """Weighted cross-entropy, summed over members: target (rows,), weight (members, rows)."""

    def loss(logits: Tensor, rows: Tensor) -> Tensor:
        w = weight[:, rows]
        goal = target[rows].expand(len(w), -1)
        each = F.cross_entropy(logits.flatten(0, 1), goal.flatten(), reduction="none").view_as(w)
        return ((each * w).sum(1) / w.sum(1).clamp_min(1e-9)).sum()

    return loss


def least_loss(x: Tensor, target: Tensor, weight: Tensor) -> Callable[[Stack], float]:
    """A score for `train`: minus the weighted cross-entropy (rows,) of a stack's first member on held-out rows."""

    def score(stack: Stack) -> float:
        return -float((F.cross_entropy(stack(x)[0], target, reduction="none") * weight).mean())

    return score


def class_weights(target: Tensor, classes: int, balance: float) -> Tensor:
    """A weight for each row (rows,), mean 1, proportional to its class's frequency to the power of -`balance`.

    0 weighs all rows alike, 1 all classes alike; between them lies what F1 of a rare class asks for.
    """
    if not 0 <= balance <= 1:
        raise ConfigError(f"balance is {balance}. Allowed: 0 (rows count alike) to 1 (classes count alike).")
    counts = torch.bincount(target, minlength=classes).clamp_min(1).float()
    weight = (counts**-balance)[target]
    return weight / weight.mean()


def predict(stack: Stack, x: Tensor) -> Tensor:
    """Class probabilities, the mean over members, shape (rows, outputs)."""
    with torch.no_grad(), one_thread():
        proba: Tensor = stack(x).softmax(-1).mean(0)
    return proba
