"""Two experts and one threshold: the costlier is asked where the cheaper is not sure enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from askless.arrays import Ints
from askless.policies.cuts import least_if_nan
from askless.policies.planned.gain_rule import POINTS
from askless.policies.planned.operating_points import rising
from askless.policies.planned.posteriors import Posteriors
from askless.policies.planned.walk import STOP, AnswerMatrix, Observations, RuleVerdict


class FirstThreshold:
    """Asks the cheaper of two experts, and the costlier where its confidence is below a threshold.

    The decision's source: Ramirez et al. 2024, the cascade. Thresholds are quantiles of the confidence on train.
    """

    def __init__(self, *, points: int = POINTS) -> None:
        self.points = points

    def fit(self, told: AnswerMatrix) -> Self:
        """Learn the thresholds, from everybody asked twice to nobody, and what is gained at each of them."""
        score = least_if_nan(told.score[:, 0])
        levels = np.append(np.sort(score), np.inf)
        asked = np.round(np.linspace(1, 0, self.points) * len(score)).astype(int)
        self.threshold_ = levels[asked]
        self.posteriors_ = Posteriors(most=2).fit(told)
        gain = (self.posteriors_.fitted_[3] - self.posteriors_.fitted_[1])[np.argsort(score, kind="stable")]
        # What the last row asked gains, non-increasing from the least sure row on.
        falling = np.maximum(-rising(-gain), 0.0)
        costlier = told.cost[:, 1].mean()
        worth = falling / costlier if costlier > 0 else falling
        self.lambdas_ = np.where(asked > 0, worth[np.maximum(asked - 1, 0)], np.inf)
        return self

    def first(self, point: Ints) -> Ints:
        """Always the cheaper."""
        return np.zeros(len(point), np.int64)

    def look(self, point: Ints, heard: Observations) -> RuleVerdict:
        """Keep the cheaper one's answer at the threshold or above it."""
        answer, sure, _ = self.posteriors_.look(heard)
        if heard.experts[-1] == 1:
            return RuleVerdict(answer, sure, sure, np.full(len(heard), -np.inf), np.full(len(heard), STOP))
        score, threshold = least_if_nan(heard.score[:, 0]), self.threshold_[point]
        return RuleVerdict(answer, sure, score, threshold, np.where(score < threshold, 1, STOP))

    def state(self) -> dict[str, Any]:
        """What was learnt, as plain values."""
        return {
            "lambdas": self.lambdas_.tolist(),
            "thresholds": self.threshold_.tolist(),
            "posteriors": self.posteriors_.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        """Take over what `state` gave: it then decides the same."""
        self.lambdas_, self.threshold_ = np.array(state["lambdas"], float), np.array(state["thresholds"], float)
        self.posteriors_ = Posteriors(most=2).restore(state["posteriors"])
        return self
