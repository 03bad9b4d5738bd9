"""The report of summaries: marks and no shares, what was gained and lost, and the summaries themselves side by side."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from askless.errors import ConfigError
from askless.report import wording as words
from askless.report.report import headline, markdown_summary, text_summary, write_report
from askless.report.rows import TEASER_CHARS, TEXT_CHARS, example_cards
from tests.report.report_data import evaluation, examples
from tests.report.report_documents import NASTY
from tests.report.report_page import Page, bare, flat


def written(folder: Path, which: str = "documents", **more: Any) -> tuple[dict[str, Any], Page, str]:
    summary, curve = evaluation(which)
    summary = {**summary, **more}
    html = write_report(folder, summary, curve, examples=examples(which)).read_text(encoding="utf-8")
    return summary, Page(html), html


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize(
    ("quality", "shown"),
    [
        ("rouge1", "ROUGE-1 F"),
        ("rouge2", "ROUGE-2 F"),
        ("rougeL", "ROUGE-L F"),
        ("rougeL_stemmed", "ROUGE-L F (stemmed)"),
        ("embedding", "embedding cosine"),
        ("judge", "judge's score"),
    ],
)
def test_qualities_in_words(quality: str, shown: str) -> None:
    summary, _ = evaluation("documents")
    assert words.quality_words(summary, quality) == words.axis_words({**summary, "quality": quality}) == shown


def test_marks_have_no_sign_and_shares_have(tmp_path: Path) -> None:
    summary, page, html = written(tmp_path)
    said = page.said()
    assert "ROUGE-L F" in said and not re.search(r"ROUGE-. F,? \(?%", said)
    assert "accuracy" not in said.lower() and "macro-F1" not in said and "F1 of" not in said
    assert '"sign": ""' in html
    classes, _ = evaluation("reached")
    assert words.sign(classes) == "\u00a0%" and words.axis_words(classes) == "accuracy (%)"
    assert words.percent(summary["headline"]["quality"]["value"]) in said


def test_nothing_of_classes_is_left(tmp_path: Path) -> None:
    splits = {part: {"documents": n} for part, n in (("train", 400), ("valid", 600), ("test", 600))}
    _, page, html = written(tmp_path, splits=splits)
    said = page.said()
    for gone in ("ECE", "Unparsed", "positive class", "Does stated confidence", "commonest", "right label", "None"):
        assert gone not in said, gone
    assert "calibration-part" not in html
    assert "Test holds 600 documents." in said and "Documents in each split" in said
    assert page.numbers["splits", "train"] == [] and "train400" in said.replace(" ", "")


def test_experts_table_is_the_summary(tmp_path: Path) -> None:
    summary, page, _ = written(tmp_path)
    for name, expert in summary["experts"].items():
        want = [v for q in ("rouge1", "rouge2", "rougeL") for v in flat(expert[q])]
        assert page.numbers["experts", name] == [
            *want,
            *bare(expert["cost_per_1k"]),
            expert["unparsed"],
            expert["faulty"],
        ]
    assert summary["experts"]["llm"]["unparsed"] > 0 and summary["experts"]["llm"]["faulty"] > 0


def test_a_quality_that_is_no_rouge_stands_beside_them(tmp_path: Path) -> None:
    summary = copy.deepcopy(evaluation("documents")[0])
    for expert in summary["experts"].values():
        expert["judge"] = expert["rougeL"]
    assert words.measures({**summary, "quality": "judge"}) == ["rouge1", "rouge2", "rougeL", "judge"]
    assert words.budget_measures({**summary, "quality": "judge"}) == ["judge"]
    del summary["experts"]["lead"]["rouge2"]
    assert words.measures(summary) == ["rouge1", "rougeL", "judge"]


def test_budget_tables_are_the_summary(tmp_path: Path) -> None:
    summary, page, html = written(tmp_path)
    points = summary["policies"]["team"]["points"]
    assert page.numbers["budget-rougeL", "team"] == [v for p in points for v in flat(p["rougeL"])]
    assert page.numbers["budget-rougeL", "llm alone"] == flat(summary["experts"]["llm"]["rougeL"])
    assert page.numbers["budget-cost_per_1k", "team"] == [v for p in points for v in bare(p["cost_per_1k"])]
    assert "budget-rouge1" not in html


def test_outcomes_say_what_was_gained_and_lost(tmp_path: Path) -> None:
    summary, page, _ = written(tmp_path)
    rows = {row["outcome"]: row for row in summary["misrouted"]}
    assert list(rows) == list(words.OUTCOMES["summarisation"])
    for name, row in rows.items():
        assert page.numbers["routing", name] == [row["share"], row["quality"], row["cost_per_1k"]]
        assert words.OUTCOMES["summarisation"][name][1] in page.said()
        assert (f"{words.percent(row['quality'], True)}{words.EFFECTS.get(name, '')}" in page.text) == (
            row["share"] > 0
        )
    over = summary["policies"]["team"]["operating_point"]["quality"]["value"] - summary["experts"]["mlp"]["quality"]
    asked = sum(row["quality"] for name, row in rows.items() if name.startswith("asked"))
    assert asked == pytest.approx(over, abs=1e-6)


def test_groups_are_the_summary(tmp_path: Path) -> None:
    summary, page, _ = written(tmp_path)
    for row in summary["groups"]:
        assert page.numbers["groups", row["group"]][:3] == list(row["quality"].values())
    assert "ROUGE-L F in each group of the data" in page.said()


@pytest.mark.slow
def test_an_expensive_llm_that_is_worse_is_not_needed(tmp_path: Path) -> None:
    summary, page, _ = written(tmp_path, "worse")
    small, large = (summary["experts"][name] for name in ("mlp", "llm"))
    better = f"{words.percent(small['quality'])} against {words.percent(large['quality'])}"
    bill = words.cost(large["cost_per_1k"]["value"], "seconds")
    change = summary["policies"]["always_mlp"]["operating_point"]["quality_difference"]["ci"]
    low, high = (words.percent(end, signed=True) for end in change)
    sentence = (
        f"mlp alone would do: it is better than llm (ROUGE-L F {better}, difference [{low}, {high}]) for 420 s per "
        "1,000 items, 70.8 % less."
    )
    assert bill == "1,440 s" and words.enough(summary) == sentence
    assert headline(summary) == f"{summary['headline']['text']} {sentence}"
    assert page.said().count(sentence) == 2, "in the hero and beside the experts"
    assert "= Reached, as mlp alone does" in page.said()
    (claim, _) = words.ranking(summary)
    assert claim.startswith("mlp has the higher ROUGE-1 F (") and claim.endswith(").") and "%" not in claim


def test_the_best_point_is_told_where_it_is_one(tmp_path: Path) -> None:
    summary, page, _ = written(tmp_path, "worse")
    assert summary["headline"]["best"] and words.best(summary) == ""
    assert "At its best" not in page.said() and "At its best" not in headline(summary)
    summary, _ = evaluation("documents")
    assert words.best(summary) == summary["headline"]["best"] != ""
    summary = copy.deepcopy(summary)
    summary["policies"]["team"]["peak"]["quality_difference"]["value"] = 0.0
    assert words.best(summary) == "", "no better on test"


@pytest.mark.parametrize(
    ("low", "cost", "text"),
    [
        (-0.005, 10.0, "mlp alone would do: it is as good as llm within 1.0 points (ROUGE-L F 40.0 against 30.0, "),
        (
            0.05,
            10.0,
            "mlp alone would do: it is better than llm (ROUGE-L F 40.0 against 30.0, difference [+5.0, +15.0]",
        ),
        (0.05, 2000.0, ""),
    ],
)
def test_a_cheaper_expert_alone_is_named_where_it_would_do(low: float, cost: float, text: str) -> None:
    summary = copy.deepcopy(evaluation("worse")[0])
    mlp = summary["policies"]["always_mlp"]
    point = mlp["operating_point"]
    point["quality"]["value"], point["reference_quality"]["value"] = 0.4, 0.3
    point["quality_difference"] = {"value": 0.1, "ci": [low, 0.15]}
    mlp["cost_per_1k"] = point["cost_per_1k"]["value"] = cost
    for name in ("lead", "llm-mini"):
        summary["policies"][f"always_{name}"]["operating_point"]["reached"] = False
    found = words.enough(summary)
    assert found.startswith(text) and bool(found) == bool(text)
    summary["headline"]["cost_per_1k"]["value"] = 5.0
    assert words.enough(summary) == "", "the headline costs less"
    summary["headline"]["reached"] = False
    assert words.enough(summary) == found
    point["reached"] = False
    assert words.enough(summary) == ""


def test_what_the_first_sentence_does_as_well_is_said() -> None:
    summary = copy.deepcopy(evaluation("documents")[0])
    assert not any("first sentence" in line for line in words.ranking(summary))
    summary["experts"]["lead"]["quality"] = summary["experts"]["mlp"]["quality"]
    last = words.ranking(summary)[-1]
    value = words.percent(summary["experts"]["mlp"]["quality"])
    what = "Taking the first sentence has ROUGE-L F"
    assert last == f"{what} {value}, no less than mlp: by this measure that is the better bargain."


def test_summaries_in_text_and_markdown() -> None:
    summary, _ = evaluation("documents")
    table = text_summary(summary).splitlines()
    assert re.split(r" {2,}", table[0]) == ["policy", "ROUGE-L F", "$ per 1,000", "saved %", "area"]
    lines = markdown_summary(summary).splitlines()
    assert lines[0] == f"**{headline(summary)}**"
    assert lines[2] == "| policy | ROUGE-L F | $ per 1,000 items | deferral rate (%) | AUC |"


def test_examples_side_by_side(tmp_path: Path) -> None:
    _, page, html = written(tmp_path)
    shown, said = examples("documents"), page.said()
    cards = [a for t, a in page.tags if t == "details" and (a.get("class") or "").startswith("example")]
    assert len(cards) == len(shown) > 5 and ["open" in card for card in cards].count(True) == 1
    parts = [plain(re.sub(r"<[^>]+>", " ", part)) for part in html.split('<details class="example')[1:]]
    for part, example in zip(parts, shown, strict=True):
        assert example["outcome"] in part and example["id"] in part
        for text in (example["document"], example["reference"]):
            assert text in part
        assert f"{example['expert']} {words.cost(1000 * example['cost'], 'usd')}" in part
        assert part.count("✓ chosen") == 1
        assert part.count("not asked") == sum(not a["asked"] for a in example["answers"])
        for answer in example["answers"]:
            assert (answer["text"] or "No summary.") in part
            paid = "paid" if answer["asked"] else "would cost"
            figures = f"ROUGE-L F {words.percent(answer['quality'])} {paid} {words.cost(1000 * answer['cost'], 'usd')}"
            assert figures in part
            assert (answer["error"] or "") in part
    assert "Examples" in said and "Side by side" in said


def test_without_examples_there_is_no_such_part(tmp_path: Path) -> None:
    html = write_report(tmp_path, *evaluation("documents")).read_text(encoding="utf-8")
    assert "examples-part" not in html and '<details class="example' not in html


def test_texts_of_a_classification_are_never_shown(tmp_path: Path) -> None:
    wanted = (
        "The report of a classification got 2 examples. Allowed: none, for the texts of a classification are never "
        "shown. Leave `examples` out."
    )
    with pytest.raises(ConfigError) as caught:
        write_report(tmp_path / "r", *evaluation("reached"), examples=examples("documents")[:2])
    assert str(caught.value) == wanted
    assert not (tmp_path / "r").exists()


def test_the_small_expert_stands_first_and_the_reference_second() -> None:
    summary, _ = evaluation("documents")
    (card, *_) = example_cards(summary, examples("documents"))
    assert [answer["expert"] for answer in card["answers"]] == ["mlp", "llm", "llm-mini", "lead"]


def test_long_texts_are_cut_at_a_blank_and_say_so() -> None:
    summary, _ = evaluation("documents")
    (example, *_) = examples("documents")
    example |= {"document": "abcd " * 10_000, "reference": "x" * 5_000, "cut": False}
    example["answers"][0]["text"] = "y " * (TEXT_CHARS // 2)
    (card,) = example_cards(summary, [example])
    text, cut = card["document"]
    assert cut and TEXT_CHARS - 5 <= len(text) <= TEXT_CHARS and text.endswith(" abcd")
    assert card["reference"] == ("x" * TEXT_CHARS, True) and card["teaser"] == ("x" * TEASER_CHARS, True)
    said = {answer["expert"]: answer["text"] for answer in card["answers"]}
    assert said[example["answers"][0]["expert"]] == (example["answers"][0]["text"], False)


@pytest.mark.parametrize("kind", NASTY)
def test_no_text_breaks_the_page(tmp_path: Path, kind: str) -> None:
    summary, curve = evaluation("documents")
    shown = examples("documents")
    clean = Page(write_report(tmp_path / "clean", summary, curve, examples=shown).read_text(encoding="utf-8"))
    for example in shown:
        example |= dict.fromkeys(("document", "reference", "id"), NASTY[kind])
        for answer in example["answers"]:
            answer |= {"text": NASTY[kind], "error": None}
    for example, good in zip(shown, examples("documents"), strict=True):
        for answer, other in zip(example["answers"], good["answers"], strict=True):
            answer["text"] = None if other["text"] is None else answer["text"]
            answer["error"] = other["error"]
    path = write_report(tmp_path / "dirty", summary, curve, examples=shown)
    page = Page(path.read_text(encoding="utf-8"))
    # A mark that a text was cut is the only tag that may come or go.
    assert [t for t, _ in page.tags if t != "small"] == [t for t, _ in clean.tags if t != "small"]
    assert path.stat().st_size < 1_500_000
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", path.read_text(encoding="utf-8"))
    if kind == "markup":
        assert page.said().count(plain(NASTY[kind])) > 2 * len(shown)
    if kind == "nothing":
        assert "(empty)" in page.said()
