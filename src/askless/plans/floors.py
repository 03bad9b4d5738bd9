"""What a floor asks of answers: overall, of a class, in a group; and the test of each on labelled rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from askless.arrays import Bools, Floats, Ints
from askless.errors import ConfigError
from askless.panel import NO_LABEL, Panel
from askless.stats.bounds import BOUNDS, macro_f1_span, share_interval
from askless.stats.guarantees import labels_needed

NO_GROUP = "(none)"
# Standard errors by which one sample of ten lies lower.
POWER = 1.2816


@dataclass(frozen=True)
class Truth:
    """What rows are held against.

    Parameters
    ----------
    gold
        Class of each row, (rows,).
    reference
        Whether the reference is right, (rows,).
    groups
        Name of each row's group, (rows,).
    """

    gold: Ints
    reference: Bools
    groups: NDArray[np.str_]

    def take(self, rows: Ints) -> Truth:
        """Of these rows alone."""
        return Truth(self.gold[rows], self.reference[rows], self.groups[rows])

    def of_group(self, group: str | None) -> Bools:
        """Which rows are of a group, all where it is None, (rows,)."""
        return np.ones(len(self.gold), bool) if group is None else np.asarray(self.groups == group)


@dataclass(frozen=True)
class Requirement:
    """One thing that must be so, of all rows or of one group.

    Parameters
    ----------
    measure
        `quality`, the share of right answers less the reference's; `recall` or `precision` of a class.
    slack
        What may be lost, a share between 0 and 1: 0.03 points of quality, or 0.1 for a recall of 0.9.
    of
        The class, an index of the classes; -1 for quality.
    name
        Its name.
    group
        The group; None for all rows.
    """

    measure: str
    slack: float
    of: int = -1
    name: str = ""
    group: str | None = None

    def words(self) -> str:
        """What is asked."""
        where = _in(self.group)
        if self.measure == "quality":
            points = f"{100 * self.slack:g}"
            return f"a quality of at most {points} point{'' if points == '1' else 's'} below the reference{where}"
        return f"a {self.measure} of '{self.name}' of at least {100 * (1 - self.slack):g} %{where}"

    def loss(self, label: Ints, truth: Truth) -> Floats:
        """What each row that counts lost, 1, 0 or -1, from the answers `label` (rows,)."""
        right, rows = label == truth.gold, truth.of_group(self.group)
        if self.measure == "quality":
            return np.asarray(truth.reference[rows].astype(float) - right[rows])
        rows &= (truth.gold if self.measure == "recall" else label) == self.of
        return np.asarray(~right[rows], float)

    def p_value(self, label: Ints, truth: Truth, bound: str, delta: float) -> float:
        """Of "more than that is lost"; of a class it is the exact binomial test."""
        loss = self.loss(label, truth)
        return BOUNDS[bound if self.measure == "quality" else "clopper_pearson"](loss, self.slack, delta)

    def needed(self, label: Ints, truth: Truth, bound: str, confidence: float) -> int | None:
        """About how many labelled rows of all would show that no more than that is lost."""
        loss = self.loss(label, truth)
        bound = bound if self.measure == "quality" else "clopper_pearson"
        rows = labels_needed(loss, self.slack, confidence, bound) if len(loss) else None
        return None if rows is None else int(np.ceil(rows * len(label) / len(loss)))

    def outcome(self, label: Ints, truth: Truth, reference: str, confidence: float) -> str:
        """What came of it on these rows, in words; of a class with its exact interval."""
        loss, where = self.loss(label, truth), _in(self.group)
        if self.measure == "quality":
            lost = f"{100 * loss.mean():+.1f} points" if len(loss) else "cannot be told, of no item"
            return f"loss against {reference}{where} {lost}, {100 * self.slack:g} allowed"
        if not len(loss):
            return f"{self.measure} of '{self.name}'{where} cannot be told, of no item"
        low, high = share_interval(int((1 - loss).sum()), len(loss), confidence)
        share = f"{100 * (1 - loss.mean()):.1f} [{100 * low:.1f}, {100 * high:.1f}] % of {len(loss):,} items"
        return f"{self.measure} of '{self.name}'{where} {share}, at least {100 * (1 - self.slack):g} asked"

    def held(self, label: Ints, truth: Truth) -> bool:
        """Whether it was so on these rows; where none counts, it was."""
        loss = self.loss(label, truth)
        return not len(loss) or bool(loss.mean() <= self.slack + 1e-9)


@dataclass(frozen=True)
class MacroF1:
    """A least mean of the classes' F1, of all rows or of one group.

    It is tested by exact bounds of every class at once, see `macro_f1_span`.

    Parameters
    ----------
    slack
        What it may lack of 1, a share between 0 and 1.
    classes
        How many classes there are.
    group
        The group; None for all rows.
    """

    slack: float
    classes: int
    group: str | None = None
    measure = "macro_f1"

    def words(self) -> str:
        """What is asked."""
        return f"a macro-F1 of at least {100 * (1 - self.slack):g} %{_in(self.group)}"

    def p_value(self, label: Ints, truth: Truth, bound: str, delta: float) -> float:
        """Of "it is less": the least chance of a mistake, shared by the classes, at which its lower bound suffices."""
        both, rows = self._counts(label, truth)
        enough, p = 0.0, 1.0
        while p - enough > 1e-9:
            middle = (enough + p) / 2
            suffices = macro_f1_span(both, rows, middle / self.classes)[0] >= 1 - self.slack
            enough, p = (enough, middle) if suffices else (middle, p)
        return p

    def needed(self, label: Ints, truth: Truth, bound: str, confidence: float) -> int | None:
        """About how many labelled rows of all would show it, even where each class does as badly as in one of ten."""
        both, rows = self._counts(label, truth)
        share = both / np.maximum(rows, 1)
        for times in np.geomspace(0.01, 1e5, 200):
            seen = times * rows
            worse = np.maximum(0.0, seen * share - POWER * np.sqrt(seen * share * (1 - share)))
            if macro_f1_span(worse, seen, (1 - confidence) / self.classes)[0] >= 1 - self.slack:
                return int(np.ceil(times * len(label)))
        return None

    def outcome(self, label: Ints, truth: Truth, reference: str, confidence: float) -> str:
        """What came of it on these rows, in words, with the interval of all classes at once."""
        both, rows = self._counts(label, truth)
        low, high = macro_f1_span(both, rows, (1 - confidence) / 2 / self.classes)
        value = f"{100 * self._value(both, rows):.1f} [{100 * low:.1f}, {100 * high:.1f}] %"
        return f"macro-F1{_in(self.group)} {value}, at least {100 * (1 - self.slack):g} asked"

    def held(self, label: Ints, truth: Truth) -> bool:
        """Whether it was so on these rows."""
        return self._value(*self._counts(label, truth)) >= 1 - self.slack - 1e-9

    def _counts(self, label: Ints, truth: Truth) -> tuple[Ints, Ints]:
        """Of each class the rows that are of it and answered so, and those that are one or both, (classes,)."""
        mine, k = truth.of_group(self.group), np.arange(self.classes)
        said, gold = (x[mine, None] == k for x in (label, truth.gold))
        return (said & gold).sum(axis=0), (said | gold).sum(axis=0)

    def _value(self, both: Ints, rows: Ints) -> float:
        return float((2 * both / np.maximum(both + rows, 1)).mean())


Ask = Requirement | MacroF1


def requirements(
    floor: float | None,
    recall: Mapping[str, float],
    precision: Mapping[str, float],
    macro_f1: float | None,
    classes: Sequence[str],
    groups: Sequence[str] | None,
) -> list[Ask]:
    """All that must be so for these floors; `groups` are those in each of which it must, None for overall.

    Raises `ConfigError` for an unknown class, and where there are no groups or, for a class or a macro-F1, no classes.
    """
    found: list[Ask] = []
    of_classes = {"macro-F1": macro_f1 is not None, "recall": recall, "precision": precision}
    if not classes and any(of_classes.values()):
        what = next(name for name, given in of_classes.items() if given)
        raise ConfigError(f"A floor of {what}, and answers that were judged already have no class. Give a floor.")
    if groups is not None and list(groups) == [NO_GROUP]:
        raise ConfigError("A floor per group, and no item has a group. Give the items a column group, or leave it out.")
    for group in (None,) if groups is None else groups:
        if floor is not None:
            found.append(Requirement("quality", round(1 - floor, 12), group=group))
        if macro_f1 is not None:
            found.append(MacroF1(round(1 - macro_f1, 12), len(classes), group))
        for measure, floors in (("recall", recall), ("precision", precision)):
            for name, least in floors.items():
                if name not in classes:
                    raise ConfigError.unknown("class", name, classes)
                found.append(Requirement(measure, round(1 - least, 12), list(classes).index(name), name, group))
    return found


def gold_of(panel: Panel) -> Ints:
    """The class that is right of each row, (rows,); of answers that were judged already 0, as `judged` has it."""
    return panel.gold if panel.classes else np.zeros(len(panel), np.int64)


def judged(right: Bools) -> Ints:
    """What stands for the labels of answers that were judged already: 0 for right, else `NO_LABEL`."""
    return np.where(right, 0, NO_LABEL)


def groups_of(panel: Panel) -> NDArray[np.str_]:
    """The group of each row of a panel, those without one together, shape (rows,)."""
    return np.array([NO_GROUP if name is None else name for name in panel.groups], np.str_)


def _in(group: str | None) -> str:
    return "" if group is None else f" in group '{group}'"
