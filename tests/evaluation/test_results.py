import math

import numpy as np
import pytest

from askless.evaluation.metrics import Quality, bootstrap_weights, seed_weights
from askless.evaluation.results import (
    Bootstrap,
    against_reference,
    by_group,
    curve_summary,
    misrouted,
    none_if_nan,
    point_summary,
)
from tests.evaluation.test_replay import made

GOLD = np.array([0, 1] * 10)
DRAWS = 50
WEIGHTS = bootstrap_weights(len(GOLD), DRAWS, 3)
QUALITIES = {name: Quality(name, 2, 1) for name in ("accuracy", "macro_f1", "f1_positive")}


@pytest.fixture
def boot():
    return Bootstrap(GOLD, QUALITIES["accuracy"], DRAWS, 0.9, seed=3)


def run_of(right, cost, deferred=None):
    """A replay from which rows are right, (points, seeds, items); cost in the same shape or (points,)."""
    right = np.asarray(right, bool)
    cost = np.asarray(cost, float)
    cost = np.broadcast_to(cost[:, None, None] if cost.ndim == 1 else cost, right.shape).copy()
    deferred = np.zeros(right.shape, bool) if deferred is None else deferred
    return made(label=np.where(right, GOLD, 1 - GOLD).astype(np.int16), cost=cost, deferred=deferred)


def ends_of(boot, small, large):
    """What a curve runs between."""
    return boot.measure(small), boot.measure(large)


def first(count):
    """Right on the first `count` rows."""
    return np.arange(len(GOLD)) < count


def test_quality_is_averaged_over_seeds_and_resampled_over_items_and_seeds(boot):
    run = run_of([[first(10), first(20)], [first(5), first(15)]], [1.0, 2.0])
    found = boot.measure(run)
    value, drawn = found.quality, found.quality_draws
    np.testing.assert_allclose(value, [0.75, 0.5])
    mix = seed_weights(2, DRAWS, 3)
    each = (WEIGHTS[:, None, None, :] * (run.label == GOLD)).mean(axis=3)
    np.testing.assert_allclose(drawn, np.einsum("dps,ds->dp", each, mix), rtol=1e-6)


def test_cost_is_resampled_with_the_same_items_and_seeds(boot):
    cost = np.random.default_rng(0).random((2, 2, len(GOLD)))
    found = boot.measure(run_of(np.ones(cost.shape), cost))
    value, drawn = found.cost, found.cost_draws
    np.testing.assert_allclose(value, cost.mean(axis=(1, 2)))
    each = (WEIGHTS[:, None, None, :] * cost).mean(axis=3)
    np.testing.assert_allclose(drawn, np.einsum("dps,ds->dp", each, seed_weights(2, DRAWS, 3)), rtol=1e-6)


def test_a_policy_beside_itself_differs_by_nothing(boot):
    run = run_of([[first(13), first(7)]], [2.0])
    beside = against_reference(boot, boot.measure(run), boot.measure(run))
    assert beside["quality_difference"] == {"value": 0.0, "ci": [0.0, 0.0]}
    assert beside["cost_share"]["value"] == pytest.approx(1.0)
    assert beside["cost_share"]["ci"] == pytest.approx([1.0, 1.0])
    assert beside["quality"] == beside["reference_quality"]
    assert beside["cost_per_1k"]["value"] == pytest.approx(2000.0)


def test_a_difference_is_paired(boot):
    better, reference = run_of([[first(12)]], [1.0]), run_of([[first(10)]], [4.0])
    beside = against_reference(boot, boot.measure(better), boot.measure(reference))
    drawn = WEIGHTS[:, 10:12].sum(axis=1) / len(GOLD)
    assert beside["quality_difference"]["value"] == pytest.approx(0.1)
    assert beside["quality_difference"]["ci"] == pytest.approx(np.quantile(drawn, [0.05, 0.95]).tolist(), abs=1e-6)
    assert beside["cost_share"] == {"value": 0.25, "ci": pytest.approx([0.25, 0.25])}


def test_beside_a_free_reference_the_share_is_undefined(boot):
    run = run_of([[first(12)]], [1.0])
    free = run_of([[first(12)]], [0.0])
    beside = against_reference(boot, boot.measure(run), boot.measure(free))
    assert beside["cost_share"] == {
        "value": None,
        "ci": [None, None],
    }


