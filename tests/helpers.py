"""Tiny real tables, experts that answer from a dict, and a policy that defers by given scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from askless import schema
from askless.arrays import Floats, Ints
from askless.costs import CostModel
from askless.panel import NO_LABEL, Panel
from askless.policies.base import Budget, Chooser

CLASSES = ("0", "1")
Labels = Sequence[str | None]


def ids(n: int) -> list[str]:
    """`a0`, `a1`, ..."""
    return [f"a{i}" for i in range(n)]


def examples(labels: Labels, *, split: str | Sequence[str] = "test", **columns: Any) -> pa.Table:
    """An examples table with these gold labels; text is `post 0`, `post 1`, ... unless given."""
    n = len(labels)
    full = {
        "id": ids(n),
        "text": [f"post {i}" for i in range(n)],
        "label": list(labels),
        "split": [split] * n if isinstance(split, str) else list(split),
        **columns,
    }
    return schema.table("examples", full)


def predictions(
    labels: Labels, *, expert: str | Sequence[str] = "small", classes: Sequence[str] = CLASSES, **columns: Any
) -> pa.Table:
    """A predictions table of one expert; a null label carries an error; other columns as given."""
    n = len(labels)
    full = {
        "id": ids(n),
        "expert": [expert] * n if isinstance(expert, str) else list(expert),
        "label": list(labels),
        "error": [None if label is not None else "silent" for label in labels],
        **columns,
    }
    return schema.table("predictions", full, {"classes": list(classes)})


class Told:
    """An expert that says what a dict (id -> label) tells it, and remembers which ids it was asked."""

    def __init__(
        self,
        name: str,
        labels: Mapping[str, str | None],
        *,
        cost: float | Mapping[str, float] = 1.0,
        proba: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        self.name, self.labels, self.cost, self.proba = name, labels, cost, proba
        self.asked: list[str] = []
        self.shown: list[pa.Table] = []

    def answer(self, examples: pa.Table) -> pa.Table:
        """One row for each example, billed at `cost` dollars."""
        asked = examples["id"].to_pylist()
        self.asked += asked
        self.shown.append(examples)
        labels = [self.labels[i] for i in asked]
        columns: dict[str, Any] = {
            "id": asked,
            "expert": [self.name] * len(asked),
            "label": labels,
            "error": [None if label is not None else "silent" for label in labels],
            "cost_usd": [self.cost[i] if isinstance(self.cost, Mapping) else self.cost for i in asked],
        }
        if self.proba is not None:
            columns["proba"] = [self.proba[i] for i in asked]
        return schema.table("predictions", columns)


def told(name: str, labels: Labels, **options: Any) -> Told:
    """`Told` for the ids of `examples(labels)`."""
    return Told(name, dict(zip(ids(len(labels)), labels, strict=True)), **options)


def panel(
    gold: Labels,
    said: Mapping[str, Labels],
    *,
    cost: Mapping[str, float] | None = None,
    blind: bool = False,
    classes: Sequence[str] = CLASSES,
) -> Panel:
    """A panel in dollars; `said` maps expert -> labels, `cost` expert -> dollars an answer (1 by default)."""
    experts = {name: told(name, labels, cost=(cost or {}).get(name, 1.0)) for name, labels in said.items()}
    return Panel(examples(gold), experts, CostModel(), classes, blind=blind)


def indices(labels: Labels, classes: Sequence[str] = CLASSES) -> Ints:
    """Class indices of labels, `NO_LABEL` for None."""
    return np.array([NO_LABEL if label is None else list(classes).index(label) for label in labels])


class ByScore(Chooser):
    """Defers the rows of the largest score, as many as a budget's share allows; half without a budget."""

    graded = True

    def __init__(self, experts: tuple[str, ...], scores: Mapping[str, float]) -> None:
        self.experts = experts
        self.scores = scores

    def look(self, panel: Panel) -> Floats:
        """The given score of each text, shape (rows,)."""
        return np.array([self.scores[text] for text in panel.text])

    def choose(self, seen: Floats, budget: Budget | None) -> Ints:
        """1 for the rows of the largest score, else 0."""
        share = 0.5 if budget is None or budget.share is None else budget.share
        place = np.argsort(np.argsort(-seen, kind="stable"))
        return (place < round(share * len(seen))).astype(np.int64)

    def confidence(self, seen: Floats, choice: Ints) -> Floats:
        """The score itself, or what is left of it."""
        return np.where(choice == 1, seen, 1 - seen)
