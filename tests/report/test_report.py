"""The report: self-contained, true to the summary, and safe with any name."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from askless import schema
from askless.report import figures
from askless.report import wording as words
from askless.report.report import headline, markdown_summary, write_report
from askless.report.rows import curve_series, policy_rows
from tests.report.report_data import BUDGETS, evaluation, examples
from tests.report.report_page import Page, bare, flat

FILES = ("curve.png", "reliability.png", "report.html")
VERSIONS = {"git_commit": "3f2a9c1", "dvc_lock_sha256": "77ab19"}
LINKS = ("src", "href", "action", "data", "poster", "srcset", "formaction", "background", "xlink:href")


Made = tuple[dict[str, Any], Page, str]


def written(folder: Path, which: str, **more: Any) -> Made:
    """The summary of one of the worlds with `more` in it, and its report, written into `folder`."""
    summary, curve = evaluation(which)
    summary = {**summary, **more}
    path = write_report(folder, summary, curve, versions=VERSIONS, examples=examples(which))
    html = path.read_text(encoding="utf-8")
    return summary, Page(html), html


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What is `written`; the report of a world as it is, which tests only read, is written once."""
    known: dict[str, Made] = {}

    def make(which: str, **more: Any) -> Made:
        if more or which not in known:
            found = written(tmp_path_factory.mktemp(which), which, **more)
            return found if more else known.setdefault(which, found)
        return known[which]

    return make


def test_three_whole_files_are_written(tmp_path: Path) -> None:
    written(tmp_path, "reached")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(FILES)
    for name in FILES[:2]:
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG\r\n")
    assert (tmp_path / "report.html").stat().st_size < 600_000


def test_the_same_evaluation_gives_the_same_bytes(tmp_path: Path) -> None:
    written(tmp_path, "reached")
    first = [(tmp_path / name).read_bytes() for name in FILES]
    written(tmp_path, "reached")
    assert first == [(tmp_path / name).read_bytes() for name in FILES]


def test_a_failure_leaves_the_last_report_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "reached")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def fail(_: Any) -> bytes:
        raise RuntimeError("no picture")

    monkeypatch.setattr(figures, "reliability", fail)
    with pytest.raises(RuntimeError, match="no picture"):
        written(tmp_path, "missed")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("which", ["reached", "seconds", "documents"])
def test_the_page_asks_nothing_of_any_network(made: Any, which: str) -> None:
    _, page, html = made(which)
    assert not re.search(r"https?:|@import|\bfetch\(|XMLHttpRequest|import\(|WebSocket", html)
    assert set(re.findall(r"url\([\"']?(.)", html)) <= {"#"}
    for tag, attrs in page.tags:
        for name in LINKS:
            assert (attrs.get(name) or "#").startswith(("#", "data:")), (tag, attrs)
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'")


@pytest.mark.parametrize("which", ["reached", "documents"])
def test_structure_and_names_for_assistive_technology(made: Any, which: str) -> None:
    _, page, html = made(which, splits={"train": {"0": 2, "1": 3}})
    tags = [t for t, _ in page.tags]
    assert tags.count("h1") == 1
    assert tags.count("table") == tags.count("caption") > 7
    assert all(a.get("aria-label") for _, a in page.tags if a.get("role") == "region" and "aria-labelledby" not in a)
    assert all(a.get("alt") for t, a in page.tags if t == "img")
    assert all(a.get("aria-label") for t, a in page.tags if t == "svg")
    ids = [a["id"] for _, a in page.tags if a.get("id")]
    assert len(ids) == len(set(ids))
    for _, attrs in page.tags:
        for name in ("aria-labelledby", "aria-describedby", "for"):
            assert name not in attrs or attrs[name] in ids
        if (attrs.get("href") or "").startswith("#"):
            assert (attrs["href"] or "")[1:] in ids
    assert '<html lang="en">' in html and "width=device-width" in html


def test_headline_and_what_it_rests_on(made: Any) -> None:
    summary, page, _ = made("reached")
    said = page.said()
    assert headline(summary) == " ".join(filter(None, (summary["headline"]["text"], summary["headline"]["best"])))
    assert summary["headline"]["text"] in said.replace("\u00a0", " ")
    assert words.best(summary) == summary["headline"]["best"]
    assert summary["headline"]["best"] in said.replace("\u00a0", " ")
    assert "✓ Reached" in said
    assert "600 items, 3 seeds (67, 68, 69), 95 % intervals over items and seeds (60 resamples)" in said.replace(
        "\u00a0", " "
    )


