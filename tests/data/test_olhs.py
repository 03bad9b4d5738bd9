import pickle

import numpy as np
import pytest

from askless.config import Source
from askless.data import readers
from askless.data.plain_pickle import load_npy
from askless.errors import ConfigError, DataError

CSV = """,count,hate_speech,offensive_language,neither,class,tweet
0,3,0,0,3,2,"one, with a comma"
5,3,3,0,0,0,"two
lines"
6,3,0,3,0,1,null
"""
POSTS = [["kind", "words"], ["other", "words"], ["third"]]
LABELS = [2, 0, 1]


class Marks:
    """Pickles as a call that leaves a mark on disk."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def saved(tmp_path, value, protocol=4):
    """What np.save writes for a pickled object, in any pickle protocol."""
    path = tmp_path / "labelled_data.npy"
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        pickle.dump(np.array(value, dtype=object), file, protocol=protocol)
    return path


def columns(table):
    return {name: table[name].to_pylist() for name in table.column_names}


def test_davidson_csv(tmp_path):
    path = tmp_path / "labeled_data.csv"
    path.write_text(CSV)
    assert columns(readers.read(Source(kind="olhs"), path)) == {
        "text": ["one, with a comma", "two\nlines", "null"],
        "label": ["0", "1", "1"],
        "reference": [None] * 3,
        "group": ["neither", "hate", "offensive"],
        "source_id": ["0", "5", "6"],
    }
    assert readers.read(Source(kind="olhs", rows=1), path).num_rows == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CSV.replace(",class,", ",klass,"), "no column 'class'"),
        (CSV.replace("3,2,", "3,3,"), "class '3' in row 0. Allowed: 0, 1 or 2"),
        (CSV + "7,secret\n", "line 6: 7 columns in the header, 2 here"),
        ("", "a file of 0 bytes"),
    ],
)
def test_davidson_csv_that_is_broken(tmp_path, text, message):
    path = tmp_path / "labeled_data.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        readers.read(Source(kind="olhs"), path)
    assert "secret" not in str(caught.value)


def test_missing_file_and_path(tmp_path):
    with pytest.raises(ConfigError, match="Set path or url"):
        readers.read(Source(kind="olhs"))
    with pytest.raises(DataError, match="no such file"):
        readers.read(Source(kind="olhs"), tmp_path / "x.csv")
    with pytest.raises(ConfigError, match="Did you mean 'olhs'"):
        readers.read(Source(kind="ohls"), tmp_path / "x.csv")


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize(
    "labels", [LABELS, np.array(LABELS), ["2", "0", "1"], np.array(["2", "0", "1"]), [np.int64(x) for x in LABELS]]
)
def test_keswani_npy(tmp_path, protocol, labels):
    path = saved(tmp_path, {"posts": POSTS, "labels": labels, "groups": {1, 2}}, protocol)
    assert columns(readers.read(Source(kind="keswani"), path)) == {
        "text": ["kind words", "other words", "third"],
        "label": ["0", "1", "1"],
        "reference": [None] * 3,
        "group": ["neither", "hate", "offensive"],
        "source_id": ["0", "1", "2"],
    }


def test_keswani_npy_as_numpy_saves_it(tmp_path):
    path = tmp_path / "labelled_data.npy"
    np.save(path, {"posts": np.array([*POSTS, []], dtype=object), "labels": [*LABELS, 2]})
    assert readers.read(Source(kind="keswani"), path)["text"].to_pylist() == ["kind words", "other words", "third", ""]


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, protocol):
    mark = tmp_path / "was here"
    path = saved(tmp_path, {"posts": POSTS, "labels": LABELS, "more": Marks(mark)}, protocol)
    with pytest.raises(DataError, match=r"it asks for .*open, which could run code.*Do not load it by other means"):
        readers.read(Source(kind="keswani"), path)
    assert not mark.exists()
    np.load(path, allow_pickle=True)[()]["more"].close()
    assert mark.exists()


@pytest.mark.parametrize(
    "payload",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"cnumpy\nsave\n.",
        b"cnumpy.core.multiarray\nfromfile\n.",
        b"c_codecs\nencode\n(Vx\nVrot13\ntR.",
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.",
        b"Pelsewhere\n.",
        b"cnumpy\ndtype\n(VV8\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(NVcode\ntb.",
    ],
)
def test_other_ways_out_are_closed(tmp_path, payload):
    path = tmp_path / "x.npy"
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        file.write(payload)
    with pytest.raises(
        DataError, match="could run code|the codec|outside the file|numbers of the type|changes a function"
    ):
        load_npy(path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"posts": POSTS}, "KeyError 'labels'"),
        ({"posts": POSTS, "labels": LABELS[:2]}, "3 posts and 2 labels"),
        ({"posts": POSTS, "labels": [0, 1, 4]}, "class '4' in row 2"),
        ({"posts": [1, 2, 3], "labels": LABELS}, "TypeError"),
        ([1, 2], "Allowed: one pickled object"),
        ({1: 2}, "KeyError 'posts'"),
    ],
)
def test_npy_that_is_no_labelled_data(tmp_path, value, message):
    with pytest.raises(DataError, match=message):
        readers.read(Source(kind="keswani"), saved(tmp_path, value))


def test_arrays_come_back_as_lists(tmp_path):
    value = {
        "two by three": np.arange(6).reshape(2, 3),
        "columns first": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "words": np.array([["a", "b"], ["c", "d"]], dtype=object),
        "raw": [b"x", bytearray(b"y"), np.float32(0.5), np.True_, np.array([b"z"])],
    }
    for protocol in range(2, 6):
        assert load_npy(saved(tmp_path, value, protocol)) == {
            "two by three": [[0, 1, 2], [3, 4, 5]],
            "columns first": [[0, 1, 2], [3, 4, 5]],
            "words": [["a", "b"], ["c", "d"]],
            "raw": [b"x", bytearray(b"y"), 0.5, True, [b"z"]],
        }


def test_npy_of_numbers_or_of_nothing(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros(3))
    with pytest.raises(DataError, match="an array of float64"):
        load_npy(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="Allowed: one pickled object of numpy arrays"):
        load_npy(path)
