"""The expert to beat: the commonest class, whatever the text."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from askless.arrays import Floats, Ints
from askless.errors import DataError, ExpertError
from askless.experts.base import TrainedExpert
from askless.files import read_json, write_text
from askless.panel import class_indices
from askless.schema import labelled

FILE = "majority.json"


class MajorityExpert(TrainedExpert):
    """Always answers the commonest class of train; its probabilities are the shares of the classes there.

    Parameters
    ----------
    setting
        What the task tells the expert.
    """

    summarises = False
    chooses_on_valid = False
    shares_: NDArray[np.float64]

    def fit(self, train: pa.Table, valid: pa.Table) -> Self:
        """Count the classes of `train`; `valid` is not looked at."""
        counts = np.bincount(gold(train, self.setting.classes), minlength=len(self.setting.classes))
        self.shares_ = counts / counts.sum()
        return self

    def answer(self, examples: pa.Table) -> pa.Table:
        """The commonest class for each example."""
        start = time.perf_counter()
        shares = fitted(self, "shares_")
        proba = np.broadcast_to(shares, (examples.num_rows, len(shares)))
        columns = labelled(self.setting.classes, proba)
        return self.predictions(examples, {**columns, **free_tokens(examples.num_rows, start)})

    def meta(self) -> dict[str, Any]:
        """The model is the rule."""
        return {"model": "majority class"}

    def save(self, folder: Path) -> Path:
        """Write the classes and their shares."""
        learnt = {"classes": list(self.setting.classes), "shares": list(fitted(self, "shares_"))}
        write_text(folder / FILE, json.dumps(learnt, indent=1))
        return folder

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote."""
        path = folder / FILE
        try:
            learnt = read_json(path)
            classes, shares = tuple(learnt["classes"]), np.asarray(learnt["shares"], np.float64)
            if shares.shape != (len(classes),) or not np.isfinite(shares).all():
                raise ValueError(f"shares {shares.tolist()} of {len(classes)} classes")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise unreadable(path, error) from error
        same_classes(path, classes, self.setting.classes)
        self.shares_ = shares
        return self


def gold(examples: pa.Table, classes: tuple[str, ...]) -> Ints:
    """Class index of each example's label, shape (rows,); raises `DataError` where there is none to learn from."""
    index = class_indices(examples["label"], classes)
    bad = np.flatnonzero(index < 0)
    if len(bad) or not len(index):
        got = f"label {examples['label'][int(bad[0])].as_py()!r} in row {bad[0]}" if len(bad) else "no rows"
        raise DataError(
            "examples to learn from", got, f"rows labelled with one of {list(classes)}", "Label them or drop them."
        )
    return index


def of_two(y: Ints, classes: tuple[str, ...]) -> None:
    """Raise `DataError` where all labels are of one class."""
    if len(np.unique(y)) < 2:
        only = f"only class '{classes[int(y[0])]}'"
        raise DataError("examples to learn from", only, "two classes or more", "Add examples of another.")


def class_weights(model: Any, classes: int) -> tuple[Floats, Floats]:
    """Weights (classes, features) and intercepts (classes,) of a logistic regression; absent classes get none."""
    coef = np.zeros((classes, model.coef_.shape[1]))
    intercept = np.full(classes, -np.inf)
    two = len(model.classes_) == 2
    coef[model.classes_] = np.vstack([0 * model.coef_, model.coef_]) if two else model.coef_
    intercept[model.classes_] = [0.0, model.intercept_[0]] if two else model.intercept_
    return coef, intercept


def free_tokens(rows: int, start: float) -> dict[str, Any]:
    """Columns of what a model of our own consumes: no tokens, and the seconds since `start`, shared equally."""
    seconds = (time.perf_counter() - start) / max(rows, 1)
    none = np.zeros(rows, np.int32)
    return {"prompt_tokens": none, "completion_tokens": none, "seconds": np.full(rows, seconds, np.float32)}


def fitted(expert: TrainedExpert, attribute: str) -> Any:
    """A learnt attribute, or an `ExpertError` that says to fit first."""
    if not hasattr(expert, attribute):
        raise ExpertError(f"Expert '{expert.name}' has learnt nothing yet. Call fit or load before it is asked.")
    return getattr(expert, attribute)


def same_classes(path: Path, got: tuple[str, ...], classes: tuple[str, ...]) -> None:
    """Raise `DataError` where a saved expert was trained for other classes."""
    if got != classes:
        raise DataError(
            path, f"trained for the classes {list(got)}", f"{list(classes)}, in this order", "Fit it again."
        )


def unreadable(path: Path, error: Exception) -> DataError:
    """The error of a saved expert that is missing or broken."""
    return DataError(path, f"not a saved expert ({error})", "the folder that save wrote", "Train and save it again.")
