"""The sentence ranker: learns from references, beats the lead, expects what it gets, survives a round trip."""

import json
import re

import numpy as np
import pytest

from askless import schema
from askless.data.demo.documents import documents
from askless.data.demo.vectors import write_vectors
from askless.errors import ConfigError, DataError, ExpertError
from askless.experts import Setting
from askless.experts.small.extractive import LEAST, STRENGTHS, ExtractiveExpert
from askless.experts.small.lead import LeadExpert
from askless.experts.small.ranking import Ranking, best_of, centred, line_through, scores_of
from askless.experts.small.sentence_features import FEATURES, Sentences
from askless.experts.small.sentences import sentences
from askless.text import embeddings
from askless.text.embeddings import Vectors
from askless.text.rouge import rouge

NONE = schema.table("examples", {})


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """Vectors of the demo documents' words in lower case."""
    folder = tmp_path_factory.mktemp("vectors")
    texts = [" ".join(re.findall(r"\w+", d["text"].lower())) for d in documents(600, 9)]
    return embeddings.build(write_vectors(texts, folder / "v.txt", dim=20), folder / "v", dim=20)


def news(n, seed):
    found = documents(n, seed)
    columns = {"id": [f"d{i}" for i in range(n)], "split": ["train"] * n}
    return schema.table("examples", {**columns, **{k: [d[k] for d in found] for k in ("text", "reference")}})


def of(texts, references=None):
    columns = {"id": [f"t{i}" for i in range(len(texts))], "text": texts, "reference": references}
    return schema.table("examples", {**columns, "split": ["test"] * len(texts)})


def setting(vectors):
    return Setting("extractive", "demo", (), vectors=vectors)


def marks(table, rows):
    return rouge(table["text"].to_pylist(), rows["reference"].to_pylist())


@pytest.fixture(scope="module")
def ranker(vectors):
    return ExtractiveExpert(setting(vectors)).fit(news(300, 1), NONE)


@pytest.mark.parametrize("valid", [NONE, news(150, 3)], ids=["cross-fitted", "valid"])
def test_it_beats_the_first_sentence_and_gets_what_it_expects(vectors, valid):
    expert, test = ExtractiveExpert(setting(vectors)).fit(news(300, 1), valid), news(500, 2)
    table = expert.answer(test)
    got, lead = marks(table, test), marks(LeadExpert(setting(None)).answer(test), test)
    assert got.mean() > lead.mean() + 0.1
    expected = np.exp(table["logprob"].to_numpy())
    assert expected.mean() == pytest.approx(got.mean(), abs=0.05)
    assert np.corrcoef(expected, got)[0, 1] > 0.3
    assert all(text in whole for text, whole in zip(table["text"].to_pylist(), test["text"].to_pylist(), strict=True))
    assert set(table["prompt_tokens"].to_pylist()) == set(table["completion_tokens"].to_pylist()) == {0}
    assert min(table["seconds"].to_pylist()) > 0
    assert table["label"].null_count == table["error"].null_count == 500


def test_the_same_data_and_seed_give_the_same_weights_and_answers(vectors, ranker):
    again = ExtractiveExpert(setting(vectors)).fit(news(300, 1), NONE)
    assert again.weights_.tolist() == ranker.weights_.tolist()
    other = ExtractiveExpert(setting(vectors), random_state=1).fit(news(300, 1), NONE)
    assert other.line_ != ranker.line_, "folds are drawn by it"


def test_it_answers_the_same_alone_and_among_others(ranker, monkeypatch):
    test = news(40, 4)
    whole = ranker.answer(test)
    monkeypatch.setattr("askless.experts.small.extractive.PART", 7)
    parts = ranker.answer(test)
    assert parts["text"].equals(whole["text"])
    np.testing.assert_allclose(parts["logprob"].to_numpy(), whole["logprob"].to_numpy(), rtol=1e-6)


def test_ridge_and_the_choice_of_its_penalty_equal_scikit_learns(vectors):
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    expert, train, valid = ExtractiveExpert(setting(vectors)), news(120, 1), news(60, 3)
    learn, held = expert._ranking(train), expert._ranking(valid)
    scaler = StandardScaler().fit(learn.x)
    errors = {}
    for strength in STRENGTHS:
        model = Ridge(alpha=strength).fit(scaler.transform(learn.x), learn.y)
        expected = model.predict(scaler.transform(held.x))
        np.testing.assert_allclose(scores_of(held.x, learn.ridge(strength)), expected, atol=1e-9)
        errors[strength] = np.square(expected - held.y).mean()
    assert expert.fit(train, valid).strength_ == min(errors, key=errors.__getitem__)


