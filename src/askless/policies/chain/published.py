"""The published chain ensemble: each link keeps the rows it is surest of, an equal share; then the ranks may decide.

Source: LLM Chain Ensembles for Scalable and Accurate Data Annotation (package chain-ensembles), to the digit. It is a
batch rule: which rows are kept depends on the others, and rows that tie at a threshold are all kept. `chain.Chain`
saves thresholds instead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from askless.arrays import Floats, Ints
from askless.errors import BudgetError, DataError
from askless.panel import NO_LABEL, Answers, Panel
from askless.policies.base import Budget, Decisions, Policy, Step
from askless.stats.uncertainty import confidence


@dataclass(frozen=True)
class Levels:
    """Scores as whole numbers in the same order: 0 where nothing is stated, then 1 for the lowest score.

    Any rows of `code` can be counted without sorting them again.

    Parameters
    ----------
    value, code
        The scores that occur, rising, after NaN, (levels,); and the place of each row's among them, (rows,).
    """

    value: Floats
    code: Ints

    @classmethod
    def of(cls, score: Floats) -> Levels:
        """The levels of scores (rows,), NaN where none is stated."""
        known = ~np.isnan(score)
        value, place = np.unique(score[known], return_inverse=True)
        code = np.zeros(len(score), np.int64)
        code[known] = place + 1
        return cls(np.concatenate([[np.nan], value]), code)


def counted(code: Ints, levels: int) -> Ints:
    """How many of the rows are at each level or below it, shape (levels,); those that state nothing are left out."""
    at = np.bincount(code, minlength=levels)
    at[0] = 0
    return np.asarray(np.cumsum(at))


def lowest_kept(upto: Ints, rows: int, links: int) -> int:
    """The level of the k-th largest score, k = rows // links, by `counted`: this one and those above are kept.

    `links` are those left, this one among them; the last keeps every row. With k = 0 no row is kept.
    """
    if links == 1:
        return 0
    k = rows // links
    return max(int(np.searchsorted(upto, upto[-1] - k, side="right")), 1) if k else len(upto)


def rank_table(upto: Ints, value: Floats) -> Floats:
    """Each level's rank among the counted rows, ties to the highest, over their number; -inf where none is stated."""
    table = upto / max(int(upto[-1]), 1)
    table[0] = -np.inf
    return np.asarray(table)


def min_max_table(upto: Ints, value: Floats) -> Floats:
    """Each level's score between the least and largest finite one of the counted rows; all -inf where these are one."""
    counts = np.flatnonzero((np.diff(upto, prepend=0) > 0) & np.isfinite(value))
    low, high = (value[counts[0]], value[counts[-1]]) if len(counts) else (0.0, 0.0)
    if not low < high:
        return np.full(len(value), -np.inf)
    table = (value - low) / (high - low)
    table[0] = -np.inf
    return np.asarray(table)


