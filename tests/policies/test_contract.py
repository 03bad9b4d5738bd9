"""The contract of `tests.policies.contract`, over every registered policy, and policies that must not pass it."""

import numpy as np
import pytest

from askless.policies import POLICIES, resolve
from askless.policies.base import Chooser
from askless.policies.operating_points import NOBODY
from askless.policies.score_threshold import ScoreThreshold
from tests.policies import contract
from tests.policies.contract import Case, graded, labelled

# Other ways of a policy than its own, tried in its first world.
OPTIONS = {
    "two_tier": [{"straight": False}],
    "chain": [{"aggregate": "last"}, {"aggregate": "rank"}],
    "chain_rank": [{"rank": False}],
    "planned": [{"method": "gain"}, {"method": "search"}],
    "team_gain": [{"look_at": "small"}],
    "summary_gain": [{"look_at": "small", "straight": False}],
}


def worlds(name):
    """Those that a policy is for, its own first."""
    kind = resolve(name, name)
    found = [world for world, for_it in ((labelled, kind.labels), (graded, kind.graded)) if for_it]
    return found[::-1] if name == "summary_gain" else found


CASES = [
    pytest.param(name, world, options, id="-".join([name, world.__name__, *map(str, options.values())]))
    for name in POLICIES
    for first, *others in [worlds(name)]
    for world, options in [
        (first, {}),
        *((first, given) for given in OPTIONS.get(name, [])),
        *((w, {}) for w in others),
    ]
]


@pytest.mark.parametrize(("name", "world", "options"), CASES)
def test_every_policy_keeps_the_contract(name, world, options, tmp_path):
    contract.check(Case(resolve(name, name), world, **options), tmp_path)


def test_a_policy_that_may_skip_the_small_one_spends_what_it_says():
    case = Case(resolve("summary_gain", "summary_gain"), graded, look_at="small")
    contract.it_spends_what_it_says(case)
    contract.a_row_is_decided_alone_as_in_a_batch(case)
    contract.what_teaches_little_is_decided_all_the_same(case)


class ByPosition(ScoreThreshold):
    """Draws by the place and the number of rows, not by the id."""

    def score(self, panel):
        return np.random.default_rng([self.random_state, len(panel)]).random(len(panel))


class ByBatch(Chooser):
    """Defers the share of the rows that it is shown, and knows no other budget."""

    pair = True

    def __init__(self, experts):
        self.experts = experts

    def look(self, panel):
        return np.array([len(text) for text in panel.text], float)

    def choose(self, seen, budget):
        share = 0.3 if budget is None else budget.share
        return (np.argsort(np.argsort(seen, kind="stable")) < round(share * len(seen))).astype(np.int64)


class Forgetful(ScoreThreshold):
    """Keeps what it has learnt under a name that no annotation tells of."""

    def learn(self, train):
        self.longest_ = max(map(len, train.text))

    def score(self, panel):
        return self.longest_ - np.array([len(text) for text in panel.text], float)


class Spendthrift(ByPosition):
    """Takes any cost."""

    def threshold(self, budget):
        return NOBODY


class Particular(ByPosition):
    """Needs a second row."""

    def learn(self, train):
        self.second_ = train.text[1]


class Silent(ByPosition):
    """Reads the text, and says that it does not."""

    def score(self, panel):
        return np.array([len(text) for text in panel.text], float)


@pytest.mark.parametrize("kind", [ByPosition, ByBatch])
def test_a_policy_that_looks_at_the_rows_beside_is_found_out(kind):
    case = Case(kind, labelled)
    case.budgets = lambda: [None]
    with pytest.raises(AssertionError):
        contract.a_row_is_decided_alone_as_in_a_batch(case)


def test_a_policy_that_dies_on_a_budget_is_found_out():
    with pytest.raises(TypeError):
        contract.budgets_are_taken_or_refused(Case(ByBatch, labelled))


def test_a_policy_that_takes_any_cost_is_found_out():
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        contract.a_cost_that_pays_nobody_is_refused(Case(Spendthrift, labelled))


def test_a_policy_that_needs_many_rows_is_found_out():
    with pytest.raises(IndexError):
        contract.what_teaches_little_is_decided_all_the_same(Case(Particular, labelled))


def test_a_policy_that_explains_nothing_is_found_out():
    case = Case(ByBatch, labelled)
    case.budgets = lambda: [None]
    with pytest.raises(AssertionError):
        contract.it_explains_what_it_did(case)


def test_a_policy_that_forgets_is_found_out(tmp_path):
    with pytest.raises(AttributeError, match="longest_"):
        contract.what_was_learnt_goes_through_json(Case(Forgetful, labelled), tmp_path)


def test_a_policy_whose_attributes_are_not_true_is_found_out():
    with pytest.raises(AssertionError):
        contract.its_attributes_are_true(Case(Silent, labelled))