def test_cross_fitted_scores_come_from_other_documents_only(vectors):
    learn = ExtractiveExpert(setting(vectors))._ranking(news(30, 1))
    scores = learn.crossed(10.0, 0)
    last = learn.document == 29
    changed = Ranking(learn.x, np.where(last, 1 - learn.y, learn.y), learn.document)
    moved = changed.crossed(10.0, 0) != scores
    assert not moved[last].any()
    assert moved.any(), "the documents of other folds do learn from it"


def test_inside_a_document_neither_its_level_nor_its_spread_counts(vectors):
    learn = ExtractiveExpert(setting(vectors))._ranking(news(60, 1))
    rng = np.random.default_rng(0)
    level, spread = rng.random(60)[learn.document], (0.5 + rng.random(60))[learn.document]
    easier = Ranking(learn.x + level[:, None], spread * learn.y + level, learn.document)
    assert easier.inside().ridge(10.0)[1:] == pytest.approx(learn.inside().ridge(10.0)[1:], abs=1e-9)
    assert np.abs(easier.ridge(10.0)[1:] - learn.ridge(10.0)[1:]).max() > 0.01
    scores = scores_of(learn.x, learn.ridge(10.0))
    assert learn.inside().error(scores + level) == pytest.approx(learn.inside().error(scores))
    assert learn.error(scores) == pytest.approx(np.square(scores - learn.y).mean())
    assert centred(learn.y, learn.document)[learn.document == 7].mean() == pytest.approx(0)


@pytest.mark.parametrize("inside", [False, True])
def test_the_way_whose_sentences_are_better_ranks_and_the_other_expects(vectors, inside, monkeypatch):
    expert, train, valid = ExtractiveExpert(setting(vectors)), news(120, 1), news(60, 3)
    better = iter([1.0, 0.0] if inside else [0.0, 1.0])
    monkeypatch.setattr(Ranking, "best", lambda self, scores: next(better))
    expert.fit(train, valid)
    learn = expert._ranking(train)
    way = learn.inside() if inside else learn
    assert expert.weights_.tolist() == way.ridge(expert.strength_).tolist()
    assert expert.worth_.tolist() in [learn.ridge(strength).tolist() for strength in STRENGTHS]


