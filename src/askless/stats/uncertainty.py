"""How sure an expert is of its answer: scores that order rows, the surer the higher."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from askless.arrays import Bools, Floats, Ints
from askless.errors import ConfigError, DataError
from askless.panel import contradicted, of_label
from askless.stats.calibration import SUREST

MEASURES = ("auto", "margin", "entropy", "least_confidence", "logprob")


class Stated(Protocol):
    """What an expert states beside its label: `Panel.ask` returns such answers.

    `label` (n,) is -1 where it gave none; `proba` (n, classes) and `logprob` (n,) are NaN where not stated. Without
    classes an answer is a text, and its log-probability the mean of its tokens'.
    """

    @property
    def expert(self) -> str:
        """Name of the expert."""

    @property
    def label(self) -> Ints:
        """Class indices, shape (n,)."""

    @property
    def proba(self) -> Floats:
        """Probability of each class, shape (n, classes)."""

    @property
    def logprob(self) -> Floats:
        """Log-probability of the label given, shape (n,)."""


def confidence(answers: Stated, measure: str = "auto") -> Floats:
    """How sure the expert is of each answer by `measure`, shape (n,): higher is surer.

    `margin`: log-probability of the label given less that of the likeliest other class, which is the difference of
    their logits (Ramirez et al. 2024, section 3); below 0 where another class is likelier than the label. `entropy`:
    negative entropy, in nats; NaN where another class is likelier, for then it is of that answer. `least_confidence`:
    probability of the label given. `logprob`: its logarithm. `auto`: margin if the answers state probabilities of all
    classes, else logprob. Probabilities of 0 are legal and make infinite scores. NaN where nothing is stated or no
    label was given.

    Raises `ConfigError` for an unknown measure, `DataError` for one that cannot be had from what is stated.
    """
    how = resolve(answers, measure)
    if how == "margin":
        score = _margin(answers.label, answers.proba)
    elif how == "entropy":
        score = np.where(contradicted(answers.label, answers.proba), np.nan, _negative_entropy(answers.proba))
    elif how == "least_confidence":
        score = _given(answers)
    else:
        named = _log(_given(answers))
        # What is stated beside a distribution that speaks against the label may be that of another class.
        stated = np.where(contradicted(answers.label, answers.proba), np.fmin(answers.logprob, named), answers.logprob)
        score = np.where(np.isnan(stated), named, stated)
    return np.where(_silent(answers), np.nan, score)


def check(measure: str) -> None:
    """Raise `ConfigError` for an unknown measure."""
    if measure not in MEASURES:
        raise ConfigError.unknown("measure of uncertainty", measure, MEASURES)


def resolve(answers: Stated, measure: str) -> str:
    """The measure that `auto` means for these answers, else `measure` itself; raises as `confidence` does.

    Resolve on the rows that a threshold is set on: a batch in which nothing is stated would tell otherwise.
    """
    check(measure)
    texts, full = not answers.proba.shape[1], bool((~np.isnan(answers.proba)).any())
    if measure == "auto":
        return "margin" if full else "logprob"
    if measure in ("margin", "entropy") and not full and (texts or not np.isnan(answers.logprob).all()):
        only = "the answers are texts, which have none" if texts else "only that of the answer is stated (logprob)"
        raise DataError(
            f"answers of '{answers.expert}'",
            f"measure '{measure}' needs the probability of every class and {only}",
            "logprob, least_confidence or auto",
            "Choose one of these." if texts else "Choose one of these, or record proba.",
        )
    return measure


def probability(answers: Stated) -> Floats:
    """Stated probability of the label given, in [0, 1 - 1e-6], NaN where none is stated, shape (n,)."""
    stated = np.clip(_given(answers), 0.0, SUREST)
    return np.where(_silent(answers), np.nan, stated)


def unit(score: Floats, measure: str) -> Floats:
    """A score of `measure` on [0, 1] in the same order, as a calibrator takes it, shape of `score`.

    The sigmoid of a margin, the exponential of a log-probability or of a negative entropy; NaN stays NaN.
    """
    if measure == "least_confidence":
        return score
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-score)) if measure == "margin" else np.exp(score)


def agreement(labels: Ints) -> Floats:
    """Share of all answers (n, asked) that are the last one's, NaN where that is no label, shape (n,).

    What stands in for confidence where a provider gives no probabilities: other experts or sampled answers.
    """
    last = labels[:, -1]
    return np.where(last < 0, np.nan, (labels == last[:, None]).mean(axis=1))


def _silent(answers: Stated) -> Bools:
    """Where no label was given; of a task without classes, whose answers are texts, the log-prob alone tells."""
    return np.asarray((answers.label < 0) & (answers.proba.shape[1] > 0))


def _given(answers: Stated) -> Floats:
    """Probability of the label given: from `proba`, else from `logprob`."""
    if not answers.proba.shape[1]:
        return np.exp(answers.logprob)
    named = of_label(answers.label, answers.proba)
    return np.where(np.isnan(named), np.exp(answers.logprob), named)


def _margin(label: Ints, proba: Floats) -> Floats:
    if proba.shape[1] == 1:
        return np.where(np.isnan(proba[:, 0]), np.nan, np.inf)
    top = np.partition(proba, -2, axis=1)[:, -2:]
    against = contradicted(label, proba)
    other = np.where(against, top[:, 1], top[:, 0])
    own = np.where(against, of_label(label, proba), top[:, 1])
    same = own == other
    return np.where(same, 0.0, _log(own) - np.where(same, 0.0, _log(other)))


def _negative_entropy(proba: Floats) -> Floats:
    return np.asarray((proba * _log(np.where(proba == 0, 1.0, proba))).sum(axis=1))


def _log(p: Floats) -> Floats:
    """Natural logarithm, -inf for 0, NaN for NaN."""
    with np.errstate(divide="ignore"):
        return np.log(p)
