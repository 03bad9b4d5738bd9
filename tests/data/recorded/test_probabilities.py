"""Probabilities as anybody writes them."""

from pathlib import Path

import pyarrow as pa
import pytest

from askless.data.recorded import probabilities
from askless.errors import DataError

WHERE = Path("t.parquet")


def column(values, kind=None):
    return pa.chunked_array([pa.array(values, kind)])


def test_lists_of_any_kind_and_texts_of_lists():
    for kind in (pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 2)):
        assert probabilities.from_lists(column([[0.5, 0.5]], kind), WHERE).to_pylist() == [[0.5, 0.5]]
    texts = column(["[0.25, 0.75]", "0.25 0.75", "(0.25;0.75)", "[]", "", None])
    assert probabilities.from_lists(texts, WHERE).to_pylist() == [[0.25, 0.75]] * 3 + [None] * 3


@pytest.mark.parametrize("values", [["high"], [0.5], [[[0.5]]]])
def test_what_is_no_list_of_numbers(values):
    with pytest.raises(DataError, match=r"^t\.parquet: column 'proba' is .*\. Allowed: lists of numbers"):
        probabilities.from_lists(column(values), WHERE)


def test_a_column_for_each_class():
    columns = [column([0.25, None, 1.0]), column([0.75, None, None])]
    found = probabilities.from_columns(columns).to_pylist()
    assert found[:2] == [[0.25, 0.75], None]
    assert found[2][1] != found[2][1]


def test_the_order_of_the_classes():
    lists = column([[0.1, 0.9], None, [0.7, 0.3]])
    assert probabilities.ordered(lists, ["b", "a"], ["a", "b", "c"], WHERE).to_pylist() == [
        [0.9, 0.1, 0.0],
        None,
        [0.3, 0.7, 0.0],
    ]
    assert probabilities.ordered(lists, ["A", "b"], ["a", "b"], WHERE).to_pylist() == lists.to_pylist()


def test_an_order_that_does_not_fit():
    lists = column([[0.1, 0.9]])
    with pytest.raises(
        DataError,
        match=r"^t\.parquet: proba is \[0\.1, 0\.9\] in row 1 of the data .* Allowed: 3 values, for a, b, c\.",
    ):
        probabilities.ordered(lists, ["a", "b", "c"], ["a", "b", "c"], WHERE)
    with pytest.raises(DataError, match=r"^t\.parquet: probabilities of a, x\. Allowed: of a, b\."):
        probabilities.ordered(lists, ["a", "x"], ["a", "b"], WHERE)
