"""What asking an expert will take before it is asked: calls, tokens, seconds and dollars, each with an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from askless.arrays import Bools, Floats
from askless.config import Price
from askless.errors import ConfigError, DataError
from askless.spending.usage import BILLED, BOUND, GUESSED, LEAST_PER_BYTE, PER_BYTE, QUANTITIES, Usage

DRAWS, GROUPS = 1000, 500


@dataclass(frozen=True)
class Range:
    """An estimate and its interval; NaN: not known.

    Parameters
    ----------
    value
        The estimate.
    low, high
        Ends of the interval that covers the true figure at the confidence of its forecast.
    """

    value: float
    low: float
    high: float

    def times(self, count: int) -> Range:
        """So many times as much."""
        return Range(count * self.value, count * self.low, count * self.high)

    def up_to(self, most: float) -> Range:
        """The same, where no more than this is taken."""
        return Range(*(min(each, most) for each in (self.value, self.low, self.high)))


@dataclass(frozen=True)
class Forecast:
    """What asking an expert about all rows will take.

    Parameters
    ----------
    expert
        Its name.
    calls
        Rows asked about, each as often as an answer takes replies.
    prompt_tokens, completion_tokens
        Tokens read and written, over all rows.
    seconds, usd
        Seconds and US dollars, over all rows.
    kept
        Answers that are there already, and free.
    confidence
        Of the intervals.
    basis
        What the figures rest on, in plain words.
    batch_usd
        Dollars if they were asked by batches; None where they are, or where that costs no less.
    """

    expert: str
    calls: Range
    prompt_tokens: Range
    completion_tokens: Range
    seconds: Range
    usd: Range
    kept: int
    confidence: float
    basis: str
    batch_usd: Range | None = None

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return asdict(self)


def forecast(
    expert: str,
    usage: Usage,
    sizes: Floats,
    *,
    asked: Bools | None = None,
    population: int | None = None,
    price: Price | None = None,
    kept: int = 0,
    confidence: float = 0.95,
    batches: bool = False,
    replies: int = 1,
) -> Forecast:
    """What `expert` will take for `population` rows, of which those of `sizes` were drawn by chance and looked at.

    A total is rows asked x what such a row takes. The number of rows has an exact interval (`counted`), all else a
    Bayesian bootstrap (Rubin 1981): rows that were looked at and answers on record get weights by chance, `DRAWS`
    times. Above, one more reply is taken to have been as long as is allowed, since what happens once in a hundred
    answers is often in none of those on record (Gaffke 2005). A hard bound is the upper end of what it bounds, and 0
    the lower. Tokens guessed by bytes are from `LEAST_PER_BYTE` to one for each. Nothing else is counted: not a change
    of texts, prices or machines, nor time-outs and retries.

    Parameters
    ----------
    expert
        Its name.
    usage
        What an answer takes.
    sizes
        Sizes of the rows looked at, shape (n,), counted as `usage.size` says.
    asked
        Which of them the expert is asked about, shape (n,); all, by default.
    population
        How many rows there are in all; by default those looked at.
    price
        What the expert asks for; without one, dollars are known only where they were billed.
    kept
        Answers that are there already.
    confidence
        Of the intervals, above 0.5 and below 1.
    batches
        Whether the expert is asked by batches.
    replies
        How many replies, each a call, an answer is made of; `usage` is that of one.

    Returns
    -------
    Forecast

    Raises
    ------
    ConfigError
        For a confidence that none can have.
    DataError
        For rows that do not belong together.
    """
    sizes = np.asarray(sizes, np.float64)
    chosen = np.ones(len(sizes), bool) if asked is None else np.asarray(asked, bool)
    rows = len(sizes) if population is None else population
    _check(sizes, chosen, rows, confidence)
    calls = counted(int(chosen.sum()), len(sizes), rows, confidence)
    draws = _Draws(usage, sizes[chosen] if chosen.any() else sizes, len(sizes) / rows if rows else 1.0, calls)
    totals = {name: draws.total(np.eye(len(QUANTITIES))[j], 0.0, confidence) for j, name in enumerate(QUANTITIES[:3])}
    usd = draws.total(*usage.rates(price and price.of(batch=batches)), confidence)
    less = None if batches or price is None or price.batch is None or usage.rows[BILLED] else price.batch
    batch_usd = None if less is None else draws.total(*usage.rates(less), confidence)
    basis = usage.words() + (f" Prices: {price.source}." if price and price.source else "")
    many = {name: each.times(replies) for name, each in {"calls": calls, **totals, "usd": usd}.items()}
    batch_usd = batch_usd and batch_usd.times(replies)
    return Forecast(expert, **many, kept=kept, confidence=confidence, basis=basis, batch_usd=batch_usd)


def together(ranges: Sequence[Range]) -> Range:
    """The sum of totals whose errors do not depend on each other."""
    value = sum(each.value for each in ranges)
    down = math.hypot(*(each.value - each.low for each in ranges))
    return Range(value, value - down, value + math.hypot(*(each.high - each.value for each in ranges)))


def counted(hits: int, looked: int, population: int, confidence: float) -> Range:
    """How many of `population` rows are such as `hits` of `looked` drawn without replacement.

    The exact interval: all numbers under which neither so few nor so many hits have a chance of less than half of 1 -
    `confidence`, found by bisection. Source: Buonaccorsi 1987. It covers at least as often as is stated.
    """
    if looked == population:
        return Range(hits, hits, hits)
    from scipy.stats import hypergeom

    tail = (1 - confidence) / 2
    least, most = hits, population - (looked - hits)
    if not looked:
        return Range(math.nan, 0, population)

    def first(low: int, high: int, holds: Any) -> int:
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if holds(middle) else (middle + 1, high)
        return low

    low = first(least, most, lambda k: hypergeom.sf(hits - 1, population, k, looked) > tail)
    high = first(low, most + 1, lambda k: k > most or hypergeom.cdf(hits, population, k, looked) <= tail) - 1
    return Range(hits * population / looked, low, high)


class _Draws:
    """What rows asked about take, and by how much that may be off: `off` (draws, 4) for each, `scatter` for their sum.

    `above` (draws,) is what one more reply of the longest kind would add to the completion tokens of each row.
    """

    def __init__(self, usage: Usage, sizes: Floats, share: float, calls: Range) -> None:
        rng, count = np.random.default_rng(0), len(QUANTITIES)
        self.usage, self.calls, self.known = usage, calls, bool(len(sizes))
        self.middle = float(sizes.mean()) if len(sizes) else math.nan
        self.off, self.scatter, self.above = np.zeros((DRAWS, count)), np.zeros((DRAWS, count)), np.zeros(DRAWS)
        if share < 1 and len(sizes) > 1:
            pull = (sizes - self.middle)[:, None] * math.sqrt((1 - share) / len(sizes) / (len(sizes) - 1))
            self.off += _weighted(rng, pull, len(sizes) - 1) * np.nan_to_num(usage.lines[1])
        for fit in usage.fits:
            answers = len(fit.pull)
            self.off[:, fit.columns] += _weighted(rng, fit.pull[:, 0] + self.middle * fit.pull[:, 1], answers - 2)
            normal = rng.multivariate_normal(np.zeros(len(fit.columns)), fit.spread, DRAWS, method="eigh")
            self.scatter[:, fit.columns] = normal * _student(rng, answers - 2) * math.sqrt(calls.high)
        if replies := usage.rows[1]:
            longest = usage.most - usage.lines[0, 1] - usage.lines[1, 1] * self.middle
            self.above = rng.exponential(size=DRAWS) * max(0.0, np.nan_to_num(longest)) / (replies + 1)

    def total(self, weights: Floats, flat: float, confidence: float) -> Range:
        """The total of a weighted sum of quantities over the rows asked, `flat` more for each.

        The deviations of rows asked and of what each takes are added as squares (Zou and Donner 2008).
        """
        if self.calls.high == 0:
            return Range(0.0, 0.0, 0.0)
        used, calls = weights != 0, self.calls
        each = float((self.usage.lines[:, used] @ weights[used]) @ (1.0, self.middle)) + flat
        if math.isnan(each):
            return Range(math.nan, math.nan, math.nan)
        tail, off, scatter = (1 - confidence) / 2, self.off @ weights, self.scatter @ weights
        below = -float(np.quantile(calls.value * off + scatter, tail))
        above = float(np.quantile(calls.high * (off + self.above * weights[1]) + scatter, 1 - tail))
        bound, guess = (self._part(weights, how) for how in (BOUND, GUESSED))
        surely = each - bound - guess * (1 - LEAST_PER_BYTE / PER_BYTE)
        value = calls.value * each
        low = calls.value * surely - math.hypot((calls.value - calls.low) * each, max(0.0, below))
        high = value + math.hypot((calls.high - calls.value) * each, max(0.0, above))
        high += calls.high * guess * (1 / PER_BYTE - 1)
        return Range(value, max(0.0, low), high)

    def _part(self, weights: Floats, how: str) -> float:
        """What of a row's sum is known in this way."""
        these = (weights != 0) & (np.array(self.usage.known) == how)
        return float((self.usage.lines[:, these] @ weights[these]) @ (1.0, self.middle))


