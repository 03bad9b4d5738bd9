import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askless import schema
from askless.errors import BudgetError, ConfigError
from askless.evaluation.metrics import Quality
from askless.evaluation.replay import (
    Replay,
    best_on_valid,
    chosen_on_valid,
    crossfit,
    only,
    oracle,
    oracle_by_cost,
    prices_of_quality,
    replay,
)
from askless.panel import NO_LABEL
from askless.policies.base import Budget
from askless.policies.baselines import Always
from tests.helpers import ByScore, indices, panel

PAIR = ("small", "large")
ACCURACY = Quality("accuracy", 2, 1)
SHARES = (0.0, 0.25, 0.5, 1.0)
COST = {"small": 1.0, "large": 10.0}
label = st.sampled_from(["0", "1"])
row = st.tuples(label, label | st.none(), label | st.none(), st.floats(0, 1))
worlds = st.lists(row, min_size=1, max_size=12)


def boards(rows, blind=True):
    gold, small, large, _ = zip(*rows, strict=True)
    return panel(gold, {"small": small, "large": large}, cost=COST, blind=blind)


def by_score(rows):
    return ByScore(PAIR, {f"post {i}": r[3] for i, r in enumerate(rows)})


def ends(rows, seeds=(0,)):
    """The replays of always asking the one and the other."""
    out = []
    for expert in PAIR:
        policies = {s: Always(PAIR, expert) for s in seeds}
        out.append(replay(f"always_{expert}", policies, {s: boards(rows) for s in seeds}, [None]))
    return out


def accuracy(run, gold):
    return (run.label == np.asarray(gold)).mean(axis=2)


@settings(max_examples=20)
@given(worlds, st.lists(st.floats(0, 1), min_size=12, max_size=12))
def test_a_replay_decides_what_the_policy_decides_alone(rows, others):
    second = [(*r[:3], o) for r, o in zip(rows, others, strict=False)]
    policies = {7: by_score(rows), 8: by_score(second)}
    budgets = [Budget(share=s) for s in SHARES] + [None]
    run = replay("mine", policies, {7: boards(rows), 8: boards(second)}, budgets)
    assert (run.policy, run.seeds, run.experts, run.points) == ("mine", (7, 8), PAIR, 5)
    np.testing.assert_array_equal(run.budgets, [*SHARES, np.nan])
    for s, (seed, policy) in enumerate(policies.items()):
        for p, budget in enumerate(budgets):
            board = boards(rows if seed == 7 else second)
            decided = policy.decide(board, budget)
            np.testing.assert_array_equal(run.label[p, s], decided.label)
            np.testing.assert_array_equal(run.expert[p, s], decided.expert)
            np.testing.assert_array_equal(run.cost[p, s], decided.cost)
            np.testing.assert_array_equal(run.asked(p, s), decided.asked)
            np.testing.assert_array_equal(run.deferred[p, s], decided.asked[:, 1])
            np.testing.assert_array_equal(run.score[p, s], decided.score.astype(np.float32))
            stated = policy.confidence(policy.look(board), decided.expert).astype(np.float32)
            np.testing.assert_array_equal(run.confidence[p, s], stated)
            assert run.cost[p, s].sum() == board.total


def test_a_replay_looks_once_for_each_seed_and_leaves_the_panels_unbilled():
    class Looking(ByScore):
        looks = 0

        def look(self, panel):
            self.looks += 1
            panel.charge(0.5)
            return super().look(panel)

    board = boards([("0", "0", "1", 0.5)] * 2)
    policy = Looking(PAIR, {"post 0": 0.1, "post 1": 0.2})
    run = replay("looking", {0: policy}, {0: board}, [Budget(share=s) for s in SHARES])
    assert policy.looks == 1
    assert board.total == 0.0
    # Every budget pays for the look and for its own asks, not for those of another budget.
    assert run.cost.sum(axis=2).ravel().tolist() == [3.0, 3.0, 12.0, 21.0]


def test_flat_columns_run_over_seeds_within_points():
    run = made(label=np.arange(12).reshape(2, 3, 2), cost=np.arange(12.0).reshape(2, 3, 2))
    assert run.flat_answers().tolist() == [[0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]]
    assert run.flat_cost().tolist() == [[0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]]


