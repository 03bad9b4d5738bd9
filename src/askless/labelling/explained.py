"""Why a model that learns asked whom it asked about an item: from what it kept of it, and the version that decided."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from askless.bundles.bundle import Bundle
from askless.errors import DataError
from askless.labelling.learning import Learning
from askless.labelling.live_bandit import as_of, rounds_of
from askless.panel import NO_LABEL
from askless.policies.bandit.bandit import Bandit
from askless.policies.bandit.rounds import Rounds


@dataclass(frozen=True)
class Asked:
    """One answer, in the order in which it was asked for.

    Parameters
    ----------
    expert, answer
        Who was asked, and what came; None where no label did.
    cost
        What it took, in dollars.
    blindly
        Whether it was asked for before anything was seen of the item.
    before, after
        Chance that the answer at hand is right, 0 to 1, before this one and with it; None where that is not known.
    """

    expert: str
    answer: str | None
    cost: float
    blindly: bool
    before: float | None
    after: float | None


@dataclass(frozen=True)
class Verdict:
    """What a judge said.

    Parameters
    ----------
    expert, label, cost
        Who it is, the class that it called right, None for none, and what that took, in dollars.
    """

    expert: str
    label: str | None
    cost: float


@dataclass(frozen=True)
class LiveExplanation:
    """Why an item cost what it did.

    Parameters
    ----------
    id, day, version, labels
        The item; when it was decided, by which version, and how many labels that had learnt from, None where it is no
        longer kept.
    asked
        Whom it was put to.
    answer, label
        What was answered, and the label that came for it, a judge's where no other did; None for none.
    judged
        What a judge said of it; None where it was not asked.
    """

    id: str
    day: str
    version: int
    labels: int | None
    asked: tuple[Asked, ...]
    answer: str | None
    label: str | None
    judged: Verdict | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "asked": [asdict(each) for each in self.asked]}

    def words(self) -> list[str]:
        """The same, a sentence or two each."""
        by = "no longer kept" if self.labels is None else f"taught by {self.labels:,} labels"
        lines = [f"Decided on {self.day} by version {self.version}, {by}."]
        if not self.asked:
            return [*lines, "Nobody was asked: there was no money for it."]
        blind = [each for each in self.asked if each.blindly]
        if len(blind) > 1:
            lines.append(f"{_and(blind)} were asked at once, to learn what each is worth.")
        for each in self.asked:
            said = "gave no label" if each.answer is None else f"said '{each.answer}'"
            why = "was asked first" if each.blindly else "was asked as well"
            if each.before is not None:
                why = f"was asked as well, for the answer at hand was {_percent(each.before)} likely to be right,"
            now = "" if each.after is None else f"; then {_percent(each.after)} likely to be right"
            why = "" if each.blindly and len(blind) > 1 else f" {why} and"
            lines.append(f"{each.expert}{why} {said}, for ${each.cost:.4g}{now}.")
        given = "no label" if self.answer is None else f"'{self.answer}'"
        told = "" if self.label is None else f"; the label that came is '{self.label}'"
        if self.judged is not None:
            called = "named no class" if self.judged.label is None else f"called '{self.judged.label}' right"
            lines.append(f"{self.judged.expert} judged the answers and {called}, for ${self.judged.cost:.4g}.")
        return [*lines, f"The answer was {given}, for ${sum(each.cost for each in self.asked):.4g}{told}."]


def explained(bundle: Bundle, learning: Learning, name: str | None, text: str | None) -> LiveExplanation:
    """Why an item, by its id or text, was decided as it was; raises `DataError` for one that is not known."""
    found = learning.find(name, text)
    if found is None:
        got = "no such text was answered" if name is None else f"no item '{name}' was answered"
        remedy = "Give its own id, the one in its answer, or --text."
        raise DataError(learning.path, got, "one of the last 100,000", remedy)
    version = learning.version(found.version)
    bandit = None if version is None else as_of(bundle.policy, version)  # type: ignore[arg-type]
    asked, answer, verdict = tuple[Asked, ...](), NO_LABEL, None
    if found.round:
        rounds, answer, verdict = rounds_of(found.round)
        asked = _asked(bundle, bandit, rounds)
    labels, stood = None if version is None else version.labels, _name(bundle, answer)
    judged = None if verdict is None else Verdict(**{**verdict, "label": _name(bundle, verdict["label"])})
    return LiveExplanation(found.key, found.day, found.version, labels, asked, stood, found.label, judged)


def _name(bundle: Bundle, label: int) -> str | None:
    return None if label == NO_LABEL else bundle.classes[label]


def _asked(bundle: Bundle, bandit: Bandit | None, rounds: Rounds) -> tuple[Asked, ...]:
    """Each answer in its order: blind ones first, then the others, whom the version takes for cheaper before."""
    cost, free = rounds.cost[0], rounds.free[0]
    rising = [] if bandit is None else [bandit.experts[j] for j in bandit.order_]
    rank = [rising.index(name) if name in rising else len(rising) for name in rounds.experts]
    order = sorted(np.flatnonzero(rounds.asked[0]).tolist(), key=lambda j: (not free[j], rank[j], cost[j]))
    found, voted = list[Asked](), list[str]()
    for j in order:
        name, label = rounds.experts[j], int(rounds.label[0, j])
        before = None if free[j] else _sure(bandit, rounds, voted)
        voted.append(name)
        after = None if free[j] and j != order[free.sum() - 1] else _sure(bandit, rounds, voted)
        found.append(Asked(name, _name(bundle, label), float(cost[j]), bool(free[j]), before, after))
    return tuple(found)


def _sure(bandit: Bandit | None, rounds: Rounds, voted: list[str]) -> float | None:
    """The chance that what these experts said is right."""
    if bandit is None or not set(voted) <= set(bandit.experts):
        return None
    mine = rounds.of(bandit.experts)
    sure = bandit.sure(mine.label, mine.p, np.isin(bandit.experts, voted)[None])
    return None if sure is None or np.isnan(sure[0]) else float(sure[0])


def _percent(chance: float) -> str:
    return f"{100 * chance:.0f} %"


def _and(asked: list[Asked]) -> str:
    *most, last = [each.expert for each in asked]
    return f"{', '.join(most)} and {last}"