def test_policies_table_is_the_summary(made: Any) -> None:
    summary, page, _ = made("reached")
    for row in policy_rows(summary):
        policy, key = summary["policies"][row["name"]], row["label"]
        point = policy.get("operating_point")
        if point is None:
            point = {"quality": {"value": policy["quality"], "ci": policy["quality_ci"]}, "deferral_rate": None}
            point["cost_per_1k"] = {"value": policy["cost_per_1k"], "ci": [None, None]}
        want = [*flat(point["quality"]), *bare(point["cost_per_1k"])]
        want += [each for each in flat(row["saved"]) if each is not None]
        other = row["name"].startswith("always_") and row["name"] not in ("always_mlp", "always_llm")
        want.append(None if other else point["deferral_rate"])
        if policy["swept"]:
            gap = [policy["apgr"], *(policy["apgr_ci"] if policy["pair"] else [])]
            want += [policy["auc"], *policy["auc_ci"], policy["auc_line"], *gap]
            want += policy["cpt"].values()
        else:
            want += [None] * 5
        for saving in policy["saving_at_equal_quality"].values():
            want += flat(saving)
        assert page.numbers["measures", key] == want, key
        short = [*flat(point["quality"]), point["cost_per_1k"]["value"]]
        assert page.numbers["policies", row["title"]] == short + [v for v in flat(row["saved"]) if v is not None], key
        assert policy["about"] in page.said() and (row["name"].startswith("always_") or policy["title"] in page.said())


def test_five_policies_are_shown_at_first() -> None:
    summary, _ = evaluation("reached")
    shown = [row for row in policy_rows(summary) if row["shown"]]
    assert [row["role"] for row in shown] == ["headline", "other", "other", "reference", "small"]


def test_policies_of_one_name_are_told_apart() -> None:
    summary = copy.deepcopy(evaluation("reached")[0])
    summary["policies"]["team"]["title"] = summary["policies"]["length"]["title"]
    titles = {row["name"]: row["title"] for row in policy_rows(summary)}
    assert titles["team"] == "By length (team)" and titles["length"] == "By length (length)"
    assert titles["random"] == "By chance" and titles["always_llm"] == "llm alone"


@pytest.mark.parametrize(
    ("own", "reference", "unit", "said"),
    [
        (0.664, 33.776, "usd", ["$0.66", "$33.78", "$33.12"]),
        (1234.4, 999.6, "usd", ["$1,234", "$1,000", "\u2212$234"]),
        (3e-5, 33.776, "usd", ["<$0.01", "$33.78", "$33.78"]),
        (0.00066, 0.03378, "usd", ["$0.0007", "$0.0338", "$0.0331"]),
        (0.0, 0.0, "usd", ["$0.00", "$0.00", "$0.00"]),
        (5.0, 1e6, "seconds", ["5 s", "1,000,000 s", "999,995 s"]),
    ],
)
def test_amounts_of_a_month_add_up(own: float, reference: float, unit: str, said: list[str]) -> None:
    assert list(words.monthly(own, reference, unit).values()) == said


def test_dollars_a_month_come_first(made: Any) -> None:
    summary, page, _ = made("reached", items_per_month=2_000_000)
    said, bill = page.said(), words.bill(summary)
    head = summary["headline"]
    assert bill == words.monthly(
        2000 * head["cost_per_1k"]["value"], 2000 * summary["policies"]["always_llm"]["cost_per_1k"], "usd"
    )
    assert said.index(bill["saved"]) < said.index(bill["own"]) < said.index(bill["reference"])
    assert said.index(bill["reference"]) < said.index("Same quality as llm alone")
    assert "Saved a month" in said
    assert "Less a month, but the quality is not certain" in made("missed")[1].said()


def test_policies_that_keep_the_quality_come_first_and_the_bound_last(made: Any) -> None:
    summary, _, _ = made("reached")
    rows = policy_rows(summary)
    assert rows[-1]["name"] == "oracle"
    reached = [row["reached"] for row in rows[:-1]]
    assert reached == sorted(reached, reverse=True)
    costs = [row["cost"]["value"] for row in rows[:-1] if row["reached"]]
    assert costs == sorted(costs)


