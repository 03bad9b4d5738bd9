"""Probabilities as anybody writes them: lists, texts of lists, or a column for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from askless.data.columns import refuse
from askless.data.recorded.spelling import read_labels
from askless.errors import DataError


def from_lists(column: pa.ChunkedArray, path: Path) -> pa.ChunkedArray:
    """Probabilities as lists of float64; a text such as "[0.2, 0.8]" is one."""
    wanted = pa.list_(pa.float64())
    if pa.types.is_string(column.type):
        inner = pc.utf8_trim(column, "[]() \t")
        inner = pc.if_else(pc.equal(inner, ""), pa.scalar(None, pa.string()), inner)
        column = pc.split_pattern_regex(inner, r"\s*[,;\s]\s*")
    try:
        return column.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        got = f"column 'proba' is {column.type}"
        raise DataError(path, got, "lists of numbers, one for each class", "Or give proba_<class> columns.") from None


def from_columns(columns: Sequence[pa.ChunkedArray]) -> pa.ListArray:
    """Columns of numbers as one column of lists; a row in which all are null has none."""
    matrix = np.stack([column.to_numpy() for column in columns], axis=1)
    absent = pa.array(np.isnan(matrix).all(axis=1))
    offsets = pa.array(np.arange(0, matrix.size + 1, matrix.shape[1], dtype=np.int32))
    lists = pa.ListArray.from_arrays(offsets, pa.array(matrix.reshape(-1)))
    return pc.if_else(absent, pa.scalar(None, lists.type), lists)


def ordered(column: pa.ChunkedArray, order: Sequence[str], classes: Sequence[str], where: Path) -> pa.ChunkedArray:
    """Lists in `order` as lists in the order of the classes; a class that `order` does not name gets 0.

    Raises `DataError` for a list of another length, and where `order` names something that is no class.
    """
    many = pc.not_equal(pc.list_value_length(column), len(order))
    refuse(column, many, "proba", where, f"{len(order)} values, for {', '.join(order)}")
    named = read_labels(pa.chunked_array([list(order)], pa.string()), classes).label.to_pylist()
    if named == list(classes):
        return column
    if None in named or len(set(named)) < len(named):
        got = f"probabilities of {', '.join(order)}"
        raise DataError(where, got, f"of {', '.join(classes)}", "Name all the classes: --classes A,B,C.")
    lists = column.combine_chunks()
    matrix = lists.flatten().to_numpy(zero_copy_only=False).reshape(-1, len(order))
    wide = np.zeros((len(matrix), len(classes)))
    wide[:, [list(classes).index(name) for name in named]] = matrix
    steps = np.where(lists.is_valid().to_numpy(zero_copy_only=False), len(classes), 0)
    offsets = pa.array(np.concatenate([[0], np.cumsum(steps)]).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, pa.array(wide.reshape(-1)), mask=lists.is_null())
