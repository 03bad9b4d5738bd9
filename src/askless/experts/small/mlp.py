"""The paper's small expert: the mean word vector of a text, or its sentence vector, into a small network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pyarrow as pa

from askless import schema
from askless.errors import ConfigError, ExpertError, require
from askless.experts.base import Setting, TrainedExpert
from askless.experts.small.majority import unreadable
from askless.panel import class_indices
from askless.text.sentence_vectors import ENCODER, KEPT, WORDS, TextVectors

if TYPE_CHECKING:
    from askless.text.embeddings import Vectors
    from askless.text.mean_vector_net import MeanVectorNet

FILE, DIGEST = "small.safetensors", "encoder"


class MlpExpert(TrainedExpert):
    """A text as one vector into Linear-ReLU-Linear-ReLU-Linear, as the Team paper's small expert.

    The epoch of least log loss on valid is kept.

    Parameters
    ----------
    setting
        What the task tells the expert; its word vectors are needed but for `features: encoder`.
    features, encoder
        `words`, `encoder` or `both`, and the sentence encoder, as of `askless.text.sentence_vectors.TextVectors`.
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
    packages: ClassVar[tuple[str, ...]] = ("torch",)
    model_: MeanVectorNet
    epoch_: int

    def __init__(
        self,
        setting: Setting,
        *,
        features: str = WORDS,
        encoder: str = "auto",
        epochs: int = 5,
        learning_rate: float = 5e-3,
        batch_size: int = 128,
        hidden: int = 50,
        balance: float = 0.0,
        random_state: int = 67,
    ) -> None:
        super().__init__(setting)
        self.features = features
        self.encoder = encoder
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
        from askless.text.mean_vector_net import MeanVectorNet

        reads = self._reads()
        (x, y), (x_valid, y_valid) = (
            (
                torch.from_numpy(reads(part["text"].to_pylist())[0]),
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
        self.model_ = MeanVectorNet(self.name, self.setting.classes, stack, reads)
        return self

    def answer(self, examples: pa.Table) -> pa.Table:
        """Class probabilities of every example."""
        if not hasattr(self, "model_"):
            raise ExpertError(f"Expert '{self.name}' has not been trained. Call fit, or load a saved folder.")
        table = self.model_.answer(examples)
        meta = {"task": self.setting.task, schema.OUT_OF_FOLD: None, **schema.meta_of(table)}
        return schema.with_meta(table, "predictions", meta)

    def save(self, folder: Path) -> Path:
        """Write the network, and which encoder it reads with; the vectors stay where they are."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        digest = self.model_.reads.digest
        save_file(self.model_.stack.state_dict(), folder / FILE, None if digest is None else {DIGEST: digest})
        return folder

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote."""
        require("torch")
        from safetensors import SafetensorError, safe_open

        from askless.text.mean_vector_net import MeanVectorNet
        from askless.text.networks import load_stack

        path = folder / FILE
        try:
            with safe_open(path, framework="pt") as file:
                digest = (file.metadata() or {}).get(DIGEST)
                stack = load_stack({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118  no dict
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise unreadable(path, error) from error
        self.model_ = MeanVectorNet(self.name, self.setting.classes, stack, self._reads(digest))
        return self

    def keep(self, folder: Path) -> dict[str, Any]:
        """Save what was learnt, and the encoder's files."""
        return {**super().keep(folder), **self.model_.reads.keep(folder)}

    def restore(self, folder: Path) -> Self:
        """Load what was learnt, with the encoder that `keep` copied, where it did."""
        if self.encoder == KEPT:
            self.encoder = str(folder / KEPT)
        return self.load(folder)

    @property
    def vectors(self) -> Vectors | None:
        """The word vectors that its network reads, None before it is trained or loaded."""
        return self.model_.reads.words if hasattr(self, "model_") else None

    def _reads(self, digest: str | None = None) -> TextVectors:
        from askless.text.embeddings import Vectors

        if self.features != WORDS:
            self.packages = ("torch", "transformers")  # type: ignore[misc]
        folder = None if self.features == ENCODER else self.setting.vectors
        if self.features != ENCODER and folder is None:
            raise ConfigError(
                f"Expert '{self.name}' needs word vectors: give the task a `vectors` section, or set features: encoder."
            )
        words = None if folder is None else Vectors.open(folder)
        return TextVectors(self.features, words, self.encoder, self.setting.encoded, digest)
