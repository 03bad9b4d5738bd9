"""How far stated confidence is off: reliability diagram, ECE, Brier, NLL, AUROC, risk-coverage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from askless.arrays import Bools, Floats, Ints
from askless.stats.calibration import FOLDS, cross_fitted, nll


def before_after(
    p: Floats, right: Bools, kind: str = "platt", *, folds: int = FOLDS, random_state: int = 0
) -> dict[str, Any]:
    """How far stated confidence is off, `before` and `after` cross-fitted calibration by `kind`, as plain values.

    Either has rows, ece, ece_mass, brier, nll, auroc, aurc, e_aurc (None where undefined), and the bins of equal width:
    confidence, accuracy, count.
    """
    after = cross_fitted(kind, p, right, folds=folds, random_state=random_state)
    return {"kind": kind, "before": measures(np.asarray(p, np.float64), right), "after": measures(after, right)}


def measures(confidence: Floats, right: Bools) -> dict[str, Any]:
    """Every measure of stated confidence (rows,) and its bins, as plain values; None where undefined."""
    bins = reliability(confidence, right)
    values = {
        "ece": bins.ece,
        "ece_mass": reliability(confidence, right, mass=True).ece,
        **{of.__name__: of(confidence, right) for of in (brier, nll, auroc, aurc, e_aurc)},
    }
    return {
        "rows": int(bins.count.sum()),
        **{name: value if np.isfinite(value) else None for name, value in values.items()},
        **{name: getattr(bins, name).tolist() for name in ("confidence", "accuracy", "count")},
    }


@dataclass(frozen=True)
class Reliability:
    """Bins of stated confidence.

    Parameters
    ----------
    confidence
        Mean confidence of each bin, shape (bins,), 0 to 1.
    accuracy
        Share of right answers, shape (bins,), 0 to 1.
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


def auroc(confidence: Floats, right: Bools) -> float:
    """Chance that a right answer is stated surer than a wrong one, ties half; NaN unless there are both."""
    known = np.isfinite(confidence)
    _, place, count = np.unique(confidence[known], return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    good = right[known]
    ups, downs = int(good.sum()), int((~good).sum())
    if not ups or not downs:
        return float("nan")
    return float((rank[good].sum() - ups * (ups + 1) / 2) / (ups * downs))


def aurc(confidence: Floats, right: Bools) -> float:
    """Area under the risk-coverage curve: error rate of the n surest, averaged over n; NaN rows left out.

    Rows of one confidence share their errors, as if drawn in any order. Source: Geifman et al. 2019.
    """
    known = np.isfinite(confidence)
    if not known.any():
        return float("nan")
    _, place, count = np.unique(-confidence[known], return_inverse=True, return_counts=True)
    wrong = np.bincount(place, ~right[known], len(count)) / count
    return float(np.mean(np.cumsum(np.repeat(wrong, count)) / np.arange(1, known.sum() + 1)))


def e_aurc(confidence: Floats, right: Bools) -> float:
    """`aurc` less that of a confidence that puts every right answer before every wrong one; 0 is perfect."""
    known = np.isfinite(confidence)
    return aurc(confidence, right) - aurc(np.where(known, right.astype(float), np.nan), right)
