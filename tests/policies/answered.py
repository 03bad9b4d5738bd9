"""Recorded answers made up for planners: experts whose stated confidence tells, more or less, when they are right."""

import numpy as np

from askless.costs import CostModel
from askless.panel import NO_LABEL, Panel
from askless.policies.planned.walk import AnswerMatrix, walk
from tests.helpers import CLASSES, examples, ids
from tests.helpers import Told as Expert

# Answers that teach little, as options of `made`.
ODD = (
    *({"ability": each} for each in ((1, 1, 1), (0, 0, 0), (0, 1, 0), (0, 0, 1))),
    *({"cost": each} for each in ((0, 0, 0), (2, 2, 2))),
    *({"telling": False}, {"quiet": (0, 1, 2)}, {"quiet": (1,)}),
    *({"mute": each} for each in ((0, slice(None)), (2, [0, 3, 4]))),
)


def made(n, ability=(0.6, 0.75, 0.9), cost=(1.0, 4.0, 16.0), *, seed=0, telling=True, quiet=(), mute=None):
    """`AnswerMatrix` of `n` rows: expert j is right with chance about ability[j], and states that chance if `telling`.

    `quiet` experts state nothing; `mute` is (expert, rows) that get no label.
    """
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=(n, 1))
    ability, cost = np.array(ability), np.array(cost, float)
    near = np.clip(ability, 0.01, 0.99)
    logit = np.log(near / (1 - near)) - 1.2 * hard + 0.6 * rng.normal(size=(n, len(ability)))
    chance = np.where((ability == 1) | (ability == 0), ability, 1 / (1 + np.exp(-logit)))
    right = rng.random(chance.shape) < chance
    p = np.where(telling, 0.5 + 0.5 * chance * (1 - 1e-6), 0.7) + np.zeros_like(chance)
    p[:, list(quiet)] = np.nan
    gold = rng.integers(0, 2, n)[:, None]
    label = np.where(right, gold, 1 - gold)
    if mute:
        label[mute[1], mute[0]], p[mute[1], mute[0]], right[mute[1], mute[0]] = NO_LABEL, np.nan, False
    with np.errstate(divide="ignore"):
        return AnswerMatrix(label, p, np.log(p), np.broadcast_to(cost, label.shape).copy(), right)


def panel_of(told, *, blind=False, rows=None):
    """A panel on which experts e0, e1, ... answer as `told`; gold labels follow from who is right."""
    rows = np.arange(len(told)) if rows is None else rows
    known = told.label != NO_LABEL
    said = np.where(known, np.where(told.right, told.label, 1 - told.label), NO_LABEL)
    gold = np.where(known.any(axis=1), said.max(axis=1), 0)
    names = ids(len(told))
    experts = {}
    for j in range(told.label.shape[1]):
        labels = {names[i]: None if told.label[i, j] == NO_LABEL else CLASSES[told.label[i, j]] for i in rows}
        stated = {}
        for i in rows:
            p, c = told.p[i, j], told.label[i, j]
            stated[names[i]] = None if np.isnan(p) or c == NO_LABEL else [p if k == c else 1 - p for k in range(2)]
        paid = {names[i]: float(told.cost[i, j]) for i in rows}
        experts[f"e{j}"] = Expert(f"e{j}", labels, cost=paid, proba=stated)
    table = examples([CLASSES[g] for g in gold]).take(rows)
    return Panel(table, experts, CostModel(), CLASSES, blind=blind)


def empty_of(told):
    """A panel without rows."""
    return panel_of(told, rows=np.arange(0))


def led(rule, told, point):
    """What becomes of all rows at one point of a rule."""

    def ask(j, rows):
        return told.label[rows, j], told.p[rows, j], told.score[rows, j]

    return walk(rule, np.full(len(told), point), told.label.shape[1], ask)
