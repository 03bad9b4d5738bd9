"""Whether today's rows look like those a promise was made on: two-sample tests on the experts' own scores.

No label is needed. Where the scores differ beyond chance, what was promised on the old rows is withdrawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from askless.arrays import Floats
from askless.errors import ConfigError

KEPT = 1000
FEWEST = 20
PERMUTATIONS = 2000
BATCH = 100
RATE, NEW_WORDS = "the share of rows deferred", "the share of words not seen before"
REMEDY = "Label some of them and plan again."


@dataclass(frozen=True)
class Shift:
    """What the comparison found.

    Parameters
    ----------
    p_values
        Of each thing compared: an expert's name, or the share deferred.
    level
        Chance of a false alarm over all of them together, 0 to 1.
    untested
        What had fewer than 20 rows on one of the sides.
    """

    p_values: dict[str, float]
    level: float
    untested: tuple[str, ...] = ()

    @property
    def moved(self) -> tuple[str, ...]:
        """What differs beyond chance: p-value at most `level` over the number of tests (Bonferroni)."""
        return tuple(name for name, p in self.p_values.items() if p <= self.level / len(self.p_values))

    @property
    def alarm(self) -> bool:
        """Whether something differs, so that what was promised is withdrawn."""
        return bool(self.moved)

    @property
    def told(self) -> bool:
        """Whether a shift would show: some score was compared; a share of rows deferred may stay though all changes."""
        return any(name != RATE for name in self.p_values)

    def words(self, promised: bool = True, kept: bool | None = None, remedy: str = REMEDY) -> str:
        """The finding in a sentence or two: whether something was `promised`, and was `kept` on these rows."""
        listed = ", ".join(f"{_named(name)}: p = {p:.2g}" for name, p in self.p_values.items())
        if self.alarm:
            moved = " and ".join(map(_named, self.moved))
            start = "The promise is withdrawn: these rows" if promised else "These rows"
            on = "those it was made on" if promised else "those the plan was made on"
            return f"{start} differ from {on} in {moved} ({listed}). {remedy}"
        if not self.told:
            why = (
                f"fewer than {FEWEST} scores on one of the sides"
                if self.untested
                else "nobody who is asked states a score that tells"
            )
            return f"Whether the rows have shifted cannot be told: {why}{f' ({listed})' if listed else ''}."
        if promised and kept is False:
            broken = "and what was promised was not kept all the same: plan again with these rows"
            return f"No shift seen ({listed}), {broken}."
        return f"No shift seen{', the promise stands' if promised else ''} ({listed})."


def summary(score: Floats) -> Floats:
    """At most 1,000 evenly spaced order statistics of a sample: what a later comparison needs of it, sorted.

    NaN, where an expert stated nothing, is the least of all, but a sample of nothing else is empty. More rows than that
    are compared as if they were 1,000, which errs on the side of no alarm.
    """
    if np.isnan(score).all():
        return np.zeros(0)
    score = np.sort(np.where(np.isnan(score), -np.inf, score))
    if len(score) <= KEPT:
        return score
    return np.asarray(score[((np.arange(KEPT) + 0.5) * len(score) / KEPT).astype(np.int64)])


def compare(
    before: Mapping[str, Floats],
    now: Mapping[str, Floats],
    deferred: tuple[tuple[int, int], tuple[int, int]] | None = None,
    level: float = 0.05,
    random_state: int = 0,
) -> Shift:
    """Hold the scores of each expert, before and now, against each other, and the share of rows deferred.

    `before` and `now` are samples or their `summary`, by expert; `deferred` is (deferred, rows) before and now. The
    chance of a false alarm is at most `level` over all tests. Raises `ConfigError` for a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ConfigError(f"A level of {level:g} for the shift test. Allowed: more than 0 and less than 1.")
    p_values, untested = {}, []
    for name, old in before.items():
        new = np.asarray(now.get(name, np.zeros(0)), float)
        new = np.where(np.isnan(new), -np.inf, new) if len(old) else new
        if min(len(old), len(new)) < FEWEST:
            untested.append(name)
        else:
            p_values[name] = two_sample(old, summary(new), random_state)
    if deferred is not None and min(rows for _, rows in deferred) >= FEWEST:
        p_values[RATE] = fisher(*deferred)
    return Shift(p_values, level, tuple(untested))


def two_sample(
    a: Floats, b: Floats, random_state: int = 0, permutations: int | None = None, enough: int | None = None
) -> float:
    """p-value of "both samples come from one distribution" by permutation, so that ties do no harm.

    The statistic is the Cramer-von Mises distance, the mean squared gap between the two distribution functions over the
    pooled rows (Anderson 1962). The least p-value is 1 over 1 + `permutations` (2,000). With `enough`, no more are
    drawn once so many of them lay as far apart, and the p-value is their share: as valid, and cheap where nothing moved
    (Besag and Clifford 1991).
    """
    permutations = permutations or PERMUTATIONS
    pooled = np.concatenate([a, b])
    order = np.argsort(pooled, kind="stable")
    value = pooled[order]
    last = np.flatnonzero(np.append(value[1:] != value[:-1], True))
    weight = np.diff(last, prepend=-1)
    rng = np.random.default_rng(random_state)
    member = (order < len(a)).astype(np.int16)

    def distance(drawn: NDArray[np.int16]) -> Floats:
        of_a = np.cumsum(drawn, axis=1, dtype=np.int32)[:, last]
        gap = of_a / len(a) - (last + 1 - of_a) / len(b)
        return np.asarray((weight * gap**2).sum(axis=1))

    seen = distance(member[None])[0] * (1 - 1e-12)
    far = np.zeros(0, bool)
    for _ in range(permutations // BATCH):
        far = np.append(far, distance(rng.permuted(np.tile(member, (BATCH, 1)), axis=1)) >= seen)
        if enough is not None and far.sum() >= enough:
            return float(enough / (1 + np.searchsorted(np.cumsum(far), enough)))
    return float((1 + far.sum()) / (1 + len(far)))


def fisher(before: tuple[int, int], now: tuple[int, int], alternative: str = "two-sided") -> float:
    """p-value of "the same share of rows", each (count, rows), by Fisher's exact test.

    `alternative` "greater" looks for a share that rose, "less" for one that fell.
    """
    from scipy.stats import fisher_exact

    return float(fisher_exact([[k, n - k] for k, n in (now, before)], alternative).pvalue)


def _named(name: str) -> str:
    return name if name in (RATE, NEW_WORDS) else f"the scores of {name}"
