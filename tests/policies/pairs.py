"""A small and a large expert in arrays: panels of them in one line."""

import numpy as np

from askless import schema
from askless.costs import CostModel
from askless.panel import Panel
from tests.helpers import examples, ids

CLASSES = ("A", "B", "C")


class Says:
    """An expert that answers from arrays and remembers which rows it was asked, in order."""

    def __init__(self, name, right, *, logprob=None, proba=None, cost=1.0, silent=None):
        self.name, self.right, self.logprob, self.proba = name, np.asarray(right, bool), logprob, proba
        self.cost = np.broadcast_to(cost, self.right.shape)
        self.silent = np.zeros(len(self.right), bool) if silent is None else np.asarray(silent, bool)
        self.asked = []

    def answer(self, table):
        rows = [int(key[1:]) for key in table["id"].to_pylist()]
        self.asked += rows
        label = [None if self.silent[i] else "A" if self.right[i] else "B" for i in rows]
        columns = {
            "id": table["id"].to_pylist(),
            "expert": [self.name] * len(rows),
            "label": label,
            "error": ["silent" if said is None else None for said in label],
            "cost_usd": self.cost[rows],
        }
        for name, values in (("logprob", self.logprob), ("proba", self.proba)):
            if values is not None:
                columns[name] = [
                    None if self.silent[i] or np.isnan(values[i]).any() else np.asarray(values)[i] for i in rows
                ]
        return schema.table("predictions", columns)


def pair(small, large, *, blind=False):
    """A panel of `Says` small and large; the gold label is always "A"."""
    n = len(small.right)
    experts = {small.name: small, large.name: large}
    return Panel(examples(["A"] * n), experts, CostModel(), CLASSES, blind=blind)


def drawn(n, seed=0, *, costs=(1.0, 10.0), rates=(0.5, 0.8), stated=True, blind=False, ties=None):
    """A panel on which the small one is right as often as it says, and the large one more often."""
    rng = np.random.default_rng(seed)
    p = rng.beta(1.5, 1.5, n) * 2 * rates[0] if ties is None else rng.integers(1, ties, n) / ties
    p = np.clip(p, 1e-6, 1 - 1e-6)
    q = np.clip(rates[1] + 0.2 * (p - rates[0]), 0.01, 0.99)
    small = Says("small", rng.random(n) < p, logprob=np.log(p) if stated else None, cost=costs[0])
    cost = costs[1] * (1 + 0.2 * rng.random(n))
    large = Says("large", rng.random(n) < q, logprob=np.log(q), cost=cost)
    return pair(small, large, blind=blind)


def empty():
    """A panel without rows."""
    assert ids(0) == []
    return pair(Says("small", []), Says("large", []))
