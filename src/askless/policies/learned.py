"""Learned deciders that the two-tier cascade is compared with; each reads the text, one the small answer too.

TF-IDF with logistic regression stands for the fine-tuned encoders of the papers. Source of the comparison:
Ramirez et al. 2024, Optimising Calls to Large Language Models with Uncertainty-Based Two-Tier Selection.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, Self

import numpy as np

from askless.arrays import Bools, Floats, Floats32, Ints
from askless.errors import ConfigError
from askless.panel import NO_LABEL, Panel
from askless.policies.base import Budget, Policy, some_rows
from askless.policies.operating_points import Threshold
from askless.policies.score_threshold import ScoredRows, ScoreThreshold
from askless.policies.text_chances import TextChances
from askless.stats.calibration import PlattCalibrator
from askless.text.sentence_vectors import ENCODER, FEATURES, KEPT, WORDS, TextVectors


class Learned(ScoreThreshold):
    """A decider between two experts, learnt from texts; its score is a chance that is read off the text.

    Thresholds are set on valid; without one on train, by scores that are out of fold. What is learnt is as wide as the
    vocabulary and is not kept in bundles.

    Parameters
    ----------
    experts
        Names of two: the small one and the large one.
    features
        What is read of a text: `words`, TF-IDF of its words and word pairs; `encoder`, its sentence vector; `both`.
    encoder, encoded
        The sentence encoder, and the folder where its vectors are kept, as `model` and `store` of
        `askless.text.sentence_vectors.TextVectors`.
    strength
        C of the logistic regression, > 0: the larger, the less its weights are shrunk.
    folds
        How many folds scores out of fold come from, 2 or more.
    most
        Of more rows to learn from, so many are drawn.
    random_state
        Seed of folds, of the rows drawn and of ties.

    Attributes
    ----------
    prices_ : array (2,)
        Mean cost of each expert on train.
    digest_ : str or None
        Of the sentence encoder's files, where one is read with.
    """

    reads_text = True
    kept = False
    chances_: TextChances
    digest_: str | None
    _reads: TextVectors | None = None

    def __init__(
        self,
        experts: tuple[str, ...],
        *,
        features: str = WORDS,
        encoder: str = "auto",
        encoded: Path | None = None,
        strength: float = 1.0,
        folds: int = 5,
        most: int = 20_000,
        random_state: int = 0,
    ) -> None:
        super().__init__(experts, random_state=random_state)
        self.features = features
        self.encoder = encoder
        self.encoded = encoded
        self.strength = strength
        self.folds = folds
        self.most = most

    def fit(self, train: Panel, valid: Panel) -> Self:
        """Learn the chances on `train`, the thresholds on `valid`, or without one on train, out of fold."""
        Policy.fit(self, train, valid)
        self._require(train, folds=2, most=1)
        if not self.strength > 0:
            raise ConfigError(f"{type(self).__name__} got strength {self.strength:g}. Allowed: a number > 0.")
        rows = some_rows(len(train), self.most, self.random_state)
        given, quality, cost, unanswered = self.both(train, rows)
        text, events = [train.text[row] for row in rows], self.events(quality)
        self.prices_ = cost.mean(axis=0)
        answers = len(train.classes) + 1 if self.asks_first else 0
        self.chances_ = TextChances(self.strength, answers, self.features != ENCODER)
        self._reads = self._reader(self.encoder, None)
        near = None if self._reads is None else self._reads(text)[0]
        self.digest_ = None if self._reads is None else self._reads.digest
        if len(valid):
            self.chances_.fit(text, given, events, near)
            given, quality, cost, unanswered = self.both(valid)
            chances = self.chances_.predict(valid.text, given, self._vectors(valid))
        else:
            folds, seed = self.folds, self.random_state
            chances = self.chances_.cross_fit(text, given, events, near, folds=folds, random_state=seed)
        chances = self._sure(chances, given)
        self.set_points(self.rank(chances), quality, cost, unanswered)
        first, last = (PlattCalibrator().fit(chances[:, j], quality[:, e]) for e, j in enumerate((0, -1)))
        self.calibrators_ = (first, last)
        return self

    def both(self, panel: Panel, rows: Ints | None = None) -> tuple[Ints, Floats, Floats, Bools]:
        """As of any, but where the large one did not answer the small one's quality stands for both."""
        given, quality, cost, unanswered = super().both(panel, rows)
        return given, np.where(unanswered[:, None], quality[:, :1], quality), cost, unanswered

    def scores(self, panel: Panel) -> ScoredRows:
        """Each row's score, and the calibrated chance of either expert."""
        given = panel.ask(self.experts[0]).label if self.asks_first else np.full(len(panel), NO_LABEL)
        chances = self._sure(self.chances_.predict(panel.text, given, self._vectors(panel)), given)
        right = [calibrate(chances[:, j]) for calibrate, j in zip(self.calibrators_, (0, -1), strict=True)]
        return ScoredRows(self.rank(chances), np.column_stack(right))

    def score(self, panel: Panel) -> Floats:
        """What is compared with the threshold, shape (rows,)."""
        return self.scores(panel).score

    def write(self, folder: Path) -> None:
        """Put the encoder's files there, where one is read with."""
        if self._reads is not None:
            self._reads.keep(folder)

    def read(self, folder: Path, small: Any) -> None:
        """Read with the encoder that `write` put there."""
        self._reads = self._reader(str(folder / KEPT), self.digest_)

    def _reader(self, model: str, digest: str | None) -> TextVectors | None:
        """What gives sentence vectors, where they are read; words are counted, and need no word vectors."""
        if self.features not in FEATURES:
            raise ConfigError.unknown("features", self.features, FEATURES)
        return None if self.features == WORDS else TextVectors(ENCODER, None, model, self.encoded, digest)

    def _vectors(self, panel: Panel) -> Floats32 | None:
        if self._reads is None:
            # One that plain values restored reads with the encoder that it was fitted with.
            self._reads = self._reader(self.encoder, self.digest_)
        return None if self._reads is None else panel.features(self._reads)

    @abstractmethod
    def events(self, quality: Floats) -> Bools:
        """What the chances are of, (rows, events), from the quality of both answers (rows, 2)."""

    def rank(self, chances: Floats) -> Floats:
        """The score (rows,) from the chances (rows, events): the first one, unless a subclass knows better."""
        return np.asarray(chances[:, 0])

    def _sure(self, chances: Floats, given: Ints) -> Floats:
        """The chances, but 0 for an answer without a label."""
        return np.where(given[:, None] == NO_LABEL, 0.0, chances) if self.asks_first else chances


