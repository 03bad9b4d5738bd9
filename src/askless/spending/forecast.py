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
from askless.spending.usage import BOUND, Usage


@dataclass(frozen=True)
class Range:
    """An estimate and the interval that covers the true figure at the confidence of its forecast; NaN: not known."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Forecast:
    """What asking `expert` about all rows will take; `kept` answers are there already and free.

    `calls` counts rows asked about. `basis` says in plain words what the figures rest on.
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
) -> Forecast:
    """What `expert` will take for `population` rows, of which `sizes` (n,) are those of n drawn by chance.

    `sizes` are counted as `usage.size` says; `asked` (n,) are the rows that the expert is asked about, None for all;
    without `population` the n rows are all there are. Raises `ConfigError` or `DataError` for what cannot be meant.

    A total is rows asked x mean of such a row, and its interval counts three sources of error. Rows that were not
    looked at: their number is hypergeometric with its exact interval, their mean has the t interval of a draw without
    replacement (Cochran 1977, section 2), rid of skewness by Hall's cubic (1992). The error of the lines of `usage`,
    rid of skewness alike, and the spread of single answers around them: Student's t, with 2 degrees of freedom less
    than the answers or batches that were learnt from. Above, one more reply is taken to have been as long as is
    allowed. Deviations of a sum are added as squares (Zou and Donner 2008), those of a product as Goodman (1960) has
    them. Nothing else is counted: not a change of texts, prices or machines, nor time-outs and retries. A hard bound
    is the upper end of what it bounds, and 0 the lower.
    """
    sizes = np.asarray(sizes, np.float64)
    chosen = np.ones(len(sizes), bool) if asked is None else np.asarray(asked, bool)
    rows = len(sizes) if population is None else population
    _check(sizes, chosen, rows, confidence)
    calls = counted(int(chosen.sum()), len(sizes), rows, confidence)
    rates, flat = usage.rates(price)
    weights = {"prompt_tokens": np.eye(4)[0], "completion_tokens": np.eye(4)[1], "seconds": np.eye(4)[2]}
    looked = sizes[chosen] if chosen.any() else sizes
    share = len(sizes) / rows if rows else 1.0
    totals = {name: _total(usage, w, 0.0, looked, share, calls, confidence) for name, w in weights.items()}
    usd = _total(usage, rates, flat, looked, share, calls, confidence)
    return Forecast(expert, calls, **totals, usd=usd, kept=kept, confidence=confidence, basis=usage.words())


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


def mean(values: Floats, share: float, confidence: float) -> Range:
    """Mean of a population of which `values` (n,) are a `share` drawn without replacement."""
    middle, n = float(values.mean()), len(values)
    if share >= 1 or n < 2:
        return Range(middle, middle, middle)
    from scipy.stats import t

    deviation = float(values.std(ddof=1))
    if deviation <= 1e-12 * abs(middle):
        return Range(middle, middle, middle)
    error = deviation * math.sqrt((1 - share) / n)
    skew = float((((values - middle) / values.std()) ** 3).mean()) / math.sqrt(n)
    quantile = float(t.ppf((1 + confidence) / 2, n - 1))
    return Range(middle, middle - error * _unskewed(quantile, skew), middle - error * _unskewed(-quantile, skew))


def _unskewed(quantile: float, skew: float) -> float:
    """Where Hall's monotone cubic of a studentised mean is `quantile`; `skew` is the values' over the root of n."""
    if abs(skew) < 1e-6:
        return quantile
    return float(3 / skew * (np.cbrt(1 + skew * quantile - skew**2 / 6) - 1))


def _total(
    usage: Usage, weights: Floats, flat: float, sizes: Floats, share: float, calls: Range, confidence: float
) -> Range:
    """The total of a weighted sum of quantities over the rows asked, `flat` more for each; `sizes` are of such rows."""
    if calls.high == 0:
        return Range(0.0, 0.0, 0.0)
    used = weights != 0
    lines = usage.lines[:, used] @ weights[used] + np.array([flat, 0.0])
    if np.isnan(lines).any() or not len(sizes):
        return Range(math.nan, math.nan, math.nan)
    each = mean(lines[0] + lines[1] * sizes, share, confidence)
    below, above = _noise(usage, weights, float(sizes.mean()), calls, confidence)
    value = calls.value * each.value
    bounds = used & (np.array(usage.known) == BOUND)
    floor = value - calls.value * float(
        (usage.lines[0, bounds] + usage.lines[1, bounds] * sizes.mean()) @ weights[bounds]
    )
    down = _product(calls.value, calls.value - calls.low, each.value, each.value - each.low)
    up = _product(calls.value, calls.high - calls.value, each.value, each.high - each.value)
    low, high = floor - math.hypot(down, below), value + math.hypot(up, above)
    return Range(value, max(0.0, low), high)


def _noise(usage: Usage, weights: Floats, size: float, calls: Range, confidence: float) -> tuple[float, float]:
    """How far under and above the estimate the error of the lines and the spread of single answers may take a total.

    The error of the lines is about that of a mean, and rid of skewness as one. Above, a reply of `most` tokens is added
    to those learnt from: what happens once in a hundred answers is often in none of them.
    """
    rows = [rows for rows, weight in zip(usage.rows, weights, strict=True) if rows and weight]
    if not rows:
        return 0.0, 0.0
    from scipy.stats import t

    m, at = min(rows), np.kron(np.array([1.0, size]), weights)
    quantile = float(t.ppf((1 + confidence) / 2, m - 2))
    second, third = float(weights @ usage.spread @ weights), float(np.einsum("ijk,i,j,k", usage.third, *[weights] * 3))
    error, each = math.sqrt(max(0.0, float(at @ usage.error @ at))), quantile * math.sqrt(calls.high * max(0.0, second))
    if second <= 0:
        return each, each
    longest = weights[1] * (usage.most - usage.lines[0, 1] - usage.lines[1, 1] * size) if usage.rows[1] else 0.0
    below = error * _unskewed(quantile, third / second**1.5 / math.sqrt(m))
    shift, wider, skew = _with_one_more(m, second, third, longest if longest > 0 else 0.0)
    above = shift - error * wider * _unskewed(-quantile, skew / math.sqrt(m))
    return math.hypot(calls.value * below, each), math.hypot(calls.high * above, each)


def _with_one_more(m: int, second: float, third: float, value: float) -> tuple[float, float, float]:
    """What one more value does to m values of mean 0: their mean then, how much wider they scatter, their skewness."""
    if not value:
        return 0.0, 1.0, third / second**1.5
    n = m + 1
    middle, square, cube = value / n, (m * second + value**2) / n, (m * third + value**3) / n
    variance = square - middle**2
    skew = (cube - 3 * middle * square + 2 * middle**3) / variance**1.5
    return middle, math.sqrt(variance / second), skew


def _product(a: float, da: float, b: float, db: float) -> float:
    return math.sqrt((b * da) ** 2 + (a * db) ** 2 + (da * db) ** 2)


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