def test_a_point_says_quality_cost_and_share(boot):
    deferred = np.stack([[first(5)], [first(15)]])
    run = run_of([[first(10)], [first(16)]], [1.0, 2.5], deferred)
    point = point_summary(boot, run, 1, QUALITIES)
    assert point["budget"] == pytest.approx(0.1)
    assert point["accuracy"]["value"] == pytest.approx(0.8)
    assert point["f1_positive"]["value"] == pytest.approx(0.8)
    assert point["macro_f1"]["value"] == pytest.approx(0.8)
    drawn = (WEIGHTS * first(16)).mean(axis=1)
    assert point["accuracy"]["ci"] == pytest.approx(np.quantile(drawn, [0.05, 0.95]).tolist(), abs=1e-6)
    assert point["cost_per_1k"] == {"value": 2500.0, "ci": pytest.approx([2500.0, 2500.0])}
    assert point["deferral_rate"] == 0.75


def test_a_curve_between_two_experts(boot):
    small, large = run_of([[first(10)]], [1.0]), run_of([[first(18)]], [11.0])
    share = np.stack([[first(0)], [first(4)], [first(20)]])
    run = run_of([[first(10)], [first(18)], [first(18)]], [1.0, 3.0, 11.0], share)
    found = curve_summary(boot, boot.measure(run), *ends_of(boot, small, large))
    assert found["auc"] == pytest.approx((2 * 0.7 + 8 * 0.9) / 10)
    assert found["auc_hull"] == pytest.approx(found["auc"])
    assert found["auc_line"] == pytest.approx(0.7)
    assert found["apgr"] == pytest.approx(0.9)
    assert found["apgr_ci"] == pytest.approx([0.9, 0.9], abs=1e-6)
    assert found["cpt"] == {"0.50": pytest.approx(0.1), "0.80": pytest.approx(0.16), "1.00": pytest.approx(0.2)}
    saving = found["saving_at_equal_quality"]
    assert list(saving) == ["0.00", "0.005", "0.01"]
    for found in saving.values():
        assert found == {"value": pytest.approx(8 / 11), "ci": pytest.approx([8 / 11, 8 / 11])}


def test_the_intervals_of_a_curve_resample_cost_and_quality_together(boot):
    rng = np.random.default_rng(1)
    small, large = run_of([[first(10)]], [1.0]), run_of([[first(18)]], rng.random((1, 1, len(GOLD))) + 2)
    run = run_of([[first(10)], [first(18)]], np.stack([np.ones((1, len(GOLD))), large.cost[0] * 0.5]))
    run.cost[1, 0, :10] *= 0.25
    found = curve_summary(boot, boot.measure(run), *ends_of(boot, small, large))
    cost, expensive = WEIGHTS @ run.cost[1, 0], WEIGHTS @ large.cost[0, 0]
    assert found["saving_at_equal_quality"]["0.00"] == {
        "value": pytest.approx(1 - run.cost[1].sum() / large.cost.sum()),
        "ci": pytest.approx(np.quantile(1 - cost / expensive, [0.05, 0.95]).tolist()),
    }
    straight = run_of([[first(10)], [first(18)]], [1.0, 2.0])
    ends = ends_of(boot, small, run_of([[first(18)]], [2.0]))
    drawn = (WEIGHTS * (1.0 * first(10) + first(18)) / 2).mean(axis=1)
    straight = curve_summary(boot, boot.measure(straight), *ends)
    assert straight["auc"] == pytest.approx(0.7)
    assert straight["auc_ci"] == pytest.approx(np.quantile(drawn, [0.05, 0.95]).tolist(), abs=1e-6)


def test_a_single_point_has_a_saving_but_no_curve(boot):
    ends = ends_of(boot, run_of([[first(10)]], [1.0]), run_of([[first(18)]], [2.0]))
    found = curve_summary(boot, boot.measure(run_of([[first(18)]], [1.5])), *ends)
    assert found["saving_at_equal_quality"]["0.00"]["value"] == pytest.approx(0.25)
    swept = curve_summary(boot, boot.measure(run_of([[first(10)], [first(18)]], [1.0, 2.0])), *ends)
    assert found.keys() == swept.keys()
    assert found["cpt"] == dict.fromkeys(swept["cpt"])
    assert all(found[k] is None for k in ("auc", "auc_hull", "auc_line", "apgr"))


