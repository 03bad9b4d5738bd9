"""The paper's small expert: the mean word vector of a text into a small network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

import pyarrow as pa

from askless import schema
from askless.errors import ConfigError, ExpertError, require
from askless.experts.base import Setting, TrainedExpert
from askless.experts.small.majority import unreadable
from askless.panel import class_indices

if TYPE_CHECKING:
    from askless.text.embeddings import Vectors
    from askless.text.mean_vector_net import SmallModel


class MlpExpert(TrainedExpert):
    """The mean word vector of a text into Linear-ReLU-Linear-ReLU-Linear, as the Team paper's small expert.

    The epoch of least log loss on valid is kept.

    Parameters
    ----------
    setting
        What the task tells the expert; its word vectors are needed.
    epochs
        Passes over train, 1 or more.
    learning_rate
        Of Adam, more than 0.
    batch_size
        Rows of a step, 1 or more.
    hidden
        Units of the hidden layers, 1 or more.
    balance
        How much rare classes count in the loss: 0 is each row alike, 1 is each class alike.
    random_state
        Seed of the weights and of the order of the rows.
    """

    summarises = False
    packages = ("torch",)
    model_: SmallModel
    epoch_: int

    def __init__(
        self,
        setting: Setting,
        *,
        epochs: int = 5,
        learning_rate: float = 5e-3,
        batch_size: int = 128,
        hidden: int = 50,
        balance: float = 0.0,
        random_state: int = 67,
    ) -> None:
        super().__init__(setting)
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.hidden = hidden
        self.balance = balance
        self.random_state = random_state

    def fit(self, train: pa.Table, valid: pa.Table) -> Self:
        """Learn from `train`, choose the epoch on `valid`."""
        require("torch")
        import torch

        from askless.text import networks
        from askless.text.mean_vector_net import SmallModel

        vectors = self._vectors()
        (x, y), (x_valid, y_valid) = (
            (
                torch.from_numpy(vectors.mean(part["text"].to_pylist())),
                torch.from_numpy(class_indices(part["label"], self.setting.classes)),
            )
            for part in (train, valid)
        )
        weight = networks.class_weights(y, len(self.setting.classes), self.balance)
        held = networks.class_weights(y_valid, len(self.setting.classes), self.balance)
        score = networks.least_loss(x_valid, y_valid, held)
        stack = networks.Stack(1, x.shape[1], len(self.setting.classes), self.hidden, self.random_state)
        recipe = networks.Recipe(self.epochs, self.learning_rate, self.batch_size, self.hidden)
        loss = networks.cross_entropy(y, weight[None])
        with networks.one_thread():
            self.epoch_ = networks.train(stack, x, loss, recipe, self.random_state, score)
        self.model_ = SmallModel(self.name, self.setting.classes, stack, vectors)
        return self

    def answer(self, examples: pa.Table) -> pa.Table:
        """Class probabilities of every example."""
        if not hasattr(self, "model_"):
            raise ExpertError(f"Expert '{self.name}' has not been trained. Call fit, or load a saved folder.")
        table = self.model_.answer(examples)
        meta = {"task": self.setting.task, schema.OUT_OF_FOLD: None, **schema.meta_of(table)}
        return schema.with_meta(table, "predictions", meta)

    def save(self, folder: Path) -> Path:
        """Write the network; the vectors stay where they are."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.model_.stack.state_dict(), folder / "small.safetensors")
        return folder

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote."""
        require("torch")
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from askless.text.mean_vector_net import SmallModel
        from askless.text.networks import load_stack

        path = folder / "small.safetensors"
        try:
            stack = load_stack(load_file(path))
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise unreadable(path, error) from error
        self.model_ = SmallModel(self.name, self.setting.classes, stack, self._vectors())
        return self

    @property
    def vectors(self) -> Vectors | None:
        """The word vectors that its network reads, None before it is trained or loaded."""
        return self.model_.vectors if hasattr(self, "model_") else None

    def _vectors(self) -> Vectors:
        from askless.text.embeddings import Vectors

        if self.setting.vectors is None:
            raise ConfigError(f"Expert '{self.name}' needs word vectors: give the task a `vectors` section.")
        return Vectors.open(self.setting.vectors)