def test_experts_table_is_the_summary(made: Any) -> None:
    summary, page, _ = made("measures")
    for name, expert in summary["experts"].items():
        want = [v for q in ("accuracy", "macro_f1", "f1_positive") for v in flat(expert[q])]
        want += [*bare(expert["cost_per_1k"]), expert["ece"], expert["unparsed"]]
        assert page.numbers["experts", name] == want
    assert summary["experts"]["llm"]["unparsed"] > 0
    assert page.numbers["experts", "majority"][-2] is None


def test_budget_tables_are_the_summary(made: Any) -> None:
    summary, page, _ = made("reached")
    points = summary["policies"]["team"]["points"]
    assert [p["budget"] for p in points] == list(BUDGETS)
    for measure in ("accuracy", "macro_f1", "f1_positive"):
        assert page.numbers[f"budget-{measure}", "team"] == [v for p in points for v in flat(p[measure])]
        assert page.numbers[f"budget-{measure}", "llm alone"] == flat(summary["experts"]["llm"][measure])
    assert page.numbers["budget-cost_per_1k", "team"] == [v for p in points for v in bare(p["cost_per_1k"])]
    assert page.numbers["budget-deferral_rate", "team"] == [p["deferral_rate"] for p in points]


def test_misrouted_and_groups_are_the_summary(made: Any) -> None:
    summary, page, _ = made("reached")
    for row in summary["misrouted"]:
        assert page.numbers["routing", row["outcome"]] == [row["share"], row["cost_per_1k"]]
        assert words.OUTCOMES["classification"][row["outcome"]][1] in page.said()
    for row in summary["groups"]:
        assert page.numbers["groups", row["group"]] == [
            *row["quality"].values(),
            *(row[k] for k in ("deferral_rate", "should_have_asked", "asked_for_nothing", "misled", "wasted_per_1k")),
        ]
        assert f"{row['group']} {row['items']}" in page.said().replace(row["group"], row["group"] + " ")


def test_the_curve_in_the_page_is_the_mean_over_seeds() -> None:
    summary, curve = evaluation("reached")
    series = {one["name"]: one for one in curve_series(summary, curve)}
    assert list(series)[0] == "team"
    assert {n for n, one in series.items() if one["line"]} == {"team", "team_joint", "random", "length", "oracle"}
    for policy, one in series.items():
        rows = [r for r in curve.to_pylist() if r["policy"] == policy]
        costs = [p["cost"] for p in one["points"]]
        assert costs == sorted(costs)
        for point in one["points"]:
            same = [r for r in rows if r["budget"] == point["budget"]]
            assert point["quality"] == pytest.approx(sum(r["quality"] for r in same) / len(same))
            assert point["cost"] == pytest.approx(1000 * sum(r["cost"] for r in same) / len(same))
    assert series["always_llm"]["role"] == "reference"
    assert not series["random"]["shown"]


def test_embedded_data_are_the_series(made: Any) -> None:
    summary, _, html = made("reached")
    data = json.loads(html.split('id="report-data">')[1].split("</script>")[0])
    assert data["series"] == curve_series(*evaluation("reached"))
    assert data["point"]["cost"] == summary["headline"]["cost_per_1k"]


def test_no_gap_to_recover_is_said_and_not_drawn_as_a_number(made: Any) -> None:
    summary, page, html = made("measures")
    assert summary["policies"]["team"]["apgr"] is None
    assert page.numbers["measures", "team"].count(None) == 4
    assert "llm is not better than mlp: there is no gap to recover" in html
    assert not re.search(r"\b(nan|None)\b", page.text)
    assert "NaN" not in html.split('id="report-data">')[1].split("</script>")[0]


def test_the_measures_disagree_and_the_page_says_so(made: Any) -> None:
    summary, page, _ = made("measures")
    assert "= Reached, as majority alone does" in page.said()
    small, large = (summary["experts"][n] for n in ("mlp", "llm"))
    assert small["accuracy"]["value"] > large["accuracy"]["value"]
    assert small["f1_positive"]["value"] < large["f1_positive"]["value"]
    first = re.sub(r"\s", " ", words.ranking(summary)[0])
    assert first.startswith("Which of the two is better depends on the measure: mlp has the higher accuracy (")
    assert "; llm has the higher macro-F1 (" in first and " and F1 of class “1” (" in first
    assert page.said().count(first) == 2, "in the hero and beside the experts"
    assert words.enough(summary).startswith(
        "majority alone, which answers “0” to every item, would do: it is better than "
    )
    assert page.said().count(re.sub(r"\s", " ", words.enough(summary))) == 2, "in the hero and beside the experts"
    assert headline(summary).startswith(f"{summary['headline']['text']} {words.enough(summary)}")
    assert "Always answering the commonest class has accuracy" in page.said()


