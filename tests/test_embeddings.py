import zipfile

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deferral import embeddings, glove, schema
from deferral.embeddings import Vectors, build
from deferral.errors import DataError

ODD = ["the", '"', "'s", ",", "null", "nan", "\u00a0", "\u2028x", "caf\u00e9", "=" * 40, "a\\b", "\x85", "#n/a", "-1"]


def write(path, words=ODD, dim=3, seed=0):
    values = np.random.default_rng(seed).normal(0, 0.4, (len(words), dim))
    values[0, 0] = 1e-05
    rows = [[f"{value:.5g}" for value in row] for row in values.tolist()]
    lines = [" ".join([word, *row]) for word, row in zip(words, rows, strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    return np.array(rows, dtype=np.float64).astype(np.float32)


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


def test_matrix_and_words_are_those_of_the_file(tmp_path):
    wanted = write(tmp_path / "glove.txt")
    folder = build(tmp_path / "glove.txt", tmp_path / "v", 3)
    vectors = Vectors.open(folder, dim=3)
    np.testing.assert_array_equal(vectors.matrix, wanted)
    assert vectors.matrix.dtype == np.float32 and not vectors.matrix.flags.writeable
    assert vectors.vocabulary.words() == ODD and (len(vectors), vectors.dim) == (len(ODD), 3)
    assert sorted(p.name for p in folder.iterdir()) == ["vectors.npy", "words.txt"]
    np.testing.assert_array_equal(np.load(folder / "vectors.npy"), wanted)


def test_many_blocks_keep_the_order_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(glove, "BLOCK", 200)
    words = [f"word{i}" for i in range(5_000)]
    wanted = write(tmp_path / "glove.txt", words, dim=7)
    vectors = Vectors.open(build(tmp_path / "glove.txt", tmp_path / "v", 7))
    np.testing.assert_array_equal(vectors.matrix, wanted)
    assert vectors.vocabulary.words() == words
    assert vectors.rows(words[::-1]).tolist() == list(range(5_000))[::-1]


def test_last_line_without_an_end_and_ends_of_windows(tmp_path):
    (tmp_path / "glove.txt").write_bytes(b"a 1 2\r\nb 3 4")
    vectors = Vectors.open(build(tmp_path / "glove.txt", tmp_path / "v", 2))
    assert vectors.matrix.tolist() == [[1, 2], [3, 4]] and vectors.vocabulary.words() == ["a", "b"]


@pytest.mark.parametrize("member", [None, "deep/glove.6B.3d.txt"])
def test_straight_out_of_the_zip(tmp_path, member):
    wanted = write(tmp_path / "glove.txt")
    with zipfile.ZipFile(tmp_path / "glove.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "glove.txt", "deep/glove.6B.3d.txt")
        archive.writestr("glove.6B.50d.txt", "a " + "1 " * 49 + "1\n")
    before = sorted(tmp_path.iterdir())
    vectors = Vectors.open(build(tmp_path / "glove.zip", tmp_path / "v", 3, member=member))
    np.testing.assert_array_equal(vectors.matrix, wanted)
    assert sorted(tmp_path.iterdir()) == [*before, tmp_path / "v"]


def test_zip_without_such_a_member_or_damaged(tmp_path):
    path = tmp_path / "glove.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("glove.6B.50d.txt", "a 1 2 3\n" * 100)
        archive.writestr("glove.6B.200d.txt", "a 1\n")
    for member in (None, "glove.6B.3d.txt"):
        with pytest.raises(
            DataError, match=r"Allowed: glove.6B.50d.txt, glove.6B.200d.txt. Set member to one of these"
        ):
            build(path, tmp_path / "v", 3, member=member)
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a damaged zip .*Download it again"):
        build(path, tmp_path / "v", 3, member="glove.6B.50d.txt")
    assert not (tmp_path / "v").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"word 1 2", "line 2001 has 2 numbers"),
        (b"word 1 2 3 4", "line 2001 has 4 numbers"),
        (b"two words 1 2 3", "line 2001 has 4 numbers"),
        (b"word 1  2", r"line 2001 has a field that is no finite number \(''\)"),
        (b"word 1 2 x3", r"line 2001 has a field that is no finite number \('x3'\)"),
        (b"word 1 2 0x3", r"line 2001 has a field that is no finite number \('0x3'\)"),
        (b"word 1 nan 3", r"line 2001 has a field that is no finite number \('nan'\)"),
        (b"word 1 inf 3", r"line 2001 has a field that is no finite number \('inf'\)"),
        (b"word 1 1e39 3", r"line 2001 has a field that is no finite number \('1e39'\)"),
        (b"word 1 2.3.4 3", r"line 2001 has a field that is no finite number \('2.3.4'\)"),
        (b" 1 2 3", "line 2001 has no word"),
        (b"", "line 2001 has 0 numbers"),
        (b"w\xff 1 2 3", "line 2001 has a word that is not UTF-8"),
    ],
)
@pytest.mark.parametrize("block", [1 << 21, 100])
def test_a_corrupt_line_says_its_number(tmp_path, monkeypatch, line, message, block):
    monkeypatch.setattr(glove, "BLOCK", block)
    good = b"".join(b"w%d 1 2 3\n" % i for i in range(2_000))
    (tmp_path / "glove.txt").write_bytes(good + line + b"\n" + good)
    with pytest.raises(DataError, match=f"glove.txt: {message}. Allowed: a word and 3 finite numbers"):
        build(tmp_path / "glove.txt", tmp_path / "v", 3)
    assert [p.name for p in tmp_path.iterdir()] == ["glove.txt"]


