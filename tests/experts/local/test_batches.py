"""Batches by tokens, and halves where memory runs out."""

import logging
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askless.errors import ExpertError
from askless.experts.local.batches import Backoff, in_batches


@given(st.lists(st.integers(0, 60)), st.integers(1, 9), st.integers(1, 200))
def test_every_row_is_in_one_batch_of_no_more_than_was_asked(lengths, rows, tokens):
    batches = in_batches(lengths, rows, tokens)
    order = [row for batch in batches for row in batch]
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[row] for row in order] == sorted(lengths, reverse=True)
    for batch in batches:
        padded = len(batch) * max(lengths[row] for row in batch)
        assert len(batch) == 1 or (len(batch) <= rows and padded <= tokens)
    for batch, after in zip(batches, batches[1:], strict=False):
        one_more = (len(batch) + 1) * max(1, lengths[batch[0]])
        assert len(batch) == rows or one_more > tokens, f"{batch} could have had {after[0]}"


def test_short_rows_make_large_batches():
    assert in_batches([10, 100, 10, 10, 10], 64, 100) == [[1], [0, 2, 3, 4]]
    assert in_batches([10, 100, 10, 10, 10], 2, 100) == [[1], [0, 2], [3, 4]]
    assert in_batches([], 2, 100) == []


class Memory:
    """Runs batches of up to `rows` numbers and remembers what was tried."""

    def __init__(self, rows):
        self.rows = rows
        self.tried: list[int] = []

    def __call__(self, batch):
        self.tried.append(len(batch))
        if len(batch) > self.rows:
            raise MemoryError
        return sum(batch)


def test_what_was_too_large_once_is_halved_at_once_and_said_once(caplog):
    memory, backoff = Memory(5), Backoff[int](len)
    with caplog.at_level(logging.WARNING, "askless"):
        for start in (0, 16, 32):
            parts = list(backoff.run(range(start, start + 16), memory))
            assert [list(rows) for rows, _ in parts] == [list(range(at, at + 4)) for at in range(start, start + 16, 4)]
            assert [result for _, result in parts] == [sum(rows) for rows, _ in parts]
    assert memory.tried == [16, 8, *[4] * 12]
    assert len(caplog.records) == 1


@given(st.lists(st.integers(1, 20), max_size=5), st.integers(1, 20))
def test_parts_depend_on_the_batch_and_not_on_what_ran_before(sizes, room):
    together = Backoff[int](len)
    with patch("askless.experts.local.batches.release"):
        for size in sizes:
            alone = Backoff[int](len)
            parts = [[len(rows) for rows, _ in b.run(range(size), Memory(room))] for b in (together, alone)]
            assert parts[0] == parts[1]


def test_a_smaller_batch_is_tried_whole():
    memory, backoff = Memory(5), Backoff[int](len)
    list(backoff.run(range(16), memory))
    memory.tried.clear()
    list(backoff.run(range(5), memory))
    assert memory.tried == [5]


def test_one_row_that_is_too_large_and_other_faults_are_errors():
    with pytest.raises(ExpertError, match=r"Memory ran out on a single item.*Set max_input_tokens"):
        list(Backoff[int](len).run([1, 2], Memory(0)))

    def broken(_):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        list(Backoff[int](len).run([1, 2], broken))
