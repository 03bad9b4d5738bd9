"""`auto`: the best candidate by the task's quality, the cheaper of equals, and why."""

import numpy as np
import pytest

from askless import schema
from askless.errors import ConfigError, ExpertError
from askless.experts.base import Setting
from askless.experts.small.auto import AutoExpert, in_words, taught
from askless.experts.small.majority import MajorityExpert
from askless.experts.small.measured import measured
from askless.experts.small.out_of_fold import out_of_fold
from askless.experts.small.stack import StackExpert
from askless.panel import class_indices
from tests.experts.small.test_linear import posts


def setting(quality="accuracy"):
    return Setting("small", "demo", ("0", "1"), quality=quality, positive="1")


@pytest.fixture(autouse=True)
def no_encoder(monkeypatch):
    for module in ("auto", "regression"):
        monkeypatch.setattr(f"askless.experts.small.{module}.at_hand", lambda: None)


@pytest.fixture(scope="module")
def train():
    return posts(500, 0, rare=0.12)


def test_the_best_by_the_tasks_quality_is_taken_and_all_are_named(train):
    expert = AutoExpert(setting("macro_f1")).fit(train, train.slice(0, 100))
    assert expert.chosen_ == "stack"
    table = {row["candidate"]: row for row in expert.table_}
    assert list(table) == ["majority", "mlp", "linear", "encoder", "stack"]
    assert table["majority"]["one_class"] and not table["stack"]["one_class"]
    assert table["linear"]["behind"] > table["linear"]["error"] >= 0 == table["stack"]["behind"]
    assert "word vectors" in table["mlp"]["left_out"] and "pip install" in table["encoder"]["left_out"]
    assert all(row["seconds"] > 0 for row in table.values() if "quality" in row)
    said = schema.meta_of(expert.answer(train.slice(0, 3)))
    assert said["chosen_from"] == {"quality": "macro_f1", "candidates": expert.table_}
    words = in_words("small", said["chosen_from"])
    assert words.startswith(f"Small expert 'small' is stack {table['stack']['quality']:.3f}: macro_f1 out of fold")
    assert "majority 0.463 (one class for all)" in words and "Left out: mlp (" in words


def test_its_quality_is_that_of_the_chosen_one_out_of_fold(train):
    expert = AutoExpert(setting("macro_f1"), candidates=["majority", "stack"]).fit(train, train)
    plain = StackExpert(setting("macro_f1")).fit(train, train)
    held, own = (out_of_fold(each, train, train, random_state=67) for each in (plain, expert))
    assert own["proba"].equals(held["proba"])
    gold, given = (class_indices(table["label"], ("0", "1")) for table in (train, held))
    assert expert.table_[1]["quality"] == measured(setting("macro_f1"), gold, given)


GOLD = np.arange(1000) % 2
FOLD = np.arange(1000) // 200


def wrong_on(*rows):
    """The right class of each row but these."""
    given = GOLD.copy()
    given[list(rows)] = 1 - given[list(rows)]
    return given


@pytest.mark.parametrize(
    ("labels", "chosen"),
    [
        # Three rows of one fold may be chance; one in each fold is not.
        ({"linear": wrong_on(0, 1, 2), "stack": wrong_on(200)}, "linear"),
        ({"linear": wrong_on(0, 200, 400, 600, 800), "stack": wrong_on()}, "stack"),
        ({"linear": wrong_on(5), "stack": wrong_on(7)}, "linear"),
        ({"majority": np.zeros(1000, int), "linear": wrong_on(*range(0, 1000, 2), 1)}, "majority"),
        ({"majority": np.zeros(1000, int), "linear": wrong_on(*range(0, 998, 2))}, "linear"),
    ],
    ids=["within chance", "better in each fold", "equal", "one class is best", "one class is not best"],
)
def test_ties_go_to_the_cheaper_and_one_class_wins_only_where_none_is_better(labels, chosen):
    expert = AutoExpert(setting(), candidates=list(labels))
    expert.table_ = [{"candidate": name} for name in labels]
    assert expert._choose(GOLD, FOLD, labels) == chosen


def test_the_words_say_where_a_better_one_was_not_taken():
    rows = [
        {"candidate": "linear", "quality": 0.9, "one_class": False, "chosen": True},
        {"candidate": "stack", "quality": 0.901, "one_class": False, "chosen": False},
    ]
    assert in_words("small", {"quality": "accuracy", "candidates": rows}) == (
        "Small expert 'small' is linear 0.900: accuracy out of fold on train, of stack 0.901. "
        "stack is better by less than can be told, and costs more."
    )


def test_a_candidate_that_cannot_learn_is_refused_and_where_none_can_that_is_said(train):
    with pytest.raises(ConfigError, match="Allowed: one or more of mlp, linear, encoder, stack, finetuned, majority"):
        AutoExpert(setting(), candidates=["lead"]).fit(train, train)
    with pytest.raises(ExpertError, match=r"can learn \(mlp: it needs word vectors, and none are given\)"):
        AutoExpert(setting(), candidates=["mlp"]).fit(train, train)


def test_all_rows_teach_where_nothing_is_chosen_on_rows_set_apart():
    rows = posts(200, 0)
    expert = AutoExpert(setting(), candidates=["majority", "stack"])
    assert taught(expert, rows, 0).all()
    same = expert.alike().fit(rows, rows.slice(0, 0))
    assert expert.chosen_ == "stack" and np.array_equal(expert.model_.coef_, same.coef_)
    chooser = AutoExpert(setting(), candidates=["majority", "linear"])
    learns = taught(chooser, rows, 0)
    assert chooser.chosen_ == "linear" and learns.mean() == pytest.approx(0.8, abs=0.01)
    assert taught(MajorityExpert(setting()), rows, 0).all()
