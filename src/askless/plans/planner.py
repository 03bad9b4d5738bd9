"""Chooses a policy for a goal by what became of labelled rows it was not fitted on, and says what it promises."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow.compute as pc

from askless import policies as registry
from askless import schema
from askless.arrays import Bools
from askless.data.recorded import Study
from askless.errors import ConfigError, DataError
from askless.panel import Answers, Panel
from askless.plans.boards import Boards
from askless.plans.floors import Truth, gold_of, groups_of, judged
from askless.plans.options import Option
from askless.plans.plan import Goal, Plan
from askless.plans.search import ENOUGH, Search
from askless.stats.bounds import BOUNDS
from askless.stats.uncertainty import confidence

FOLDS = 5
TO_FIT = 0.4
CERTIFY = ("cross", "split")
NOTHING: Mapping[str, int] = MappingProxyType({})


def make_plan(study: Study, goal: Goal, reference: str | None = None, **search: Any) -> Plan:
    """The plan for `goal` from recorded answers: which experts to ask, in which order, until which threshold.

    Parameters
    ----------
    study
        Labelled items and what each expert answered, as `askless.read_study` gives them. The plan is made on its train
        and valid items; its test items are left alone. Certified by `split`, valid items are those that certify.
    goal
        Floors, a spend limit, or a budget.
    reference
        The expert that a floor is held against; by default the costliest.
    **search
        `kinds`, `bound`, `certify`, `learnt`, `most_per_item`, `folds`, `random_state` and `say` of `plan_on`.

    Returns
    -------
    Plan
        Ready to decide; `words()` says what is planned and what is promised.

    Raises
    ------
    ConfigError
        For an unknown expert, class, kind of policy or way to certify.
    DataError
        For too few labelled items.
    BudgetError
        For a budget that nothing can keep.
    """
    split = study.examples["split"].filter(pc.not_equal(study.examples["split"], "test"))
    held = np.asarray(pc.equal(split, "valid").to_numpy(zero_copy_only=False), bool)
    told = {name: schema.meta_of(study.answers[name]).get(schema.MAX_TOKENS) for name in study.experts}
    search = {
        "held": held if held.any() else None,
        "texts": study.has_text,
        "ordered": study.ordered,
        "max_tokens": {name: longest for name, longest in told.items() if longest},
        **search,
    }
    return plan_on(Boards.labelled(study).train, study.experts, goal, reference, **search)


def plan_on(
    labelled: Panel,
    experts: Sequence[str],
    goal: Goal,
    reference: str | None = None,
    *,
    kinds: Sequence[str] | None = None,
    bound: str = "exact",
    certify: str = "cross",
    held: Bools | None = None,
    most_per_item: float | None = None,
    max_tokens: Mapping[str, int] = NOTHING,
    texts: bool = True,
    learnt: Collection[str] = (),
    ordered: bool = False,
    folds: int = FOLDS,
    random_state: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> Plan:
    """The plan for `goal` from all rows of a labelled panel, none of them of the test split.

    Parameters
    ----------
    labelled
        Rows with gold labels, every answer at hand.
    experts
        Names of the experts that may be asked.
    goal
        Floors, a spend limit, or a budget.
    reference
        The expert that a floor is held against; by default the costliest.
    kinds
        Kinds of policy that are tried beside each expert alone; one for two experts is tried from every cheaper expert
        to the reference, and for a budget with every pair. By default `two_tier` for two experts, `planned` for more;
        for a floor `two_tier`, and `planned` where there are three experts and 1,000 rows, or four experts. From an
        expert that states no confidence `query_allocator` takes the place of `two_tier`, with texts and 1,000 rows.
    bound
        The test of a floor of quality: `exact` counts rows that only the cheaper expert gets right against those that
        only the reference does; `clopper_pearson` counts the latter alone and saves less; `betting`. One expert is
        always tested by `exact`.
    certify
        `cross`: by policies that each lacked a fold, while the one that decides is fitted on all rows. `split`: by rows
        that it was not fitted on, and it is not fitted again, so that the promise is a theorem.
    held
        For `split`, the rows that certify, (rows,): those from which no expert has learnt. By default six in ten are
        drawn.
    most_per_item
        What no item ever costs more than, in the unit of cost; by default what an answer of each expert comes to
        together, the costliest seen or, where it is known, the longest, which a promise of spending then assumes.
    max_tokens
        Expert to the longest that its reply can be, in tokens, where it is known.
    texts
        Whether items have texts of their own, from which a policy may learn.
    learnt
        Experts that have learnt from rows that do not certify: promises are certified by `split` alone then.
    ordered
        Keep the order of the experts, in which `chain` then asks all of them; else it is that of their mean cost.
    folds
        Folds of the cross-fitting.
    random_state
        Seed of the folds, of the rows held out, and of policies that draw.
    say
        Is told what is being done.

    Returns
    -------
    Plan
        What it promises was measured on rows that its policy was not fitted on.

    Raises
    ------
    ConfigError
        For an unknown expert, class, kind of policy, bound or way to certify, and for a kind that cannot be kept.
    DataError
        For fewer than two rows a fold, and for an item that cost more than `most_per_item`.
    BudgetError
        For a budget that nothing can keep.
    """
    if len(labelled) < 2 * folds:
        got, allowed = f"{len(labelled)}", f"at least {2 * folds}, to hold some out {folds} times"
        raise DataError("labelled rows", got, allowed, "Label more.")
    if reference is not None and reference not in experts:
        raise ConfigError.unknown("expert", reference, experts)
    _check(certify, bound, kinds or ())
    if learnt and certify == "cross" and (goal.floors or goal.limit is not None):
        raise ConfigError(
            "Certified by cross, beside a small model that learns from the same labels. Allowed for what is promised: "
            "split, by labels that it has not learnt from."
        )
    every, nobody = np.arange(len(labelled)), np.zeros(len(labelled), bool)
    alone, silent = {}, set()
    for name in experts:
        answers = labelled.copy().ask(name)
        if np.isnan(confidence(answers, "auto")).all():
            silent.add(name)
        right = right_of(labelled, answers)
        label = answers.label if labelled.classes else judged(right)
        alone[name] = Option("always", (name,), None, every, label, right, answers.cost, nobody)
    rising = tuple(sorted(experts, key=lambda e: (alone[e].mean_cost, e)))
    reference, experts = reference or rising[-1], tuple(experts) if ordered else rising
    truth = Truth(gold_of(labelled), alone[reference].right, groups_of(labelled))
    if held is None:
        held = held_out(len(labelled), random_state)
    asked = None if kinds is None else tuple(kind for kind in kinds if kind != "always")
    # Where nothing is stated a threshold would be set on chance.
    allocated = frozenset(silent) if texts and len(labelled) >= ENOUGH else frozenset()
    asks = tuple(goal.requirements(labelled.classes, truth.groups))
    search = Search(
        labelled=labelled,
        experts=experts,
        goal=goal,
        asks=asks,
        reference=reference,
        alone=alone,
        truth=truth,
        kinds=asked,
        allocated=allocated,
        bound=bound,
        certify=certify,
        held=held,
        learnt=frozenset(learnt),
        ordered=ordered,
        most_per_item=most_per_item,
        max_tokens=max_tokens,
        folds=folds,
        random_state=random_state,
        say=say,
    )
    return search.plan()


def _check(certify: str, bound: str, kinds: Sequence[str]) -> None:
    for what, name, known in (("way to certify", certify, CERTIFY), ("bound", bound, BOUNDS)):
        if name not in known:
            raise ConfigError.unknown(what, name, known)
    for kind in kinds:
        if not (registry.resolve(kind, kind).kept or registry.resolve(kind, kind).in_plans):
            names = [*registry.able("kept"), *registry.able("in_plans")]
            able = ", ".join(name for name in names if registry.resolve(name, name).budgets)
            raise ConfigError(f"Policy '{kind}' cannot be kept, and a plan keeps what was learnt. Allowed: {able}.")


def held_out(rows: int, random_state: int) -> Bools:
    """Which of some labelled rows certify by `split`, where nobody says it: six in ten, (rows,)."""
    return np.asarray(np.random.default_rng(random_state).permutation(rows) >= round(TO_FIT * rows))


def right_of(panel: Panel, answers: Answers) -> Bools:
    """Which answers are right, (n,); raises `DataError` where some were judged to be neither right nor wrong."""
    quality = panel.quality(answers)
    if not np.isin(quality, (0, 1)).all():
        got = f"a quality of {quality[(quality != 0) & (quality != 1)][0]:g}"
        remedy = "Judge them as right or wrong, in a column correct; `askless evaluate` takes any quality from 0 to 1."
        raise DataError(f"answers of '{answers.expert}'", got, "0 or 1: a plan counts right answers", remedy)
    return np.asarray(quality == 1)
