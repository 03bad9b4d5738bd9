"""The model card says what the evaluation and the bundle say, and nothing else."""

import re

import pytest

from askless.bundles.bundle import Bundle
from askless.report import wording as words
from askless.report.model_card import card
from tests.report.report_data import evaluation

FACTS = {"team": "team", "seed": 3}
BUNDLE = Bundle("team_gain", ("mlp", "llm"), (), {"epochs": 10, "look_at": "small"}, FACTS, None, None, lambda: None)
VERSIONS = {
    "git_commit": "3f2a9c1",
    "git_dirty": "true",
    "dvc_lock_sha256": "77ab19",
    "data.data/prepared/olhs": "abc.dir",
    "data.data/prepared/other": "def.dir",
}
TITLES = ["What it does", "Data", "How it decides", "What it reached", "What is promised", "Limits", "Make it again"]


def made(which="reached", versions=VERSIONS, note="Posts hurt.", share=0.24, **more):
    summary = {**evaluation(which)[0], **more}
    return summary, card(summary, BUNDLE, share, versions, note)


@pytest.mark.parametrize("which", ["reached", "missed", "seconds", "documents"])
def test_every_section_is_there_once_and_filled(which):
    _, text = made(which)
    assert re.findall(r"^## (.+)$", text, re.M) == TITLES
    assert all(part.strip() for part in re.split(r"^## .+$", text, flags=re.M)[1:])
    assert "None\n" not in text and "nan" not in text


def test_figures_are_those_of_the_summary():
    summary, text = made()
    assert summary["headline"]["text"] in text
    assert f"evaluated on {summary['items']:,} test items" in text
    assert "24.0 % of the items may go beyond the small expert" in text
    worst = min(summary["groups"], key=lambda row: row["quality"]["team"])
    assert f"Weakest group: {worst['group']}, accuracy {words.percent(worst['quality']['team'])}" in text


@pytest.mark.parametrize(("which", "kept"), [("reached", "was reached"), ("missed", "was NOT reached")])
def test_a_promise_that_was_not_kept_is_not_made(which, kept):
    summary, text = made(which)
    assert summary["headline"]["reached"] == (which == "reached")
    assert kept in text


def test_data_versions_of_this_task_and_how_to_make_it_again():
    _, text = made(splits={"test": {"0": 1575, "1": 1405}, "train": {"0": 2, "1": 3}})
    assert "`data/prepared/olhs`: `abc.dir`" in text
    assert "prepared/other" not in text
    assert "rows: 2,980 test, 5 train" in text
    assert "git checkout 3f2a9c1\nmake setup\ndvc repro evaluate@olhs" in text
    assert "The working tree had changes that are not in this commit." in text
    assert "\n\nPosts hurt." in text


def test_what_is_not_known_is_left_out():
    _, text = made(versions={}, note="", share=None, groups=[])
    assert "git checkout" not in text
    assert "dvc.lock" not in text
    assert "Weakest" not in text
    assert "chosen on valid: by its own rule" in text


def test_demo_data_are_called_so():
    said = "Generated demo data and toy models: these figures prove the plumbing, not the method."
    assert said in made(demo=True)[1]
    assert said not in made(demo=False)[1]
