"""The published chain ensemble: each link keeps the rows it is surest of, an equal share; then the ranks may decide.

Source: LLM Chain Ensembles for Scalable and Accurate Data Annotation (package chain-ensembles), to the digit. It is a
batch rule: which rows are kept depends on the others, and rows that tie at a threshold are all kept. `chain.Chain`
saves thresholds instead.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import numpy as np

from askless.arrays import Floats, Ints
from askless.errors import BudgetError, DataError
from askless.panel import NO_LABEL, Answers, Panel
from askless.policies.base import Budget, Decisions, Policy, Step
from askless.stats.uncertainty import confidence


def ranks(score: Floats, known: Floats) -> Floats:
    """Each score's rank among the `known`, rising ones, ties to the highest, over their number; NaN of none."""
    return np.where(np.isnan(score), np.nan, np.searchsorted(known, score, side="right") / max(len(known), 1))


def stretched(score: Floats, known: Floats) -> Floats:
    """Each score between the least and the largest finite one of the `known`; all NaN where these are one."""
    finite = known[np.isfinite(known)]
    low, high = (finite[0], finite[-1]) if len(finite) else (0.0, 0.0)
    return (score - low) / (high - low) if low < high else np.full(len(score), np.nan)


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

    title = "Cascade, published"
    about = "Each model keeps a fixed share, its surest answers, and passes on the rest."
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
            score = self._score(panel, answers, rows)
            known = np.sort(score[~np.isnan(score)])
            least = _least_kept(known, len(rows), links - link)
            label[rows, link], kept[rows] = answers.label, link
            place = self._standing(score, known)
            standing[rows, link] = np.where(np.isnan(place), -np.inf, place)
            steps.append(Step(name, rows, score, np.full(len(rows), least)))
            rows = rows[:0] if link == links - 1 else rows[np.isnan(score) | (score < least)]
        return self._decisions(panel, label, self._answering(kept, standing), tuple(steps))

    def _score(self, panel: Panel, answers: Answers, rows: Ints) -> Floats:
        # Here a reply that is no label is compared with the threshold like any other, as the likeliest class.
        likeliest = answers.proba.argmax(axis=1) if answers.proba.shape[1] else 0
        return confidence(
            replace(answers, label=np.where(answers.label == NO_LABEL, likeliest, answers.label)), self.measure
        )

    def _standing(self, score: Floats, known: Floats) -> Floats:
        return ranks(score, known)

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

    title = "Cascade by rank, published"
    about = "The same cascade; of the answers asked for stands the one that ranked highest with its model."
    judged = slice(None)

    def __init__(self, experts: tuple[str, ...], rank: bool = True, measure: str = "auto") -> None:
        super().__init__(experts, measure)
        self.rank = rank

    def _standing(self, score: Floats, known: Floats) -> Floats:
        return ranks(score, known) if self.rank else stretched(score, known)

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

    title = "Cascade by chance"
    about = "The same cascade, keeping answers by chance: the control of the published rule."
    judged = slice(0)

    def __init__(self, experts: tuple[str, ...], random_state: int = 0) -> None:
        super().__init__(experts)
        self.random_state = random_state

    def _score(self, panel: Panel, answers: Answers, rows: Ints) -> Floats:
        return panel.draws(self.random_state)[rows]


def _least_kept(known: Floats, rows: int, links: int) -> float:
    """The k-th largest of the scores, k = rows // links: this one and those above are kept, with k = 0 none.

    `links` are those left, this one among them; the last keeps every row.
    """
    k = rows // links
    return -np.inf if links == 1 else float(known[max(len(known) - k, 0)]) if k and len(known) else np.inf
