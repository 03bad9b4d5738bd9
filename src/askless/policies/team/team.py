"""Team: a small network and an allocator trained together with the LLMs' answers, over one vector of each text.

What all teams share; the published variants are in `published.py`, ours is in `gain.py`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from askless.arrays import Floats
from askless.errors import ConfigError, require
from askless.panel import Panel
from askless.policies.base import billed
from askless.policies.team.allocator import Allocator
from askless.text.sentence_vectors import ENCODER, WORDS, TextVectors

if TYPE_CHECKING:
    from torch import Tensor

    from askless.text.embeddings import Vectors
    from askless.text.networks import Recipe, Stack

NETWORK = "allocator.safetensors"


class Team(Allocator):
    """A small network `small_` and an allocator network `allocator_` over one vector of each text.

    The team answers with a network of its own, which it brings to every panel that it is fitted or decides on.

    Parameters
    ----------
    experts
        Names of two or more, by rising cost: first that of the team's own network, which no expert of a panel may
        have, then the LLMs.
    vectors
        The word vectors; needed but for `features="encoder"`.
    features, encoder, encoded
        `words`, `encoder` or `both`; the sentence encoder; and the folder where its vectors are kept, as `features`,
        `model` and `store` of `askless.text.sentence_vectors.TextVectors`.
    epochs
        How often the networks see the training rows, 1 or more; the epoch that does best on valid is kept.
    learning_rate
        Step size of AdamW, > 0.
    batch_size
        Rows a step, 1 or more.
    hidden
        Hidden units of each network, 1 or more.
    random_state
        Seed of the weights and of the order of rows.

    Attributes
    ----------
    small_, allocator_
        The networks.
    epoch_ : int
        The epoch that was kept.
    scores_ : list of float
        By epoch, what it was chosen by, measured on valid: accuracy, of `team_gain` minus the loss.
    classes_ : tuple of str
        The classes that the small network knows.
    """

    reads_text = True
    brings = True
    _reads: TextVectors
    epoch_: int
    classes_: tuple[str, ...]

    def __init__(
        self,
        experts: tuple[str, ...],
        vectors: Vectors | None = None,
        *,
        features: str = WORDS,
        encoder: str = "auto",
        encoded: Path | None = None,
        epochs: int = 5,
        learning_rate: float = 5e-3,
        batch_size: int = 128,
        hidden: int = 50,
        random_state: int = 67,
    ) -> None:
        super().__init__(experts)
        self.vectors = None if features == ENCODER else vectors
        self.features = features
        self.encoder = encoder
        self.encoded = encoded
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
            raise ConfigError(f"Team got experts {list(self.experts)}. Allowed: its own network and one LLM or more.")
        require("torch")
        from askless.text.networks import one_thread

        self._check_task(train)
        if self.experts[0] in (*train.experts, *valid.experts):
            raise ConfigError(
                f"Team got experts {list(self.experts)}, and '{self.experts[0]}' is an expert of the panel. A team "
                "answers with a network of its own: put a name first that nobody else has, such as team-network."
            )
        self._recipe()
        self._reads = TextVectors(self.features, self.vectors, self.encoder, self.encoded)
        data = Training.of(train, self.experts[1:], self._reads)
        held = Training.of(valid, self.experts[1:], self._reads)
        self.classes_ = train.classes
        with one_thread():
            self._train(data, held)
        for panel in (train, valid):
            panel.join(self.experts[0], self.small_)
        return super().fit(train, valid)

    @abstractmethod
    def _train(self, data: Training, held: Training) -> None:
        """Set `small_`, `allocator_`, `epoch_` and `scores_`."""

    def look(self, panel: Panel) -> Floats:
        """The allocator's estimate for each expert, shape (rows, experts), its compute billed to the panel."""
        # What a bundle has restored is there already.
        if self.experts[0] not in panel.experts:
            panel.join(self.experts[0], self.small_)
        with billed(panel):
            return self._estimate(panel)

    def brought(self) -> Any:
        """The small network."""
        return self.small_

    def write(self, folder: Path) -> None:
        """Put the allocator network into a file."""
        from safetensors.torch import save_file

        save_file(self.allocator_.state_dict(), folder / NETWORK)

    def read(self, folder: Path, small: Any) -> None:
        """Take over the networks."""
        require("torch")
        from safetensors.torch import load_file

        from askless.text.networks import load_stack

        self.allocator_, self.small_ = load_stack(load_file(folder / NETWORK)), small.model_
        self._reads = self.small_.reads

    def _estimate(self, panel: Panel) -> Floats:
        from askless.text.networks import predict

        return predict(self.allocator_, self._features(panel)).double().numpy()

    def _features(self, panel: Panel) -> Tensor:
        import torch

        return torch.from_numpy(panel.features(self._reads))

    def _recipe(self, **changes: Any) -> Recipe:
        from askless.text.networks import Recipe

        given = {
            "epochs": self.epochs,
            "learning_rate": self.learning_rate,
            "batch_size": self.batch_size,
            "hidden": self.hidden,
        }
        return Recipe(**{**given, **changes})

    def _new(self, inputs: int, outputs: int, *, members: int = 1, offset: int = 0) -> Stack:
        from askless.text.networks import Stack

        return Stack(members, inputs, outputs, self.hidden, self.random_state + offset)

    def _pair(self, data: Training) -> tuple[Stack, Stack]:
        inputs = data.x.shape[1]
        return self._new(inputs, data.classes), self._new(inputs, len(self.experts), offset=1)

    def _keep_best(self, small: Stack, allocator: Stack, held: Training, run: Iterator[None]) -> None:
        """Run the epochs and keep the one whose system accuracy on `held` is best."""
        from askless.text.mean_vector_net import MeanVectorNet

        best, self.scores_ = -1.0, list[float]()
        kept: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
        for epoch, _ in enumerate(run, start=1):
            accuracy = self._system_accuracy(small, allocator, held)
            self.scores_.append(accuracy)
            if accuracy > best:
                best, self.epoch_, kept = accuracy, epoch, (_copy(small), _copy(allocator))
        small.load_state_dict(kept[0])
        allocator.load_state_dict(kept[1])
        self.small_ = MeanVectorNet(self.experts[0], self.classes_, small, self._reads)
        self.allocator_ = allocator

    @staticmethod
    def _system_accuracy(small_stack: Stack, allocator: Stack, held: Training) -> float:
        """Accuracy on `held` when the allocator's largest output decides."""
        import torch

        from askless.text.networks import predict

        small = predict(small_stack, held.x).argmax(1)
        labels = torch.cat([small[:, None], held.llm], dim=1)
        choice = predict(allocator, held.x).argmax(1)
        return float((labels.gather(1, choice[:, None])[:, 0] == held.gold).float().mean())


class Training:
    """A panel as tensors.

    Parameters
    ----------
    x, gold, llm
        Features (rows, dim), class indices (rows,), and the LLMs' class indices (rows, LLMs).
    classes
        How many classes there are.
    """

    def __init__(self, x: Tensor, gold: Tensor, llm: Tensor, classes: int) -> None:
        self.x, self.gold, self.llm, self.classes = x, gold, llm, classes

    @classmethod
    def of(cls, panel: Panel, llms: tuple[str, ...], reads: TextVectors) -> Training:
        """The rows of `panel`, every LLM asked about every row."""
        import torch

        labels = np.stack([panel.ask(name).label for name in llms], axis=1)
        x = torch.from_numpy(panel.features(reads))
        return cls(x, torch.from_numpy(panel.gold), torch.from_numpy(labels), len(panel.classes))

    @property
    def llm_right(self) -> Tensor:
        """Whether each LLM is right, shape (rows, LLMs)."""
        return self.llm == self.gold[:, None]


def _copy(stack: Stack) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in stack.state_dict().items()}
