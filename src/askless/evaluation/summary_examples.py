"""Some documents with everybody's summaries side by side: what a policy's decisions look like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from askless.arrays import Ints
from askless.costs import CostModel
from askless.evaluation.replay import Replay
from askless.evaluation.results import compared, outcomes

LONGEST = 2_000


def side_by_side(
    chosen: Replay,
    small: Replay,
    expensive: Replay,
    examples: pa.Table,
    answers: Mapping[str, pa.Table],
    cost: CostModel,
) -> list[dict[str, Any]]:
    """Of each outcome the document of the largest difference between the LLM and the small expert, and the median one.

    `chosen` is one operating point, of which the first seed is shown; `small` and `expensive` are the replays of always
    asking the one and the other; `answers` are the experts' predictions in the order of `examples`. Each row tells
    `id`, `outcome`, `document` (its first 2,000 characters, `cut` if there are more), `reference`, `expert` (whose
    summary stands), `cost` (of all that was asked) and, of each expert, `answers`: expert, text, quality, cost, asked
    and error.
    """
    void = np.zeros(examples.num_rows, np.int64)
    _, weak, strong = compared(chosen, small, expensive, void)
    gap = np.abs(strong - weak)[0]
    prices = {name: cost.price(table, name) for name, table in answers.items()}
    asked = chosen.asked(0, 0)
    paid = {name: asked[:, j] for j, name in enumerate(chosen.experts)}
    shown = []
    for outcome, rows in outcomes(chosen, small, expensive, void).items():
        for row in _telling(np.flatnonzero(rows[0]), gap):
            example = examples.slice(row, 1).to_pylist()[0]
            given = [
                {
                    "expert": name,
                    **{key: table[key][row].as_py() for key in ("text", "quality", "error")},
                    "cost": float(prices[name][row]),
                    "asked": name in paid and bool(paid[name][row]),
                }
                for name, table in answers.items()
            ]
            shown.append(
                {
                    "id": example["id"],
                    "outcome": outcome,
                    "document": example["text"][:LONGEST],
                    "cut": len(example["text"]) > LONGEST,
                    "reference": example["reference"],
                    "expert": chosen.experts[int(chosen.expert[0, 0, row])],
                    "cost": float(chosen.cost[0, 0, row]),
                    "answers": given,
                }
            )
    return shown


def _telling(rows: Ints, gap: np.ndarray[Any, np.dtype[np.float64]]) -> list[int]:
    """Of these rows the one of the largest gap and the median one, each once."""
    if not len(rows):
        return []
    falling = rows[np.argsort(-gap[rows], kind="stable")]
    return list(dict.fromkeys([int(falling[0]), int(falling[len(falling) // 2])]))
