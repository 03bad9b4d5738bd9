"""The small model that learns from the LLM's answers, and what is to be expected of it before anybody checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from askless import experts
from askless.annotating.asked import AskedTexts
from askless.arrays import Bools, Floats, Ints
from askless.costs import CostModel
from askless.errors import ConfigError, DataError
from askless.experts.base import Setting, TrainedExpert
from askless.experts.small.out_of_fold import out_of_fold
from askless.panel import NO_LABEL, Answering, Answers, Panel
from askless.stats.calibration import PlattCalibrator, laplace, stratified_folds
from askless.stats.uncertainty import confidence, probability

NAME, MEASURE = "small", "margin"
PART = 20_000
FOLDS = 3


@dataclass(frozen=True)
class Scores:
    """What the small model says of texts, each (texts,).

    Parameters
    ----------
    label
        Class indices.
    margin
        How sure it is; the higher, the surer.
    agrees
        Calibrated chance that the LLM says the same.
    """

    label: Ints
    margin: Floats
    agrees: Floats


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
        How many texts it learnt from.
    """

    expert: TrainedExpert
    calibrator: PlattCalibrator
    agreement: float
    taught: int

    @classmethod
    def of(cls, options: Mapping[str, Any], asked: AskedTexts, chance: Bools, task: str, seed: int) -> SmallModel:
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
        task
            The task's name.
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
        fold = stratified_folds(asked.label[places], 5, seed)
        examples, taught = asked.examples(places, labels=True), places[fold != 0]
        train, valid = examples.filter(pa.array(fold != 0)), examples.filter(pa.array(fold == 0))
        if not train.num_rows or not valid.num_rows:
            train = valid = examples
            taught = places
        try:
            fitted, held = _fitted(untaught(options, task, asked.classes), train, valid, seed)
        except DataError:
            fitted, held = _fitted(untaught({"backend": "majority"}, task, asked.classes), train, valid, seed)
        right = held.label == asked.label[taught]
        agreement = laplace(right[chance[taught]])
        return cls(fitted, PlattCalibrator().fit(probability(held), right), agreement, len(places))

    def scores(self, asked: AskedTexts, places: Ints) -> Scores:
        """What it says of the texts at these places, some thousand at a time."""
        parts = [places[at : at + PART] for at in range(0, len(places), PART)] or [places]
        found = [_said(self.expert, asked.examples(part), asked.classes) for part in parts]
        label = np.concatenate([each.label for each in found])
        margin = np.concatenate([np.nan_to_num(confidence(each, MEASURE), nan=-np.inf) for each in found])
        stated = np.concatenate([probability(each) for each in found])
        return Scores(label, margin, np.where(label == NO_LABEL, 0.0, np.nan_to_num(self.calibrator(stated))))


def untaught(options: Mapping[str, Any], task: str, classes: tuple[str, ...]) -> TrainedExpert:
    """The small model that options describe, as it is before it learns.

    Raises `ConfigError` for options that cannot be meant, and for a backend that learns nothing.
    """
    backend = str(options.get("backend"))
    if not issubclass(experts.resolve(backend, NAME), TrainedExpert):
        able = ", ".join(experts.backends(lambda kind: issubclass(kind, TrainedExpert) and kind.labels))
        raise ConfigError(f"The small model got backend {backend}, which learns nothing. Allowed: {able}.")
    expert = experts.build(Setting(NAME, task, classes), options)
    assert isinstance(expert, TrainedExpert)
    return expert


def _fitted(expert: Any, train: pa.Table, valid: pa.Table, seed: int) -> tuple[TrainedExpert, Answers]:
    """The expert, fitted, and what models that each lacked a fold of `train` say of that fold."""
    fitted = expert.fit(train, valid)
    held = out_of_fold(fitted, train, valid, folds=FOLDS, random_state=seed)
    return fitted, _said(_Fixed(held), train, expert.setting.classes)


@dataclass(frozen=True)
class _Fixed:
    table: pa.Table

    def answer(self, examples: pa.Table) -> pa.Table:
        return self.table


def _said(expert: Answering, examples: pa.Table, classes: tuple[str, ...]) -> Answers:
    return Panel(examples, {NAME: expert}, CostModel("seconds"), classes, blind=True).ask(NAME)
