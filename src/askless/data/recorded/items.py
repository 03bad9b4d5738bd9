"""Labelled items from a file that anybody wrote, as examples of the data contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter

from askless import schema
from askless.config import Split
from askless.data import tables
from askless.data.columns import counted, refuse, refuse_repeated, strings
from askless.data.prepare import split as hash_split
from askless.data.tables import Wanted
from askless.errors import DataError

NAMES = ("id", "text", "label", "reference", "split", "group")
SHARES = {"train": 0.6, "valid": 0.0, "test": 0.4}
OTHER_NAMES = {"validation": "valid", "val": "valid", "dev": "valid", "training": "train", "testing": "test"}


@dataclass(frozen=True)
class Items:
    """Labelled items in their file's order.

    Parameters
    ----------
    examples
        The items, a table of `askless.schema.EXAMPLES`.
    has_text
        Whether their texts are known.
    labelled
        Whether they have gold labels that count.
    notes
        What was assumed or changed.
    """

    examples: pa.Table
    has_text: bool
    labelled: bool
    notes: tuple[str, ...]


def read_items(
    path: Path, split_seed: int = 0, columns: Mapping[str, str] | None = None, labelled: bool | None = True
) -> Items:
    """Read items with `id` and `label`, and `text`, `split`, `group` where the file has them.

    Without a split each class is cut by a hash of its ids and `split_seed`; without a text the id stands for it. Items
    without a label are left out. Where `labelled` is False gold labels do not count, where it is None they need not be
    there. Raises `DataError` for a duplicate id, an unknown split, and where no label is left.
    """
    needed = ("id", "label") if labelled else ("id",)
    raw = tables.read(path, Wanted(needed, NAMES.__contains__, columns or {}, "--item-column"))
    table = pa.table({name: strings(raw[name], name, path) for name in raw.column_names})
    meta, notes = schema.meta_of(raw), list[str]()
    has_labels = "label" in table.column_names and table["label"].null_count < len(table)
    if labelled is None:
        labelled = has_labels
    if labelled:
        table, notes = _labelled(table, path)
    else:
        notes = [f"The gold labels of {path} do not count: the answers were judged already."] if has_labels else []
        table = table.drop_columns("label") if "label" in table.column_names else table
        table = table.append_column("label", pa.nulls(len(table), pa.string()))
    _check_ids(table, path)
    text, has_text = _texts(table, notes)
    columns_of = {
        "id": table["id"],
        "text": text,
        "label": table["label"],
        "split": _splits(table, path, split_seed, notes),
        **{name: table[name] for name in ("reference", "group") if name in table.column_names},
    }
    known = _classes_of(meta) if labelled else {}
    examples = schema.table("examples", {n: c.combine_chunks() for n, c in columns_of.items()}, known)
    return Items(examples, has_text, labelled, tuple(notes))


def _classes_of(meta: Mapping[str, object]) -> dict[str, object]:
    return {"classes": meta["classes"]} if meta.get("classes") else {}


def _labelled(table: pa.Table, path: Path) -> tuple[pa.Table, list[str]]:
    label = pc.utf8_trim_whitespace(table["label"])
    table = table.set_column(table.column_names.index("label"), "label", label)
    kept = table.filter(pc.fill_null(pc.not_equal(label, ""), False))
    if not len(kept):
        raise DataError(path, f"{counted(len(table), 'item')}, none with a label", "at least one", "Label some items.")
    left = len(table) - len(kept)
    return kept, [f"{left:,} of {counted(len(table), 'item')} of {path} without a label: left out."] if left else []


def _check_ids(table: pa.Table, path: Path) -> None:
    refuse(table["id"], pc.is_null(table["id"]), "id", path, "an id in every row")
    refuse_repeated(table["id"], path, "one row for each id")


def _texts(table: pa.Table, notes: list[str]) -> tuple[pa.ChunkedArray, bool]:
    """The texts, an empty one replaced by its id, and whether there are any."""
    if "text" not in table.column_names:
        return table["id"], False
    empty = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(table["text"]), ""), True)
    count = pc.sum(empty).as_py()
    if count:
        notes.append(f"{counted(count, 'item')} with an empty text: the id stands for it.")
    return pc.if_else(empty, table["id"], table["text"]), count < len(table)


def _splits(table: pa.Table, path: Path, seed: int, notes: list[str]) -> pa.ChunkedArray:
    if "split" not in table.column_names:
        names, labels = table["id"].to_pylist(), table["label"].to_pylist()
        shares = TypeAdapter(Split).validate_python(SHARES | {"salt": f"deferral-{seed}"})
        split = pa.chunked_array([hash_split(names, labels, shares)], pa.string())
        counts = {name: pc.sum(pc.equal(split, name)).as_py() for name in schema.SPLITS}
        sizes = ", ".join(f"{n:,} {name}" for name, n in counts.items() if n)
        what = (
            "the items were split by a hash of their ids"
            if labels.count(None)
            else "each class was split by a hash of its ids"
        )
        notes.append(f"{path} has no split: {what} (seed {seed}): {sizes}.")
        return split
    given = pc.utf8_lower(pc.utf8_trim_whitespace(table["split"]))
    split = given
    for theirs, ours in OTHER_NAMES.items():
        called = pc.equal(given, theirs)
        if pc.any(called).as_py():
            notes.append(f"Split '{theirs}' is taken as {ours}.")
            split = pc.if_else(called, ours, split)
    bad = pc.invert(pc.is_in(split, pa.array(schema.SPLITS)))
    refuse(table["split"], bad, "split", path, "train, valid or test in every row, or no such column")
    return split
