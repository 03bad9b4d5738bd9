"""Several sampled answers of one expert to an item, put to the vote."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from askless.schema import PREDICTIONS

SUMMED = ("cost_usd", *(name for name in PREDICTIONS.names if name.endswith("_tokens")), "seconds")


def majority(table: pa.Table, classes: Sequence[str]) -> pa.Table:
    """One row for each id, in the order in which ids come first.

    `label` is the majority's (on a tie the class that comes first), `proba` each class's share of the votes, costs are
    the sum over the samples (null where one is), of which there are `samples`. Those without a label do not vote.
    """
    ids = pc.unique(table["id"])
    row = pc.index_in(table["id"], ids).to_numpy()
    vote = pc.fill_null(pc.index_in(table["label"], pa.array(list(classes), pa.string())), -1).to_numpy()
    count, k = len(ids), len(classes)
    cast = vote >= 0
    votes = np.bincount(row[cast] * k + vote[cast], minlength=count * k).reshape(count, k)
    total = votes.sum(axis=1)
    abstained = total == 0
    best = pa.array(np.where(abstained, 0, votes.argmax(axis=1)), mask=abstained)
    shares = votes / np.maximum(total, 1)[:, None]
    offsets = pa.array(np.arange(0, count * k + 1, k, dtype=np.int32))
    lists = pa.ListArray.from_arrays(offsets, pa.array(shares.reshape(-1)), mask=pa.array(abstained))
    columns = {
        "id": ids,
        "label": pa.array(list(classes), pa.string()).take(best),
        "proba": lists,
        "samples": np.bincount(row, minlength=count).astype(float),
    }
    for name in (n for n in SUMMED if n in table.column_names):
        sums = np.bincount(row, table[name].to_numpy(), count)
        columns[name] = pa.array(sums, mask=np.isnan(sums))
    if "batched" in table.column_names:
        # Cheaper only where each sample was.
        columns["batched"] = np.bincount(row, table["batched"].to_numpy() != 1, count) == 0
    return pa.table(columns)
