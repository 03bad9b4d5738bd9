"""Labels that were flipped, shuffled or moved are seen before anybody is paid about them."""

import random

import pytest

from askless.errors import DataError
from tasks import agreement
from tasks.agreement import check_labels
from tasks.data import prepare_examples
from tasks.train import train_expert
from tests.pipeline import small_params, write_params

WORDS = {"0": "kind sunny warm", "1": "rude angry loud"}


def posts(first, last, label=lambda gold, number: gold):
    """Lines of posts that tell their class, but for one in ten."""
    golds = [(number, str(number % 2)) for number in range(first, last)]
    shown = [(number, gold, WORDS[gold if number % 5 else "0"]) for number, gold in golds]
    return [f"{words} number {number},{label(gold, number)}" for number, gold, words in shown]


def flipped(gold, number):
    return "10"[int(gold)]


def shuffled(gold, number):
    return random.Random(number).choice("01")


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """Holds rows against the last good ones and the small expert that learnt from these."""
    folder = tmp_path_factory.mktemp("agreement")
    params = small_params(source={"kind": "csv", "path": "posts.csv", "rows": None})
    params["train"]["olhs"].update(small="linear", seeds=[67], folds=2)
    last, models = str(folder / "last.parquet"), str(folder / "models")

    def check(rows, models=models, path=folder / "now.parquet", one="1", **checks):
        params["tasks"]["olhs"].update(classes=["0", one], positive=one, prompt={"template": "{text}"})
        params["tasks"]["olhs"]["checks"].update({"agreement_fall_max": 0.2, **checks})
        where = write_params(folder, params)
        (folder / "posts.csv").write_text("\n".join(["text,label", *rows]) + "\n")
        prepare_examples.fn("olhs", where, str(folder / "posts.csv"), str(path))
        check_labels.fn("olhs", where, str(path), last, models, "")

    check(posts(0, 400), path=folder / "last.parquet")
    train_expert.fn("olhs", "linear", str(folder / "params.yaml"), last, "", f"{models}/olhs", str(folder / "out"))
    return check


@pytest.mark.parametrize("rows", [posts(400, 500), posts(400, 500, shuffled)[:19], posts(400, 500, flipped)[:19]])
def test_new_rows_that_mean_the_same_or_are_too_few_to_tell_go_on(checked, rows):
    checked([*posts(0, 400), *rows])


@pytest.mark.parametrize("label", [flipped, shuffled])
def test_new_labels_that_mean_something_else_are_refused(checked, label):
    rows = [*posts(0, 400), *posts(400, 500, label)]
    said = (
        r"linear agrees with \d+% of 100 new labels, before with \d+% of 100\. Allowed: a fall of 20 points at most\."
    )
    with pytest.raises(DataError, match=rf"^olhs: {said} Look at its labels\. .* null for this run\.$"):
        checked(rows)
    checked(rows, agreement_fall_max=None)
    checked(rows, models="nothing was trained yet")


def test_of_many_rows_some_are_asked_about(checked, monkeypatch):
    monkeypatch.setattr(agreement, "MOST", 60)
    with pytest.raises(DataError, match=r"of 60 new labels, before with \d+% of 60\."):
        checked([*posts(0, 400), *posts(400, 500, flipped)])


def test_labels_of_old_rows_that_are_others_are_refused_without_a_model(checked):
    few = [*posts(0, 40, flipped), *posts(40, 400)]
    checked(few, models="nothing was trained yet")
    with pytest.raises(DataError, match=r"other labels than before on 400 of 400 rows that were there"):
        checked(posts(0, 400, flipped), models="nothing was trained yet")


def test_labels_of_classes_that_are_none_any_more_are_not_compared(checked):
    checked(posts(0, 400, lambda gold, number: {"0": "0", "1": "yes"}[gold]), one="yes")
