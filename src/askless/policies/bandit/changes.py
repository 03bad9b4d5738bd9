"""Whether an expert is still the one that was learnt: of its answers so far, since when they are another's."""

from __future__ import annotations

import numpy as np
from scipy.special import chdtri

from askless.arrays import Bools, Floats, Ints

# By Wilks' theorem the chance that one place of bits that did not change looks like one. How often any does:
# `benchmarks/online.py still`.
LEVEL = 3e-7
# So many calls in a row without an answer are an outage, and more of an expert that often gives none.
SILENT, SELDOM_SILENT = 5, 20


def change(bits: Bools, group: Ints | None = None) -> tuple[int, float] | None:
    """From which place bits come at another rate than before, and how clearly; None where they may all come at one.

    The generalised likelihood ratio of Bernoulli trials: over every place, of a rate before and one after it against
    one for all. It may be asked anew after each bit.

    Parameters
    ----------
    bits
        In the order in which they came, (n,).
    group
        Which of them have their rates in common, 0 or more, (n,); all by default.

    References
    ----------
    Besson, Kaufmann, Maillard and Seznec 2022, Journal of Machine Learning Research 23 (GLR-klUCB, local restarts).
    """
    gain, which = np.zeros(max(len(bits) - 1, 0)), np.zeros(len(bits), np.int64) if group is None else group
    groups = np.unique(which)
    for each in groups:
        mine = which == each
        n, ones = np.cumsum(mine), np.cumsum(mine & bits)
        gain += _log_likelihood(ones[:-1], n[:-1]) + _log_likelihood(ones[-1:] - ones[:-1], n[-1:] - n[:-1])
        gain -= _log_likelihood(ones[-1:], n[-1:])
    gain -= chdtri(len(groups), LEVEL) / 2
    return (int(gain.argmax()) + 1, float(gain.max())) if gain.max(initial=0.0) > 0 else None


def _log_likelihood(ones: Ints, n: Ints) -> Floats:
    """The largest that it can be of `n` bits of which so many are one."""
    share = ones / np.maximum(n, 1)
    surely = (share == 0) | (share == 1)
    share = np.where(surely, 0.5, share)
    return np.where(surely, 0.0, ones * np.log(share) + (n - ones) * np.log(1 - share))


def outage(silent: int, answers: int) -> int:
    """How many calls in a row without an answer are no chance, of an expert that gave none to `silent` of so many."""
    return max(SILENT, int(np.ceil(np.log(LEVEL) / np.log((silent + 1) / (answers + SELDOM_SILENT)))))


def run_on(run: int, silent: Bools) -> int:
    """The length of the last unbroken run of silence, which was `run` before these calls, (n,)."""
    answered = np.flatnonzero(~silent)
    return len(silent) - 1 - int(answered[-1]) if len(answered) else run + len(silent)


def runs(silent: Bools, least: int) -> Bools:
    """Which calls are in an unbroken run of at least so many silent ones, (n,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], silent, [False]]).astype(np.int8)))
    found = np.zeros(len(silent), bool)
    for start, end in edges.reshape(-1, 2).tolist():
        found[start:end] = end - start >= least
    return found
