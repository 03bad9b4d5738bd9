"""What is promised of a file, and how many of the texts that are left may keep the small model's label for it.

Each floor speaks of the texts whose label can break it, in an order of its own, and lets those before some place be
kept. A text is kept where all floors that speak of it let it, and where one does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from askless.annotating.asked import AskedTexts
from askless.annotating.small_model import Scores
from askless.arrays import Bools, Floats, Ints
from askless.errors import BudgetError, ConfigError
from askless.stats.finite_population import keepable, keepable_share, least_allowed, most_errors, most_wrong

AGREEMENT, RECALL, PRECISION = "agreement", "recall", "precision"
SAMPLES, DRAWS = 24, 6


@dataclass(frozen=True, eq=False)
class Floor:
    """One thing that is promised of the rows of a file, or of a group of them.

    Parameters
    ----------
    measure
        `agreement`, the share of rows whose label is the LLM's; `recall`, of the rows to which the LLM gives a class
        the share that is labelled so; `precision`, of the rows labelled so the share to which the LLM gives it.
    least
        The goal, 0 to 1.
    count
        Rows of each text that it is about, (texts,).
    of
        The class, an index; -1 for agreement.
    group
        Whose rows these are; None for all.
    """

    measure: str
    least: float
    count: Ints
    of: int = -1
    group: str | None = None

    @property
    def key(self) -> tuple[str, int, str | None]:
        """What tells it from others."""
        return self.measure, self.of, self.group

    def concerns(self, label: Ints) -> Bools:
        """Which texts can break it with the small model's `label`, (n,)."""
        if self.measure == AGREEMENT:
            return np.ones(len(label), bool)
        return np.asarray((label == self.of) == (self.measure == PRECISION))

    def wrong(self, label: Ints, asked: AskedTexts, places: Ints) -> Bools:
        """Where the small model's `label` (n,) breaks it, by what the LLM says of these texts; no answer breaks it."""
        said = asked.label[places]
        broken = said == self.of if self.measure == RECALL else said != label
        return np.asarray(broken | ~asked.answered[places])

    def found(self, asked: AskedTexts) -> int:
        """Rows to which the LLM has given the class."""
        return int(self.count[asked.label == self.of].sum()) if self.of >= 0 else 0

    def risk(self, scores: Scores) -> Floats:
        """What chance the label of each text has to break it, (n,)."""
        return scores.chance(self.of) if self.measure == RECALL else 1 - scores.agrees


def floors_of(
    agree: float | None,
    recall: Mapping[str, float],
    precision: Mapping[str, float],
    classes: Sequence[str],
    groups: Mapping[str | None, Ints],
) -> list[Floor]:
    """All that is promised, in each group; `groups` has the rows of each text there, (texts,).

    Raises `BudgetError` for a share that is none, `ConfigError` for an unknown class.
    """
    goals = [] if agree is None else [(AGREEMENT, -1, agree)]
    for measure, shares in ((RECALL, recall), (PRECISION, precision)):
        for name, least in shares.items():
            if name not in classes:
                raise ConfigError.unknown("class", name, classes)
            if not 0 < least < 1:
                raise BudgetError(
                    f"A {measure} of {least:g} of '{name}'. Allowed: more than 0 and less than 1, such as 0.9."
                )
            goals.append((measure, list(classes).index(name), least))
    return [Floor(*(measure, least, count), of, name) for name, count in groups.items() for measure, of, least in goals]


