"""A plan file that a person can read and that decides as the plan did."""

import numpy as np
import pytest
import yaml

from askless.errors import DataError
from askless.plans.plan import Goal
from askless.plans.plan_file import FORMAT, as_dict, read, write
from askless.plans.planner import plan_on
from tests.plan_data import board

PAIR = ("small", "large")
GOALS = [Goal(floor=0.95), Goal(floor=0.999), Goal(per_1000=10.0), Goal(price=3.0), Goal(share=0.3), Goal(limit=10.0)]


@pytest.fixture(scope="module")
def plan():
    return plan_on(board(300), PAIR, Goal(floor=0.95))


@pytest.fixture
def file(plan, tmp_path):
    return write(plan, tmp_path / "plan.yaml")


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: str(goal.as_dict()))
def test_a_plan_that_was_read_decides_as_the_one_that_was_written(goal, tmp_path):
    plan = plan_on(board(300), PAIR, goal)
    back = read(write(plan, tmp_path / "plan.yaml"))
    new = board(500, seed=3)
    one, two = (p.decide(new.copy(blind=True)) for p in (plan, back))
    for name in ("expert", "label", "cost", "asked"):
        assert np.array_equal(getattr(one, name), getattr(two, name))
    assert np.array_equal(one.confidence, two.confidence, equal_nan=True)
    assert (back.promise, back.certificate, back.goal) == (plan.promise, plan.certificate, plan.goal)
    assert as_dict(back) == as_dict(plan)
    assert back.words() == plan.words()


def test_a_person_can_review_it(file, plan):
    text = file.read_text("utf-8")
    lines = text.splitlines()
    assert lines[0] == "# A plan made by askless. Experts are in order of their mean cost, the cheapest first."
    assert lines[1 : 1 + len(plan.words())] == [f"# {said}" for said in plan.words()]
    found = yaml.safe_load(text)
    assert list(found) == [
        *("format", "goal", "experts", "reference", "classes", "unit", "budget", "certify", "promise"),
        *("certificate", "notes", "looks", "policy", "seen"),
    ]
    assert found["goal"] == {"floor": 0.95, "confidence": 0.95}
    assert found["experts"] == ["small", "large"]
    assert found["promise"]["items"] == found["certificate"]["n"] == 300
    assert found["policy"]["kind"] == "two_tier"
    (look,) = found["looks"]
    assert (look["expert"], look["rows"], look["kept"]) == ("small", 300, 300 - plan.seen.deferred)
    assert look["threshold"] == pytest.approx([plan.policy.rule(plan.budget)[0].value] * 2)
    assert found["policy"]["learnt"] == plan.policy.state()
    assert max(map(len, lines[len(plan.words()) + 1 :])) <= 150
    assert write(plan, file).read_text("utf-8") == text


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ("a: [1", "not YAML ("),
        ("- 1\n", "list."),
        ("format: other/1\n", "format 'other/1'."),
        (f"format: {FORMAT}\n", "a damaged plan (no key 'policy')."),
    ],
)
def test_what_is_no_plan_is_refused(tmp_path, content, got):
    path = tmp_path / "plan.yaml"
    path.write_text(content, "utf-8")
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}: {got}")


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(DataError) as error:
        read(tmp_path / "plan.yaml")
    assert str(error.value) == (
        f"{tmp_path / 'plan.yaml'}: no such file. Allowed: a plan written by `askless plan`. "
        "Make one, or correct the path."
    )


KEYS = [
    "goal",
    "experts",
    "reference",
    "classes",
    "unit",
    "budget",
    "promise",
    "certificate",
    "notes",
    "policy",
    "seen",
]


@pytest.mark.parametrize("key", KEYS)
def test_a_damaged_file_is_one_clear_error(file, key):
    found = yaml.safe_load(file.read_text("utf-8"))
    del found[key]
    file.write_text(yaml.safe_dump(found), "utf-8")
    with pytest.raises(DataError) as error:
        read(file)
    assert str(error.value) == (
        f"{file}: a damaged plan (no key '{key}'). Allowed: the file as it was written. Plan again."
    )


@pytest.mark.parametrize("place", ["kind", "arguments", "learnt"])
def test_a_damaged_policy_is_one_clear_error(file, place):
    found = yaml.safe_load(file.read_text("utf-8"))
    found["policy"][place] = {"kind": "tier", "arguments": {"what": 1}, "learnt": {"levels": "many"}}[place]
    file.write_text(yaml.safe_dump(found), "utf-8")
    with pytest.raises(DataError, match="a damaged plan \\("):
        read(file)
