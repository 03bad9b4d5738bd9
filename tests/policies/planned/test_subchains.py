from itertools import combinations, product

import numpy as np

from askless.policies.planned.subchains import Subchains
from askless.policies.planned.walk import STOP, outcomes
from tests.policies.answered import led, made


def chains(rule):
    """The experts of each point's chain."""
    return [[int(j) for j in chain if j != STOP] for chain in rule.chain_]


def by_hand(rule, told, levels):
    """The largest utility at every lambda over all chains and thresholds, row by row."""
    post, best = rule.posteriors_, np.full(rule.points, -np.inf)
    for size in (1, 2, 3):
        for chain in combinations(range(3), size):
            prefixes = [sum(1 << j for j in chain[: i + 1]) for i in range(size)]
            cuts = [[*np.quantile(post.fitted_[p], np.arange(1, levels) / levels), np.inf] for p in prefixes[:-1]]
            for chosen in product(*cuts):
                here, quality, cost = np.ones(len(told), bool), 0.0, 0.0
                for link, code in enumerate(prefixes):
                    cost += told.cost[here, chain[link]].sum()
                    worth = 0.5 * post.right_[code] + 0.5 * post.fitted_[code]
                    on = here & (post.fitted_[code] < chosen[link]) if link < size - 1 else np.zeros(len(told), bool)
                    quality += worth[here & ~on].sum()
                    here = on
                best = np.maximum(best, (quality - rule.lambdas_ * cost) / len(told))
    return best


def test_the_search_finds_the_best_of_all_chains_and_thresholds():
    told = made(60)
    told.cost[:] *= np.random.default_rng(0).uniform(0.5, 1.5, told.cost.shape)
    rule = Subchains(levels=4).fit(told)
    np.testing.assert_allclose(rule.best_, by_hand(rule, told, 4), atol=1e-12)


def test_its_decisions_come_to_what_it_searched_for():
    told = made(300)
    rule = Subchains(trust=1.0).fit(told)
    right, cost, _ = outcomes(rule, told)
    utility = right[:-3].mean(axis=1) - rule.lambdas_ * cost[:-3].mean(axis=1)
    np.testing.assert_allclose(utility, rule.best_, atol=1e-12)
    assert (utility >= (told.right.mean(axis=0) - rule.lambdas_[:, None] * told.cost.mean(axis=0)).max(axis=1)).all()


def test_a_row_is_kept_at_the_threshold_or_above_it():
    rule = Subchains().fit(made(300))
    done = led(rule, made(300, seed=1), 60)
    for _, _, look in done.looks:
        np.testing.assert_array_equal(look.then < 0, look.score >= look.threshold)


def test_chains_rise_in_cost_and_leave_experts_out():
    rule = Subchains().fit(made(500, (0.6, 0.5, 0.95), (1.0, 10.0, 11.0)))
    for chain in chains(rule):
        assert chain == sorted(chain) and len(chain) >= 1
    assert {tuple(chain) for chain in chains(rule)} >= {(0, 2), (0,)}


def test_equally_good_chains_are_decided_for_the_shorter():
    rule = Subchains().fit(made(100, (1, 1, 1), (1, 1, 1)))
    assert chains(rule)[0] == [0]


def test_no_longer_chains_than_allowed():
    told = made(100, (0.5, 0.6, 0.7, 0.8, 0.9), (1, 2, 3, 4, 5))
    assert max(map(len, chains(Subchains(most=2).fit(told)))) <= 2