def test_another_dimension(tmp_path):
    write(tmp_path / "glove.txt", dim=50)
    with pytest.raises(DataError, match=r"line 1 has 50 numbers.*Set dim to 50, or use a file of dimension 100"):
        build(tmp_path / "glove.txt", tmp_path / "v", 100)
    build(tmp_path / "glove.txt", tmp_path / "v", 50)
    with pytest.raises(DataError, match=r"vectors of dimension 50. Allowed: 100. Set dim to 50 or rebuild"):
        Vectors.open(tmp_path / "v", dim=100)


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(DataError, match="glove.txt: no such file"):
        build(tmp_path / "glove.txt", tmp_path / "v", 3)
    (tmp_path / "glove.txt").write_bytes(b"")
    with pytest.raises(DataError, match="no lines"):
        build(tmp_path / "glove.txt", tmp_path / "v", 3)
    with pytest.raises(DataError, match=r"no vectors.npy.*Run the stage that makes it"):
        Vectors.open(tmp_path / "v")


def test_a_failed_build_leaves_the_last_good_one(tmp_path):
    wanted = write(tmp_path / "glove.txt")
    build(tmp_path / "glove.txt", tmp_path / "v", 3)
    (tmp_path / "bad.txt").write_bytes(b"a 1 2\n")
    with pytest.raises(DataError):
        build(tmp_path / "bad.txt", tmp_path / "v", 3)
    np.testing.assert_array_equal(Vectors.open(tmp_path / "v").matrix, wanted)
    wanted = write(tmp_path / "glove.txt", seed=1)
    build(tmp_path / "glove.txt", tmp_path / "v", 3)
    np.testing.assert_array_equal(Vectors.open(tmp_path / "v").matrix, wanted)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.txt", "glove.txt", "v"]


def test_a_full_disk_leaves_the_last_good_one(tmp_path, monkeypatch):
    wanted = write(tmp_path / "glove.txt")
    build(tmp_path / "glove.txt", tmp_path / "v", 3)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(glove, "_header", full)
    with pytest.raises(DataError, match=r"could not be written \(No space left on device\).*Free some space"):
        build(tmp_path / "glove.txt", tmp_path / "v", 3)
    np.testing.assert_array_equal(Vectors.open(tmp_path / "v").matrix, wanted)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["glove.txt", "v"]


def test_what_a_killed_build_left_is_removed(tmp_path):
    write(tmp_path / "glove.txt")
    (tmp_path / ".v.123.part").mkdir()
    build(tmp_path / "glove.txt", tmp_path / "v", 3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["glove.txt", "v"]
    with pytest.raises(DataError, match="could not be written"):
        build(tmp_path / "glove.txt", tmp_path / "glove.txt" / "v", 3)


def test_damaged_folders(tmp_path, opened):
    (tmp_path / "v" / "words.txt").write_text("the\n")
    with pytest.raises(DataError, match="1 words for 14 vectors"):
        Vectors.open(tmp_path / "v").rows(["the"])
    (tmp_path / "v" / "vectors.npy").write_bytes(b"half")
    with pytest.raises(DataError, match="unreadable vectors"):
        Vectors.open(tmp_path / "v")


def test_same_text_same_bytes(tmp_path):
    write(tmp_path / "glove.txt")
    one, other = (build(tmp_path / "glove.txt", tmp_path / name, 3) for name in "ab")
    for name in ("vectors.npy", "words.txt"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


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


@given(st.lists(st.text(st.sampled_from('the" \t\n\x1c\x85\u00a0\u2003\u3000,éx')), max_size=8))
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


@given(
    st.lists(st.text(min_size=1).filter(lambda w: not set(w) & {"\n", " "}), unique=True, min_size=1),
    st.lists(st.text()),
)
def test_vocabulary_is_a_dict(words, asked):
    words = [w for w in words if w.split() == [w]] or ["a"]
    vectors = Vectors(np.ones((len(words), 2), np.float32), embeddings.Vocabulary.of(words))
    table = {word: row for row, word in enumerate(words)}
    assert vectors.rows(words + asked).tolist() == [table.get(word, -1) for word in words + asked]
    rows, at = vectors.vocabulary.tokens([*asked, " ".join(words)])
    assert [rows[a:b].tolist() for a, b in zip(at[:-1], at[1:], strict=True)] == [
        [table[w] for w in text.split() if w in table] for text in [*asked, " ".join(words)]
    ]


def test_a_repeated_word_keeps_its_first_row():
    assert embeddings.Vocabulary.of(["a", "b", "a", "a"]).rows(["a", "b"]).tolist() == [0, 1]


def test_no_words_and_no_texts(opened):
    assert opened.mean([]).shape == (0, 3)
    assert opened.mean(["", "unheard of"]).tolist() == [[0, 0, 0]] * 2
    empty = opened.subset(["absent"])
    assert (len(empty), empty.dim) == (0, 3) and empty.mean(["the"]).tolist() == [[0, 0, 0]]


def test_large_corpora_are_shared_among_threads(opened, monkeypatch):
    texts = [" ".join(ODD[i % 5 : i % 7]) for i in range(5_000)]
    monkeypatch.setattr(embeddings.os, "cpu_count", lambda: 3)
    shared = opened.mean(texts)
    monkeypatch.setattr(embeddings, "ENOUGH", 10**9)
    np.testing.assert_array_equal(shared, opened.mean(texts))
    assert not np.shares_memory(shared, opened.matrix)


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
