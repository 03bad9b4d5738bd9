"""A task's own measure of labels, for what is chosen among rows to learn from."""

from __future__ import annotations

from askless.arrays import Ints
from askless.experts.base import Setting


def measured(setting: Setting, gold: Ints, labels: Ints) -> float:
    """The task's `quality` of class indices `labels` against `gold`, each (rows,); accuracy where it says none."""
    from sklearn.metrics import f1_score

    if setting.quality == "macro_f1":
        every = range(len(setting.classes))
        return float(f1_score(gold, labels, labels=list(every), average="macro", zero_division=0.0))
    if setting.quality == "f1_positive":
        at = setting.classes.index(setting.positive)
        return float(f1_score(gold == at, labels == at, zero_division=0.0))
    return float((gold == labels).mean())
