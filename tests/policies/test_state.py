"""What was learnt as plain values, of every kind that is learnt."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from askless.arrays import Bools, Floats, Ints
from askless.policies.planned.first_threshold import FirstThreshold
from askless.policies.planned.gain_rule import GainRule
from askless.policies.planned.subchains import Subchains
from askless.policies.planned.walk import outcomes
from askless.policies.state import plain, restored
from askless.policies.summaries.regression import Stacked
from tests.policies.answered import made


@dataclass(frozen=True)
class Pair:
    """Two values."""

    left: int
    right: str | None


class Learner:
    """Has an argument, and learns."""

    pairs_: tuple[Pair, ...]
    rows_: Ints

    def __init__(self, depth: int = 1) -> None:
        self.depth = depth


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (int, 3),
        (float, -np.inf),
        (bool, True),
        (str, "a"),
        (str | None, None),
        (list[float], [0.1, 2.0]),
        (tuple[int, str], (1, "b")),
        (tuple[float, ...], ()),
        (dict[int, tuple[float, bool]], {3: (0.5, False)}),
        (Pair, Pair(1, None)),
        (Pair | None, Pair(1, "c")),
    ],
    ids=str,
)
def test_values_come_back_from_json(hint, value):
    assert restored(hint, json.loads(json.dumps(plain(value)))) == value


@pytest.mark.parametrize(("hint", "value"), [(Floats, [[0.5, np.nan]]), (Ints, [1, 2]), (Bools, [True, False])])
def test_arrays_come_back_of_their_own_kind(hint, value):
    array = np.array(value)
    again = restored(hint, json.loads(json.dumps(plain(array))))
    np.testing.assert_array_equal(again, array)
    assert again.dtype == array.dtype


def test_of_an_object_the_arguments_and_what_is_annotated_are_kept():
    learner = Learner(4)
    learner.pairs_, learner.rows_, learner.scratch_ = (Pair(1, "a"),), np.arange(3), "not kept"
    value = plain(learner)
    assert value == {"depth": 4, "pairs_": [{"left": 1, "right": "a"}], "rows_": [0, 1, 2]}
    again = restored(Learner, value)
    assert (again.depth, again.pairs_, again.rows_.tolist()) == (4, learner.pairs_, [0, 1, 2])
    with pytest.raises(KeyError, match="rows_"):
        restored(Learner, {"depth": 4, "pairs_": []})


@pytest.mark.parametrize(
    "rule",
    [GainRule(), GainRule(votes=True, most=2), Subchains(levels=3), FirstThreshold()],
    ids=["gain rule", "gain rule with votes", "subchains", "first threshold"],
)
def test_a_rule_comes_back_among_others_and_does_the_same(rule):
    seen = made(150, (0.6, 0.9), (1.0, 10.0)) if isinstance(rule, FirstThreshold) else made(150)
    value = json.loads(json.dumps(plain(rule.fit(seen))))
    again = restored(GainRule | FirstThreshold | Subchains, value)
    assert type(again) is type(rule)
    for mine, theirs in zip(outcomes(rule, seen), outcomes(again, seen), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("n", [10, 60])
@pytest.mark.parametrize("earlier", [True, False])
def test_a_regression_comes_back(n, earlier):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, 4)), rng.normal(size=(n, 2))
    given = y[:, ::-1] if earlier else None
    model = Stacked(trees=5).fit(x, y, given)
    twin = restored(Stacked, json.loads(json.dumps(plain(model))))
    assert twin.predict(x, given).tolist() == model.predict(x, given).tolist()
