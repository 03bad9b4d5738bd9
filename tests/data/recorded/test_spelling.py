"""Labels as experts spell them."""

import numpy as np
import pyarrow as pa
import pytest

from askless.data.recorded.spelling import read_labels

LETTERS = ("A", "B", "C", "D")


def read(labels, classes):
    return read_labels(pa.chunked_array([labels], pa.string()), classes)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("B", "B"),
        ("b", "B"),
        (" B\n", "B"),
        ("B.", "B"),
        ("(B)", "B"),
        ("**B**", "B"),
        ("'B'", "B"),
        ("B) Paris", "B"),
        ("b. paris", "B"),
        ("(B) Paris", "B"),
        ("B: c", "B"),
        ("B - Paris", "B"),
        ("**B**: Paris", "B"),
        ("B\nA: one\nC: two", "B"),
        ("\n\nB\nbecause", "B"),
        ("B) or C)", None),
        ("B or C", None),
        ("A person", None),
        ("I cannot answer", None),
        ("None of the options, however since I must choose, I will choose A", None),
        ("E", None),
        ("{'b': 1}", None),
        ("BC", None),
        ("", None),
        (" . ", None),
    ],
)
def test_letters(said, meant):
    assert read([said], LETTERS).label.to_pylist() == [meant]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("1.0", "1"),
        ("0.00", "0"),
        (" 1", "1"),
        ("1. yes", "1"),
        ("0.5", None),
        ("-1", None),
        ("10", None),
        ("1.5", None),
    ],
)
def test_numbers(said, meant):
    assert read([said], ("0", "1")).label.to_pylist() == [meant]


def test_a_class_of_several_words_and_one_that_another_begins_with():
    said = ["Not hate", "HATE", "hate.", "not hate: it is polite", "hate speech", "nothate"]
    meant = ["not hate", "hate", "hate", "not hate", None, None]
    assert read(said, ("hate", "not hate")).label.to_pylist() == meant


def test_what_two_classes_could_mean_is_read_exactly_or_not_at_all():
    assert read(["a", "A", "a.", "A.", "b."], ("a", "A", "b")).label.to_pylist() == ["a", "A", None, None, "b"]
    assert read(["+", "-", " +", "?"], ("+", "-")).label.to_pylist() == ["+", "-", "+", None]


def test_it_counts_what_it_changed_and_what_it_could_not_read():
    read_ = read(["A", "a", None, "?", "x", "?", "y", "z", "A", " ", "v", "w"], LETTERS)
    assert read_.respelt == 1
    assert read_.unread.to_pylist() == [name in {*"?xyzvw"} for name in ["", "", "", *"?x?yz", "", "", *"vw"]]
    assert np.flatnonzero(read_.empty).tolist() == [9]
    assert read_.examples == (("?", 2), ("x", 1), ("y", 1), ("z", 1), ("v", 1))


def test_no_labels_at_all():
    read_ = read([None, None], LETTERS)
    assert (read_.label.to_pylist(), read_.respelt, read_.examples) == ([None, None], 0, ())
