"""Floors of classes and of groups: tested on their rows, told in words, and kept on rows not seen."""

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import f1_score

from askless.costs import CostModel
from askless.errors import ConfigError
from askless.panel import Panel
from askless.plans.floors import MacroF1, Requirement, Truth, gold_of, groups_of, judged, requirements
from askless.plans.outcome import outcome_of
from askless.plans.plan import Goal
from askless.plans.planner import plan_on
from askless.stats.bounds import macro_f1_span
from tests.helpers import CLASSES, Told, examples
from tests.plan_data import board

PAIR = ("small", "large")
GOLD = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
SAID = np.array([0, 0, 1, 1, 1, 1, 1, 1, 1, 0])
TRUTH = Truth(GOLD, np.arange(10) > 0, np.array(["a", "b"] * 5))


@pytest.mark.parametrize(
    ("asked", "loss"),
    [
        (Requirement("quality", 0.1), [-1, 0, 1, 1, 0, 0, 0, 0, 0, 1]),
        (Requirement("recall", 0.1, 0, "0"), [0, 0, 1, 1]),
        (Requirement("precision", 0.1, 1, "1"), [1, 1, 0, 0, 0, 0, 0]),
        (Requirement("recall", 0.1, 1, "1", "b"), [0, 0, 1]),
        (Requirement("quality", 0.1, group="a"), [-1, 1, 0, 0, 0]),
    ],
)
def test_what_is_lost_is_counted_on_the_rows_it_is_about(asked, loss):
    assert asked.loss(SAID, TRUTH).tolist() == loss


def test_a_class_is_tested_by_the_exact_binomial_test():
    asked = Requirement("recall", 0.4, 1, "1")
    assert asked.p_value(SAID, TRUTH, "exact", 0.05) == pytest.approx(binom.cdf(1, 6, 0.4))
    assert Requirement("recall", 0.4, 5, "?").p_value(SAID, TRUTH, "exact", 0.05) == 1.0
    assert asked.needed(SAID, TRUTH, "exact", 0.95) == np.ceil(
        10 / 6 * Requirement("quality", 0.4).needed(np.array([0, 1, 1, 1, 1, 1]), _alone(), "clopper_pearson", 0.95)
    )


def _alone():
    return Truth(np.ones(6, np.int64), np.ones(6, bool), np.array(["a"] * 6))


def test_what_was_asked_and_what_came_of_it_in_words():
    asked = requirements(0.97, {"1": 0.9}, {"0": 0.5}, 0.4, ("0", "1"), ["a"])
    assert [each.words() for each in asked] == [
        "a quality of at most 3 points below the reference in group 'a'",
        "a macro-F1 of at least 40 % in group 'a'",
        "a recall of '1' of at least 90 % in group 'a'",
        "a precision of '0' of at least 50 % in group 'a'",
    ]
    assert asked[0].outcome(SAID, TRUTH, "large", 0.95) == "loss against large in group 'a' +0.0 points, 3 allowed"
    assert asked[2].outcome(SAID, TRUTH, "large", 0.95) == (
        "recall of '1' in group 'a' 100.0 [29.2, 100.0] % of 3 items, at least 90 asked"
    )
    assert [each.held(SAID, TRUTH) for each in asked] == [True] * 4
    assert not Requirement("recall", 0.4, 0, "0").held(SAID, TRUTH)
    with pytest.raises(ConfigError, match="Unknown class 'hatful'. Known: hateful, normal. Did you mean 'hateful'?"):
        requirements(None, {"hatful": 0.9}, {}, None, ("hateful", "normal"), None)
    for what, recall, macro_f1 in (("macro-F1", {}, 0.8), ("recall", {"yes": 0.9}, None)):
        with pytest.raises(
            ConfigError, match=f"^A floor of {what}, and answers that were judged already have no class"
        ):
            requirements(None, recall, {}, macro_f1, (), None)


def test_a_macro_f1_is_the_usual_one_with_an_interval_of_all_classes_at_once():
    asked = MacroF1(0.4, 3)
    value = f1_score(GOLD, SAID, labels=[0, 1, 2], average="macro", zero_division=0)
    assert asked.outcome(SAID, TRUTH, "large", 0.95).startswith(f"macro-F1 {100 * value:.1f} [")
    assert asked.held(SAID, TRUTH) == (value >= 0.6)
    assert macro_f1_span(np.array([0, 5, 0]), np.array([0, 5, 4]), 0.05) == pytest.approx(
        ((2 * 0.05**0.2 / (1 + 0.05**0.2)) / 3, (1 + 1 + 2 / (1 + 1 / (1 - 0.05**0.25))) / 3)
    )
    p = MacroF1(0.7, 2).p_value(SAID, TRUTH, "exact", 0.05)
    assert macro_f1_span(np.array([2, 5]), np.array([5, 8]), p / 2)[0] == pytest.approx(0.3)


