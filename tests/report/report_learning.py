"""A small replay of learners through the real code path, for the tests of what is shown of it."""

from functools import cache

from askless.evaluation.arrivals import Feedback
from askless.evaluation.learning import Beginner, Beside, learnt
from askless.policies.bandit.bandit import Bandit
from tests.policies.chain_data import board, drawn, names, nobody

EXPERTS = names(3)


@cache
def told(orders=3, usd=(3.0, 8.0)):
    """What `learnt` gives of two learners. Do not change what it returns: it is cached."""
    panel = board(*drawn(200, 3, 0))

    def cold(seed):
        return Bandit(EXPERTS, random_state=seed).fit(nobody(), nobody())

    beginners = [Beginner("bandit", 0, cold), Beginner("bandit", 120, cold)]
    beside = Beside.of(panel, EXPERTS)
    return learnt(beginners, panel, usd, beside, orders=orders, feedback=Feedback(0.5, 20))
