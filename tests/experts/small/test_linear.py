"""TF-IDF and logistic regression: learns, chooses C on valid, and is the same after a round trip."""

import numpy as np
import pyarrow as pa
import pytest

from askless import schema
from askless.errors import DataError, ExpertError
from askless.experts.small.linear import LinearExpert
from tests.experts.tiny_models import setting

WORDS = [f"word{i}" for i in range(60)]


def posts(n, seed, classes=("0", "1"), rare=0.5):
    """Texts whose class shows in some of their words."""
    rng = np.random.default_rng(seed)
    share = [1 - rare, *([rare / (len(classes) - 1)] * (len(classes) - 1))]
    labels = rng.choice(len(classes), n, p=share)
    lines = []
    for i, label in enumerate(labels):
        words = list(rng.choice(WORDS, 12)) + [f"sign{label if rng.random() < 0.8 else rng.integers(len(classes))}"]
        lines.append(f"{i} " + " ".join(rng.permutation(words)))
    columns = {"id": [f"i{i}" for i in range(n)], "text": lines, "label": [classes[i] for i in labels]}
    return schema.table("examples", {**columns, "split": ["train"] * n})


def accuracy(table, rows):
    return float(np.mean([a == b for a, b in zip(table["label"].to_pylist(), rows["label"].to_pylist(), strict=True)]))


@pytest.mark.parametrize("classes", [("0", "1"), ("a", "b", "c")])
def test_it_learns_and_is_sure_as_often_as_it_is_right(classes):
    expert = LinearExpert(setting(classes=classes)).fit(posts(1200, 0, classes), posts(300, 1, classes))
    test = posts(600, 2, classes)
    table = expert.answer(test)
    assert accuracy(table, test) > 0.8
    proba = np.array(table["proba"].to_pylist())
    assert proba.max(1).mean() == pytest.approx(accuracy(table, test), abs=0.08)
    assert table["label"].to_pylist() == [classes[i] for i in proba.argmax(1)]
    assert table["completion_tokens"].to_pylist() == [0] * 600
    assert min(table["seconds"].to_pylist()) > 0


def test_probabilities_equal_scikit_learns_own():
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    for classes in (("0", "1"), ("a", "b", "c")):
        train, valid, test = (posts(400, seed, classes) for seed in range(3))
        expert = LinearExpert(setting(classes=classes), strengths=[3.0]).fit(train, valid)
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
        x = vectorizer.fit_transform(train["text"].to_pylist())
        model = LogisticRegression(C=3.0, max_iter=1000, random_state=67).fit(x, train["label"].to_pylist())
        expected = model.predict_proba(vectorizer.transform(test["text"].to_pylist()))
        np.testing.assert_allclose(expert.answer(test)["proba"].to_pylist(), expected, atol=1e-6)


def test_the_strength_is_chosen_on_valid():
    train = posts(500, 0)
    labels = np.array(train["label"].to_pylist())
    noise = np.random.default_rng(0).permutation(labels)
    noisy = train.set_column(train.column_names.index("label"), "label", pa.array(noise))
    assert LinearExpert(setting()).fit(noisy, posts(300, 1)).c_ == 0.3
    assert LinearExpert(setting()).fit(train, train).c_ == 30.0


def test_saved_and_loaded_it_says_the_same_to_the_bit(tmp_path):
    expert = LinearExpert(setting(), ngrams=3).fit(posts(400, 0), posts(100, 1))
    test = posts(200, 2)
    before = expert.answer(test)
    expert.save(tmp_path / "one")
    loaded = LinearExpert(setting()).load(tmp_path / "one")
    assert loaded.answer(test)["proba"].equals(before["proba"])
    assert loaded.ngrams == 2, "arguments stay as they were given"


def test_the_same_seed_gives_the_same_model_and_a_second_fit_forgets_the_first():
    first, second = (LinearExpert(setting()).fit(posts(300, 0), posts(100, 1)) for _ in range(2))
    test = posts(100, 2)
    assert first.answer(test)["proba"].equals(second.answer(test)["proba"])
    again = first.fit(posts(300, 5), posts(100, 1)).answer(test)
    fresh = LinearExpert(setting()).fit(posts(300, 5), posts(100, 1)).answer(test)
    assert again["proba"].equals(fresh["proba"])


def test_balanced_weights_find_more_of_a_rare_class():
    train, valid, test = (posts(1500, seed, rare=0.06) for seed in range(3))
    found = {
        weight: LinearExpert(setting(), class_weight=weight)
        .fit(train, valid)
        .answer(test)["label"]
        .to_pylist()
        .count("1")
        for weight in (None, "balanced")
    }
    assert found["balanced"] > found[None]


def test_a_class_that_train_lacks_has_no_probability():
    train, valid = posts(300, 0, ("a", "b")), posts(100, 1, ("a", "b"))
    table = LinearExpert(setting(classes=("a", "b", "c"))).fit(train, valid).answer(valid)
    assert {p[2] for p in table["proba"].to_pylist()} == {0.0}


def test_words_never_seen_get_the_intercepts_answer():
    expert = LinearExpert(setting()).fit(posts(300, 0), posts(100, 1))
    unknown = schema.table("examples", {"id": ["x"], "text": ["zz yy"], "split": ["test"]})
    assert sum(expert.answer(unknown)["proba"].to_pylist()[0]) == pytest.approx(1)


def test_what_cannot_be_learnt_or_loaded(tmp_path):
    rows = posts(50, 0)
    only = rows.filter(pa.compute.equal(rows["label"], "1"))
    with pytest.raises(DataError, match="only class '1'. Allowed: two classes or more"):
        LinearExpert(setting()).fit(only, rows)
    with pytest.raises(DataError, match="Lower min_df"):
        LinearExpert(setting(), min_df=51).fit(rows, rows)
    with pytest.raises(ExpertError, match="has learnt nothing yet"):
        LinearExpert(setting()).answer(rows)
    (tmp_path / "linear.safetensors").write_bytes(b"half a file")
    with pytest.raises(DataError, match="not a saved expert"):
        LinearExpert(setting()).load(tmp_path)
    with pytest.raises(DataError, match="not a saved expert"):
        LinearExpert(setting()).load(tmp_path / "nowhere")
