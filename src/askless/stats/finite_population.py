"""What a random sample of a file promises about the rest of that file: exact, without replacement, for any ranking.

The rows of a file that nobody has labelled yet stand in an order, surest first. Some of them, drawn by chance, are
labelled. Kept unlabelled are the rows before the (c + 1)-th error of the sample. With a chance of at most delta more
than `allowed` of the rows kept and not drawn are errors, whatever the order, ties and rare errors included:

Let the errors be numbered in that order. More than `allowed` kept, undrawn errors mean that among the first
allowed + 1 + c errors at most c were drawn: the place where the (allowed + 1)-th undrawn error stands is kept, so that
at most c drawn ones stand before it. Those are fixed rows, and of fixed rows a draw without replacement takes a
hypergeometric number. `most_errors` is the largest c for which that chance is at most delta.

The order must be settled by rows that were not drawn, and drawn rows must not teach what orders or labels.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from askless.arrays import Bools, Ints
from askless.errors import ConfigError


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
    if not 0 < delta <= 0.5:
        raise ConfigError(f"A chance of {delta:g} that a promise is broken. Allowed: more than 0, up to 0.5.")
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