@pytest.mark.parametrize("true", [[[0.86, 0.03], [0.04, 0.07]], [[0.3, 0.1, 0.02], [0.05, 0.3, 0.03], [0, 0.02, 0.18]]])
def test_a_promise_of_macro_f1_is_broken_in_at_most_delta_and_kept_with_so_many_labels(true):
    """400 samples of answers whose macro-F1 is known: the share that certifies just that, and a bit less."""
    true, rng, k = np.array(true), np.random.default_rng(3), len(true)
    gold, label = np.divmod(np.arange(k * k), k)
    value = float(np.mean(2 * np.diag(true) / (true.sum(axis=0) + true.sum(axis=1))))
    just, less = MacroF1(1 - value, k), MacroF1(1 - value + 0.06, k)

    def passed(asked, n):
        rows = np.repeat(np.arange(k * k), rng.multinomial(n, true.ravel()))
        truth = Truth(gold[rows], label[rows] == gold[rows], np.zeros(n, str))
        return macro_f1_span(*asked._counts(label[rows], truth), 0.05 / k)[0] >= 1 - asked.slack

    whole = np.repeat(np.arange(k * k), np.round(true.ravel() * 1000).astype(int))
    n = less.needed(label[whole], Truth(gold[whole], label[whole] == gold[whole], np.zeros(1000, str)), "exact", 0.95)
    assert sum(passed(just, 300) for _ in range(400)) <= binom.ppf(0.999, 400, 0.05)
    assert sum(passed(less, n) for _ in range(400)) >= 0.87 * 400
    assert sum(passed(less, n // 4) for _ in range(400)) <= 0.5 * 400


def test_a_plan_promises_a_macro_f1():
    plan = plan_on(board(400), PAIR, Goal(macro_f1=0.9))
    assert plan.certificate.words() == "Promised with 95 % confidence, on 400 items: a macro-F1 of at least 90 %."
    assert plan.promise.cost[0] < 0.02
    assert outcome_of(plan, board(2000, seed=9)).kept


def test_answers_that_were_judged_are_right_or_not():
    right = np.array([True, False])
    assert (judged(right) == 0).tolist() == right.tolist()
    assert gold_of(board(3)).tolist() == board(3).gold.tolist()


def test_a_floor_of_a_class_is_promised_and_costs_more_than_a_floor_of_quality():
    labelled = board(800)
    plan = plan_on(labelled, PAIR, Goal(recall={"1": 0.93}))
    assert plan.certificate.kind == "classes"
    assert plan.certificate.index is not None
    assert plan.certificate.words() == (
        "Promised with 95 % confidence, on 800 items: a recall of '1' of at least 93 %."
    )
    assert plan.promise.cost[0] < 0.02
    both = plan_on(labelled, PAIR, Goal(floor=0.9, recall={"1": 0.93}))
    less = plan_on(labelled, PAIR, Goal(floor=0.9))
    assert less.promise.cost[0] < both.promise.cost[0] == pytest.approx(plan.promise.cost[0])
    assert both.certificate.words().endswith(
        "a quality of at most 10 points below the reference; a recall of '1' of at least 93 %."
    )
    assert any(note.startswith("On these rows: loss against large ") for note in both.notes)
    assert outcome_of(both, board(400, seed=9)).floors[1][1].startswith("recall of '1' ")


def test_what_not_even_the_reference_reaches_is_not_promised():
    plan = plan_on(board(800), PAIR, Goal(recall={"1": 0.99}))
    assert (plan.policy.experts, plan.certificate.index) == (("large",), None)
    assert plan.words()[2] == (
        "800 items do not allow to promise a recall of '1' of at least 99 % with 95 % confidence."
    )
    assert "at least 99 asked" in " ".join(plan.notes)


@pytest.mark.slow
@pytest.mark.parametrize("goal", [Goal(recall={"1": 0.9}), Goal(floor=0.97, precision={"1": 0.85})])
def test_the_promise_of_a_class_holds_on_rows_not_seen(goal):
    """Twelve labelled boards of 400 rows: on 6,000 other rows the floor is broken in at most one of twenty."""
    broken = 0
    for seed in range(12):
        plan = plan_on(board(400, seed=seed), PAIR, goal)
        fresh = board(6000, seed=100 + seed)
        kept = outcome_of(plan, fresh).kept
        broken += plan.certificate.index is not None and not kept
    assert broken <= 2


def grouped(n, seed=0):
    """Two experts of two groups: in the smaller one the small expert is as sure and wrong in a third of the rows."""
    rng = np.random.default_rng(seed)
    gold, rare = rng.integers(0, 2, n), rng.random(n) < 0.1
    small = np.where(rng.random(n) < np.where(rare, 0.66, 0.99), gold, 1 - gold)
    ids, sure = [f"g{seed}-{i}" for i in range(n)], rng.uniform(0.6, 0.99, n)
    proba = {i: [1 - s, s] if y else [s, 1 - s] for i, s, y in zip(ids, sure, small, strict=True)}
    said = {
        "small": Told("small", {i: CLASSES[y] for i, y in zip(ids, small, strict=True)}, cost=0.001, proba=proba),
        "large": Told("large", {i: CLASSES[y] for i, y in zip(ids, gold, strict=True)}, cost=0.02),
    }
    table = examples([CLASSES[y] for y in gold], id=ids, group=["rare" if x else "common" for x in rare])
    return Panel(table, said, CostModel(), CLASSES)


def test_a_floor_of_every_group_guards_the_one_that_a_mean_gives_away():
    labelled, fresh = grouped(1500), grouped(4000, seed=1)
    mean = plan_on(labelled, PAIR, Goal(floor=0.94))
    each = plan_on(labelled, PAIR, Goal(floor=0.94, per_group=True))
    asked = Goal(floor=0.94, per_group=True).requirements(CLASSES, groups_of(fresh))
    lost = {
        name: Requirement("quality", 0.06, group="rare")
        .loss(plan.decide(fresh.copy(blind=True)).label, Truth(fresh.gold, np.ones(4000, bool), groups_of(fresh)))
        .mean()
        for name, plan in (("mean", mean), ("each", each))
    }
    assert [want.group for want in asked] == ["common", "rare"]
    assert lost["mean"] > 0.2
    assert lost["each"] <= 0.06
    assert outcome_of(each, fresh).kept
    with pytest.raises(ConfigError, match="A floor per group, and no item has a group."):
        plan_on(board(50), PAIR, Goal(floor=0.9, per_group=True))


def test_a_class_that_a_floor_could_give_away_is_named():
    rng = np.random.default_rng(2)
    gold = (rng.random(1000) < 0.024).astype(int)
    ids = [f"t{i}" for i in range(1000)]
    label = {i: CLASSES[y] for i, y in zip(ids, gold, strict=True)}
    blind = {i: CLASSES[0] for i in ids}
    said = {"small": Told("small", blind, cost=0.001), "large": Told("large", label, cost=0.02)}
    panel = Panel(examples([CLASSES[y] for y in gold], id=ids), said, CostModel(), CLASSES)
    plan = plan_on(panel, PAIR, Goal(floor=0.96))
    assert plan.policy.experts == ("small",)
    (note,) = [each for each in plan.notes if each.startswith("The floor may give away")]
    n = int(gold.sum())
    assert note.startswith(
        f"The floor may give away 4 points, and class '1' is {n / 10:.1f} % of the items: it could hold though all of "
        f"them were lost. Of these {n} the plan finds 0.0 [0.0, "
    )
    assert note.endswith(" %, the reference 100.0 %. To promise that: --recall 1=SHARE.")
    assert not any("give away" in each for each in plan_on(board(400), PAIR, Goal(floor=0.95)).notes)


def test_goals_of_classes_that_cannot_be_meant():
    for goal, said in (
        ({"recall": {"a": 90}}, "A floor of 90 for class 'a'. Allowed: between 0 and 1; 0.9 is 90 %."),
        ({"recall": {"a": 0.9}, "share": 0.5}, "A goal got {'share': 0.5} beside floors of classes or groups."),
        ({"share": 0.5, "per_group": True}, "A goal got {'share': 0.5} beside floors of classes or groups."),
        ({"macro_f1": 80}, "A floor of 80 for macro-F1. Allowed: between 0 and 1; 0.8 is 80 %."),
        ({"per_group": True}, "A goal got nothing. Give exactly one of "),
    ):
        with pytest.raises(ConfigError) as error:
            Goal(**goal)
        assert str(error.value).startswith(said)
