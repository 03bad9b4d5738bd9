"""The baseline any engineer would try: TF-IDF of words and word pairs into logistic regression."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from askless.arrays import Floats, Ints
from askless.errors import DataError
from askless.experts.base import Setting, TrainedExpert, number, whole
from askless.experts.small.majority import (
    class_weights,
    fitted,
    free_tokens,
    gold,
    of_two,
    same_classes,
    unreadable,
)
from askless.files import replacing
from askless.schema import labelled

FILE = "linear.safetensors"
STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)


class LinearExpert(TrainedExpert):
    """TF-IDF of words and word sequences, with sublinear counts, into logistic regression.

    Parameters
    ----------
    setting
        What the task tells the expert.
    ngrams
        Up to so many words in a row, 1 or more.
    min_df
        Texts that a sequence must be in to count, 1 or more.
    strengths
        Values of C, each more than 0; the one with the least log loss on valid, weighted as the training was, is taken.
    class_weight
        `balanced` makes rare classes count as much as common ones; None counts each row alike.
    max_iter
        Most steps of the solver, 1 or more.
    random_state
        Seed of the solver.
    """

    summarises = False
    packages = ("scikit-learn",)
    vocabulary_: list[str]
    idf_: Floats
    coef_: Floats
    intercept_: Floats
    c_: float
    ngrams_: int

    def __init__(
        self,
        setting: Setting,
        *,
        ngrams: int = 2,
        min_df: int = 2,
        strengths: Sequence[float] = STRENGTHS,
        class_weight: str | None = None,
        max_iter: int = 1000,
        random_state: int = 67,
    ) -> None:
        super().__init__(setting)
        self.ngrams = ngrams
        self.min_df = min_df
        self.strengths = strengths
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, train: pa.Table, valid: pa.Table) -> Self:
        """Learn words and weights from `train`, choose C on `valid`."""
        self._validate()
        y, y_valid = (gold(part, self.setting.classes) for part in (train, valid))
        of_two(y, self.setting.classes)
        self._forget()
        self.ngrams_ = self.ngrams
        vectorizer = self._vectorizer(min_df=self.min_df)
        try:
            x = vectorizer.fit_transform(train["text"].to_pylist())
        except ValueError as error:
            allowed = f"texts that share words (min_df is {self.min_df})"
            raise DataError("examples to learn from", str(error), allowed, "Lower min_df.") from error
        self.vocabulary_ = vectorizer.get_feature_names_out().tolist()
        self.idf_ = np.asarray(vectorizer.idf_, np.float64)
        self._choose(x, y, vectorizer.transform(valid["text"].to_pylist()), y_valid)
        return self

    def answer(self, examples: pa.Table) -> pa.Table:
        """Class probabilities for each example."""
        fitted(self, "coef_")
        start = time.perf_counter()
        texts = examples["text"].to_pylist()
        x = self._words.transform(texts) if texts else np.zeros((0, len(self.vocabulary_)))
        columns = labelled(self.setting.classes, self._proba(x, self.coef_, self.intercept_))
        return self.predictions(examples, {**columns, **free_tokens(examples.num_rows, start)})

    def meta(self) -> dict[str, Any]:
        """The model and its C."""
        return {"model": f"tf-idf 1-{self.ngrams_} + logistic regression", "c": fitted(self, "c_")}

    def save(self, folder: Path) -> Path:
        """Write weights, and as JSON in their header the vocabulary: one file, renamed into place."""
        from safetensors.numpy import save_file

        arrays = {name: np.ascontiguousarray(fitted(self, f"{name}_")) for name in ("coef", "intercept", "idf")}
        learnt = {
            "classes": list(self.setting.classes),
            "vocabulary": self.vocabulary_,
            "ngrams": self.ngrams_,
            "c": self.c_,
        }
        with replacing(folder / FILE) as part:
            save_file(arrays, part, {"linear": json.dumps(learnt)})
        return folder

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote; the same texts then get the same probabilities, to the digit."""
        from safetensors import SafetensorError, safe_open

        path = folder / FILE
        try:
            with safe_open(path, framework="numpy") as file:
                learnt = json.loads(file.metadata()["linear"])
                arrays = {name: file.get_tensor(name) for name in ("coef", "intercept", "idf")}
            classes, vocabulary = tuple(learnt["classes"]), list(learnt["vocabulary"])
            widths = {arrays["coef"].shape[-1], *arrays["idf"].shape}
            if widths != {len(vocabulary)} or not all(np.isfinite(each).all() for each in arrays.values()):
                raise ValueError(f"weights for {sorted(widths)} words, of {len(vocabulary)}, or none that are finite")
            self.ngrams_, self.c_ = int(learnt["ngrams"]), float(learnt["c"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise unreadable(path, error) from error
        same_classes(path, classes, self.setting.classes)
        self._forget()
        self.vocabulary_ = vocabulary
        self.coef_, self.intercept_, self.idf_ = (arrays[name] for name in ("coef", "intercept", "idf"))
        return self

    @cached_property
    def _words(self) -> Any:
        """The vectorizer as it was learnt, from vocabulary and idf alone."""
        vectorizer = self._vectorizer(vocabulary={word: i for i, word in enumerate(self.vocabulary_)})
        vectorizer.idf_ = self.idf_
        return vectorizer

    def _forget(self) -> None:
        self.__dict__.pop("_words", None)

    def _vectorizer(self, **options: Any) -> Any:
        from sklearn.feature_extraction.text import TfidfVectorizer

        return TfidfVectorizer(ngram_range=(1, self.ngrams_), sublinear_tf=True, **options)

    def _choose(self, x: Any, y: Ints, x_valid: Any, y_valid: Ints) -> None:
        from sklearn.utils.class_weight import compute_sample_weight
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        weight = compute_sample_weight(self.class_weight, y_valid)
        found = []
        with threadpool_limits(1):  # the work is sparse: more BLAS threads only wait for each other
            for c in self.strengths:
                coef, intercept = self._regress(x, y, c)
                right = self._proba(x_valid, coef, intercept)[np.arange(len(y_valid)), y_valid]
                loss = float(np.average(-np.log(np.maximum(right, 1e-12)), weights=weight))
                found.append((loss, c, coef, intercept))
        _, self.c_, self.coef_, self.intercept_ = min(found, key=lambda row: row[:2])

    def _regress(self, x: Any, y: Ints, c: float) -> tuple[Floats, Floats]:
        """Weights (classes, words) and intercepts (classes,); a class that train lacks gets none."""
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(
            C=c, class_weight=self.class_weight, max_iter=self.max_iter, random_state=self.random_state
        ).fit(x, y)
        return class_weights(model, len(self.setting.classes))

    def _proba(self, x: Any, coef: Floats, intercept: Floats) -> Floats:
        logits = np.asarray(x @ coef.T) + intercept
        weight = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(weight / weight.sum(axis=1, keepdims=True), np.float64)

    def _validate(self) -> None:
        self.require("ngrams", whole(self.ngrams), "a whole number >= 1")
        self.require("min_df", whole(self.min_df), "a whole number >= 1")
        self.require("class_weight", self.class_weight in (None, "balanced"), "null or balanced")
        strengths = list(self.strengths)
        self.require(
            "strengths", bool(strengths) and all(number(c, 1e-12) for c in strengths), "one number > 0 or more"
        )
