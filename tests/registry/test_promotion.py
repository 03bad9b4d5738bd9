"""The rule, said of figures; then on real bundles in a real registry: who is promoted, refused, left alone."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from askless import config
from askless.config import Promote
from askless.errors import ConfigError, DataError
from askless.evaluation.metrics import bootstrap_weights, interval, weighted_sums
from askless.registry import aliases as moves
from askless.registry import promotion
from askless.registry import versions as registry
from askless.registry.comparison import Comparison
from askless.registry.promotion import Verdict, Weighed, by_hand, judge, settle, weigh
from tests.pipeline import small_params, write_params
from tests.registry_data import MODEL as MODELS
from tests.registry_data import kept, project, register, registry_in, settings_of

MODEL = MODELS["olhs"]
RULE = Promote(quality_margin=0.005, cost_margin=0.0, confidence=0.95)


def found(quality=(0.0, 0.0, 0.0), change=(0.0, 0.0, 0.0), *, difference=None, unchanged=0.5, classes=(), groups=()):
    """A comparison with these differences, each (value, low, high)."""

    def figure(value, low, high):
        return {"value": value, "ci": [low, high]}

    side = {"name": "A", "kind": "length", "experts": ["s", "l"], "budget": 0.4, "deferral_rate": 0.4}
    side |= {name: figure(0.5, 0.4, 0.6) for name in ("quality", "cost_per_1k", "saving")}
    return Comparison(
        task="olhs",
        kind="classification",
        quality="accuracy",
        positive="1",
        unit="usd",
        items=100,
        confidence=0.95,
        bootstrap=100,
        reference={"name": "l", "cost_per_1k": 1.0},
        sides={"champion": side, "challenger": side},
        quality_difference=figure(*quality),
        cost_difference=figure(*(difference or change)),
        cost_change=figure(*change),
        unchanged=unchanged,
        classes=list(classes),
        groups=list(groups),
    )


def part(name, lost, p_worse):
    return {"name": name, "items": 50, "quality_difference": {"value": -lost, "ci": [-1, 1]}, "p_worse": p_worse}


SAME = (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("quality", "change", "outcome", "begins"),
    [
        # As good and cheaper: the margin binds the lower end of quality, the mean alone says cheaper.
        (
            (0.001, -0.005, 0.01),
            (-0.01, -0.1, 0.1),
            "promoted",
            "As good and cheaper: accuracy +0.1 [-0.5, +1.0] points",
        ),
        ((0.02, 0.01, 0.03), (-0.01, -0.1, 0.1), "promoted", "Better and cheaper: "),
        (SAME, (-0.5, -0.6, -0.4), "promoted", "As good and cheaper: "),
        (
            (0.001, -0.006, 0.01),
            (-0.01, -0.1, 0.1),
            "refused",
            "Quality may be more than 0.5 points worse and cost may",
        ),
        ((0.001, -0.005, 0.01), (0.01, -0.1, 0.1), "refused", "As good, but cost may be higher: accuracy +0.1"),
        # As cheap and better: the margin binds the upper end of cost, the mean alone says better.
        ((0.01, -0.02, 0.04), (0.0, 0.0, 0.0), "promoted", "As cheap and better: "),
        ((0.01, -0.02, 0.04), (-0.2, -0.3, -0.1), "promoted", "Cheaper and better: "),
        ((0.01, -0.02, 0.04), (-0.2, -0.3, 0.01), "refused", "Quality may be more than 0.5 points worse and cost may"),
        (
            (-0.01, -0.02, 0.04),
            (-0.2, -0.3, -0.1),
            "refused",
            "Cheaper, but quality may be more than 0.5 points worse: ",
        ),
        # Better, but costlier.
        ((0.1, 0.08, 0.12), (0.5, 0.4, 0.6), "refused", "Better, but cost is higher: accuracy +10.0"),
        # Worse for certain, and as cheap.
        ((-0.1, -0.2, -0.0051), (0.0, -0.1, 0.0), "refused", "As cheap, but quality is more than 0.5 points worse: "),
        ((-0.1, -0.2, -0.1), (0.1, 0.05, 0.2), "refused", "Quality is more than 0.5 points worse and cost is higher: "),
        ((0.0, -0.001, 0.001), SAME, "refused", "Neither better nor cheaper: "),
    ],
)
def test_the_rule_both_ways(quality, change, outcome, begins):
    verdict = judge(found(quality, change), RULE)
    assert verdict.outcome == outcome
    assert verdict.reason.startswith(begins)
    assert verdict.reason.endswith(" %.")


def test_the_margins_are_those_of_the_rule():
    costlier = found((0.01, 0.002, 0.02), (0.04, 0.02, 0.05))
    assert judge(costlier, RULE).outcome == "refused"
    assert judge(costlier, replace(RULE, cost_margin=0.05)).outcome == "promoted"
    assert judge(costlier, replace(RULE, cost_margin=0.049)).outcome == "refused"
    worse = found((-0.01, -0.02, 0.0), (-0.3, -0.4, -0.2))
    assert judge(worse, replace(RULE, quality_margin=0.02)).outcome == "promoted"
    assert judge(worse, replace(RULE, quality_margin=0.019)).reason.startswith(
        "Cheaper, but quality may be more than 1.9"
    )
    both = replace(RULE, cost_margin=0.05, quality_margin=0.01)
    assert "cost may be more than 5 % higher" in judge(found((0.1, 0.0, 0.2), (0.1, 0.0, 0.2)), both).reason


@pytest.mark.parametrize(
    ("classes", "groups", "rule", "lost"),
    [
        ([part("0", -0.1, 1.0), part("1", 0.044, 0.02)], [], RULE, "class 1 (-4.4 points)"),
        ([part("1", 0.044, 0.02)], [part("north", 0.157, 0.001)], RULE, "group north (-15.7 points) and 1 more"),
        ([part("1", 0.044, 0.026)], [part("north", 0.157, 0.2)], RULE, None),
        ([part("1", 0.02, 0.0)], [], RULE, None),
        ([part("1", 0.021, 0.0)], [], replace(RULE, part_margin=None), None),
    ],
)
def test_what_is_better_as_a_whole_may_not_be_worse_for_certain_within_a_class_or_a_group(classes, groups, rule, lost):
    verdict = judge(found((0.02, 0.01, 0.03), (-0.1, -0.2, -0.05), classes=classes, groups=groups), rule)
    if lost is None:
        assert verdict.outcome == "promoted"
    else:
        begins = f"Better and cheaper, but worse for certain in {lost}: accuracy"
        assert verdict.outcome == "refused" and verdict.reason.startswith(begins)


def test_the_same_answers_at_the_same_cost_gain_nothing():
    verdict = judge(found(unchanged=1.0), RULE)
    figures = "accuracy 0.0 [0.0, 0.0] points, cost 0.0 [0.0, 0.0] %."
    assert verdict == Verdict("refused", f"The same answers at the same cost, so nothing is gained: {figures}")


def test_where_the_champion_is_free_any_cost_is_too_much():
    none = (None, None, None)
    expensive = found((0.1, 0.05, 0.2), none, difference=(0.2, 0.1, 0.3))
    assert judge(expensive, replace(RULE, cost_margin=0.9)).outcome == "refused"
    assert "cost +0.200 [+0.100, +0.300] $ per 1,000 items, where it was nothing" in judge(expensive, RULE).reason
    assert judge(found((0.1, 0.05, 0.2), none, difference=SAME), RULE).outcome == "promoted"


def test_without_an_interval_nothing_is_promoted():
    verdict = judge(found((0.1, None, None), (-0.1, None, None)), RULE)
    assert verdict == Verdict("refused", "Too few items for an interval of 95 %.")


def test_one_that_is_worse_by_just_the_margin_seldom_passes():
    items, worlds, unlike = 500, 1000, 0.1
    chances = [(unlike - RULE.quality_margin) / 2, (unlike + RULE.quality_margin) / 2, 1 - unlike]
    gained = np.random.default_rng(0).choice([1.0, -1.0, 0.0], p=chances, size=(items, worlds))
    drawn = weighted_sums(bootstrap_weights(items, 400, 0), gained) / items
    passed = 0
    for value, draws in zip(gained.mean(axis=0), drawn.T, strict=True):
        shown = interval(value, draws, RULE.confidence)
        passed += judge(found((value, shown.low, shown.high), (-0.1, -0.2, 0.1)), RULE).outcome == "promoted"
    # 2.5 % are meant; of 1,000 more than 45 come about once in 10,000 times.
    assert 8 <= passed <= 45


def test_twenty_nights_of_as_good_and_cheaper_lose_no_more_than_the_total_margin():
    """Every night one is three tenths of a point worse, cheaper, and passes beside the champion of the day."""
    items, rng = 10_000, np.random.default_rng(0)
    weights = bootstrap_weights(items, 400, 0)

    def beside(one, other):
        gained = other - one
        drawn = weighted_sums(weights, gained[:, None])[:, 0] / items
        shown = interval(float(gained.mean()), drawn, RULE.confidence)
        return found((gained.mean(), shown.low, shown.high), (-0.1, -0.2, -0.05))

    def lost_in_twenty_nights(rule):
        first = champion = (np.arange(items) < 0.9 * items).astype(float)
        told = []
        for _ in range(20):
            challenger = champion.copy()
            challenger[rng.choice(np.flatnonzero(champion == 1), 35, replace=False)] = 0
            challenger[rng.choice(np.flatnonzero(champion == 0), 5, replace=False)] = 1
            verdict = judge(beside(champion, challenger), rule, beside(first, challenger))
            told.append(verdict)
            champion = challenger if verdict.outcome == "promoted" else champion
        return first.mean() - champion.mean(), told

    lost, told = lost_in_twenty_nights(replace(RULE, total_margin=None))
    assert lost == pytest.approx(0.06) and {verdict.outcome for verdict in told} == {"promoted"}
    lost, told = lost_in_twenty_nights(RULE)
    assert 0.01 < lost < 0.02
    assert told[0].outcome == "promoted" and told[-1].outcome == "refused"
    assert told[-1].reason.startswith(
        "As good and cheaper, but quality may be more than 2 points worse than that of A, from which losses are "
        "counted (accuracy -"
    )


def test_one_that_is_no_worse_than_the_champion_for_certain_passes_whatever_was_lost_before():
    lost = found((-0.1, -0.12, -0.08))
    for quality in ((0.01, 0.0, 0.02), (0.02, 0.01, 0.03)):
        assert judge(found(quality, (-0.1, -0.2, -0.1)), RULE, lost).outcome == "promoted"
    verdict = judge(found((0.01, -0.001, 0.02), (-0.1, -0.2, -0.1)), RULE, lost)
    assert verdict.reason.startswith("As good and cheaper, but quality is more than 2 points worse than that of A")
    verdict = judge(found((0.01, -0.02, 0.04)), RULE, found((-0.01, -0.03, 0.01)))
    assert verdict.reason.startswith("As cheap and better, but quality may be more than 2 points worse than that of A")
    assert judge(found((0.01, -0.02, 0.04)), RULE, found((-0.01, -0.02, 0.01))).outcome == "promoted"
    assert judge(found((0.01, -0.02, 0.04)), RULE, found((-0.01, None, None))).outcome == "refused"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"total_margin": 1}, "promote.total_margin: Input should be less than 1. Got 1."),
        ({"quality_margin": -0.1}, "promote.quality_margin: Input should be greater than or equal to 0. Got -0.1."),
        ({"quality_margin": 1}, "promote.quality_margin: Input should be less than 1. Got 1."),
        ({"cost_margin": float("nan")}, "promote.cost_margin: Input should be a finite number. Got nan."),
        ({"cost_margin": "free"}, "promote.cost_margin: Input should be a valid number, unable to parse string as a"),
        ({"confidence": 1.0}, "promote.confidence: Input should be less than 1. Got 1.0."),
        ({"confidence": 0.5}, "promote.confidence: Input should be greater than 0.5. Got 0.5."),
        (
            {"margin": 0.1},
            "Unknown key 'margin'. Known: confidence, cost_margin, part_margin, quality_margin, total_",
        ),
    ],
)
def test_a_rule_of_impossible_values_is_named(tmp_path, values, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        settings_of(project(tmp_path, promote=values))


def test_a_file_without_a_rule_has_the_committed_one(tmp_path):
    settings = small_params()
    committed = settings.pop("promote")
    assert config.load(write_params(tmp_path, settings)).promote == Promote(**committed)


# On real bundles.


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """A project, and bundles that defer the longest items, or any."""
    folder = project(tmp_path_factory.mktemp("project"))
    return folder, {"long": kept(folder, "long"), "random": kept(folder, "random", policy="random")}


@pytest.fixture
def at(tmp_path, bundles, empty_store):
    """Put bundles into a registry of this project, each by (policy, share), the first as champion."""
    folder, made = bundles
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    with registry_in(tmp_path, empty_store) as client:

        def put(*versions, champion=True, **tags):
            for policy, share in versions:
                register(client, made[policy], budget=share, **tags)
            if champion:
                moves.promote(MODEL, 1, expected=None, reason="the first")
            return settings_of(tmp_path)

        put.client = client
        yield put


def done(settings, which="challenger", asked=False):
    weighed = weigh(MODEL, which, settings, asked=asked)
    # What one task of a flow finds another one does.
    return weighed, settle(Weighed.of(json.loads(json.dumps(weighed.as_dict()))))


def aliases():
    return {alias: v.number for v in registry.versions(MODEL) for alias in v.aliases}


def test_a_better_challenger_is_promoted_and_the_champion_kept_as_previous(at):
    settings = at(("random", 0.5), ("long", 0.4))
    weighed, said = done(settings)
    assert (weighed.champion, weighed.challenger, weighed.verdict.outcome) == (1, 2, "promoted")
    assert weighed.verdict.reason.startswith("Better and cheaper: accuracy +")
    assert said == f"Version 2 is champion of {MODEL}. {weighed.verdict.reason}"
    now = registry.champion(MODEL)
    assert (now.number, now.reason, now.replaced) == (2, weighed.verdict.reason, 1)
    assert aliases() == {"champion": 2, "previous": 1, "challenger": 2}


def test_a_worse_challenger_is_refused_with_the_reason_as_a_tag(at):
    settings = at(("long", 0.4), ("long", 0.2))
    weighed, said = done(settings)
    assert said == f"Version 1 stays champion of {MODEL}. Version 2: {weighed.verdict.reason}"
    version = registry.find(MODEL, 2)
    assert (version.verdict, version.reason) == ("refused", weighed.verdict.reason)
    assert version.reason.startswith("Cheaper, but quality is more than 0.5 points worse: accuracy -20.0 [")
    assert "points, cost -50.0 [" in version.reason
    assert aliases() == {"champion": 1, "challenger": 2}


def test_equal_quality_at_lower_cost_is_promoted(at):
    weighed, _ = done(at(("long", 0.6), ("long", 0.4)))
    assert weighed.verdict.reason.startswith("As good and cheaper: accuracy 0.0 [0.0, 0.0] points, cost -33.3 [")
    assert aliases()["champion"] == 2


def test_a_better_but_costlier_one_needs_a_margin_for_cost(at):
    settings = at(("long", 0.3), ("long", 0.4))
    assert done(settings)[0].verdict.reason.startswith("Better, but cost is higher: ")
    weighed, _ = done(replace(settings, promote=replace(settings.promote, cost_margin=0.9)))
    assert weighed.verdict.reason.startswith("As cheap and better: ")
    assert aliases()["champion"] == 2


def test_two_versions_of_one_bundle_gain_nothing(at):
    weighed, _ = done(at(("long", 0.4), ("long", 0.4)))
    assert weighed.comparison.unchanged == 1
    assert weighed.verdict.reason.startswith("The same answers at the same cost, so nothing is gained")
    assert aliases()["champion"] == 1


def test_with_no_champion_yet_the_challenger_becomes_it(at):
    weighed, said = done(at(("long", 0.4), champion=False))
    assert (weighed.champion, weighed.comparison) == (None, None)
    assert said == f"Version 1 is champion of {MODEL}. No champion yet: version 1 is the first."
    assert registry.champion(MODEL).reason == "No champion yet: version 1 is the first."


def test_who_is_champion_already_is_left_alone(at):
    weighed, said = done(at(("long", 0.4)))
    assert (weighed.verdict.outcome, weighed.comparison) == ("unchanged", None)
    assert said == f"Nothing changes in {MODEL}. Version 1 is champion already."
    assert registry.champion(MODEL).reason == "the first"


def test_losses_are_counted_from_the_first_champion_or_the_last_put_in_place_by_hand(at):
    """Of the last two each may pass beside the champion of the day, by a wide margin, and not beside the first."""
    settings = at(("long", 0.4), ("long", 0.3), ("long", 0.2))
    settings = replace(
        settings, promote=replace(settings.promote, quality_margin=0.3, total_margin=0.25, part_margin=None)
    )
    assert done(settings, 2)[0].verdict.outcome == "promoted"
    assert [registry.find(MODEL, number).anchor for number in (1, 2, 3)] == [1, 1, None]
    weighed, said = done(settings, 3)
    assert (weighed.anchor, weighed.verdict.outcome) == (1, "refused")
    assert said.startswith(
        f"Version 2 stays champion of {MODEL}. Version 3: As good and cheaper, but quality may be more than 25 points "
        f"worse than that of models:/{MODEL}/1, from which losses are counted (accuracy -20.0 ["
    )
    endless = replace(settings, promote=replace(settings.promote, total_margin=None))
    assert weigh(MODEL, 3, endless, asked=False).verdict.outcome == "promoted"
    moves.promote(MODEL, 1, expected=2, reason="for a while")
    by_hand(MODEL, 2, settings, "it is good enough")
    assert registry.champion(MODEL).anchor == 2
    assert done(settings, 3)[0].verdict.outcome == "promoted"
    assert registry.champion(MODEL).anchor == 2
    moves.rollback(MODEL)
    assert (registry.champion(MODEL).number, registry.champion(MODEL).anchor) == (2, 2)


def test_an_anchor_that_is_gone_leaves_it_to_a_person(at):
    settings = at(("long", 0.6), ("long", 0.5), ("long", 0.4))
    assert done(settings, 2)[0].verdict.outcome == "promoted"
    at.client.delete_model_version(MODEL, "1")
    with pytest.raises(DataError) as error:
        weigh(MODEL, 3, settings, asked=False)
    assert str(error.value).endswith(
        "Allowed: the version from which losses are counted. Decide by hand, to count anew: askless promote "
        f"{MODEL} VERSION --by-hand --reason TEXT."
    )
    by_hand(MODEL, 3, settings, "as good")
    assert registry.champion(MODEL).anchor == 3


def test_what_was_rolled_back_comes_back_by_hand_only(at):
    settings = at(("long", 0.6), ("long", 0.4))
    done(settings)
    moves.rollback(MODEL, "complaints")
    for asked in (False, True):
        weighed, said = done(settings, asked=asked)
        assert weighed.verdict.outcome == "unchanged"
    assert "Version 2 was rolled back and comes back only by hand: askless promote askless-olhs 2 --by-hand" in said
    assert registry.find(MODEL, 2).verdict == "rolled back"
    now = by_hand(MODEL, 2, settings, "it was the weather")
    assert (now.number, now.reason, now.replaced) == (2, "By hand: it was the weather", 1)


def test_what_was_proposed_waits_for_a_person(at):
    settings = at(("long", 0.6))
    at(("long", 0.4), champion=False, proposed_by="monitor")
    weighed, said = done(settings)
    assert said.endswith("Version 2 was proposed by monitor and waits for a person: askless promote askless-olhs 2.")
    assert aliases()["champion"] == 1
    weighed, _ = done(settings, which=2, asked=True)
    assert (weighed.verdict.outcome, aliases()["champion"]) == ("promoted", 2)


def test_one_that_was_refused_is_not_judged_again_by_the_same_rule_against_the_same_champion_unless_asked(at):
    settings = at(("long", 0.4), ("long", 0.2))
    assert done(settings)[0].verdict.outcome == "refused"
    before = registry.find(MODEL, 2)
    weighed, said = done(settings)
    assert (weighed.verdict.outcome, weighed.comparison) == ("unchanged", None)
    assert said.startswith(f"Nothing changes in {MODEL}. Version 2 was refused against this champion already")
    assert registry.find(MODEL, 2) == before
    assert done(settings, asked=True)[0].verdict.outcome == "refused"
    other = replace(settings, promote=replace(settings.promote, quality_margin=0.3, part_margin=None))
    assert done(other)[0].verdict.outcome == "promoted"


def test_a_champion_that_came_meanwhile_is_not_overrun(at):
    settings = at(("long", 0.6), ("long", 0.5), ("long", 0.4))
    weighed = weigh(MODEL, 3, settings, asked=False)
    moves.promote(MODEL, 2, expected=1, reason="somebody else")
    with pytest.raises(DataError, match=r"version 2 is champion by now \(somebody else\)"):
        settle(weighed)
    assert aliases()["champion"] == 2
    assert registry.find(MODEL, 3).verdict == ""


def test_settling_twice_is_settling_once(at):
    weighed, said = done(at(("long", 0.6), ("long", 0.4)))
    assert settle(weighed) == said
    assert aliases() == {"champion": 2, "previous": 1, "challenger": 2}


def broken(made, to, **values):
    shutil.copytree(made, to)
    about = json.loads((to / "bundle.json").read_text())
    about["facts"] |= values.pop("facts", {})
    (to / "bundle.json").write_text(json.dumps(about | values))
    return to


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"facts": {"task": "xsum"}}, "a model of task 'xsum'. Allowed: of task 'olhs'. Give one of this task."),
        (
            {"format": 99},
            "bundle format 99. Allowed: format 7. Plan or train it again; register a registered model again.",
        ),
        ({"classes": ["a", "b"]}, "a model of the classes ['a', 'b']. Allowed: ['0', '1'], those of the task."),
    ],
)
@pytest.mark.parametrize("champion", [False, True])
def test_a_version_that_cannot_serve_is_named_and_changes_nothing(at, bundles, tmp_path, values, said, champion):
    settings = at(("long", 0.4), champion=champion)
    folder = broken(bundles[1]["long"], tmp_path / "odd/artifacts/bundle", **values)
    register(at.client, folder, budget=0.4)
    before = registry.versions(MODEL)
    for attempt in (lambda: done(settings), lambda: by_hand(MODEL, 2, settings, "please")):
        with pytest.raises(DataError) as caught:
            attempt()
        assert str(caught.value).startswith(f"models:/{MODEL}/2: {said}")
    assert registry.versions(MODEL) == before


def test_a_champion_that_was_deleted_is_not_replaced_by_rule(at):
    settings = at(("long", 0.6), ("long", 0.5))
    done(settings)
    register(at.client, "nowhere")
    at.client.delete_model_version(MODEL, "2")
    with pytest.raises(DataError, match="@champion: no such alias"):
        weigh(MODEL, 1, settings, asked=False)
    assert by_hand(MODEL, 1, settings, "the last good one").number == 1


def test_no_challenger_an_unknown_model_and_no_reason_are_named(at):
    settings = at(("long", 0.4))
    at.client.delete_registered_model_alias(MODEL, "challenger")
    with pytest.raises(DataError, match="@challenger: no such alias"):
        weigh(MODEL, "challenger", settings, asked=False)
    with pytest.raises(
        ConfigError, match=r"Unknown model in evaluate\.<task>\.model 'askless-old'. Known: askless-olhs"
    ):
        promotion.task_of("askless-old", settings)
    with pytest.raises(DataError, match="--by-hand: no reason"):
        by_hand(MODEL, 1, settings, " ")


def test_summaries_are_promoted_by_the_same_rule(tmp_path, empty_store):
    folder = project(tmp_path, "xsum")
    made = kept(folder, "long", "xsum")
    with registry_in(tmp_path, empty_store) as client:
        for share in (0.2, 0.4, 0.0):
            register(client, made, "xsum", budget=share)
        model, settings = MODELS["xsum"], settings_of(folder)
        moves.promote(model, 1, expected=None, reason="the first")
        costlier = weigh(model, 2, settings, asked=False)
        cheaper = weigh(model, 3, settings, asked=False)
    assert costlier.verdict.reason.startswith("Better, but cost is higher: ROUGE-L F +")
    assert cheaper.verdict.reason.startswith("Cheaper, but quality is more than 0.5 points worse: ROUGE-L F -")
