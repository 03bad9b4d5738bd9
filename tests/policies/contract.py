"""What every policy must keep, as checks of one policy each, and the worlds that they are run on.

A check raises `AssertionError`. A policy is given by its class and its arguments; it says by its class attributes what
does not apply to it.
"""

import json
from functools import cache, cached_property, partial

import numpy as np
import pytest

from askless.bundles.decide import _NeverAsked as Unasked
from askless.config import Price
from askless.costs import CostModel
from askless.errors import BudgetError, ConfigError
from askless.panel import NO_LABEL
from askless.policies.base import BUDGETS, Budget
from askless.policies.state import arguments
from tests.policies import chain_data
from tests.policies.summaries import made as summaries

ROWS = 240
WORDS = np.array(summaries.WORDS)
LITTLE = (None, *(Budget(share=s) for s in (0.3, 0, 1)), Budget(price=0.1), Budget(per_1000=1e6))
FIELDS = ("expert", "label", "score", "confidence", "asked", "cost")


@cache
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


def _labels_that_teach_little(experts):
    """Panels of labelled rows, each made anew by a call."""
    gold, label, logprob, cost = data = chain_data.drawn(30, experts, 22)
    right = np.repeat(gold[:, None], experts, axis=1)
    worlds = {
        "one row": chain_data.part(data, slice(0, 1)),
        "one class": (gold * 0, label * 0, logprob, cost),
        "all right": (gold, right, logprob, cost),
        "all wrong": (gold, (right + 1) % 3, logprob, cost),
        "nobody answers": (gold, np.full_like(label, NO_LABEL), logprob, cost),
        "nothing stated": (gold, label, np.full_like(logprob, np.nan), cost),
        "minus infinity": (gold, label, np.full_like(logprob, -np.inf), cost),
        "certainty": (gold, label, np.zeros_like(logprob), cost),
        "no cost": (gold, label, logprob, cost * 0),
        "equal cost": (gold, label, logprob, np.ones_like(cost)),
    }
    return {name: partial(chain_data.board, *given) for name, given in worlds.items()}


def _texts_that_teach_little(experts):
    """Panels of summarised documents, each made anew by a call."""
    names = tuple(summaries.PRICES)[:experts]

    def made(rows=30, quality=None, text="", logprob=None, **options):
        panel = summaries.world(rows, 22, names=names, stated=True, **options)
        for j, name in enumerate(names):
            expert = panel._experts[name]
            if quality is not None:
                expert.quality = np.full(rows, quality)
            if text is None:
                expert.texts = [None] * rows
            expert.logprob = (
                np.log(np.clip(panel.quality_of[:, j], 0.01, 0.99)) if logprob is None else [logprob] * rows
            )
        return panel

    worlds = {
        "one row": {"rows": 1},
        "all the same": {"quality": 0.4},
        "all perfect": {"quality": 1.0},
        "nobody answers": {"quality": 0.0, "text": None},
        "minus infinity": {"logprob": -np.inf},
        "certainty": {"logprob": 0.0},
        "no cost": {"prices": dict.fromkeys(summaries.PRICES, 0.0)},
    }
    return {name: partial(made, **given) for name, given in worlds.items()}


class Case:
    """A policy on one of the worlds: `fit` makes and fits it anew, `test` gives the rows to decide."""

    quick = {"epochs": 1, "trees": 2, "allocator_epochs": 1, "members": 1}

    def __init__(self, kind, world, **options):
        self.kind, self.world, self.options = kind, world, options
        self.experts = 2 if kind.pair else 3

    def make(self):
        """The policy, unfitted."""
        names = self.world(experts=self.experts, rows=slice(0, 0)).experts
        if self.kind.brings:
            names = ("network", *names[1:])
        options = {**self.quick, "vectors": summaries.vectors(), "expert": names[-1], "random_state": 3}
        allowed = arguments(self.kind)
        return self.kind(names, **{name: value for name, value in options.items() if name in allowed} | self.options)

    def fit(self, policy=None):
        """The policy, fitted on two worlds."""
        policy = self.make() if policy is None else policy
        return policy.fit(self.world(0, self.experts), self.world(1, self.experts))

    @cached_property
    def fitted(self):
        """The policy, fitted once for all checks, none of which may change it."""
        return self.fit()

    def test(self, **options):
        """Rows that it has not seen."""
        return self.world(2, self.experts, blind=True, **options)

    def little(self):
        """Worlds that teach little, by name."""
        return (_labels_that_teach_little if self.world is labelled else _texts_that_teach_little)(self.experts)

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
    policy = case.fitted
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
    policy, order = case.fitted, np.random.default_rng(0).permutation(ROWS)
    for budget in case.budgets():
        whole = policy.decide(case.test(), budget)
        alike(policy.decide(case.test().take(order, blind=True), budget), whole, order)
        for row in range(0, ROWS, 60):
            alike(policy.decide(case.test().take(np.array([row]), blind=True), budget), whole, [row])