@dataclass(frozen=True, eq=False)
class Line:
    """The texts left that a floor speaks of, surest first.

    Parameters
    ----------
    floor
        It.
    at
        Their places among the texts left, (n,).
    count
        Rows that each stands for, (n,).
    risk
        The chance of each to break it, (n,).
    before
        Rows found of its class before a sample was drawn.
    positives
        Rows of its class that are expected in all.
    failed
        Rows that were put to the LLM by then and got no answer: they are in the file, and nothing is known of them.
    """

    floor: Floor
    at: Ints
    count: Ints
    risk: Floats
    before: int
    positives: float
    failed: int

    @classmethod
    def of(cls, floor: Floor, asked: AskedTexts, places: Ints, scores: Scores, draw: Floats) -> Line:
        """Of the texts at these places; ties are settled by a draw for each id, as a policy settles them."""
        risk = floor.risk(scores)
        first = risk if floor.measure == RECALL else np.zeros(len(risk))
        order = np.lexsort((-draw, -scores.margin, first))
        at = order[(floor.concerns(scores.label) & (floor.count[places] > 0))[order]]
        before, failed = floor.found(asked), int(floor.count[asked.failed].sum())
        positives = before + float(floor.count[places] @ scores.chance(floor.of)) if floor.of >= 0 else 0.0
        return cls(floor, at, floor.count[places][at], risk[at], before, positives, failed)

    @property
    def rows(self) -> int:
        """How many rows."""
        return int(self.count.sum())

    def allowed(self, found: float) -> int:
        """Rows kept without being drawn that may break it, with so many rows `found` of its class."""
        share = 1 - self.floor.least
        every = int(self.floor.count.sum()) if self.floor.measure == AGREEMENT else found / self.floor.least
        return math.floor(share * every + 1e-9) - self.failed

    def texts_of(self, rows: int) -> int:
        """How many of its first texts have all of their rows among its first `rows`."""
        return int(np.searchsorted(np.cumsum(self.count), rows, side="right"))

    def expected(self, sample: Ints, delta: float) -> Ints:
        """How many of its first texts it is expected to let be kept after each `sample` of its rows, (samples,)."""
        if self.floor.measure == PRECISION:
            texts = np.zeros(len(sample), np.int64)
            # A sequence of tests for each: a coarser grid does.
            texts[::4] = [self._expected_share(int(n), delta) for n in sample[::4]]
            return texts
        most = most_errors(self.rows, sample, self.allowed(self.floor.least * self.positives), delta)
        # In half of all draws the (most + 1)-th error is not before this one.
        texts = np.searchsorted(np.cumsum(self.count * self.risk), (most + 0.7) * self.rows / np.maximum(sample, 1))
        return np.where(most < 0, 0, texts)

    def _expected_share(self, sample: int, delta: float) -> int:
        """The mean of some draws: where one error early in a small sample ends it all, no middling draw tells that."""
        rng, rows, kept = np.random.default_rng(sample), self.rows, 0
        risk = np.repeat(self.risk, self.count)
        for _ in range(DRAWS):
            drawn, wrong = np.zeros(rows, bool), np.zeros(rows, bool)
            drawn[at := rng.choice(rows, sample, replace=False)] = True
            wrong[at] = rng.random(sample) < risk[at]
            kept += self.texts_of(keepable_share(drawn, wrong, 1 - self.floor.least, self.before, delta))
        return kept // DRAWS


@dataclass(frozen=True, eq=False)
class Tested:
    """A floor, and what a random sample of the rows that it speaks of has shown.

    Parameters
    ----------
    line
        The texts left that it speaks of.
    drawn, wrong
        Which of their rows were drawn, and which of these break it, (rows,).
    delta
        The chance that what is promised does not hold.
    """

    line: Line
    drawn: Bools
    wrong: Bools
    delta: float

    @classmethod
    def of(cls, line: Line, sample: Ints, scores: Scores, asked: AskedTexts, places: Ints, delta: float) -> Tested:
        """By a `sample` of the texts left: how many rows of each were drawn, (texts left,), and asked since."""
        wrong = line.floor.wrong(scores.label[line.at], asked, places[line.at])
        nth = np.arange(line.rows) - np.repeat(np.cumsum(line.count) - line.count, line.count)
        drawn = nth < np.repeat(sample[line.at], line.count)
        return cls(line, drawn, drawn & np.repeat(wrong, line.count), delta)

    def keeps(self, found: int) -> int:
        """How many of its first texts may be kept, with so many rows `found` of its class until now."""
        line = self.line
        if not self.drawn.any():
            return 0
        if line.floor.measure == PRECISION:
            return line.texts_of(self._settled)
        return line.texts_of(keepable(self.drawn, self.wrong, line.allowed(found), self.delta))

    @cached_property
    def _settled(self) -> int:
        """Of a precision: its first rows, of which the sample has settled the share."""
        line = self.line
        return keepable_share(self.drawn, self.wrong, 1 - line.floor.least, line.before, self.delta)

    def right(self, unasked: Bools) -> int:
        """Of a precision: how many rows of the texts kept and `unasked`, (texts left,), are of the class at least."""
        line = self.line
        wrong = math.floor((1 - line.floor.least) * (line.before + self._settled) + 1e-9)
        found = int(self.wrong[: self._settled].sum())
        return max(0, int(line.count[unasked[line.at]].sum()) - max(0, wrong - found))

    def promises(self, kept: Bools, unasked: int, unknown: int, found: int, goal: bool) -> float | None:
        """The share that is promised of the rows; None where nothing is known of those kept.

        Parameters
        ----------
        kept
            Which of the texts left keep the small model's label, (texts left,); the LLM was asked about some of them.
        unasked
            Rows of those about which it was not.
        unknown
            Rows beside these of which nothing is known and that can break it.
        found
            Rows found of its class, in all.
        goal
            Whether this sample has settled what is kept.
        """
        line, mine = self.line, np.flatnonzero(kept[self.line.at])
        texts = int(mine[-1]) + 1 if len(mine) else 0
        broken = self._broken(int(line.count[:texts].sum()), found, goal) if texts else 0
        if broken is None:
            return None
        if line.floor.measure == AGREEMENT:
            every = int(line.floor.count.sum())
        elif line.floor.measure == RECALL:
            every = found + broken + unknown
        else:
            every = found + unknown + unasked
            # What was settled is a share, and of more rows now than it was settled for.
            broken = math.floor((1 - line.floor.least) * (every - unknown)) if goal and texts else broken
        share = max(0.0, 1 - (broken + unknown) / every) if every else 1.0
        # A recall is settled at its goal: that rows are rounded down makes it no higher.
        return min(share, line.floor.least) if line.floor.measure == RECALL and goal and texts else share

    def _broken(self, rows: int, found: int, goal: bool) -> int | None:
        """How many of the first rows break it at most without having been drawn, None where nothing is known."""
        line, drawn = self.line, self.drawn[:rows]
        if goal:
            return 0 if line.floor.measure == PRECISION else line.allowed(found)
        if line.floor.measure == PRECISION:
            errors = int(self.wrong[:rows].sum())
            broken = most_wrong(rows, int(drawn.sum()), errors, self.delta) - errors
        else:
            broken = least_allowed(self.drawn, self.wrong, rows, self.delta)
        return broken if broken < int((~drawn).sum()) else None


