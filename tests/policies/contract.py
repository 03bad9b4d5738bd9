"""What every policy must keep, as checks of one policy each, and the worlds that they are run on.

A check raises `AssertionError`. A policy is given by its class and its arguments; it says by its class attributes what
does not apply to it.
"""

import json
from functools import cache

import numpy as np
import pytest

from askless.bundles.decide import _NeverAsked as Unasked
from askless.errors import BudgetError, ConfigError
from askless.panel import NO_LABEL
from askless.policies.base import BUDGETS, Budget
from askless.policies.state import arguments
from tests.policies import chain_data
from tests.policies.summaries import made as summaries

ROWS = 240
WORDS = np.array(summaries.WORDS)
FIELDS = ("expert", "label", "score", "confidence", "asked", "cost")


def texts(n, seed):
    """Texts of words that have a vector, of different lengths."""
    rng = np.random.default_rng([seed, n])
    return [" ".join(rng.choice(WORDS, k)) for k in rng.integers(2, 14, n)]


@cache
def _labelled(seed, experts):
    return chain_data.drawn(ROWS, experts, seed, ties=6, silent=0.05, unstated=0.05)


def labelled(seed=0, experts=2, *, blind=False, rows=slice(None), text=None):
    """A panel of experts e0, e1, ... who answer with labels; a tenth of the rows have no answer or no confidence."""
    data = chain_data.part(_labelled(seed, experts), rows)
    words = texts(ROWS, seed) if text is None else text
    return chain_data.board(*data, blind=blind, text=np.array(words)[rows].tolist())


def graded(seed=0, experts=2, *, blind=False, rows=slice(None), text=None):
    """A panel of experts who answer with summaries, all of which state a log-probability."""
    names = tuple(summaries.PRICES)[:experts]
    panel = summaries.world(ROWS, seed, names=names, blind=blind, silent=0.05, stated=True)
    for j, name in enumerate(names):
        panel._experts[name].logprob = np.log(np.clip(panel.quality_of[:, j], 0.01, 0.99))
    return panel if rows == slice(None) else panel.take(np.arange(ROWS)[rows], blind=blind)


class Case:
    """A policy on one of the worlds: `fit` makes and fits it anew, `test` gives the rows to decide."""

    quick = {"epochs": 1, "trees": 5, "allocator_epochs": 1, "members": 1}

    def __init__(self, kind, world):
        self.kind, self.world = kind, world
        self.experts = 2 if kind.pair else 3

    def make(self):
        """The policy, unfitted."""
        names = self.world(experts=self.experts, rows=slice(0, 0)).experts
        options = {**self.quick, "vectors": summaries.vectors(), "expert": names[-1], "random_state": 3}
        allowed = arguments(self.kind)
        return self.kind(names, **{name: value for name, value in options.items() if name in allowed})

    def fit(self, policy=None):
        """The policy, fitted on two worlds."""
        policy = self.make() if policy is None else policy
        return policy.fit(self.world(0, self.experts), self.world(1, self.experts))

    def test(self, **options):
        """Rows that it has not seen."""
        return self.world(2, self.experts, blind=True, **options)

    def budgets(self):
        """None, and for each kind of budget that the policy takes one that is neither nothing nor everything."""
        asked = [self.world(1, self.experts).ask(name).cost.mean() for name in self.test().experts]
        middle = {"share": 0.4, "per_1000": 1000 * (asked[0] + 0.5 * (asked[-1] - asked[0])), "price": 0.02 / asked[-1]}
        return [None, *(Budget(**{kind: middle[kind]}) for kind in self.kind.budgets)]


def alike(one, other, rows=slice(None), *, but=()):
    """Whether two decisions are the same, the second of these rows."""
    for name in FIELDS:
        if name not in but:
            mine, theirs = getattr(one, name), getattr(other, name)[rows]
            # Networks of single precision round by the size of the batch.
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6, err_msg=name)


def budgets_are_taken_or_refused(case):
    """Each kind that it says it takes works; any other is refused, or changes nothing."""
    policy = case.fit()
    for budget in case.budgets():
        done = policy.decide(case.test(), budget)
        assert len(done.expert) == ROWS
        assert np.isfinite(done.cost).all()
    own = policy.decide(case.test())
    for kind in set(BUDGETS) - set(case.kind.budgets):
        try:
            alike(policy.decide(case.test(), Budget(**{kind: 0.5})), own)
        except BudgetError:
            continue


def a_row_is_decided_alone_as_in_a_batch(case):
    """One row, the batch, and the batch in another order: the same decisions, unless it says `whole_batch`."""
    if case.kind.whole_batch:
        return
    policy, order = case.fit(), np.random.default_rng(0).permutation(ROWS)
    for budget in case.budgets():
        whole = policy.decide(case.test(), budget)
        alike(policy.decide(case.test().take(order, blind=True), budget), whole, order)
        for row in range(0, ROWS, 20):
            alike(policy.decide(case.test().take(np.array([row]), blind=True), budget), whole, [row])


