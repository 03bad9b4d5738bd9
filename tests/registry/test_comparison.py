"""Two bundles on the same items: figures that can be worked out by hand, and what cannot be compared."""

import json
from dataclasses import replace

import numpy as np
import pytest

from askless.bundles.bundle import Bundle
from askless.registry.comparison import Comparison, compare
from askless.registry.held_out import HeldOut, Side
from tests.registry_data import LLM, LONG, PRICE, ROWS, kept, project, settings_of

PER_1K = 1000 * PRICE


@pytest.fixture(scope="module")
def olhs(tmp_path_factory):
    return project(tmp_path_factory.mktemp("olhs"))


@pytest.fixture(scope="module")
def xsum(tmp_path_factory):
    return project(tmp_path_factory.mktemp("xsum"), "xsum")


@pytest.fixture(scope="module")
def long(olhs):
    return kept(olhs, "long")


@pytest.fixture(scope="module")
def chance(olhs):
    return kept(olhs, "random", policy="random")


def held_out(folder, task="olhs"):
    return HeldOut.of(task, settings_of(folder), folder / "data")


@pytest.fixture(scope="module")
def costlier(olhs, long):
    """Deferring 20 % against 60 %, where 40 % are worth it."""
    return compare(Side.of("A", long, 0.2), Side.of("B", long, 0.6), held_out(olhs))


def test_each_side_is_measured_at_its_own_budget(costlier):
    one, other = costlier.sides["champion"], costlier.sides["challenger"]
    assert (one["name"], one["budget"], one["kind"], one["experts"]) == ("A", 0.2, "length", ["majority", LLM])
    assert (one["deferral_rate"], other["deferral_rate"]) == (0.2, 0.6)
    assert (one["quality"]["value"], other["quality"]["value"]) == (0.8, 1.0)
    assert one["cost_per_1k"]["value"] == pytest.approx(0.2 * PER_1K)
    assert other["cost_per_1k"]["value"] == pytest.approx(0.6 * PER_1K)
    assert one["saving"]["value"] == pytest.approx(0.8)
    assert costlier.reference == {"name": LLM, "cost_per_1k": pytest.approx(PER_1K)}


def test_differences_are_challenger_less_champion(costlier):
    assert costlier.quality_difference["value"] == pytest.approx(0.2)
    assert costlier.cost_difference["value"] == pytest.approx(0.4 * PER_1K)
    assert costlier.cost_change["value"] == pytest.approx(2.0)
    assert costlier.unchanged == pytest.approx(0.6)
    assert (costlier.items, costlier.quality, costlier.kind, costlier.unit) == (
        ROWS,
        "accuracy",
        "classification",
        "usd",
    )


def by_hand(figure, columns, read, draws, confidence=0.95):
    """The value and the interval of what `read` makes of resampled rows of `columns`."""
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, len(columns), len(columns)) for _ in range(draws)]
    drawn = [read(columns[picked]) for picked in rows]
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    assert figure["value"] == pytest.approx(read(columns))
    assert figure["ci"] == pytest.approx(np.quantile(drawn, ends).tolist())


def test_every_interval_is_that_of_resampling_by_hand(costlier):
    longest = np.arange(ROWS) / ROWS
    gold = longest >= 1 - LONG / ROWS
    one, other = longest >= 0.8, longest >= 0.4
    columns = np.stack([(~gold | one), (~gold | other), PER_1K * one, PER_1K * other, np.full(ROWS, PER_1K)], axis=1)
    readings = {
        "quality_difference": lambda c: c[:, 1].mean() - c[:, 0].mean(),
        "cost_difference": lambda c: c[:, 3].mean() - c[:, 2].mean(),
        "cost_change": lambda c: c[:, 3].sum() / c[:, 2].sum() - 1,
    }
    for name, read in readings.items():
        by_hand(getattr(costlier, name), columns.astype(float), read, costlier.bootstrap)
    alone = {
        "quality": lambda c: c[:, 0].mean(),
        "cost_per_1k": lambda c: c[:, 2].mean(),
        "saving": lambda c: 1 - c[:, 2].sum() / c[:, 4].sum(),
    }
    for name, read in alone.items():
        by_hand(costlier.sides["champion"][name], columns.astype(float), read, costlier.bootstrap)


