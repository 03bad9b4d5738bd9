import copy
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from askless.config import Evaluate, Source, Split, Task, VectorSource
from askless.errors import ConfigError, DataError
from askless.evaluation import evaluate
from askless.evaluation.evaluate import Runs, evaluated
from askless.evaluation.expert_results import contradictions
from askless.evaluation.headline import headline
from askless.evaluation.metrics import bootstrap_weights
from askless.evaluation.replay import oracle, replay
from askless.policies.base import Budget
from askless.policies.baselines import Always
from tests.helpers import CLASSES, ByScore, indices, panel, predictions

TASK = Task(
    kind="classification",
    classes=CLASSES,
    positive="1",
    source=Source(kind="demo"),
    vectors=VectorSource(kind="demo"),
    split=Split(train=0.6, valid=0.2, test=0.2),
    prompt="posts",
    quality="accuracy",
)
SETTINGS = {
    "reference": "llm",
    "budgets": (0.2, 0.5),
    "sweep": 3,
    "bootstrap": 200,
    "confidence": 0.9,
    "margin": 0.01,
    "headline": "mine",
    "model": "posts",
}
SHARES = (0.0, 0.2, 0.5, 1.0)
GOLD = ["1", "1", "1", "1", "0", "0", "0", "0", "0", "0"]
# The small expert is wrong on rows 0 to 2, the LLM on row 9.
SMALL = ["0", "0", "0", "1", "0", "0", "0", "0", "0", "0"]
LLM = ["1", "1", "1", "1", "0", "0", "0", "0", "0", "1"]
# Deferred in this order: 0, 1, 9, 2, 3, ...
SCORES = [0.9, 0.8, 0.6, 0.55, 0.5, 0.4, 0.3, 0.2, 0.1, 0.7]
GROUPS = ["rude"] * 4 + ["mild"] * 5 + [None]


def runs(gold=GOLD, small=SMALL, llm=LLM, scores=SCORES, cost=(0.1, 1.0), seeds=(0,), groups=GROUPS):
    said, costs = {"small": small, "llm": llm}, {"small": cost[0], "llm": cost[1]}
    texts = [f"post {i}" for i in range(len(gold))]
    mine = ByScore(("small", "llm"), dict(zip(texts, scores, strict=True)))

    def play(name, policy, budgets, seeds):
        boards = {s: panel(gold, said, cost=costs, blind=True) for s in seeds}
        return replay(name, dict.fromkeys(seeds, policy), boards, budgets)

    sweeps = {
        "always_small": play("always_small", Always(("small",), "small"), [None], seeds),
        "always_llm": play("always_llm", Always(("small", "llm"), "llm"), [None], seeds[:1]),
        "mine": play("mine", mine, [Budget(share=s) for s in SHARES], seeds),
    }
    return Runs(indices(gold), list(groups), sweeps, {"mine": play("mine", mine, [None], seeds)})


ANSWERS = {
    "small": predictions(SMALL, proba=[[0.8, 0.2] if label == "0" else [0.2, 0.8] for label in SMALL]),
    "llm": predictions(LLM, expert="llm"),
}


def bound_by_share(base, test):
    return oracle("oracle", base, [test.sweeps["always_llm"]], test.gold, SHARES)


def summary_of(test=None, valid=None, answers=ANSWERS, quality="accuracy", **changes):
    settings = Evaluate(**{**SETTINGS, **changes})
    test = test or runs()
    bound = bound_by_share(test.sweeps["always_small"], test)
    found = evaluated(replace(TASK, quality=quality), settings, "usd", "small", test, valid or runs(), by_share=[bound])
    out = found.summary("posts", settings.headline, answers)
    # JSON has no NaN and no infinity.
    assert json.loads(json.dumps(out, allow_nan=False)) == out
    return out


@pytest.fixture(scope="module")
def summary():
    return summary_of()


WEIGHTS = bootstrap_weights(10, SETTINGS["bootstrap"], 0).astype(float)


def ends_of(drawn):
    return pytest.approx(np.quantile(drawn, [0.05, 0.95]).tolist(), abs=1e-6)


