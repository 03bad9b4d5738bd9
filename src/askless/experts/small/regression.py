"""Logistic regression over features of texts, chosen by cross-validation, its probabilities scaled to be honest."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from askless.arrays import Floats, Ints
from askless.experts.base import Setting, TrainedExpert, number, whole
from askless.experts.small.features import TextFeatures
from askless.experts.small.majority import (
    class_weights,
    fitted,
    free_tokens,
    gold,
    of_two,
    same_classes,
    unreadable,
)
from askless.experts.small.measured import measured
from askless.files import replacing
from askless.schema import labelled
from askless.stats.calibration import stratified_folds
from askless.text.encoder import AUTO, DTYPES, SentenceEncoder, at_hand
from askless.text.sentence_vectors import KEPT, SentenceVectors

FILE = "regression.safetensors"
STRENGTHS = (0.3, 1.0, 3.0, 10.0)
BALANCES = tuple(np.linspace(0, 1, 11).round(1).tolist())
LEAST = float(np.log(1e-12))
# Logs of the smallest and the largest factor of the logits.
FACTORS = (-2.0, 2.0)


class RegressionExpert(TrainedExpert):
    """Features of a text into logistic regression; a subclass says which features.

    C is chosen on train by cross-validation, by log loss. How far rare classes are then lifted is what the task's
    quality of the held-out rows is best with, and a factor of the logits gives these the least log loss: where nothing
    is lifted, as for accuracy, probabilities mean what they say. `valid` is not looked at.

    Parameters
    ----------
    setting
        What the task tells the expert.
    model
        The sentence encoder: a folder, `package:NAME` of an installed package, or a repository of the hub; `auto` is
        what the subclass says.
    revision
        Commit of a hub repository; None is the newest.
    prompt
        What stands before each text for the encoder; None is the model's own.
    max_tokens
        Most tokens that the encoder reads of a text, 1 or more; None is the model's own limit.
    dtype
        Of the encoder: `float32` or `bfloat16`; `auto` is float32 on a CPU, else bfloat16.
    device
        Of the encoder, a device of torch; `auto` is CUDA, else MPS, else the CPU.
    batch_size
        Texts that the encoder reads at once, 1 or more; None is 16 on a CPU, else 64.
    strengths
        Values of C to choose from, each more than 0.
    balance
        How far rare classes are lifted: 0 leaves the likeliest class as the answer, with 1 a class is as likely as the
        text makes it, however rare; `auto` is what the task's quality is best with.
    folds
        Of the cross-validation, 2 or more.
    max_iter
        Most steps of the solver, 1 or more.
    random_state
        Seed of the folds.
    """

    tfidf: ClassVar[tuple[str, ...]] = ()
    summarises = False
    chooses_on_valid = False
    packages = ("scikit-learn", "torch", "transformers")
    features_: TextFeatures
    coef_: Floats
    intercept_: Floats
    c_: float
    balance_: float

    def __init__(
        self,
        setting: Setting,
        *,
        model: str | None = AUTO,
        revision: str | None = None,
        prompt: str | None = None,
        max_tokens: int | None = None,
        dtype: str = "auto",
        device: str = "auto",
        batch_size: int | None = None,
        strengths: Sequence[float] = STRENGTHS,
        balance: float | str = AUTO,
        folds: int = 3,
        max_iter: int = 300,
        random_state: int = 67,
    ) -> None:
        super().__init__(setting)
        self.model = model
        self.revision = revision
        self.prompt = prompt
        self.max_tokens = max_tokens
        self.dtype = dtype
        self.device = device
        self.batch_size = batch_size
        self.strengths = strengths
        self.balance = balance
        self.folds = folds
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, train: pa.Table, valid: pa.Table) -> Self:
        """Learn from `train`; `valid` is not looked at."""
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        self._validate()
        y = gold(train, self.setting.classes)
        of_two(y, self.setting.classes)
        self.features_ = self._new_features(self._default() if self.model == AUTO else self.model)
        x = self.features_.fit(train["text"].to_pylist())
        with threadpool_limits(1):  # most of the work is sparse: more BLAS threads only wait for each other
            self.c_, self.balance_, factor = self._choose(x, y)
            ((coef, intercept),) = regressed(x, y, len(self.setting.classes), [self.c_], self.max_iter)
        self.coef_, self.intercept_ = factor * coef, factor * (intercept - self.balance_ * log_shares(y, len(coef)))
        return self

    def answer(self, examples: pa.Table) -> pa.Table:
        """Class probabilities for each example."""
        fitted(self, "coef_")
        start = time.perf_counter()
        texts = examples["text"].to_pylist()
        if not texts:
            return self.predictions(examples, labelled(self.setting.classes, np.zeros((0, len(self.setting.classes)))))
        x, spared = self.features_(texts)
        columns = labelled(self.setting.classes, softmax(x @ self.coef_.T + self.intercept_, axis=1))
        columns |= free_tokens(examples.num_rows, start)
        columns["seconds"] += spared.astype(np.float32)
        return self.predictions(examples, columns)

    def alike(self) -> Self:
        """One with the C and the balance that were chosen."""
        chosen = {"strengths": [fitted(self, "c_")], "balance": self.balance_}
        return type(self)(self.setting, **{**self.options(), **chosen})

    def meta(self) -> dict[str, Any]:
        """The features, C and balance."""
        named = [*(f"tf-idf of {name}" for name in self.tfidf), *self._encoders()]
        model = f"{' + '.join(named)} + logistic regression"
        return {"model": model, "c": fitted(self, "c_"), "balance": self.balance_}

    def save(self, folder: Path) -> Path:
        """Write weights, and as JSON in their header all else that was learnt: one file, renamed into place."""
        from safetensors.numpy import save_file

        weights = {"coef": fitted(self, "coef_"), "intercept": self.intercept_}
        features, arrays = self.features_.state()
        learnt = {
            "classes": list(self.setting.classes),
            "c": self.c_,
            "balance": self.balance_,
            "features": features,
        }
        whole_arrays = {name: np.ascontiguousarray(each) for name, each in {**arrays, **weights}.items()}
        with replacing(folder / FILE) as part:
            save_file(whole_arrays, part, {"learnt": json.dumps(learnt)})
        return folder

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote; the encoder itself is found by its name."""
        from safetensors import SafetensorError, safe_open

        path = folder / FILE
        try:
            with safe_open(path, framework="numpy") as file:
                learnt = json.loads(file.metadata()["learnt"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no dict
            # A class that train lacked has an intercept of minus infinity.
            finite = [np.isfinite(each).all() for name, each in arrays.items() if name != "intercept"]
            if not (all(finite) and (arrays["intercept"] < np.inf).all()):
                raise ValueError("numbers that are not finite")
            about = learnt["features"]
            model = about.get("encoder", {}).get("model") if self.model == AUTO else self.model
            features = self._new_features(model).restore(about, arrays)
            shape = (len(learnt["classes"]), features.width)
            if arrays["coef"].shape != shape or arrays["intercept"].shape != shape[:1]:
                raise ValueError(f"weights of shape {arrays['coef'].shape}, where {shape} are needed")
            self.c_, self.balance_ = float(learnt["c"]), float(learnt["balance"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            raise unreadable(path, error) from error
        same_classes(path, tuple(learnt["classes"]), self.setting.classes)
        self.features_, self.coef_, self.intercept_ = features, arrays["coef"], arrays["intercept"]
        return self

    def keep(self, folder: Path) -> dict[str, Any]:
        """Save what was learnt, and the encoder's files too unless a hub has them under a commit."""
        options, sentences = super().keep(folder), self.features_.sentences
        if sentences is None:
            return {**options, "model": None}
        return {**options, **sentences.encoder.keep(folder, KEPT)}

    def restore(self, folder: Path) -> Self:
        """Load what was learnt, with the encoder that `keep` copied, where it did."""
        if self.model == KEPT:
            self.model = str(folder / KEPT)
        return self.load(folder)

    def _default(self) -> str | None:
        """The sentence encoder that `auto` is."""
        return at_hand()

    def _encoders(self) -> list[str]:
        sentences = fitted(self, "features_").sentences
        return [] if sentences is None else [sentences.encoder.model]

    def _new_features(self, model: str | None) -> TextFeatures:
        reading = {name: getattr(self, name) for name in ("prompt", "max_tokens", "dtype", "device", "batch_size")}
        encoder = None if model is None else SentenceEncoder(model, self.revision, **reading)
        sentences = None if encoder is None else SentenceVectors(encoder, self.setting.encoded)
        return TextFeatures(self.tfidf, sentences)

    def _choose(self, x: Any, y: Ints) -> tuple[float, float, float]:
        """C, balance and the factor of the logits, by what rows say that are held out of the regressions."""
        fold, strengths = stratified_folds(y, self.folds, self.random_state), sorted(self.strengths)
        held = np.zeros((len(strengths), len(y), len(self.setting.classes)))
        for k in range(self.folds):
            learn = fold != k
            fits = regressed(x[learn], y[learn], held.shape[2], strengths, self.max_iter)
            for at, (coef, intercept) in enumerate(fits):
                held[at, ~learn] = x[~learn] @ coef.T + intercept
        best = int(np.argmin([log_loss(logits, y) for logits in held]))
        return strengths[best], *lift(self.setting, held[best], y, log_shares(y, held.shape[2]), self.balance)

    def _validate(self) -> None:
        self.require("dtype", self.dtype in DTYPES, ", ".join(DTYPES))
        for name, value in (("batch_size", self.batch_size), ("max_tokens", self.max_tokens)):
            self.require(name, value is None or whole(value), "null or a whole number >= 1")
        self.require("folds", whole(self.folds, 2), "a whole number >= 2")
        self.require("balance", self.balance == AUTO or number(self.balance, 0, 1), "auto, or a number from 0 to 1")
        some = list(self.strengths)
        self.require("strengths", bool(some) and all(number(c, 1e-12) for c in some), "one number > 0 or more")


def regressed(
    x: Any, y: Ints, classes: int, strengths: Sequence[float] = STRENGTHS, max_iter: int = 300
) -> Iterator[tuple[Floats, Floats]]:
    """Weights (classes, features) and intercepts (classes,) for each C, rising; absent classes get none."""
    from sklearn.linear_model import LogisticRegression

    if (y == y[0]).all():  # a fold without the only row of another class
        alone = np.where(np.arange(classes) == y[0], 0.0, -np.inf)
        yield from ((np.zeros((classes, x.shape[1])), alone) for _ in strengths)
        return
    model = LogisticRegression(max_iter=max_iter, warm_start=True)
    for c in sorted(strengths):
        model.set_params(C=c).fit(x, y)
        yield class_weights(model, classes)


def lift(setting: Setting, logits: Floats, y: Ints, shares: Floats, balance: float | str) -> tuple[float, float]:
    """How far rare classes are lifted, and the factor of the logits then, by what was held out.

    Logits (rows, classes) lose `balance` times `shares`, the logs of the classes' shares (classes,); `auto` is the
    balance that the task's quality is best with.
    """
    balances = BALANCES if isinstance(balance, str) else (balance,)
    lifted = {balance: logits - balance * shares for balance in balances}
    chosen = max(lifted, key=lambda balance: measured(setting, y, lifted[balance].argmax(axis=1)))
    return chosen, _factor(lifted[chosen], y)


def log_shares(y: Ints, classes: int) -> Floats:
    """Log of each class's share of the rows, (classes,); one that is in none counts as in one."""
    return np.log(np.maximum(np.bincount(y, minlength=classes), 1) / len(y))


def log_loss(logits: Floats, y: Ints) -> float:
    """Mean of -log P(class), an impossible class counting as one of 1e-12."""
    right = log_softmax(logits, axis=1)[np.arange(len(y)), y]
    return -float(np.maximum(right, LEAST).mean())


def _factor(logits: Floats, y: Ints) -> float:
    """The factor of the logits with the least log loss."""
    found = minimize_scalar(lambda log: log_loss(np.exp(log) * logits, y), bounds=FACTORS, method="bounded")
    return float(np.exp(found.x))