def test_macro_f1_is_that_of_each_resample(olhs, long):
    settings = settings_of(olhs)
    task = replace(settings.tasks["olhs"], quality="macro_f1")
    board = HeldOut.of("olhs", replace(settings, tasks={"olhs": task}), olhs / "data")
    found = compare(Side.of("A", long, 0.2), Side.of("B", long, 0.4), board)
    longest = np.arange(ROWS) / ROWS
    gold, one = longest >= 0.6, longest >= 0.8

    def f1(gold, said):
        return 2 * (gold & said).sum() / (gold.sum() + said.sum())

    def read(c):
        gold, said = c[:, 0] > 0, c[:, 1] > 0
        return 1 - (f1(gold, said) + f1(~gold, ~said)) / 2

    by_hand(found.quality_difference, np.stack([gold, one], axis=1).astype(float), read, found.bootstrap)


def test_classes_and_groups_are_read_off_their_own_items(costlier):
    zero, one = costlier.classes
    assert (zero["name"], zero["items"], one["items"]) == ("0", ROWS - LONG, LONG)
    assert zero["quality"] == {"champion": 1.0, "challenger": 1.0}
    assert one["quality"] == {"champion": 0.5, "challenger": 1.0}
    assert one["cost_per_1k"] == {"champion": pytest.approx(0.5 * PER_1K), "challenger": pytest.approx(PER_1K)}
    assert zero["quality_difference"] == {"value": 0.0, "ci": [0.0, 0.0]}
    assert one["quality_difference"]["value"] == pytest.approx(0.5)
    assert [(g["name"], g["items"]) for g in costlier.groups] == [("first", ROWS // 2), ("second", ROWS // 2)]
    rows = np.arange(ROWS)
    asked = np.stack([rows >= 0.8 * ROWS, rows >= 0.4 * ROWS], axis=1) * PER_1K
    columns = np.column_stack([asked, rows % 2]).astype(float)
    inside = lambda c: c[c[:, 2] == 1]  # noqa: E731
    by_hand(
        costlier.groups[0]["cost_difference"],
        columns,
        lambda c: inside(c)[:, 1].mean() - inside(c)[:, 0].mean(),
        costlier.bootstrap,
    )


def test_the_same_bundle_is_no_different_from_itself(olhs, long, chance):
    for folder in (long, chance):
        found = compare(Side.of("A", folder, 0.4), Side.of("B", folder, 0.4), held_out(olhs))
        assert found.unchanged == 1
        for figure in (found.quality_difference, found.cost_difference, found.cost_change):
            assert figure == {"value": 0.0, "ci": [0.0, 0.0]}


def test_summaries_are_compared_by_their_measured_quality(xsum):
    folder = kept(xsum, "long", "xsum")
    found = compare(Side.of("A", folder, 0.0), Side.of("B", folder, 0.4), held_out(xsum, "xsum"))
    small, mixed = (found.sides[role]["quality"]["value"] for role in ("champion", "challenger"))
    items = held_out(xsum, "xsum").items
    marks = held_out(xsum, "xsum").measured(Bundle.load(folder).small.answer(items))["quality"].to_numpy()
    assert small == pytest.approx(marks.mean())
    assert mixed == pytest.approx((marks[: ROWS - LONG].sum() + LONG) / ROWS)
    assert 0 < small < mixed < 1
    assert (found.classes, found.kind, found.quality) == ([], "summarisation", "rougeL")
    assert [group["name"] for group in found.groups] == ["first", "second"]
    assert Comparison(**json.loads(json.dumps(found.as_dict()))) == found
