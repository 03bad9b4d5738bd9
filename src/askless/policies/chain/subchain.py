"""Experts that are asked in a row: how likely each answer is right, whose stands, what each common threshold buys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from askless.arrays import Bools, Floats, Ints
from askless.panel import NO_LABEL, Panel
from askless.policies.base import Step
from askless.policies.chain.links import given_of, stated, sure_of
from askless.policies.operating_points import GRID, ThresholdPoints

HELP = 2.0
PENDING = -2.0
SILENT = -1.0
AGGREGATES = ("last", "rank", "posterior")


@dataclass(frozen=True)
class WalkedSubchain:
    """Rows at their end.

    Parameters
    ----------
    link, label
        The link whose answer stands, and that answer, each (rows,).
    score, sure
        What was compared last, and how likely the answer is right, each (rows,).
    steps
        The looks on the way there, in order.
    """

    link: Ints
    label: Ints
    score: Floats
    sure: Floats
    steps: list[Step]


@dataclass(frozen=True)
class Subchain:
    """Some of the experts, in order, and what was learnt of them.

    Parameters
    ----------
    links
        Their places among all experts, (links,).
    lines
        Slope and intercept of each link, from a stated confidence and from agreement, (links, 2, 2).
    ranks
        Quantiles of the probabilities, (links, 101).
    aggregate
        Who answers of those asked: "last", or the one of the highest "rank" or "posterior".
    """

    links: Ints
    lines: Floats
    ranks: Floats
    aggregate: str

    def walk(
        self, panel: Panel, experts: Sequence[str], rows: Ints, thresholds: Sequence[Floats], measure: str
    ) -> WalkedSubchain:
        """Ask link after link about those of the `rows` that are not sure enough; thresholds are (rows,) of each."""
        shape = (len(rows), len(self.links))
        sure, label, given = np.full(shape, PENDING), np.full(shape, NO_LABEL), np.zeros(shape, bool)
        left, steps = np.arange(len(rows)), []
        for link, place in enumerate(self.links):
            answers = panel.ask(experts[place], rows[left])
            label[left, link] = answers.label
            about = stated(answers, label[left, : link + 1], measure)
            sure[left, link], given[left, link] = sure_of(about, self.lines[link]), given_of(about)
            steps.append(Step(experts[place], rows[left], sure[left, link], thresholds[link][left]))
            left = left[sure[left, link] < thresholds[link][left]]
        every, last = np.arange(len(rows)), (sure >= 0).sum(axis=1) - 1
        chosen = best_so_far(_standing(sure, given, self.aggregate, self.ranks), self.aggregate)[:, -1]
        return WalkedSubchain(chosen, label[every, chosen], sure[every, last], sure[every, chosen], steps)


@dataclass(frozen=True)
class MeasuredSubchain:
    """A sub-chain on its calibration rows.

    Parameters
    ----------
    subchain
        What was learnt.
    sure
        How likely each answer is right, (rows, links).
    points
        What each common threshold buys.
    trusted
        The quality of the points, half of it as it was and half as probabilities foretell it, which a few hundred
        labels tell more surely: by luck alone the best of many points would look better than it is.
    """

    subchain: Subchain
    sure: Floats
    points: ThresholdPoints
    trusted: Floats


def measured(
    links: Ints, lines: Floats, aggregate: str, sure: Floats, given: Bools, quality: Floats, cost: Floats
) -> MeasuredSubchain:
    """A sub-chain of these `lines` by rows (rows, links); of aggregates "auto" takes what is clearly better."""
    rows, ranks = np.arange(len(sure))[:, None], np.quantile(sure, np.linspace(0, 1, GRID), axis=0).T
    stands = {
        how: best_so_far(_standing(sure, given, how, ranks), how)
        for how in (AGGREGATES if aggregate == "auto" else (aggregate,))
    }
    if aggregate == "auto":
        reached = {how: quality[rows, chosen] for how, chosen in stands.items()}
        aggregate = _helpful(sure, reached, ThresholdPoints.of_links(sure, quality, cost))
    had, foretold = (each[rows, stands[aggregate]] for each in (quality, sure))
    points, trusted = (ThresholdPoints.of_links(sure, each, cost) for each in (had, (had + foretold) / 2))
    return MeasuredSubchain(Subchain(links, lines, ranks, aggregate), sure, points, trusted.quality)


def best_so_far(standing: Floats, how: str) -> Ints:
    """Of the links up to each the one of the highest standing, shape (rows, links).

    On a tie it is the later one, but by "rank", as published, the earlier.
    """
    highest = np.maximum.accumulate(standing, axis=1)
    before = np.concatenate([np.full((len(standing), 1), -np.inf), highest[:, :-1]], axis=1)
    better = (standing > before) if how == "rank" else (standing >= before)
    return np.maximum.accumulate(np.where(better, np.arange(standing.shape[1]), 0), axis=1)


def _standing(sure: Floats, given: Bools, how: str, ranks: Floats) -> Floats:
    """By what the answers are compared (rows, links): the highest answers."""
    if how == "last":
        standing = np.broadcast_to(np.arange(sure.shape[1], dtype=float), sure.shape)
    elif how == "rank":
        standing = np.stack([np.searchsorted(ranks[j], sure[:, j], side="right") for j in range(sure.shape[1])], 1)
    else:
        standing = sure
    return np.where(sure == PENDING, PENDING, np.where(given, standing, SILENT))


def _helpful(sure: Floats, reached: Mapping[str, Floats], points: ThresholdPoints) -> str:
    """The aggregate that beats the last answer by most, if by over two standard errors, else "last".

    Compared as the mean over all operating points of the quality, `reached` (rows, links), where each row stops.
    """
    levels = np.sort(points.value)
    passed = np.searchsorted(levels, np.maximum.accumulate(sure[:, :-1], axis=1), side="right") / len(levels)
    stops = np.diff(np.pad(passed, ((0, 0), (1, 1)), constant_values=((0, 0), (0, 1))), axis=1)
    found, gain = "last", 0.0
    for how in ("rank", "posterior"):
        by_row = (stops * (reached[how] - reached["last"])).sum(axis=1)
        if by_row.mean() > max(gain, HELP * by_row.std() / np.sqrt(len(by_row))):
            found, gain = how, float(by_row.mean())
    return found
