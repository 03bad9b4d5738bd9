"""The small model that learns from the LLM's answers, and what is to be expected of it before anybody checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from askless import experts
from askless.annotating.asked import AskedTexts
from askless.arrays import Bools, Floats, Ints
from askless.costs import CostModel
from askless.errors import DataError
from askless.experts.base import Setting, TrainedExpert
from askless.experts.recorded import RecordedExpert
from askless.experts.small.auto import taught
from askless.experts.small.out_of_fold import out_of_fold
from askless.panel import NO_LABEL, Answering, Answers, Panel
from askless.policies.operating_points import least_if_nan
from askless.policies.two_tier import SUREST_SCORE
from askless.stats.calibration import PlattCalibrator, laplace
from askless.stats.uncertainty import confidence, probability

NAME, MEASURE = "small", "margin"
PART = 20_000
FOLDS = 3


@dataclass(frozen=True)
class Scores:
    """What the small model says of texts.

    Parameters
    ----------
    label
        Class indices, (texts,).
    margin
        How sure it is, (texts,); the higher, the surer.
    agrees
        Calibrated chance that the LLM says the same, (texts,).
    proba
        What it states of each class, (texts, classes).
    """

    label: Ints
    margin: Floats
    agrees: Floats
    proba: Floats

    def chance(self, of: int | Ints) -> Floats:
        """Calibrated chance that the LLM names this class, or that of each text, (texts,).

        The other classes share what its own label leaves.
        """
        rows = np.arange(len(self.label))
        rest = 1 - self.proba[rows, self.label]
        share = np.divide(self.proba[rows, of], rest, out=np.zeros(len(rest)), where=rest > 0)
        return np.where(self.label == of, self.agrees, (1 - self.agrees) * np.minimum(share, 1.0))

    def take(self, places: Ints) -> Scores:
        """Of these texts alone."""
        return Scores(self.label[places], self.margin[places], self.agrees[places], self.proba[places])

    def put(self, places: Ints, others: Scores) -> Scores:
        """With what others say of the texts at these places."""
        found = Scores(self.label.copy(), self.margin.copy(), self.agrees.copy(), self.proba.copy())
        for name, values in vars(found).items():
            values[places] = getattr(others, name)
        return found


@dataclass(frozen=True)
class SmallModel:
    """A small model, fitted.

    Parameters
    ----------
    expert
        It.
    calibrator
        From its stated probability to the chance that the LLM says the same, learnt out of fold.
    agreement
        Share of texts drawn by chance on which it says the same, out of fold: what is to be expected of the file.
    taught
        Places of the texts that it learnt from.
    held
        What is said of each of these by a model that has not learnt from it.
    """

    expert: TrainedExpert
    calibrator: PlattCalibrator
    agreement: float
    taught: Ints
    held: Scores

    @classmethod
    def of(
        cls, options: Mapping[str, Any], asked: AskedTexts, chance: Bools, setting: Setting, seed: int
    ) -> SmallModel:
        """One that learns from all labels so far.

        Parameters
        ----------
        options
            Its backend and options. Where the LLM has named one class only, or no two texts share a word, the
            commonest class is all that there is to learn.
        asked
            What the LLM has said.
        chance
            Which texts were drawn by chance, (texts,): the others were asked because they are hard.
        setting
            What a small model is told of its task.
        seed
            Of the folds.
        """
        places = asked.labelled
        if not len(places):
            commonest = asked.unreadable(1)
            why = commonest[0][0] if commonest else next(iter(asked.errors.values()), "it was not asked")
            raise DataError(
                f"answers of {asked.expert.name}",
                f"no label in {int(asked.done.sum()):,} replies (the commonest reason: {why})",
                "at least one to learn from",
                "Look at the replies, and correct the question, the classes or the server.",
            )
        try:
            fitted, held, taught = _fitted(untaught(options, setting), asked, places, seed)
        except DataError:
            fitted, held, taught = _fitted(untaught({"backend": "majority"}, setting), asked, places, seed)
        right = held.label == asked.label[taught]
        calibrator = PlattCalibrator().fit(probability(held), right)
        return cls(fitted, calibrator, laplace(right[chance[taught]]), taught, _scores([held], calibrator))

    def scores(self, asked: AskedTexts, places: Ints) -> Scores:
        """What it says of the texts at these places, some thousand at a time."""
        parts = [places[at : at + PART] for at in range(0, len(places), PART)] or [places]
        found = [_said(self.expert, asked.examples(part), asked.classes) for part in parts]
        return _scores(found, self.calibrator)


def _scores(found: Sequence[Answers], calibrator: PlattCalibrator) -> Scores:
    label = np.concatenate([each.label for each in found])
    margin = np.concatenate([least_if_nan(confidence(each, MEASURE)) for each in found])
    agrees = np.nan_to_num(calibrator(np.concatenate([probability(each) for each in found])))
    proba = np.nan_to_num(np.concatenate([each.proba for each in found]))
    return Scores(label, np.minimum(margin, SUREST_SCORE), np.where(label == NO_LABEL, 0.0, agrees), proba)


def untaught(options: Mapping[str, Any], setting: Setting) -> TrainedExpert:
    """The small model that options describe, as it is before it learns.

    Raises `ConfigError` for options that cannot be meant, and for a backend that learns nothing.
    """
    return experts.learner(setting, options, f"The small model got backend {options.get('backend')}")


def _fitted(expert: TrainedExpert, asked: AskedTexts, places: Ints, seed: int) -> tuple[TrainedExpert, Answers, Ints]:
    """The expert, fitted, and of the texts that it learnt from what models say that each lacked a fold of them."""
    learns = taught(expert, asked.examples(places, labels=True), seed)
    train, valid = (asked.examples(places[each], labels=True) for each in (learns, ~learns))
    table = out_of_fold(expert, train, valid, folds=FOLDS, random_state=seed)
    return expert, _said(RecordedExpert(expert.setting, table=table), train, asked.classes), places[learns]


def _said(expert: Answering, examples: pa.Table, classes: tuple[str, ...]) -> Answers:
    return Panel(examples, {NAME: expert}, CostModel("seconds"), classes, blind=True).ask(NAME)