def a_look_serves_many_budgets(case):
    """What an earlier look has seen decides as a fresh one."""
    policy, base = case.fit(), case.test()
    seen = policy.look(base)
    for budget in case.budgets():
        alike(policy.decide(base.copy(), budget, seen), policy.decide(case.test(), budget))


def a_clone_learns_the_same(case):
    """`get_params` makes an unfitted clone."""
    policy = case.fit()
    twin = type(policy)(**policy.get_params())
    assert not any(name.endswith("_") for name in vars(twin))
    case.fit(twin)
    for budget in case.budgets():
        alike(twin.decide(case.test(), budget), policy.decide(case.test(), budget))


def what_was_learnt_goes_through_json(case, folder):
    """State and files make another policy decide the same, where it says `kept`."""
    if not case.kind.kept:
        return
    policy = case.fit()
    policy.write(folder)
    twin = type(policy)(**policy.get_params()).restore(json.loads(json.dumps(policy.state())))
    if policy.brought() is not None:
        twin.read(folder, Brought(policy.brought()))
    assert twin.state() == policy.state()
    for budget in case.budgets():
        alike(twin.decide(case.test(), budget), policy.decide(case.test(), budget))


class Brought:
    """A small expert as a bundle restores it."""

    def __init__(self, model):
        self.model_ = model


def it_spends_what_it_says(case):
    """The panel's bill is the decisions' cost, and on the rows that thresholds were set on it is within the budget."""
    policy = case.fit()
    for budget in case.budgets():
        panel = case.test()
        done = policy.decide(panel, budget)
        np.testing.assert_allclose(done.cost, panel.spent)
        assert np.array_equal(done.asked, panel.asked_of(done.experts))
        answered = done.label != NO_LABEL
        assert done.asked[np.arange(ROWS), done.expert][answered].all()
        if budget is None or budget.price is not None:
            continue
        known = policy.decide(case.world(1, case.experts, blind=True), budget)
        spent = known.asked[:, 1:].any(axis=1) if budget.kind == "share" else 1000 * known.cost
        # Ties are settled by draws: three standard errors.
        assert spent.mean() <= budget.value + 3 * spent.std() / np.sqrt(ROWS) + 1e-9


def it_explains_what_it_did(case):
    """Of each step, the rows under their threshold are those that went beyond; without steps all are decided alike.

    A look at all experts' answers says whether the small one's is kept.
    """
    policy = case.fit()
    for budget in case.budgets():
        done = policy.decide(case.test(), budget)
        if not done.steps:
            assert len(np.unique(done.asked, axis=0)) == 1
        for step in done.steps:
            under = np.where(np.isnan(step.score), -np.inf, step.score) < step.threshold
            at = done.experts.index(step.expert) if step.expert else 0
            last = at == len(done.experts) - 1
            beyond = done.expert > 0 if last and under.any() else done.asked[:, at + 1 :].any(axis=1)
            assert np.array_equal(under, beyond[step.rows]), step.expert


def its_attributes_are_true(case):
    """It reads no text, and no costlier expert's answer, unless it says so; it refuses what it is not for."""
    policy = case.fit()
    for budget in case.budgets():
        done = policy.decide(case.test(), budget)
        if not case.kind.reads_text and case.world is labelled:
            alike(policy.decide(case.test(text=["."] * ROWS), budget), done)
        if case.kind.decides_alone:
            panel = case.test()
            for name in panel.experts[1:]:
                panel._experts[name] = Unasked(name, panel.classes)
            assert np.array_equal(policy.decide(panel, budget).asked[:, 1:], done.asked[:, 1:])
    if case.kind.pair:
        with pytest.raises(ConfigError, match="Allowed: two, the small one and the large one"):
            three = case.world(0, 3)
            case.kind(**{**case.make().get_params(), "experts": three.experts}).fit(three, three)
    if not case.kind.graded:
        with pytest.raises(ConfigError, match="For summaries choose one of two_tier, query_allocator, chain"):
            case.kind(**{**case.make().get_params(), "experts": graded().experts[: case.experts]}).fit(
                graded(), graded()
            )


def check(case, folder):
    """The whole contract."""
    budgets_are_taken_or_refused(case)
    a_row_is_decided_alone_as_in_a_batch(case)
    a_look_serves_many_budgets(case)
    a_clone_learns_the_same(case)
    what_was_learnt_goes_through_json(case, folder)
    it_spends_what_it_says(case)
    it_explains_what_it_did(case)
    its_attributes_are_true(case)
