"""From no label to a promise: which texts the LLM is asked about, in which order, and when to stop.

1. Texts drawn by chance teach the small model.
2. Texts that will have to be asked anyway, the least sure ones, are asked in rounds and teach it too.
3. Of the rows left a sample is drawn by chance, which never teaches, and certifies how many of the surest may be kept
   (`stats.finite_population`). How many are drawn is settled before, by what the bill is then expected to be.
4. All others are asked.

What is expected rests on answers that teach, so that the promise is tested once, on rows nobody looked at before.
Everything follows from the file, the options and the answers: after a kill the same steps are taken again, and answers
that are kept cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from askless.annotating.asked import BATCH, AskedTexts
from askless.annotating.small_model import NAME, Scores, SmallModel
from askless.arrays import Bools, Floats, Ints
from askless.errors import BudgetError
from askless.experts.base import Setting
from askless.panel import NO_LABEL, draws
from askless.policies.operating_points import Threshold
from askless.stats.bounds import share_interval
from askless.stats.finite_population import keepable, least_allowed, most_errors

# Drawn by chance to begin with: a share of the texts, within bounds.
FIRST, FEWEST, MOST = 0.05, 50, 300
# A round asks half of what is expected to be asked anyway, while that is worth it: shares of the texts, and at most.
ROUNDS, STEP, WORTH = 10, (0.06, 2000), (0.12, 1500)
SAMPLES = 24
# Where money is short: its parts for teaching and for the sample.
TEACHING, CERTIFYING = 0.4, 0.15


@dataclass(frozen=True)
class Wish:
    """What is asked for.

    Parameters
    ----------
    agree
        Share of the rows, 0 to 1, whose label is to be what the LLM would say; None: as many as the money buys.
    confidence
        Of the promise, 0.5 to below 1.
    small
        Backend and options of the small model.
    seed
        Of everything that is drawn.
    encoded
        Folder where sentence vectors are kept; None: they are made again in each round.
    """

    agree: float | None
    confidence: float = 0.95
    small: Mapping[str, Any] = field(default_factory=lambda: {"backend": "stack"})
    seed: int = 0
    encoded: Path | None = None

    def __post_init__(self) -> None:
        if self.agree is not None and not 0.5 <= self.agree < 1:
            raise BudgetError(f"An agreement of {self.agree:g}. Allowed: 0.5 or more and less than 1, such as 0.97.")
        if not 0.5 <= self.confidence < 1:
            raise BudgetError(f"A confidence of {self.confidence:g}. Allowed: 0.5 or more and less than 1.")


@dataclass(frozen=True)
class Round:
    """How things stood when the small model had learnt from so many answers.

    Parameters
    ----------
    asked
        Texts put to the LLM until then.
    agreement
        Of the small model with the LLM, expected over the file (out of fold, on texts drawn by chance), 0 to 1.
    calls
        Texts that were expected to be asked in all, to reach the goal.
    usd
        Paid until then.
    """

    asked: int
    agreement: float
    calls: int
    usd: float


@dataclass(frozen=True, eq=False)
class Annotation:
    """The labels of the different texts of a file, and what is promised of its rows.

    Parameters
    ----------
    label, agrees
        Class index, -1 for none, and for texts of the small model the chance that the LLM says the same (NaN for
        others), each (texts,).
    by_small
        Which texts the small model labelled, (texts,).
    promised
        At least this share of the rows has the LLM's label, 0 to 1; None where nothing is promised.
    confidence
        Of the promise.
    rounds
        How it came about.
    sample
        Rows of the sample that certified, and on how many of these kept the small model was wrong.
    small
        The small model.
    threshold
        For another file: the margin under which a text goes to the LLM. It is where a file like this one is expected to
        keep the goal, on the safe side, or to ask about as many of its texts; nothing is promised of it.
    drawn, kept
        Which texts the sample had, and which stand above the threshold, each (texts,).
    small_said, small_agrees
        What the small model says of the texts that were not asked before the sample was drawn, and the chance that the
        LLM says the same, each (texts,); -1 and NaN of the others.
    stopped
        Why it ended: `goal`, `money`, `everything`, or `unanswered` where rows that were to be asked got no answer.
    """

    label: Ints
    agrees: Floats
    by_small: Bools
    promised: float | None
    confidence: float
    rounds: tuple[Round, ...]
    sample: tuple[int, int]
    small: SmallModel
    threshold: Threshold
    drawn: Bools
    kept: Bools
    small_said: Ints
    small_agrees: Floats
    stopped: str


@dataclass(frozen=True)
class Outlook:
    """What is to be expected.

    Parameters
    ----------
    sample
        Rows to draw by chance; 0 where no sample is worth its price.
    kept
        Rows that can be kept then.
    calls
        Texts that are asked in all.
    """

    sample: int
    kept: int
    calls: int


@dataclass(frozen=True, eq=False)
class Ranking:
    """The texts that were not asked yet, surest first.

    Parameters
    ----------
    places
        Of the texts, (n,).
    scores
        What the small model says of them.
    count
        Rows that each stands for, (n,).
    """

    places: Ints
    scores: Scores
    count: Ints

    @classmethod
    def of(cls, small: SmallModel, asked: AskedTexts, count: Ints, seed: int) -> Ranking:
        """Ties are settled by a draw for each id, as a policy settles them."""
        places = np.flatnonzero(~asked.done)
        scores = small.scores(asked, places)
        order = np.lexsort((-draws([asked.ids[at] for at in places.tolist()], seed), -scores.margin))
        taken = Scores(scores.label[order], scores.margin[order], scores.agrees[order])
        return cls(places[order], taken, count[places[order]])

    @property
    def rows(self) -> int:
        """How many rows."""
        return int(self.count.sum())

    def outlook(self, allowed: int, delta: float, asked: int) -> Outlook:
        """The sample with the least expected bill; none where asking all of them costs no more."""
        rows, ends = self.rows, np.cumsum(self.count)
        wrong = np.cumsum(self.count * (1 - self.scores.agrees))
        best = Outlook(0, 0, asked + len(self.places))
        samples = np.unique(np.geomspace(20, rows // 2, SAMPLES).astype(int)) if rows > 40 else np.zeros(0, int)
        for sample, most in zip(samples.tolist(), most_errors(rows, samples, allowed, delta).tolist(), strict=True):
            if most < 0:
                continue
            # In half of all draws the (most + 1)-th error is not before this one.
            texts = int(np.searchsorted(wrong * sample / rows, most + 0.7))
            kept = int(ends[texts - 1]) if texts else 0
            calls = asked + len(self.places) - texts + math.ceil(sample * texts / max(len(self.places), 1))
            if calls < best.calls:
                best = Outlook(sample, kept, calls)
        return best

    def texts_of(self, rows: int) -> int:
        """How many of the first texts have all of their rows among the first `rows`."""
        return int(np.searchsorted(np.cumsum(self.count), rows, side="right"))


def first_draw(texts: int) -> int:
    """How many texts are drawn by chance to begin with."""
    return min(texts, max(FEWEST, min(MOST, int(FIRST * texts))))


def annotate(
    asked: AskedTexts, count: Ints, wish: Wish, task: str = "annotate", report: Callable[[Round], None] = lambda r: None
) -> Annotation:
    """Ask as little as keeps the promise.

    Parameters
    ----------
    asked
        The texts, of which none was asked yet, and the LLM behind its ledger.
    count
        Rows that have each text, (texts,).
    wish
        What is asked for.
    task
        The task's name.
    report
        Called after each round.

    Returns
    -------
    Annotation

    Raises
    ------
    DataError
        Where no answer of the LLM had a label.
    ExpertError
        Where asking was to stop.
    """
    run = _Run(asked, count, wish, task, report)
    run.teach()
    return run.finish()


def _of(bound: tuple[float, int], texts: int) -> int:
    return min(int(bound[0] * texts), bound[1])


class _Run:
    def __init__(self, asked: AskedTexts, count: Ints, wish: Wish, task: str, report: Callable[[Round], None]) -> None:
        self.asked, self.count, self.wish, self.task, self.report = asked, count, wish, task, report
        self.rows, self.delta = int(count.sum()), 1 - wish.confidence
        self.rng = np.random.default_rng(wish.seed)
        self.rounds: list[Round] = []

    def teach(self) -> None:
        """Steps 1 and 2."""
        texts = len(self.count)
        first = first_draw(texts)
        self.short = False
        self.chance = np.zeros(texts, bool)
        self.chance[self.rng.permutation(texts)[:first]] = True
        self.asked.ask(np.flatnonzero(self.chance))
        for number in range(ROUNDS + 1):
            self._learn()
            size = self._next_round() if number < ROUNDS else 0
            if not size:
                return
            self.asked.ask(self.ranking.places[-size:])

    def _next_round(self) -> int:
        """How many of the least sure texts to ask next, 0 for no more."""
        done, affordable, texts = int(self.asked.done.sum()), self._affordable(), len(self.count)
        self.short = self.wish.agree is None or done + affordable < self.outlook.calls
        if self.short:
            size, least = int(TEACHING * (done + affordable)) - done, FEWEST // 2
        else:
            rest = len(self.ranking.places) - self.ranking.texts_of(self.outlook.kept)
            size, least = rest // 2, max(FEWEST, _of(WORTH, texts)) // 2
        return min(size, max(FEWEST, _of(STEP, texts))) if size >= max(1, least) else 0

    def finish(self) -> Annotation:
        """Steps 3 and 4."""
        self._draw()
        places, rows = self.ranking.places, np.repeat(np.arange(len(self.ranking.places)), self.ranking.count)
        wrong = self.asked.label[places] != self.ranking.scores.label
        drawn, errors = self.drawn_rows, (self.drawn_rows & wrong[rows])
        if self.short:
            texts, allowed, stopped = self._ask_least_sure(drawn, errors)
        else:
            kept = keepable(drawn, errors, self.allowed, self.delta) if drawn.any() else 0
            texts, allowed, stopped = self.ranking.texts_of(kept), self.allowed if kept else 0, "goal"
            self.asked.ask(places[texts:])
        kept_rows = int(self.ranking.count[:texts].sum())
        found = int(errors[:kept_rows].sum())
        # The small model stands in for the LLM there, beyond what the sample speaks of.
        unknown = ~self.asked.answered
        unknown[places[:texts]] &= np.isin(np.arange(texts), rows[drawn])
        missing = int(self.count[unknown].sum())
        if missing and stopped != "money":
            stopped = "unanswered"
        elif not texts:
            stopped = "everything"
        promised = max(0.0, 1 - (allowed + missing) / self.rows) if allowed is not None else None
        return self._annotation(texts, promised, stopped, (int(drawn.sum()), found))

    def _draw(self) -> None:
        """The sample, asked."""
        ranking, sample = self.ranking, self.outlook.sample
        rows = np.repeat(np.arange(len(ranking.places)), ranking.count)
        if self.short:
            sample = min(len(rows) // 2, int(CERTIFYING / (1 - TEACHING) * self._affordable()))
        self.drawn_rows = np.zeros(len(rows), bool)
        self.drawn_rows[self.rng.permutation(len(rows))[:sample]] = True
        # Whatever failed until now is in the file, and has no label of the LLM.
        self.allowed = self._allowed() - int(self.count[self.asked.failed].sum())
        self.asked.ask(ranking.places[np.unique(rows[self.drawn_rows])])

    def _ask_least_sure(self, drawn: Bools, errors: Bools) -> tuple[int, int | None, str]:
        """Ask from the least sure on while there is money: the texts kept then, the errors they may have, and why."""
        places = self.ranking.places
        for end in range(len(places), 0, -BATCH):
            part = places[max(0, end - BATCH) : end]
            self.asked.ask(part[::-1])
            if self.asked.unasked[part].any():
                break
        held = np.flatnonzero(self.asked.unasked[places])
        texts = int(held[-1]) + 1 if len(held) else 0
        kept = int(self.ranking.count[:texts].sum())
        allowed = least_allowed(drawn, errors, kept, self.delta) if texts else 0
        promises = texts == 0 or (drawn.any() and allowed < int((~drawn[:kept]).sum()))
        return texts, allowed if promises else None, "money" if texts else "everything"

    def _annotation(self, texts: int, promised: float | None, stopped: str, sample: tuple[int, int]) -> Annotation:
        asked, ranking = self.asked, self.ranking
        by_small = np.flatnonzero(~asked.answered)
        said, label, agrees = self.small.scores(asked, by_small), asked.label.copy(), np.full(len(asked.label), np.nan)
        label[by_small], agrees[by_small] = said.label, said.agrees
        drawn, kept = np.zeros(len(label), bool), np.zeros(len(label), bool)
        drawn[ranking.places[np.repeat(np.arange(len(ranking.places)), ranking.count)[self.drawn_rows]]] = True
        kept[ranking.places[:texts]] = True
        small_said, small_agrees = np.full(len(label), NO_LABEL), np.full(len(label), np.nan)
        small_said[ranking.places], small_agrees[ranking.places] = ranking.scores.label, ranking.scores.agrees
        return Annotation(
            label=label,
            agrees=agrees,
            by_small=~asked.answered,
            promised=promised,
            confidence=self.wish.confidence,
            rounds=tuple(self.rounds),
            sample=sample,
            small=self.small,
            threshold=self._threshold(),
            drawn=drawn,
            kept=kept,
            small_said=small_said,
            small_agrees=small_agrees,
            stopped=stopped,
        )

    def _threshold(self) -> Threshold:
        """By what is to be expected of texts that nobody has learnt from: those left, and those taught, out of fold."""
        small, ranking = self.small, self.ranking
        margin = np.concatenate([ranking.scores.margin, small.held.margin])
        count = np.concatenate([ranking.count, self.count[small.taught]])
        expected = np.concatenate([1 - ranking.scores.agrees, 1 - small.held.agrees])
        order = np.argsort(-margin, kind="stable")
        if self.wish.agree is None:
            kept = np.cumsum(count[order]) <= count.sum() * self.count[~self.asked.answered].sum() / self.rows
        else:
            # By how much more the texts drawn by chance may be wrong than is expected of them.
            mine = self.chance[small.taught]
            wrong = int((small.held.label != self.asked.label[small.taught])[mine].sum())
            expected_there = max(float((1 - small.held.agrees)[mine].mean()), 1e-9)
            off = max(1.0, share_interval(wrong, int(mine.sum()))[1] / expected_there)
            kept = off * np.cumsum((count * expected)[order]) <= (1 - self.wish.agree) * count.sum()
        texts = int(kept.sum())
        return Threshold(float(margin[order[texts - 1]]) if texts else math.inf, 0.0)

    def _learn(self) -> None:
        setting = Setting(NAME, self.task, self.asked.classes, encoded=self.wish.encoded)
        self.small = SmallModel.of(self.wish.small, self.asked, self.chance, setting, self.wish.seed)
        self.ranking = Ranking.of(self.small, self.asked, self.count, self.wish.seed)
        done = int(self.asked.done.sum())
        self.outlook = self.ranking.outlook(self._allowed(), self.delta, done)
        self.rounds.append(Round(done, self.small.agreement, self.outlook.calls, float(self.asked.cost.sum())))
        self.report(self.rounds[-1])

    def _allowed(self) -> int:
        """Rows that may have another label than the LLM would give."""
        agree = self.wish.agree if self.wish.agree is not None else self.small.agreement
        return math.floor((1 - agree) * self.rows + 1e-9)

    def _affordable(self) -> int:
        """About how many texts the money is enough for that is left at this step, not what a killed run spent later."""
        paid, ledger = self.asked.cost[self.asked.answered], self.asked.expert.ledger
        mean, rest = float(paid.mean()) if len(paid) else 0.0, int((~self.asked.done).sum())
        if not mean or ledger.limit is None:
            return rest
        return min(rest, max(0, int((ledger.limit - ledger.doubted - float(paid.sum())) / mean)))
