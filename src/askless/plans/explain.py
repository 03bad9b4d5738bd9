"""Why a row was decided as it was, what it cost, and what else it could have cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from askless.errors import DataError
from askless.panel import NO_LABEL
from askless.policies.base import Decisions


@dataclass(frozen=True)
class ExplainedStep:
    """One step in deciding a row.

    Parameters
    ----------
    expert
        Who had answered last; empty where nobody had.
    score, threshold
        What was compared with the threshold, and what it had to reach.
    kept
        Whether it did, so that the answer was kept.
    """

    expert: str
    score: float
    threshold: float
    kept: bool


@dataclass(frozen=True)
class Explanation:
    """One row's decision: who was asked in which order, who answered, and what the ways not taken cost.

    Parameters
    ----------
    row
        Its number.
    label
        The answer; None where there is none, empty where there are no classes.
    answered_by
        The expert whose answer it is.
    asked
        Who was asked, in order.
    looks
        The steps after which asking could have stopped.
    cost
        What the row cost, in `unit`.
    confidence
        Chance that the answer is right, 0 to 1; NaN where none is stated.
    alone
        Expert to the mean cost of asking it alone.
    earlier
        Experts asked until an earlier step to what stopping there would have cost.
    further
        Expert to this row's cost had it been asked as well.
    unit
        In which cost is counted.
    """

    row: int
    label: str | None
    answered_by: str
    asked: tuple[str, ...]
    looks: tuple[ExplainedStep, ...]
    cost: float
    confidence: float
    alone: Mapping[str, float]
    earlier: Mapping[str, float]
    further: Mapping[str, float]
    unit: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, None for what is undefined or infinite."""
        looks = [{**asdict(x), "score": _number(x.score), "threshold": _number(x.threshold)} for x in self.looks]
        return {**asdict(self), "asked": list(self.asked), "looks": looks, "confidence": _number(self.confidence)}

    def words(self) -> list[str]:
        """The same, a sentence or two each."""
        lines = [_look_words(look) for look in self.looks]
        if not lines:
            lines = [f"{' and '.join(self.asked)} answered straight away: nothing was looked at before."]
        sure = "" if np.isnan(self.confidence) else f", {100 * self.confidence:.0f} % likely to be right"
        answer = "" if self.label == "" else "no label by " if self.label is None else f"'{self.label}' by "
        lines.append(f"The answer is {answer or 'that of '}{self.answered_by}{sure}.")
        ways = [f"{name} alone {price:.3g}" for name, price in self.alone.items()]
        ways += [f"stopping after {names} {price:.3g}" for names, price in self.earlier.items()]
        ways += [f"asking {name} as well {price:.3g}" for name, price in self.further.items()]
        lines.append(
            f"It cost {self.cost:.3g} {self.unit} to ask {', '.join(self.asked)}. An item costs in the mean: "
            f"{', '.join(ways)}."
        )
        return lines


def explain(
    decisions: Decisions, row: int, prices: Mapping[str, float], classes: Sequence[str], unit: str = "usd"
) -> Explanation:
    """Why `row` was decided as it was; `prices` are the mean cost of an answer of each expert.

    Raises `DataError` for a row that was not decided.
    """
    if not 0 <= row < len(decisions.expert):
        raise DataError("row", f"{row}", f"0 to {len(decisions.expert) - 1}", "Name a decided row.")
    looks = []
    for step in decisions.steps:
        at = np.flatnonzero(step.rows == row)
        if len(at):
            score, threshold = float(step.score[at[0]]), float(step.threshold[at[0]])
            looks.append(
                ExplainedStep(step.expert, score, threshold, (-np.inf if np.isnan(score) else score) >= threshold)
            )
    label, cost = int(decisions.label[row]), float(decisions.cost[row])
    asked = tuple(name for name, was in zip(decisions.experts, decisions.asked[row], strict=True) if was)
    prefixes = [asked[:i] for i in range(2, len(asked))]
    return Explanation(
        row=row,
        label="" if not classes else None if label == NO_LABEL else classes[label],
        answered_by=decisions.experts[int(decisions.expert[row])],
        asked=asked,
        looks=tuple(looks),
        cost=cost,
        confidence=float(decisions.confidence[row]),
        alone={name: float(price) for name, price in prices.items()},
        earlier={" and ".join(names): float(sum(prices[name] for name in names)) for names in prefixes},
        further={name: cost + float(prices[name]) for name in decisions.experts if name not in asked},
        unit=unit,
    )


def _look_words(look: ExplainedStep) -> str:
    score, threshold = f"{look.score:.4g}", f"{look.threshold:.4g}"
    if not look.expert:
        drawn = "" if look.kept or score != threshold else ", but its draw sent it on"
        return (
            f"Before anybody was asked it scored {score}, and the first expert keeps items from {threshold} on{drawn}."
        )
    if np.isnan(look.score):
        return f"{look.expert} stated no confidence: {'its answer was kept' if look.kept else 'the row went on'}."
    if look.kept:
        return f"{look.expert} was sure enough: it scored {score}, and answers are kept from {threshold} on."
    if score == threshold:
        return f"{look.expert} was just at the threshold, {threshold}, and the row's draw sent it on."
    return f"{look.expert} was not sure enough: it scored {score}, and answers are kept from {threshold} on."


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None
