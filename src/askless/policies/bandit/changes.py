"""Whether an expert is still the one that was learnt: of its answers so far, since when they are another's."""

from __future__ import annotations

import numpy as np
from scipy.special import chdtri, rel_entr

from askless.arrays import Bools, Floats, Ints

# By Wilks' theorem the chance that one place of bits that did not change looks like one. How often any does:
# `benchmarks/online.py still`.
LEVEL = 3e-7
# So many calls in a row without an answer are an outage, and more of an expert that often gives none.
SILENT, SELDOM_SILENT = 5, 20


def change(bits: Bools, group: Ints | None = None) -> tuple[int, float] | None:
    """From which place bits come at another rate than before, and how clearly; None where they may all come at one.

    The generalised likelihood ratio of Bernoulli trials over every place: how many ones there are before it and after
    it against how many are to be expected there by the rate of each bit's group. So a change of the groups' shares is
    none of the bits, and of many groups each needs few. It may be asked anew after each bit.

    Parameters
    ----------
    bits
        In the order in which they came, (n,).
    group
        Which of them have their rates in common, 0 or more, (n,); all by default.

    References
    ----------
    Besson, Kaufmann, Maillard and Seznec 2022, Journal of Machine Learning Research 23 (GLR-klUCB, local restarts).
    Hoeffding 1956, Annals of Mathematical Statistics 27 (bits of unequal rates spread no more than those of one).
    """
    if not len(bits):
        return None
    _, which = np.unique(np.zeros(len(bits)) if group is None else group, return_inverse=True)
    rate = (np.bincount(which, bits) / np.bincount(which))[which]
    ones, expected, before = np.cumsum(bits, dtype=np.int64), np.cumsum(rate), np.arange(1, len(bits) + 1)
    gain = _surprise(ones, expected, before) + _surprise(ones[-1] - ones, expected[-1] - expected, len(bits) - before)
    at = int(gain.argmax())
    return (at + 1, float(gain[at])) if gain[at] > chdtri(1, LEVEL) / 2 else None


def _surprise(ones: Ints, expected: Floats, n: Ints) -> Floats:
    """How much likelier so many ones of `n` bits are at their own rate than at the one expected, as a logarithm."""
    share, rate = ones / np.maximum(n, 1), np.clip(expected / np.maximum(n, 1), 0.0, 1.0)
    return np.asarray(n * (rel_entr(share, rate) + rel_entr(1 - share, 1 - rate)))


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
