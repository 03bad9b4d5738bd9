"""The report in a real browser: nothing asked of the network, nothing cut off, every number right."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from askless.report import wording as words
from askless.report.report import write_report
from askless.report.rows import curve_series
from tests.report.report_data import evaluation, examples
from tests.report.report_documents import NASTY
from tests.report.report_learning import told

pytestmark = [pytest.mark.browser, pytest.mark.slow]
CHROMIUM = os.environ.get("ASKLESS_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
PHONE = {"width": 375, "height": 800}
DESK = {"width": 1280, "height": 900}
OPEN = "() => document.querySelectorAll('details').forEach((e) => { e.open = true; })"
LEAST_CONTRAST = """() => {
  const curved = (v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = (c) => {
    const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map((v) => curved(v / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = getComputedStyle(e).backgroundColor;
      if (!/, 0\\)$/.test(c)) return c;
    }
  };
  const ratio = (a, b) => (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  const written = [...document.querySelectorAll("main *, header *")].filter((e) => e.offsetParent
    && !e.closest("svg, noscript, script, option")
    && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()));
  return Math.min(...written.map((e) => ratio(light(getComputedStyle(e).color), light(behind(e)))));
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM:
        pytest.skip("no Chromium: install it, or set ASKLESS_CHROMIUM to its path")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The report of one evaluation, written once."""
    folder = tmp_path_factory.mktemp("reports")
    versions = {"git_commit": "0123456789abcdef" * 4}

    @cache
    def write(which: str) -> Path:
        world, *nasty = which.split()
        summary, curve = evaluation(world)
        shown = examples(world)
        if nasty == ["learning"]:
            summary = {**summary, "learning": told()}
        elif nasty:
            shown = [{**shown[0], **dict.fromkeys(("id", "document", "reference"), text)} for text in NASTY.values()]
            for example in shown:
                example["answers"] = [{**answer, "text": example["document"]} for answer in example["answers"]]
        return write_report(folder / which, summary, curve, versions=versions, examples=shown)

    return write


@pytest.fixture
def opened(browser: Any, written: Callable[[str], Path]) -> Iterator[Any]:
    """Opens the report of one evaluation; at the end nothing was logged and only the file itself was asked for."""
    contexts, complaints, requests = [], [], []

    def open_report(which: str = "reached", viewport: dict[str, int] = DESK, **options: Any) -> Any:
        contexts.append(browser.new_context(viewport=viewport, **options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(written(which).as_uri())
        return page

    yield open_report
    for context in contexts:
        context.close()
    assert complaints == []
    assert all(url.startswith("file://") and url.endswith("/report.html") for url in requests)
    assert len(requests) == len(contexts)


def series_of(which: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in curve_series(*evaluation(which))}


def tip_lines(one: dict[str, Any], point: dict[str, Any], unit: str = "usd", quality: str = "") -> list[str]:
    """What the tooltip says of a point."""
    value = words.percent(point["quality"])
    lines = [one["label"], f"{quality} {value}" if quality else f"accuracy {value}\u00a0%"]
    lines.append(f"95 % interval {words.percent(point['low'])} … {words.percent(point['high'])}")
    lines.append(f"{words.cost(point['cost'], unit)} per 1,000 items")
    return lines if one["alone"] else [*lines, f"{words.percent(point['rate'])} % deferred"]


def tip(page: Any) -> list[str]:
    return list(page.locator("#tip > *").all_text_contents())


def planned(which: str, policy: str, items: int, wanted: float) -> tuple[float, float]:
    """Cost per month of the cheapest point that reaches the quality, and of the LLM alone."""
    series = series_of(which)

    def cheapest(name: str) -> float:
        return min(p["cost"] for p in series[name]["points"] if p["quality"] >= wanted / 100 - 1e-9) * items / 1000

    return cheapest(policy), cheapest("always_llm")


@pytest.mark.parametrize("which", ["reached", "measures", "documents", "documents nasty"])
def test_no_sideways_scroll_on_a_phone(opened: Any, which: str) -> None:
    page = opened(which, {"width": 768, "height": 800})
    page.evaluate(OPEN)
    for width in (768, 375, 320):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if width < 600:
            box = page.locator(".scroll:has(.policies)")
            assert box.evaluate("e => e.scrollWidth > e.clientWidth && getComputedStyle(e).overflowX === 'auto'")


@pytest.mark.parametrize("which", ["missed", pytest.param("documents", marks=pytest.mark.slow)])
def test_contrast_in_light_and_dark(opened: Any, which: str, tmp_path: Path) -> None:
    page = opened(which, PHONE)
    page.evaluate(OPEN)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(LEAST_CONTRAST) >= 4.5
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (max(ground) < 60) == (scheme == "dark")
        picture = tmp_path / f"{scheme}.png"
        page.screenshot(path=picture, full_page=True)
        assert picture.stat().st_size > 50_000


def test_hover_shows_the_nearest_point(opened: Any) -> None:
    page, series = opened(), series_of("reached")
    assert page.locator("#tip").is_hidden()
    spot = page.locator("#curve circle[data-policy='always_llm']").bounding_box()
    page.mouse.move(spot["x"] + spot["width"] / 2, spot["y"] + spot["height"] / 2)
    names = ("always_llm", "team", "team_joint", "length")
    near = [tip_lines(series[name], series[name]["points"][-1]) for name in names]
    assert tip(page) in near
    page.mouse.move(5, 5)
    assert page.locator("#tip").is_hidden()


def test_arrow_keys_walk_the_headline(opened: Any) -> None:
    page, one = opened(), series_of("reached")["team"]
    page.locator("#curve").focus()
    page.keyboard.press("ArrowRight")
    assert tip(page) == tip_lines(one, one["points"][0])
    for step in (1, 2, 3):
        page.keyboard.press("ArrowRight")
        assert tip(page) == tip_lines(one, one["points"][step])
    page.keyboard.press("ArrowLeft")
    assert tip(page) == tip_lines(one, one["points"][2])
    page.keyboard.press("ArrowDown")
    assert tip(page)[0] != one["label"]
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()


def test_a_tap_shows_values_inside_the_screen(opened: Any) -> None:
    page = opened("reached", PHONE, has_touch=True)
    page.locator("#curve").tap(position={"x": 200, "y": 100})
    assert len(tip(page)) in (4, 5)
    box = page.locator("#tip").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"]


def test_the_operating_point_is_on_the_curve(opened: Any) -> None:
    page = opened()
    head = evaluation("reached")[0]["headline"]
    page.locator("#curve").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    assert tip(page)[0] == "team, operating point"
    assert tip(page)[3] == f"{words.cost(head['cost_per_1k']['value'], 'usd')} per 1,000 items"


def test_the_legend_hides_and_shows(opened: Any) -> None:
    page = opened()
    button = page.locator("#legend button[data-policy='team_joint']")
    drawn = page.locator("#curve path[data-policy='team_joint']")
    assert button.get_attribute("aria-pressed") == "true" and drawn.count() == 1
    button.click()
    assert button.get_attribute("aria-pressed") == "false" and drawn.count() == 0
    button.press("Enter")
    assert drawn.count() == 1
    chance = page.locator("#curve path[data-policy='random']")
    assert chance.count() == 0 and page.locator("#legend button:visible").count() == 6
    assert page.inner_text("#more-curves") == "1 more"
    page.click("#more-curves")
    page.locator("#legend button[data-policy='random']").click()
    assert chance.count() == 1
    for each in page.locator("#legend button[aria-pressed]").all():
        if each.get_attribute("aria-pressed") == "true":
            each.click()
    assert page.locator("#curve path.curve").count() == 0


def test_the_calculator_computes_what_python_computes(opened: Any) -> None:
    page = opened()
    cases = itertools.product(["team", "random"], [1, 20_000, 3_000_000], [80.0, 88.5, 90.1])
    for policy, items, wanted in cases:
        page.select_option("#policy", policy)
        page.fill("#volume", str(items))
        page.fill("#wanted", str(wanted))
        team, llm = planned("reached", policy, items, wanted)
        told = [page.inner_text(name) for name in ("#team-bill", "#llm-bill", "#saved")]
        assert told == list(words.monthly(team, llm, "usd").values())
        assert page.inner_text("#saved-how") == f"{100 * (1 - team / llm):.1f} % less than the LLM alone"


def test_the_calculator_says_what_is_not_reached(opened: Any) -> None:
    page, series = opened(), series_of("reached")
    best = max(p["quality"] for p in series["team"]["points"])
    assert series["always_llm"]["points"][0]["quality"] < best
    page.fill("#wanted", f"{100 * best - 0.05:.2f}")
    assert page.inner_text("#llm-bill") == "not reached"
    assert page.inner_text("#team-bill").startswith("$")
    assert "does not reach this quality" in page.inner_text("#saved-how")
    page.fill("#wanted", "99.9")
    assert page.inner_text("#team-bill") == page.inner_text("#llm-bill") == "not reached"
    assert page.inner_text("#saved-how") == "Neither reaches this quality."
    page.fill("#volume", "")
    assert page.inner_text("#team-bill") == "–"


def test_slider_and_number_keep_step(opened: Any) -> None:
    page = opened()
    small = series_of("reached")["always_mlp"]["points"][0]["quality"]
    assert float(page.get_attribute("#wanted", "min")) == pytest.approx(100 * small, abs=0.1)
    page.locator("#wanted-range").press("ArrowLeft")
    assert page.input_value("#wanted") == page.input_value("#wanted-range")
    page.fill("#wanted", "85")
    assert page.input_value("#wanted-range") == "85"


def test_costs_in_seconds(opened: Any) -> None:
    page = opened("seconds")
    team, llm = planned("seconds", "team", 1_000_000, float(page.input_value("#wanted")))
    assert page.inner_text("#team-bill") == words.monthly(team, llm, "seconds")["own"]
    one = series_of("seconds")["team"]
    page.locator("#curve").focus()
    page.keyboard.press("ArrowRight")
    assert tip(page) == tip_lines(one, one["points"][0], "seconds")


def test_marks_are_told_without_a_sign(opened: Any) -> None:
    page, one = opened("documents"), series_of("documents")["team"]
    page.locator("#curve").focus()
    page.keyboard.press("ArrowRight")
    assert tip(page) == tip_lines(one, one["points"][0], quality="ROUGE-L F")
    assert page.locator("#curve text", has_text="ROUGE-L F").text_content() == "ROUGE-L F"
    assert page.inner_text("label[for=wanted]") == "Quality wanted: ROUGE-L F"
    alone = series_of("documents")["always_llm"]["points"][0]["quality"]
    assert page.inner_text("#llm-how") == f"ROUGE-L F {words.percent(alone)}"


def test_examples_open_one_by_one(opened: Any) -> None:
    page = opened("documents")
    page.click("#examples-part > .fold > summary")
    cards, answers = page.locator(".example"), page.locator(".example .answer:visible")
    assert cards.count() == len(examples("documents")) and answers.count() == 4
    cards.nth(1).locator("summary").click()
    assert answers.count() == 8
    cards.nth(0).locator("summary").press("Enter")
    assert answers.count() == 4


@pytest.mark.parametrize(("viewport", "columns"), [(PHONE, 1), (DESK, 4)])
def test_summaries_stand_side_by_side_where_there_is_room(opened: Any, viewport: dict[str, int], columns: int) -> None:
    page = opened("documents", viewport)
    page.click("#examples-part > .fold > summary")
    boxes = [answer.bounding_box() for answer in page.locator(".answer:visible").all()]
    assert len({box["x"] for box in boxes}) == columns
    assert len({box["y"] for box in boxes}) == 4 // columns


def test_long_texts_scroll_in_their_own_box(opened: Any) -> None:
    page = opened("documents nasty", DESK)
    page.evaluate(OPEN)
    for box in page.locator(".example .text").all():
        assert box.evaluate("e => e.clientHeight <= 200 && e.offsetWidth <= e.parentElement.clientWidth")
    long = page.locator(".example .text").nth(list(NASTY).index("words") * 6)
    assert long.evaluate("e => e.scrollHeight > 1.5 * e.clientHeight && getComputedStyle(e).overflowY === 'auto'")


def test_one_budget_table_at_a_time(opened: Any) -> None:
    page = opened()
    page.click("nav a[href='#budgets-part']")
    buttons = page.locator("#switch button")
    assert buttons.all_text_contents()[:3] == ["accuracy", "macro-F1", "F1 of class “1”"]
    assert page.locator(".panel:visible").count() == 1
    buttons.nth(3).click()
    assert page.locator(".panel:visible caption").get_attribute("id") == "budget-cost_per_1k-caption"


@pytest.mark.parametrize("viewport", [DESK, PHONE])
def test_learners_are_shown_one_budget_at_a_time(opened: Any, viewport: dict[str, int]) -> None:
    page = opened("reached learning", viewport)
    page.click("nav a[href='#learning-part']")
    part = page.locator("#learning-part")
    assert part.locator(".switch button").count() == part.locator(".panel").count() == 2
    assert part.locator(".panel:visible h3").text_content() == "$3,000 per 1,000 items"
    part.locator(".switch button").nth(1).click()
    assert part.locator(".panel:visible .line").count() == 4
    assert part.locator(".panel:visible .asked rect").count() == 2 * 3 * 10
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(LEAST_CONTRAST) >= 4.5
    page.click("nav a[href='#budgets-part']")
    assert page.locator("#budgets-part .panel:visible").count() == 1, "each switch has panels of its own"


def test_without_javascript_nothing_is_lost_but_the_toys(opened: Any) -> None:
    page = opened("reached", PHONE, java_script_enabled=False)
    assert page.locator("noscript img").is_visible()
    page.click("#budgets-part > .fold > summary")
    assert page.locator(".panel:visible").count() == 5
    assert page.locator("#policies tbody tr:visible").count() == len(evaluation("reached")[0]["policies"])


@pytest.mark.parametrize("viewport", [DESK, {"width": 390, "height": 844}])
def test_three_screens_then_details_are_folded(opened: Any, viewport: dict[str, int]) -> None:
    page = opened("large", viewport)
    assert page.locator("#measures-part").bounding_box()["y"] <= 3 * viewport["height"]
    assert page.locator(".fold[open]").count() == (viewport is DESK)
    rows = page.locator("#policies tbody tr:visible")
    assert rows.count() == 5
    for cell in page.locator("#policies :is(th, td):visible").all():
        box = cell.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= viewport["width"]
    page.click("#more-rows")
    assert rows.count() == len(evaluation("large")[0]["policies"])


def test_the_volume_changes_every_amount_of_a_month(opened: Any) -> None:
    page, summary = opened(), evaluation("reached")[0]
    for items in (1_000_000, 250, 40_000_000):
        page.fill("#volume", str(items))
        bill = words.bill({**summary, "items_per_month": items})
        assert [page.inner_text(f"#{name}-month") for name in bill] == list(bill.values())
        assert page.inner_text("#policies tr.headline .month") == bill["own"]
        assert page.inner_text("#llm-bill") == bill["reference"]


def test_dots_stay_inside_their_frame(opened: Any) -> None:
    page = opened()
    page.evaluate(OPEN)
    for plot in page.locator(".calibration svg").all():
        frame = plot.locator(".frame").bounding_box()
        for dot in plot.locator("circle, .after").all():
            box = dot.bounding_box()
            for start, size in (("x", "width"), ("y", "height")):
                assert frame[start] - 1 <= box[start]
                assert box[start] + box[size] <= frame[start] + frame[size] + 1
