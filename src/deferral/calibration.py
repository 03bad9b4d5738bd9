"""Scores into probabilities that mean what they say, and how far off they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def platt(logit: Floats, right: NDArray[np.bool_], weight: Floats | None = None) -> Floats:
    """Slope and intercept (2,) of P(right) = sigmoid(a * logit + b), a >= 0, by logistic regression.

    Where all rows agree nothing can be learnt: slope 1, intercept 0. Source: Platt 1999.
    """
    if right.all() or not right.any():
        return np.array([1.0, 0.0])
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=100.0).fit(logit[:, None], right, sample_weight=weight)
    if model.coef_[0, 0] < 0:
        rate = float(np.clip(np.average(right, weights=weight), 1e-6, 1 - 1e-6))
        return np.array([0.0, np.log(rate / (1 - rate))])
    return np.array([model.coef_[0, 0], model.intercept_[0]])


def platt_apply(logit: Floats, fitted: Floats) -> Floats:
    """Calibrated probabilities, shape of `logit`."""
    return np.asarray(1 / (1 + np.exp(-np.clip(fitted[0] * logit + fitted[1], -500, 500))))


@dataclass(frozen=True)
class Reliability:
    """Bins of stated confidence: their mean confidence, accuracy and row count, each (bins,)."""

    confidence: Floats
    accuracy: Floats
    count: NDArray[np.int64]

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean gap between confidence and accuracy, weighted by rows."""
        total = self.count.sum()
        if not total:
            return float("nan")
        return float(np.sum(self.count * np.abs(self.confidence - self.accuracy)) / total)


def reliability(confidence: Floats, right: NDArray[np.bool_], bins: int = 15, *, mass: bool = False) -> Reliability:
    """Bins of equal width on [0, 1] or, with `mass`, of equal row count; empty bins are left out.

    Source: Guo et al. 2017 (15 bins). Rows of NaN confidence are left out.
    """
    known = np.isfinite(confidence)
    p, y = confidence[known], right[known].astype(float)
    if mass:
        index = np.minimum(np.argsort(np.argsort(p, kind="stable"), kind="stable") * bins // max(len(p), 1), bins - 1)
    else:
        index = np.clip((p * bins).astype(int), 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    full = count > 0
    mean = [np.bincount(index, v, bins)[full] / count[full] for v in (p, y)]
    return Reliability(mean[0], mean[1], count[full])


def brier(confidence: Floats, right: NDArray[np.bool_]) -> float:
    """Mean squared gap between stated confidence and the outcome, NaN rows left out."""
    known = np.isfinite(confidence)
    return float(np.mean((confidence[known] - right[known]) ** 2)) if known.any() else float("nan")
