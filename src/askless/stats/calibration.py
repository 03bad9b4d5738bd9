"""Scores into probabilities that mean what they say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from askless.arrays import Bools, Floats, Ints
from askless.errors import ConfigError

SUREST = 1 - 1e-6
FOLDS = 5
SHRINK = 0.01
NEWTON_STEPS = 100


def transform(p: Floats) -> Floats:
    """t = log(1 / (1 - p)), which spreads out the probabilities crowded under 1; p counts as `SUREST` at most.

    0 stays 0, NaN stays NaN. Source: Zellinger and Thomson 2025, Rational Tuning of LLM Cascades.
    """
    return np.asarray(-np.log1p(-np.clip(p, 0, SUREST)), np.float64)


def platt(logit: Floats, right: Bools | Floats, weight: Floats | None = None) -> Floats:
    """Slope and intercept (2,) of P(right) = sigmoid(a * logit + b), a >= 0, by logistic regression.

    Where all rows agree nothing can be learnt: slope 1, intercept 0. Source: Platt 1999. `right` may be a quality in
    [0, 1], whose mean is then estimated (Papke and Wooldridge 1996).
    """
    if not len(right) or right.min() == right.max():
        return np.array([1.0, 0.0])
    weight = np.ones(len(logit)) if weight is None else weight
    x, line = np.stack([logit, np.ones(len(logit))]), np.zeros(2)
    loss, shrink = np.inf, np.array([SHRINK, 0.0])
    for _ in range(NEWTON_STEPS):
        p = platt_apply(logit, line)
        slope = x @ (weight * (right - p)) - shrink * line
        curvature = (x * (weight * p * (1 - p))) @ x.T + np.diag(shrink + 1e-12)
        step, before = np.linalg.solve(curvature, slope), loss
        line, loss = _downhill(line, step, lambda at: _penalised(logit, right, weight, at), loss)
        if before - loss < 1e-10 * max(1.0, abs(loss)):
            break
    if line[0] < 0:
        rate = float(np.clip(np.average(right, weights=weight), 1e-6, 1 - 1e-6))
        return np.array([0.0, np.log(rate / (1 - rate))])
    return line


def _penalised(logit: Floats, right: Bools | Floats, weight: Floats, line: Floats) -> float:
    z = line[0] * logit + line[1]
    return float(weight @ (np.logaddexp(0, z) - right * z) + SHRINK * line[0] ** 2 / 2)


def _downhill(
    line: Floats, step: NDArray[Any], loss_at: Callable[[Floats], float], loss: float
) -> tuple[Floats, float]:
    """A Newton step, halved until it does not climb."""
    for _ in range(30):
        there = loss_at(line + step)
        if there <= loss:
            return line + step, there
        step = step / 2
    return line, loss


def platt_apply(logit: Floats, fitted: Floats) -> Floats:
    """Calibrated probabilities, shape of `logit`."""
    return sigmoid(fitted[0] * logit + fitted[1])


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), any shape."""
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -500, 500))))


class PlattCalibrator:
    """Turns a stated confidence p in [0, 1] into the probability of being right: Platt scaling of `transform(p)`.

    NaN, which states nothing, is not learnt from and stays NaN. Where all rows agree, or p misleads, the probability is
    the same for all.

    Attributes
    ----------
    slope_ : float
        At least 0, so that the probability never falls as p rises.
    intercept_ : float

    References
    ----------
    Platt 1999, Probabilistic outputs for support vector machines.
    """

    slope_: float
    intercept_: float

    def fit(self, p: Floats, right: Bools | Floats) -> Self:
        """Learn from stated confidence `p` and whether each answer was `right`, or its quality in [0, 1], each (rows,).

        Of qualities it estimates the one to be expected.
        """
        p, right = np.asarray(p, np.float64), np.asarray(right, np.float64)
        known = ~np.isnan(p)
        p, right = np.clip(p[known], 0, 1), right[known]
        if not len(right) or right.min() == right.max():
            rate = laplace(right)
            self.slope_, self.intercept_ = 0.0, float(np.log(rate) - np.log1p(-rate))
        else:
            self.slope_, self.intercept_ = map(float, platt(transform(p), right))
        return self

    def __call__(self, p: Floats) -> Floats:
        """The probability that an answer stated with `p` is right, shape of `p`."""
        stated = np.clip(np.asarray(p, np.float64), 0, 1)
        return platt_apply(transform(stated), np.array([self.slope_, self.intercept_]))


def stratified_folds(strata: NDArray[Any], folds: int = FOLDS, random_state: int = 0) -> Ints:
    """A fold for each row (rows,), drawn so that each fold has its part of every stratum, to the row."""
    if folds < 2:
        raise ConfigError(f"Got folds {folds}. Allowed: 2 or more.")
    order = np.random.default_rng(random_state).permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    fold = np.empty(len(strata), np.int64)
    fold[order] = np.arange(len(strata)) % folds
    return fold


def laplace(right: Bools | Floats) -> float:
    """Laplace's rule of succession: (right + 1) / (rows + 2), a half without rows."""
    return (float(np.sum(right)) + 1) / (len(right) + 2)