def made(experts=PAIR, **arrays) -> Replay:
    shape = next(iter(arrays.values())).shape
    blank = {
        "label": np.zeros(shape, np.int16),
        "expert": np.zeros(shape, np.int16),
        "deferred": np.zeros(shape, bool),
        "cost": np.zeros(shape),
        "score": np.zeros(shape, np.float32),
        "confidence": np.zeros(shape, np.float32),
        "paid": np.zeros(shape, np.uint32),
    }
    return Replay("made", np.arange(shape[0]) / 10, tuple(range(shape[1])), experts, **{**blank, **arrays})


def test_only_takes_points_for_all_seeds_or_one_for_each():
    run = made(label=np.arange(12).reshape(3, 2, 2))
    two = only(run, np.array([2, 0]))
    assert two.label.tolist() == [[[8, 9], [10, 11]], [[0, 1], [2, 3]]]
    assert two.budgets.tolist() == [0.2, 0.0]
    each = only(run, np.array([[2, 1]]))
    assert each.label.tolist() == [[[8, 9], [6, 7]]]
    assert (each.points, each.seeds, each.paid.shape) == (1, (0, 1), (1, 2, 2))


@settings(max_examples=50)
@given(worlds, st.data())
def test_no_decision_is_more_often_right_than_the_oracles_at_its_share(rows, data):
    gold = indices([r[0] for r in rows])
    small, large = ends(rows)
    n = len(rows)
    asked = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    share = asked.mean()
    best = oracle("oracle", small, [large], gold, [share])
    decided = np.where(asked, large.label[0, 0], small.label[0, 0])
    assert (decided == gold).mean() <= accuracy(best, gold)[0, 0]
    assert best.deferred.mean() <= share


@settings(max_examples=40)
@given(worlds)
def test_no_policy_is_better_than_the_oracle_at_any_budget(rows):
    gold = indices([r[0] for r in rows])
    small, large = ends(rows)
    run = replay("mine", {0: by_score(rows)}, {0: boards(rows)}, [Budget(share=s) for s in SHARES])
    reached = accuracy(run, gold)[:, 0]
    bound = accuracy(oracle("oracle", small, [large], gold, run.deferred.mean(axis=(1, 2))), gold)[:, 0]
    assert (reached <= bound).all()
    sweep = accuracy(oracle("oracle", small, [large], gold, SHARES), gold)[:, 0]
    assert (np.diff(sweep) >= 0).all()
    assert sweep[0] == accuracy(small, gold)[0, 0]
    either = ((small.label[0, 0] == gold) | (large.label[0, 0] == gold)).mean()
    assert sweep[-1] == either


def test_the_oracle_defers_what_only_the_expensive_one_knows_the_cheapest_first():
    gold = np.array([1, 1, 1, 1, 0])
    small = made(label=np.array([[[1, 0, 0, 0, 1]]], np.int16), cost=np.full((1, 1, 5), 1.0))
    large = made(
        label=np.array([[[0, 1, 1, 1, 1]]], np.int16),
        expert=np.ones((1, 1, 5), np.int16),
        cost=np.array([[[5.0, 9.0, 7.0, 8.0, 2.0]]]),
    )
    best = oracle("oracle", small, [large], gold, [0.0, 0.2, 0.4, 1.0])
    assert best.deferred[:, 0].tolist() == [
        [False] * 5,
        [False, False, True, False, False],
        [False, False, True, True, False],
        [False, True, True, True, False],
    ]
    assert best.cost[:, 0].tolist() == [
        [1, 1, 1, 1, 1],
        [1, 1, 7, 1, 1],
        [1, 1, 7, 8, 1],
        [1, 9, 7, 8, 1],
    ]
    assert best.label[-1, 0].tolist() == [1, 1, 1, 1, 1]
    assert best.expert[-1, 0].tolist() == [0, 1, 1, 1, 0]
    assert best.asked(-1, 0).tolist() == [[True, False], [False, True], [False, True], [False, True], [True, False]]
    assert best.experts == PAIR


def test_the_oracle_takes_one_seed_of_the_expensive_expert_for_several_of_the_small():
    rows = [("0", "1", "0", 0.5), ("1", "0", "1", 0.5), ("1", "1", "0", 0.5)]
    (small, _), (_, large) = ends(rows, seeds=(1, 2, 3)), ends(rows)
    best = oracle("oracle", small, [large], np.array([0, 1, 1]), [0.0, 1.0])
    assert best.label.shape == (2, 3, 3)
    assert best.seeds == (1, 2, 3)
    assert accuracy(best, [0, 1, 1]).tolist() == [[1 / 3] * 3, [1.0] * 3]


