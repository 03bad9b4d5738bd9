"""A summariser that anyone can train on a CPU: it ranks a document's sentences and answers with one of them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa

from askless.arrays import Floats
from askless.errors import ConfigError, DataError
from askless.experts.base import Setting, TrainedExpert, number, whole
from askless.experts.small.majority import fitted, free_tokens, unreadable
from askless.experts.small.ranking import Ranking, best_of, line_through, scores_of
from askless.experts.small.sentence_features import FEATURES, Sentences
from askless.experts.small.sentences import sentences
from askless.files import read_json, write_text

if TYPE_CHECKING:
    from askless.text.embeddings import Vectors

FILE = "extractive.json"
STRENGTHS = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
PART = 1_000
LEAST = 1e-3
NAMES = ("intercept", *FEATURES)


@dataclass(frozen=True)
class _Learnt:
    """Weights, the penalty that they were learnt with, and the scores of sentences that they were not learnt from."""

    strength: float
    weights: Floats
    scores: Floats


class ExtractiveExpert(TrainedExpert):
    """Answers with the best sentence of the document, by a ridge regression from a sentence's features to its ROUGE-L.

    It is learnt twice, from ROUGE-L as it is and as it stands out within its document (`ranking.Ranking`); the one
    whose best sentences of valid are the better ones ranks. `logprob` is the logarithm of the ROUGE-L F to expect of
    the answer: a straight line through what the first of the two says of the best sentences of valid, since the best of
    many scores promises too much. Where valid is empty all this comes from train, cross-fitted by document.

    Parameters
    ----------
    setting
        What the task tells the expert; its word vectors are needed.
    strengths
        Ridge penalties, each more than 0; the one with the least squared error on valid is taken.
    max_sentences
        Sentences of a document that are read, 1 or more; metadata `truncated` counts documents that have more.
    random_state
        Seed of the folds where valid is empty.
    """

    labels = False
    weights_: Floats
    worth_: Floats
    strength_: float
    line_: tuple[float, float]

    def __init__(
        self,
        setting: Setting,
        *,
        strengths: Sequence[float] = STRENGTHS,
        max_sentences: int = 200,
        random_state: int = 67,
    ) -> None:
        super().__init__(setting)
        self.strengths = strengths
        self.max_sentences = max_sentences
        self.random_state = random_state

    def fit(self, train: pa.Table, valid: pa.Table) -> Self:
        """Learn weights from `train`, choose penalty and expectation on `valid`, or on train cross-fitted."""
        self._validate()
        learn = self._ranking(train)
        held = self._ranking(valid) if valid.num_rows else None
        worth = self._choose(learn, held)
        ranks = self._choose(learn.inside(), held and held.inside())
        judged = held or learn
        ranks = ranks if judged.best(ranks.scores) > judged.best(worth.scores) else worth
        best = best_of(ranks.scores, judged.document)
        self.line_ = line_through(worth.scores[best], judged.y[best])
        self.weights_, self.worth_, self.strength_ = ranks.weights, worth.weights, ranks.strength
        return self

    def answer(self, examples: pa.Table) -> pa.Table:
        """The best sentence of each example, and the logarithm of the ROUGE-L F that is expected of it."""
        weights, vectors = fitted(self, "weights_"), self.vectors
        start, self._truncated = time.perf_counter(), 0
        chosen: list[str] = []
        expected: list[Floats] = []
        for at in range(0, examples.num_rows, PART):
            found = Sentences(self._split(examples["text"].slice(at, PART)), vectors)
            x = found.features()
            best = best_of(scores_of(x, weights), found.document)
            chosen += [found.texts[i] for i in best]
            expected.append(self.line_[0] + self.line_[1] * scores_of(x[best], self.worth_))
        logprob = np.log(np.clip(np.concatenate([*expected, []]), LEAST, 1.0))
        free = free_tokens(examples.num_rows, start)
        return self.predictions(examples, {"text": chosen, "logprob": logprob, **free})

    def meta(self) -> dict[str, Any]:
        """The model, its penalty, and of how many documents the end was not read."""
        return {
            "model": "sentence features + ridge",
            "strength": fitted(self, "strength_"),
            "truncated": self._truncated,
        }

    def save(self, folder: Path) -> Path:
        """Write the weight of each feature, as JSON; the word vectors stay where they are."""
        learnt = {
            "weights": dict(zip(NAMES, fitted(self, "weights_").tolist(), strict=True)),
            "worth": dict(zip(NAMES, self.worth_.tolist(), strict=True)),
            "strength": self.strength_,
            "line": self.line_,
            "vectors": self._shape(),
        }
        write_text(folder / FILE, json.dumps(learnt, indent=1))
        return folder

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote; raises `DataError` where it was trained on other word vectors."""
        path = folder / FILE
        try:
            learnt = read_json(path)
            weights, worth = (np.array([float(learnt[k][name]) for name in NAMES]) for k in ("weights", "worth"))
            strength, shape = float(learnt["strength"]), learnt["vectors"]
            level, slope = map(float, learnt["line"])
            if not np.isfinite([*weights, *worth, strength, level, slope]).all():
                raise ValueError("weights that are no finite numbers")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise unreadable(path, error) from error
        if shape != self._shape():
            raise DataError(path, f"trained with word vectors {shape}", f"{self._shape()}", "Fit it again.")
        self.weights_, self.worth_, self.strength_, self.line_ = weights, worth, strength, (level, slope)
        return self

    @cached_property
    def vectors(self) -> Vectors:
        """The task's word vectors, opened once; raises `ConfigError` where the task has none."""
        from askless.text.embeddings import Vectors

        if self.setting.vectors is None:
            raise ConfigError(f"Expert '{self.name}' needs word vectors: give the task a `vectors` section.")
        return Vectors.open(self.setting.vectors)

    _truncated = 0

    def _choose(self, learn: Ranking, held: Ranking | None) -> _Learnt:
        """The weights of the penalty with the least error on `held` or, without it, cross-fitted."""
        found = []
        for strength in self.strengths:
            weights = learn.ridge(strength)
            scores = scores_of(held.x, weights) if held else learn.crossed(strength, self.random_state)
            found.append(((held or learn).error(scores), strength, _Learnt(strength, weights, scores)))
        return min(found, key=lambda row: row[:2])[2]

    def _ranking(self, examples: pa.Table) -> Ranking:
        from askless.text.rouge import rouge

        references = _references(examples)
        found = Sentences(self._split(examples["text"]), self.vectors)
        y = rouge(found.texts, [references[i] for i in found.document])
        return Ranking(found.features(), y, found.document)

    def _split(self, texts: pa.ChunkedArray) -> list[list[str]]:
        found = [sentences(text) or [text.strip()] for text in texts.to_pylist()]
        self._truncated += sum(len(lines) > self.max_sentences for lines in found)
        return [lines[: self.max_sentences] for lines in found]

    def _shape(self) -> dict[str, int]:
        return {"words": len(self.vectors), "dim": self.vectors.dim}

    def _validate(self) -> None:
        self.require("max_sentences", whole(self.max_sentences), "a whole number >= 1")
        strengths = list(self.strengths)
        fits = bool(strengths) and all(number(value, 1e-12) for value in strengths)
        self.require("strengths", fits, "one number > 0 or more")


def _references(examples: pa.Table) -> list[str]:
    """The references; raises `DataError` unless there are two documents or more and each has one."""
    references: list[str] = examples["reference"].to_pylist()
    bare = next((i for i, reference in enumerate(references) if not (reference or "").strip()), None)
    if bare is not None or len(references) < 2:
        got = f"{len(references)} rows" if bare is None else f"no reference in row {bare}"
        allowed = "two rows or more, each with a reference summary"
        raise DataError("documents to learn from", got, allowed, "Add references or drop the rows.")
    return references