def _weighted(rng: np.random.Generator, pull: Floats, freedom: int) -> Floats:
    """Sums of `pull` (m, k) with weights of mean 0 by chance, shape (draws, k), as wide as Student's t is.

    Of very many rows some are put together, which leaves the variance of their sum as it is.
    """
    if len(pull) > GROUPS:
        pull = np.add.reduceat(pull, np.linspace(0, len(pull), GROUPS, endpoint=False).astype(int))
    return (rng.exponential(size=(DRAWS, len(pull))) - 1) @ pull * _student(rng, freedom)


def _student(rng: np.random.Generator, freedom: int) -> Floats:
    """What makes normal errors such as have Student's t distribution, shape (draws, 1)."""
    return np.sqrt(freedom / rng.chisquare(freedom, (DRAWS, 1)))


def check_confidence(confidence: float) -> None:
    """Raise `ConfigError` for a confidence that none can have."""
    if not 0.5 < confidence < 1:
        raise ConfigError(f"A forecast with confidence {confidence:g}. Allowed: above 0.5 and below 1.")


def _check(sizes: Floats, asked: Bools, population: int, confidence: float) -> None:
    check_confidence(confidence)
    if sizes.ndim != 1 or asked.shape != sizes.shape or population < len(sizes):
        raise DataError(
            "forecast",
            f"sizes {sizes.shape} and asked {asked.shape} of {population} rows",
            "one size and one mark for each row looked at, of at least as many rows in all",
            "Give both of the same rows.",
        )
