"""How likely each answer of a chain is right, by what it states or, where that is nothing, by who agrees with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deferral.calibration import platt, platt_apply, transform
from deferral.panel import NO_LABEL, Answers, Bools, Floats, Ints
from deferral.uncertainty import agreement, confidence, probability

FOLDS = 5
# Two numbers are learnt from so many rows as well as from all of a million.
ENOUGH = 50_000


def evidence(asked: Sequence[Answers], measure: str) -> tuple[Floats, Ints]:
    """What `stated` says of each link's answer (rows, links, 2), and the labels (rows, links)."""
    label = np.stack([answers.label for answers in asked], axis=1)
    about = [stated(answers, label[:, : link + 1], measure) for link, answers in enumerate(asked)]
    return np.stack(about, axis=1), label


def stated(answers: Answers, labels: Ints, measure: str) -> Floats:
    """The last answer's confidence, NaN where it states none, and its agreement with all `labels` so far, (rows, 2).

    The confidence is log 1/(1-p) of the probability stated, or the "margin" or "entropy" of `uncertainty.confidence`.
    """
    if measure in ("margin", "entropy"):
        score = np.clip(confidence(answers, measure), -50.0, 50.0)
    else:
        score = transform(probability(answers))
    return np.stack([score, agreement(labels)], axis=1)


def lines_of(about: Floats, right: Bools) -> Floats:
    """Platt's slope and intercept for each link, from confidence and from agreement, (links, 2, 2)."""
    return np.array([[_line(about[:, j, k], right[:, j]) for k in (0, 1)] for j in range(right.shape[1])])


def _line(x: Floats, right: Bools) -> Floats:
    known = np.flatnonzero(~np.isnan(x))
    known = known[:: 1 + len(known) // ENOUGH]
    x, right = x[known], right[known]
    if right.any() and not right.all():
        return platt(x, right)
    return np.array([0.0, np.log((right.sum() + 0.5) / ((~right).sum() + 0.5))])


def sure_of(about: Floats, label: Ints, lines: Floats) -> Floats:
    """Probability that each answer is right (...,), 0 without a label; by agreement where nothing is stated."""
    stated, agreed = (platt_apply(about[..., k], np.moveaxis(lines[..., k, :], -1, 0)) for k in (0, 1))
    sure = np.where(np.isnan(about[..., 0]), agreed, stated)
    # The last bits of an exponential depend on the batch it is worked out in.
    return np.where(label == NO_LABEL, 0.0, np.round(sure, 12))


def cross_fitted(about: Floats, label: Ints, right: Bools, draw: Floats) -> Floats:
    """Probabilities (rows, links), each row's learnt from the other folds."""
    sure, fold = np.empty(label.shape), (draw * FOLDS).astype(int)
    for k in range(FOLDS):
        held = fold == k
        sure[held] = sure_of(about[held], label[held], lines_of(about[~held], right[~held]))
    return sure