def test_the_oracle_names_the_expensive_expert_even_if_it_is_silent_at_first():
    rows = [("0", "1", None, 0.5), ("1", "0", "1", 0.5)]
    small, large = ends(rows)
    best = oracle("oracle", small, [large], np.array([0, 1]), [1.0])
    assert best.experts == PAIR
    # Where the expensive expert is silent there is nothing to gain.
    assert best.deferred[0, 0].tolist() == [False, True]


def test_valid_chooses_the_cheapest_point_that_reaches_the_floor_for_each_seed():
    gold = np.array([1, 1, 1, 1])
    right = np.array([[1, 0], [3, 1], [3, 4], [4, 2]])
    labels = (np.arange(4) < right[..., None]).astype(np.int16)
    cost = np.broadcast_to(np.array([1.0, 2.0, 1.5, 4.0])[:, None, None], labels.shape)
    run = made(label=labels, cost=cost)
    assert chosen_on_valid(run, gold, ACCURACY, np.array([0.75, 0.5])).tolist() == [[2, 2]]
    assert chosen_on_valid(run, gold, ACCURACY, np.array([0.0, 0.3])).tolist() == [[0, 2]]
    assert chosen_on_valid(run, gold, ACCURACY, np.array([1.0, 0.75])).tolist() == [[3, 2]]


def test_where_no_point_reaches_the_floor_valid_chooses_the_best():
    gold = np.array([1, 1, 1, 1])
    labels = (np.arange(4) < np.array([1, 3, 2])[:, None, None]).astype(np.int16)
    assert chosen_on_valid(made(label=labels), gold, ACCURACY, np.array([0.9])).tolist() == [[1]]


def test_the_best_on_valid_is_the_first_of_equals():
    labels = (np.arange(4) < np.array([[1, 4], [3, 2], [3, 4]])[..., None]).astype(np.int16)
    assert best_on_valid(made(label=labels), np.ones(4, int), ACCURACY).tolist() == [[1, 0]]


@settings(max_examples=40)
@given(worlds, st.floats(0, 1))
def test_no_cheaper_point_on_valid_reaches_the_floor(rows, floor):
    gold = indices([r[0] for r in rows])
    run = replay("mine", {0: by_score(rows)}, {0: boards(rows)}, [Budget(share=s) for s in SHARES])
    ((pick,),) = chosen_on_valid(run, gold, ACCURACY, np.array([floor]))
    reached, cost = accuracy(run, gold)[:, 0], run.cost.mean(axis=(1, 2))
    if (reached >= floor).any():
        assert reached[pick] >= floor
        assert cost[pick] == cost[reached >= floor].min()
    else:
        assert reached[pick] == reached.max()


def test_an_always_policy_has_one_point_without_a_budget():
    small, large = ends([("0", "0", "1", 0.5), ("1", "0", "1", 0.5)])
    assert np.isnan(small.budgets).all()
    assert (small.points, large.points) == (1, 1)
    assert large.deferred.all()
    assert not small.deferred.any()
    assert (small.cost.mean(), large.cost.mean()) == pytest.approx((1.0, 10.0))


def test_cross_fitting_decides_each_row_by_a_policy_that_did_not_see_it():
    seen = []

    class Noting(ByScore):
        def fit(self, train, valid):
            seen.append((set(train.ids), len(valid)))
            return self

        def decide(self, board, budget=None, seen_=None):
            decided.append((seen[-1][0], set(board.ids)))
            assert board._blind
            return super().decide(board, budget, seen_)

    decided = []
    rows = [("0", "0", "1", i / 10) for i in range(10)]
    scores = {f"post {i}": i / 10 for i in range(10)}
    run = crossfit("noting", lambda _: Noting(PAIR, scores), boards(rows, blind=False), [Budget(share=0.5)], (3,), 4)
    assert (run.seeds, run.points, run.label.shape) == ((3,), 1, (1, 1, 10))
    assert [len(part) for _, part in decided] == [3, 3, 2, 2]
    assert all(not known & part and len(known | part) == 10 for known, part in decided)
    assert set.union(*(part for _, part in decided)) == {f"a{i}" for i in range(10)}
    assert {held for _, held in seen} == {0}
    np.testing.assert_array_equal(run.score[0, 0], np.float32([i / 10 for i in range(10)]))


