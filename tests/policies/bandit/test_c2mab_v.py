"""C2MAB-V: its relaxed problem, its rounding, and that its regret and its violations fall."""

from itertools import combinations

import numpy as np
import pytest

from askless.errors import BudgetError, ConfigError
from askless.policies.bandit.c2mab_v import C2MABV, REWARDS, relaxed, rounded
from askless.policies.bandit.rounds import Rounds
from askless.policies.base import Budget
from tests.policies.chain_data import board, drawn, names, nobody

MEAN, COST = np.array([0.4, 0.6, 0.7, 0.9]), np.array([1.0, 2.0, 3.0, 8.0])


def value(reward, members):
    """What a set is worth, of independent experts."""
    mean = MEAN[list(members)]
    return {"any": 1 - np.prod(1 - mean), "sum": mean.sum(), "all": np.prod(mean)}[reward]


@pytest.mark.parametrize("reward", REWARDS)
@pytest.mark.parametrize("usd", [4.0, 11.0, np.inf])
def test_the_relaxed_problem_is_within_the_budget_and_at_least_as_good_as_any_set(reward, usd):
    share = relaxed(reward, MEAN, COST, usd, 2)
    assert share @ COST <= usd + 1e-9
    assert share.sum() <= 2 + 1e-9
    sets = [c for c in combinations(range(4), 2) if COST[list(c)].sum() <= usd]
    got = {"any": 1 - np.prod(1 - share * MEAN), "sum": share @ MEAN, "all": np.exp(share @ np.log(MEAN))}[reward]
    # Continuous greedy promises 1 - 1/e of the best; the others are exact.
    assert got >= max(value(reward, c) for c in sets) * (1 - 1 / np.e if reward == "any" else 1 - 1e-6)


def test_rounding_keeps_each_share_and_the_number():
    share, random = np.array([0.3, 0.7, 0.5, 0.5, 0.0, 1.0]), np.random.default_rng(0)
    sets = np.stack([rounded(share, random) for _ in range(4_000)])
    assert (sets.sum(axis=1) == 3).all()
    assert sets.mean(axis=0) == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize("reward", REWARDS)
def test_where_experts_are_independent_it_comes_to_the_best_set_within_the_budget(reward):
    random, usd = np.random.default_rng(1), 5.0
    bandit = C2MABV(names(4), reward=reward).fit(nobody(4), nobody(4))
    worth, spent = [], []
    for _ in range(60):
        chosen = bandit.choose(50, usd)
        right = random.random(chosen.shape) < MEAN
        made = Rounds.blank(bandit.experts, np.arange(50))
        made.cost[chosen] = np.broadcast_to(COST, chosen.shape)[chosen]
        made.label[chosen] = right[chosen]
        bandit.count(made).feed(made, np.ones(50, np.int64))
        worth.append(np.mean([value(reward, np.flatnonzero(row)) for row in chosen]))
        spent.append((chosen @ COST).mean())
    best = max(value(reward, c) for c in combinations(range(4), 2) if COST[list(c)].sum() <= usd)
    assert np.mean(worth[-20:]) >= best * (0.9 if reward == "any" else 0.97)
    assert np.mean(spent[-20:]) <= 1.1 * usd < np.mean(spent[:1])


@pytest.mark.parametrize(
    ("options", "budget", "error", "message"),
    [
        ({}, Budget(share=0.5), BudgetError, "Allowed: per_1000"),
        ({"reward": "none"}, None, ConfigError, "any"),
        ({"most": 0}, None, ConfigError, "most"),
    ],
)
def test_what_it_cannot_do_is_refused(options, budget, error, message):
    panel = board(*drawn(30, 3, 0))
    with pytest.raises(error, match=message):
        C2MABV(names(3), **options).fit(panel, nobody()).decide(panel, budget)