def test_what_was_evaluated(summary):
    assert {k: summary[k] for k in ("task", "items", "classes", "positive", "quality", "unit")} == {
        "task": "posts",
        "items": 10,
        "classes": ["0", "1"],
        "positive": "1",
        "quality": "accuracy",
        "unit": "usd",
    }
    assert summary["class_shares"] == {"0": 0.6, "1": 0.4}
    assert (summary["small"], summary["reference"], summary["seeds"]) == ("small", "llm", [0])
    assert (summary["confidence"], summary["bootstrap"]) == (0.9, 200)


def test_each_expert_alone(summary):
    small, llm = summary["experts"]["small"], summary["experts"]["llm"]
    assert (small["quality"], llm["quality"]) == pytest.approx((0.7, 0.9))
    assert small["accuracy"]["value"] == pytest.approx(0.7)
    assert small["f1_positive"]["value"] == pytest.approx(2 / 5)
    assert small["macro_f1"]["value"] == pytest.approx(f1_score(GOLD, SMALL, average="macro"))
    assert llm["f1_positive"]["value"] == pytest.approx(8 / 9)
    assert (small["cost_per_1k"]["value"], llm["cost_per_1k"]["value"]) == pytest.approx((100, 1000))
    assert (small["deferral_rate"], llm["deferral_rate"]) == (0.0, 1.0)
    # It says .8 each time and is right .7 of the time.
    assert small["ece"] == pytest.approx(0.1)
    assert small["brier"] == pytest.approx(0.7 * 0.2**2 + 0.3 * 0.8**2)
    assert (llm["ece"], llm["ece_mass"], llm["brier"], llm["unparsed"]) == (None, None, None, 0.0)


def test_a_silent_expert_is_counted_and_only_the_policy_falls_back():
    silent = [None, *LLM[1:]]
    test = runs(llm=silent)
    out = summary_of(test=test, answers={"small": ANSWERS["small"], "llm": predictions(silent, expert="llm")})
    assert out["experts"]["llm"]["unparsed"] == 0.1
    assert out["experts"]["llm"]["quality"] == pytest.approx(0.8)
    assert out["experts"]["llm"]["cost_per_1k"]["value"] == pytest.approx(1000)
    # Row 0 is asked in vain, falls back to the small expert and is paid for twice.
    first = out["policies"]["mine"]["points"][0]
    assert first["accuracy"]["value"] == pytest.approx(0.8)
    assert first["cost_per_1k"]["value"] == pytest.approx(290)


def test_the_curve_by_hand(summary):
    mine = summary["policies"]["mine"]
    # Accuracy .7, .9, .9, .9 at .1, .28, .55, 1 dollars an item.
    assert mine["auc"] == pytest.approx((0.18 * 0.8 + 0.72 * 0.9) / 0.9)
    assert mine["auc_hull"] == pytest.approx(mine["auc"])
    assert mine["auc_line"] == pytest.approx(0.8)
    assert mine["apgr"] == pytest.approx(0.9)
    assert mine["cpt"] == {"0.50": pytest.approx(0.1), "0.80": pytest.approx(0.16), "1.00": pytest.approx(0.2)}
    assert mine["saving_at_equal_quality"]["0.00"]["value"] == pytest.approx(0.72)
    assert mine["saving_at_equal_quality"]["0.01"]["value"] == pytest.approx(0.72)


def test_the_points_by_hand(summary):
    first, second = summary["policies"]["mine"]["points"]
    assert (first["budget"], second["budget"]) == (0.2, 0.5)
    assert first["accuracy"] == {"value": pytest.approx(0.9), "ci": ends_of(1 - WEIGHTS[:, 2] / 10)}
    dollars = 10 * (10 + 9 * WEIGHTS[:, :2].sum(axis=1))
    assert first["cost_per_1k"] == {"value": pytest.approx(280), "ci": ends_of(dollars)}
    assert (first["deferral_rate"], second["deferral_rate"]) == (0.2, 0.5)
    assert first["f1_positive"]["value"] == pytest.approx(6 / 7)
    assert second["f1_positive"]["value"] == pytest.approx(8 / 9)
    assert first["ibc_lift"] == pytest.approx((0.2 / 0.18) / (0.2 / 0.9) - 1)
    mine = summary["policies"]["mine"]
    assert (mine["quality"], mine["quality_ci"]) == (pytest.approx(0.9), first["accuracy"]["ci"])
    assert mine["cost_per_1k"] == pytest.approx(280)
    own = mine["own_rule"]
    assert (own["budget"], own["deferral_rate"]) == (None, 0.5)
    assert own["accuracy"]["value"] == pytest.approx(0.9)


