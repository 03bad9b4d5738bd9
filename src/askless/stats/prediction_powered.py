"""Means of what people would say, from a few of their labels and a model's labels of all rows: PPI++.

The rows with a human label must have been drawn by chance from all rows. Source: Angelopoulos, Duchi and Zrnic 2023,
PPI++: Efficient Prediction-Powered Inference (mean, power tuning). Where people and model hardly ever differ the normal
approximation says too little; then the interval is the model's share, give or take the exact bound of how often they
differ (Clopper and Pearson 1934). So it does where hardly any human label is of a class, or of all others: then the
interval is the exact one by the human labels alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from askless.arrays import Floats
from askless.stats.bounds import mean_interval, share_interval

# Fewer rows on which people and model differ say little about the spread of the differences.
FEWEST = 5
# Fewer human labels of a class, or of all others, say little about the spread of theirs.
FEWEST_OF_CLASS = 10


@dataclass(frozen=True)
class MeanEstimate:
    """A mean over all rows.

    Parameters
    ----------
    raw
        Of the model's labels, over all rows.
    value
        Corrected by the human labels.
    low, high
        The interval that covers the mean of what people would say.
    alone
        The interval by the human labels alone.
    weight
        How much the model's labels count, 0 (not at all) to 1.
    labels, rows
        Human labels, and all rows.
    """

    raw: float
    value: float
    low: float
    high: float
    alone: tuple[float, float]
    weight: float
    labels: int
    rows: int

    def beside(self, known: Floats) -> MeanEstimate:
        """Of these rows together with others, `known` (k,), each of which people have labelled: no draw by chance."""
        rows = self.rows + len(known)
        share, more = self.rows / rows, float(known.sum()) / rows
        raw, value, low, high, *alone = (
            share * each + more for each in (self.raw, self.value, self.low, self.high, *self.alone)
        )
        return MeanEstimate(raw, value, low, high, (alone[0], alone[1]), self.weight, self.labels + len(known), rows)


def powered_mean(gold: Floats, there: Floats, elsewhere: Floats, confidence: float = 0.95) -> MeanEstimate:
    """The mean of what people would say, with an interval of that confidence.

    Parameters
    ----------
    gold
        What people say of some rows drawn by chance, (n,).
    there, elsewhere
        What the model says of these rows, (n,), and of all others, (m,).
    confidence
        Above 0 and below 1.
    """
    n, m = len(gold), len(elsewhere)
    said = np.concatenate([there, elsewhere])
    spread = float(said.var(ddof=1)) if n + m > 1 else 0.0
    weight, raw = 0.0, float(said.mean())
    if m and spread > 0:
        together = float(((gold - gold.mean()) * (there - there.mean())).mean())
        weight = float(np.clip(together / ((1 + n / m) * spread), 0, 1))
    rest = gold - weight * there
    value = float(rest.mean()) + weight * (float(elsewhere.mean()) if m else 0.0)
    error = float(np.sqrt(rest.var() / n + (weight**2 * elsewhere.var() / m if m else 0.0)))
    low, high = (value + z * error for z in _normal(confidence))
    alone = _alone(gold, confidence)
    if _is_share(gold) and _is_share(said):
        if (differ := int((gold != there).sum())) < FEWEST:
            _, most = share_interval(differ, n, confidence)
            low, high = raw - most, raw + most
        elif min(gold.sum(), n - gold.sum()) < FEWEST_OF_CLASS:
            low, high = alone
        low, high = max(0.0, low), min(1.0, high)
        value = min(max(value, low), high)
    return MeanEstimate(raw, value, low, high, alone, weight, n, n + m)


def _alone(gold: Floats, confidence: float) -> tuple[float, float]:
    return (
        share_interval(int(gold.sum()), len(gold), confidence) if _is_share(gold) else mean_interval(gold, confidence)
    )


def _is_share(values: Floats) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())


def _normal(confidence: float) -> tuple[float, float]:
    from scipy.stats import norm

    z = float(norm.ppf((1 + confidence) / 2))
    return -z, z
