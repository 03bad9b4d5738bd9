"""Quality of answers, for one sample or for many bootstrap samples at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from askless import config
from askless.arrays import Floats
from askless.errors import ConfigError

Ints = NDArray[np.signedinteger[Any]]
Weights = NDArray[np.uint8]
Counts = Callable[[NDArray[np.bool_]], Floats]
BLOCK = 1 << 15
QUALITIES, GRADES = config.QUALITIES["classification"], config.QUALITIES["summarisation"]
JUDGED = ("correct", "mean_quality")


@dataclass(frozen=True)
class Interval:
    """A measured value and its percentile bootstrap interval.

    Parameters
    ----------
    value, low, high
        The value and the ends of the interval, in the value's unit; None where it is undefined.
    """

    value: float | None
    low: float | None = None
    high: float | None = None

    def as_dict(self) -> dict[str, float | list[float | None] | None]:
        """`{"value", "ci": [low, high]}` for JSON."""
        return {"value": self.value, "ci": [self.low, self.high]}


def accuracy(gold: Ints, labels: Ints, weights: Weights | None = None) -> Floats:
    """Share of right answers: labels (items, columns) against gold (items,).

    With bootstrap `weights` (draws, items) the result is (draws, columns), else (1, columns). An answer
    without a label counts as wrong.
    """
    count = _counter(len(gold), weights)
    return np.asarray(count(labels == gold[:, None]) / count(np.ones((len(gold), 1), bool)))


def mean(scores: NDArray[Any], weights: Weights | None = None) -> Floats:
    """Mean of scores (items, columns), (1, columns); with bootstrap `weights` (draws, items): (draws, columns)."""
    if weights is None:
        return np.asarray(np.mean(scores, axis=0, keepdims=True, dtype=np.float64))
    return np.asarray(weighted_sums(weights, scores) / weights.sum(axis=1, dtype=np.int64)[:, None])


def macro_f1(gold: Ints, labels: Ints, classes: int, weights: Weights | None = None) -> Floats:
    """Mean of the classes' F1, shapes as in `accuracy`; a class neither present nor answered counts 0."""
    return np.asarray(np.mean([f1(gold, labels, c, weights) for c in range(classes)], axis=0))


def f1(gold: Ints, labels: Ints, positive: int, weights: Weights | None = None) -> Floats:
    """F1 of one class, 2 tp / (2 tp + fp + fn), shapes as in `accuracy`; 0 where the class never occurs."""
    count = _counter(len(gold), weights)
    is_gold, is_label = (gold == positive)[:, None], labels == positive
    hits, total = count(is_gold & is_label), count(is_gold) + count(is_label)
    return np.asarray(np.divide(2 * hits, total, out=np.zeros_like(hits), where=total > 0))


@dataclass(frozen=True)
class Quality:
    """A quality by its name in params.yaml: `accuracy`, `macro_f1`, `f1_positive` of labels, or a mean of scores.

    Parameters
    ----------
    name
        As in params.yaml.
    classes, positive
        How many classes there are, and which of them F1 is about; 0 where there are none.
    """

    name: str
    classes: int = 0
    positive: int = 0

    def __call__(self, gold: Ints, answers: NDArray[Any], weights: Weights | None = None) -> Floats:
        """Quality of answers (items, columns), which are labels, or scores from 0 to 1: (draws, columns)."""
        if self.name == "accuracy":
            return accuracy(gold, answers, weights)
        if self.name == "macro_f1":
            return macro_f1(gold, answers, self.classes, weights)
        if self.name == "f1_positive":
            return f1(gold, answers, self.positive, weights)
        if self.name in (*GRADES, *JUDGED):
            return mean(answers, weights)
        raise ConfigError.unknown("quality", self.name, (*QUALITIES, *GRADES))


def bootstrap_weights(items: int, draws: int, seed: int) -> Weights:
    """How often each item is drawn in each resample of `items` with replacement, shape (draws, items)."""
    rng = np.random.default_rng(seed)
    out = np.empty((draws, items), np.uint8)
    for row in out:
        row[:] = np.bincount(rng.integers(0, items, items), minlength=items)
    return out


def weighted_sums(weights: Weights, columns: NDArray[Any]) -> Floats:
    """Sum of each column (items, columns) in each resample, shape (draws, columns), a block of items at a time."""
    out = np.zeros((len(weights), columns.shape[1]))
    kind = np.float32 if columns.dtype == bool else np.float64
    for start in range(0, len(columns), BLOCK):
        block = slice(start, start + BLOCK)
        out += weights[:, block].astype(kind) @ columns[block].astype(kind)
    return out


def seed_weights(seeds: int, draws: int, seed: int) -> Floats:
    """Weights of a resample of the seeds with replacement, each draw summing to 1, shape (draws, seeds)."""
    rng = np.random.default_rng([seed, seeds])
    picks = rng.integers(0, seeds, (draws, seeds))
    return np.stack([np.bincount(p, minlength=seeds) for p in picks]) / seeds


def interval(value: float | None, draws: Sequence[float] | Floats, confidence: float) -> Interval:
    """The percentile interval of `draws` around `value`; None where too many draws are undefined (NaN)."""
    values = np.asarray(draws, float)
    if value is None or not np.isfinite(value) or np.isnan(values).mean() > (1 - confidence) / 2:
        return Interval(None if value is None or not np.isfinite(value) else float(value))
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return Interval(float(value), float(low), float(high))


def _counter(items: int, weights: Weights | None) -> Counts:
    if weights is None:
        return lambda hits: hits.sum(axis=0, keepdims=True).astype(float)
    if weights.shape[1] != items:
        raise ValueError(f"weights are for {weights.shape[1]} items, got {items}")
    return lambda hits: weighted_sums(weights, hits)
