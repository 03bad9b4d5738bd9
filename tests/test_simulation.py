from itertools import permutations

import numpy as np
import pytest

from askless.errors import ConfigError, DataError
from askless.evaluation import metrics
from askless.policies.chain.published import ForwardChain, RankChain
from benchmarks.simulation import RULES, Run, simulate
from tests.policies.chain_data import board, drawn, names

POLICIES = {"forward": (ForwardChain, {}), "rank": (RankChain, {}), "min_max": (RankChain, {"rank": False})}


def runs(data, length, **options):
    gold, label, logprob, cost = data
    return simulate(logprob, label, gold, cost, length, **options)


@pytest.mark.parametrize("length", [1, 2, 3, 4])
@pytest.mark.parametrize(("ties", "rows"), [(0, 101), (5, 101), (1, 30), (0, 2), (0, 1)])
def test_every_chain_reaches_what_the_policies_reach_on_a_panel(length, ties, rows):
    data = drawn(rows, 4, seed=length, ties=ties, silent=0.05, unstated=0.05)
    found = {(run.chain, run.rule): run for run in runs(data, length, rules=tuple(POLICIES))}
    assert list(found) == [(c, rule) for c in permutations(range(4), length) for rule in POLICIES]
    for (chain, rule), run in found.items():
        kind, options = POLICIES[rule]
        panel = board(*data, blind=True)
        done = kind(tuple(names(4)[j] for j in chain), **options).decide(panel)
        assert run.accuracy == pytest.approx((done.label == data[0]).mean(), abs=1e-12)
        assert run.cost == pytest.approx(done.cost.mean())
        reached = [*done.asked.sum(axis=0), 0]
        assert run.kept == tuple(-np.diff(reached))


def test_macro_f1_is_that_of_the_metrics():
    gold, label, logprob, cost = drawn(200, 3, silent=0.1)
    found = simulate(logprob, label, gold, cost, 1, rules=("forward",))
    wanted = metrics.macro_f1(gold, label, 3)[0]
    assert [run.macro_f1 for run in found] == pytest.approx(wanted)


def test_a_chain_worked_out_by_hand():
    confidence = np.array([[4.0, 1], [3, 2], [2, 4], [1, 3], [0, 5]])
    label = np.array([[0, 1], [1, 1], [0, 1], [1, 1], [0, 0]])
    gold = np.array([0, 1, 1, 1, 0])
    found = simulate(confidence, label, gold, np.tile([1.0, 10.0], (5, 1)), 2, rules=("forward", "rank"))
    assert found[0] == Run((0, 1), "forward", 1.0, 1.0, 1 + 10 * 3 / 5, (2, 3))
    assert found[2] == Run((1, 0), "forward", pytest.approx(1.0), pytest.approx(1.0), 10 + 3 / 5, (2, 3))
    # Row 2 ranks 3/5 at its first link and 2/3 at its second.
    assert found[1] == Run((0, 1), "rank", 1.0, 1.0, 7.0, (2, 3))


def test_the_random_control_keeps_the_published_shares_and_reaches_their_mean():
    gold, label, logprob, cost = drawn(20_001, 3, seed=3)
    found = simulate(logprob, label, gold, cost, 3, rules=("random",), trials=20, random_state=1)
    right = (label == gold[:, None]).mean(axis=0)
    # The mean of 20 splits of 20,001 rows: three standard errors are under .003.
    for run in found:
        assert run.kept == (6667, 6667, 6667)
        assert run.accuracy == pytest.approx(right.mean(), abs=0.003)
        spent = cost.mean(axis=0)[list(run.chain)]
        assert run.cost == pytest.approx(spent @ [1, 2 / 3, 1 / 3], rel=0.01)
    again = simulate(logprob, label, gold, cost, 3, rules=("random",), trials=20, random_state=1)
    assert again == found
    other = simulate(logprob, label, gold, cost, 3, rules=("random",), trials=20, random_state=2)
    assert other[0].accuracy != found[0].accuracy


def test_rules_come_in_the_order_asked_for():
    found = runs(drawn(30, 2), 2)
    assert [(run.chain, run.rule) for run in found] == [(c, rule) for c in ((0, 1), (1, 0)) for rule in RULES]
    only = runs(drawn(30, 2), 2, rules=("min_max", "forward"))
    assert [run.rule for run in only] == ["min_max", "forward"] * 2
    assert only[1] == found[0]


def test_arrays_that_do_not_fit_are_refused():
    gold, label, logprob, cost = drawn(10, 3)
    with pytest.raises(DataError) as error:
        simulate(logprob, label, gold[:9], cost, 2)
    assert str(error.value) == (
        "chain simulation: confidence (10, 3), label (10, 3), cost (10, 3), gold (9,). Allowed: confidence, label and "
        "cost of one shape (rows, experts), gold (rows,), at least one row. "
        "Give every expert's answer to the same rows."
    )
    with pytest.raises(DataError, match="label \\(10, 2\\)"):
        simulate(logprob, label[:, :2], gold, cost, 2)
    with pytest.raises(ConfigError, match=r"^Chains of 4 links from 3 experts. Allowed: 1 to 3.$"):
        simulate(logprob, label, gold, cost, 4)
    with pytest.raises(ConfigError, match="Unknown rule of a chain 'ranks'.*Did you mean 'rank'?"):
        simulate(logprob, label, gold, cost, 2, rules=("ranks",))
