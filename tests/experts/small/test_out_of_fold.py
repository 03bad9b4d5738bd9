"""What an expert says of the rows it learns from comes from models that have not learnt from them."""

import numpy as np
import pyarrow as pa
import pytest

from askless import schema
from askless.errors import ConfigError
from askless.experts.base import TrainedExpert
from askless.experts.small.linear import LinearExpert
from askless.experts.small.out_of_fold import is_out_of_fold, out_of_fold, replaced
from tests.experts.small.test_linear import posts
from tests.experts.tiny_models import setting

CLASSES = ("new", "seen")


class Rote(TrainedExpert):
    """Says `seen` of the rows that it has learnt from; `option` must travel to its twins."""

    def __init__(self, setting, *, option=0):
        super().__init__(setting)
        self.option = option

    def fit(self, train, valid):
        assert self.option == 7
        self.ids = set(train["id"].to_pylist())
        return self

    def answer(self, examples):
        label = ["seen" if i in self.ids else "new" for i in examples["id"].to_pylist()]
        return self.predictions(examples, {"label": label})

    def meta(self):
        return {"model": "rote", "rows": len(self.ids)}

    def save(self, folder):
        return folder

    def load(self, folder):
        return self


def rows(n, first=0):
    label = np.where(np.arange(n) % 10 == 0, "seen", "new")
    columns = {"id": [f"i{i}" for i in range(first, first + n)], "text": ["a"] * n, "label": label.tolist()}
    return schema.table("examples", {**columns, "split": ["train"] * n})


def test_no_row_is_answered_by_a_model_that_learnt_from_it():
    expert, train = Rote(setting(classes=CLASSES), option=7), rows(103)
    held = out_of_fold(expert, train, rows(10, 500), folds=4, random_state=3)
    assert held["id"].to_pylist() == train["id"].to_pylist()
    assert set(held["label"].to_pylist()) == {"new"}
    assert schema.meta_of(held)["out_of_fold"] == {"folds": 4, "random_state": 3}
    assert not hasattr(expert, "ids")


def test_of_all_rows_those_of_train_alone_are_out_of_fold_and_the_file_says_so():
    expert, train, test = Rote(setting(classes=CLASSES), option=7), rows(40), rows(20, 100)
    # What is `seen` in test here is taken for what a deployed model says.
    everything = pa.concat_tables([test.slice(0, 10), train, test.slice(10)])
    expert.fit(pa.concat_tables([train, test]), test)
    said = expert.answer(everything)
    whole = replaced(said, out_of_fold(expert, train, test))
    assert whole["id"].to_pylist() == everything["id"].to_pylist()
    assert whole["label"].to_pylist() == ["seen"] * 10 + ["new"] * 40 + ["seen"] * 10
    assert is_out_of_fold(whole.schema) and not is_out_of_fold(said.schema)
    assert schema.meta_of(whole) | {"out_of_fold": None} == schema.meta_of(said) | {"out_of_fold": None}


def test_each_class_is_in_each_fold_and_lessons_teach_every_model(monkeypatch):
    learnt, fit = [], Rote.fit
    monkeypatch.setattr(Rote, "fit", lambda self, train, valid: learnt.append(train) or fit(self, train, valid))
    held = out_of_fold(Rote(setting(classes=CLASSES), option=7), rows(50), rows(5, 70), folds=5, lessons=rows(3, 90))
    assert held.num_rows == 50
    assert [table.num_rows for table in learnt] == [43] * 5
    assert [table["label"].to_pylist().count("seen") for table in learnt] == [4 + 1] * 5
    assert all(set(table["id"].to_pylist()) >= {"i90", "i91", "i92"} for table in learnt)


def test_labels_without_rhyme_or_reason_are_known_by_heart_in_sample_alone():
    train, valid = posts(600, 0, ("0", "1")), posts(100, 1, ("0", "1"))
    coin = np.random.default_rng(5).choice(["0", "1"], 600)
    train = train.set_column(2, train.schema.field("label"), pa.array(coin, pa.string()))
    expert = LinearExpert(setting(classes=("0", "1")), strengths=[30.0]).fit(train, valid)
    right = [
        np.mean(np.array(said["label"].to_pylist()) == coin)
        for said in (expert.answer(train), out_of_fold(expert, train, valid))
    ]
    assert right[0] > 0.95 and right[1] < 0.6


def test_folds_are_two_or_more():
    with pytest.raises(ConfigError, match="Got folds 1. Allowed: 2 or more."):
        out_of_fold(Rote(setting(classes=CLASSES), option=7), rows(9), rows(2), folds=1)
