"""What can be promised about rows that nobody has labelled yet, and with which confidence.

A policy with a dial is a row of candidates. Fixed-sequence testing starts at the safest one, holds "the promise is
broken" against what was seen, and goes on until a p-value exceeds delta; then the promise holds for every candidate
that passed, with confidence 1 - delta for all at once (Angelopoulos et al. 2021, Learn then Test, section 2).

The outcomes must be of rows on which the candidates were not fitted, held out or cross-fitted. The order of the
candidates and the bound must be settled before anybody sees the outcomes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from askless.arrays import Floats
from askless.errors import ConfigError, DataError
from askless.stats.bounds import BOUNDS, betting_mean

Quality = Floats | NDArray[np.bool_]


@dataclass(frozen=True)
class Certificate:
    """A promise about one of the candidates, or the word that none can be made.

    Parameters
    ----------
    kind
        `quality` (at most `limit` below the reference) or `spend` (a mean cost of at most `limit` an item).
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
        About how many rows would do where these were too few, else None.
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

    def words(self) -> str:
        """The promise, or that there is none, in a sentence or two."""
        sure = f"with {100 * self.confidence:g} % confidence"
        if self.kind == "spend":
            what = f"a mean cost of at most {1000 * self.limit:.4g} per 1,000 items"
        else:
            points = f"{100 * self.limit:g}"
            what = f"a quality of at most {points} point{'' if points == '1' else 's'} below the reference"
        if self.index is not None:
            return f"Promised {sure}, on {self.n:,} items: {what}."
        alone = " The only promise is to ask the reference always." if self.kind == "quality" else ""
        more = f" It would take about {self.needed:,} labelled items or more." if self.needed is not None else ""
        return f"{self.n:,} items do not allow to promise {what} {sure}.{alone}{more}"


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
    delta, of_reference = 1 - confidence, reference.astype(np.float64)
    p_values = _until_failure(lambda j: BOUNDS[bound](of_reference - policy[j], eps, delta), len(policy), delta)
    passed = sum(p <= delta for p in p_values)
    index = int(np.argmin(cost[:passed].mean(axis=1))) if passed else None
    needed = labels_needed(_apart(of_reference, policy), eps, confidence)
    more = needed if not passed and needed > len(reference) else None
    return Certificate("quality", bound, eps, confidence, len(reference), index, passed, p_values, more)


def certify_spend(quality: Quality, cost: Floats, limit: float, most: float, confidence: float = 0.95) -> Certificate:
    """The best candidate whose mean cost of an item is, with `confidence`, not more than `limit`.

    `quality` and `cost` are (candidates, rows), candidates from the cheapest on. Nothing can be said of a mean without
    a ceiling: no item may ever cost more than `most`. Raises as `certify_quality` does, and where an item did cost
    more.
    """
    _check(quality, cost)
    if (cost > most * (1 + 1e-9)).any():
        raise DataError(
            "cost", f"an item of {cost.max():g}", f"at most {most:g}", "Raise the ceiling of an item's cost."
        )
    if limit >= most:
        return Certificate("spend", "ceiling", limit, confidence, cost.shape[1], _best(quality), len(cost), (), None)
    _check_limit(limit / most, confidence)
    delta = 1 - confidence
    p_values = _until_failure(lambda j: betting_mean(cost[j] / most, limit / most), len(cost), delta)
    passed = sum(p <= delta for p in p_values)
    index = _best(quality[:passed]) if passed else None
    return Certificate("spend", "betting", limit, confidence, cost.shape[1], index, passed, p_values, None)


def labels_needed(apart: float, eps: float, confidence: float = 0.95) -> int:
    """About how many labelled rows certify a candidate that loses nothing: z^2 d / eps^2, 2.7 d / eps^2 at 95 %.

    `apart` is d, the share of rows on which it and the reference differ. Never fewer than the rows of which not one
    may be lost, log(delta) / log(1 - eps).
    """
    from scipy.stats import norm

    least = math.log(1 - confidence) / math.log1p(-eps)
    return math.ceil(max(float(norm.ppf(confidence)) ** 2 * apart / eps**2, least))


def _until_failure(p_value: Callable[[int], float], candidates: int, delta: float) -> tuple[float, ...]:
    tested: list[float] = []
    while len(tested) < candidates and all(p <= delta for p in tested[-1:]):
        tested.append(p_value(len(tested)))
    return tuple(tested)


def _apart(reference: Floats, policy: Quality) -> float:
    """Share of rows apart of the least safe candidate that lost nothing, else of the one that lost least."""
    mean = policy.mean(axis=1)
    lossless = np.flatnonzero(mean >= reference.mean() - 1e-12)
    pick = int(lossless[-1]) if len(lossless) else int(np.argmax(mean))
    return float(np.mean((reference - policy[pick]) ** 2))


def _best(quality: Quality) -> int:
    return int(np.argmax(quality.mean(axis=1)))


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
