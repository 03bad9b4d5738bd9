"""How a learner did, as sentences, rows and charts."""

import re

import numpy as np
import pytest

from askless.report import learning as shown
from askless.report.report import text_summary, write_report
from tests.report.report_data import evaluation
from tests.report.report_learning import EXPERTS, told
from tests.report.report_page import Page


def budget(single, highest=0.9, halves=(0.5, 0.75)):
    """Figures of one budget; `single` is the difference and half its interval."""
    value, half = single
    less = {"single": {"value": value, "ci": [value - half, value + half]}, "mix": {"value": 0.0, "ci": [None, None]}}
    first, second = ({"quality": {"value": each, "ci": [None, None]}, "less": less} for each in halves)
    return {"per_1000": 2.0, "first_half": first, "second_half": second, "highest": highest}


def concluded(*budgets):
    learner = {"policy": "bandit", "title": "Bandit", "begun": 0, "budgets": list(budgets)}
    (said,) = shown.findings({"learners": [learner], "items": 1_000, "plan": None, "opening": 20}).values()
    return said


def test_what_to_conclude_follows_the_intervals():
    assert concluded(budget((0.03, 0.01)), budget((0.01, 0.02)), budget((-0.02, 0.01))) == (
        "In the second half of 1,000 items it is better than the best single expert of its price at 1 of 3 budgets "
        "(+3.0), level with it at 1 (+1.0), worse than it at 1 (-2.0). From the first half to the second it gained "
        "+25.0, +25.0, +25.0 points. From the 20th item on spending was within the budget after every item, in all "
        "orders."
    )
    assert "was up to 112.0 % of the budget after some item" in concluded(budget((0.03, 0.01), 1.12))
    assert "level with the best single expert of its price at 1 of 1 budget (0.0)" in concluded(budget((0.0, 0.0)))


def test_of_one_order_nothing_is_concluded():
    one = budget((-0.45, 0.0))
    one["second_half"]["less"]["single"]["ci"] = [None, None]
    said = "it is -45.0 points from the best single expert of its price, in one order, which has no interval."
    assert said in concluded(one) and "level with" not in concluded(one)


def test_names_say_what_a_learner_began_with_and_tell_twins_apart():
    assert list(shown.findings(told())) == ["Bandit, begun with nothing", "Bandit, begun with 120 labelled items"]
    learners = [{"policy": name, "title": "Bandit", "begun": 0} for name in ("slow", "fast")]
    assert shown.label({"learners": learners}, learners[1]) == "Bandit (fast), begun with nothing"


def test_the_terminal_has_a_table_and_says_what_was_told():
    summary = evaluation("reached")[0]
    said = text_summary({**summary, "learning": told()})
    assert said.startswith(text_summary(summary))
    assert "told labels of 50.0 % after its block of 50, 20 items later, after it had answered" in said
    assert said.count("bandit (nothing) ") == said.count("bandit (120 labelled items) ") == 2
    assert "nan" not in said


@pytest.mark.parametrize("orders", [1, 3])
def test_charts_are_within_their_frame(orders):
    for panel in shown.panels(told(orders)):
        for chart in (panel["quality"], panel["spent"]):
            for line in chart["lines"]:
                numbers = re.findall(r"[-\d.]+", line["path"] + line["band"])
                assert "nan" not in line["path"] + line["band"]
                assert bool(line["band"]) == (orders > 1) or chart is panel["spent"]
                xs, ys = np.array(numbers, float).reshape(-1, 2).T
                assert ((xs >= shown.LEFT) & (xs <= shown.RIGHT) & (ys >= shown.TOP) & (ys <= shown.BOTTOM)).all()
            assert all(shown.TOP <= level["y"] <= shown.BOTTOM for level in chart["levels"])
            assert len(chart["y"]) >= 3
        for asked in panel["asked"]:
            assert [row["expert"] for row in asked["rows"]] == list(EXPERTS)
            assert all(row["spans"][-1]["last"] == row["items"] == 200 for row in asked["rows"])


def test_the_page_has_a_section_of_its_own_and_nothing_else_changes(tmp_path):
    summary, curve = evaluation("reached")[:2]
    bare = write_report(tmp_path / "bare", summary, curve).read_text()
    text = write_report(tmp_path / "with", {**summary, "learning": told()}, curve).read_text()
    assert "learning-part" not in bare
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(re.findall(r' id="([^"]+)"', text))
    (section,) = re.findall(r'<section id="learning-part".*?</section>', text, flags=re.S)
    assert "Dawid 1984" in section and "never the headline" in section
    assert section.count("<figure") == 4
    assert text.replace(section, "").replace('<a href="#learning-part">Learning</a>', "").split() == bare.split()
    first = told()["learners"][0]["budgets"]
    shown_numbers = Page(text).numbers["learners", "Bandit, begun with nothing"]
    assert [shown_numbers[0], shown_numbers[2]] == [first[0]["per_1000"], first[0]["first_half"]["quality"]["value"]]