def test_the_best_policy_is_of_the_largest_area_on_valid():
    found = evaluated(TASK, Evaluate(**SETTINGS), "usd", "small", runs(), runs())
    worse = runs(scores=SCORES[::-1])
    found.add(replace(worse.sweeps["mine"], policy="worse"), worse.sweeps["mine"])
    assert found.areas["worse"] < found.areas["mine"]
    assert found.best(["worse", "mine"]) == "mine"
    assert found.best(["worse", "always_llm", "nobody"]) == "worse"
    assert found.best(["always_llm"]) is None
    # Which is better on test does not matter.
    other = evaluated(TASK, Evaluate(**SETTINGS), "usd", "small", worse, runs())
    assert other.areas["mine"] == found.areas["mine"]


def test_the_oracle_is_reported_at_its_best(summary):
    best = summary["policies"]["oracle"]
    assert best["quality"] == 1.0
    assert best["cost_per_1k"] == pytest.approx(370)
    assert [p["accuracy"]["value"] for p in best["points"]] == pytest.approx([0.9, 1.0])
    assert best["auc"] >= summary["policies"]["mine"]["auc"]


def test_the_operating_point_and_its_headline_by_hand(summary):
    point = summary["policies"]["mine"]["operating_point"]
    assert point["budgets"] == [0.2]
    assert point["quality"]["value"] == pytest.approx(0.9)
    assert point["reference_quality"]["value"] == pytest.approx(0.9)
    gap = (WEIGHTS[:, 9] - WEIGHTS[:, 2]) / 10
    assert point["quality_difference"] == {"value": 0.0, "ci": ends_of(gap)}
    share = (10 + 9 * WEIGHTS[:, :2].sum(axis=1)) / 100
    assert point["cost_share"] == {"value": pytest.approx(0.28), "ci": ends_of(share)}
    assert point["reached"] is False
    assert summary["policies"]["mine"]["peak"] == {k: v for k, v in point.items() if k != "budgets"}
    said = summary["headline"]
    assert {k: said[k] for k in point} == point
    assert (said["policy"], said["margin"]) == ("mine", 0.01)
    low, high = np.quantile(gap, [0.05, 0.95]) * 100
    least, most = np.quantile(share, [0.05, 0.95]) * 100
    assert said["text"] == (
        f"The quality of llm alone is not certain to be reached (within 1.0 points): "
        f"accuracy +0.0 points [{low:+.1f}, {high:+.1f}] at 28.0 % of its cost [{least:.1f}, {most:.1f}]."
    )


def test_a_wide_margin_is_reached():
    out = summary_of(margin=0.5)
    assert out["headline"]["reached"] is True
    assert out["headline"]["text"].startswith("Same quality as llm alone at 28.0 % of its cost [")
    assert "]: accuracy +0.0 points [" in out["headline"]["text"]


def test_the_headline_names_the_quality_it_is_about():
    assert ": macro-F1 " in summary_of(quality="macro_f1", margin=0.9)["headline"]["text"]
    assert ": F1 of the positive class " in summary_of(quality="f1_positive", margin=0.9)["headline"]["text"]


def points_of(share, gap, reached=True, peak_share=(0.5, [0.4, 0.6]), peak_gap=(0.0, [-0.1, 0.1])):
    """The two points of a policy as far as its headline goes, from (value, ci) pairs."""

    def point(cost_share, difference):
        return {
            "cost_share": {"value": cost_share[0], "ci": cost_share[1]},
            "quality_difference": {"value": difference[0], "ci": difference[1]},
        }

    return {"operating_point": {**point(share, gap), "reached": reached}, "peak": point(peak_share, peak_gap)}


UNKNOWN = [None, None]