def test_cross_fitting_needs_two_rows_and_two_folds():
    with pytest.raises(ConfigError, match="got 5 folds of 1 rows"):
        crossfit("one", lambda _: by_score([]), boards([("0", "0", "1", 0.5)]), [None], (0,), 5)


def test_a_cost_below_the_least_buys_what_costs_least():
    class Expensive(ByScore):
        def choose(self, seen, budget):
            if budget.per_1000 is not None and budget.per_1000 < 1000:
                raise BudgetError("too little")
            return super().choose(seen, budget if budget.per_1000 is None else Budget(share=1.0))

    rows = [("0", "0", "1", 0.5)] * 2
    policy = Expensive(PAIR, {"post 0": 0.1, "post 1": 0.2})
    run = replay("expensive", {0: policy}, {0: boards(rows)}, [Budget(per_1000=1.0), Budget(per_1000=2000.0)])
    assert run.deferred[:, 0].tolist() == [[False, False], [True, True]]
    with pytest.raises(BudgetError):
        replay("none", {0: Refusing(PAIR, {})}, {0: boards(rows)}, [Budget(share=0.1)])


class Refusing(ByScore):
    def look(self, panel):
        return np.zeros(len(panel))

    def choose(self, seen, budget):
        raise BudgetError("never")


def test_decisions_are_a_table_of_the_contract():
    run = made(
        label=np.array([[[1, NO_LABEL, 0]]], np.int16),
        expert=np.array([[[1, 0, 0]]], np.int8),
        paid=np.array([[[3, 1, 0]]], np.uint32),
        cost=np.array([[[2.0, 1.0, 0.0]]]),
    )
    table = schema.check(run.decisions(0, 0, ["x", "y", "z"], ("no", "yes")), "decisions")
    assert table["label"].to_pylist() == ["yes", None, "no"]
    assert table["expert"].to_pylist() == [run.experts[1], run.experts[0], run.experts[0]]
    assert table["asked"].to_pylist() == [list(run.experts), [run.experts[0]], []]
    assert table["cost"].to_pylist() == [2.0, 1.0, 0.0]


def test_the_oracle_pays_the_cheapest_who_is_right():
    def alone(labels, cost, experts):
        return made(
            label=np.array([[labels]], np.int16),
            expert=np.full((1, 1, 3), len(experts) - 1, np.int8),
            cost=np.full((1, 1, 3), cost),
            experts=experts,
        )

    small = alone([0, 0, 0], 1.0, ("s",))
    expensive = [alone([0, 1, 1], 5.0, ("s", "m")), alone([0, 1, 0], 2.0, ("s", "l"))]
    best = oracle("oracle", small, expensive, np.array([0, 1, 1]), [0.0, 0.4, 1.0])
    assert best.experts == ("s", "m", "l")
    assert best.expert[:, 0].tolist() == [[0, 0, 0], [0, 2, 0], [0, 2, 1]]
    assert best.cost[-1, 0].tolist() == [1.0, 2.0, 5.0]
    assert best.asked(2, 0).tolist() == [[True, False, False], [False, False, True], [False, True, False]]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(1, 8), st.booleans())
def test_no_assignment_of_rows_to_experts_is_better_than_the_bound_at_its_cost(seed, experts, rows, graded):
    """Whoever answers each row, in one seed or the mean of two: the bound at that cost is no lower."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, (experts, 2, rows)).astype(np.int16)
    cost, quality = rng.integers(1, 6, (experts, 2, rows)).astype(float), rng.random((experts, 2, rows))
    alone = [
        made(
            label=label[j][None],
            expert=np.zeros((1, 2, rows), np.int8),
            cost=cost[j][None],
            experts=(f"e{j}",),
            quality=quality[j][None].astype(np.float32) if graded else None,
        )
        for j in range(experts)
    ]
    gold = rng.integers(0, 2, rows)
    bound = oracle_by_cost("oracle", alone, gold, prices_of_quality(alone, gold, 1000))
    had = np.stack([run.right(gold)[0] for run in alone]).astype(float)
    spent, reached = bound.cost.mean(axis=(1, 2)), bound.right(gold).mean(axis=(1, 2))
    for _ in range(30):
        choice = rng.integers(0, experts, (1, 2, rows))
        one_cost, one = (np.take_along_axis(of, choice, 0)[0].mean() for of in (cost, had))
        assert one_cost >= spent[0] - 1e-9
        assert one <= np.interp(one_cost, spent, reached) + 1e-6
    assert reached[-1] == pytest.approx(had.max(axis=0).mean())
