"""The result in one sentence: what quality was had, at what share of the reference's cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from askless.config import Evaluate
from askless.evaluation.results import Bootstrap, Measured, against_reference

WORDS = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "correct": "accuracy",
    "mean_quality": "quality",
    **{f"rouge{n}": f"ROUGE-{n} F" for n in "12L"},
    **{f"rouge{n}_stemmed": f"ROUGE-{n} F (stemmed)" for n in "12L"},
    "embedding": "embedding cosine",
    "judge": "judge's score",
}


# An interval by resampling fewer items than this says little.
FEWEST = 30


def operating_point(
    boot: Bootstrap, chosen: Measured, reference: Measured, margin: float, graded: bool = False
) -> dict[str, Any]:
    """The point chosen on valid as it is on test, and whether the reference's quality is reached.

    It is where the difference is above minus the margin for certain: a test of equivalence to one side, for which few
    items are too few, whatever they show. Answers that are right or wrong may all agree on so many items while one in a
    hundred of all does not: 367 that agree show that no more than one does, at 95 %.
    """
    out = against_reference(boot, chosen, reference)
    low, items, tail = out["quality_difference"]["ci"][0], len(boot.gold), (1 - boot.confidence) / 2
    least = FEWEST if graded or not 0 < margin < 1 else math.log(tail) / math.log1p(-margin)
    out["reached"] = low is not None and low >= -margin and items >= (min(least, FEWEST) if low > 0 else least)
    return out


def headline(settings: Evaluate, quality: str, name: str, policy: Mapping[str, Any]) -> dict[str, Any]:
    """One sentence: the quality of the LLM alone, or a better one, at so much of its cost, or that it is not reached.

    `policy`, called `name`, holds the two points that valid chose: `operating_point`, the cheapest as good, and
    `peak`, the best.
    """
    point, peak = policy["operating_point"], policy["peak"]
    share, gap = point["cost_share"], point["quality_difference"]
    cost = "a share of its cost that is undefined, for it costs nothing"
    if share["value"] is not None:
        cost = f"{_percent(share['value']):.1f} % of its cost{_range(share['ci'], '.1f')}"
    words = WORDS.get(quality, "F1 of the positive class")
    difference = f"{words} {_percent(gap['value']):+.1f} points{_range(gap['ci'], '+.1f')}"
    better = gap["ci"][0] is not None and gap["ci"][0] > 0
    text = f"{'Better than' if better else 'Same quality as'} {settings.reference} alone at {cost}: {difference}."
    if point["reached"] and (share["ci"][1] is None or share["ci"][1] >= 1):
        text = f"As good as {settings.reference} alone, but not cheaper: {difference} at {cost}."
    if not point["reached"]:
        certain = "is not certain to be reached" if gap["value"] >= -settings.margin else "is not reached"
        text = (
            f"The quality of {settings.reference} alone {certain} "
            f"(within {100 * settings.margin:.1f} points): {difference} at {cost}."
        )
    return {
        "policy": name,
        "text": text,
        "best": _best(words, peak),
        "margin": settings.margin,
        **point,
    }


def _best(words: str, peak: Mapping[str, Any]) -> str:
    """A second sentence where the best point is better than the reference for certain; else nothing."""
    more, share = peak["quality_difference"], peak["cost_share"]["value"]
    if share is None or more["ci"][0] is None or more["ci"][0] <= 0:
        return ""
    gain = f"{_percent(more['value']):+.1f} points{_range(more['ci'], '+.1f')}"
    return f"At its best {words} {gain} at {_percent(share):.1f} % of the cost."


def _range(ends: list[float | None], form: str) -> str:
    low, high = ends
    return "" if low is None or high is None else f" [{_percent(low):{form}}, {_percent(high):{form}}]"


def _percent(share: float) -> float:
    """In percent to one digit, without a negative zero."""
    return round(100 * share, 1) + 0.0
