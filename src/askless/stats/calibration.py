"""Scores into probabilities that mean what they say."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
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


class Calibrator(ABC):
    """Turns a stated confidence p in [0, 1] into the probability of being right.

    The confidence may be that of a log-probability (0 for -inf), or where a provider gives none the share of experts or
    of sampled answers that agree; for such shares take `isotonic` or `best`, since all agreeing is not near certainty.
    NaN, which states nothing, is not learnt from and stays NaN.
    """

    learnt: tuple[str, ...]
    outcome: type = bool

    def fit(self, p: Floats, right: Bools | Floats) -> Self:
        """Learn from stated confidence `p` (rows,) and whether each answer was `right` (rows,).

        `PlattCalibrator` learns from qualities in [0, 1] too: it then estimates the quality to be expected.
        """
        p, right = np.asarray(p, np.float64), np.asarray(right, self.outcome)
        known = ~np.isnan(p)
        self._fit(np.clip(p[known], 0, 1), right[known])
        return self

    def predict(self, p: Floats) -> Floats:
        """The probability that an answer stated with `p` is right, shape of `p`, never falling as p rises."""
        return self._predict(np.clip(np.asarray(p, np.float64), 0, 1))

    def __call__(self, p: Floats) -> Floats:
        """The same as `predict`."""
        return self.predict(p)

    def state(self) -> dict[str, Any]:
        """What was learnt, as plain values."""
        learnt = {name: getattr(self, f"{name}_") for name in self.learnt}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in learnt.items()}

    def restore(self, state: Mapping[str, Any]) -> Self:
        """Take over what `state` gave; the same confidence then means the same, to the digit."""
        for name in self.learnt:
            value = state[name]
            setattr(self, f"{name}_", tuple(map(float, value)) if isinstance(value, list | tuple) else float(value))
        return self

    @abstractmethod
    def _fit(self, p: Floats, right: Bools) -> None:
        """Learn from rows that all state a confidence; there may be none."""

    @abstractmethod
    def _predict(self, p: Floats) -> Floats:
        """The probability for each p in [0, 1] or NaN."""


class PlattCalibrator(Calibrator):
    """Logistic regression on `transform(p)`; where all rows agree, or p misleads, the same probability for all.

    Source: Platt 1999. Attributes learnt: `slope_` >= 0 and `intercept_`.
    """

    learnt = ("slope", "intercept")
    outcome = np.float64

    def _fit(self, p: Floats, right: Bools | Floats) -> None:
        if not len(right) or right.min() == right.max():
            self.slope_, self.intercept_ = 0.0, _log_odds(laplace(right))
        else:
            self.slope_, self.intercept_ = map(float, platt(transform(p), right))

    def _predict(self, p: Floats) -> Floats:
        return platt_apply(transform(p), np.array([self.slope_, self.intercept_]))


class IsotonicCalibrator(Calibrator):
    """The rising step function nearest to the outcomes, linear between steps; no step is surer than `laplace`.

    Source: Zadrozny and Elkan 2002. Attributes learnt: `stated_` and `means_`, the knots, both rising.
    """

    learnt = ("stated", "means")
    stated_: tuple[float, ...]
    means_: tuple[float, ...]

    def _fit(self, p: Floats, right: Bools) -> None:
        from sklearn.isotonic import IsotonicRegression

        if not len(p):
            self.stated_, self.means_ = (0.5,), (0.5,)
            return
        least = 1 / (len(p) + 2)
        model = IsotonicRegression(y_min=least, y_max=1 - least).fit(p, right)
        self.stated_, self.means_ = (tuple(map(float, v)) for v in (model.X_thresholds_, model.y_thresholds_))

    def _predict(self, p: Floats) -> Floats:
        return np.where(np.isnan(p), np.nan, np.interp(p, self.stated_, self.means_))


class TemperatureCalibrator(Calibrator):
    """Divides the log-odds by one temperature of the least negative log-likelihood, .05 to 20; a half stays a half.

    Source: Guo et al. 2017, section 4.2. Attribute learnt: `temperature_`.
    """

    learnt = ("temperature",)

    def _fit(self, p: Floats, right: Bools) -> None:
        from scipy.optimize import minimize_scalar

        signed = np.where(right, 1, -1) * _log_odds(p)
        if not signed.any():
            self.temperature_ = 1.0
            return
        loss = minimize_scalar(
            lambda log_t: float(np.logaddexp(0, -signed * np.exp(-log_t)).mean()),
            bounds=(np.log(0.05), np.log(20)),
            method="bounded",
            options={"xatol": 1e-6},
        )
        self.temperature_ = float(np.exp(loss.x))

    def _predict(self, p: Floats) -> Floats:
        return platt_apply(_log_odds(p), np.array([1 / self.temperature_, 0.0]))


CALIBRATORS: dict[str, type[Calibrator]] = {
    "platt": PlattCalibrator,
    "isotonic": IsotonicCalibrator,
    "temperature": TemperatureCalibrator,
}


def calibrator(kind: str, p: Floats, right: Bools, *, random_state: int = 0) -> Calibrator:
    """A calibrator of `kind`, fitted; `best` is the one of the three with the least cross-fitted NLL, of equals Platt.

    Raises `ConfigError` for an unknown kind.
    """
    if kind == "best":
        losses = {k: nll(cross_fitted(k, p, right, random_state=random_state), right) for k in CALIBRATORS}
        kind = min(losses, key=lambda k: losses[k])
    if kind not in CALIBRATORS:
        raise ConfigError.unknown("calibrator", kind, [*CALIBRATORS, "best"])
    return CALIBRATORS[kind]().fit(p, right)


def best_calibrator(p: Floats, right: Bools, *, random_state: int = 0) -> Calibrator:
    """The calibrator of the least cross-fitted NLL, fitted on all rows."""
    return calibrator("best", p, right, random_state=random_state)


def cross_fitted(kind: str, p: Floats, right: Bools, *, folds: int = FOLDS, random_state: int = 0) -> Floats:
    """Each row's probability (rows,) by a calibrator of `kind` that has not seen the row; NaN where p is NaN."""
    p, right = np.asarray(p, np.float64), np.asarray(right, bool)
    out = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    fold = stratified_folds(right[known], folds, random_state)
    for held in range(folds):
        rows, rest = known[fold == held], known[fold != held]
        if len(rows):
            out[rows] = calibrator(kind, p[rest], right[rest], random_state=random_state).predict(p[rows])
    return out


def stratified_folds(strata: NDArray[Any], folds: int = FOLDS, random_state: int = 0) -> Ints:
    """A fold for each row (rows,), drawn so that each fold has its part of every stratum, to the row."""
    if folds < 2:
        raise ConfigError(f"Got folds {folds}. Allowed: 2 or more.")
    order = np.random.default_rng(random_state).permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    fold = np.empty(len(strata), np.int64)
    fold[order] = np.arange(len(strata)) % folds
    return fold


def nll(confidence: Floats, right: Bools) -> float:
    """Mean negative log-likelihood in nats, confidence clipped to [1e-6, 1 - 1e-6]; NaN rows left out."""
    known = np.isfinite(confidence)
    if not known.any():
        return float("nan")
    said = np.where(right[known], confidence[known], 1 - confidence[known])
    return float(-np.log(np.clip(said, 1 - SUREST, SUREST)).mean())


def laplace(right: Bools | Floats) -> float:
    """Laplace's rule of succession: (right + 1) / (rows + 2), a half without rows."""
    return (float(np.sum(right)) + 1) / (len(right) + 2)


def _log_odds(p: Any) -> Any:
    p = np.clip(p, 1 - SUREST, SUREST)
    return np.log(p) - np.log1p(-p)
