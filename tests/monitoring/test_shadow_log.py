"""Two versions on the same live requests: who defers more, at what cost, and how often they say the same."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askless.errors import DataError
from askless.monitoring.decision_log import DecisionLog, log_rows
from askless.monitoring.shadow_log import Live, beside, live
from askless.registry.comparison import compare, on_live
from askless.registry.comparison_page import live_words, markdown, page, text, write
from askless.registry.held_out import HeldOut, Side
from tests.log_data import row
from tests.registry_data import LLM, PRICE, kept, project, settings_of

HOW = {"confidence": 0.95, "draws": 200}


def logs(folder, first, second):
    """Both logs with these rows; returns the folder of the first."""
    for place, rows in ((folder, first), (beside(folder), second)):
        DecisionLog(place).append(log_rows(rows))
    return folder


def test_shares_costs_and_likeness_of_both(tmp_path):
    first = [row(f"i{n}", "1", n < 40) for n in range(100)]
    second = [row(f"i{n}", "2", n < 50, None if n < 50 else "1") for n in range(100)]
    found = live(logs(tmp_path / "log", first, second), ("1", "2"), {"llm": 0.002}, **HOW)
    assert (found.items, found.champion, found.challenger, found.since) == (100, "1", "2", "2026-01-01 00:00")
    assert [found.deferral_rate[role]["value"] for role in ("champion", "challenger")] == [0.4, 0.5]
    assert found.deferral_difference["value"] == pytest.approx(0.1)
    low, high = found.deferral_difference["ci"]
    assert 0.02 < low < 0.1 < high < 0.2
    assert [found.cost_per_1k[role]["value"] for role in ("champion", "challenger")] == pytest.approx([0.8, 1.0])
    assert found.cost_difference["value"] == pytest.approx(0.2)
    assert found.cost_difference["ci"] == pytest.approx([2 * low, 2 * high])
    assert found.same_expert == 0.9
    assert (found.compared, found.same_answer) == (90, pytest.approx(40 / 90)), "10 of which only one answer is known"
    assert Live(**json.loads(json.dumps(found.as_dict()))) == found


def test_what_counts_is_the_last_decision_of_the_two_versions_compared(tmp_path):
    first = [row("a", "1", True), row("a", "1", False), row("b", "9", True), row("c", "1", False), row("a", "9", True)]
    second = [row("a", "2", True, None), row("b", "2", True, None), row("d", "2", True, None)]
    found = live(logs(tmp_path / "log", first, second), ("1", "2"), {"llm": 1.0}, **HOW)
    assert found.items == 1
    assert found.deferral_rate == {
        "champion": {"value": 0.0, "ci": [None, None]},
        "challenger": {"value": 1.0, "ci": [None, None]},
    }
    assert (found.same_expert, found.compared, found.same_answer) == (0.0, 0, None)


def test_an_expensive_expert_that_failed_was_still_meant(tmp_path):
    first = [row(f"i{n}", "1", True, "0", failed=True) for n in range(30)]
    second = [row(f"i{n}", "2", True, None) for n in range(30)]
    found = live(logs(tmp_path / "log", first, second), ("1", "2"), {"llm": 1.0}, **HOW)
    assert found.deferral_difference == {"value": 0.0, "ci": [0.0, 0.0]} and found.same_expert == 1.0
    assert found.compared == 0, "what the expensive one would have said is not known"


def test_two_expensive_experts_have_their_own_prices_and_one_without_is_named(tmp_path):
    first = [row("a", "1", True, expensive="llm"), row("b", "1", True, expensive="large")]
    second = [row("a", "2", True, None, expensive="large"), row("b", "2", True, None, expensive="large")]
    folder = logs(tmp_path / "log", first, second)
    found = live(folder, ("1", "2"), {"llm": 1.0, "large": 3.0}, **HOW)
    assert found.cost_difference["value"] == pytest.approx(1000.0) and found.same_expert == 0.5
    with pytest.raises(DataError) as error:
        live(folder, ("1", "2"), {"llm": 1.0}, **HOW)
    assert str(error.value).startswith("live requests: no price of 'large'. Allowed: one of ['llm'].")


def test_nothing_in_common_is_said(tmp_path):
    folder = logs(tmp_path / "log", [row("a", "1", True)], [row("a", "3", True)])
    with pytest.raises(DataError) as error:
        live(folder, ("1", "2"), {"llm": 1.0}, **HOW)
    assert str(error.value) == (
        f"{folder}: no item that versions 1 and 2 both decided. Allowed: rows of both, here and in {folder}-shadow. "
        "Serve the one with --shadow naming the other, and wait for requests."
    )


@settings(max_examples=20)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=20, max_size=60))
def test_the_difference_is_that_of_the_shares_and_within_its_interval(tmp_path_factory, sent):
    first = [row(f"i{n}", "1", one) for n, (one, _) in enumerate(sent)]
    second = [row(f"i{n}", "2", other) for n, (_, other) in enumerate(sent)]
    found = live(logs(tmp_path_factory.mktemp("l") / "log", first, second), ("1", "2"), {"llm": 1.0}, **HOW)
    means = np.mean(sent, axis=0)
    assert found.deferral_difference["value"] == pytest.approx(means[1] - means[0])
    low, high = found.deferral_difference["ci"]
    assert -1 <= low <= high <= 1
    assert found.same_expert == pytest.approx(np.mean([one == other for one, other in sent]))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A comparison on test items and on live requests."""
    folder = project(tmp_path_factory.mktemp("olhs"))
    long = kept(folder, "long")
    held_out = HeldOut.of("olhs", settings_of(folder), folder / "data")
    made = compare(Side.of("models:/askless-olhs/1", long, 0.2), Side.of("models:/askless-olhs/2", long, 0.6), held_out)
    first = [row(f"i{n}", "1", n < 20, expensive=LLM) for n in range(100)]
    second = [row(f"i{n}", "2", n < 60, expensive=LLM) for n in range(100)]
    return on_live(made, held_out, logs(folder / "data/log/olhs", first, second), ("1", "2"))


def test_live_requests_are_priced_by_the_answers_on_record(found):
    assert found.live["prices"] == {LLM: pytest.approx(PRICE)}
    assert found.live["cost_per_1k"]["challenger"]["value"] == pytest.approx(600 * PRICE)


def test_they_stand_beside_the_comparison_in_every_form(found, tmp_path):
    shown = text(found)
    assert "on live requests" in shown and "version 1 in service and by version 2 in its shadow" in " ".join(
        shown.split()
    )
    assert re.search(r"^deferred % +20\.0 \[.*\] +60\.0 \[.*\] +\+40\.0 \[", shown, re.M)
    said = markdown(found)
    assert "### On live requests" in said and "| same expert % |  |  | 60.0 |" in said
    html = page(found)
    assert 'id="live-part"' in html and live_words(found)[:40] in html
    write(tmp_path, found)
    kept_json = json.loads((tmp_path / "comparison.json").read_text())
    assert kept_json["live"] == json.loads(json.dumps(found.live))


def test_without_them_nothing_is_said_of_them(found):
    alone = replace(found, live=None)
    assert "live requests" not in text(alone) + markdown(alone) + page(alone)
