import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askless import policies
from askless.costs import CostModel
from askless.errors import BudgetError, ConfigError, DataError
from askless.panel import NO_LABEL
from askless.policies.base import Budget, Chooser, Decisions, billed, settle
from askless.policies.state import arguments
from askless.policies.team.allocator import Allocator
from tests.helpers import ByScore, indices, panel

PAIR = ("small", "large")
maybe_label = st.sampled_from(["0", "1", None])


@pytest.mark.parametrize("name", ["share", "per_1000", "price"])
def test_a_budget_is_one_number(name):
    budget = Budget(**{name: 0.25})
    assert budget.value == 0.25
    assert getattr(budget, name) == 0.25
    assert Budget(**{name: 0.0}).value == 0.0


def test_a_budget_of_none_or_two_is_refused():
    with pytest.raises(BudgetError) as error:
        Budget()
    assert str(error.value) == "Budget got nothing. Give exactly one of share, per_1000, price."
    with pytest.raises(BudgetError) as error:
        Budget(share=0.5, price=1.0)
    assert str(error.value) == ("Budget got {'share': 0.5, 'price': 1.0}. Give exactly one of share, per_1000, price.")


@pytest.mark.parametrize(
    ("name", "value", "top"),
    [
        ("share", 1.01, "1"),
        ("share", -0.1, "1"),
        ("share", math.nan, "1"),
        ("per_1000", -1.0, "inf"),
        ("price", math.inf, "inf"),
    ],
)
def test_a_budget_out_of_range_is_refused(name, value, top):
    with pytest.raises(BudgetError) as error:
        Budget(**{name: value})
    assert str(error.value) == f"Budget {name} is {value}. Allowed: a finite number from 0 to {top}."


@settings(max_examples=50)
@given(st.lists(st.tuples(maybe_label, maybe_label, st.integers(0, 1)), max_size=10))
def test_settling_pays_who_was_chosen_and_falls_back_to_the_first_where_he_is_silent(rows):
    small, large = [r[0] for r in rows], [r[1] for r in rows]
    choice = np.array([r[2] for r in rows], np.int64)
    board = panel(["0"] * len(rows), {"small": small, "large": large}, cost={"small": 1.0, "large": 8.0}, blind=True)
    decided = settle(board, PAIR, choice, np.zeros(len(rows)))
    silent = (choice == 1) & (indices(large) == NO_LABEL)
    final = np.where(silent, 0, choice)
    assert decided.expert.tolist() == final.tolist()
    assert decided.label.tolist() == np.where(final == 1, indices(large), indices(small)).tolist()
    assert decided.asked.tolist() == np.stack([final == 0, choice == 1], axis=1).tolist()
    assert decided.cost.tolist() == (8.0 * (choice == 1) + 1.0 * (final == 0)).tolist()
    assert decided.cost.sum() == board.total
    assert decided.deferral_rate == pytest.approx(choice.mean() if rows else 0.0)


def test_the_first_expert_may_be_silent_for_good():
    board = panel(["0"], {"small": [None], "large": [None]}, blind=True)
    decided = settle(board, PAIR, np.array([1]), np.zeros(1))
    assert (decided.label.tolist(), decided.expert.tolist()) == ([NO_LABEL], [0])
    assert decided.cost.tolist() == [2.0]


def test_without_a_fallback_a_silent_row_stays_silent_and_is_paid_once():
    said = {"small": ["0", "0"], "large": [None, "1"]}
    board = panel(["0", "1"], said, cost={"small": 1.0, "large": 8.0}, blind=True)
    decided = settle(board, PAIR, np.array([1, 1]), np.zeros(2), fallback=False)
    assert (decided.label.tolist(), decided.expert.tolist()) == ([NO_LABEL, 1], [1, 1])
    assert decided.cost.tolist() == [8.0, 8.0]
    assert not decided.asked[:, 0].any()


def test_only_experts_beyond_the_first_count_as_deferral():
    asked = np.array([[True, False, False], [True, True, False], [False, False, True], [False, False, False]])
    four = np.zeros(4)
    decided = Decisions(("a", "b", "c"), four.astype(int), four.astype(int), four, four, asked, four)
    assert decided.deferral_rate == 0.5


def test_a_policy_decides_without_gold_and_looks_only_once():
    class Counted(ByScore):
        looks = 0

        def look(self, panel):
            self.looks += 1
            return super().look(panel)

    board = panel(["0", "1", "0"], {"small": ["0"] * 3, "large": ["1"] * 3}, blind=True)
    policy = Counted(PAIR, {"post 0": 0.1, "post 1": 0.9, "post 2": 0.5})
    seen = policy.look(board)
    for share, expected in ((0.0, [0, 0, 0]), (1 / 3, [0, 1, 0]), (2 / 3, [0, 1, 1]), (1.0, [1, 1, 1])):
        decided = policy.decide(board.copy(), Budget(share=share), seen)
        assert decided.expert.tolist() == expected
        assert decided.score.tolist() == [0.1, 0.9, 0.5]
    assert policy.looks == 1
    assert policy.decide(board.copy()).expert.tolist() == [0, 1, 1]
    assert policy.looks == 2