def test_what_is_undefined_is_none_and_never_nan(boot):
    same = run_of([[first(10)]], [1.0])
    found = curve_summary(
        boot, boot.measure(run_of([[first(10)], [first(12)]], [1.0, 1.0])), *ends_of(boot, same, same)
    )
    assert (found["auc"], found["auc_ci"]) == (found["apgr"], found["apgr_ci"]) == (None, [None, None])
    assert found["auc_hull"] is None
    assert set(found["cpt"].values()) == {None}
    free = run_of([[first(10)]], [0.0])
    found = curve_summary(boot, boot.measure(free), *ends_of(boot, free, free))
    assert set(map(str, found["saving_at_equal_quality"].values())) == {str({"value": None, "ci": [None, None]})}
    assert (none_if_nan(math.nan), none_if_nan(math.inf), none_if_nan(np.float64(2))) == (None, None, 2.0)


def test_each_row_is_routed_to_one_outcome_with_its_price():
    gold = np.zeros(8, int)
    weak = np.array([1, 1, 1, 1, 0, 0, 0, 0], bool)
    strong = np.array([1, 1, 0, 0, 1, 1, 0, 0], bool)
    asked = np.array([1, 0, 1, 0, 1, 0, 1, 0], bool)[None, None]

    def answering(right):
        return made(label=(~right).astype(np.int16)[None, None])

    cost = np.where(asked, 10.0, 1.0)
    run = made(label=np.where(asked, ~strong, ~weak).astype(np.int16), deferred=asked, cost=cost)
    rows = {
        r["outcome"]: (r["share"], r["cost_per_1k"]) for r in misrouted(run, answering(weak), answering(strong), gold)
    }
    assert rows == {
        "kept, small right": (0.25, 250.0),
        "asked, only the LLM right": (0.125, 1250.0),
        "should have asked": (0.125, 125.0),
        "asked for nothing": (0.125, 1250.0),
        "asked and misled": (0.125, 1250.0),
        "hopeless, kept": (0.125, 125.0),
        "hopeless, asked": (0.125, 1250.0),
    }
    assert sum(share for share, _ in rows.values()) == 1.0
    assert sum(price for _, price in rows.values()) == pytest.approx(1000 * cost.mean())


def test_outcomes_are_averaged_over_seeds_where_the_llm_has_but_one():
    gold = np.zeros(2, int)
    small = made(label=np.array([[[0, 1], [1, 1]]], np.int16))
    large = made(label=np.array([[[0, 0]]], np.int16))
    asked = np.array([[[False, True], [False, True]]])
    run = made(label=np.where(asked, 0, small.label).astype(np.int16), deferred=asked)
    shares = {r["outcome"]: r["share"] for r in misrouted(run, small, large, gold)}
    assert shares["kept, small right"] == 0.25
    assert shares["should have asked"] == 0.25
    assert shares["asked, only the LLM right"] == 0.5


def test_an_asked_row_is_judged_by_the_answer_given_and_a_kept_one_by_the_references():
    gold = np.zeros(2, int)
    small, reference = made(label=np.ones((1, 1, 2), np.int16)), made(label=np.array([[[1, 0]]], np.int16))
    # Another LLM than the reference was asked about the first row, and knew it.
    run = made(label=np.array([[[0, 1]]], np.int16), deferred=np.array([[[True, False]]]))
    shares = {r["outcome"]: r["share"] for r in misrouted(run, small, reference, gold)}
    assert (shares["asked, only the LLM right"], shares["should have asked"]) == (0.5, 0.5)


def test_what_a_group_wastes_and_misses():
    # Rows: asked for nothing, misled, kept though only the reference is right, asked and hopeless; then one kept well.
    gold = np.array([1, 1, 1, 1, 1])
    small = made(label=np.array([[[1, 1, 0, 0, 1]]], np.int16), cost=np.full((1, 1, 5), 1.0))
    expensive = made(label=np.array([[[1, 0, 1, 0, 1]]], np.int16), cost=np.full((1, 1, 5), 10.0))
    asked = np.array([[[True, True, False, True, False]]])
    label = np.where(asked, expensive.label, small.label).astype(np.int16)
    run = made(label=label, deferred=asked, cost=np.where(asked, 11.0, 1.0))
    first, second = by_group({"small": small, "expensive": expensive, "mine": run}, gold, ["a", "a", "a", "a", "b"])
    assert first == {
        "group": "a",
        "items": 4,
        "quality": {"small": 0.5, "expensive": 0.5, "mine": 0.25},
        "deferral_rate": 0.75,
        "should_have_asked": 0.25,
        "asked_for_nothing": 0.25,
        "misled": 0.25,
        "wasted_per_1k": 7500.0,
    }
    assert (second["group"], second["deferral_rate"], second["wasted_per_1k"]) == ("b", 0.0, 0.0)
    assert by_group({"small": small, "expensive": expensive, "mine": run}, gold, [None] * 5) == []