@pytest.mark.parametrize(
    ("points", "text"),
    [
        (
            points_of((0.4, [0.35, 0.45]), (0.001, [-0.004, 0.006])),
            "Same quality as llm alone at 40.0 % of its cost [35.0, 45.0]: accuracy +0.1 points [-0.4, +0.6].",
        ),
        (
            points_of((0.4, [0.35, 0.45]), (-0.0001, [-0.0004, 0.0])),
            "Same quality as llm alone at 40.0 % of its cost [35.0, 45.0]: accuracy +0.0 points [+0.0, +0.0].",
        ),
        (
            points_of((0.4, [0.35, 0.45]), (0.012, [0.004, 0.02])),
            "Better than llm alone at 40.0 % of its cost [35.0, 45.0]: accuracy +1.2 points [+0.4, +2.0].",
        ),
        (
            points_of((0.98, [0.95, 1.0]), (0.001, [-0.004, 0.006])),
            "As good as llm alone, but not cheaper: accuracy +0.1 points [-0.4, +0.6] "
            "at 98.0 % of its cost [95.0, 100.0].",
        ),
        (
            points_of((None, UNKNOWN), (0.012, UNKNOWN)),
            "As good as llm alone, but not cheaper: accuracy +1.2 points "
            "at a share of its cost that is undefined, for it costs nothing.",
        ),
        (
            points_of((0.4, [0.35, 0.45]), (-0.05, [-0.08, -0.02]), reached=False),
            "The quality of llm alone is not reached (within 1.0 points): accuracy -5.0 points [-8.0, -2.0] "
            "at 40.0 % of its cost [35.0, 45.0].",
        ),
        (
            points_of((0.4, [0.35, 0.45]), (-0.005, [-0.02, 0.01]), reached=False),
            "The quality of llm alone is not certain to be reached (within 1.0 points): "
            "accuracy -0.5 points [-2.0, +1.0] at 40.0 % of its cost [35.0, 45.0].",
        ),
        (
            points_of((0.4, [0.35, 0.45]), (0.0, [-0.004, 0.004]), True, (0.7, [0.6, 0.8]), (0.02, [0.01, 0.03])),
            "Same quality as llm alone at 40.0 % of its cost [35.0, 45.0]: accuracy +0.0 points [-0.4, +0.4]."
            " At its best accuracy +2.0 points [+1.0, +3.0] at 70.0 % of the cost.",
        ),
        (
            points_of((0.4, [0.35, 0.45]), (0.0, [-0.004, 0.004]), True, (0.7, [0.6, 0.8]), (0.02, [0.0, 0.03])),
            "Same quality as llm alone at 40.0 % of its cost [35.0, 45.0]: accuracy +0.0 points [-0.4, +0.4].",
        ),
    ],
)
def test_the_headline_says_what_was_reached_and_no_more(points, text):
    found = headline(Evaluate(**SETTINGS), "accuracy", "mine", points)
    assert " ".join(filter(None, (found["text"], found["best"]))) == text
    assert {k: found[k] for k in points["operating_point"]} == points["operating_point"]


def test_a_policy_that_answers_with_a_network_of_its_own_is_held_against_that_one():
    """The small expert is wrong where the network is right: what was kept is judged by the network."""
    board = panel(GOLD, {"mine-network": GOLD}, cost={"mine-network": 0.0}, blind=True)
    own = replay("always_mine-network", {0: Always(("mine-network",), "mine-network")}, {0: board}, [None])
    bounds = [bound_by_share(base, runs()) for base in (runs().sweeps["always_small"], own)]
    found = evaluated(TASK, Evaluate(**SETTINGS), "usd", "small", runs(), runs(), {"mine": own}, bounds)
    answers = {**ANSWERS, "mine-network": predictions(GOLD, expert="mine-network")}
    out = found.summary("posts", "mine", answers)
    assert (out["small"], out["first"]) == ("small", "mine-network")
    assert {e: out["experts"][e]["quality"] for e in out["experts"]} == {"small": 0.7, "llm": 0.9, "mine-network": 1.0}
    rows = {r["outcome"]: r["share"] for r in out["misrouted"]}
    assert rows["should have asked"] == rows["asked, only the LLM right"] == rows["hopeless, kept"] == 0
    assert all(list(group["quality"]) == ["mine-network", "llm", "mine"] for group in out["groups"])
    assert all(group["quality"]["mine-network"] == 1 for group in out["groups"])
    assert out["policies"]["oracle"]["auc"] == 1
    assert [point["accuracy"]["value"] for point in out["policies"]["oracle"]["points"]] == [1, 1], "at any share too"
    assert summary_of()["first"] == "small"


