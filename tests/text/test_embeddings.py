import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askless import schema
from askless.errors import DataError
from askless.text import embeddings
from askless.text.embeddings import Vectors, build
from tests.text.test_glove import ODD, write


def published(vectors, words, texts):
    """The per-token loop."""
    table = dict(zip(words, vectors.astype(np.float64), strict=True))
    out = np.zeros((len(texts), vectors.shape[1]), np.float32)
    for row, text in enumerate(texts):
        if found := [table[token] for token in text.split() if token in table]:
            out[row] = np.mean(found, axis=0)
    return out


@pytest.fixture
def opened(tmp_path):
    write(tmp_path / "glove.txt")
    return Vectors.open(build(tmp_path / "glove.txt", tmp_path / "v", 3))


def test_damaged_folders(tmp_path, opened):
    (tmp_path / "v" / "words.txt").write_text("the\n")
    with pytest.raises(DataError, match="1 words for 14 vectors"):
        Vectors.open(tmp_path / "v").rows(["the"])
    (tmp_path / "v" / "vectors.npy").write_bytes(b"half")
    with pytest.raises(DataError, match="unreadable vectors"):
        Vectors.open(tmp_path / "v")


def test_rows(opened):
    assert opened.rows(['"', "absent", "the", "", "th", "the ", "=" * 40, "=" * 41]).tolist() == [
        1,
        -1,
        0,
        -1,
        -1,
        -1,
        9,
        -1,
    ]
    assert opened.rows([]).tolist() == []
    assert opened.rows(pa.array(["the", None])).tolist() == [0, -1]


@given(
    st.lists(st.text(st.sampled_from('the" \t\n\x00\x1c\x85\u00a0\u2003\u3000,éx\u2019\u201c\U0001f600')), max_size=8)
)
def test_mean_is_the_published_loop(made, texts):
    wanted = published(made.matrix, made.vocabulary.words(), texts)
    np.testing.assert_allclose(made.mean(texts), wanted, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(
        made.mean(pa.chunked_array([texts[:2], texts[2:]], pa.string())), wanted, rtol=1e-6, atol=1e-7
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    words = ["the", "e", "h", '"', ",", "é", "th", "t,", "\u2003", "x" * 8, "x" * 9, "x" * 17]
    write(folder / "glove.txt", words, dim=4)
    return Vectors.open(build(folder / "glove.txt", folder / "v", 4))


def test_no_words_and_no_texts(opened):
    assert opened.mean([]).shape == (0, 3)
    assert opened.mean(["", "unheard of"]).tolist() == [[0, 0, 0]] * 2
    empty = opened.subset(["absent"])
    assert (len(empty), empty.dim) == (0, 3) and empty.mean(["the"]).tolist() == [[0, 0, 0]]


def test_large_corpora_are_shared_among_threads(opened, monkeypatch):
    texts = [" ".join(ODD[i % 5 : i % 7]) for i in range(5_000)]
    whole = opened.mean(texts)
    monkeypatch.setattr(embeddings, "PART", 1_000)
    for threads in (1, 3):
        monkeypatch.setattr(embeddings.os, "cpu_count", lambda n=threads: n)
        np.testing.assert_array_equal(opened.mean(texts), whole)
        np.testing.assert_array_equal(opened.mean(texts[:1_000]), whole[:1_000])


def test_case_is_kept_unless_asked(opened):
    assert opened.mean(["THE"]).tolist() == [[0, 0, 0]]
    np.testing.assert_array_equal(
        Vectors(opened.matrix, opened.vocabulary, lower=True).mean(["THE"]), opened.mean(["the"])
    )


def test_a_bundle_carries_only_the_rows_it_needs(tmp_path, opened):
    texts = ['the "', "null , other words", "caf\u00e9"]
    assert opened.known(texts) == ["the", '"', ",", "null", "caf\u00e9"]
    small = opened.subset([*opened.known(texts), "absent", "the"])
    folder = small.save(tmp_path / "bundle" / "vectors")
    assert sorted(p.name for p in folder.iterdir()) == ["vectors.safetensors", "words.txt"]
    loaded = Vectors.load(folder)
    assert loaded.vocabulary.words() == ["the", '"', ",", "null", "caf\u00e9"]
    np.testing.assert_array_equal(loaded.mean(texts), opened.mean(texts))
    assert loaded.rows(["'s"]).tolist() == [-1]


def test_saving_twice_gives_the_same_bytes(tmp_path, opened):
    one, other = (opened.save(tmp_path / name) for name in "ab")
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes()


def test_features_of_examples(opened):
    examples = schema.table("examples", {"id": ["a"], "text": ["the ,"], "split": ["test"]})
    assert opened.mean(examples["text"]).shape == (1, 3)
