"""A small expert trained on the labelled texts of a study, its answers beside those on record."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from askless import experts, schema
from askless.arrays import Bools
from askless.config import Price
from askless.data.recorded import Study
from askless.errors import ConfigError, DataError
from askless.experts.base import Expert, Setting, TrainedExpert
from askless.experts.small.auto import CHOSEN_FROM, AutoExpert, in_words, taught
from askless.experts.small.out_of_fold import out_of_fold, replaced
from askless.plans.plan import Goal
from askless.plans.planner import held_out

FOLDS = 10


def with_small(
    study: Study, backend: str, goal: Goal, certify: str | None = None, random_state: int = 0
) -> tuple[Study, TrainedExpert, str]:
    """A study with a small expert trained for a plan, that expert, and how the plan is to be certified.

    For a budget it learns from all rows that are not test. What a floor or a limit promises is certified by rows that
    it has not learnt from: the valid ones or, where there are none, six in ten of the labelled ones.

    Parameters
    ----------
    study
        Items with texts and gold labels.
    backend
        As of `trained`.
    goal
        What the plan is for.
    certify
        None for what the goal needs.
    random_state
        Seed of the rows held out, of the folds and of the expert.

    Raises
    ------
    ConfigError, DataError
        As `trained`.
    """
    certify = certify or ("split" if goal.floors or goal.limit is not None else "cross")
    quality = "macro_f1" if goal.of_classes else "accuracy"
    if certify == "split":
        study = apart(study, random_state)
    learns = learning_rows(study, "train") if certify == "split" else learning_rows(study, "train", "valid")
    return *trained(study, backend, learns, quality=quality, random_state=random_state), certify


def trained(
    study: Study, backend: str, learns: Bools, *, quality: str = "accuracy", random_state: int = 0
) -> tuple[Study, TrainedExpert]:
    """A small expert that learns from labelled texts, and the study with its answers.

    Where something has to be chosen for it (its strength, its epoch), one in five of these texts choose, as the valid
    split does in the pipeline. What it says of the others is out of fold, so that policies may be fitted on all.

    Parameters
    ----------
    study
        Items with texts and gold labels.
    backend
        Of a trained expert, such as `linear`; it is the expert's name too.
    learns
        The rows that it learns from, (rows,): none of test, and none that are to certify what it does.
    quality
        What it is to be good at: `accuracy`, `macro_f1` or `f1_positive`, of the last class.
    random_state
        Seed of the folds and of the expert.

    Returns
    -------
    tuple
        The study, and the expert.

    Raises
    ------
    ConfigError
        For a backend that is none, or an expert of that name on record.
    DataError
        For items without texts or gold labels, and for too few rows to learn from.
    """
    if not (study.has_text and study.classes):
        got = "no texts" if study.classes else "answers that were judged already"
        remedy = "Add the column text, or say which it is: --item-column text=ITS_NAME."
        raise DataError("items", got, "labelled texts, from which a small model learns", remedy)
    if backend in study.experts:
        raise ConfigError(f"An expert on record is called '{backend}' too. Give that one another name.")
    rows = study.examples.filter(pa.array(learns))
    setting = Setting(backend, "study", study.classes, quality=quality, positive=study.classes[-1])
    options = {"backend": backend}
    with tempfile.TemporaryDirectory() as scratch:
        # Sentence vectors are the same for all folds.
        there = replace(setting, encoded=Path(scratch, "encoded"))
        learner = experts.learner(there, options, f"A small model of backend '{backend}'", random_state)
        learns = taught(learner, rows, random_state)
        learn, choice = rows.filter(pa.array(learns)), rows.filter(pa.array(~learns))
        held = out_of_fold(learner, learn, choice, folds=FOLDS, random_state=random_state)
        study = with_answers(study, learner, replaced(learner.answer(study.examples), held))
        expert = experts.learner(setting, options, "", random_state).load(learner.save(Path(scratch, "learnt")))
    if isinstance(expert, AutoExpert):
        study = replace(study, notes=(*study.notes, in_words(expert.name, expert.meta()[CHOSEN_FROM])))
    return study, expert


def apart(study: Study, random_state: int = 0) -> Study:
    """The study with valid rows, which certify: six in ten of those that are not test, unless some are valid by now."""
    split = np.asarray(study.examples["split"].to_numpy(zero_copy_only=False))
    labelled = np.flatnonzero(split != "test")
    if (split == "valid").any():
        return study
    split[labelled[held_out(len(labelled), random_state)]] = "valid"
    at = study.examples.column_names.index("split")
    column = pa.chunked_array([split.tolist()], pa.string())
    return replace(study, examples=study.examples.set_column(at, study.examples.schema.field(at), column))


def learning_rows(study: Study, *splits: str) -> Bools:
    """Which rows are of these splits, (rows,)."""
    return np.isin(study.examples["split"].to_numpy(zero_copy_only=False).astype(str), splits)


def with_answers(study: Study, expert: Expert, said: pa.Table | None = None) -> Study:
    """The study with what one more expert says by now, unless it is given; without a price that is free."""
    import pyarrow.compute as pc

    said = expert.answer(study.examples) if said is None else said
    meta = {**schema.meta_of(said), "classes": list(study.classes)}
    ordered = said.take(pc.index_in(study.examples["id"].combine_chunks(), said["id"].combine_chunks()))
    answers = {**study.answers, expert.name: schema.with_meta(ordered, "predictions", meta)}
    cost = replace(study.cost, prices={expert.name: Price(), **study.cost.prices})
    mean = {name: float(cost.price(answers[name], name).mean()) for name in answers}
    rising = sorted(answers, key=lambda name: (mean[name], name != expert.name, name))
    names = (expert.name, *study.experts) if study.ordered else tuple(rising)
    return replace(study, answers=answers, cost=cost, experts=names)
