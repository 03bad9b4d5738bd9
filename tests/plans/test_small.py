"""A small model trained on the labelled texts of a study."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from askless import schema
from askless.data.recorded import load
from askless.errors import ConfigError, DataError
from askless.plans.boards import Boards
from askless.plans.plan import Goal
from askless.plans.planner import make_plan
from askless.plans.small import learning_rows, trained, with_answers, with_small
from askless.stats.guarantees import Certificate
from tests.commands import answer_files


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """240 items whose texts name their class, and what a large model answered."""
    folder = tmp_path_factory.mktemp("study")
    answer_files.write(folder)
    read = load(folder / "items.parquet", [folder / "large.parquet"])
    text = [f"a question on {y}{y} {'or on ' + z + z if n % 3 else ''}" for n, (y, z) in enumerate(pairs(read))]
    return replace(read, examples=read.examples.set_column(1, read.examples.schema.field(1), pa.array(text)))


def pairs(study):
    labels = study.examples["label"].to_pylist()
    return zip(labels, labels[7:] + labels[:7], strict=True)


def swapped(study, rows):
    """The study with the labels of some rows moved on by one class."""
    labels = study.examples["label"].to_pylist()
    turned = [{"A": "B", "B": "C", "C": "A"}[y] if r else y for y, r in zip(labels, rows, strict=True)]
    at = study.examples.column_names.index("label")
    return replace(study, examples=study.examples.set_column(at, study.examples.schema.field(at), pa.array(turned)))


def right(study, expert, rows):
    said = study.answers[expert]["label"].to_pylist()
    same = [a == b for a, b in zip(said, study.examples["label"].to_pylist(), strict=True)]
    return np.mean(np.array(same)[rows])


def test_it_joins_the_study_as_the_cheapest_expert_that_costs_nothing(study):
    made, expert = trained(study, "linear", learning_rows(study, "train"))
    assert (made.experts, expert.name) == (("linear", "large"), "linear")
    assert Boards.of(made).prices(made.experts).tolist() == [0.0, pytest.approx(0.01)]
    assert right(made, "linear", learning_rows(made, "test")) > 0.9
    assert made.answers["linear"]["id"].equals(made.examples["id"])


def test_what_it_says_of_rows_that_it_learns_from_is_out_of_fold(study):
    train = learning_rows(study, "train")
    made, expert = trained(study, "linear", train)
    said, anew = made.answers["linear"], expert.answer(study.examples)
    assert schema.meta_of(said)[schema.OUT_OF_FOLD] == {"folds": 10, "random_state": 0}
    same = np.array([a == b for a, b in zip(said["proba"].to_pylist(), anew["proba"].to_pylist(), strict=True)])
    # One in five of train chose for it, and is answered as it is.
    assert same[~train].all() and same[train].sum() == 24


@pytest.mark.parametrize(("goal", "way"), [(Goal(floor=0.8), "split"), (Goal(share=0.3), "cross")], ids=str)
def test_what_certifies_taught_nothing(study, goal, way):
    made, expert, certify = with_small(study, "linear", goal)
    held = learning_rows(made, "valid")
    assert (certify, held.sum()) == (way, 72 if way == "split" else 0)
    plan = make_plan(made, goal, certify=certify, learnt=("linear",))
    assert plan.promise.items == (72 if way == "split" else 120)
    assert isinstance(plan.certificate, Certificate | None) and not any("--certify" in note for note in plan.notes)
    if way == "split":
        other, other_expert, _ = with_small(swapped(study, held), "linear", goal)
        assert np.array_equal(other_expert.coef_, expert.coef_)
        same = other.answers["linear"].drop_columns("seconds").equals(made.answers["linear"].drop_columns("seconds"))
        assert same and np.array_equal(learning_rows(other, "valid"), held)


def test_cross_is_refused_for_a_promise(study):
    made, _, certify = with_small(study, "linear", Goal(floor=0.8), "cross")
    with pytest.raises(ConfigError, match="Certified by cross, beside a small model that learns from the same labels"):
        make_plan(made, Goal(floor=0.8), certify=certify, learnt=("linear",))


def test_what_cannot_be_trained_is_refused(study):
    train = learning_rows(study, "train")
    with pytest.raises(ConfigError, match="A small model of backend 'openai', which learns nothing. Allowed: .*linear"):
        trained(study, "openai", train)
    with pytest.raises(ConfigError, match="Unknown backend of expert 'lineal' 'lineal'. Known: .*'linear'"):
        trained(study, "lineal", train)
    with pytest.raises(ConfigError, match="An expert on record is called 'large' too"):
        trained(study, "large", train)
    with pytest.raises(DataError, match="items: no texts. Allowed: labelled texts, .* --item-column text=ITS_NAME"):
        trained(replace(study, has_text=False), "linear", train)


def test_an_order_that_was_given_stays(study):
    _, expert = trained(study, "majority", learning_rows(study, "train"))
    assert with_answers(replace(study, ordered=True), expert).experts == ("majority", "large")


@pytest.mark.parametrize(("goal", "quality"), [(Goal(share=0.3), "accuracy"), (Goal(recall={"A": 0.5}), "macro_f1")])
def test_auto_tells_what_it_was_chosen_from_by_what_the_goal_is_about(study, goal, quality):
    made, expert, _ = with_small(study, "auto", goal)
    assert any(note.startswith("Small expert 'auto' is ") and f": {quality} out of fold" in note for note in made.notes)
    # The folder of its sentence vectors is gone.
    assert expert.setting.encoded is None
