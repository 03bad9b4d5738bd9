"""The majority class."""

import pytest

from askless import schema
from askless.errors import DataError, ExpertError
from askless.experts.small.majority import MajorityExpert
from tests.experts.tiny_models import setting


def labelled(labels):
    columns = {"id": [f"i{i}" for i in range(len(labels))], "text": ["x"] * len(labels), "label": labels}
    return schema.table("examples", {**columns, "split": ["train"] * len(labels)})


def test_the_commonest_class_with_the_shares_of_train():
    expert = MajorityExpert(setting()).fit(labelled(["1", "1", "0", "1"]), labelled(["0"]))
    table = expert.answer(labelled(["0", "1", "0"]))
    assert table["label"].to_pylist() == ["1"] * 3
    assert table["proba"].to_pylist() == [[0.25, 0.75]] * 3
    assert table["prompt_tokens"].to_pylist() == table["completion_tokens"].to_pylist() == [0] * 3
    assert all(seconds > 0 for seconds in table["seconds"].to_pylist())
    assert schema.meta_of(table)["model"] == "majority class"
    assert expert.answer(labelled([])).num_rows == 0


def test_a_class_that_train_lacks_has_no_share():
    expert = MajorityExpert(setting(classes=("a", "b", "c"))).fit(labelled(["c", "a", "a"]), labelled([]))
    assert expert.answer(labelled(["a"]))["proba"].to_pylist()[0] == pytest.approx([2 / 3, 0, 1 / 3])


def test_what_cannot_be_learnt_or_loaded(tmp_path):
    rows = labelled(["0", None])
    with pytest.raises(DataError, match="label None in row 1. Allowed: rows labelled with one of"):
        MajorityExpert(setting()).fit(rows, rows)
    with pytest.raises(DataError, match="no rows"):
        MajorityExpert(setting()).fit(labelled([]), rows)
    with pytest.raises(ExpertError, match="has learnt nothing yet. Call fit or load"):
        MajorityExpert(setting()).answer(rows)
    with pytest.raises(DataError, match="not a saved expert"):
        MajorityExpert(setting()).load(tmp_path)
    MajorityExpert(setting()).fit(labelled(["1"]), rows).save(tmp_path)
    with pytest.raises(DataError, match=r"trained for the classes \['0', '1'\]"):
        MajorityExpert(setting(classes=("no", "yes"))).load(tmp_path)
