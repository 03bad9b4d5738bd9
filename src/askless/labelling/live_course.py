"""How a model that learns while it answers has done so far: what its page draws."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from askless.bundles.bundle import Bundle
from askless.evaluation.learning import course
from askless.labelling.learning import Learning
from askless.labelling.live_bandit import ANSWER, VERDICT
from askless.panel import NO_LABEL


def live_course(bundle: Bundle, learning: Learning) -> dict[str, Any]:
    """As of `askless.evaluation.learning.course`, of the items that are kept, and the `budget` of 1,000 of them.

    An answer counts where its label came; costs are those of all that was asked about an item when it was first.
    Nothing where no item is kept.
    """
    kept = [(json.loads(text), label) for text, label in learning.rounds()]
    if not kept:
        return {}
    experts = list(dict.fromkeys([*bundle.policy.experts, *(name for each, _ in kept for name in each["experts"])]))
    cost = np.full((len(kept), len(experts)), np.nan)
    answer, gold = np.full((2, len(kept)), NO_LABEL)
    for at, (each, label) in enumerate(kept):
        cost[at, [experts.index(name) for name in each["experts"]]] = each["cost"][0]
        answer[at] = each.get(ANSWER, NO_LABEL)
        if label is not None and ANSWER in each:
            gold[at] = bundle.classes.index(label)
    told, right = gold != NO_LABEL, answer == gold
    judged = np.array([each.get(VERDICT, {}).get("cost", 0.0) for each, _ in kept])
    asked, spent = ~np.isnan(cost), 1000 * (np.nansum(cost, axis=1) + judged)
    found = course(right[None], spent[None], asked[None], experts, 0.95, told[None])
    return {**found, "budget": float(bundle.facts["budget"]["per_1000"])}