def test_the_score_is_the_last_column_of_what_was_seen_and_confidence_is_not_stated():
    class Plain(ByScore):
        score, confidence = Chooser.score, Chooser.confidence

    policy = Plain(PAIR, {})
    assert policy.score(np.array([[1, 2], [3, 4]])).tolist() == [2.0, 4.0]
    assert policy.score(np.array([1, 2])).tolist() == [1.0, 2.0]
    assert policy.score(np.zeros((0, 2))).tolist() == []
    assert np.isnan(policy.confidence(np.zeros(3), np.zeros(3, int))).all()


def test_fitting_on_a_panel_without_its_experts_lists_those_there():
    board = panel(["0", "1"], {"small": ["0", "1"], "huge": ["0", "1"]})
    with pytest.raises(ConfigError) as error:
        ByScore(PAIR, {}).fit(board, board)
    assert str(error.value) == "Unknown expert 'large'. Known: huge, small."


@pytest.mark.parametrize(
    ("experts", "least", "rows", "error"),
    [
        (("a",), {}, 1, ConfigError("ByScore got experts ['a']. Allowed: at least two, the small one first.")),
        (PAIR, {"folds": 2}, 1, ConfigError("ByScore got folds 1. Allowed: 2 or more.")),
        (PAIR, {}, 0, DataError("train split", "no rows", "one row or more", "Label some items to learn from.")),
    ],
)
def test_what_a_policy_needs_is_said(experts, least, rows, error):
    policy, board = ByScore(experts, {}), panel(["0"] * rows, {"small": ["0"] * rows})
    policy.folds = 1
    with pytest.raises(type(error)) as caught:
        policy._require(board, experts=2, **least)
    assert str(caught.value) == str(error)


class Base(Allocator):
    look = ByScore.look

    def __init__(self, experts, *, epochs=5, hidden=50):
        super().__init__(experts)
        self.epochs, self.hidden = epochs, hidden


class Handing(Base):
    def __init__(self, experts, passes=1, **options):
        super().__init__(experts, **options)
        self.passes = passes


class Inheriting(Handing):
    pass


class Closed(Handing):
    def __init__(self, experts):
        super().__init__(experts, passes=3)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Base, ["experts", "epochs", "hidden"]),
        (Handing, ["experts", "passes", "epochs", "hidden"]),
        (Inheriting, ["experts", "passes", "epochs", "hidden"]),
        (Closed, ["experts"]),
    ],
)
def test_arguments_are_those_that_may_be_given(kind, expected):
    assert sorted(arguments(kind)) == sorted(expected)
    for name in set(expected) - {"experts"}:
        assert getattr(kind(PAIR, **{name: 77}), name) == 77


def test_parameters_make_an_unfitted_clone():
    policy = Handing(PAIR, passes=2, epochs=7)
    assert policy.get_params() == {"experts": PAIR, "passes": 2, "epochs": 7, "hidden": 50}
    assert Handing(**policy.get_params()).get_params() == policy.get_params()


def test_a_policy_is_built_from_its_options_and_what_the_task_gives():
    given = {"experts": PAIR, "random_state": 3, "vectors": None}
    built = policies.build("by_chance", {"kind": "random"}, **given)
    assert (type(built).__name__, built.random_state, built.experts) == ("Random", 3, PAIR)
    assert policies.build("random", {}, **given).random_state == 3
    assert policies.build("random", {"random_state": 9}, **given).random_state == 9
    assert policies.build("length", {}, **given).experts == PAIR


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "mine",
            {"kind": "radnom"},
            "Unknown kind of policy 'mine' 'radnom'. Known: {known}. Did you mean 'random'?",
        ),
        ("mine", {}, "Unknown kind of policy 'mine' 'mine'. Known: {known}."),
        (
            "random",
            {"random_sate": 1},
            "Unknown option of policy 'random' 'random_sate'. Known: experts, random_state. "
            "Did you mean 'random_state'?",
        ),
        *(
            (
                "meta_model",
                {name: "x"},
                f"Unknown option of policy 'meta_model' '{name}'. Known: encoder, experts, features, folds, most, "
                f"random_state, strength.{hint}",
            )
            for name, hint in (("vectors", ""), ("encoded", " Did you mean 'encoder'?"))
        ),
    ],
)
def test_an_unknown_kind_or_option_lists_the_known_ones(name, options, message):
    with pytest.raises(ConfigError) as error:
        policies.build(name, options, experts=PAIR)
    assert str(error.value) == message.format(known=", ".join(sorted(policies.POLICIES)))


def test_a_missing_argument_is_named():
    with pytest.raises(ConfigError) as error:
        policies.build("always", {}, experts=PAIR)
    assert str(error.value) == (
        "Policy 'always': Always.__init__() missing 1 required positional argument: 'expert'. Options: experts, expert."
    )


def test_seconds_of_work_are_billed_to_every_row_alike(monkeypatch):
    ticks = iter([10.0, 12.5])
    monkeypatch.setattr("askless.policies.base.time.perf_counter", lambda: next(ticks))
    board = panel(["0"] * 5, {"small": ["0"] * 5})
    board.cost_model = CostModel("seconds")
    with billed(board):
        pass
    assert board.spent.tolist() == [0.5] * 5
