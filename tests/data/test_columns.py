"""Columns as text or as numbers."""

import pyarrow as pa
import pytest

from askless.data.columns import counted, numbers, shorten, strings
from askless.errors import DataError


def column(values, kind=None):
    return pa.chunked_array([pa.array(values, kind)])


@pytest.mark.parametrize(
    ("values", "kind", "said"),
    [
        ([1, None], None, ["1", None]),
        ([1.0, 2.5, float("nan"), 1e300], None, ["1", "2.5", None, "1e+300"]),
        ([True, False], None, ["true", "false"]),
        (["A", ""], pa.large_string(), ["A", ""]),
        ([None, None], None, [None, None]),
    ],
)
def test_strings(values, kind, said):
    assert strings(column(values, kind), "label", "t").to_pylist() == said


def test_strings_of_a_dictionary_and_of_lists():
    coded = pa.chunked_array([pa.array(["A", "B", "A"]).dictionary_encode()])
    assert strings(coded, "label", "t").to_pylist() == ["A", "B", "A"]
    with pytest.raises(DataError, match=r"^t: column 'label' is list<.*>\. Allowed: text or numbers\. Convert"):
        strings(column([["A"]]), "label", "t")


@pytest.mark.parametrize(
    ("ids", "said"),
    [(["0.0", "-1.0", None], ["0", "-1", None]), (["1.0", "1.5"], ["1.0", "1.5"]), (["v1.0"], ["v1.0"])],
)
def test_ids_that_are_all_whole_floats_in_text(ids, said):
    assert strings(column(ids), "id", "t").to_pylist() == said
    assert strings(column(ids), "label", "t").to_pylist() == ids


def test_numbers_of_text():
    given = ["1", " -2.5e-3 ", "", "NaN", "None", "-inf", None, "1e5"]
    assert numbers(column(given), "logprob", "t").to_pylist() == [
        1, -0.0025, None, None, None, float("-inf"), None, 1e5,
    ]  # fmt: skip


def test_what_is_no_number_is_shown_with_its_row():
    with pytest.raises(DataError) as caught:
        numbers(column(["1", "about $3", "2", "free"]), "cost_usd", "t")
    assert str(caught.value) == (
        "t: cost_usd is about $3 in row 2 of the data (2 rows in all). Allowed: a number, or nothing. "
        "Correct it, or leave the column out."
    )


def test_shorten_and_counted():
    assert shorten("a\n b" * 9) == "a ba ba ba ba ba ..."
    assert (counted(1, "item"), counted(1200, "item")) == ("1 item", "1,200 items")
