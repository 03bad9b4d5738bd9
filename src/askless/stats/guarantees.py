"""What can be promised about rows that nobody has labelled yet, and with which confidence.

A policy with a dial is a row of candidates. Fixed-sequence testing starts at the safest one, holds "the promise is
broken" against what was seen, and goes on until a p-value exceeds delta; then the promise holds for every candidate
that passed, with confidence 1 - delta for all at once (Angelopoulos et al. 2021, Learn then Test, section 2). Several
such rows share delta, and one that has passed to its end leaves its part to the others (Holm 1979; as a graph of tests,
Bretz et al. 2009).

The outcomes must be of rows on which the candidates were not fitted, held out or cross-fitted. The order of the
candidates and the bound must be settled before anybody sees the outcomes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from askless.arrays import Floats, Ints
from askless.errors import ConfigError, DataError
from askless.stats.bounds import BOUNDS

Quality = Floats | NDArray[np.bool_]


@dataclass(frozen=True)
class Certificate:
    """A promise about one of the candidates, or the word that none can be made.

    Parameters
    ----------
    kind
        `quality` (at most `limit` below the reference), `spend` (a mean cost of at most `limit` an item), or `classes`
        (floors of classes alone, whose `limit` is 0).
    bound
        Name of the test.
    limit
        In quality from 0 to 1, or in the unit of cost.
    confidence
        Of the promise, 0.5 to below 1.
    n
        Rows on which it was tested.
    index
        The certified candidate of least cost (`quality`) or best quality (`spend`), None without one.
    certified
        How many candidates passed.
    p_values
        Of the candidates tested, in order.
    needed
        Where these rows were too few, how many would certify something in nine cases of ten; None where none would.
    terms
        What is promised in words, where it is more than one quality of all rows; what a limit of spending assumes.
    """

    kind: str
    bound: str
    limit: float
    confidence: float
    n: int
    index: int | None
    certified: int
    p_values: tuple[float, ...]
    needed: int | None
    terms: tuple[str, ...] = ()

    def words(self) -> str:
        """The promise, or that there is none, in a sentence or two."""
        sure, assumed = f"with {100 * self.confidence:g} % confidence", ""
        if self.kind == "spend":
            what = f"a mean cost of at most {1000 * self.limit:.4g} per 1,000 items"
            assumed = "".join(f", {term}" for term in self.terms)
        else:
            points = f"{100 * self.limit:g}"
            of_all = f"a quality of at most {points} point{'' if points == '1' else 's'} below the reference"
            what = "; ".join(self.terms or (of_all,))
        if self.index is not None:
            return f"Promised {sure}, on {self.n:,} items: {what}{assumed}."
        alone = " The only promise is to ask the reference always." if self.kind == "quality" and not self.terms else ""
        more = f" It would take about {self.needed:,} labelled items." if self.needed is not None else ""
        return f"{self.n:,} items do not allow to promise {what} {sure}{assumed}.{alone}{more}"


def certify_quality(
    policy: Quality,
    reference: Quality,
    cost: Floats,
    eps: float,
    confidence: float = 0.95,
    bound: str = "clopper_pearson",
) -> Certificate:
    """The cheapest candidate that is, with `confidence`, not more than `eps` below the reference.

    `policy` (candidates, rows) and `reference` (rows,) are qualities in [0, 1] of the same rows, `cost` (candidates,
    rows) what they cost; candidates from the safest on, which mostly is the costliest. Raises `ConfigError` for a
    bound, `eps` or `confidence` that cannot be meant, `DataError` for outcomes that do not fit together.
    """
    _check(policy, cost)
    if reference.shape != policy.shape[1:]:
        raise DataError("outcomes", f"a reference {reference.shape}", f"{policy.shape[1:]}", "Give the same rows.")
    _check_limit(eps, confidence)
    if bound not in BOUNDS:
        raise ConfigError.unknown("bound", bound, BOUNDS)
    delta, loss = 1 - confidence, reference.astype(np.float64) - policy
    ((passed, p_values),) = fixed_sequences([[partial(BOUNDS[bound], each, eps, delta) for each in loss]], delta)
    index = int(np.argmin(cost[:passed].mean(axis=1))) if passed else None
    found = [] if passed else [labels_needed(each, eps, confidence, bound) for each in loss]
    needed = min((n for n in found if n is not None and n > len(reference)), default=None)
    return Certificate("quality", bound, eps, confidence, len(reference), index, passed, p_values, needed)


def fixed_sequences(
    families: Sequence[Sequence[Callable[[], float]]], delta: float, shares: Sequence[float] | None = None
) -> list[tuple[int, tuple[float, ...]]]:
    """How many candidates of each family passed, from its first on, and the p-values of those that were tested.

    With a chance of at most `delta` that any of them should not have. Each family is tested at its part of that,
    `shares` (families,) or all the same, until a candidate fails; one that passed to its end leaves its part to the
    others, which go on at what they have then.
    """
    found: list[list[float]] = [[] for _ in families]
    passed = [0] * len(families)
    level = [delta / len(families)] * len(families) if shares is None else list(shares)
    waiting = list(range(len(families)))
    while waiting:
        f = waiting.pop(0)
        while passed[f] < len(families[f]):
            if len(found[f]) == passed[f]:
                found[f].append(families[f][passed[f]]())
            if found[f][passed[f]] > level[f]:
                break
            passed[f] += 1
        else:
            unfinished = [g for g, family in enumerate(families) if passed[g] < len(family)]
            for g in unfinished:
                level[g] += level[f] / len(unfinished)
            level[f], waiting = 0.0, unfinished
    return [(count, tuple(p_values)) for count, p_values in zip(passed, found, strict=True)]


def labels_needed(
    loss: Floats, eps: float, confidence: float = 0.95, bound: str = "clopper_pearson", power: float = 0.9
) -> int | None:
    """About how many labelled rows certify, with a chance of `power`, what loses as these rows do; None if none do.

    `loss` (rows,) is the reference's quality less the candidate's. Where nothing was lost, half of what may be lost is
    assumed, or what so few rows do not rule out, if that is less. For `clopper_pearson` it is the least number at which
    so few are lost in a share `power` of all samples that it certifies; for others it is a normal approximation.
    """
    lost, won, n = float(np.maximum(loss, 0).mean()), float(np.maximum(-loss, 0).mean()), len(loss)
    lost = lost or min(eps / 2, 0.5 / (n + 1))
    if bound == "clopper_pearson":
        return _rows_needed(lost, eps, confidence, power)
    from scipy.stats import norm

    mean = lost - won
    if mean >= eps:
        return None
    apart, gap = float((loss**2).mean()) or lost, eps - mean
    # Were just eps lost, gap more rows would be apart.
    bad, good = math.sqrt(apart + gap - eps**2), math.sqrt(apart - mean**2)
    z, z_power = float(norm.ppf(confidence)), float(norm.ppf(power))
    return math.ceil(
        max((z * bad + z_power * good) ** 2 / gap**2, math.log(0.98 * (1 - confidence)) / math.log1p(-eps))
    )


@lru_cache(maxsize=10_000)
def _rows_needed(lost: float, eps: float, confidence: float, power: float) -> int | None:
    from scipy.stats import binom

    rows, most = _most_lost(eps, confidence)
    enough = np.flatnonzero((lost < eps) & (most >= 0) & (binom.cdf(most, rows, lost) >= power))
    return int(rows[enough[0]]) if len(enough) else None


@lru_cache(maxsize=100)
def _most_lost(eps: float, confidence: float) -> tuple[Ints, Ints]:
    """Numbers of rows, and how many of each may be lost; -1 where none may."""
    from scipy.stats import binom

    least = math.log(1 - confidence) / math.log1p(-eps)
    rows = np.unique(np.geomspace(max(least, 1.0), 1e7, 1000).astype(np.int64))
    most = binom.ppf(1 - confidence, rows, eps)
    return rows, np.asarray(most - (binom.cdf(most, rows, eps) > 1 - confidence), np.int64)


def _check(quality: Quality, cost: Floats) -> None:
    if quality.ndim != 2 or not quality.size or quality.shape != cost.shape:
        got = f"quality {quality.shape} and cost {cost.shape}"
        raise DataError("outcomes", got, "both (candidates, rows), not empty", "Give both for the same rows.")
    if not ((quality >= 0) & (quality <= 1)).all() or not np.isfinite(cost).all():
        raise DataError("outcomes", "a quality outside [0, 1] or a cost that is no number", "neither", "Scale it.")


def _check_limit(limit: float, confidence: float) -> None:
    if not 0 < limit < 1:
        raise ConfigError(f"A limit of {limit:g}. Allowed: more than 0 and less than 1; 0.03 is three points.")
    if not 0.5 <= confidence < 1:
        raise ConfigError(f"A confidence of {confidence:g}. Allowed: 0.5 or more and less than 1.")