class ForwardChain(Policy):
    """Link i keeps the surest n_i // (links - i) of the n_i rows that reach it; who keeps a row answers it.

    It learns nothing and has one operating point. Rows without a stated confidence go on to the next link. As
    published, a row stays with the link that keeps it even if that gave no label: nobody else's answer takes its place.
    Of summaries the confidence is the mean log-probability of their tokens; the links `judged` by it must state it.

    Parameters
    ----------
    experts
        Names of two or more, by rising cost: the links.
    measure
        How sure a link is; see `askless.stats.uncertainty.confidence`.
    """

    graded = True
    budgets = ()
    whole_batch = True
    kept = False
    fallback = False
    judged = slice(0, -1)

    def __init__(self, experts: tuple[str, ...], measure: str = "auto") -> None:
        self.experts = tuple(experts)
        self.measure = measure

    def fit(self, train: Panel, valid: Panel) -> Self:
        """Nothing is learnt; raises `ConfigError` for fewer than two experts or unknown ones.

        Of summaries raises `DataError` for a link that is `judged` and never states a confidence on `train`.
        """
        self._require(experts=2)
        super().fit(train, valid)
        for name in () if train.classes else self.experts[self.judged]:
            answers = train.ask(name)
            if len(train) and np.isnan(confidence(answers, self.measure)).all():
                raise DataError(
                    f"answers of '{name}'",
                    f"{type(self).__name__} goes by their log-probability and none states one",
                    "the log-probability of each answer (logprob), of a text the mean over its tokens",
                    "Record logprob, or choose the policy 'chain', which needs none.",
                )
        return self

    def look(self, panel: Panel) -> Answers:
        """The first expert's answers: every row begins with it."""
        return panel.ask(self.experts[0])

    def decide(self, panel: Panel, budget: Budget | None = None, seen: Answers | None = None) -> Decisions:
        """Pass the rows from link to link; raises `BudgetError` for any budget, the published rule takes none."""
        if budget is not None:
            raise BudgetError(
                f"{type(self).__name__} got a budget, the published rule takes none: each of its {len(self.experts)} "
                "links keeps an equal share. Leave the budget out, or use the policy 'chain'."
            )
        n, links = len(panel), len(self.experts)
        rows, steps = np.arange(n), []
        label = np.full((n, links), NO_LABEL)
        standing = np.full((n, links), -np.inf)
        kept = np.zeros(n, np.int64)
        for link, name in enumerate(self.experts):
            answers = seen if link == 0 and seen is not None else panel.ask(name, rows)
            levels = Levels.of(self._score(panel, answers, rows))
            upto = counted(levels.code, len(levels.value))
            lowest = lowest_kept(upto, len(rows), links - link)
            label[rows, link], kept[rows] = answers.label, link
            standing[rows, link] = self._standing(upto, levels.value)[levels.code]
            steps.append(_step(name, rows, levels, lowest))
            rows = rows[levels.code < lowest]
        return self._decisions(panel, label, self._answering(kept, standing), tuple(steps))

    def _score(self, panel: Panel, answers: Answers, rows: Ints) -> Floats:
        # Here a reply that is no label is compared with the threshold like any other, as the likeliest class.
        likeliest = answers.proba.argmax(axis=1) if answers.proba.shape[1] else 0
        return confidence(
            replace(answers, label=np.where(answers.label == NO_LABEL, likeliest, answers.label)), self.measure
        )

    def _standing(self, upto: Ints, value: Floats) -> Floats:
        return rank_table(upto, value)

    def _answering(self, kept: Ints, standing: Floats) -> Ints:
        """The link that answers each row (rows,), from the one that keeps it and the standing (rows, links)."""
        return kept

    def _decisions(self, panel: Panel, label: Ints, chosen: Ints, steps: tuple[Step, ...]) -> Decisions:
        every = np.arange(len(panel))
        asked = panel.asked_of(self.experts)
        score = np.full(len(panel), np.nan)
        for step in steps:
            score[step.rows] = step.score
        unstated = np.full(len(panel), np.nan)
        return Decisions(self.experts, chosen, label[every, chosen], score, panel.spent, asked, unstated, steps)


class RankChain(ForwardChain):
    """The forward chain's calls, then of the links a row visited the one it stands highest at answers.

    The published "backward pass": `rank` compares each link's ranks among the rows that reached it, else confidences
    stretched from 0 to 1 (a link where all are equal says nothing); the earliest on a tie.

    Parameters
    ----------
    experts
        Names of two or more, by rising cost: the links.
    rank
        Compare ranks, or else stretched confidences.
    measure
        How sure a link is.
    """

    judged = slice(None)

    def __init__(self, experts: tuple[str, ...], rank: bool = True, measure: str = "auto") -> None:
        super().__init__(experts, measure)
        self.rank = rank

    def _standing(self, upto: Ints, value: Floats) -> Floats:
        return rank_table(upto, value) if self.rank else min_max_table(upto, value)

    def _answering(self, kept: Ints, standing: Floats) -> Ints:
        first = np.argmax(standing, axis=1)
        return np.where(np.isneginf(standing.max(axis=1, initial=-np.inf)), kept, first)


class RandomChain(ForwardChain):
    """The published control: the same shares, but chance says which rows each link keeps.

    Parameters
    ----------
    experts
        Names of two or more, by rising cost: the links.
    random_state
        Seed of the draws, one for each id.
    """

    judged = slice(0)

    def __init__(self, experts: tuple[str, ...], random_state: int = 0) -> None:
        super().__init__(experts)
        self.random_state = random_state

    def _score(self, panel: Panel, answers: Answers, rows: Ints) -> Floats:
        return panel.draws(self.random_state)[rows]


def _step(expert: str, rows: Ints, levels: Levels, lowest: int) -> Step:
    """What was compared with what: no threshold at the last link, an infinite one where no row is kept."""
    threshold = -np.inf if lowest == 0 else np.append(levels.value, np.inf)[lowest]
    return Step(expert, rows, levels.value[levels.code], np.full(len(rows), threshold))
