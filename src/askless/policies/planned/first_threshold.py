"""Two experts and one threshold: the costlier is asked where the cheaper is not sure enough."""

from __future__ import annotations

from typing import Self

import numpy as np

from askless.arrays import Floats, Ints
from askless.policies.operating_points import least_if_nan
from askless.policies.planned.gain_rule import POINTS
from askless.policies.planned.measured import rising
from askless.policies.planned.posteriors import Posteriors
from askless.policies.planned.walk import STOP, AnswerMatrix, Observations, RuleVerdict


class FirstThreshold:
    """Asks the cheaper of two experts, and the costlier where its confidence is below a threshold.

    The decision's source: Ramirez et al. 2024, the cascade. Thresholds are quantiles of the confidence on train.

    Parameters
    ----------
    points
        How many thresholds there are: from one under which all rows go on to one under which none do.
    """

    lambdas_: Floats
    threshold_: Floats
    posteriors_: Posteriors

    def __init__(self, *, points: int = POINTS) -> None:
        self.points = points

    def fit(self, seen: AnswerMatrix) -> Self:
        """Learn the thresholds, from everybody asked twice to nobody, and what is gained at each of them."""
        score = least_if_nan(seen.score[:, 0])
        levels = np.append(np.sort(score), np.inf)
        asked = np.round(np.linspace(1, 0, self.points) * len(score)).astype(int)
        self.threshold_ = levels[asked]
        self.posteriors_ = Posteriors(most=2).fit(seen)
        gain = (self.posteriors_.fitted_[3] - self.posteriors_.fitted_[1])[np.argsort(score, kind="stable")]
        # What the last row asked gains, non-increasing from the least sure row on.
        falling = np.maximum(-rising(-gain), 0.0)
        costlier = seen.cost[:, 1].mean()
        worth = falling / costlier if costlier > 0 else falling
        self.lambdas_ = np.where(asked > 0, worth[np.maximum(asked - 1, 0)], np.inf)
        return self

    def first(self, point: Ints) -> Ints:
        """Always the cheaper."""
        return np.zeros(len(point), np.int64)

    def look(self, point: Ints, answers: Observations) -> RuleVerdict:
        """Keep the cheaper one's answer at the threshold or above it."""
        answer, sure, _ = self.posteriors_.look(answers)
        if answers.experts[-1] == 1:
            return RuleVerdict(answer, sure, sure, np.full(len(answers), -np.inf), np.full(len(answers), STOP))
        score, threshold = least_if_nan(answers.score[:, 0]), self.threshold_[point]
        return RuleVerdict(answer, sure, score, threshold, np.where(score < threshold, 1, STOP))
