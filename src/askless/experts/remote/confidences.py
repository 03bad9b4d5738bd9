"""How sure a model is whose server gives no log-probabilities: by what it states, or by a vote of its replies."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from askless.data.label_reader import thought
from askless.experts.answer_store import Row
from askless.schema import PREDICTIONS

STATED, VOTES = "stated", "votes"
SUMMED = (*(name for name in PREDICTIONS.names if name.endswith("_tokens")), "seconds", "cost_usd")
# A server leaves these out where there are none.
_SELDOM = ("cached_tokens", "cache_write_tokens", "reasoning_tokens")
_PROBABILITY = re.compile(r"\b(?:probability|confidence)\W{1,6}(\d*\.?\d+(?:e[-+]?\d+)?)\s*(%?)", re.IGNORECASE)


def stated_probability(text: str | None) -> float | None:
    """The probability that a reply states for its answer, as a share or in per cent; None where it states none.

    >>> stated_probability('{"label": "yes", "probability": 0.9}')
    0.9
    >>> stated_probability("Probability: 85 %")
    0.85
    >>> stated_probability('{"label": "yes", "probability": "high"}')
    """
    start = thought(text or "")
    found = [] if start is None else _PROBABILITY.findall(text or "", start)
    if not found:
        return None
    digits, percent = found[-1]
    share = float(digits) / (100 if percent or float(digits) > 1 else 1)
    return share if share <= 1 else None


def of_stated(probability: float | None, label: str, classes: Sequence[str]) -> list[float] | None:
    """`proba` of a class that its model gave this probability, the others alike; None where another is likelier."""
    if probability is None:
        return None
    other = (1 - probability) / max(len(classes) - 1, 1)
    return [probability if name == label else other for name in classes] if probability >= other else None


def voted(rows: Sequence[Row], labels: Sequence[str | None], classes: Sequence[str]) -> Row:
    """One row of several replies to one text: the first for the class with most votes, with `VOTES` of each class.

    On a tie it is the class that comes first. What was taken is summed; where a reply is missing, its reason is given.
    """
    votes = Counter(label for label in labels if label is not None)
    best = max(classes, key=lambda name: votes[name])
    missing = next((row for row in rows if "failed" in row), None)
    row = rows[labels.index(best) if votes else 0] if missing is None else missing
    billed = sum(1 if (each := row.get("replies")) is None else each for row in rows)
    return {**row, **_summed(rows), VOTES: [votes[name] for name in classes], "replies": billed, "logprob": None}


def of_votes(row: Mapping[str, Sequence[int]], replies: int) -> tuple[list[float] | None, float]:
    """`proba`, each class's share of the votes, and `mass`, the share of the replies that named one."""
    votes = row[VOTES]
    return [each / sum(votes) for each in votes] if any(votes) else None, sum(votes) / replies


def _summed(rows: Sequence[Row]) -> Row:
    found: Row = {"batched": all(row.get("batched") for row in rows) or None}
    for name in SUMMED:
        values = [row.get(name) for row in rows]
        told = [value for value in values if value is not None]
        if len(told) == len(values) or (told and name in _SELDOM):
            found[name] = sum(told)
        else:
            found[name] = None
    return found
