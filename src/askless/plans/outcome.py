"""What became of a plan on labelled rows it had not seen: was its promise kept, and do the rows look alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from askless.evaluation.replay import quality_of
from askless.panel import Panel
from askless.plans.plan import Goal, Plan, Promise
from askless.stats.shift import Shift


@dataclass(frozen=True)
class PlanOutcome:
    """What became of a plan on labelled rows it had not seen.

    Parameters
    ----------
    goal
        What it was for.
    measured
        The same figures as the promise, on these rows.
    kept
        Whether the floor or the limit held; None for a goal that is no promise.
    shift
        Whether these rows look like those the plan was made on.
    reference
        The expert it is measured against.
    unit
        In which cost is counted.
    """

    goal: Goal
    measured: Promise
    kept: bool | None
    shift: Shift
    reference: str
    unit: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        m = self.measured
        return {
            "items": m.items,
            "quality": list(m.quality),
            "cost_per_1k": [1000 * v for v in m.cost],
            "loss": list(m.loss),
            "reference_quality": m.reference_quality,
            "reference_cost_per_1k": 1000 * m.reference_cost,
            "kept": self.kept,
            "shift": {"alarm": self.shift.alarm, "p_values": dict(self.shift.p_values), "words": self.shift.words()},
        }

    def words(self) -> list[str]:
        """What became of it, a sentence or two each."""
        lines = [
            f"On {self.measured.items:,} items of the test split: {self.measured.words(self.reference, self.unit)}."
        ]
        if self.kept is not None and self.goal.floor is not None:
            points = f"{100 * self.measured.loss[0]:+.1f} points, {100 * (1 - self.goal.floor):g} allowed"
            lines.append(
                f"The floor {'held' if self.kept else 'DID NOT HOLD'}: loss against {self.reference} {points}."
            )
        elif self.kept is not None:
            lines.append(f"The spend limit {'held' if self.kept else 'DID NOT HOLD'}.")
        return [*lines, self.shift.words()]


def outcome_of(plan: Plan, test: Panel, level: float = 0.05) -> PlanOutcome:
    """Decide `test`, a labelled panel the plan has not seen, and measure it; `level` is that of the shift test."""
    panel = test.copy(blind=True)
    done = plan.decide(panel)
    reference = test.copy().ask(plan.reference)
    measured = Promise.of(
        quality_of(test, done) == 1,
        done.cost,
        np.asarray(done.asked[:, 1:].any(axis=1)),
        (test.quality(reference) == 1, reference.cost),
        plan.goal.confidence,
    )
    kept = None
    if plan.goal.floor is not None:
        kept = measured.loss[0] <= 1 - plan.goal.floor + 1e-9
    elif plan.goal.limit is not None:
        kept = 1000 * measured.cost[0] <= plan.goal.limit * (1 + 1e-9)
    return PlanOutcome(plan.goal, measured, kept, plan.seen.against(done, panel, level), plan.reference, plan.unit)
