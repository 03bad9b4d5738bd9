"""p-values and intervals from counts of right and wrong answers that hold for any number of rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from askless.arrays import Floats, Ints
from askless.errors import ConfigError

BETS = 40
SPENT = 1 / 500
SHARES = 60


def exact(loss: Floats, eps: float, delta: float) -> float:
    """p-value of "the mean loss exceeds `eps`" for losses -1, 0 or 1, exact for any number of rows.

    The score test of matched pairs, its p-value the chance of anything as good at the worst share of rows on which
    policy and reference may differ, up to that share's Clopper-Pearson bound at delta / 500, which is added. It counts
    what the policy won as well. Source: Tango 1998 (statistic), Liu et al. 2002 (exact version), Berger and Boos 1994
    (the bound).
    """
    _only_right_or_wrong(loss, "exact")
    return _exact(int((loss > 0).sum()), int((loss < 0).sum()), len(loss), eps, delta * SPENT)


def clopper_pearson(loss: Floats, eps: float, delta: float) -> float:
    """p-value of "the mean loss exceeds `eps`" by the rows that were lost, as if none had been won.

    Source: Clopper and Pearson 1934.
    """
    from scipy.stats import binom

    _only_right_or_wrong(loss, "clopper_pearson")
    return float(binom.cdf((loss > 0).sum(), len(loss), eps))


def betting(loss: Floats, eps: float, delta: float) -> float:
    """p-value of "the mean loss exceeds `eps`" for any losses in [-1, 1]: the bound for a scaled quality."""
    return betting_mean((loss + 1) / 2, (eps + 1) / 2)


def betting_mean(x: Floats, m: float) -> float:
    """p-value of "the mean of x exceeds m" for x (rows,) in [0, 1] and m < 1: 1 over the capital won.

    A bet turns one unit into 1 + bet (m - x) at each row, no gain on average where the mean is m or more. The capital
    is spread over a grid of bets, so that the order of rows does not matter. Source: Waudby-Smith and Ramdas 2024,
    section 4.
    """
    bets = (np.arange(1, BETS + 1) / BETS) ** 2 * (1 - 1e-9) / (1 - m)
    capital = np.array([np.log1p(bet * (m - x)).sum() for bet in bets])
    top = capital.max()
    return float(np.exp(min(0.0, -top - np.log(np.mean(np.exp(capital - top))))))


BOUNDS: dict[str, Callable[[Floats, float, float], float]] = {
    "exact": exact,
    "clopper_pearson": clopper_pearson,
    "betting": betting,
}


def share_interval(count: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share of which `count` of `n` were seen; Clopper and Pearson 1934."""
    from scipy.stats import beta

    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, count, n - count + 1)) if count else 0.0
    return low, float(beta.ppf(1 - tail, count + 1, n - count)) if count < n else 1.0


def macro_f1_span(both: Floats | Ints, rows: Floats | Ints, tail: float) -> tuple[float, float]:
    """The least and the most macro-F1 by an exact bound of each class, each wrong with a chance of at most `tail`.

    Of the `rows` (classes,) that are of a class, or were answered so, `both` are both. That is a binomial share J of
    iid rows, with Clopper and Pearson's bounds, and F1 is 2 J / (1 + J). A class without rows has F1 from 0 to 1.
    """
    from scipy.stats import beta

    low = np.where(both > 0, beta.ppf(tail, both, rows - both + 1), 0.0)
    high = np.where(both < rows, beta.ppf(1 - tail, both + 1, rows - both), 1.0)
    least, most = (float((2 * j / (1 + j)).mean()) for j in (low, high))
    return least, most


def mean_interval(x: Floats, confidence: float = 0.95, rows: float | None = None) -> tuple[float, float]:
    """The usual interval of a mean of many rows, by the normal approximation; with `rows` as wide as for so many."""
    from scipy.stats import norm

    half = float(norm.ppf((1 + confidence) / 2) * x.std() / math.sqrt(rows or len(x)))
    return float(x.mean()) - half, float(x.mean()) + half


def paired_interval(lost: int, won: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of the mean loss where of `n` rows so many were lost and won; never empty. Tango 1998."""
    from scipy.optimize import brentq
    from scipy.stats import norm

    z, tiny = float(norm.ppf((1 + confidence) / 2)), 1e-9

    def most(lost: int, won: int) -> float:
        def above(eps: float) -> float:
            return float(_score(np.array([lost]), np.array([won]), n, eps)[0]) + z

        return 1.0 if lost == n else float(brentq(above, (lost - won) / n + tiny, 1 - tiny))

    return -most(won, lost), most(lost, won)


@lru_cache(maxsize=100_000)
def _exact(lost: int, won: int, n: int, eps: float, spent: float) -> float:
    from scipy.special import bdtr
    from scipy.stats import beta, binom

    most = float(beta.ppf(1 - spent, lost + won + 1, n - lost - won)) if lost + won < n else 1.0
    if most <= eps:
        return spent
    share = (eps + (most - eps) * np.linspace(0, 1, SHARES) ** 2)[:, None]
    # Where the number of rows apart lies but for a chance of 1e-16.
    spread = 9 * np.sqrt(n * share * (1 - share)) + 20
    low = np.maximum(0, np.floor(n * share - spread))
    m = np.minimum(low + np.arange(2 * int(spread.max()) + 2), n + 1).astype(np.int64)
    kept = _as_good(lost, won, n, eps, n + 1 if m.max() > n else int(m.max()))[m]
    chance = np.where(kept < 0, 0.0, bdtr(np.maximum(kept, 0), m, np.minimum(1.0, (share + eps) / (2 * share))))
    worst = float((binom.pmf(m, n, share) * chance).sum(axis=1).max())
    return min(1.0, worst + spent)


def _as_good(lost: int, won: int, n: int, eps: float, upto: int) -> Ints:
    """For m = 0 to `upto` rows apart, the most lost at a score not above that of (lost, won); -1 for none."""
    score = float(_score(np.array([lost]), np.array([won]), n, eps)[0]) + 1e-9
    m = np.arange(upto + 1)
    low, high = np.full(len(m), -1), m + 1
    while (high - low > 1).any():
        middle = (low + high) // 2
        good = (middle >= 0) & (_score(middle, m - middle, n, eps) <= score)
        low, high = np.where(good, middle, low), np.where(good | (high - low <= 1), high, middle)
    return low


def _score(lost: Ints, won: Ints, n: int, eps: float) -> Floats:
    """The net loss beyond eps in standard errors under "the mean loss is eps"; Tango 1998, equation 8."""
    b = lost * (1 - eps) + won * (1 - 3 * eps) - 2 * (n - lost - won) * eps
    # Both roots are of 0 where every row was won, but for the last digit.
    q = (b + np.sqrt(np.maximum(b * b + 8 * n * won * eps * (1 - eps), 0))) / (4 * n)
    return np.asarray((lost - won - n * eps) / np.sqrt(n * np.maximum(2 * np.maximum(q, 0) + eps - eps**2, 1e-12)))


def _only_right_or_wrong(loss: Floats, bound: str) -> None:
    if not np.isin(loss, (-1.0, 0.0, 1.0)).all():
        raise ConfigError(
            f"Bound '{bound}' is for answers that are right or wrong. For a scaled quality take 'betting'."
        )