@dataclass(frozen=True, eq=False)
class Part:
    """Floors that speak of the same rows, and so are tested on one sample of these.

    Parameters
    ----------
    lines
        They.
    count
        Rows of each text left that the sample is drawn from, (texts left,).
    """

    lines: tuple[Line, ...]
    count: Ints

    def outlook(self, delta: float) -> tuple[int, list[int]]:
        """The rows to draw for the least bill, and how many of its first texts each line is expected to keep then."""
        rows, texts = int(self.count.sum()), int((self.count > 0).sum())
        samples = np.unique(np.geomspace(20, rows // 2, SAMPLES).astype(int)) if rows > 40 else np.zeros(0, int)
        kept = [line.expected(samples * line.rows // max(rows, 1), delta) for line in self.lines]
        best, least = (0, [0] * len(self.lines)), float(texts)
        for n, sample in enumerate(samples.tolist()):
            mine = [int(each[n]) for each in kept]
            together = int((self.kept(mine) & (self.count > 0)).sum())
            calls = texts - together + math.ceil(sample * together / max(texts, 1))
            if calls < least:
                best, least = (sample, mine), calls
        return best

    def kept(self, texts: Sequence[int]) -> Bools:
        """The texts left that every line of it that speaks of them lets be kept, of each its first ones."""
        kept = np.ones(len(self.count), bool)
        for line, first in zip(self.lines, texts, strict=True):
            kept[line.at[first:]] = False
        return kept


def parts_of(lines: Sequence[Line], texts: int) -> list[Part]:
    """Floors of one group that share rows belong together."""
    parts: list[Part] = []
    for line in lines:
        count = np.zeros(texts, np.int64)
        count[line.at] = line.count
        mine = [each for each in parts if each.lines[0].floor.group == line.floor.group and (each.count * count).any()]
        for each in mine:
            count = np.maximum(count, each.count)
        parts = [each for each in parts if each not in mine]
        parts.append(Part((*(one for each in mine for one in each.lines), line), count))
    return parts


def spoken_of(parts: Sequence[Part], texts: int) -> Bools:
    """Which of the texts left any floor speaks of: nothing else may be kept."""
    found = np.zeros(texts, bool)
    for part in parts:
        found |= part.count > 0
    return found


@dataclass(frozen=True, eq=False)
class Promise:
    """What is promised of a floor.

    Parameters
    ----------
    floor
        It.
    share
        At least this share of its rows, 0 to 1; None where nothing is promised.
    """

    floor: Floor
    share: float | None
