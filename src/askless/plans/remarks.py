"""What a person should know beside a plan: who needs no cascade, what a floor does not hold, what a budget exceeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from askless.arrays import Ints
from askless.plans.floors import Ask, Truth
from askless.plans.options import Option
from askless.plans.plan import Goal
from askless.stats.bounds import mean_interval, share_interval


def on_experts(experts: Sequence[str]) -> Iterator[str]:
    """Where there is nobody to choose from."""
    if len(experts) == 1:
        yield f"{experts[0]} is the only expert: there is nothing to decide. --small trains another on labelled texts."


def on_singles(option: Option, alone: Mapping[str, Option], reference: str, asked: Sequence[str]) -> Iterator[str]:
    """Where one expert alone is the answer, or would be."""
    for name, single in alone.items():
        if single.beats(option):
            right = single.right[option.rows].mean()
            yield (
                f"{name} alone was better on these rows ({100 * right:.1f} against {100 * option.quality:.1f} %) and "
                "costs less, but nothing can be promised of it by so few labels."
            )
    if len(asked) == 1 and len(alone) > 1:
        yield f"{asked[0]} alone is the answer: nobody else is asked about any row."
    own = alone[reference]
    for name, other in alone.items():
        if other.mean_cost < own.mean_cost and other.quality >= own.quality:
            yield (
                f"{name} costs less than {reference} and is at least as good on these rows "
                f"({100 * other.quality:.1f} against {100 * own.quality:.1f} %): "
                "between these two no cascade is needed."
            )


def on_floors(option: Option, asks: Sequence[Ask], truth: Truth, reference: str, confidence: float) -> Iterator[str]:
    """What each floor came to on the labelled rows, where there is more than one of quality."""
    if any(each.measure != "quality" or each.group is not None for each in asks):
        came = (each.outcome(option.label, truth, reference, confidence) for each in asks)
        yield f"On these rows: {'; '.join(came)}."


def on_classes(option: Option, goal: Goal, truth: Truth, answers: Ints, classes: Sequence[str]) -> Iterator[str]:
    """Classes so small that a floor could hold though they were lost; `answers` are the reference's, (rows,)."""
    for k, name in enumerate(classes):
        mine = truth.gold == k
        if goal.floor is None or name in goal.recall or not 0 < mine.mean() <= 1 - goal.floor + 1e-9:
            continue
        found, n = int((option.label[mine] == k).sum()), int(mine.sum())
        low, high = (100 * x for x in share_interval(found, n, goal.confidence))
        share, by_reference = 100 * mine.mean(), 100 * (answers[mine] == k).mean()
        yield (
            f"The floor may give away {100 * (1 - goal.floor):g} points, and class '{name}' is {share:.1f} % of the "
            f"items: it could hold though all of them were lost. Of these {n:,} the plan finds {100 * found / n:.1f} "
            f"[{low:.1f}, {high:.1f}] %, the reference {by_reference:.1f} %. To promise that: --recall {name}=SHARE."
        )


def on_budget(option: Option, goal: Goal) -> Iterator[str]:
    """Where more than the budget is expected to be spent."""
    if goal.per_1000 is not None and 1000 * option.mean_cost > goal.per_1000 * (1 + 1e-9):
        low, high = (1000 * c for c in mean_interval(option.cost, goal.confidence, len(option.rows) / 2))
        yield (
            f"Expected to cost {1000 * option.mean_cost:.4g} [{low:.4g}, {high:.4g}] per 1,000 items, more than the "
            f"budget of {goal.per_1000:.4g}, which is kept in the mean of many plans. To promise it: --spend-limit."
        )


def on_certifying(certify: str, saved: float, other: float) -> str:
    """What the certificate is of, and what the other way to certify would save, as shares of the reference's cost."""
    if certify == "split":
        return (
            "The very policy that decides is certified, by labels it was not fitted on. "
            f"With --certify cross {100 * other:.0f} % would be saved (here {100 * saved:.0f} %)."
        )
    return (
        "Certified is how policies do that each lacked a part of the labels; the one that decides is fitted on all of "
        f"them. With --certify split, which certifies that very one, {100 * other:.0f} % would be saved "
        f"(here {100 * saved:.0f} %)."
    )
