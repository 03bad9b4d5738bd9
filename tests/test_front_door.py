"""`from askless import ...`: what is there, and what `load` opens."""

import importlib

import pytest

import askless
from askless.bundles import plan_file
from askless.errors import DataError
from askless.plans.plan import Goal
from askless.plans.planner import plan_on
from tests.plan_data import board


@pytest.mark.parametrize("name", askless.__all__)
def test_every_name_of_the_front_door_is_where_it_lives(name):
    found = getattr(askless, name)
    home = importlib.import_module(found.__module__)
    assert getattr(home, found.__name__) is found
    assert name in dir(askless)


def test_another_name_is_an_error_that_lists_those_there_are():
    with pytest.raises(AttributeError, match="has no attribute 'Plam'. It has: AskLess, Budget, "):
        askless.Plam  # noqa: B018


def test_load_opens_a_plan(tmp_path):
    plan_file.write(plan_on(board(100), ("small", "large"), Goal(share=0.5)), tmp_path / "plan.yaml")
    again = askless.load(tmp_path / "plan.yaml")
    assert again.experts == ("small", "large")
    assert again.budget() == askless.Budget(share=0.5)


@pytest.mark.parametrize("name", ["nothing.yaml", "nothing"])
def test_load_says_what_is_missing(tmp_path, name):
    with pytest.raises(DataError, match=f"{name}: no "):
        askless.load(tmp_path / name)
