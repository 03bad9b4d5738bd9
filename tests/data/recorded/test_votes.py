"""Sampled answers put to the vote."""

import pyarrow as pa
import pytest

from askless.data.recorded.votes import majority


def vote(**columns):
    return majority(pa.table(columns), ("A", "B", "C")).to_pydict()


def test_the_majority_its_shares_and_the_sum_of_costs():
    found = vote(
        id=["q2", "q1", "q2", "q1", "q2"],
        label=["B", "C", "B", "C", "A"],
        cost_usd=[0.1, 0.2, 0.3, 0.4, 0.5],
        seconds=[1.0, None, 1.0, 2.0, 1.0],
    )
    assert found["id"] == ["q2", "q1"]
    assert found["label"] == ["B", "C"]
    assert found["proba"] == [pytest.approx([1 / 3, 2 / 3, 0]), [0, 0, 1]]
    assert found["cost_usd"] == pytest.approx([0.9, 0.6])
    assert found["seconds"] == [3.0, None]


def test_a_tie_goes_to_the_class_that_comes_first():
    assert vote(id=["q", "q"], label=["C", "B"])["label"] == ["B"]


def test_samples_without_a_label_do_not_vote():
    found = vote(id=["q", "q", "r", "r"], label=["C", None, None, None])
    assert found["label"] == ["C", None]
    assert found["proba"] == [[0, 0, 1], None]
