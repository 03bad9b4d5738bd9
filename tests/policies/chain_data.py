"""Experts that answer from arrays, and panels of several of them in one line."""

import numpy as np

from askless import schema
from askless.config import Price
from askless.costs import CostModel
from askless.panel import NO_LABEL, Panel
from tests.helpers import examples

CLASSES = ("A", "B", "C")
# Of what a team's own network answers; all others bill their answers.
PRICES = {"network": Price(usd_per_1k_answers=1000.0)}


class Array:
    """An expert that answers from arrays of labels (-1 none), log-probabilities (NaN none), costs and probabilities.

    It remembers which rows it was asked, in order.
    """

    def __init__(self, name, label, logprob, cost, proba=None):
        self.name, self.label, self.proba = name, np.asarray(label), proba
        self.logprob, self.cost = (np.broadcast_to(v, self.label.shape).astype(float) for v in (logprob, cost))
        self.asked = []

    def answer(self, table):
        rows = [int(key[1:]) for key in table["id"].to_pylist()]
        self.asked += rows
        label = [None if self.label[i] == NO_LABEL else CLASSES[self.label[i]] for i in rows]
        columns = {
            "id": table["id"].to_pylist(),
            "expert": [self.name] * len(rows),
            "label": label,
            "error": ["silent" if said is None else None for said in label],
            "logprob": [None if np.isnan(v) else v for v in self.logprob[rows]],
            "cost_usd": self.cost[rows],
        }
        if self.proba is not None:
            columns["proba"] = [None if said is None else self.proba[i] for i, said in zip(rows, label, strict=True)]
        return schema.table("predictions", columns)


def board(gold, label, logprob, cost=None, *, blind=False, **columns):
    """A panel of experts e0, e1, ...; `label`, `logprob` and `cost` are (rows, experts), gold is (rows,)."""
    label = np.asarray(label)
    shape = (len(gold), label.shape[1])
    logprob = np.broadcast_to(np.asarray(logprob, float), shape)
    cost = np.broadcast_to(10.0 ** np.arange(shape[1]) if cost is None else np.asarray(cost, float), shape)
    experts = {f"e{j}": Array(f"e{j}", label[:, j], logprob[:, j], cost[:, j]) for j in range(shape[1])}
    return Panel(
        examples([CLASSES[g] for g in gold], **columns), experts, CostModel(prices=PRICES), CLASSES, blind=blind
    )


def names(experts):
    """`e0`, `e1`, ..."""
    return tuple(f"e{j}" for j in range(experts))


def drawn(rows, experts=3, seed=0, *, ties=0, silent=0.0, unstated=0.0):
    """Gold, label, logprob and cost of experts of rising skill that know roughly how sure to be.

    `ties` is how many different log-probabilities there are (0: no two alike); `silent` and `unstated` are shares.
    """
    rng = np.random.default_rng(seed)
    gold, ease = rng.integers(0, 3, rows), rng.normal(size=rows)
    label, logprob = np.empty((rows, experts), int), np.empty((rows, experts))
    for j in range(experts):
        p = 1 / (1 + np.exp(-(ease + j * 0.7 + rng.normal(size=rows))))
        label[:, j] = np.where(rng.random(rows) < p, gold, (gold + rng.integers(1, 3, rows)) % 3)
        p = np.ceil(p * ties) / (ties + 1) if ties else p
        logprob[:, j] = np.log(p)
    label[rng.random(label.shape) < silent] = NO_LABEL
    logprob[rng.random(label.shape) < unstated] = np.nan
    cost = 10.0 ** np.arange(experts) * (0.5 + rng.random((rows, experts)))
    return gold, label, logprob, cost


def part(data, rows):
    """These rows of each array."""
    return tuple(array[rows] for array in data)


def nobody(experts=3):
    """An empty panel."""
    return board(*part(drawn(1, experts), slice(0, 0)))
