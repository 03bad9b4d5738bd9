"""Labelled panels of experts that know how sure they are: the more able and the costlier, the later."""

import numpy as np

from askless.costs import CostModel
from askless.panel import Panel
from tests.helpers import CLASSES, Told, examples

ABLE = {"small": 1.0, "middle": 1.8, "large": 3.0}
PRICES = {"small": 0.001, "middle": 0.004, "large": 0.02}


def board(n=200, experts=("small", "large"), seed=0, able=None, prices=None, hard=0.0):
    """A panel of `n` rows; an expert is right with the probability it states, less on rows that are `hard`er."""
    rng = np.random.default_rng(seed)
    able, prices = {**ABLE, **(able or {})}, {**PRICES, **(prices or {})}
    ids = [f"a{seed}-{i}" for i in range(n)]
    gold = rng.integers(0, 2, n)
    ease = rng.normal(0.5 - hard, 1.0, n)
    said = {}
    for name in experts:
        sure = 1 / (1 + np.exp(-(np.abs(able[name] + 1.5 * ease) + 0.05)))
        right = rng.random(n) < np.where(able[name] + 1.5 * ease > 0, sure, 0.5)
        label = np.where(right, gold, 1 - gold)
        proba = {i: [1 - s, s] if y else [s, 1 - s] for i, s, y in zip(ids, sure, label, strict=True)}
        labels = {i: CLASSES[y] for i, y in zip(ids, label, strict=True)}
        said[name] = Told(name, labels, cost=prices[name], proba=proba)
    return Panel(examples([CLASSES[y] for y in gold], id=ids), said, CostModel(), CLASSES)
