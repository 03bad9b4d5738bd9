"""A comparison as lines, as markdown and as a page: the figures are there, in full and in no other way."""

import json
import re
from dataclasses import replace

import pytest

from askless.registry.comparison import Comparison, compare
from askless.registry.comparison_page import MOST_GROUPS, change, cost_words, markdown, page, sentence, text, write
from askless.registry.held_out import HeldOut, Side
from askless.report.wording import aligned
from tests.registry_data import kept, project, settings_of
from tests.report.test_report_browser import PHONE
from tests.report.test_report_browser import browser as browser


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = project(tmp_path_factory.mktemp("olhs"))
    long = kept(folder, "long")
    sides = Side.of("models:/askless-olhs/1", long, 0.2), Side.of("models:/askless-olhs/2", long, 0.6)
    return compare(*sides, HeldOut.of("olhs", settings_of(folder), folder / "data"))


def many(found, groups):
    """The comparison with so many groups, in the later of which more is lost."""
    row = found.groups[0]
    lost = [
        {**row, "name": f"g{i:02}", "quality_difference": {"value": -i / 100, "ci": [-0.5, 0.1]}} for i in range(groups)
    ]
    return replace(found, groups=lost)


def test_the_lines_of_a_terminal(found):
    lines = text(found).splitlines()
    assert lines[0].split() == ["champion", "challenger", "difference"]
    assert lines[1].split() == ["models:/askless-olhs/1", "models:/askless-olhs/2"]
    assert re.fullmatch(r"accuracy % +80\.0 \[7.*\] +100\.0 \[100\.0, 100\.0\] +\+20\.0 \[\+1.*\]", lines[2])
    assert re.fullmatch(r"\$ per 1,000 +0\.200 \[.*\] +0\.600 \[.*\] +\+200\.0 \[.*\] %", lines[3])
    assert re.fullmatch(r"saving % +80\.0 \[.*\] +40\.0 \[.*\]", lines[4])
    assert lines[5].split() == ["deferred", "%", "20.0", "60.0"]
    assert "class  items  right %, champion" in text(found)
    assert re.search(r"^1 +80 +50\.0 +100\.0 +\+50\.0 \[.*\] +0\.500 +1\.00$", text(found), re.M)
    assert "200 test items of olhs" in text(found)
    assert max(map(len, lines)) <= 120


def test_markdown_has_what_the_lines_have(found):
    said = markdown(found, "Kept | for now.")
    assert said.startswith("**Kept | for now.**\n\naccuracy +20.0 [")
    tables = [line for line in said.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables[:10]} == {5}
    assert "| 1 | 80 | 50.0 | 100.0 |" in said
    assert markdown(found).startswith("accuracy +20.0")


def test_the_sentence_has_both_differences(found):
    said = sentence(found)
    assert said.startswith("accuracy +20.0 [")
    assert "points; cost +200.0 [" in said
    assert said.endswith("] %.")


def test_a_change_in_cost_has_its_sign():
    assert [change(v) for v in (0.0, 1.5, -1.5, -2e-6, 150.0)] == ["0", "+1.50", "-1.50", "-2e-06", "+150"]


def test_a_champion_that_was_free_has_no_share(found):
    free = replace(found, cost_change={"value": None, "ci": [None, None]})
    assert re.fullmatch(r"cost \+0\.400 \[.*\] \$ per 1,000 items, where it was nothing", cost_words(free))
    assert "the champion costs nothing" in page(free)
    assert "\n$ per 1,000" in text(free)


def test_columns_stand_where_they_are_told():
    assert aligned([("a", "b"), ("xx", "1")]) == "a   b\nxx  1"
    assert aligned([("a", "bbb"), ("xx", "1")], right=("a",)) == " a  bbb\nxx  1"


def test_the_page_asks_nothing_of_the_network_and_says_what_was_decided(found):
    html = page(found, "refused", "Cost <b>may</b> be higher [-1.0, +2.0] %.")
    assert "✕</span> Refused" in html
    assert "Cost &lt;b&gt;may&lt;/b&gt; be higher" in html
    assert not re.search(r"https?://|<script|<link (?!rel=\"icon\" href=\"data:,\")", html)
    assert page(found).count("verdict") == html.count("verdict") - 1
    assert "✓</span> Promoted" in page(found, "promoted", "x")


def test_many_groups_are_those_in_which_most_is_lost(found):
    some, crowd = many(found, MOST_GROUPS), many(found, MOST_GROUPS + 5)
    assert "more are in comparison.json" not in page(some)
    assert "5 more are in comparison.json" in page(crowd)
    shown = re.findall(r"^(g\d\d) ", text(crowd), re.M)
    assert shown == [f"g{i:02}" for i in range(MOST_GROUPS + 4, 4, -1)]
    assert re.findall(r"^(g\d\d) ", text(some), re.M) == [f"g{i:02}" for i in range(MOST_GROUPS)]


def test_files_are_written_and_read_back(tmp_path, found):
    path = write(tmp_path / "out", found, "promoted", "Better.")
    assert path == tmp_path / "out/comparison.html"
    told = json.loads((tmp_path / "out/comparison.json").read_text())
    assert (told.pop("outcome"), told.pop("reason")) == ("promoted", "Better.")
    assert Comparison(**told) == found
    assert (tmp_path / "out/comparison.md").read_text() == markdown(found, "Better.")


def test_a_group_without_draws_has_a_dash(found):
    none = {"value": None, "ci": [None, None]}
    row = {**found.groups[0], "name": "empty", "items": 0, "quality": dict.fromkeys(found.sides), "cost_per_1k": {}}
    row |= {"cost_per_1k": dict.fromkeys(found.sides), "quality_difference": none, "cost_difference": none}
    bare = replace(found, groups=[row])
    assert re.search(r"^empty +0 +– +– +– +– +–$", text(bare), re.M)
    assert "no items" in page(bare)


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
def test_in_a_browser_nothing_is_cut_off_or_asked_for(found, browser, tmp_path, dark):
    path = write(tmp_path, many(found, 30), "refused", sentence(found))
    asked = []
    with browser.new_context(viewport=PHONE, color_scheme="dark" if dark else "light") as context:
        tab = context.new_page()
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("console", lambda said: asked.append(said.text))
        tab.goto(path.as_uri())
        width = tab.evaluate("document.documentElement.scrollWidth")
        assert tab.locator("#group-part tbody tr").count() == MOST_GROUPS
        assert tab.locator("h1").inner_text().startswith("accuracy +20.0")
    assert width == PHONE["width"]
    assert asked == [path.as_uri()]
