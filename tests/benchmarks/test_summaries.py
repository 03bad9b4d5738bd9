"""The benchmark of summaries runs to its end, at a size that says nothing of speed."""

from __future__ import annotations

from benchmarks.summaries import arguments, lines


def test_both_sides_write_the_same_summaries() -> None:
    options = arguments(["--models", "demo:xs", "demo:s", "--rows", "12", "--every", "4", "--rounds", "1"])
    head, rule, *rows = lines(options)
    assert head.count("|") == rule.count("|") == 9
    for name, row in zip(options.models, rows, strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert (cells[0], cells[-1]) == (name, "3 of 3")
        assert all(float(cell) > 0 for cell in cells[1:5])
