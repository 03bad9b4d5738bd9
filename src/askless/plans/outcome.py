"""What became of a plan on labelled rows it had not seen: was its promise kept, and do the rows look alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from askless.evaluation.replay import quality_of
from askless.panel import Panel
from askless.plans.floors import Truth, gold_of, groups_of, judged
from askless.plans.plan import Expectation, Goal, Plan
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
    floors
        Whether each held, and what came of it in words.
    promised
        Whether anything was promised: a floor or a limit that was certified.
    """

    goal: Goal
    measured: Expectation
    kept: bool | None
    shift: Shift
    reference: str
    unit: str
    floors: tuple[tuple[bool, str], ...] = ()
    promised: bool = False

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
            "floors": [told for _, told in self.floors],
            "shift": {"alarm": self.shift.alarm, "p_values": dict(self.shift.p_values), "words": self._shift_words()},
        }

    def words(self) -> list[str]:
        """What became of it, a sentence or two each."""
        lines = [
            f"On {self.measured.items:,} items of the test split: {self.measured.words(self.reference, self.unit)}."
        ]
        for held, became in ((False, "DID NOT HOLD"), (True, "held")):
            if told := [words for kept, words in self.floors if kept is held]:
                lines.append(f"The floor {became}: {'; '.join(told)}.")
        if not self.floors and self.kept is not None:
            lines.append(f"The spend limit {'held' if self.kept else 'DID NOT HOLD'}.")
        return [*lines, self._shift_words()]

    def _shift_words(self) -> str:
        return self.shift.words(self.promised, self.kept)


def outcome_of(plan: Plan, test: Panel, level: float = 0.05) -> PlanOutcome:
    """Decide `test`, a labelled panel the plan has not seen, and measure it; `level` is that of the shift test."""
    panel = test.copy(blind=True)
    done = plan.decide(panel)
    reference = test.copy().ask(plan.reference)
    right, by_reference = quality_of(test, done) == 1, test.quality(reference) == 1
    beyond, confidence = np.asarray(done.asked[:, 1:].any(axis=1)), plan.goal.confidence
    measured = Expectation.of(right, done.cost, beyond, (by_reference, reference.cost), confidence)
    kept, told = None, []
    if plan.goal.floors:
        label = done.label if plan.classes else judged(right)
        truth = Truth(gold_of(test), by_reference, groups_of(test))
        asks = plan.goal.requirements(plan.classes, truth.groups)
        told = [(each.held(label, truth), each.outcome(label, truth, plan.reference, confidence)) for each in asks]
        kept = all(held for held, _ in told)
    elif plan.goal.limit is not None:
        kept = 1000 * measured.cost[0] <= plan.goal.limit * (1 + 1e-9)
    changed = plan.seen.against(done, panel, level)
    return PlanOutcome(plan.goal, measured, kept, changed, plan.reference, plan.unit, tuple(told), plan.promised)