def test_what_was_misrouted_by_hand(summary):
    rows = {r["outcome"]: (r["share"], r["cost_per_1k"]) for r in summary["misrouted"]}
    assert rows == {
        "kept, small right": (pytest.approx(0.7), pytest.approx(70)),
        "asked, only the LLM right": (pytest.approx(0.2), pytest.approx(200)),
        "should have asked": (pytest.approx(0.1), pytest.approx(10)),
        "asked for nothing": (0.0, 0.0),
        "asked and misled": (0.0, 0.0),
        "hopeless, kept": (0.0, 0.0),
        "hopeless, asked": (0.0, 0.0),
    }


def test_groups_by_hand(summary):
    assert summary["groups"] == [
        {
            "group": "mild",
            "items": 5,
            "quality": {"small": 1.0, "llm": 1.0, "mine": 1.0},
            "deferral_rate": 0.0,
            "should_have_asked": 0.0,
            "asked_for_nothing": 0.0,
            "misled": 0.0,
            "wasted_per_1k": 0.0,
        },
        {
            "group": "rude",
            "items": 4,
            "quality": {"small": 0.25, "llm": 1.0, "mine": 0.75},
            "deferral_rate": 0.5,
            "should_have_asked": 0.25,
            "asked_for_nothing": 0.0,
            "misled": 0.0,
            "wasted_per_1k": 0.0,
        },
    ]


def test_reliability_of_those_who_state_a_confidence(summary):
    assert set(summary["reliability"]) == {"mine", "small"}
    assert summary["reliability"]["small"] == {
        "confidence": [pytest.approx(0.8)],
        "accuracy": [pytest.approx(0.7)],
        "count": [10],
        "ece": pytest.approx(0.1),
    }
    # The policy states its score where it defers, the rest of 1 where it does not; only row 2 is wrong.
    stated = np.array([0.9, 0.8, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 0.3])
    mine = summary["reliability"]["mine"]
    assert sum(mine["count"]) == 10
    assert np.dot(mine["confidence"], mine["count"]) == pytest.approx(stated.sum())
    assert np.dot(mine["accuracy"], mine["count"]) == pytest.approx(9)


def test_seeds_are_averaged_and_the_llm_may_have_but_one():
    test = runs(seeds=(1, 2, 3))
    out = summary_of(test=test, valid=runs(seeds=(1, 2, 3)))
    assert out["seeds"] == [1, 2, 3]
    assert out["policies"]["mine"]["seeds"] == [1, 2, 3]
    assert out["policies"]["mine"]["operating_point"]["budgets"] == [0.2] * 3
    one = summary_of()
    for name in ("mine", "oracle"):
        assert out["policies"][name]["auc"] == pytest.approx(one["policies"][name]["auc"])
        assert out["policies"][name]["auc_ci"] == pytest.approx(one["policies"][name]["auc_ci"])
    for several, single in zip(out["misrouted"], one["misrouted"], strict=True):
        assert several == {k: v if isinstance(v, str) else pytest.approx(v) for k, v in single.items()}
    assert out["groups"] == one["groups"]


flips = st.lists(st.booleans(), min_size=10, max_size=10)


def flipped(labels, which):
    return [("1" if label == "0" else "0") if flip else label for label, flip in zip(labels, which, strict=True)]


@settings(max_examples=15)
@given(flips, flips, flips)
def test_what_happens_on_test_never_changes_what_valid_chose(gold, small, llm):
    changed = runs(flipped(GOLD, gold), flipped(SMALL, small), flipped(LLM, llm))
    out = summary_of(test=changed)
    assert out["policies"]["mine"]["operating_point"]["budgets"] == [0.2]


def test_the_operating_point_follows_valid():
    # On valid the small expert is never wrong, so that the cheapest point of all is good enough.
    out = summary_of(valid=runs(small=GOLD))
    assert out["policies"]["mine"]["operating_point"]["budgets"] == [0.0]
    assert out["headline"]["quality_difference"]["value"] == pytest.approx(-0.2)
    assert out["headline"]["cost_share"]["value"] == pytest.approx(0.1)


def test_valid_chooses_what_is_good_enough_and_beside_it_what_is_best():
    # On valid the mistake of the LLM is deferred last, so that half the calls beat the LLM.
    valid = runs(scores=[*SCORES[:-1], 0.0], seeds=(1, 2))
    assert (valid.sweeps["mine"].label[2] == valid.gold).all()
    test = runs(scores=[*SCORES[:-1], 0.0], seeds=(1, 2))
    mine = summary_of(test=test, valid=valid)["policies"]["mine"]
    assert mine["operating_point"]["budgets"] == [0.2, 0.2]
    assert mine["operating_point"]["cost_share"]["value"] == pytest.approx(0.28)
    assert mine["peak"]["quality"] == {"value": 1.0, "ci": [1.0, 1.0]}
    assert mine["peak"]["cost_share"]["value"] == pytest.approx(0.55)