def a_look_serves_many_budgets(case):
    """What an earlier look has seen decides as a fresh one."""
    policy, base = case.fitted, case.test()
    seen = policy.look(base)
    for budget in case.budgets():
        one, other = policy.decide(base.copy(), budget, seen), policy.decide(case.test(), budget)
        alike(one, other)
        for mine, theirs in zip(one.steps, other.steps, strict=True):
            assert np.array_equal(mine.rows, theirs.rows)
            np.testing.assert_allclose(mine.score, theirs.score, rtol=1e-5, atol=1e-6)


def a_clone_learns_the_same(case):
    """`get_params` makes an unfitted clone."""
    policy = case.fitted
    twin = type(policy)(**policy.get_params())
    assert not any(name.endswith("_") for name in vars(twin))
    case.fit(twin)
    for budget in case.budgets():
        alike(twin.decide(case.test(), budget), policy.decide(case.test(), budget))


def what_was_learnt_goes_through_json(case, folder):
    """State and files make another policy decide the same, where it says `kept` or `in_plans`."""
    if not (case.kind.kept or case.kind.in_plans):
        return
    policy = case.fitted
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
    policy = case.fitted
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


def what_it_reads_is_billed(case):
    """A policy that looks at texts bills the seconds that this takes, where the decider has a price."""
    if case.kind.reads_text:
        panel = case.test()
        panel.cost_model = CostModel(prices={**panel.cost_model.prices, "decider": Price(usd_per_hour=3600.0)})
        done = case.fitted.decide(panel)
        assert (done.cost > sum(panel.bill(name) for name in panel.experts)).all()


def a_cost_that_pays_nobody_is_refused(case):
    """With what is allowed."""
    if "per_1000" in case.kind.budgets:
        with pytest.raises(
            BudgetError, match=r"^A budget of 1e-06 .*is under the least cost.* Allowed: at least that\.$"
        ):
            case.fitted.decide(case.test(), Budget(per_1000=1e-6))


def what_teaches_little_is_decided_all_the_same(case):
    """One row, one class, experts that are always right or never answer, that state nothing or cost nothing."""
    for name, made in case.little().items():
        for held, budgets in ((made(), LITTLE), (made().take(np.empty(0, np.int64)), LITTLE[:2])):
            policy = case.make().fit(made(), held)
            panel = made(blind=True)
            assert not len(policy.decide(panel.take(np.empty(0, np.int64), blind=True)).label)
            for budget in budgets:
                if budget is not None and budget.kind not in case.kind.budgets:
                    continue
                done = policy.decide(panel.copy(), budget)
                assert np.isfinite(done.cost).all(), name
                assert np.isnan(done.confidence[done.label == NO_LABEL]).all(), name
                stated = done.confidence[~np.isnan(done.confidence)]
                assert ((stated >= 0) & (stated <= 1)).all(), name


def it_explains_what_it_did(case):
    """Of each step, the rows under their threshold are those that went beyond; without steps all are decided alike.

    A look at all experts' answers says whether the small one's is kept.
    """
    policy = case.fitted
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
    policy = case.fitted
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
    what_it_reads_is_billed(case)
    a_cost_that_pays_nobody_is_refused(case)
    what_teaches_little_is_decided_all_the_same(case)
    it_explains_what_it_did(case)
    its_attributes_are_true(case)
