"""A small and a large expert in arrays: panels of them in one line."""

import numpy as np

from askless.costs import CostModel
from askless.panel import NO_LABEL, Panel
from tests.helpers import examples
from tests.policies.chain_data import CLASSES, Array


class Says(Array):
    """An expert that says "A" where it is `right`, else "B"."""

    def __init__(self, name, right, *, logprob=np.nan, proba=None, cost=1.0, silent=False):
        self.right = np.asarray(right, bool)
        self.silent = np.broadcast_to(silent, self.right.shape)
        logprob = np.where(self.silent, np.nan, logprob)
        super().__init__(name, np.where(self.silent, NO_LABEL, np.where(self.right, 0, 1)), logprob, cost, proba)


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
    small = Says("small", rng.random(n) < p, logprob=np.log(p) if stated else np.nan, cost=costs[0])
    cost = costs[1] * (1 + 0.2 * rng.random(n))
    large = Says("large", rng.random(n) < q, logprob=np.log(q), cost=cost)
    return pair(small, large, blind=blind)


def empty():
    """A panel without rows."""
    return pair(Says("small", []), Says("large", []))