@pytest.mark.parametrize(
    "case",
    [
        {"llm": SMALL},
        {"cost": (0.0, 0.0)},
        {"cost": (1.0, 0.1)},
        {"small": GOLD, "llm": flipped(GOLD, [True] * 10)},
        {"gold": ["0"] * 10},
        {"groups": [None] * 10},
    ],
)
def test_nothing_that_is_undefined_reaches_the_json(case):
    out = summary_of(test=runs(**case), valid=runs(**case))
    assert out["headline"]["text"]
    if "cost" in case and not any(case["cost"]):
        assert out["headline"]["cost_share"] == {"value": None, "ci": [None, None]}
        assert "undefined, for it costs nothing" in out["headline"]["text"]
    if "groups" in case:
        assert out["groups"] == []


def test_a_headline_policy_that_was_not_replayed_lists_those_that_were():
    with pytest.raises(ConfigError) as error:
        summary_of(headline="min")
    assert str(error.value) == ("Unknown policy 'min'. Known: always_llm, always_small, mine. Did you mean 'mine'?")


@pytest.mark.parametrize(("gold", "got"), [([0, -1, 1], "1 of 3"), ([], "0 of 0")])
def test_unlabelled_or_no_rows_cannot_be_evaluated(gold, got):
    with pytest.raises(DataError) as error:
        Runs(np.array(gold, int), [None] * len(gold), {}, {})
    assert str(error.value) == (
        f"evaluation: {got} rows have no label. Allowed: one row or more, all labelled. "
        "Label the split or leave these rows out."
    )


def test_the_curve_table_has_a_row_for_each_policy_budget_and_seed():
    both = runs(seeds=(4, 5))
    table = evaluated(TASK, Evaluate(**SETTINGS), "usd", "small", both, both).curve()
    assert tuple(table.column_names) == evaluate.CURVE_COLUMNS
    rows = {(r["policy"], r["budget"], r["seed"]): r for r in table.to_pylist()}
    assert len(rows) == table.num_rows == 2 + 1 + 8 + 4
    mine = rows["mine", 0.2, 5]
    assert (mine["cost"], mine["quality"], mine["deferral_rate"]) == pytest.approx((0.28, 0.9, 0.2))
    drawn = 1 - bootstrap_weights(10, 200, 0)[:, 2] / 10
    assert [mine["ci_low"], mine["ci_high"]] == ends_of(drawn)
    assert rows["always_llm", 0.0, 4]["quality"] == pytest.approx(0.9)
    bound = sorted(
        (r["cost"], r["quality"]) for (policy, _, seed), r in rows.items() if policy == "oracle" and seed == 4
    )
    assert bound == [pytest.approx((0.1, 0.7)), pytest.approx((0.37, 1.0))]


def test_evaluating_twice_gives_the_same_and_leaves_its_input_alone():
    test = runs()
    before = copy.deepcopy(test)
    assert summary_of(test=test) == summary_of(test=test)
    for name, run in test.sweeps.items():
        for field, value in vars(run).items():
            np.testing.assert_array_equal(value, getattr(before.sweeps[name], field))


def test_probabilities_that_speak_against_the_label_are_no_confidence_and_are_counted():
    """The first two answers of the small expert are wrong, and stated .8 for the other class."""
    against = [[0.2, 0.8] if i < 2 else [0.8, 0.2] if label == "0" else [0.2, 0.8] for i, label in enumerate(SMALL)]
    answers = {**ANSWERS, "small": predictions(SMALL, proba=against)}
    out, before = summary_of(answers=answers), summary_of()
    assert [found["experts"]["small"]["contradicted"] for found in (out, before)] == [2, 0]
    assert sum(out["reliability"]["small"]["count"]) == 10
    assert out["experts"]["small"]["brier"] == pytest.approx((2 * 0.2**2 + 0.8**2 + 7 * 0.2**2) / 10)
    (said,) = contradictions(out["experts"], 10)
    assert said.startswith("'small': in 2 of 10 answers another class has a higher stated probability than the label.")
    assert contradictions(before["experts"], 10) == []
