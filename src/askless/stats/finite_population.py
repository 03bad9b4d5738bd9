"""What a random sample of a file promises about the rest of that file: exact, without replacement, for any ranking.

The rows of a file that nobody has labelled yet stand in an order, surest first. Some of them, drawn by chance, are
labelled. Kept unlabelled are the rows before the (c + 1)-th error of the sample. With a chance of at most delta more
than `allowed` of the rows kept and not drawn are errors, whatever the order, ties and rare errors included:

Let the errors be numbered in that order. More than `allowed` kept, undrawn errors mean that among the first
allowed + 1 + c errors at most c were drawn: the place where the (allowed + 1)-th undrawn error stands is kept, so that
at most c drawn ones stand before it. Those are fixed rows, and of fixed rows a draw without replacement takes a
hypergeometric number. `most_errors` is the largest c for which that chance is at most delta.

The order must be settled by rows that were not drawn, and drawn rows must not teach what orders or labels.

`allowed` may be less than it could be, and so may grow while the other rows are asked. `keepable_share` is for a
promise of which the kept rows themselves are part.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache

import numpy as np

from askless.arrays import Bools, Ints
from askless.errors import ConfigError

# Parts that a share is tested on, the surest rows first.
PARTS = 60


def most_errors(population: int, sample: Ints, allowed: int, delta: float) -> Ints:
    """The most errors that each `sample` (n,) of `population` rows may show so that at most `allowed` others are wrong.

    Of confidence 1 - `delta`, (n,); -1 where even a sample without an error says too little.
    """
    from scipy.stats import hypergeom

    if allowed < 0:
        return np.full(len(sample), -1)
    # The chance rises with c: it is the distribution function of the errors drawn before the (allowed + 1)-th undrawn.
    low, high = np.full(len(sample), -1), np.minimum(sample, max(0, population - allowed - 1)) + 1
    while (high - low > 1).any():
        middle = np.maximum((low + high) // 2, 0)
        good = hypergeom.cdf(middle, population, np.minimum(allowed + middle + 1, population), sample) <= delta
        low, high = np.where(good & (high - low > 1), middle, low), np.where(good | (high - low <= 1), high, middle)
    return np.where(allowed >= population - sample, sample, low)


def least_sample(population: int, share: float, delta: float) -> int:
    """The fewest rows drawn by chance that can promise that at most a `share` of `population` rows is wrong."""
    from scipy.stats import hypergeom

    wrong = int(share * population + 1e-9) + 1
    sizes = range(population - wrong + 2)
    return bisect_left(sizes, True, key=lambda n: bool(hypergeom.pmf(0, population, wrong, n) <= delta))


def keepable(drawn: Bools, wrong: Bools, allowed: int, delta: float = 0.05) -> int:
    """How many of the first rows may be kept, so that with confidence 1 - `delta` at most `allowed` undrawn are wrong.

    Parameters
    ----------
    drawn
        Which rows were drawn by chance, (rows,), surest first.
    wrong
        Which of these turned out wrong, or could not be labelled, (rows,); of rows not drawn it is not looked at.
    allowed
        Errors that the rows kept and not drawn may have.
    delta
        The chance that they have more, more than 0 and up to 0.5.

    Returns
    -------
    int
        From 0 to the number of rows.
    """
    _check(delta)
    most = _most_errors(len(drawn), int(drawn.sum()), allowed, delta)
    found = np.flatnonzero(drawn & wrong)
    return 0 if most < 0 else int(found[most]) if len(found) > most else len(drawn)


@lru_cache(maxsize=1000)
def _most_errors(population: int, sample: int, allowed: int, delta: float) -> int:
    return int(most_errors(population, np.array([sample]), allowed, delta)[0])


def least_allowed(drawn: Bools, wrong: Bools, kept: int, delta: float = 0.05) -> int:
    """The fewest `allowed` for which `keepable` gives at least `kept` rows: what so many kept rows promise."""
    low, high = -1, int((~drawn).sum())
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if keepable(drawn, wrong, middle, delta) >= kept else (middle, high)
    return high


def keepable_share(drawn: Bools, wrong: Bools, share: float, before: int, delta: float = 0.05) -> int:
    """How many of the first rows may be kept, so that of them and `before` right rows at most a share is wrong.

    Of confidence 1 - `delta`, by tests of growing parts in a fixed sequence: the first part is the least at which the
    sample is expected to be large enough to find two errors in, and the first that fails ends it.

    Parameters
    ----------
    drawn, wrong
        As of `keepable`.
    share
        Of the rows kept, drawn or not, and those of `before`, that may be wrong, 0 to 1.
    before
        Rows that are right in any case.
    delta
        The chance that more are wrong, more than 0 and up to 0.5.

    Returns
    -------
    int
        From 0 to the number of rows.
    """
    from scipy.stats import hypergeom

    _check(delta)
    rows, n = len(drawn), int(drawn.sum())
    ends = np.unique(np.linspace(0, rows, PARTS + 1).astype(int)[1:])
    allowed = np.floor(share * (before + ends) + 1e-9).astype(int)
    free = allowed >= ends
    able = hypergeom.cdf(2, ends, np.minimum(allowed + 1, ends), n * ends // max(rows, 1)) <= delta
    sampled, found = np.cumsum(drawn)[ends - 1], np.cumsum(drawn & wrong)[ends - 1]
    passed = free | (hypergeom.cdf(found, ends, np.minimum(allowed + 1, ends), sampled) <= delta)
    tried = np.flatnonzero(free | able)
    kept = tried[np.cumsum(~passed[tried]) == 0]
    return int(ends[kept[-1]]) if len(kept) else 0


def most_wrong(population: int, sample: int, errors: int, delta: float = 0.05) -> int:
    """The most errors that `population` rows can have where `sample` of them, drawn by chance, showed `errors`.

    Of confidence 1 - `delta`.
    """
    from scipy.stats import hypergeom

    low, high = errors, population - sample + errors + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if hypergeom.cdf(errors, population, middle, sample) > delta else (low, middle)
    return low


def _check(delta: float) -> None:
    if not 0 < delta <= 0.5:
        raise ConfigError(f"A chance of {delta:g} that a promise is broken. Allowed: more than 0, up to 0.5.")
