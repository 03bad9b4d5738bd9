import numpy as np
import pytest

from askless.data.demo.posts import posts
from askless.data.demo.vectors import write_vectors
from askless.data.demo.wordings import SLANG, SLANG_INSULTS, SLANG_PRAISES


def read(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    return {line.split(" ")[0]: np.array(line.split(" ")[1:], dtype=float) for line in lines}


@pytest.fixture(scope="module")
def texts():
    return [post["text"] for post in posts(4000, 11)]


def test_the_file_has_one_line_of_a_word_and_its_numbers(texts, tmp_path):
    path = write_vectors(texts, tmp_path / "v.txt", dim=20)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert all(len(line.split(" ")) == 21 for line in lines)
    vectors = read(path)
    assert len(vectors) == len(lines) and vectors.keys() >= SLANG
    assert [p.name for p in tmp_path.iterdir()] == ["v.txt"]


def test_the_same_texts_and_seed_give_the_same_bytes(texts, tmp_path):
    files = [write_vectors(iter(texts), tmp_path / f"{i}.txt", dim=20, seed=3).read_bytes() for i in range(2)]
    assert files[0] == files[1]


def test_slang_of_one_valence_is_nearer_to_its_own_than_to_the_other(tmp_path):
    vectors = read(write_vectors([p["text"] for p in posts(12_000, 11)], tmp_path / "v.txt"))
    bad, good = (
        np.array([vectors[w] / np.linalg.norm(vectors[w]) for w in words]) for words in (SLANG_INSULTS, SLANG_PRAISES)
    )
    own = [(group @ group.T)[~np.eye(20, dtype=bool)].mean() for group in (bad, good)]
    assert min(own) > (bad @ good.T).mean()


def test_bare_words_have_neither_case_nor_punctuation(tmp_path):
    texts = ["The barn burned. Nobody's hurt!", "THE barn: burned down", "nobody, the S barn"]
    assert list(read(write_vectors(texts, tmp_path / "v.txt", dim=2, bare=True))) == [
        *("barn", "the", "burned", "nobody", "s"),
    ]
    assert set(read(write_vectors(texts, tmp_path / "v.txt", dim=2))) == {"barn"}


def test_few_words_are_padded_with_zeros(tmp_path):
    vectors = read(write_vectors(["a b", "a b c"], tmp_path / "v.txt", dim=5))
    assert set(vectors) == {"a", "b"}
    assert all(len(v) == 5 and not v[2:].any() for v in vectors.values())


def test_no_word_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="No word occurs 2 times in 1 texts. Give more texts."):
        write_vectors(["a b c"], tmp_path / "v.txt")
    assert not list(tmp_path.iterdir())