def test_best_and_line():
    scores, document = np.array([1.0, 3.0, 3.0, 0.0, -1.0]), np.array([0, 0, 0, 1, 1])
    assert best_of(scores, document).tolist() == [1, 3], "the earliest of equal ones"
    assert line_through(np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx((1.0, 1.0))
    assert line_through(np.array([0.0, 2.0]), np.array([3.0, 1.0])) == (2.0, 0.0), "never the less the better"
    assert line_through(np.array([5.0]), np.array([0.3])) == (0.3, 0.0)


def test_features_by_hand(tmp_path):
    (tmp_path / "v.txt").write_text("the 1 0\ncat 0 1\nsat 1 1\n", encoding="utf-8")
    words = Vectors.open(embeddings.build(tmp_path / "v.txt", tmp_path / "v", dim=2))
    found = Sentences([["The cat sat.", "He saw the cat, 5 times?"], ["Cat"]], words)
    assert found.document.tolist() == [0, 0, 1]
    x = {name: column.tolist() for name, column in zip(FEATURES, found.features().T, strict=True)}
    assert x["first"] == [1, 0, 1]
    assert x["early"] == [1, 0.5, 1]
    assert x["depth"] == [0, 1, 0]
    assert x["log length"] == pytest.approx(np.log([4, 7, 2]))
    assert x["length squared"] == pytest.approx([0.0025, 0.01, 1 / 3600])
    assert x["unknown words"] == pytest.approx([0, 4 / 6, 0])
    cat, sat = np.log(2) / np.log(4), np.log(3) / np.log(4)
    assert x["rarity"] == pytest.approx([(cat + sat) / 3, (4 + cat) / 6, cat])
    assert x["rare words"] == pytest.approx([1 / 3, 4 / 6, 0])
    assert x["shared words"] == pytest.approx([2 / 3, 2 / 6, 0])
    assert x["shared rare words"] == [0, 0, 0]
    assert x["leans on the one before"] == [0, 1, 0]
    assert x["personal"] == [0, 0, 0]
    assert x["question"] == [0, 1, 0]
    one, two = np.array([2, 2]) / 3, np.array([1, 1]) / 2
    assert x["like the first sentence"] == pytest.approx([1, one @ two / np.linalg.norm(one) / np.linalg.norm(two), 1])
    assert x["like the document"] == pytest.approx([1, 1, 1])


ODD = ["...", "!", "One only.", "今天很好。明天更好！", "zzz qqq. vvv www.", "No end " * 4, "A.\nB.\nC."]


def test_odd_documents_get_one_of_their_sentences(ranker):
    table = ranker.answer(of(ODD))
    for text, said in zip(ODD, table["text"].to_pylist(), strict=True):
        assert said in (sentences(text) or [text])
    assert np.isfinite(table["logprob"].to_numpy()).all()
    assert table["logprob"].to_numpy().max() <= 0
    assert table["logprob"].to_numpy().min() >= np.float32(np.log(LEAST))
    assert ranker.answer(of([])).num_rows == 0


def test_of_a_document_of_100_000_words_the_beginning_is_read_and_it_is_counted(ranker):
    long = " ".join(f"Sentence {i} has five words." for i in range(20_000))
    table = ranker.answer(of([long, "Short one. And two."]))
    assert schema.meta_of(table)["truncated"] == 1
    assert re.match(r"Sentence \d{1,3} has", table["text"][0].as_py())
    assert schema.meta_of(ranker.answer(of(["Short."])))["truncated"] == 0


@pytest.mark.parametrize(
    ("rows", "got"),
    [
        (of(["A b.", "C d."], ["x", None]), "no reference in row 1"),
        (of(["A b.", "C d."], ["  ", "x"]), "no reference in row 0"),
        (of(["A b."], ["x"]), "1 rows"),
        (NONE, "0 rows"),
    ],
)
def test_documents_without_references_teach_nothing(vectors, rows, got):
    with pytest.raises(DataError) as error:
        ExtractiveExpert(setting(vectors)).fit(rows, NONE)
    assert str(error.value) == (
        f"documents to learn from: {got}. Allowed: two rows or more, each with a reference summary. "
        "Add references or drop the rows."
    )


def test_references_that_say_nothing_of_the_documents_still_teach_finite_weights(vectors):
    expert = ExtractiveExpert(setting(vectors)).fit(of(["A b. C d.", "E f. G h."], ["x", "y"]), NONE)
    assert np.isfinite(expert.weights_).all()
    assert np.exp(expert.answer(of(["A b. C d."]))["logprob"].to_numpy()) == pytest.approx(LEAST)


def test_it_must_learn_first_and_needs_vectors(vectors):
    with pytest.raises(ExpertError, match="Call fit or load"):
        ExtractiveExpert(setting(vectors)).answer(of(["A."]))
    with pytest.raises(ConfigError, match="Expert 'extractive' needs word vectors: give the task a `vectors` section."):
        ExtractiveExpert(setting(None)).fit(news(5, 1), NONE)


def test_a_saved_ranker_of_other_vectors_or_features_is_refused(vectors, ranker, tmp_path):
    path = ranker.save(tmp_path / "kept") / "extractive.json"
    words = len(Vectors.open(vectors))
    (tmp_path / "v.txt").write_text("the 1 0\n", encoding="utf-8")
    other = setting(embeddings.build(tmp_path / "v.txt", tmp_path / "v", dim=2))
    with pytest.raises(DataError) as error:
        ExtractiveExpert(other).load(tmp_path / "kept")
    got, allowed = {"words": words, "dim": 20}, {"words": 1, "dim": 2}
    assert str(error.value) == f"{path}: trained with word vectors {got}. Allowed: {allowed}. Fit it again."
    learnt = json.loads(path.read_text())
    del learnt["weights"]["question"]
    path.write_text(json.dumps(learnt))
    with pytest.raises(DataError, match="not a saved expert"):
        ExtractiveExpert(setting(vectors)).load(tmp_path / "kept")
    path.write_text("{")
    with pytest.raises(DataError, match="not a saved expert"):
        ExtractiveExpert(setting(vectors)).load(tmp_path / "kept")