class AnswerScorer(Learned):
    """Asks the small expert, estimates from text and answer whether it is right, and escalates the least likely.

    Source: FrugalGPT (Chen et al. 2023), the scoring function of its cascade.

    Parameters
    ----------
    experts, features, encoder, encoded, strength, folds, most, random_state
        As of `Learned`.
    """

    title = "Answer scorer"
    about = "Reads the text and the small model's answer, and asks the large one where that is probably wrong."
    asks_first = True

    def events(self, quality: Floats) -> Bools:
        """The small one is right."""
        return np.asarray(quality[:, :1] == 1)


class QueryAllocator(Learned):
    """Estimates from the text alone whether the small expert will do as well as the large one, and asks one of the two.

    Source: Hybrid LLM (Ding et al. 2024), the deterministic target.

    Parameters
    ----------
    experts, features, encoder, encoded, strength, folds, most, random_state
        As of `Learned`.
    """

    title = "Router by text"
    about = "Reads the text alone and asks one of two: the large one where the small one would do worse."
    graded = True
    in_plans = True

    def events(self, quality: Floats) -> Bools:
        """The small one is as good as the large one."""
        return quality[:, :1] >= quality[:, 1:]


class MetaModel(Learned):
    """Estimates from the text alone the chance of either expert to be right, and asks the one worth its price.

    Chooses the large one where P_large - P_small > lambda x (price_large - price_small). Source: Šakota et al. 2024,
    Fly-Swat or Cannon.

    Parameters
    ----------
    experts, features, encoder, encoded, strength, folds, most, random_state
        As of `Learned`.
    """

    title = "Router by text and price"
    about = "Reads the text alone and asks the large one where its better chance is worth its price."

    def events(self, quality: Floats) -> Bools:
        """The small one is right, the large one is right."""
        return np.asarray(quality == 1)

    def rank(self, chances: Floats) -> Floats:
        """P_small - P_large, shape (rows,)."""
        return np.asarray(chances[:, 0] - chances[:, 1])

    def threshold(self, budget: Budget | None) -> Threshold:
        """The threshold that keeps `budget`; a price is weighed against the chances themselves."""
        if budget is not None and budget.price is None:
            return super().threshold(budget)
        price = 0.0 if budget is None else budget.value
        return Threshold(float(price * (self.prices_[0] - self.prices_[1])), 0.0)
