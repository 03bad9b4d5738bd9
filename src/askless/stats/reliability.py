"""How far stated confidence is off: reliability diagram, ECE, Brier score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from askless.arrays import Bools, Floats, Ints


@dataclass(frozen=True)
class Reliability:
    """Bins of stated confidence.

    Parameters
    ----------
    confidence, accuracy
        Mean confidence and share of right answers of each bin, each (bins,), 0 to 1.
    count
        Rows, shape (bins,).
    """

    confidence: Floats
    accuracy: Floats
    count: Ints

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean gap between confidence and accuracy, weighted by rows."""
        total = self.count.sum()
        if not total:
            return float("nan")
        return float(np.sum(self.count * np.abs(self.confidence - self.accuracy)) / total)


def reliability(confidence: Floats, right: Bools, bins: int = 15, *, mass: bool = False) -> Reliability:
    """Bins of equal width on [0, 1] or, with `mass`, of equal row count; empty bins are left out.

    Source: Guo et al. 2017 (15 bins). Rows of NaN confidence are left out.
    """
    known = np.isfinite(confidence)
    p, y = confidence[known], right[known].astype(float)
    if mass:
        index = np.minimum(np.argsort(np.argsort(p, kind="stable"), kind="stable") * bins // max(len(p), 1), bins - 1)
    else:
        index = np.clip((p * bins).astype(int), 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    full = count > 0
    mean = [np.bincount(index, v, bins)[full] / count[full] for v in (p, y)]
    return Reliability(mean[0], mean[1], count[full])


def brier(confidence: Floats, right: Bools) -> float:
    """Mean squared gap between stated confidence and the outcome, NaN rows left out."""
    known = np.isfinite(confidence)
    return float(np.mean((confidence[known] - right[known]) ** 2)) if known.any() else float("nan")
