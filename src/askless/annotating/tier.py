"""A cheaper LLM between the small model and the LLM that the promise is about: a cascade of three, or of more.

Its label is one more thing to go by: the chance that the last LLM says the same follows from it and from what was said
before. It is asked about texts where that is expected to save more than it costs. The promise does not rest on this
expectation: who labels a row, and how sure that is, is settled before the sample is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from askless.annotating.asked import AskedTexts
from askless.annotating.small_model import FOLDS, Scores
from askless.arrays import Bools, Floats, Ints
from askless.panel import NO_LABEL
from askless.stats.calibration import laplace, stratified_folds

LEAST = 1e-6


class Tier:
    """One cheaper LLM, and what was learnt of it.

    Parameters
    ----------
    asked
        What it has said of the texts.

    Attributes
    ----------
    worth : bool
        Whether asking it was last expected to save more than it costs.
    """

    def __init__(self, asked: AskedTexts) -> None:
        self.asked = asked
        self.worth = False
        self._agrees: Callable[[Floats], Floats] = lambda x: np.full(len(x), 0.5)

    def learn(self, held: Scores, taught: Ints, label: Ints, seed: int) -> Scores:
        """Learn how often its label is the last LLM's.

        Parameters
        ----------
        held
            What is said without it of the texts that teach, out of fold, (n,).
        taught, label
            Their places, and the last LLM's label of each, (n,).
        seed
            Of the folds.

        Returns
        -------
        Scores
            What is said with it of these texts, out of fold, (n,).
        """
        mine = self._heard(taught)
        own, scores = self.asked.label[taught[mine]], held.take(mine)
        x, right, agrees = self._features(scores, taught[mine]), own == label[mine], np.zeros(len(mine))
        fold = stratified_folds(right, FOLDS, seed)
        for k in range(FOLDS):
            agrees[fold == k] = _fitted(x[fold != k], right[fold != k])(x[fold == k])
        self._agrees = _fitted(x, right)
        return held.put(mine, _with(scores, own, agrees))

    def refine(self, scores: Scores, places: Ints) -> Scores:
        """What is said with it of the texts at `places` (n,); as before where it has given no label."""
        mine = self._heard(places)
        if not len(mine):
            return scores
        before, at = scores.take(mine), places[mine]
        return scores.put(mine, _with(before, self.asked.label[at], self._agrees(self._features(before, at))))

    def ask(
        self, scores: Scores, places: Ints, wrong: tuple[Floats, Floats], bill: Callable[[Floats, float], Any]
    ) -> float:
        """Ask about those of the texts at `places` about which it is expected to save more than it costs.

        Parameters
        ----------
        scores
            What is said of them without it, (n,).
        places
            Where they are, (n,).
        wrong
            Of texts drawn by chance, how likely the label is wrong without and with it, each (m,).
        bill
            From how likely the labels of these are wrong, (m,), and the dollars paid to it for them, to what they cost
            in all; the less the better.

        Returns
        -------
        float
            How likely a label must be wrong to be asked about, infinite where none is.
        """
        usd, (before, after) = self.asked.mean_cost, wrong
        order = np.argsort(-before, kind="stable")
        mixed = before.copy()
        bills = [bill(mixed, 0.0)]
        for n, at in enumerate(order, 1):
            mixed[at] = after[at]
            bills.append(bill(mixed, n * usd))
        best = min(range(len(bills)), key=bills.__getitem__)
        self.worth = best > 0
        if not self.worth:
            return math.inf
        least, unsure = float(before[order[best - 1]]), 1 - scores.agrees
        self.asked.ask(places[np.argsort(-unsure, kind="stable")[: int((unsure >= least).sum())]])
        return least

    def _heard(self, places: Ints) -> Ints:
        return np.flatnonzero(self.asked.label[places] != NO_LABEL)

    def _features(self, scores: Scores, places: Ints) -> Floats:
        """How likely its label is by what was said before, how sure that was and it is, and the label, (n, ...)."""
        label, stated = self.asked.label[places], self.asked.stated[places]
        columns = [logit(scores.chance(label)), logit(scores.agrees), logit(np.where(np.isnan(stated), 0.5, stated))]
        return np.column_stack([*columns, label[:, None] == np.arange(len(self.asked.classes))])


def logit(chance: Floats) -> Floats:
    """log(p / (1 - p)), of chances bounded away from 0 and 1."""
    bounded = np.clip(chance, LEAST, 1 - LEAST)
    return np.asarray(np.log(bounded) - np.log1p(-bounded))


def _fitted(x: Floats, right: Bools) -> Callable[[Floats], Floats]:
    """From features to the chance of being right: a rate where too few rows differ to learn more."""
    if min(int(right.sum()), int((~right).sum())) < FOLDS:
        rate = laplace(right)
        return lambda x: np.full(len(x), rate)
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(x, right)
    return lambda x: np.asarray(model.predict_proba(x)[:, 1])


def _with(scores: Scores, own: Ints, agrees: Floats) -> Scores:
    """Scores in which the class `own` (n,) has the chance `agrees`, and the others share the rest as they did."""
    rows, classes = np.arange(len(own)), scores.proba.shape[1]
    proba = np.column_stack([scores.chance(c) for c in range(classes)])
    proba[rows, own] = 0.0
    total = proba.sum(axis=1, keepdims=True)
    proba = np.divide(proba, total, out=np.full_like(proba, 1 / max(classes - 1, 1)), where=total > 0)
    proba *= (1 - agrees)[:, None]
    proba[rows, own] = agrees
    label = proba.argmax(axis=1)
    stated = proba[rows, label]
    return Scores(label, logit(stated), stated, proba)
