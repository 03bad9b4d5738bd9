"""The contract of `tests.policies.contract`, over every registered policy, and policies that must not pass it."""

import numpy as np
import pytest

from askless.policies import POLICIES, resolve
from askless.policies.base import Chooser
from askless.policies.score_threshold import ScoreThreshold
from tests.policies import contract
from tests.policies.contract import Case, graded, labelled

CASES = [
    pytest.param(name, world, id=f"{name}-{world.__name__}")
    for name in POLICIES
    for world, for_it in ((labelled, resolve(name, name).labels), (graded, resolve(name, name).graded))
    if for_it
]


@pytest.mark.parametrize(("name", "world"), CASES)
def test_every_policy_keeps_the_contract(name, world, tmp_path):
    contract.check(Case(resolve(name, name), world), tmp_path)


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
