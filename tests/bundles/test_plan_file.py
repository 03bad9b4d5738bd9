"""A plan as a page that a person can read, and as a bundle that decides as the plan did."""

import numpy as np
import pytest
import yaml

from askless.bundles.bundle import Bundle, files_of
from askless.bundles.plan_file import write
from askless.errors import DataError
from askless.plans.plan import Goal
from askless.plans.planner import plan_on
from tests.plan_data import board

PAIR = ("small", "large")
GOALS = [Goal(floor=0.95), Goal(floor=0.999), Goal(per_1000=10.0), Goal(price=3.0), Goal(share=0.3), Goal(limit=10.0)]


@pytest.fixture(scope="module")
def plan():
    return plan_on(board(300), PAIR, Goal(floor=0.95))


@pytest.fixture
def file(plan, tmp_path):
    write(plan, tmp_path / "plan.yaml", {"task": "mine"})
    return tmp_path / "plan.yaml"


@pytest.mark.parametrize(
    ("goal", "kinds"), [*((goal, None) for goal in GOALS), (Goal(share=0.3), ("random",))], ids=str
)
def test_a_plan_that_was_read_decides_as_the_one_that_was_written(goal, kinds, tmp_path):
    plan = plan_on(board(300), PAIR, goal, kinds=kinds)
    write(plan, tmp_path / "plan.yaml")
    back = Bundle.load(tmp_path / "plan.yaml")
    new = board(500, seed=3)
    one, two = plan.decide(new.copy(blind=True)), back.policy.decide(new.copy(blind=True), back.budget())
    for name in ("expert", "label", "cost", "asked"):
        assert np.array_equal(getattr(one, name), getattr(two, name))
    assert np.array_equal(one.confidence, two.confidence, equal_nan=True)
    assert back.expensive == plan.policy.experts


def test_a_person_can_review_it(file, plan):
    text = file.read_text("utf-8")
    lines = text.splitlines()
    assert lines[0] == "# A plan made by askless. Experts are in order of their mean cost, the cheapest first."
    assert lines[1 : 1 + len(plan.words())] == [f"# {said}" for said in plan.words()]
    found = yaml.safe_load(text)
    assert list(found) == [
        *("format", "goal", "experts", "reference", "classes", "unit", "budget", "certify", "promise"),
        *("certificate", "notes", "looks", "policy"),
    ]
    assert found["goal"] == {"floor": 0.95, "confidence": 0.95}
    assert found["experts"] == ["small", "large"]
    assert found["promise"]["items"] == found["certificate"]["n"] == 300
    assert found["policy"]["kind"] == "two_tier"
    (look,) = found["looks"]
    assert (look["expert"], look["rows"], look["kept"]) == ("small", 300, plan.seen.looks[0].kept)
    assert look["threshold"] == pytest.approx([plan.policy.rule(plan.budget)[0].value] * 2)
    assert max(map(len, lines[len(plan.words()) + 1 :])) <= 150
    write(plan, file)
    assert file.read_text("utf-8") == text


def test_a_plan_on_many_items_is_a_page(tmp_path):
    write(plan_on(board(3000), PAIR, Goal(share=0.3)), tmp_path / "plan.yaml")
    assert len((tmp_path / "plan.yaml").read_text().splitlines()) < 60


def test_a_page_that_was_changed_is_refused(file):
    file.write_text(file.read_text().replace("0.95", "0.99"))
    with pytest.raises(DataError) as error:
        Bundle.load(file)
    assert str(error.value) == (
        f"{file}: not the page of the plan in {files_of(file)}. Allowed: the page as it was written. Plan again."
    )


def test_a_page_without_its_folder_says_what_is_missing(tmp_path):
    (tmp_path / "plan.yaml").write_text("format: askless/plan/4\n")
    with pytest.raises(DataError, match=r"plan.files: no bundle.json. Allowed: a plan with its folder .files beside"):
        Bundle.load(tmp_path / "plan.yaml")
