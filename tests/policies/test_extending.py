"""docs/extending.md, "Add a policy", done to the letter."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from askless import plugins, policies, schema
from askless.bundles.bundle import Bundle
from askless.bundles.decide import decide
from askless.errors import ConfigError
from askless.experts import Expert, Setting
from askless.plans.evaluate import evaluate
from askless.policies.base import BUDGETS, Budget, Policy
from tests.plans.test_evaluate import made
from tests.policies import contract
from tests.policies.contract import Case, labelled

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
PART = PAGE.read_text(encoding="utf-8").partition("## Add a policy")[2]


def block(language):
    """The one fenced block of the section in a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PART, re.S)
    return found


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The page's package, installed: its module, and its entry point as an installer writes it."""
    home = tmp_path / "site"
    about = home / "rare_words-1.dist-info"
    about.mkdir(parents=True)
    (home / "rare_words.py").write_text(block("python"), encoding="utf-8")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: rare-words\nVersion: 1\n")
    name, path = re.search(r'(\w+) = "(.*)"', block("toml")).groups()
    group = re.search(r'entry-points."(.*)"', block("toml"))[1]
    (about / "entry_points.txt").write_text(f"[{group}]\n{name} = {path}\n")
    monkeypatch.syspath_prepend(str(home))
    plugins._brought.cache_clear()
    yield home
    plugins._brought.cache_clear()
    sys.modules.pop("rare_words", None)


def test_twenty_lines_and_an_entry_keep_the_whole_contract(package, tmp_path):
    code = block("python").partition("class RareWords")[2]
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
    named = set(
        re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in PART.splitlines() if line.startswith("| `")))
    )
    said = {name for name in vars(Policy) if isinstance(vars(Policy)[name], bool | tuple) and name[0] != "_"}
    assert named == said - {"fallback"}
    assert Policy.budgets == BUDGETS


def test_a_name_that_is_taken_is_refused(package):
    (package / "rare_words-1.dist-info" / "entry_points.txt").write_text(
        "[askless.policies]\nlength = rare_words:RareWords\n"
    )
    plugins._brought.cache_clear()
    with pytest.raises(ConfigError, match="Package rare-words brings 'length' .* a name that askless has"):
        policies.build("length", {}, experts=("a", "b"))