def test_the_measures_agree(made: Any) -> None:
    summary, page, _ = made("reached")
    (only,) = words.ranking(summary)
    assert only.startswith("llm has the higher accuracy (") and "depends on the measure" not in page.said()


def test_ranking_of_an_expert_that_was_not_measured_is_left_out() -> None:
    summary, _ = evaluation("reached")
    assert words.ranking({**summary, "experts": {"mlp": summary["experts"]["mlp"]}}) == []


def test_not_reached_is_said_first(made: Any) -> None:
    summary, page, _ = made("missed")
    assert not summary["headline"]["reached"]
    assert "✕ Not certain" in page.said()
    assert "✓ Reached" not in page.said()
    assert "The quality of llm alone is not certain to be reached" in page.said().replace("\u00a0", " ")
    assert "By group" not in page.said()


@pytest.mark.slow
def test_as_good_but_no_cheaper_is_not_sold_as_a_success(made: Any) -> None:
    summary, page, _ = made("useless")
    assert summary["headline"]["reached"]
    assert "= As good, but not cheaper" in page.said()
    assert "nothing is saved" in page.said()
    assert headline(summary) == summary["headline"]["text"]
    assert headline(summary).startswith("As good as llm alone, but not cheaper: ")


def test_demo_is_declared(made: Any) -> None:
    text = "Generated demo data and toy models: these figures prove the plumbing, not the method."
    summary, page, _ = made("reached", demo=True)
    assert text in page.said() and text in markdown_summary(summary)
    summary, page, _ = made("reached", demo=["data"])
    assert "Generated demo data: these figures" in page.said() and text not in page.said()
    summary, page, _ = made("reached", demo=False)
    assert text not in page.said() and text not in markdown_summary(summary)


def test_data_prices_and_versions(made: Any) -> None:
    prepared = {"raw_rows": 1234, "splits": {"train": {"0": 2000, "1": 3}, "test": {"0": 5, "1": 7}}}
    prices = {"llm": {"usd_per_1m_prompt_tokens": 1.6, "usd_per_hour": 0.0}, "majority": {"usd_per_hour": 0.0}}
    _, page, _ = made("reached", splits=prepared, prices=prices, by_batches={"llm": [1.6, 0.8]})
    said = page.said()
    assert "1,000 answers of llm would have cost $0.8 instead of $1.6" in said
    assert "raw rows 1,234" in said and "train2,00032,003" in said.replace(" ", "")
    assert "1.6 per 1M prompt tokens" in said and "free" in said
    for name, value in VERSIONS.items():
        assert f"{name}{value}" in said
    _, page, _ = made("reached", splits=prepared["splits"])
    assert "train2,00032,003" in page.said().replace(" ", "")


def test_other_units(made: Any) -> None:
    summary, page, _ = made("seconds")
    assert summary["unit"] == "seconds"
    assert "seconds per 1,000 items" in page.said() and "$" not in page.said()


def test_no_text_of_the_data_is_shown(made: Any) -> None:
    summary, _, html = made("reached")
    assert "private" not in html and "private" not in markdown_summary(summary)


HOSTILE = {
    "team": "<script>alert('team')</script>",
    "llm": '"><img src=x onerror=alert(1)>',
    "mlp": "</script><b>&amp;$x_1$",
    "1": "_</style><i>’",
    "forum": "{{ 7 * 7 }}<iframe>",
    "olhs": "</title><script>",
}


def renamed(value: Any) -> Any:
    """The summary with hostile names everywhere."""
    if isinstance(value, dict):
        return {renamed(k): renamed(v) for k, v in value.items()}
    if isinstance(value, list):
        return [renamed(v) for v in value]
    if isinstance(value, str):
        alone = value.removeprefix("always_")
        return value[: len(value) - len(alone)] + HOSTILE.get(alone, alone)
    return value


