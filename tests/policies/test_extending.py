"""docs/extending.md, "Add a policy", done to the letter."""

import re

import numpy as np
import pytest

from askless import plugins, policies, schema
from askless.bundles.bundle import Bundle
from askless.bundles.decide import decide
from askless.errors import ConfigError
from askless.experts import Expert, Setting
from askless.plans.evaluate import evaluate
from askless.policies.base import BUDGETS, Budget, Policy
from tests.extending import block, installed, section
from tests.plans.test_evaluate import made
from tests.policies import contract
from tests.policies.contract import Case, labelled


@pytest.fixture
def package(tmp_path, monkeypatch):
    with installed("Add a policy", tmp_path / "site", monkeypatch) as home:
        yield home


def test_twenty_lines_and_an_entry_keep_the_whole_contract(package, tmp_path):
    code = block("Add a policy", "python").partition("class RareWords")[2]
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    folder = tmp_path / "kept"
    folder.mkdir()
    contract.check(Case(policies.resolve("rare_words", "rare_words"), labelled), folder)


def test_evaluate_tries_it(package, tmp_path):
    study = made(120)
    assert "rare_words" in policies.able("studied")
    summary = evaluate(study, policies=["rare_words"], bootstrap=20, seeds=(0,), folds=2, out=tmp_path)
    assert (tmp_path / "curve.csv").read_text().count("\nrare_words,") == 41
    assert not [note for note in summary["notes"] if "left out" in note]


def test_a_bundle_of_it_is_loaded_and_decides(package, tmp_path):
    case = Case(policies.resolve("rare_words", "rare_words"), labelled)
    policy = case.fit()
    loaded = Bundle.load(Bundle.of(policy, ("A", "B", "C")).save(tmp_path / "bundle").folder).policy
    for budget in case.budgets():
        contract.alike(loaded.decide(case.test(), budget), policy.decide(case.test(), budget))
    whole = Bundle.of(loaded, ("A", "B", "C"), small=Sure(Setting("e0", "t", ("A", "B", "C"))))
    done = decide(whole, ["calm calm river", "never met"], Budget(share=0.1))
    assert (done.expert, done.small_answer) == (["e0", "e1"], ["A", None])


class Sure(Expert):
    """A small expert that says A and is sure of it."""

    def answer(self, table):
        """An answer to each row."""
        n = len(table)
        columns = {"expert": ["e0"] * n, "label": ["A"] * n, "proba": [[0.9, 0.1, 0.0]] * n, "seconds": np.ones(n)}
        return schema.table("predictions", {"id": table["id"].combine_chunks(), **columns})


def test_its_table_is_that_of_the_classes():
    rows = [line.split("|")[1] for line in section("Add a policy").splitlines() if line.startswith("| `")]
    named = set(re.findall(r"`(\w+)`", "".join(rows)))
    said = {name for name in vars(Policy) if isinstance(vars(Policy)[name], bool | tuple) and name[0] != "_"}
    assert named == (said - {"fallback"}) | {"title", "about"}
    assert Policy.budgets == BUDGETS


def test_a_name_that_is_taken_is_refused(package):
    (package / "rare_words-1.dist-info" / "entry_points.txt").write_text(
        "[askless.policies]\nlength = rare_words:RareWords\n"
    )
    plugins._brought.cache_clear()
    with pytest.raises(ConfigError, match="Package rare-words brings 'length' .* a name that askless has"):
        policies.build("length", {}, experts=("a", "b"))
