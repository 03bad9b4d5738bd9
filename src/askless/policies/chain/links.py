"""How likely each answer of a chain is right, by what it states or, where that is nothing, by who agrees with it.

Of a text it is the quality in [0, 1] to be expected, where nothing is stated the link's mean: no two texts agree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from askless.arrays import Bools, Floats, Ints
from askless.panel import Answers
from askless.policies.base import answered
from askless.stats.calibration import platt, platt_apply, transform
from askless.stats.uncertainty import agreement, confidence, probability

FOLDS = 5
# Two numbers are learnt from so many rows as well as from all of a million.
ENOUGH = 50_000


def evidence(asked: Sequence[Answers], measure: str) -> Floats:
    """What `stated` says of each link's answer (rows, links, 2)."""
    label = np.stack([answers.label for answers in asked], axis=1)
    return np.stack([stated(answers, label[:, : link + 1], measure) for link, answers in enumerate(asked)], axis=1)


def stated(answers: Answers, labels: Ints, measure: str) -> Floats:
    """The last answer's confidence, NaN where it states none, and its agreement with all `labels` so far, (rows, 2).

    The confidence is log 1/(1-p) of the probability stated, or the "margin" or "entropy" of `uncertainty.confidence`.
    Of a text it is p itself, for the mean probability of a token is not crowded under 1, and agreement is 0. Both
    are NaN where there is no answer, agreement only there.
    """
    texts = not answers.proba.shape[1]
    if measure in ("margin", "entropy"):
        score = np.clip(confidence(answers, measure), -50.0, 50.0)
    else:
        score = probability(answers) if texts else transform(probability(answers))
    agreed = np.zeros(len(labels)) if texts else agreement(labels)
    return np.where(answered(answers)[:, None], np.stack([score, agreed], axis=1), np.nan)


def lines_of(about: Floats, quality: Floats) -> Floats:
    """Platt's slope and intercept for each link, from confidence and from agreement, (links, 2, 2)."""
    return np.array([[_line(about[:, j, k], quality[:, j]) for k in (0, 1)] for j in range(quality.shape[1])])


def _line(x: Floats, quality: Floats) -> Floats:
    known = np.flatnonzero(~np.isnan(x))
    known = known[:: 1 + len(known) // ENOUGH]
    x, quality = x[known], quality[known]
    if len(known) and quality.min() < quality.max():
        return platt(x, quality)
    return np.array([0.0, np.log((quality.sum() + 0.5) / ((1 - quality).sum() + 0.5))])


def given_of(about: Floats) -> Bools:
    """Which answers there are (...,)."""
    return ~np.isnan(about[..., 1])


def sure_of(about: Floats, lines: Floats) -> Floats:
    """Quality to be expected of each answer (...,), 0 of none; by agreement where nothing is stated."""
    stated, agreed = (platt_apply(about[..., k], np.moveaxis(lines[..., k, :], -1, 0)) for k in (0, 1))
    sure = np.where(np.isnan(about[..., 0]), agreed, stated)
    # The last bits of an exponential depend on the batch it is worked out in.
    return np.where(given_of(about), np.round(sure, 12), 0.0)


def cross_fitted(about: Floats, quality: Floats, draw: Floats) -> Floats:
    """Expected qualities (rows, links), each row's learnt from the other folds."""
    sure, fold = np.empty(quality.shape), (draw * FOLDS).astype(int)
    for k in range(FOLDS):
        held = fold == k
        sure[held] = sure_of(about[held], lines_of(about[~held], quality[~held]))
    return sure