def test_hostile_names_are_only_text(tmp_path: Path) -> None:
    summary, curve = evaluation("reached")
    bad = renamed(copy.deepcopy(summary))
    bad["splits"] = {"<u>": {HOSTILE["1"]: 3}}
    policy = pa.array([renamed(p) for p in curve["policy"].to_pylist()])
    curve = curve.set_column(curve.schema.get_field_index("policy"), schema.CURVE.field("policy"), policy)
    clean, dirty = tmp_path / "clean", tmp_path / "dirty"
    plain = Page(write_report(clean, summary, evaluation("reached")[1]).read_text(encoding="utf-8"))
    html = write_report(dirty, bad, curve, versions={"<b>": "<script>"}).read_text(encoding="utf-8")
    page = Page(html)
    count = [sum(t == tag for t, _ in page.tags) for tag in ("script", "img", "iframe", "i", "b", "u", "style")]
    assert count == [
        sum(t == tag for t, _ in plain.tags) for tag in ("script", "img", "iframe", "i", "b", "u", "style")
    ]
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]
    for name in HOSTILE.values():
        assert re.sub(r"\s+", " ", name) in page.said(), name
    data = json.loads(html.split('id="report-data">')[1].split("</script>")[0])
    assert data["headline"] == HOSTILE["team"]
    assert "<script>" not in markdown_summary(bad).split("\n", 2)[2]


def test_markdown_summary() -> None:
    summary, _ = evaluation("reached")
    lines = markdown_summary(summary).splitlines()
    assert lines[0] == f"**{headline(summary)}**"
    assert lines[2] == "| policy | accuracy (%) | $ per 1,000 items | deferral rate (%) | AUC (%) |"
    assert len(lines) == 4 + len(summary["policies"])
    point = summary["policies"]["team"]["operating_point"]
    row = next(line for line in lines if line.startswith("| team |"))
    low, high = point["quality"]["ci"]
    assert f"{words.percent(point['quality']['value'])} [{words.percent(low)}, {words.percent(high)}]" in row
    assert all(line.count("|") == 6 for line in lines[2:])


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "usd", "$0"),
        (1e-6, "usd", "<$0.0001"),
        (0.000123456, "usd", "$0.000123"),
        (0.5, "usd", "$0.500"),
        (1.234, "usd", "$1.23"),
        (1234567.4, "usd", "$1,234,567"),
        (301.2, "seconds", "301 s"),
        (40000, "tokens", "40,000 tokens"),
        (1e-6, "tokens", "<0.0001 tokens"),
    ],
)
def test_costs_in_as_many_digits_as_matter(value: float, unit: str, text: str) -> None:
    assert words.cost(value, unit) == text


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (0.1234, False, "12.3"),
        (-0.00001, True, "0.0"),
        (0.01, True, "+1.0"),
        (-0.012, True, "-1.2"),
        (1, False, "100.0"),
    ],
)
def test_percent(value: float, signed: bool, text: str) -> None:
    assert words.percent(value, signed) == text


def test_picture_of_a_single_point() -> None:
    point = {"cost": 1.0, "quality": 0.5, "low": None, "high": None, "rate": 0.0, "budget": 0.0}
    one = {"name": "a", "label": "_a$", "role": "other", "line": False, "shown": True, "points": [point]}
    assert figures.curve([one], "accuracy (%)", "$ per 1,000 items").startswith(b"\x89PNG")


def test_interval_that_is_undefined_leaves_the_value(tmp_path: Path) -> None:
    summary, curve = evaluation("seconds")
    bad = copy.deepcopy(summary)
    bad["headline"]["cost_share"] = {"value": None, "ci": [None, None]}
    bad["policies"]["team"]["operating_point"]["quality"]["ci"] = [None, None]
    bad["reliability"] = {}
    blank = pa.nulls(curve.num_rows, pa.float64())
    for name in ("ci_low", "ci_high"):
        curve = curve.set_column(curve.schema.get_field_index(name), schema.CURVE.field(name), blank)
    assert pc.all(pc.is_null(curve["ci_low"])).as_py()
    page = Page(write_report(tmp_path, bad, curve).read_text(encoding="utf-8"))
    assert "As good, but not cheaper" in page.said()
    assert "nothing to hold them to" in page.said()
