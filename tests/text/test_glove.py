import zipfile

import numpy as np
import pytest

from askless.errors import DataError
from askless.text import glove
from askless.text.embeddings import Vectors
from askless.text.glove import build

ODD = ["the", '"', "'s", ",", "null", "nan", "\u00a0", "\u2028x", "caf\u00e9", "=" * 40, "a\\b", "\x85", "#n/a", "-1"]


def write(path, words=ODD, dim=3, seed=0):
    values = np.random.default_rng(seed).normal(0, 0.4, (len(words), dim))
    values[0, 0] = 1e-05
    rows = [[f"{value:.5g}" for value in row] for row in values.tolist()]
    lines = [" ".join([word, *row]) for word, row in zip(words, rows, strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    return np.array(rows, dtype=np.float64).astype(np.float32)


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


def test_same_text_same_bytes(tmp_path):
    write(tmp_path / "glove.txt")
    one, other = (build(tmp_path / "glove.txt", tmp_path / name, 3) for name in "ab")
    for name in ("vectors.npy", "words.txt"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
